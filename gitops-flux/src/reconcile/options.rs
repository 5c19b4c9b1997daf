//! How to ask and how to wait, and what is told meanwhile.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::verdict::Waiting;
use crate::manager::FluxRef;

/// How to reconcile. By default: only the object itself, and wait for the result.
#[derive(Clone, Debug)]
pub struct ReconcileOptions {
    /// Its source first, and that one's source before it: see [`source_of`](super::source_of). Each is waited for before the next is asked.
    pub with_source: bool,
    /// One install or upgrade of a HelmRelease although nothing changed.
    pub force: bool,
    /// Resets the failure counts of a HelmRelease.
    pub reset: bool,
    /// Resumes what is suspended, sources included, instead of refusing.
    pub resume: bool,
    /// How to wait for the result; `None` only asks. With [`with_source`](Self::with_source), sources are waited for all the same.
    pub wait: Option<WaitOptions>,
}

impl Default for ReconcileOptions {
    fn default() -> Self {
        Self {
            with_source: false,
            force: false,
            reset: false,
            resume: false,
            wait: Some(WaitOptions::default()),
        }
    }
}

impl ReconcileOptions {
    /// Sources first.
    #[must_use]
    pub fn with_source(mut self) -> Self {
        self.with_source = true;
        self
    }

    /// Forces a HelmRelease.
    #[must_use]
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Resets the failure counts of a HelmRelease.
    #[must_use]
    pub fn reset(mut self) -> Self {
        self.reset = true;
        self
    }

    /// Resumes what is suspended.
    #[must_use]
    pub fn resume(mut self) -> Self {
        self.resume = true;
        self
    }

    /// How to wait for the result.
    #[must_use]
    pub fn wait(mut self, wait: WaitOptions) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Only asks.
    #[must_use]
    pub fn no_wait(mut self) -> Self {
        self.wait = None;
        self
    }
}

/// How to wait.
#[derive(Clone, Debug)]
pub struct WaitOptions {
    /// The longest that the wait takes, sources included. To find out why it did not end well, up to five seconds more.
    pub timeout: Duration,
    /// An object about which no controller has written anything for so long is looked into: with a controller whose leader election's Lease is fresh the wait goes on (it may be
    /// busy), and so it does, with an [`Update::Unanswered`], when Leases cannot be read in Flux's namespace; with an old Lease or none it ends with `Unavailable`. Controllers without leader
    /// election have none: give them more time here.
    pub answer_within: Duration,
    /// A failure that may be an older run's counts when the object has not changed for so long.
    pub settle: Duration,
    /// Ends at the first failure. Off, a failure that the controller tries again by itself is waited through until the time is up.
    pub fail_fast: bool,
    /// Says of a failure which objects are not ready and why, which takes one list per kind of the inventory. With [`timeout`](Self::timeout), what is not found out in time is left out.
    pub explain: bool,
    /// Who is told meanwhile.
    pub progress: Progress,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5 * 60),
            answer_within: Duration::from_secs(10),
            settle: Duration::from_secs(5),
            fail_fast: true,
            explain: true,
            progress: Progress::default(),
        }
    }
}

impl WaitOptions {
    /// Waits no longer than this.
    pub fn within(timeout: Duration) -> Self {
        Self {
            timeout,
            ..Self::default()
        }
    }

    /// Tells `progress` how far it is.
    #[must_use]
    pub fn progress(mut self, progress: impl Fn(&Update) + Send + Sync + 'static) -> Self {
        self.progress = Progress::new(progress);
        self
    }

    /// Looks into an object about which no controller has written anything for so long.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time;
        self
    }

    /// Waits through failures that the controller tries again by itself.
    #[must_use]
    pub fn through_failures(mut self) -> Self {
        self.fail_fast = false;
        self
    }
}

type Told = dyn Fn(&Update) + Send + Sync;

/// Takes updates as they happen. It must not block.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Told>>);

impl Progress {
    /// Tells `told`.
    pub fn new(told: impl Fn(&Update) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    pub(crate) fn tell(&self, update: impl FnOnce() -> Update) {
        if let Some(told) = &self.0 {
            told(&update());
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "told" } else { "silent" })
    }
}

/// News of a reconcile or a wait. `Display` gives it on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// A request was made.
    Requested {
        /// Of which object.
        object: FluxRef,
        /// The token.
        token: String,
    },
    /// A source is left out because no controller reconciles it.
    Skipped {
        /// The source.
        object: FluxRef,
    },
    /// It was suspended, and is resumed.
    Resumed {
        /// The object.
        object: FluxRef,
    },
    /// It is not done yet; told when something about it changes.
    Pending {
        /// The object.
        object: FluxRef,
        /// What it waits for.
        waiting: Waiting,
        /// The reason in one word; may be empty.
        reason: String,
        /// What the controller says.
        message: String,
    },
    /// It failed, and is waited for all the same; told when something about it changes.
    Failing {
        /// The object.
        object: FluxRef,
        /// The reason in one word.
        reason: String,
        /// What the controller says.
        message: String,
    },
    /// No controller has written anything about it yet.
    Unanswered {
        /// The object.
        object: FluxRef,
        /// What is known about the controller.
        message: String,
    },
    /// The watch was interrupted; the wait goes on.
    Interrupted {
        /// The object.
        object: FluxRef,
        /// Why.
        message: String,
    },
    /// It is done.
    Done {
        /// The object.
        object: FluxRef,
        /// What it is at.
        revision: Option<String>,
        /// What the Ready condition says.
        message: String,
    },
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested { object, .. } => write!(f, "{object}: reconciliation requested"),
            Self::Skipped { object } => write!(f, "{object}: skipped, no controller reconciles it"),
            Self::Resumed { object } => write!(f, "{object}: resumed"),
            Self::Pending {
                object,
                reason,
                message,
                ..
            } => write!(f, "{object}: {}", said(reason, message)),
            Self::Failing {
                object,
                reason,
                message,
            } => write!(f, "{object}: failing: {}", said(reason, message)),
            Self::Unanswered { object, message } | Self::Interrupted { object, message } => {
                write!(f, "{object}: {message}")
            }
            Self::Done {
                object,
                revision: Some(revision),
                ..
            } => write!(f, "{object}: done at {revision}"),
            Self::Done { object, .. } => write!(f, "{object}: done"),
        }
    }
}

/// A reason and a message in one text.
pub(crate) fn said(reason: &str, message: &str) -> String {
    match (reason.is_empty(), message.is_empty()) {
        (false, false) => format!("{reason}: {message}"),
        _ => format!("{reason}{message}"),
    }
}

/// What a reconcile or a wait came to.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Reconciled {
    /// The object.
    pub object: FluxRef,
    /// The token of the request; `None` when nothing was asked.
    pub token: Option<String>,
    /// What it is at: the artifact's revision of a source, the applied revision of a Kustomization, the chart version of a HelmRelease. `None` when nobody waited, or it has none.
    pub revision: Option<String>,
    /// What the Ready condition says; empty when nobody waited.
    pub message: String,
    /// The object as it was last seen.
    pub value: Value,
    /// The sources that were reconciled before it, in that order.
    pub sources: Vec<Reconciled>,
}

impl fmt::Debug for Reconciled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciled")
            .field("object", &self.object)
            .field("token", &self.token)
            .field("revision", &self.revision)
            .field("message", &self.message)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}
