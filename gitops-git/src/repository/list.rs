//! The paths of a commit, without what the files hold.

use std::collections::BTreeMap;

use git2::Oid;
use gitops_core::{Error, Result};

use super::tree::{MAX_DEPTH, MODE_LINK, MODE_SUBMODULE, MODE_TREE, entry_name, join};
use super::{Repository, store};

/// What stands at a path of [`Repository::list`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListedKind {
    /// A directory.
    Directory,
    /// A file, executable or not.
    File,
    /// A symbolic link.
    Link,
    /// A submodule.
    Submodule,
}

impl Repository {
    /// All paths of `commit` (a full SHA that was fetched), directories too, and what stands there. No file is read: a repository may be listed whose
    /// files are too many bytes for [`tree`](Self::tree).
    ///
    /// # Errors
    /// `NotFound` for a commit that is not there; `InvalidInput` for names that [`tree`](Self::tree) refuses, and for more paths than
    /// [`TreeOptions::max_files`](super::TreeOptions::max_files); `Integrity` for damaged objects.
    #[tracing::instrument(skip_all, fields(url = %self.inner.url, commit))]
    pub async fn list(&self, commit: &str) -> Result<BTreeMap<String, ListedKind>> {
        let (commit, max) = (commit.to_owned(), self.inner.options.tree.max_files);
        self.with_git(move |git| {
            let mut paths = BTreeMap::new();
            let root = store::find_commit(git, &commit)?.tree_id();
            directory(git, root, "", 0, max, &mut paths)?;
            Ok(paths)
        })
        .await
    }
}

fn directory(
    git: &git2::Repository,
    oid: Oid,
    place: &str,
    depth: usize,
    max: usize,
    paths: &mut BTreeMap<String, ListedKind>,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::invalid(format!("{place:?} is nested too deeply")));
    }
    let tree = git
        .find_tree(oid)
        .map_err(store::failed(format!("read {place:?}")))?;
    for entry in &tree {
        let path = join(place, entry_name(&entry, place)?);
        if paths.len() >= max {
            return Err(Error::invalid(format!(
                "the repository holds more than {max} paths"
            )));
        }
        let kind = match entry.filemode() {
            MODE_TREE => ListedKind::Directory,
            MODE_SUBMODULE => ListedKind::Submodule,
            MODE_LINK => ListedKind::Link,
            _ => ListedKind::File,
        };
        paths.insert(path.clone(), kind);
        if kind == ListedKind::Directory {
            directory(git, entry.id(), &path, depth + 1, max, paths)?;
        }
    }
    Ok(())
}
