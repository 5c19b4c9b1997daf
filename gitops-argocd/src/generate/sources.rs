//! Who reads repositories for the Git generator.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use gitops_core::Result;

/// Reads repositories for [`generate`](super::generate()): what Argo CD's repo-server does for the Git generator (3.2, `GetGitDirectories` and `GetGitFiles`).
///
/// One evaluation should see one state of a repository: it may ask for the same repository and revision again and again, for each set of parameters of a matrix.
///
/// Both get the repository's URL and the revision as the set has them (an empty revision is `HEAD`), and the set's project, by which credentials may be chosen;
/// it is `None` when the project is a placeholder.
///
/// `GitSetSources` (feature `git`) is the one that ships.
#[async_trait]
pub trait SetSources: Send + Sync {
    /// All directories: every one that holds a file, itself or further down, but for the root. Hidden ones, whose names begin with a dot, are left out with all that
    /// is below them, as the repo-server does unless it is told to include them. What symbolic links lead to is not looked into. The order does not matter.
    ///
    /// # Errors
    /// What keeps it from reading the repository.
    async fn directories(
        &self,
        repo_url: &str,
        revision: &str,
        project: Option<&str>,
    ) -> Result<Vec<String>>;

    /// The files that a pattern names, by their paths from the root, hidden ones too. [`Pathspec`](super::Pathspec) tells which; none is no error.
    ///
    /// # Errors
    /// What keeps it from reading the repository, or one of the files; those of [`Pathspec::parse`](super::Pathspec::parse).
    async fn files(
        &self,
        repo_url: &str,
        revision: &str,
        project: Option<&str>,
        pattern: &str,
    ) -> Result<BTreeMap<String, Bytes>>;
}
