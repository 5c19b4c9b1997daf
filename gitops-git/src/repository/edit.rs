//! Edits of a tree, made into Git objects without a checkout.

use std::collections::BTreeMap;
use std::fmt;

use git2::{FileMode, ObjectType, Oid};
use gitops_core::manifest::{Tree, check_path};
use gitops_core::{Error, Result};

use super::tree::{TreeOptions, normalize};
use super::{Repository, store};

/// What a branch holds when an edit is made: the view an edit function reads.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) repository: Repository,
    pub(super) commit: Option<String>,
}

impl Snapshot {
    /// The commit; `None` when the branch is new and starts from nothing.
    pub fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// The files below `path`; empty when the branch starts from nothing.
    ///
    /// # Errors
    /// As [`Repository::tree`].
    pub async fn tree(&self, path: &str) -> Result<Tree> {
        match &self.commit {
            Some(commit) => self.repository.tree(commit, path).await,
            None => Ok(Tree::new("", normalize(path)?, "")),
        }
    }

    /// One file's bytes; `None` when nothing is there.
    ///
    /// # Errors
    /// `InvalidInput` when a directory, a symbolic link or a submodule is there; else as [`Repository::tree`].
    pub async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let path = normalize(path)?;
        let Some(commit) = self.commit.clone() else {
            return Ok(None);
        };
        let options = TreeOptions {
            lfs: super::LfsPolicy::Keep,
            ..self.repository.inner.options.tree.clone()
        };
        self.repository
            .with_git(move |git| {
                let root = store::find_commit(git, &commit)?
                    .tree()
                    .map_err(store::failed("read a commit's tree"))?;
                let entry = match root.get_path(std::path::Path::new(&path)) {
                    Ok(entry) => entry,
                    Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(None),
                    Err(error) => return Err(store::failed(format!("read {path:?}"))(error)),
                };
                if entry.kind() != Some(ObjectType::Blob)
                    || entry.filemode() == i32::from(FileMode::Link)
                {
                    return Err(Error::invalid(format!("{path:?} is not a file")));
                }
                let odb = git.odb().map_err(store::failed("open the object store"))?;
                let (size, _) = odb
                    .read_header(entry.id())
                    .map_err(store::failed(format!("read {path:?}")))?;
                if size as u64 > options.max_file_bytes {
                    return Err(Error::invalid(format!(
                        "{path:?} has {size} bytes, over the limit"
                    )));
                }
                let object = odb
                    .read(entry.id())
                    .map_err(store::failed(format!("read {path:?}")))?;
                Ok(Some(object.data().to_vec()))
            })
            .await
    }
}

#[derive(Clone)]
enum Edit {
    Put {
        bytes: Vec<u8>,
        executable: Option<bool>,
    },
    Delete,
    Rename {
        from: String,
    },
}

impl fmt::Debug for Edit {
    /// A file's bytes are told by their number: they may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { bytes, executable } => f
                .debug_struct("Put")
                .field("bytes", &bytes.len())
                .field("executable", executable)
                .finish(),
            Self::Delete => f.write_str("Delete"),
            Self::Rename { from } => f.debug_struct("Rename").field("from", from).finish(),
        }
    }
}

/// Edits of files, applied in the order given. Paths are from the repository's root, with `/`.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    edits: Vec<(String, Edit)>,
    values: BTreeMap<String, String>,
}

impl Edits {
    /// No edit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a file; one that exists keeps its mode.
    #[must_use]
    pub fn put(self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.push(
            path,
            Edit::Put {
                bytes: bytes.into(),
                executable: None,
            },
        )
    }

    /// Writes an executable file.
    #[must_use]
    pub fn put_executable(self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.push(
            path,
            Edit::Put {
                bytes: bytes.into(),
                executable: Some(true),
            },
        )
    }

    /// Removes a file or a whole directory; it must exist.
    #[must_use]
    pub fn delete(self, path: impl Into<String>) -> Self {
        self.push(path, Edit::Delete)
    }

    /// Moves a file or a whole directory; the new place must be free.
    #[must_use]
    pub fn rename(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.push(to, Edit::Rename { from: from.into() })
    }

    /// Gives the message template a value for `{name}`.
    #[must_use]
    pub fn value(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }

    /// Whether there is no edit.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The paths named, in order, each once.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = Vec::new();
        for (path, _) in &self.edits {
            if !paths.contains(&path.as_str()) {
                paths.push(path);
            }
        }
        paths
    }

    pub(super) fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    fn push(mut self, path: impl Into<String>, edit: Edit) -> Self {
        self.edits.push((path.into(), edit));
        self
    }

    /// Writes the blobs and trees, and gives the new root.
    pub(super) fn apply(self, git: &git2::Repository, root: Option<Oid>) -> Result<Oid> {
        let mut root = match root {
            Some(root) => root,
            None => empty_tree(git)?,
        };
        for (path, edit) in self.edits {
            check_path(&path)?;
            root = match edit {
                Edit::Put { bytes, executable } => {
                    let mode = match (lookup(git, root, &path)?, executable) {
                        (Some((_, mode)), _) if mode == i32::from(FileMode::Link) => {
                            return Err(Error::invalid(format!(
                                "{path:?} is a symbolic link; it is not written through"
                            )));
                        }
                        (Some((_, mode)), _)
                            if mode == i32::from(FileMode::Tree)
                                || mode == i32::from(FileMode::Commit) =>
                        {
                            return Err(Error::invalid(format!("{path:?} is not a file")));
                        }
                        (_, Some(true)) => i32::from(FileMode::BlobExecutable),
                        (Some((_, mode)), _) => mode,
                        (None, _) => i32::from(FileMode::Blob),
                    };
                    let blob = git
                        .blob(&bytes)
                        .map_err(store::failed(format!("write {path:?}")))?;
                    set(git, root, &path, Some((blob, mode)), &path)?
                }
                Edit::Delete => {
                    if lookup(git, root, &path)?.is_none() {
                        return Err(Error::not_found(format!(
                            "{path:?} does not exist; it cannot be deleted"
                        )));
                    }
                    set(git, root, &path, None, &path)?
                }
                Edit::Rename { from } => {
                    check_path(&from)?;
                    let Some(entry) = lookup(git, root, &from)? else {
                        return Err(Error::not_found(format!(
                            "{from:?} does not exist; it cannot be renamed"
                        )));
                    };
                    if from == path {
                        continue;
                    }
                    let root = set(git, root, &from, None, &from)?;
                    if lookup(git, root, &path)?.is_some() {
                        return Err(Error::already_exists(format!(
                            "{path:?} exists; {from:?} cannot take its place"
                        )));
                    }
                    set(git, root, &path, Some(entry), &path)?
                }
            };
        }
        Ok(root)
    }
}

fn empty_tree(git: &git2::Repository) -> Result<Oid> {
    git.treebuilder(None)
        .and_then(|builder| builder.write())
        .map_err(store::failed("write an empty tree"))
}

fn lookup(git: &git2::Repository, root: Oid, path: &str) -> Result<Option<(Oid, i32)>> {
    let tree = git.find_tree(root).map_err(store::failed("read a tree"))?;
    match tree.get_path(std::path::Path::new(path)) {
        Ok(entry) => Ok(Some((entry.id(), entry.filemode()))),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(store::failed(format!("read {path:?}"))(error)),
    }
}

/// The tree `root` with `path` set to `entry`, or without it; directories that become empty go.
fn set(
    git: &git2::Repository,
    root: Oid,
    path: &str,
    entry: Option<(Oid, i32)>,
    whole: &str,
) -> Result<Oid> {
    let failed = |error| store::failed(format!("write {whole:?}"))(error);
    let tree = git.find_tree(root).map_err(failed)?;
    let mut builder = git.treebuilder(Some(&tree)).map_err(failed)?;
    let (name, value) = match path.split_once('/') {
        None => (path, entry),
        Some((name, rest)) => {
            let below = match tree.get_name(name) {
                None => empty_tree(git)?,
                Some(found) if found.filemode() == i32::from(FileMode::Tree) => found.id(),
                Some(_) => {
                    return Err(Error::invalid(format!(
                        "{whole:?}: {name:?} is not a directory"
                    )));
                }
            };
            let below = set(git, below, rest, entry, whole)?;
            let empty = git.find_tree(below).map_err(failed)?.is_empty();
            (name, (!empty).then_some((below, i32::from(FileMode::Tree))))
        }
    };
    match value {
        Some((oid, mode)) => {
            builder.insert(name, oid, mode).map_err(failed)?;
        }
        None => {
            if builder.get(name).map_err(failed)?.is_some() {
                builder.remove(name).map_err(failed)?;
            }
        }
    }
    builder.write().map_err(failed)
}
