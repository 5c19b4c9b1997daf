//! One line of the log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::application::{AppRef, OperationPhase};
use crate::backend::{Initiator, ResourceAction, SyncOutcome};
use crate::error::Error;
use crate::manifest::ObjectId;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AuditAction {
    /// A sync.
    Sync,
    /// A way back to an earlier revision.
    RollBack,
    /// A running operation was asked to stop.
    Terminate,
    /// An application was created or changed.
    Put,
    /// An application was deleted.
    Delete,
    /// An application was suspended.
    Suspend,
    /// A suspension was ended.
    Resume,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AuditOutcome {
    /// It is about to be tried.
    Requested,
    /// It was done.
    Succeeded,
    /// It was refused, or it failed.
    Failed,
    /// It was started, and what came of it could not be learnt.
    Unknown,
}

/// One object that was changed, or should have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectChange {
    /// Which one.
    #[serde(flatten)]
    pub id: ObjectId,
    /// What happened to it.
    pub action: ResourceAction,
}

/// One entry of the log. It holds no secret: names, revisions and messages only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// When it was written.
    pub at: Timestamp,
    /// Who.
    pub actor: Initiator,
    /// What.
    pub action: AuditAction,
    /// Through which backend.
    pub backend: String,
    /// To which application.
    pub app: AppRef,
    /// The operation, once it has a name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// What was deployed before, one revision per source; empty when that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// What was asked for, or was deployed, one revision per source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// The objects that were changed, or failed; those left as they were are not named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<ObjectChange>,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// Why, or what was asked in detail, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl AuditRecord {
    /// A request of now.
    pub fn requested(
        actor: Initiator,
        action: AuditAction,
        backend: impl Into<String>,
        app: AppRef,
    ) -> Self {
        Self {
            at: Timestamp::now(),
            actor,
            action,
            backend: backend.into(),
            app,
            operation: String::new(),
            from: Vec::new(),
            to: Vec::new(),
            changed: Vec::new(),
            outcome: AuditOutcome::Requested,
            message: String::new(),
        }
    }

    /// The record of what came of this request, now.
    #[must_use]
    pub fn ended(&self, outcome: AuditOutcome, message: impl Into<String>) -> Self {
        Self {
            at: Timestamp::now(),
            outcome,
            message: message.into(),
            ..self.clone()
        }
    }

    /// The record of a failure of this request, now.
    #[must_use]
    pub fn failed(&self, error: &Error) -> Self {
        self.ended(AuditOutcome::Failed, error.to_string())
    }

    /// The record of what came of the operation that this request started.
    #[must_use]
    pub fn of_outcome(&self, outcome: &SyncOutcome) -> Self {
        let changed = outcome
            .resources
            .iter()
            .filter(|result| {
                !matches!(
                    result.action,
                    ResourceAction::Unchanged | ResourceAction::Skipped
                )
            })
            .map(|result| ObjectChange {
                id: result.id.clone(),
                action: result.action,
            })
            .collect();
        let ended = match outcome.phase {
            OperationPhase::Succeeded => AuditOutcome::Succeeded,
            phase if phase.is_terminal() => AuditOutcome::Failed,
            _ => AuditOutcome::Unknown,
        };
        Self {
            operation: outcome.operation.id.clone(),
            to: outcome.revisions.clone(),
            changed,
            ..self.ended(ended, &*outcome.message)
        }
    }
}
