//! Reading the files of one path at one commit from the object store.

use std::collections::BTreeSet;

use git2::{ObjectType, Odb, Oid};
use gitops_core::manifest::{Tree, TreeEntry, check_path};
use gitops_core::{Error, ErrorKind, Result};

use super::{Repository, store};

/// What to do with symbolic links that stay inside the repository. Those that leave it are always an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkPolicy {
    /// Keep them as [`TreeEntry::Link`].
    #[default]
    Keep,
    /// Put what they lead to in their place, from the same commit.
    Follow,
    /// Refuse them.
    Refuse,
}

/// What to do with Git LFS pointers: small files that stand for content which is not in the repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LfsPolicy {
    /// Refuse them.
    #[default]
    Refuse,
    /// Keep the pointer's text.
    Keep,
}

/// Limits and policies for reading a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeOptions {
    /// At most this many entries (100,000 unless set).
    pub max_files: usize,
    /// At most this many bytes together (512 MiB unless set).
    pub max_bytes: u64,
    /// At most this many bytes in one file (64 MiB unless set).
    pub max_file_bytes: u64,
    /// What to do with symbolic links.
    pub links: LinkPolicy,
    /// What to do with LFS pointers.
    pub lfs: LfsPolicy,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            max_files: 100_000,
            max_bytes: 512 << 20,
            max_file_bytes: 64 << 20,
            links: LinkPolicy::default(),
            lfs: LfsPolicy::default(),
        }
    }
}

pub(super) const MODE_TREE: i32 = 0o040_000;
pub(super) const MODE_LINK: i32 = 0o120_000;
pub(super) const MODE_SUBMODULE: i32 = 0o160_000;
pub(super) const MAX_DEPTH: usize = 128;
const LFS_SIGN: &[u8] = b"version https://git-lfs.github.com/spec/";

impl Repository {
    /// The files of `path` at `commit` (a full SHA that was fetched), read from the object store: nothing is checked out. An empty path and `.` are the root; a
    /// file's path gives a tree of that one file.
    ///
    /// Limits and policies are [`RepositoryOptions::tree`](super::RepositoryOptions::tree). A submodule is an entry of its own and is not followed; one in the way of `path`
    /// is an error.
    ///
    /// # Errors
    /// `NotFound` for a commit or path that is not there; `InvalidInput` for a path that climbs, a symbolic link that leaves the repository, an entry named
    /// `..`, `.git` (in any case) or with a backslash, a name that is not UTF-8, an LFS pointer, a limit passed; `Integrity` for damaged objects.
    #[tracing::instrument(skip_all, fields(url = %self.inner.url, commit, path))]
    pub async fn tree(&self, commit: &str, path: &str) -> Result<Tree> {
        self.tree_with(commit, path, &self.inner.options.tree).await
    }

    /// [`tree`](Self::tree) with other limits and policies.
    ///
    /// # Errors
    /// As for [`tree`](Self::tree).
    pub async fn tree_with(&self, commit: &str, path: &str, options: &TreeOptions) -> Result<Tree> {
        let path = normalize(path)?;
        let (commit, options) = (commit.to_owned(), options.clone());
        self.with_git(move |git| {
            let commit = store::find_commit(git, &commit)?;
            read(
                git,
                &commit.id().to_string(),
                commit.tree_id(),
                &path,
                &options,
            )
        })
        .await
    }
}

/// A path as users write it, as Git writes it.
pub(super) fn normalize(path: &str) -> Result<String> {
    let mut path = path.trim_end_matches('/');
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    if path.is_empty() || path == "." {
        return Ok(String::new());
    }
    check_path(path)?;
    Ok(path.to_owned())
}

/// Reads `path` below the tree `root`.
pub(super) fn read(
    git: &git2::Repository,
    revision: &str,
    root: Oid,
    path: &str,
    options: &TreeOptions,
) -> Result<Tree> {
    let odb = git.odb().map_err(store::failed("open the object store"))?;
    let mut reader = Reader {
        git,
        odb,
        root,
        base: path,
        options,
        bytes: 0,
        links: BTreeSet::new(),
        tree: Tree::default(),
    };
    let (oid, mode) = reader.locate(path)?;
    reader.tree = Tree::new(revision, path, oid.to_string());
    if mode == MODE_TREE {
        reader.directory(oid, "", path, 0)?;
    } else {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        reader.entry(oid, mode, &name, path, 0)?;
    }
    Ok(reader.tree)
}

struct Reader<'a> {
    git: &'a git2::Repository,
    odb: Odb<'a>,
    root: Oid,
    base: &'a str,
    options: &'a TreeOptions,
    bytes: u64,
    /// Links being followed, to find circles.
    links: BTreeSet<String>,
    tree: Tree,
}

impl Reader<'_> {
    /// The object and mode at a path from the root.
    fn locate(&self, path: &str) -> Result<(Oid, i32)> {
        let mut at = (self.root, MODE_TREE);
        let mut walked = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match at.1 {
                MODE_TREE => {}
                MODE_SUBMODULE => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!(
                            "path {path:?} leads into the submodule {walked:?}, which is not followed"
                        ),
                    ));
                }
                MODE_LINK => {
                    return Err(Error::invalid(format!(
                        "path {path:?} leads through the symbolic link {walked:?}"
                    )));
                }
                _ => {
                    return Err(Error::not_found(format!(
                        "path {path:?}: {walked:?} is a file"
                    )));
                }
            }
            let tree = self
                .git
                .find_tree(at.0)
                .map_err(store::failed(format!("read {walked:?}")))?;
            at = tree
                .get_name(part)
                .map(|entry| (entry.id(), entry.filemode()))
                .ok_or_else(|| Error::not_found(format!("path {path:?} does not exist")))?;
            if !walked.is_empty() {
                walked.push('/');
            }
            walked.push_str(part);
        }
        if at.1 == MODE_SUBMODULE {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("path {path:?} is a submodule, which is not followed"),
            ));
        }
        Ok(at)
    }

    /// Adds the directory `oid`, whose entries are named below `key` in the answer and stand at `place` in the repository.
    fn directory(&mut self, oid: Oid, key: &str, place: &str, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::invalid(format!("{place:?} is nested too deeply")));
        }
        let tree = self
            .git
            .find_tree(oid)
            .map_err(store::failed(format!("read {place:?}")))?;
        for entry in &tree {
            let name = entry_name(&entry, place)?;
            let (key, place) = (join(key, name), join(place, name));
            self.entry(entry.id(), entry.filemode(), &key, &place, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, oid: Oid, mode: i32, key: &str, place: &str, depth: usize) -> Result<()> {
        let entry = match mode {
            MODE_TREE => return self.directory(oid, key, place, depth + 1),
            MODE_SUBMODULE => TreeEntry::Submodule(oid.to_string()),
            MODE_LINK => {
                let target = self.link_target(oid, place)?;
                match self.options.links {
                    LinkPolicy::Keep => TreeEntry::Link(target),
                    LinkPolicy::Refuse => {
                        return Err(Error::invalid(format!("{place:?} is a symbolic link")));
                    }
                    LinkPolicy::Follow => return self.follow(key, place, &target, depth),
                }
            }
            mode => {
                let bytes = self.file(oid, place)?;
                if mode & 0o111 == 0 {
                    TreeEntry::File(bytes.into())
                } else {
                    TreeEntry::Executable(bytes.into())
                }
            }
        };
        if self.tree.len() >= self.options.max_files {
            return Err(Error::invalid(format!(
                "path {:?} holds more than {} files",
                self.base, self.options.max_files
            )));
        }
        self.tree.insert(key, entry)
    }

    fn follow(&mut self, key: &str, place: &str, target: &str, depth: usize) -> Result<()> {
        if !self.links.insert(place.to_owned()) || depth > MAX_DEPTH {
            return Err(Error::invalid(format!(
                "the symbolic link {place:?} leads in a circle"
            )));
        }
        let (oid, mode) = self
            .locate(target)
            .map_err(|error| error.context(format!("symbolic link {place:?}")))?;
        self.entry(oid, mode, key, target, depth + 1)?;
        self.links.remove(place);
        Ok(())
    }

    /// Where a link leads, from the root.
    fn link_target(&mut self, oid: Oid, place: &str) -> Result<String> {
        let (size, _) = self
            .odb
            .read_header(oid)
            .map_err(store::failed(format!("read {place:?}")))?;
        if size > 4096 {
            return Err(Error::invalid(format!(
                "the symbolic link {place:?} is too long"
            )));
        }
        let object = self
            .odb
            .read(oid)
            .map_err(store::failed(format!("read {place:?}")))?;
        let leaves = || {
            Error::invalid(format!(
                "the symbolic link {place:?} leads out of the repository"
            ))
        };
        let target = std::str::from_utf8(object.data()).map_err(|_| leaves())?;
        if target.is_empty() || target.starts_with('/') || target.contains(['\\', '\0']) {
            return Err(leaves());
        }
        let mut parts: Vec<&str> = place.split('/').collect();
        parts.pop();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop().ok_or_else(leaves)?;
                }
                part if part.eq_ignore_ascii_case(".git") => return Err(leaves()),
                part => parts.push(part),
            }
        }
        Ok(parts.join("/"))
    }

    fn file(&mut self, oid: Oid, place: &str) -> Result<Vec<u8>> {
        // The header first: a huge file must not be read to learn that it is.
        let (size, kind) = self
            .odb
            .read_header(oid)
            .map_err(store::failed(format!("read {place:?}")))?;
        if kind != ObjectType::Blob {
            return Err(Error::integrity(format!(
                "{place:?} is not a file's object"
            )));
        }
        let size = size as u64;
        if size > self.options.max_file_bytes {
            return Err(Error::invalid(format!(
                "{place:?} has {size} bytes, more than {}",
                self.options.max_file_bytes
            )));
        }
        self.bytes += size;
        if self.bytes > self.options.max_bytes {
            return Err(Error::invalid(format!(
                "path {:?} holds more than {} bytes",
                self.base, self.options.max_bytes
            )));
        }
        let object = self
            .odb
            .read(oid)
            .map_err(store::failed(format!("read {place:?}")))?;
        let data = object.data();
        if self.options.lfs == LfsPolicy::Refuse && data.len() < 1024 && data.starts_with(LFS_SIGN)
        {
            return Err(Error::invalid(format!(
                "{place:?} is a Git LFS pointer: its content is not in the repository"
            )));
        }
        Ok(data.to_vec())
    }
}

/// The name of an entry of the tree at `place`, if it is one that cannot do harm.
pub(super) fn entry_name<'a>(entry: &'a git2::TreeEntry<'_>, place: &str) -> Result<&'a str> {
    let name = std::str::from_utf8(entry.name_bytes())
        .map_err(|_| Error::invalid(format!("{place:?} holds a name that is not UTF-8")))?;
    check_path(name)
        .and_then(|()| {
            if name.contains('/') {
                Err(Error::invalid(format!("name {name:?} holds a slash")))
            } else {
                Ok(())
            }
        })
        .map_err(|error| error.context(format!("tree {place:?}")))?;
    Ok(name)
}

pub(super) fn join(base: &str, name: &str) -> String {
    if base.is_empty() {
        name.to_owned()
    } else {
        format!("{base}/{name}")
    }
}
