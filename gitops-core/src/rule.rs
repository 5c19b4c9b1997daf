//! Custom sync rules: whether an application should be synced now.

use std::sync::Arc;

use async_trait::async_trait;

use crate::application::{Application, ApplicationStatus};
use crate::error::Result;

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
        }
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
