//! The bare copy: made whole or not at all, and looked things up in.

use std::path::Path;

use git2::{ErrorClass, ErrorCode, ObjectType, Oid};
use gitops_core::{Error, ErrorKind, Result};

/// Turns libgit2's error into ours.
pub(super) fn failed(what: impl std::fmt::Display) -> impl FnOnce(git2::Error) -> Error {
    move |error| {
        let kind = match (error.code(), error.class()) {
            (ErrorCode::NotFound | ErrorCode::UnbornBranch, _) => ErrorKind::NotFound,
            (ErrorCode::Ambiguous, _) | (ErrorCode::InvalidSpec, _) => ErrorKind::InvalidInput,
            (ErrorCode::Exists, _) => ErrorKind::AlreadyExists,
            (ErrorCode::Locked | ErrorCode::Modified, _) => ErrorKind::Conflict,
            (_, ErrorClass::Odb | ErrorClass::Zlib | ErrorClass::Object) => ErrorKind::Integrity,
            _ => ErrorKind::Internal,
        };
        Error::new(kind, format!("{what}: {}", error.message())).with_source(error)
    }
}

/// Opens the bare repository at `dir`.
pub(super) fn open(dir: &Path) -> Result<git2::Repository> {
    git2::Repository::open_bare(dir).map_err(failed("open the bare copy"))
}

/// Opens the bare repository at `dir`, or makes it; one that cannot be opened is only a copy, and is made anew.
pub(super) fn open_or_init(dir: &Path) -> Result<git2::Repository> {
    if dir.exists() {
        match git2::Repository::open_bare(dir) {
            Ok(handle) => {
                remove_empty_refs(&dir.join("refs"));
                return Ok(handle);
            }
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "the bare copy is damaged; making it anew");
                std::fs::remove_dir_all(dir).map_err(|error| {
                    Error::internal("cannot remove a damaged bare copy").with_source(error)
                })?;
            }
        }
    }
    let io = |error| Error::internal("cannot make a bare copy").with_source(error);
    let parent = dir.parent().unwrap_or(dir);
    std::fs::create_dir_all(parent).map_err(io)?;
    let fresh = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(parent)
        .map_err(io)?;
    let mut options = git2::RepositoryInitOptions::new();
    options
        .bare(true)
        .external_template(false)
        .mkdir(false)
        .initial_head("gitops-none");
    git2::Repository::init_opts(fresh.path(), &options).map_err(failed("make a bare copy"))?;
    std::fs::rename(fresh.keep(), dir).map_err(io)?;
    open(dir)
}

/// A reference whose file is empty was being written when the machine lost power; `git` would refuse to write it again.
fn remove_empty_refs(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => remove_empty_refs(&entry.path()),
            // A lock of a process that is just beginning is empty too.
            Ok(metadata)
                if metadata.len() == 0 && entry.path().extension() != Some("lock".as_ref()) =>
            {
                let _ = std::fs::remove_file(entry.path());
            }
            _ => {}
        }
    }
}

/// Where a branch of the remote is kept.
pub(super) fn branch_ref(branch: &str) -> String {
    format!("refs/remotes/origin/{branch}")
}

/// Where the remote's `HEAD` is kept.
pub(super) const HEAD_REF: &str = "refs/gitops/HEAD";

/// Where a reference of the remote is kept.
pub(super) fn local_ref(remote: &str) -> String {
    if remote == "HEAD" {
        return HEAD_REF.to_owned();
    }
    match (
        remote.strip_prefix("refs/heads/"),
        remote.strip_prefix("refs/tags/"),
    ) {
        (Some(branch), _) => branch_ref(branch),
        (_, Some(_)) => remote.to_owned(),
        _ => format!(
            "refs/gitops/other/{}",
            remote.strip_prefix("refs/").unwrap_or(remote)
        ),
    }
}

/// The commit that a local reference leads to.
pub(super) fn commit_of_ref(git: &git2::Repository, name: &str) -> Result<Option<Oid>> {
    let reference = match git.find_reference(name) {
        Ok(reference) => reference,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("read {name}"))(error)),
    };
    match reference.peel(ObjectType::Commit) {
        Ok(object) => Ok(Some(object.id())),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(_) => Err(Error::invalid(format!("{name} does not lead to a commit"))),
    }
}

/// The commit with this full SHA, or the commit that the tag object with it leads to.
pub(super) fn commit_of_sha(git: &git2::Repository, sha: &str) -> Result<Option<Oid>> {
    let oid = Oid::from_str(sha).map_err(|_| Error::invalid(format!("{sha:?} is not a SHA")))?;
    match git.find_object(oid, None) {
        Ok(object) => object
            .peel(ObjectType::Commit)
            .map(|object| Some(object.id()))
            .map_err(|_| Error::invalid(format!("{sha} is not a commit"))),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(failed(format!("read {sha}"))(error)),
    }
}

/// The one commit whose SHA starts with `prefix`.
pub(super) fn commit_of_prefix(git: &git2::Repository, prefix: &str) -> Result<Option<Oid>> {
    match git.find_object_by_prefix(prefix, None) {
        Ok(object) => {
            return Ok(object
                .peel(ObjectType::Commit)
                .ok()
                .map(|object| object.id()));
        }
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        Err(error) if error.code() == ErrorCode::Ambiguous => {}
        Err(error) => return Err(failed(format!("look up {prefix}"))(error)),
    }
    // Several objects; as Git does, only commits count.
    let odb = git.odb().map_err(failed("open the object store"))?;
    let mut commits = Vec::new();
    odb.foreach(|oid| {
        if oid.to_string().starts_with(prefix)
            && matches!(odb.read_header(*oid), Ok((_, ObjectType::Commit)))
            && !commits.contains(oid)
        {
            commits.push(*oid);
        }
        true
    })
    .map_err(failed(format!("look up {prefix}")))?;
    match commits.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => Err(Error::invalid(format!(
            "short SHA {prefix} is ambiguous: {} commits start with it",
            several.len()
        ))),
    }
}

/// The commit with this full SHA, which must be here.
pub(super) fn find_commit<'a>(git: &'a git2::Repository, sha: &str) -> Result<git2::Commit<'a>> {
    let oid = commit_of_sha(git, sha)?.ok_or_else(|| {
        Error::not_found(format!("commit {sha} is not in the copy; fetch it first"))
    })?;
    git.find_commit(oid).map_err(failed(format!("read {sha}")))
}
