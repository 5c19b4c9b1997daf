//! What a program may choose.

use std::time::Duration;

/// What a sync does while another operation runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenBusy {
    /// It fails with `OperationInProgress`: the contract of [`Syncer::sync`](gitops_core::backend::Syncer::sync).
    #[default]
    Fail,
    /// It waits, at most so long, and then starts; others may be faster, again and again.
    Wait(Duration),
}

/// What a program may choose of an [`ArgoCdBackend`](crate::ArgoCdBackend).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgoCdOptions {
    /// What a sync does while another operation runs.
    pub when_busy: WhenBusy,
    /// How long a wait goes on after an operation has ended until the controller has compared the application: then it returns all the same.
    pub settle: Duration,
    /// How often what streams tell is held against what is: Argo CD drops events when a client is slow. A watch that was cut is made again after no longer than this.
    pub resync: Duration,
    /// The same while an operation is waited for.
    pub look: Duration,
    /// How long Argo CD may be away while it is waited for, and how long after [`SyncOptions::timeout`](gitops_core::backend::SyncOptions::timeout) an operation may go on
    /// that cannot be terminated because no controller has taken it up.
    pub patience: Duration,
}

impl Default for ArgoCdOptions {
    fn default() -> Self {
        Self {
            when_busy: WhenBusy::Fail,
            settle: Duration::from_secs(30),
            resync: Duration::from_secs(300),
            look: Duration::from_secs(10),
            patience: Duration::from_secs(300),
        }
    }
}
