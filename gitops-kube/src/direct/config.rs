//! Configuration between Git and a cluster, without an application being kept anywhere.

use gitops_core::application::{Application, Source};
use gitops_core::manifest::render::Renderers;
use gitops_core::{Error, Result};
use gitops_git::GitClient;
use sha2::{Digest as _, Sha256};

use super::sources::{GitSources, Sources, clean_path};
use crate::engine::{ApplySet, Engine, EngineOptions, Report};

/// What a sync from Git did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GitSync {
    /// The commit that was applied.
    pub revision: String,
    /// What was done.
    pub report: Report,
}

/// Syncs a path of a repository to the cluster, and objects to a repository.
#[derive(Clone, Debug)]
pub struct ConfigManager {
    engine: Engine,
    sources: GitSources,
    options: EngineOptions,
    revision: String,
}

impl ConfigManager {
    /// A manager that reads and writes with `git`, and applies with `engine`.
    pub fn new(engine: Engine, git: GitClient, options: EngineOptions) -> Self {
        Self {
            engine,
            sources: GitSources::new(git, Renderers::default()),
            options,
            revision: String::new(),
        }
    }

    /// Renders with `renderers` instead of reading plain directories only.
    #[must_use]
    pub fn renderers(mut self, renderers: Renderers) -> Self {
        self.sources = GitSources::new(self.sources.git().clone(), renderers);
        self
    }

    /// Syncs from this branch, tag or commit instead of the default branch.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = revision.into();
        self
    }

    /// Fetches `repo`, renders `path` of it, and makes the cluster so: plan, apply, wait for health, prune. The inventory is kept under a name
    /// made of the path, in the options' namespace: the same path of the same repository is the same set.
    ///
    /// # Errors
    /// `NotFound` for an unknown repository, revision or path; `InvalidInput` for manifests that cannot be read; `Failed` when an object could not be
    /// applied, pruned or become healthy.
    #[tracing::instrument(skip_all, fields(path))]
    pub async fn sync_from_git(&self, repo: &str, path: &str) -> Result<GitSync> {
        let path = clean_path(path)?;
        let app = Application::new(set_name(repo, &path))
            .source(Source::git(repo).path(&*path).revision(&*self.revision))
            .in_namespace(&*self.options.namespace);
        let mut rendered = self.sources.render(&app, &[]).await?;
        let report = self
            .engine
            .sync(&ApplySet::of(&app)?, rendered.manifests, &self.options)
            .await?;
        if let Some(failure) = &report.failure {
            return Err(Error::failed(failure.clone()));
        }
        Ok(GitSync {
            revision: rendered.revisions.pop().unwrap_or_default(),
            report,
        })
    }
}

/// A name that Kubernetes takes, for a path of a repository; the hash keeps `a/b` and `a-b` apart.
fn set_name(repo: &str, path: &str) -> String {
    let hash = Sha256::digest(format!("{repo}\n{path}"));
    let readable: String = path
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(100)
        .collect();
    let readable = match readable.trim_matches('-') {
        "" => "root",
        readable => readable,
    };
    format!(
        "{readable}-{:02x}{:02x}{:02x}{:02x}",
        hash[0], hash[1], hash[2], hash[3]
    )
}
