//! Sync rules: whether an application should be synced now.
//!
//! A [`SyncStrategy`] asks its rules in order and says yes at the first that does. Rules are combined by [`all`], [`any`] and [`not`]; what is not among the rules below
//! is a closure ([`rule_fn`], [`async_rule_fn`]) or an implementation of [`SyncRule`].
//!
//! | rule | says yes when |
//! | --- | --- |
//! | [`RevisionChanged`] | the revision to sync to is not the deployed one |
//! | [`PathsChanged`] | files that the application is made of changed |
//! | [`OutOfSync`] | the live state differs from the desired one |
//! | [`AutomatedPolicy`] | the application's own `automated` policy wants it |
//! | [`HealthAtLeast`] | the application is as healthy as asked, or healthier |
//! | `SyncWindows` (feature `cron`) | the maintenance windows are open, as Argo CD understands them |
//! | [`Metadata`] | a label or an annotation of the application is as asked |
//! | [`MinimumInterval`] | the last sync is long enough ago |
//! | [`ManualApproval`] | enough people approved of the revisions |
//!
//! # Where the sketch's methods are
//!
//! | in the sketch (Go) | here | tested by |
//! | --- | --- | --- |
//! | `CustomSyncStrategy` | [`SyncStrategy`] | `tests/rules.rs` |
//! | `CustomSyncStrategy.AddRule(rule)` | [`SyncStrategy::add_rule`] | `the_first_yes_decides_and_later_rules_are_not_asked` |
//! | `CustomSyncStrategy.ShouldSync(ctx, app) (bool, error)` | [`SyncStrategy::should_sync`]: a [`Verdict`] that names the deciding rule and why | the same, `an_error_before_a_yes_is_the_answer_and_names_the_rule`, `combinators_are_logic_with_errors_in_order` |
//! | `SyncRule.Evaluate(ctx, app) (bool, error)` | [`SyncRule::evaluate`] | a table for each rule there and in `tests/windows.rs`; with real commits in gitops-git's `tests/sync_rules.rs` |

mod approval;
mod automated;
mod combine;
mod paths;
mod revision;
mod state;
mod strategy;
#[cfg(feature = "cron")]
mod window;

use std::sync::Arc;

use async_trait::async_trait;

use crate::application::{Application, ApplicationStatus};
use crate::error::{Error, Result};

pub use self::approval::{Approval, ApprovalStore, Approvals, ManualApproval};
pub use self::automated::AutomatedPolicy;
pub use self::combine::{All, Any, Not, RuleFn, all, any, async_rule_fn, not, rule_fn};
pub use self::paths::{GENERATE_PATHS, PathsChanged};
pub use self::revision::RevisionChanged;
pub use self::state::{HealthAtLeast, Metadata, MinimumInterval, OutOfSync};
pub use self::strategy::{SyncStrategy, Verdict};
#[cfg(feature = "cron")]
pub use self::window::{SyncWindow, SyncWindows, WindowKind};

/// What a rule may look at.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SyncContext<'a> {
    /// The application.
    pub app: &'a Application,
    /// Its state, where it is known.
    pub status: Option<&'a ApplicationStatus>,
    /// The revisions that a sync would go to, one per source, in full; empty when they are not known.
    pub revisions: &'a [String],
    /// The paths that changed since the last sync, where they are known.
    pub changed_paths: Option<&'a [String]>,
    /// The time to judge by.
    pub now: jiff::Timestamp,
    /// Whether a person asked for the sync: windows may let that pass.
    pub manual: bool,
}

impl<'a> SyncContext<'a> {
    /// A context that knows the application alone, at the current time.
    pub fn new(app: &'a Application) -> Self {
        Self {
            app,
            status: None,
            revisions: &[],
            changed_paths: None,
            now: jiff::Timestamp::now(),
            manual: false,
        }
    }

    /// The state, which the rule named `rule` cannot do without.
    ///
    /// # Errors
    /// `InvalidInput` when it is not known.
    pub fn known_status(&self, rule: &str) -> Result<&'a ApplicationStatus> {
        self.status.ok_or_else(|| {
            Error::invalid(format!(
                "{rule} cannot decide about {}: its state is not known",
                self.app.app_ref()
            ))
        })
    }
}

/// What a rule says, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether to sync.
    pub sync: bool,
    /// Why, for people and the audit log.
    pub reason: String,
}

impl Decision {
    /// Sync, because of `reason`.
    pub fn yes(reason: impl Into<String>) -> Self {
        Self {
            sync: true,
            reason: reason.into(),
        }
    }

    /// Do not sync, because of `reason`.
    pub fn no(reason: impl Into<String>) -> Self {
        Self {
            sync: false,
            reason: reason.into(),
        }
    }
}

/// Decides whether an application should be synced now.
///
/// # Contract
/// - A rule looks and answers; it changes nothing.
/// - The same context gives the same answer, unless the rule asks somebody else.
/// - An error means that the rule could not decide: nobody takes it for a no, and certainly not for a yes.
#[async_trait]
pub trait SyncRule: Send + Sync {
    /// A short name for logs.
    fn name(&self) -> &str;

    /// Decides.
    ///
    /// # Errors
    /// When it cannot decide.
    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: SyncRule + ?Sized> SyncRule for $wrapper {
            fn name(&self) -> &str {
                (**self).name()
            }
            async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
                (**self).evaluate(context).await
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);
