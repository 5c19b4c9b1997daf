//! Configuration between Git and a cluster, without an application being kept anywhere.

use gitops_core::application::{Application, Source};
use gitops_core::backend::ResourceAction;
use gitops_core::manifest::render::Renderers;
use gitops_core::manifest::{ManifestSet, Tree};
use gitops_core::{Error, ErrorKind, Result};
use gitops_git::{CommitOptions, CommitOutcome, GitClient, RepoUrl, Scheme};
use sha2::{Digest as _, Sha256};

use gitops_core::source::Sources;

use super::sources::{GitSources, clean_path};
use super::to_git::{self, Layout};
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

/// The [source](std::error::Error::source) of the error of a sync from Git that was carried out and failed: what was done, and what not. Its text names
/// every object that failed.
#[derive(Clone, Debug)]
pub struct GitSyncFailed(pub GitSync);

impl std::fmt::Display for GitSyncFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let GitSync { revision, report } = &self.0;
        write!(f, "sync of {revision}: {} changed", report.changed)?;
        let failed = report
            .results
            .iter()
            .filter(|result| result.action == ResourceAction::Failed);
        for result in failed {
            write!(f, "; {} failed: {}", result.id, result.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for GitSyncFailed {}

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
            sources: GitSources::new(git, Renderers::with_programs()),
            options,
            revision: String::new(),
        }
    }

    /// Renders with `renderers` instead of [`Renderers::with_programs`].
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
    /// `NotFound` for an unknown repository, revision or path; `InvalidInput` for a URL or manifests that cannot be read; `Failed` when an object could not be
    /// applied, pruned or become healthy: then the error's source is a [`GitSyncFailed`], which holds the whole report.
    #[tracing::instrument(skip_all, fields(path))]
    pub async fn sync_from_git(&self, repo: &str, path: &str) -> Result<GitSync> {
        let path = clean_path(path)?;
        let app = Application::new(set_name(&RepoUrl::parse(repo)?, &path))
            .source(Source::git(repo).path(&*path).revision(&*self.revision))
            .in_namespace(&*self.options.namespace);
        let mut rendered = self.sources.render(&app, &[]).await?;
        let report = self
            .engine
            .sync(&ApplySet::of(&app)?, rendered.manifests, &self.options)
            .await?;
        let sync = GitSync {
            revision: rendered.revisions.pop().unwrap_or_default(),
            report,
        };
        match sync.report.failure.clone() {
            None => Ok(sync),
            Some(failure) => Err(Error::failed(failure).with_source(GitSyncFailed(sync))),
        }
    }

    /// Makes `config.path` of the repository hold `config.objects`, with the fewest changes: what means the same is not touched, what differs is edited in
    /// place (comments, order and formatting stay), new objects go where the layout says, and with `prune` what is not named is removed. Commits and pushes only
    /// when something changed, and again on the new state when others pushed meanwhile.
    ///
    /// Status and what the API server adds to objects are not written, so objects may come from a cluster. Dropping the future stops it; a push under way
    /// may still be accepted.
    ///
    /// # Errors
    /// `InvalidInput` for a Secret unless [`allow_secrets`](Config::allow_secrets), for files that cannot be read, and for a layout that leads out of the path;
    /// `Unsupported` for a path that Kustomize or Helm renders; those of [`Repository::commit`](gitops_git::Repository::commit).
    #[tracing::instrument(skip_all, fields(path = config.path))]
    pub async fn sync_to_git(&self, config: &Config) -> Result<CommitOutcome> {
        let path = clean_path(&config.path)?;
        if !config.allow_secrets
            && let Some(secret) = config
                .objects
                .iter()
                .find(|object| object.kind() == "Secret" && object.group().is_empty())
        {
            return Err(Error::invalid(format!(
                "{} would be readable by everybody who can read the repository; seal or encrypt it first",
                secret.id()
            )));
        }
        let repository = self.sources.git().repository(&config.repo).await?;
        repository
            .commit(&config.commit, |now| {
                let path = path.clone();
                async move {
                    let tree = match now.tree(&path).await {
                        Err(error) if error.kind() == ErrorKind::NotFound => {
                            Tree::new(now.commit().unwrap_or_default(), path, "")
                        }
                        tree => tree?,
                    };
                    to_git::edits(&tree, config)
                }
            })
            .await
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("repo", &gitops_core::error::redact_url(&self.repo))
            .field("path", &self.path)
            .field("objects", &self.objects.len())
            .field("namespace", &self.namespace)
            .field("prune", &self.prune)
            .field("allow_secrets", &self.allow_secrets)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// What a path of a repository shall hold.
#[derive(Clone)]
pub struct Config {
    /// The repository's URL.
    pub repo: String,
    /// The path; empty is the root.
    pub path: String,
    /// The objects.
    pub objects: ManifestSet,
    /// The namespace that objects without one belong to: one that names it and one that leaves it out are the same object, and each file keeps its way.
    /// Empty unless set: then they are two.
    pub namespace: String,
    /// Remove objects that are not among [`objects`](Self::objects). Off unless set.
    pub prune: bool,
    /// Write Secrets as they are, for everybody to read. Off unless set.
    pub allow_secrets: bool,
    /// Where new objects go.
    pub layout: Layout,
    /// The branch, the author and the message.
    pub commit: CommitOptions,
}

impl Config {
    /// `objects` at the root of the repository.
    pub fn new(repo: impl Into<String>, objects: ManifestSet, commit: CommitOptions) -> Self {
        Self {
            repo: repo.into(),
            path: String::new(),
            objects,
            namespace: String::new(),
            prune: false,
            allow_secrets: false,
            layout: Layout::default(),
            commit,
        }
    }

    /// At this path.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets [`namespace`](Self::namespace).
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Sets [`prune`](Self::prune).
    #[must_use]
    pub fn prune(mut self, prune: bool) -> Self {
        self.prune = prune;
        self
    }

    /// Sets [`layout`](Self::layout).
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }
}

/// What the URLs of one repository have in common: not `.git` at the end, an HTTP user (it may be a token), or HTTPS instead of SSH. Two repositories never
/// share it, for they would prune each other's objects.
fn identity(repo: &RepoUrl) -> String {
    let port = repo
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let host = repo.host();
    let path = repo.path().trim_end_matches('/');
    match (repo.scheme(), repo.username()) {
        // `a` and `a.git` may both be there.
        (Scheme::File, _) => path.to_owned(),
        // The user of a forge is `git`; any other, or none, may decide where a relative path begins.
        (Scheme::Ssh, user) if user != Some("git") => {
            format!("{}@{host}{port}:{path}", user.unwrap_or_default())
        }
        _ => {
            let place = path.trim_start_matches('/');
            let place = place.strip_suffix(".git").unwrap_or(place);
            format!("{host}{port}/{place}")
        }
    }
}

/// A name that Kubernetes takes, for a path of a repository; the hash keeps `a/b` and `a-b` apart.
fn set_name(repo: &RepoUrl, path: &str) -> String {
    let hash = Sha256::digest(format!("{}\n{path}", identity(repo)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_named_after_the_repository_however_it_is_reached() {
        let name = |url: &str, path: &str| set_name(&RepoUrl::parse(url).unwrap(), path);
        let one = name("https://git.example.com/team/shop", "apps/web");
        for same in [
            "https://git.example.com/team/shop.git",
            "https://git.example.com/team/shop/",
            "https://bot@git.example.com/team/shop.git",
            "git@git.example.com:team/shop.git",
        ] {
            assert_eq!(name(same, "apps/web"), one, "{same}");
        }
        assert_ne!(name("https://git.example.com/team/other", "apps/web"), one);
        assert_ne!(name("https://git.example.com/team/shop", "apps-web"), one);
    }

    #[test]
    fn two_repositories_never_share_a_set() {
        let name = |url: &str| set_name(&RepoUrl::parse(url).unwrap(), "apps");
        for (one, other) in [
            ("/srv/a", "/srv/a.git"),
            ("ann@h.example.com:a", "bob@h.example.com:a"),
            ("ann@h.example.com:a", "ssh://ann@h.example.com/a"),
            ("https://h.example.com/a", "https://h.example.com:8443/a"),
            ("https://h.example.com/a", "https://h.example.com/a.git.git"),
        ] {
            assert_ne!(name(one), name(other), "{one} {other}");
        }
        assert_eq!(name("/srv/a"), name("file:///srv/a/"));
    }

    #[test]
    fn debug_shows_no_credentials() {
        let config = Config::new(
            "https://canary@example.com/a/b.git?token=canary",
            ManifestSet::new(),
            CommitOptions::new("Ann", "ann@example.com", "Change {path}"),
        );
        let text = format!("{config:?}");
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("https://example.com/a/b.git"), "{text}");
    }
}
