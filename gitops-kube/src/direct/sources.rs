//! From an application's sources to its manifests.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gitops_core::application::Application;
use gitops_core::manifest::ManifestSet;
use gitops_core::Result;

/// What an application's sources hold.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    /// The revisions that it was read at, one per source, in full.
    pub revisions: Vec<String>,
    /// The manifests.
    pub manifests: ManifestSet,
}

/// Reads and renders the sources of an application.
///
/// # Contract
/// - `revisions` names a revision per source; an empty list, or an empty text in it, means the source's own target revision.
/// - The answer names the revisions really read, in full.
/// - Dropping the future cancels the work.
#[async_trait]
pub trait Sources: Send + Sync {
    /// Reads and renders.
    ///
    /// # Errors
    /// `NotFound` for an unknown revision or path; `InvalidInput` for what cannot be rendered, naming file and line.
    async fn render(&self, app: &Application, revisions: &[String]) -> Result<Rendered>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Sources + ?Sized> Sources for Arc<T> {
    async fn render(&self, app: &Application, revisions: &[String]) -> Result<Rendered> {
        (**self).render(app, revisions).await
    }
}
