//! Commits onto a branch, pushed without ever forcing it.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;

use super::edit::{Edits, Snapshot};
use super::{Repository, store};
use crate::revision::Revision;
use crate::template;
use crate::transport::is_ref_name;

/// Between two attempts to push.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How to commit onto a branch. Plain data: start from [`new`](Self::new) and change what matters.
#[derive(Clone, Debug)]
pub struct CommitOptions {
    /// The branch; `None` is the remote's default branch, which must exist.
    pub branch: Option<String>,
    /// Make the branch when it does not exist, from this revision; with `None` a missing branch is an error, unless the repository is empty.
    pub create_from: Option<Revision>,
    /// The author's name and mail address.
    pub author: (String, String),
    /// The committer's; `None`: the author's.
    pub committer: Option<(String, String)>,
    /// The time of both; `None`: now.
    pub time: Option<Timestamp>,
    /// The message, a template: `{branch}`, `{base}` (short SHA of the commit edited), `{count}` (of paths), `{path}` (the first), `{paths}` (one a line, with
    /// `- ` before each), and what [`Edits::value`] gave. `{{` and `}}` stand for braces. An unknown name is an error.
    pub message: String,
    /// Trailers (`Signed-off-by: …`), added after the message in this order; values are templates too.
    pub trailers: Vec<(String, String)>,
    /// How often to try when others push at the same time (100 unless set).
    pub max_attempts: usize,
    /// The time for all attempts together (five minutes unless set).
    pub timeout: Duration,
}

impl CommitOptions {
    /// A commit onto the default branch.
    pub fn new(
        author_name: impl Into<String>,
        author_email: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            branch: None,
            create_from: None,
            author: (author_name.into(), author_email.into()),
            committer: None,
            time: None,
            message: message.into(),
            trailers: Vec::new(),
            max_attempts: 100,
            timeout: Duration::from_secs(300),
        }
    }

    /// Onto this branch, which must exist unless the repository is empty.
    #[must_use]
    pub fn branch(mut self, branch: impl Into<String>) -> Self {
        self.branch = Some(branch.into());
        self
    }

    /// Makes the branch from `revision` when it does not exist.
    #[must_use]
    pub fn create_from(mut self, revision: Revision) -> Self {
        self.create_from = Some(revision);
        self
    }

    /// Sets the committer.
    #[must_use]
    pub fn committer(mut self, name: impl Into<String>, email: impl Into<String>) -> Self {
        self.committer = Some((name.into(), email.into()));
        self
    }

    /// Adds a trailer.
    #[must_use]
    pub fn trailer(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.trailers.push((key.into(), value.into()));
        self
    }
}

/// The answer of [`Repository::commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitOutcome {
    /// The commit is on the remote's branch.
    Pushed {
        /// The new commit's SHA.
        commit: String,
        /// The commit it stands on; `None` in an empty repository.
        parent: Option<String>,
        /// The branch.
        branch: String,
        /// How many attempts it took.
        attempts: usize,
    },
    /// The edits changed nothing: there is no commit.
    Unchanged {
        /// The branch's commit; `None` when it does not exist.
        commit: Option<String>,
    },
}

impl CommitOutcome {
    /// The branch's commit after the call.
    pub fn commit(&self) -> Option<&str> {
        match self {
            Self::Pushed { commit, .. } => Some(commit),
            Self::Unchanged { commit } => commit.as_deref(),
        }
    }
}

impl Repository {
    /// Commits the edits that `edit` asks for onto a branch, and pushes.
    ///
    /// `edit` sees the branch as it is now and may be called again: when somebody else pushed in between (or the server could not lock the branch), the branch is fetched
    /// again, `edit` runs again on the new state, and a new commit is pushed, after a growing pause with jitter. A branch is never forced. When a push's answer is lost, the branch is
    /// looked at before trying again, so that no commit is made twice. Edits that change nothing make no commit.
    ///
    /// Dropping the future stops; a push under way may still have been accepted by the server.
    ///
    /// # Errors
    /// What `edit` returns; `Conflict` after the last attempt; `NotFound` when the branch does not exist; `InvalidInput` for a bad branch name, template, trailer or
    /// path, or in a shallow copy; `Timeout` when all attempts together took too long, or the answer to the last push did not come: the commit may be on the branch
    /// then, and [`log`](Self::log) tells; else as the [`Transport`](crate::Transport)'s contract says (`PermissionDenied` when a hook or a protected branch refuses).
    #[tracing::instrument(skip_all, fields(url = %self.inner.url, branch = options.branch.as_deref().unwrap_or("HEAD")))]
    pub async fn commit<F, Fut>(
        &self,
        options: &CommitOptions,
        mut edit: F,
    ) -> Result<CommitOutcome>
    where
        F: FnMut(Snapshot) -> Fut + Send,
        Fut: Future<Output = Result<Edits>> + Send,
    {
        if self.inner.options.depth.is_some() {
            return Err(Error::invalid(
                "committing needs the full history; open the repository without a depth",
            ));
        }
        if options.max_attempts == 0 {
            return Err(Error::invalid("max_attempts is 0"));
        }
        tokio::time::timeout(options.timeout, self.commit_loop(options, &mut edit))
            .await
            .map_err(|_| {
                Error::timeout(format!(
                    "commit to {} took longer than {:?}",
                    self.inner.url, options.timeout
                ))
            })?
    }

    async fn commit_loop<F, Fut>(
        &self,
        options: &CommitOptions,
        edit: &mut F,
    ) -> Result<CommitOutcome>
    where
        F: FnMut(Snapshot) -> Fut + Send,
        Fut: Future<Output = Result<Edits>> + Send,
    {
        let _turn = self.inner.writing.lock().await;
        let branch = self.target_branch(options).await?;
        let reference = format!("refs/heads/{branch}");
        if !is_ref_name(&reference) || branch.starts_with('-') {
            return Err(Error::invalid(format!("{branch:?} is not a branch's name")));
        }
        // In units of what an attempt takes here, which tells how long others keep the branch busy.
        let mut patience = 1.0_f64;
        // The commits of attempts whose answers were lost: each may be on the branch by now, or later.
        let mut uncertain: Vec<(String, Option<String>)> = Vec::new();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let begun = Instant::now();
            let tip = self.tip(&branch, options).await?;
            if let Some(tip) = &tip {
                for (commit, parent) in &uncertain {
                    if self.contains(tip, commit).await? {
                        return Ok(CommitOutcome::Pushed {
                            commit: commit.clone(),
                            parent: parent.clone(),
                            branch,
                            attempts: attempt - 1,
                        });
                    }
                }
            }
            let edits = edit(Snapshot {
                repository: self.clone(),
                commit: tip.clone(),
            })
            .await?;
            let Some(commit) = self
                .write_commit(options, &branch, tip.clone(), edits)
                .await?
            else {
                return Ok(CommitOutcome::Unchanged { commit: tip });
            };
            let error = match self.push_commit(&commit, &reference).await {
                Ok(()) => {
                    tracing::info!(%commit, attempt, "pushed");
                    return Ok(CommitOutcome::Pushed {
                        commit,
                        parent: tip,
                        branch,
                        attempts: attempt,
                    });
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Conflict => {}
                ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::RateLimited => {
                    uncertain.push((commit, tip));
                }
                _ => return Err(error),
            }
            if attempt >= options.max_attempts {
                return Err(error.context(format!("gave up after {attempt} attempts")));
            }
            tracing::debug!(attempt, %error, "the push lost; fetching and editing again");
            // Anywhere in the time, so that those who lost to the same push do not meet again.
            let pause = begun.elapsed().mul_f64(patience * fastrand::f64());
            tokio::time::sleep(pause.clamp(Duration::from_millis(5), MAX_PAUSE)).await;
            patience = (patience * 1.5).min(16.0);
        }
    }

    async fn target_branch(&self, options: &CommitOptions) -> Result<String> {
        if let Some(branch) = &options.branch {
            return Ok(branch.clone());
        }
        let refs = self.list_refs().await?;
        refs.head
            .as_deref()
            .and_then(|head| head.strip_prefix("refs/heads/"))
            .map(ToOwned::to_owned)
            .ok_or_else(|| Error::invalid("the remote names no default branch; name one"))
    }

    /// The commit to build on: the branch's, or that of the revision it is made from.
    async fn tip(&self, branch: &str, options: &CommitOptions) -> Result<Option<String>> {
        let missing = match self
            .fetch_revision(&Revision::Branch(branch.to_owned()))
            .await
        {
            Ok(fetched) => return Ok(Some(fetched.commit)),
            // The branch, or the whole repository: the list of references tells.
            Err(error) if error.kind() == ErrorKind::NotFound => error,
            Err(error) => return Err(error),
        };
        let refs = self.list_refs().await?;
        // Made by somebody else just now.
        if refs.refs.contains_key(&format!("refs/heads/{branch}")) {
            return self
                .fetch_revision(&Revision::Branch(branch.to_owned()))
                .await
                .map(|fetched| Some(fetched.commit));
        }
        if refs.refs.is_empty() {
            return Ok(None);
        }
        match &options.create_from {
            Some(revision) => Ok(Some(self.fetch_revision(revision).await?.commit)),
            None => Err(missing),
        }
    }

    async fn contains(&self, tip: &str, commit: &str) -> Result<bool> {
        let (tip, commit) = (tip.to_owned(), commit.to_owned());
        self.with_git(move |git| {
            let tip = store::find_commit(git, &tip)?.id();
            let commit = store::find_commit(git, &commit)?.id();
            Ok(tip == commit
                || git
                    .graph_descendant_of(tip, commit)
                    .map_err(store::failed("compare histories"))?)
        })
        .await
    }

    /// Writes the commit's objects; `None` when the edits change nothing.
    async fn write_commit(
        &self,
        options: &CommitOptions,
        branch: &str,
        tip: Option<String>,
        edits: Edits,
    ) -> Result<Option<String>> {
        let (options, branch) = (options.clone(), branch.to_owned());
        self.with_git(move |git| {
            let parent = tip
                .as_deref()
                .map(|tip| store::find_commit(git, tip))
                .transpose()?;
            let message = message(&options, &branch, tip.as_deref(), &edits)?;
            let before = parent.as_ref().map(git2::Commit::tree_id);
            let nothing = edits.is_empty();
            let after = edits.apply(git, before)?;
            if nothing || before == Some(after) {
                return Ok(None);
            }
            let tree = git.find_tree(after).map_err(store::failed("read a tree"))?;
            let time = options.time.unwrap_or_else(Timestamp::now).as_second();
            let signature = |(name, email): &(String, String)| {
                git2::Signature::new(name, email, &git2::Time::new(time, 0)).map_err(|error| {
                    Error::invalid("a name or mail address cannot stand in a commit")
                        .with_source(error)
                })
            };
            let author = signature(&options.author)?;
            let committer = signature(options.committer.as_ref().unwrap_or(&options.author))?;
            let parents: Vec<_> = parent.iter().collect();
            git.commit(None, &author, &committer, &message, &tree, &parents)
                .map(|oid| Some(oid.to_string()))
                .map_err(store::failed("write a commit"))
        })
        .await
    }

    async fn push_commit(&self, commit: &str, reference: &str) -> Result<()> {
        self.with_remote("push", |remote| async move {
            self.inner
                .options
                .transport
                .push(&self.inner.dir, &remote, commit, reference)
                .await
        })
        .await
    }
}

fn message(
    options: &CommitOptions,
    branch: &str,
    tip: Option<&str>,
    edits: &Edits,
) -> Result<String> {
    let paths = edits.paths();
    let mut values: BTreeMap<&str, String> = BTreeMap::from([
        ("branch", branch.to_owned()),
        (
            "base",
            tip.map_or("", |tip| &tip[..tip.len().min(12)]).to_owned(),
        ),
        ("count", paths.len().to_string()),
        ("path", paths.first().copied().unwrap_or("").to_owned()),
        (
            "paths",
            paths
                .iter()
                .map(|path| format!("- {path}"))
                .collect::<Vec<_>>()
                .join("\n"),
        ),
    ]);
    for (name, value) in edits.values() {
        values.insert(name, value.clone());
    }
    let mut text = template::fill(&options.message, &values)?
        .trim_end()
        .to_owned();
    if text.is_empty() {
        return Err(Error::invalid("the commit message is empty"));
    }
    for (index, (key, value)) in options.trailers.iter().enumerate() {
        let value = template::fill(value, &values)?;
        if key.is_empty()
            || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            || value.contains(['\n', '\r'])
        {
            return Err(Error::invalid(format!("{key:?} is not a trailer")));
        }
        text.push_str(if index == 0 { "\n\n" } else { "\n" });
        text.push_str(&format!("{key}: {value}"));
    }
    text.push('\n');
    if text.contains('\0') {
        return Err(Error::invalid("the commit message holds a NUL"));
    }
    Ok(text)
}
