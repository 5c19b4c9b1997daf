//! The traits that every backend offers, and the values that pass through them.
//!
//! A backend is a [`Syncer`]; what else it can do it offers through [`Backend`]: an [`ApplicationStore`], a
//! [`StateReader`], a [`RevisionHistory`].

mod event;
mod follow;
mod forward;
mod operation;
mod state;
mod store;
mod syncer;

pub use self::event::{EventKind, Severity, SyncEvent};
pub(crate) use self::follow::follow;
pub use self::operation::{
    Initiator, Operation, ResourceAction, ResourceResult, SyncOptions, SyncOutcome, SyncResource,
};
pub use self::state::{ResourceState, RevisionHistory, StateReader};
pub use self::store::{
    ApplicationStore, DeleteOptions, ListOptions, Propagation, PutMode, PutOutcome, Stored,
};
pub use self::syncer::{Selector, StatusEvent, Syncer, SyncerExt};

/// A backend: a [`Syncer`], and whatever else it can do.
///
/// # Contract
/// What is `Some` works for every application that the syncer knows, and answers the same for as long as the backend
/// lives. A decorator wraps all of them, or none: it never lets a mutation pass by the side.
pub trait Backend: Syncer {
    /// A short stable name: `direct`, `argocd`, `flux` …, for logs and metrics.
    fn name(&self) -> &str;
    /// Where its applications are kept.
    fn store(&self) -> Option<&dyn ApplicationStore> {
        None
    }
    /// Desired and live state.
    fn state(&self) -> Option<&dyn StateReader> {
        None
    }
    /// Past revisions and the way back to them.
    fn history(&self) -> Option<&dyn RevisionHistory> {
        None
    }
}
