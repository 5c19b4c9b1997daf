//! The loop that a team runs: it looks at applications, and syncs those that should be.
//!
//! ```text
//! store, watch ──┐
//! webhooks, Git ─┤            ┌─ owner? paused? suspended?
//! interval ──────┼─> queue ─> look ─> revisions ─> strategy ─> validators ─> limiter ─> sync, wait ─> notifiers
//! people ────────┤     ^                                                                    │
//! ownership ─────┘     └──────────── again: at the interval, or after a growing pause ──────┘
//! ```
//!
//! A [`Reconciler`] (feature `reconcile`) is built from the parts of this crate and [`run`](Reconciler::run). Several replicas of it share the applications by an
//! [`Ownership`]; `gitops_kube::lease` is the one for Kubernetes.

#[cfg(feature = "reconcile")]
mod control;
#[cfg(feature = "reconcile")]
mod deliver;
#[cfg(feature = "reconcile")]
mod known;
#[cfg(feature = "reconcile")]
mod look;
#[cfg(feature = "reconcile")]
mod looks;
#[cfg(feature = "reconcile")]
mod options;
mod owner;
#[cfg(feature = "reconcile")]
mod queue;
#[cfg(feature = "reconcile")]
mod reconciler;
#[cfg(feature = "reconcile")]
mod run;
#[cfg(feature = "reconcile")]
mod states;
#[cfg(feature = "reconcile")]
mod turn;

#[cfg(feature = "reconcile")]
pub use self::control::{Control, Stats};
#[cfg(feature = "reconcile")]
pub use self::options::ReconcilerOptions;
pub use self::owner::{Everything, Ownership, Tenure};
#[cfg(feature = "reconcile")]
pub use self::reconciler::Reconciler;
