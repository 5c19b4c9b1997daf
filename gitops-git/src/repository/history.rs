//! Commits, their log, and what changed between them.

use git2::{Delta, DiffFindOptions, DiffOptions, Sort};
use gitops_core::{Error, Result};
use jiff::Timestamp;

use super::tree::normalize;
use super::{Repository, store};

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: String,
    /// The mail address.
    pub email: String,
    /// When.
    pub time: Timestamp,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitInfo {
    /// The full SHA.
    pub sha: String,
    /// The parents' SHAs.
    pub parents: Vec<String>,
    /// Who wrote the change.
    pub author: Person,
    /// Who committed it.
    pub committer: Person,
    /// The whole message, as it is: escape it before showing it ([`summary`](Self::summary) is escaped).
    pub message: String,
}

impl CommitInfo {
    /// The message's first line, with control characters escaped.
    pub fn summary(&self) -> String {
        crate::escape_line(self.message.trim_start().lines().next().unwrap_or(""))
    }

    fn read(commit: &git2::Commit<'_>) -> Self {
        Self {
            sha: commit.id().to_string(),
            parents: commit.parent_ids().map(|id| id.to_string()).collect(),
            author: person(&commit.author()),
            committer: person(&commit.committer()),
            message: String::from_utf8_lossy(commit.message_bytes()).into_owned(),
        }
    }
}

fn person(signature: &git2::Signature<'_>) -> Person {
    Person {
        name: String::from_utf8_lossy(signature.name_bytes()).into_owned(),
        email: String::from_utf8_lossy(signature.email_bytes()).into_owned(),
        time: Timestamp::from_second(signature.when().seconds()).unwrap_or_default(),
    }
}

/// How a path changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or mode changed.
    Modified,
    /// It is gone.
    Deleted,
    /// It has the content that stood elsewhere.
    Renamed,
}

/// A path that changed between two commits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The path now; for a deleted one, the path it had.
    pub path: String,
    /// For a renamed one, the path before.
    pub old_path: Option<String>,
    /// How it changed.
    pub kind: ChangeKind,
}

impl Repository {
    /// The commit with this SHA.
    ///
    /// # Errors
    /// `NotFound` when it was not fetched.
    pub async fn commit_info(&self, commit: &str) -> Result<CommitInfo> {
        let commit = commit.to_owned();
        self.with_git(move |git| Ok(CommitInfo::read(&store::find_commit(git, &commit)?)))
            .await
    }

    /// What changed from `old` to `new` below `path` (empty or `.` for all); `None` is the empty tree. Exact renames are found.
    ///
    /// # Errors
    /// `NotFound` for a commit that was not fetched, `InvalidInput` for a path that climbs or a name that is not UTF-8.
    pub async fn changed_paths(
        &self,
        old: Option<&str>,
        new: &str,
        path: &str,
    ) -> Result<Vec<Change>> {
        let (old, new, path) = (old.map(ToOwned::to_owned), new.to_owned(), normalize(path)?);
        self.with_git(move |git| {
            let tree = |sha: &str| {
                store::find_commit(git, sha)?
                    .tree()
                    .map_err(store::failed("read a commit's tree"))
            };
            let old = old.as_deref().map(tree).transpose()?;
            let new = tree(&new)?;
            let mut options = DiffOptions::new();
            options.skip_binary_check(true).disable_pathspec_match(true);
            if !path.is_empty() {
                options.pathspec(&path);
            }
            let mut diff = git
                .diff_tree_to_tree(old.as_ref(), Some(&new), Some(&mut options))
                .map_err(store::failed("compare commits"))?;
            diff.find_similar(Some(
                DiffFindOptions::new().renames(true).exact_match_only(true),
            ))
            .map_err(store::failed("find renames"))?;
            let mut changes = Vec::new();
            for delta in diff.deltas() {
                let text = |file: git2::DiffFile<'_>| -> Result<String> {
                    file.path_bytes()
                        .and_then(|bytes| std::str::from_utf8(bytes).ok())
                        .map(ToOwned::to_owned)
                        .ok_or_else(|| Error::invalid("a changed path is not UTF-8"))
                };
                let (kind, path, old_path) = match delta.status() {
                    Delta::Added => (ChangeKind::Added, text(delta.new_file())?, None),
                    Delta::Deleted => (ChangeKind::Deleted, text(delta.old_file())?, None),
                    Delta::Renamed => (
                        ChangeKind::Renamed,
                        text(delta.new_file())?,
                        Some(text(delta.old_file())?),
                    ),
                    _ => (ChangeKind::Modified, text(delta.new_file())?, None),
                };
                changes.push(Change {
                    path,
                    old_path,
                    kind,
                });
            }
            changes.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(changes)
        })
        .await
    }

    /// The commits from `commit` back that changed `path` (empty or `.` for all), newest first, at most `limit`. A merge counts when `path` differs from
    /// every parent's.
    ///
    /// # Errors
    /// `NotFound` for a commit that was not fetched, `InvalidInput` for a path that climbs.
    pub async fn log(&self, commit: &str, path: &str, limit: usize) -> Result<Vec<CommitInfo>> {
        let (commit, path) = (commit.to_owned(), normalize(path)?);
        self.with_git(move |git| {
            let start = store::find_commit(git, &commit)?.id();
            let mut walk = git.revwalk().map_err(store::failed("walk the history"))?;
            walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)
                .map_err(store::failed("walk the history"))?;
            walk.push(start)
                .map_err(store::failed("walk the history"))?;
            let at = |commit: &git2::Commit<'_>| -> Result<Option<(git2::Oid, i32)>> {
                let tree = commit
                    .tree()
                    .map_err(store::failed("read a commit's tree"))?;
                if path.is_empty() {
                    return Ok(Some((tree.id(), 0)));
                }
                match tree.get_path(std::path::Path::new(&path)) {
                    Ok(entry) => Ok(Some((entry.id(), entry.filemode()))),
                    Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
                    Err(error) => Err(store::failed("read a commit's tree")(error)),
                }
            };
            let mut found = Vec::new();
            for oid in walk {
                if found.len() >= limit {
                    break;
                }
                let oid = oid.map_err(store::failed("walk the history"))?;
                let commit = git
                    .find_commit(oid)
                    .map_err(store::failed("read a commit"))?;
                let here = at(&commit)?;
                let mut changed = true;
                let mut has_parent = false;
                for parent in commit.parents() {
                    has_parent = true;
                    if at(&parent)? == here {
                        changed = false;
                        break;
                    }
                }
                if changed && (has_parent || here.is_some()) {
                    found.push(CommitInfo::read(&commit));
                }
            }
            Ok(found)
        })
        .await
    }
}
