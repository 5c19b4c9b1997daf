//! People who approve of what is deployed.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::revision::short;
use super::{Decision, SyncContext, SyncRule};
use crate::application::AppRef;
use crate::error::{Error, Result};

/// Somebody approved of one revision of one application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// The application.
    pub app: AppRef,
    /// The revision, in full.
    pub revision: String,
    /// Who.
    pub by: String,
    /// What they said; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// When.
    pub at: Timestamp,
    /// From when on it no longer counts; `None` means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Approval {
    /// An approval of now that does not expire.
    pub fn new(app: impl Into<AppRef>, revision: impl Into<String>, by: impl Into<String>) -> Self {
        Self {
            app: app.into(),
            revision: revision.into(),
            by: by.into(),
            comment: String::new(),
            at: Timestamp::now(),
            expires_at: None,
        }
    }

    /// Sets what they said.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = comment.into();
        self
    }

    /// Lets it expire `after` the time it was given.
    #[must_use]
    pub fn expires_after(mut self, after: Duration) -> Self {
        // What lies beyond the end of time never expires.
        self.expires_at = SignedDuration::try_from(after)
            .ok()
            .and_then(|after| self.at.checked_add(after).ok());
        self
    }

    /// Whether it counts at `now`: it was given, and has not expired.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.at <= now && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Where approvals are kept.
///
/// # Contract
/// - `list` gives all approvals of a revision that were recorded and not withdrawn, expired ones too; an unknown application or revision has none.
/// - An error means that it could not look.
#[async_trait]
pub trait ApprovalStore: Send + Sync {
    /// The approvals of `revision` of `app`.
    ///
    /// # Errors
    /// When it cannot look.
    async fn list(&self, app: &AppRef, revision: &str) -> Result<Vec<Approval>>;
}

#[async_trait]
impl<T: ApprovalStore + ?Sized> ApprovalStore for Arc<T> {
    async fn list(&self, app: &AppRef, revision: &str) -> Result<Vec<Approval>> {
        (**self).list(app, revision).await
    }
}

/// Of how many revisions of one application [`Approvals`] keeps what was approved.
const REVISIONS: usize = 64;

type Key = (AppRef, String);

/// Approvals in memory: a handle that is cheap to clone, one half for whoever takes approvals, the other in the rule. What outlives the process is kept by the
/// program ([`Approval`] is serialisable; put the old ones back with [`approve`](Self::approve)) or by another [`ApprovalStore`].
///
/// So that they do not grow for ever, expired ones go, and of each application those of the 64 revisions approved of last are kept: a revision that is older than that needs a new approval.
///
/// Each approval and each withdrawal is told through `tracing` (target `gitops::approval`), with who.
#[derive(Clone, Debug, Default)]
pub struct Approvals {
    given: Arc<Mutex<HashMap<Key, Vec<Approval>>>>,
}

impl Approvals {
    /// Without approvals.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records an approval. A newer one of the same person replaces the older.
    ///
    /// # Errors
    /// `InvalidInput` when it names no person or no revision.
    pub fn approve(&self, approval: Approval) -> Result<()> {
        if approval.by.trim().is_empty() {
            return Err(Error::invalid("an approval needs a person"));
        }
        if approval.revision.trim().is_empty() {
            return Err(Error::invalid("an approval needs a revision"));
        }
        tracing::info!(
            target: "gitops::approval",
            app = %approval.app, revision = %approval.revision, by = %approval.by,
            expires_at = approval.expires_at.map(|at| at.to_string()), "approved"
        );
        let mut given = self.lock();
        let now = Timestamp::now();
        given.retain(|_, approvals| {
            approvals.retain(|old| old.expires_at.is_none_or(|end| now < end));
            !approvals.is_empty()
        });
        let app = approval.app.clone();
        let key = (app.clone(), approval.revision.clone());
        let approvals = given.entry(key.clone()).or_default();
        approvals.retain(|old| old.by != approval.by);
        approvals.push(approval);
        // The new one stays, whatever time it names.
        let others = given.iter().filter(|(of, _)| of.0 == app && **of != key);
        let mut others: Vec<_> = others
            .map(|(of, approvals)| (approvals.iter().map(|old| old.at).max(), of.clone()))
            .collect();
        others.sort();
        let surplus = others.len().saturating_sub(REVISIONS - 1);
        for (_, of) in others.into_iter().take(surplus) {
            given.remove(&of);
        }
        Ok(())
    }

    /// Takes back what `by` approved of; tells whether there was something.
    pub fn withdraw(&self, app: &AppRef, revision: &str, by: &str) -> bool {
        let mut given = self.lock();
        let key = (app.clone(), revision.to_owned());
        let Some(approvals) = given.get_mut(&key) else {
            return false;
        };
        let before = approvals.len();
        approvals.retain(|old| old.by != by);
        let found = approvals.len() < before;
        if approvals.is_empty() {
            given.remove(&key);
        }
        if found {
            tracing::info!(target: "gitops::approval", %app, revision, by, "approval withdrawn");
        }
        found
    }

    /// All approvals that are kept, to be stored.
    pub fn all(&self) -> Vec<Approval> {
        let mut all: Vec<_> = self.lock().values().flatten().cloned().collect();
        all.sort_by(|a, b| (a.at, &a.app, &a.by).cmp(&(b.at, &b.app, &b.by)));
        all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Vec<Approval>>> {
        // Nothing panics while it is held; were it so, the map would still be whole.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ApprovalStore for Approvals {
    async fn list(&self, app: &AppRef, revision: &str) -> Result<Vec<Approval>> {
        let key = (app.clone(), revision.to_owned());
        Ok(self.lock().get(&key).cloned().unwrap_or_default())
    }
}

/// Says yes when enough people approved of every revision that a sync would go to.
///
/// An approval is for one revision: a newer commit needs its own. The reason names who approved.
#[derive(Clone, Debug)]
pub struct ManualApproval<S = Approvals> {
    store: S,
    needed: usize,
    approvers: Option<BTreeSet<String>>,
}

impl<S: ApprovalStore> ManualApproval<S> {
    /// One approval of anybody, as `store` tells.
    pub fn new(store: S) -> Self {
        Self {
            store,
            needed: 1,
            approvers: None,
        }
    }

    /// How many different people are needed, at least one.
    #[must_use]
    pub fn needed(mut self, needed: usize) -> Self {
        self.needed = needed.max(1);
        self
    }

    /// Only approvals of these people count.
    #[must_use]
    pub fn approvers(mut self, approvers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.approvers = Some(approvers.into_iter().map(Into::into).collect());
        self
    }
}

#[async_trait]
impl<S: ApprovalStore> SyncRule for ManualApproval<S> {
    fn name(&self) -> &str {
        "manual-approval"
    }

    /// # Errors
    /// `InvalidInput` when the context knows no revisions; whatever the store answers.
    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        if context.revisions.is_empty() {
            return Err(Error::invalid(
                "manual-approval cannot decide: the revisions to sync to are not known",
            ));
        }
        let app = context.app.app_ref();
        let mut everybody = BTreeSet::new();
        for revision in context.revisions {
            let approvals = self.store.list(&app, revision).await?;
            let given = approvals.len();
            let people: BTreeSet<String> = approvals
                .into_iter()
                // A store that answers for something else must not open the gate.
                .filter(|approval| approval.app == app && approval.revision == *revision)
                .filter(|approval| approval.is_valid(context.now))
                .map(|approval| approval.by)
                .filter(|by| self.approvers.as_ref().is_none_or(|all| all.contains(by)))
                .collect();
            if people.len() < self.needed {
                let name = short(std::slice::from_ref(revision));
                let mut reason =
                    format!("{name} has {} of {} approvals", people.len(), self.needed);
                if given > people.len() {
                    reason.push_str(" (others have expired or are not by approvers)");
                }
                return Ok(Decision::no(reason));
            }
            everybody.extend(people);
        }
        let people: Vec<_> = everybody.into_iter().collect();
        Ok(Decision::yes(format!(
            "{} is approved by {}",
            short(context.revisions),
            people.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approvals_that_do_not_expire_do_not_grow_for_ever() {
        let approvals = Approvals::new();
        approvals
            .approve(Approval::new("other", "r", "ann"))
            .unwrap();
        for n in 0..200 {
            let mut approval = Approval::new("shop", format!("r{n}"), "ann");
            approval.at += SignedDuration::from_secs(n);
            approvals.approve(approval).unwrap();
        }
        let kept = approvals.all();
        assert_eq!(kept.len(), REVISIONS + 1);
        let has = |revision: &str| kept.iter().any(|one| one.revision == revision);
        assert!(has("r") && has("r199") && has("r136") && !has("r135"));
        // An old one that is given again is kept.
        approvals
            .approve(Approval::new("shop", "r0", "ann"))
            .unwrap();
        assert!(approvals.all().iter().any(|one| one.revision == "r0"));
    }
}
