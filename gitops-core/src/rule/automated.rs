//! The application's own policy.

use async_trait::async_trait;

use super::{Decision, RevisionChanged, SyncContext, SyncRule};
use crate::application::SyncStatus;
use crate::error::Result;

/// Says yes when the application's automated policy wants a sync now: at a new revision, and with `selfHeal` also when the live state drifted.
///
/// As Argo CD 3.2 does (`controller/appcontroller.go`, `autoSync`): never while the application is suspended, without an enabled `automated` policy, while an
/// operation runs (unless a person asks: then always), or for revisions whose manifests are in sync already. Of a revision whose sync failed Argo CD makes no second attempt unless it heals; with
/// [`retry_failed`](Self::retry_failed) this rule says yes to it again, as Flux does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutomatedPolicy {
    /// Say yes to revisions whose sync failed as well; who asks again and again must wait in between.
    pub retry_failed: bool,
}

#[async_trait]
impl SyncRule for AutomatedPolicy {
    fn name(&self) -> &str {
        "automated"
    }

    /// # Errors
    /// `InvalidInput` when the context knows no state, or no revisions.
    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        let status = context.known_status(self.name())?;
        let policy = match &context.app.sync_policy.automated {
            _ if context.manual => return Ok(Decision::yes("somebody asked for it")),
            _ if context.app.suspended => return Ok(Decision::no("the application is suspended")),
            Some(policy) if policy.is_enabled() => policy,
            _ => return Ok(Decision::no("automated sync is off")),
        };
        if let Some(operation) = &status.operation
            && !operation.phase.is_terminal()
        {
            return Ok(Decision::no("a sync is running"));
        }
        if status.sync == SyncStatus::Synced && status.revisions == context.revisions {
            return Ok(Decision::no("the live state is the desired one"));
        }
        let changed = RevisionChanged {
            retry_failed: self.retry_failed || policy.self_heal,
        };
        let decision = changed.evaluate(context).await?;
        if decision.sync || status.sync != SyncStatus::OutOfSync {
            return Ok(decision);
        }
        Ok(if policy.self_heal {
            Decision::yes("the live state is not the desired one")
        } else {
            Decision::no(format!(
                "{}; the live state is not the desired one, and self-healing is off",
                decision.reason
            ))
        })
    }
}
