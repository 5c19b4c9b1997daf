//! The files of one path at one commit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// What stands at a path of a [`Tree`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeEntry {
    /// A file's bytes.
    File(Arc<[u8]>),
    /// An executable file's bytes.
    Executable(Arc<[u8]>),
    /// A symbolic link whose target stays inside the repository: the target, relative to the repository's root.
    Link(String),
    /// A submodule, which is not followed: the commit that it points to.
    Submodule(String),
}

impl fmt::Debug for TreeEntry {
    /// Files by their size: their bytes may be secrets, and many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(bytes) => write!(f, "File({} bytes)", bytes.len()),
            Self::Executable(bytes) => write!(f, "Executable({} bytes)", bytes.len()),
            Self::Link(target) => f.debug_tuple("Link").field(target).finish(),
            Self::Submodule(commit) => f.debug_tuple("Submodule").field(commit).finish(),
        }
    }
}

impl TreeEntry {
    /// The bytes, for a file.
    pub fn bytes(&self) -> Option<&Arc<[u8]>> {
        match self {
            Self::File(bytes) | Self::Executable(bytes) => Some(bytes),
            Self::Link(_) | Self::Submodule(_) => None,
        }
    }
}

/// The files of one path at one commit, read from the object store: nothing was checked out.
///
/// Keys are relative to [`path`](Self::path), with `/`, never absolute, never with `.` or `..` in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The commit's full SHA.
    pub revision: String,
    /// The path inside the repository; empty is its root.
    pub path: String,
    /// The Git hash of the tree object at `path`: equal trees have equal hashes. Empty when it did not come from Git.
    pub hash: String,
    entries: BTreeMap<String, TreeEntry>,
}

impl Tree {
    /// An empty tree at `path` of `revision`.
    pub fn new(
        revision: impl Into<String>,
        path: impl Into<String>,
        hash: impl Into<String>,
    ) -> Self {
        Self {
            revision: revision.into(),
            path: path.into(),
            hash: hash.into(),
            entries: BTreeMap::new(),
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is absolute, empty, or climbs (`..`), or names `.git`.
    pub fn insert(&mut self, path: impl Into<String>, entry: TreeEntry) -> Result<()> {
        let path = path.into();
        check_path(&path)?;
        self.entries.insert(path, entry);
        Ok(())
    }

    /// The entry at `path`.
    pub fn get(&self, path: &str) -> Option<&TreeEntry> {
        self.entries.get(path)
    }

    /// All entries, ordered by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TreeEntry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_str(), entry))
    }

    /// The entries below the directory `path`, ordered by path; the root's path is empty. The paths are the tree's, not relative to `path`.
    pub fn below(&self, path: &str) -> impl Iterator<Item = (&str, &TreeEntry)> {
        let prefix = match path {
            "" => String::new(),
            path => format!("{path}/"),
        };
        self.entries
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, entry)| (path.as_str(), entry))
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Refuses a path that could leave the tree or mean something else on another system: empty, absolute, with `.`, `..`, empty or
/// `.git` (in any case) components, a backslash or NUL.
///
/// # Errors
/// `InvalidInput`, naming the path.
pub fn check_path(path: &str) -> Result<()> {
    let bad = path.is_empty()
        || path.contains(['\\', '\0'])
        || path.split('/').any(|part| {
            part.is_empty() || part == "." || part == ".." || part.eq_ignore_ascii_case(".git")
        });
    if bad {
        return Err(Error::invalid(format!(
            "path {path:?} is not a plain relative path"
        )));
    }
    Ok(())
}
