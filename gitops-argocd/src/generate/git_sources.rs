//! Repositories for the Git generator, read with `gitops-git`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use gitops_core::manifest::TreeEntry;
use gitops_core::{Error, ErrorKind, Result};
use gitops_git::{GitClient, LfsPolicy, LinkPolicy, ListedKind, Repository, Revision, TreeOptions};
use tokio::sync::OnceCell;

use super::{MAX_BYTES, MAX_FILE_BYTES, Pathspec, SetSources};

/// So many repositories and revisions are remembered; one more, and all are forgotten.
const MAX_LOOKS: usize = 64;

/// Reads repositories for [`generate`](super::generate()) through a [`GitClient`], without a checkout.
///
/// It asks the remote what a revision is once, and stays with the answer: the parts of a set that use the same repository see the same commit. To see what is
/// new, make another one; the client keeps what was fetched.
///
/// The credentials are the client's, whatever the project. Submodules are empty directories here; LFS pointers are files as any other. Symbolic links among the
/// files are followed within the repository, and refused when they leave it.
///
/// ```no_run
/// # async fn example(set: gitops_argocd::types::ApplicationSet) -> gitops_core::Result<()> {
/// use gitops_argocd::generate::{GitSetSources, generate};
/// use gitops_git::{GitClient, RepositoryOptions};
///
/// let sources = GitSetSources::new(GitClient::new(RepositoryOptions::default())?);
/// for application in generate(&set, &sources).await? {
///     println!("{}", application.name());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GitSetSources {
    client: GitClient,
    hidden: bool,
    looks: Mutex<Looks>,
}

/// By URL and revision.
type Looks = HashMap<(String, String), Arc<OnceCell<Look>>>;

/// One repository at one commit.
#[derive(Clone, Debug)]
struct Look {
    repository: Repository,
    commit: Arc<str>,
    paths: Arc<BTreeMap<String, ListedKind>>,
}

impl GitSetSources {
    /// Reads with `client`.
    pub fn new(client: GitClient) -> Self {
        Self {
            client,
            hidden: false,
            looks: Mutex::default(),
        }
    }

    /// Hidden directories too, as the repo-server with `ARGOCD_REPO_SERVER_INCLUDE_HIDDEN_DIRECTORIES`.
    #[must_use]
    pub fn include_hidden_directories(mut self, hidden: bool) -> Self {
        self.hidden = hidden;
        self
    }

    async fn look(&self, repo_url: &str, revision: &str) -> Result<Look> {
        let key = (repo_url.to_owned(), revision.to_owned());
        let cell = {
            let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
            if looks.len() >= MAX_LOOKS && !looks.contains_key(&key) {
                looks.clear();
            }
            Arc::clone(looks.entry(key).or_default())
        };
        let look = || async {
            let revision = Revision::parse(revision)?;
            let repository = self.client.repository(repo_url).await?;
            let commit = repository.fetch_revision(&revision).await?.commit;
            let paths = repository.list(&commit).await?;
            Ok(Look {
                repository,
                commit: commit.into(),
                paths: Arc::new(paths),
            })
        };
        cell.get_or_try_init(look).await.cloned()
    }
}

#[async_trait]
impl SetSources for GitSetSources {
    async fn directories(
        &self,
        repo_url: &str,
        revision: &str,
        _project: Option<&str>,
    ) -> Result<Vec<String>> {
        let look = self.look(repo_url, revision).await?;
        let hidden = |path: &str| path.split('/').any(|part| part.starts_with('.'));
        Ok(look
            .paths
            .iter()
            // A submodule is a directory of the work tree.
            .filter(|(_, kind)| matches!(kind, ListedKind::Directory | ListedKind::Submodule))
            .map(|(path, _)| path)
            .filter(|path| self.hidden || !hidden(path))
            .cloned()
            .collect())
    }

    async fn files(
        &self,
        repo_url: &str,
        revision: &str,
        _project: Option<&str>,
        pattern: &str,
    ) -> Result<BTreeMap<String, Bytes>> {
        let pathspec = Pathspec::parse(pattern)?;
        let look = self.look(repo_url, revision).await?;
        let options = TreeOptions {
            max_file_bytes: MAX_FILE_BYTES,
            links: LinkPolicy::Follow,
            lfs: LfsPolicy::Keep,
            ..look.repository.options().tree.clone()
        };
        let mut files = BTreeMap::new();
        let mut left = MAX_BYTES;
        for (path, kind) in look.paths.iter() {
            if *kind == ListedKind::Directory || !pathspec.matches(path) {
                continue;
            }
            if *kind == ListedKind::Submodule {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the pattern {pattern:?} names the submodule {path:?}, which is no file"
                    ),
                ));
            }
            let tree = look
                .repository
                .tree_with(&look.commit, path, &options)
                .await?;
            let name = path.rsplit('/').next().unwrap_or(path);
            let Some(bytes) = tree.get(name).and_then(TreeEntry::bytes) else {
                return Err(Error::invalid(format!(
                    "the pattern {pattern:?} names the symbolic link {path:?}, which does not lead to a file"
                )));
            };
            left = left.checked_sub(bytes.len()).ok_or_else(|| {
                Error::invalid(format!(
                    "the files that the pattern {pattern:?} names have more than {MAX_BYTES} bytes"
                ))
            })?;
            files.insert(path.clone(), Bytes::from_owner(Arc::clone(bytes)));
        }
        Ok(files)
    }
}
