//! Bringing references here, and finding what a revision means.

use std::collections::BTreeMap;
use std::sync::Arc;

use git2::Oid;
use gitops_core::{Error, ErrorKind, Result};

use super::{Repository, store};
use crate::revision::Revision;
use crate::transport::{FetchRequest, Refspec, is_ref_name};

/// The answer of [`Repository::fetch_revision`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// The commit's full SHA.
    pub commit: String,
    /// The remote's reference that led to it; `None` for a SHA.
    pub reference: Option<String>,
    /// What the same reference led to before, if it was fetched before.
    pub previous: Option<String>,
    /// The branch was rewritten: the commit it led to before is not an ancestor of the one now. For a tag: it was moved.
    pub rewritten: bool,
}

impl Fetched {
    /// Whether it differs from what was here before.
    pub fn changed(&self) -> bool {
        self.previous.as_ref() != Some(&self.commit)
    }
}

/// A reference that a [`Repository::fetch`] changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefChange {
    /// The remote's name of it.
    pub reference: String,
    /// The commit before; `None` when it is new.
    pub old: Option<String>,
    /// The commit now; `None` when it is gone.
    pub new: Option<String>,
    /// The commit before is not an ancestor of the one now.
    pub rewritten: bool,
}

/// The answer of [`Repository::fetch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchOutcome {
    /// What changed, by name.
    pub changes: Vec<RefChange>,
    /// Whether any branch was rewritten or any tag moved.
    pub rewritten: bool,
}

impl Repository {
    /// Fetches all branches and tags, removes those that are gone, and notes the remote's `HEAD`.
    ///
    /// # Errors
    /// As the [`Transport`](crate::Transport)'s contract says.
    #[tracing::instrument(skip_all, fields(url = %self.inner.url))]
    pub async fn fetch(&self) -> Result<FetchOutcome> {
        let head = self.list_refs().await?.head;
        let _lock = self.lock().await?;
        let before = self.local_refs().await?;
        self.fetch_specs(
            vec![
                Refspec::new("refs/heads/*", store::branch_ref("*")),
                Refspec::new("refs/tags/*", "refs/tags/*"),
            ],
            true,
        )
        .await?;
        let after = self.local_refs().await?;
        self.with_git(move |git| {
            if let Some(branch) = head
                .as_deref()
                .and_then(|head| head.strip_prefix("refs/heads/"))
            {
                git.reference_symbolic(store::HEAD_REF, &store::branch_ref(branch), true, "fetch")
                    .map_err(store::failed("note the remote's HEAD"))?;
            }
            let mut changes = Vec::new();
            for name in before
                .keys()
                .chain(after.keys().filter(|name| !before.contains_key(*name)))
            {
                let (old, new) = (before.get(name).copied(), after.get(name).copied());
                if old != new {
                    changes.push(RefChange {
                        reference: name
                            .strip_prefix("refs/remotes/origin/")
                            .map_or_else(|| name.clone(), |branch| format!("refs/heads/{branch}")),
                        rewritten: rewritten(git, name, old, new)?,
                        old: old.map(|oid| oid.to_string()),
                        new: new.map(|oid| oid.to_string()),
                    });
                }
            }
            changes.sort_by(|a, b| a.reference.cmp(&b.reference));
            Ok(FetchOutcome {
                rewritten: changes.iter().any(|change| change.rewritten),
                changes,
            })
        })
        .await
    }

    /// Fetches what `revision` needs and no more, and says which commit it is.
    ///
    /// A name is looked for as a branch, then as a tag, then as a short SHA, then as a semver range over the tags. A full SHA that is here already needs no network; a
    /// short one needs all branches and tags.
    ///
    /// # Errors
    /// `NotFound` when the revision does not exist or the repository is empty, `InvalidInput` for an ambiguous short SHA; else as the
    /// [`Transport`](crate::Transport)'s contract says.
    #[tracing::instrument(skip_all, fields(url = %self.inner.url, %revision))]
    pub async fn fetch_revision(&self, revision: &Revision) -> Result<Fetched> {
        match revision {
            Revision::Head => match self.fetch_reference("HEAD").await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if self.list_refs().await?.refs.is_empty() {
                        return Err(Error::not_found(
                            "the repository is empty: its HEAD leads to no commit",
                        )
                        .context(format!("fetch of {}", self.inner.url))
                        .with_source(error));
                    }
                    Err(error)
                }
                result => result,
            },
            Revision::Branch(name) => self.fetch_reference(&format!("refs/heads/{name}")).await,
            Revision::Tag(name) => self.fetch_reference(&format!("refs/tags/{name}")).await,
            Revision::Ref(name) => self.fetch_reference(name).await,
            Revision::Commit(sha) => self.fetch_commit(sha).await,
            Revision::Semver(_) => {
                let refs = self.list_refs().await?;
                let found = revision.find(&refs)?;
                match found.reference {
                    Some(reference) => self.fetch_reference(&reference).await,
                    None => Err(self.unknown(revision)),
                }
            }
            Revision::Name(name) => {
                if is_ref_name(&format!("refs/heads/{name}")) {
                    for kind in ["heads", "tags"] {
                        match self.fetch_reference(&format!("refs/{kind}/{name}")).await {
                            Err(error) if error.kind() == ErrorKind::NotFound => {}
                            result => return result,
                        }
                    }
                    // It may be the repository that is missing: this tells.
                    self.list_refs().await?;
                }
                if Revision::is_short_sha(name) {
                    match self.fetch_commit(name).await {
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        result => return result,
                    }
                }
                if let Some(range) = Revision::as_range(name) {
                    return Box::pin(self.fetch_revision(&range)).await;
                }
                Err(self.unknown(revision))
            }
        }
    }

    /// The commit that `revision` means among what was fetched before; the network is not used.
    ///
    /// # Errors
    /// `NotFound` when it is not here, `InvalidInput` for an ambiguous short SHA.
    pub async fn resolve(&self, revision: &Revision) -> Result<String> {
        let wanted = revision.clone();
        let found = self
            .with_git(move |git| resolve_local(git, &wanted))
            .await?;
        found.ok_or_else(|| self.unknown(revision))
    }

    /// The commit that `revision` means at the remote now, from its list of references alone; nothing is fetched.
    ///
    /// # Errors
    /// `NotFound` when it does not exist; `Unsupported` for a short SHA that no reference leads to: only a fetch can complete it.
    #[tracing::instrument(skip_all, fields(url = %self.inner.url, %revision))]
    pub async fn resolve_remote(&self, revision: &Revision) -> Result<String> {
        if let Revision::Commit(sha) = revision
            && crate::transport::is_sha(sha)
        {
            return Ok(sha.clone());
        }
        let refs = self.list_refs().await?;
        revision
            .find(&refs)
            .map(|found| found.commit)
            .map_err(|error| error.context(format!("resolve at {}", self.inner.url)))
    }

    fn unknown(&self, revision: &Revision) -> Error {
        Error::not_found(format!(
            "revision {:?} is not a branch, tag or commit of {}",
            revision.to_string(),
            self.inner.url
        ))
    }

    async fn fetch_reference(&self, reference: &str) -> Result<Fetched> {
        if reference != "HEAD" && !is_ref_name(reference) {
            return Err(Error::invalid(format!("{reference:?} is not a reference")));
        }
        let local: Arc<str> = store::local_ref(reference).into();
        let _lock = self.lock().await?;
        let name = Arc::clone(&local);
        let old = self
            .with_git(move |git| store::commit_of_ref(git, &name))
            .await?;
        if reference == "HEAD" {
            // A symbolic HEAD of an earlier full fetch would be written through.
            self.with_git(|git| match git.find_reference(store::HEAD_REF) {
                Ok(mut head) if head.kind() == Some(git2::ReferenceType::Symbolic) => {
                    head.delete().map_err(store::failed("renew HEAD"))
                }
                _ => Ok(()),
            })
            .await?;
        }
        let spec = || Refspec::new(reference, local.to_string());
        match self.fetch_specs(vec![spec()], false).await {
            // A branch `a` that became `a/b` is in the way until the old one is pruned.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.fetch_specs(
                    vec![
                        Refspec::new("refs/heads/*", store::branch_ref("*")),
                        Refspec::new("refs/tags/*", "refs/tags/*"),
                    ],
                    true,
                )
                .await?;
                self.fetch_specs(vec![spec()], false).await?;
            }
            result => result?,
        }
        let reference = reference.to_owned();
        self.with_git(move |git| {
            let new = store::commit_of_ref(git, &local)?.ok_or_else(|| {
                Error::internal(format!("{reference} was fetched and is not here"))
            })?;
            Ok(Fetched {
                commit: new.to_string(),
                rewritten: rewritten(git, &local, old, Some(new))?,
                reference: Some(reference),
                previous: old.map(|oid| oid.to_string()),
            })
        })
        .await
    }

    async fn fetch_commit(&self, sha: &str) -> Result<Fetched> {
        let revision = Revision::Commit(sha.to_owned());
        let full = crate::transport::is_sha(sha);
        let answer = |commit: String| Fetched {
            previous: Some(commit.clone()),
            commit,
            reference: None,
            rewritten: false,
        };
        if full {
            if let Ok(commit) = self.resolve(&revision).await {
                return Ok(answer(commit));
            }
            let spec = Refspec::new(sha, format!("refs/gitops/commit/{sha}"));
            let lock = self.lock().await?;
            let direct = self.fetch_specs(vec![spec], false).await;
            drop(lock);
            match direct {
                Ok(()) => {
                    return self.resolve(&revision).await.map(|commit| Fetched {
                        previous: None,
                        ..answer(commit)
                    });
                }
                // Servers may refuse to serve a bare SHA; it may still be on a branch.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::Failed | ErrorKind::Integrity
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        self.fetch().await?;
        self.resolve(&revision).await.map(answer)
    }

    /// Fetches without taking the lock.
    async fn fetch_specs(&self, refspecs: Vec<Refspec>, prune: bool) -> Result<()> {
        let options = &self.inner.options;
        let request = FetchRequest {
            refspecs,
            depth: options.depth,
            prune,
            max_bytes: options.max_fetch_bytes,
        };
        let request = &request;
        self.with_remote("fetch", |remote| async move {
            options
                .transport
                .fetch(&self.inner.dir, &remote, request)
                .await
        })
        .await
    }

    async fn local_refs(&self) -> Result<BTreeMap<String, Oid>> {
        self.with_git(|git| {
            let mut refs = BTreeMap::new();
            for pattern in ["refs/remotes/origin/*", "refs/tags/*"] {
                for reference in git
                    .references_glob(pattern)
                    .map_err(store::failed("list references"))?
                {
                    let reference = reference.map_err(store::failed("list references"))?;
                    let Ok(name) = reference.name() else { continue };
                    // A tag of something that is not a commit is nothing to deploy.
                    if let Ok(Some(oid)) = store::commit_of_ref(git, name) {
                        refs.insert(name.to_owned(), oid);
                    }
                }
            }
            Ok(refs)
        })
        .await
    }
}

fn rewritten(
    git: &git2::Repository,
    name: &str,
    old: Option<Oid>,
    new: Option<Oid>,
) -> Result<bool> {
    let (Some(old), Some(new)) = (old, new) else {
        return Ok(false);
    };
    if old == new {
        return Ok(false);
    }
    if name.starts_with("refs/tags/") {
        return Ok(true);
    }
    // In a shallow copy the way from one to the other may be missing: then nothing is claimed.
    if git.is_shallow() {
        return Ok(false);
    }
    git.graph_descendant_of(new, old)
        .map(|descends| !descends)
        .map_err(store::failed("compare histories"))
}

fn resolve_local(git: &git2::Repository, revision: &Revision) -> Result<Option<String>> {
    let by_ref = |name: &str| -> Result<Option<String>> {
        Ok(store::commit_of_ref(git, &store::local_ref(name))?.map(|oid| oid.to_string()))
    };
    let by_sha = |sha: &str| -> Result<Option<String>> {
        let sha = sha.to_ascii_lowercase();
        let found = if crate::transport::is_sha(&sha) {
            store::commit_of_sha(git, &sha)?
        } else {
            store::commit_of_prefix(git, &sha)?
        };
        Ok(found.map(|oid| oid.to_string()))
    };
    match revision {
        Revision::Head => by_ref("HEAD"),
        Revision::Branch(name) => by_ref(&format!("refs/heads/{name}")),
        Revision::Tag(name) => by_ref(&format!("refs/tags/{name}")),
        Revision::Ref(name) => by_ref(name),
        Revision::Commit(sha) => by_sha(sha),
        Revision::Semver(range) => {
            let names = git.tag_names(None).map_err(store::failed("list tags"))?;
            let names: Vec<&str> = names
                .iter()
                .filter_map(|name| name.ok().flatten())
                .collect();
            match range.highest(names) {
                Some(tag) => by_ref(&format!("refs/tags/{tag}")),
                None => Ok(None),
            }
        }
        Revision::Name(name) => {
            if is_ref_name(&format!("refs/heads/{name}")) {
                for kind in ["heads", "tags"] {
                    if let Some(found) = by_ref(&format!("refs/{kind}/{name}"))? {
                        return Ok(Some(found));
                    }
                }
            }
            if Revision::is_short_sha(name)
                && let Some(found) = by_sha(name)?
            {
                return Ok(Some(found));
            }
            match Revision::as_range(name) {
                Some(range) => resolve_local(git, &range),
                None => Ok(None),
            }
        }
    }
}
