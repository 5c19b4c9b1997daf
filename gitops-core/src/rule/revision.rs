//! Whether there is something new to deploy.

use async_trait::async_trait;

use super::{Decision, SyncContext, SyncRule};
use crate::application::{ApplicationStatus, OperationPhase};
use crate::error::{Error, Result};

/// Says yes when the revisions to sync to are not the deployed ones.
///
/// What is deployed is what the last entry of the history names; without a history, what the last operation synced when it succeeded. Revisions that are being
/// synced, or whose sync failed, are not new (Argo CD 3.2 skips automated syncs of both, too): trying again is a matter of
/// [`Retry`](crate::application::Retry).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevisionChanged {
    /// Say yes to revisions whose sync failed as well.
    pub retry_failed: bool,
}

#[async_trait]
impl SyncRule for RevisionChanged {
    fn name(&self) -> &str {
        "revision-changed"
    }

    /// # Errors
    /// `InvalidInput` when the context knows no state or no revisions.
    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        let status = context.known_status(self.name())?;
        let wanted = context.revisions;
        if wanted.is_empty() {
            return Err(Error::invalid(
                "revision-changed cannot decide: the revisions to sync to are not known",
            ));
        }
        if let Some(operation) = &status.operation
            && operation.revisions == wanted
        {
            match operation.phase {
                OperationPhase::Running | OperationPhase::Terminating => {
                    return Ok(Decision::no(format!("{} is being synced", short(wanted))));
                }
                OperationPhase::Failed | OperationPhase::Error if !self.retry_failed => {
                    let reason = format!("the sync of {} failed already", short(wanted));
                    return Ok(Decision::no(reason));
                }
                _ => {}
            }
        }
        let deployed = deployed(status);
        Ok(match deployed {
            None => Decision::yes(format!("{} is the first revision", short(wanted))),
            Some(deployed) if deployed == wanted => {
                Decision::no(format!("{} is deployed", short(wanted)))
            }
            Some(deployed) => Decision::yes(format!(
                "the revision changed from {} to {}",
                short(deployed),
                short(wanted)
            )),
        })
    }
}

/// The revisions that are deployed, as far as `status` tells.
fn deployed(status: &ApplicationStatus) -> Option<&[String]> {
    match status.history.last() {
        Some(entry) => Some(entry.revisions.as_slice()),
        None => status
            .operation
            .as_ref()
            .filter(|operation| operation.phase == OperationPhase::Succeeded)
            .map(|operation| operation.revisions.as_slice()),
    }
    .filter(|revisions| !revisions.is_empty())
}

/// Revisions for people: the first seven digits of SHAs.
pub(super) fn short(revisions: &[String]) -> String {
    let short: Vec<_> = revisions
        .iter()
        .map(|revision| {
            let sha = matches!(revision.len(), 40 | 64)
                && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
            if sha { &revision[..7] } else { revision }
        })
        .collect();
    short.join(", ")
}
