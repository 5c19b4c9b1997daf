//! Desired and live state, and the way back.

use async_trait::async_trait;

use super::operation::{Operation, SyncOptions};
use crate::application::{AppRef, HistoryEntry};
use crate::error::Result;
use crate::manifest::{Object, ObjectId};

/// One resource, as it should be and as it is.
#[derive(Clone, Debug)]
pub struct ResourceState {
    /// Which one.
    pub id: ObjectId,
    /// As Git wants it; `None` when Git no longer names it.
    pub desired: Option<Object>,
    /// As it is; `None` when it is not there.
    pub live: Option<Object>,
    /// As it would be after a sync, where the backend can tell (defaults and webhooks applied).
    pub predicted: Option<Object>,
    /// Whether it is a hook.
    pub hook: bool,
}

/// Reads what should be and what is.
///
/// # Contract
/// - Each managed resource appears once; resources that Git no longer names appear with `desired: None`.
/// - Secrets come as they are: whoever shows them masks them ([`manifest::mask`](crate::manifest::mask)).
/// - Nothing is changed.
#[async_trait]
pub trait StateReader: Send + Sync {
    /// The desired and live state of every resource of `app`, desired at `revisions` (one per source; empty means the target revisions).
    ///
    /// # Errors
    /// `NotFound` for an unknown application or revision; whatever rendering and reading can meet.
    async fn state(&self, app: &AppRef, revisions: &[String]) -> Result<Vec<ResourceState>>;
}

/// Past syncs and the way back to them.
///
/// # Contract
/// - `list` is ordered oldest first; ids grow.
/// - `roll_back` starts an operation that deploys what the entry deployed. While automated sync would undo it, it is refused
///   with `Conflict`, saying so.
#[async_trait]
pub trait RevisionHistory: Send + Sync {
    /// The past syncs of `app`.
    ///
    /// # Errors
    /// `NotFound` for an unknown application.
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>>;

    /// Goes back to history entry `id`.
    ///
    /// # Errors
    /// `NotFound` for an unknown application or entry; `Conflict` while automated sync is on; `OperationInProgress`.
    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation>;
}
