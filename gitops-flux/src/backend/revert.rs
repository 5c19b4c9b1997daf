//! The way back through Git: a commit that makes an application's files what they were.

use gitops_core::application::AppRef;
use gitops_core::backend::{SyncOptions, SyncOutcome, SyncerExt as _};
use gitops_core::manifest::TreeEntry;
use gitops_core::{Error, ErrorKind, Result};
use gitops_git::{
    CommitOptions, CommitOutcome, Edits, LfsPolicy, LinkPolicy, Repository, TreeOptions,
};

use super::access::Loaded;
use super::{FluxBackend, history};
use crate::convert::{GitTarget, is_commit};

/// How to go back through Git.
#[derive(Clone, Debug)]
pub struct RevertOptions {
    /// The folders that go back; empty means the application's path. What the path takes from elsewhere in the repository (bases, components) goes back only if it is named here.
    pub paths: Vec<String>,
    /// Who commits, and the message. Without a branch, the one that the application follows.
    pub commit: CommitOptions,
    /// The sync afterwards; its revisions do not count.
    pub sync: SyncOptions,
}

/// What came of going back through Git.
#[derive(Clone, Debug)]
pub struct RevertOutcome {
    /// The commit; [`CommitOutcome::Unchanged`] when the files are as they were already.
    pub commit: CommitOutcome,
    /// What came of the sync to it.
    pub outcome: SyncOutcome,
}

fn targets(
    loaded: &Loaded,
    path: Option<&str>,
    options: &RevertOptions,
) -> Result<(Vec<String>, CommitOptions)> {
    let paths = match options.paths.is_empty() {
        true => vec![path.unwrap_or_default().to_owned()],
        false => options.paths.clone(),
    };
    let mut commit = options.commit.clone();
    if commit.branch.is_none() {
        let own = loaded
            .parts
            .source
            .as_ref()
            .and_then(crate::convert::own_target);
        let target = GitTarget::parse("targetRevision", own.as_deref())?;
        let branch = target
            .branch
            .or_else(|| Some(target.name?.strip_prefix("refs/heads/")?.to_owned()));
        commit.branch = Some(branch.ok_or_else(|| {
            Error::invalid(format!(
                "the application follows {}, which is no branch: name the branch to commit to",
                own.unwrap_or_default()
            ))
        })?);
    }
    Ok((paths, commit))
}

/// What makes the files below `path` what they were at `commit`.
async fn edits(
    repository: &Repository,
    snapshot: &gitops_git::Snapshot,
    commit: &str,
    paths: &[String],
    mut edits: Edits,
) -> Result<Edits> {
    let read = TreeOptions {
        links: LinkPolicy::Keep,
        lfs: LfsPolicy::Keep,
        ..TreeOptions::default()
    };
    for path in paths {
        let then = repository.tree_with(commit, path, &read).await?;
        let now = match snapshot.commit() {
            Some(now) => match repository.tree_with(now, path, &read).await {
                Ok(tree) => Some(tree),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                // What is there now is not known, and what is too much would stay.
                Err(error) => return Err(error),
            },
            None => None,
        };
        let full = |name: &str| match path.trim_matches('/') {
            "" | "." => name.to_owned(),
            path => format!("{}/{name}", path.trim_start_matches("./")),
        };
        for (name, entry) in then.iter() {
            if now.as_ref().and_then(|now| now.get(name)) == Some(entry) {
                continue;
            }
            edits = match entry {
                TreeEntry::File(bytes) => edits.put(full(name), bytes.to_vec()),
                TreeEntry::Executable(bytes) => edits.put_executable(full(name), bytes.to_vec()),
                _ => {
                    return Err(Error::unsupported("going back to a link", &full(name)));
                }
            };
        }
        for (name, _) in now.iter().flat_map(gitops_core::manifest::Tree::iter) {
            if then.get(name).is_none() {
                edits = edits.delete(full(name));
            }
        }
    }
    Ok(edits)
}

impl FluxBackend {
    /// Goes back to entry `id` of the history by a commit on the application's branch, which makes its files what they were, and syncs to it. Nothing is forced, and automated sync does not undo it: Git says
    /// by then what the rollback went to.
    ///
    /// `repository` is the application's, opened with credentials that may push.
    ///
    /// # Errors
    /// `NotFound` for an entry that is not there, and for a commit that is not in `repository`; `InvalidInput` for an application that is not of Git, or follows no branch; what committing and syncing
    /// meet. After an error of the sync the commit is there, and the message says so.
    pub async fn roll_back_in_git(
        &self,
        app: &AppRef,
        id: i64,
        repository: &Repository,
        options: &RevertOptions,
    ) -> Result<RevertOutcome> {
        let loaded = self.load(app).await?;
        let entry = history::entry(&loaded, app, id)?;
        let commit = entry
            .revisions
            .first()
            .filter(|revision| is_commit(revision))
            .cloned();
        let commit = commit.ok_or_else(|| {
            Error::invalid(format!("entry {id} of application {app} is no commit"))
        })?;
        let own = self.application(&loaded.parts)?;
        let path = own
            .sources
            .first()
            .and_then(|source| source.path.as_deref());
        let (paths, committing) = targets(&loaded, path, options)?;
        let (paths, commit) = (&paths, &commit);
        repository.fetch().await?;
        let pushed = repository
            .commit(&committing, |snapshot| async move {
                let values = Edits::new()
                    .value("revision", commit)
                    .value("application", app.to_string());
                edits(repository, &snapshot, commit, paths, values).await
            })
            .await?;
        let sync = SyncOptions {
            revisions: Vec::new(),
            ..options.sync.clone()
        };
        let outcome = self.sync_and_wait(app, &sync).await.map_err(|error| {
            error.context(format!(
                "application {app} went back in Git ({}), and is not synced to it",
                pushed.commit().unwrap_or_default()
            ))
        })?;
        Ok(RevertOutcome {
            commit: pushed,
            outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use git2::Signature;
    use gitops_git::RepositoryOptions;

    use super::*;

    /// Commits these files to `main`, below folders.
    fn commit(git: &git2::Repository, folders: &[(&str, &[&str])]) -> String {
        let blob = git.blob(b"kind: ConfigMap\n").unwrap();
        let mut root = git.treebuilder(None).unwrap();
        for (folder, files) in folders {
            let mut tree = git.treebuilder(None).unwrap();
            for file in *files {
                tree.insert(file, blob, 0o100_644).unwrap();
            }
            root.insert(folder, tree.write().unwrap(), 0o040_000)
                .unwrap();
        }
        let tree = git.find_tree(root.write().unwrap()).unwrap();
        let who = Signature::now("T", "t@example.com").unwrap();
        let parent = git.find_reference("refs/heads/main");
        let parent = parent.map(|parent| parent.peel_to_commit().unwrap());
        let parents: Vec<_> = parent.iter().collect();
        let made = git.commit(Some("refs/heads/main"), &who, &who, "m", &tree, &parents);
        made.unwrap().to_string()
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_taken_for_nothing() {
        let (origin, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let git = git2::Repository::init_bare(origin.path()).unwrap();
        let first = commit(&git, &[("app", &["a.yaml"]), ("old", &["a.yaml"])]);
        commit(&git, &[("app", &["a.yaml", "more.yaml", "x\\y"])]);
        let options = RepositoryOptions::default().cache_dir(cache.path());
        let repository = Repository::open(origin.path().to_str().unwrap(), options)
            .await
            .unwrap();
        repository.fetch().await.unwrap();
        let mut committing = CommitOptions::new("T", "t@example.com", "back");
        committing.branch = Some("main".into());
        let back = async |path: &str| {
            let (repository, first, paths) = (&repository, &first, &[path.to_owned()]);
            repository
                .commit(&committing, |snapshot| async move {
                    edits(repository, &snapshot, first, paths, Edits::new()).await
                })
                .await
        };
        // The name that cannot be read hides that there is more than there was.
        let refused = back("app").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
        // What is not there any more comes back.
        assert!(back("old").await.unwrap().commit().is_some());
    }
}
