//! Asking Flux' controllers to reconcile, and waiting for the result.
//!
//! [`FluxManager::reconcile`](crate::FluxManager::reconcile) asks and waits; [`FluxManager::wait`](crate::FluxManager::wait) only waits. Whether an object is done is [`verdict`]'s to
//! say, which is pure; [`explain`] says which of its objects hold it up.

pub(crate) mod answer;
mod ask;
mod chain;
pub mod explain;
mod options;
mod state;
mod token;
mod verdict;
mod wait;

pub use self::chain::source_of;
use self::chain::{dependencies_of, repository_of};
pub use self::explain::Explanation;
pub use self::options::{Progress, ReconcileOptions, Reconciled, Update, WaitOptions};
pub use self::state::{State, StateCondition, Truth};
pub use self::token::{FORCE_AT, REQUESTED_AT, RESET_AT};
pub use self::verdict::{Cause, Expectation, Failure, Verdict, Waiting, verdict};
