//! Where manifests come from: the trait of who reads an application's sources, and the event that says that one of them moved.
//!
//! `gitops_kube::direct::GitSources` implements [`Sources`] for Git repositories; `gitops_git::GitWatcher` and `webhook` (feature `webhook`) tell [`RevisionEvent`]s.

mod event;

use std::sync::Arc;

use async_trait::async_trait;

use crate::application::Application;
use crate::error::Result;
use crate::manifest::ManifestSet;

pub use self::event::{RevisionEvent, same_repository};

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

    /// The revisions that the sources' target revisions mean now, one per source, in full. Unless it is overridden, everything is rendered for it.
    ///
    /// # Errors
    /// `NotFound` for an unknown revision.
    async fn resolve(&self, app: &Application) -> Result<Vec<String>> {
        Ok(self.render(app, &[]).await?.revisions)
    }

    /// The files that changed between two lists of revisions, from their repositories' roots, of all sources together; `None`, also unless it is overridden, when
    /// that is not known.
    ///
    /// # Errors
    /// Whatever reading meets.
    async fn changed_paths(
        &self,
        app: &Application,
        from: &[String],
        to: &[String],
    ) -> Result<Option<Vec<String>>> {
        let _ = (app, from, to);
        Ok(None)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Sources + ?Sized> Sources for Arc<T> {
    async fn render(&self, app: &Application, revisions: &[String]) -> Result<Rendered> {
        (**self).render(app, revisions).await
    }
    async fn resolve(&self, app: &Application) -> Result<Vec<String>> {
        (**self).resolve(app).await
    }
    async fn changed_paths(
        &self,
        app: &Application,
        from: &[String],
        to: &[String],
    ) -> Result<Option<Vec<String>>> {
        (**self).changed_paths(app, from, to).await
    }
}
