//! Validation of applications before they are synced.

use std::sync::Arc;

use async_trait::async_trait;

use crate::application::Application;
use crate::backend::Severity;
use crate::error::Result;
use crate::manifest::{ManifestSet, ObjectId, Origin};

/// What a validator may look at.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The rendered manifests, where there are some.
    pub manifests: Option<&'a ManifestSet>,
    /// The revisions that they were rendered from, one per source.
    pub revisions: &'a [String],
}

impl<'a> Context<'a> {
    /// A context with rendered manifests.
    pub fn with_manifests(manifests: &'a ManifestSet) -> Self {
        Self {
            manifests: Some(manifests),
            revisions: &[],
        }
    }
}

/// Something that a validator found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable code, in kebab case (`plain-text-secret`).
    pub code: String,
    /// How much it matters; `Error` forbids the sync.
    pub severity: Severity,
    /// What was found, for people; no secrets.
    pub message: String,
    /// The object, when it is about one.
    pub object: Option<ObjectId>,
    /// Where in the source it is.
    pub origin: Option<Origin>,
    /// The field, as a JSON pointer.
    pub pointer: Option<String>,
}

impl Finding {
    /// A finding about the application as a whole.
    pub fn new(code: impl Into<String>, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            severity,
            message: message.into(),
            object: None,
            origin: None,
            pointer: None,
        }
    }
}

/// Looks for what is wrong with an application.
///
/// # Contract
/// - All findings come back, not the first one; no finding means an empty list.
/// - Nothing is changed; the network is used only by validators that say so.
/// - An error means that it could not look; nobody takes it for "nothing found".
#[async_trait]
pub trait Validator: Send + Sync {
    /// A short name for logs.
    fn name(&self) -> &str;

    /// Looks at `app`.
    ///
    /// # Errors
    /// When it cannot look.
    async fn validate(&self, app: &Application, context: &Context<'_>) -> Result<Vec<Finding>>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Validator + ?Sized> Validator for $wrapper {
            fn name(&self) -> &str {
                (**self).name()
            }
            async fn validate(&self, app: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
                (**self).validate(app, context).await
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);
