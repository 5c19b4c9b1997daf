//! What is told while a sync runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::operation::{ResourceAction, SyncOutcome};
use crate::application::{AppRef, Health, HealthStatus, SyncStatus};
use crate::manifest::ObjectId;

/// How much an event matters.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Progress.
    #[default]
    Info,
    /// Somebody should look.
    Warning,
    /// Something failed.
    Error,
}

/// What happened. Adding kinds is not a breaking change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
#[non_exhaustive]
pub enum EventKind {
    /// A new revision was seen.
    RevisionDetected {
        /// The source's position.
        source: usize,
        /// The revision, in full.
        revision: String,
    },
    /// A sync that was due was not started: something forbids it, or could not decide. Told once, until the reason changes.
    SyncRefused {
        /// Who said no: `strategy`, `validators` …
        by: String,
        /// Why, for people.
        reason: String,
        /// The revisions that it would have gone to.
        revisions: Vec<String>,
    },
    /// An operation started.
    SyncStarted,
    /// Manifests were rendered.
    Rendered {
        /// How many objects.
        objects: usize,
        /// From which revisions.
        revisions: Vec<String>,
    },
    /// It is decided what to do.
    Planned {
        /// To be made.
        create: usize,
        /// To be changed.
        update: usize,
        /// To be deleted.
        prune: usize,
        /// As desired.
        unchanged: usize,
    },
    /// A stage begins; stages are counted from 1.
    StageStarted {
        /// Which one.
        stage: usize,
        /// Of how many.
        of: usize,
        /// How many objects it has.
        objects: usize,
    },
    /// One resource was dealt with.
    Resource {
        /// Which one.
        id: ObjectId,
        /// What happened.
        action: ResourceAction,
        /// Why, for people.
        message: String,
    },
    /// A resource's health changed while it was waited for.
    HealthChanged {
        /// Which one.
        id: ObjectId,
        /// Its health now.
        health: Health,
    },
    /// A hook changed its state.
    Hook {
        /// Which object.
        id: ObjectId,
        /// Its phase, in Argo CD's words.
        phase: String,
        /// Why, for people.
        message: String,
    },
    /// A try failed and will be repeated.
    Retrying {
        /// Which try failed, from 1.
        attempt: u32,
        /// Why.
        message: String,
    },
    /// An operation ended.
    SyncFinished {
        /// What came of it.
        outcome: Box<SyncOutcome>,
    },
    /// The application's state changed outside of an operation.
    StatusChanged {
        /// Whether it is in sync.
        sync: SyncStatus,
        /// How healthy it is.
        health: HealthStatus,
    },
}

impl EventKind {
    /// The kind's name, as JSON has it in `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RevisionDetected { .. } => "revisionDetected",
            Self::SyncRefused { .. } => "syncRefused",
            Self::SyncStarted => "syncStarted",
            Self::Rendered { .. } => "rendered",
            Self::Planned { .. } => "planned",
            Self::StageStarted { .. } => "stageStarted",
            Self::Resource { .. } => "resource",
            Self::HealthChanged { .. } => "healthChanged",
            Self::Hook { .. } => "hook",
            Self::Retrying { .. } => "retrying",
            Self::SyncFinished { .. } => "syncFinished",
            Self::StatusChanged { .. } => "statusChanged",
        }
    }

    /// What happened, in one sentence for people.
    pub fn text(&self) -> String {
        let because = |message: &str| {
            if message.is_empty() {
                String::new()
            } else {
                format!(": {message}")
            }
        };
        match self {
            Self::RevisionDetected { revision, .. } => format!("new revision {revision}"),
            Self::SyncRefused { by, reason, .. } => {
                format!("sync refused by {by}{}", because(reason))
            }
            Self::SyncStarted => "sync started".into(),
            Self::Rendered { objects, .. } => format!("{objects} objects rendered"),
            Self::Planned {
                create,
                update,
                prune,
                unchanged,
            } => format!(
                "planned: {create} to create, {update} to update, {prune} to prune, {unchanged} unchanged"
            ),
            Self::StageStarted { stage, of, objects } => {
                format!("stage {stage} of {of}: {objects} objects")
            }
            Self::Resource {
                id,
                action,
                message,
            } => format!("{id} {action:?}{}", because(message)),
            Self::HealthChanged { id, health } => {
                format!("{id} is {}{}", health.status, because(&health.message))
            }
            Self::Hook { id, phase, message } => format!("hook {id} {phase}{}", because(message)),
            Self::Retrying { attempt, message } => {
                format!("attempt {attempt} failed{}", because(message))
            }
            Self::SyncFinished { outcome } => {
                format!("sync {}{}", outcome.phase, because(&outcome.message))
            }
            Self::StatusChanged { sync, health } => format!("{sync} and {health}"),
        }
    }
}

/// One thing that happened to one application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncEvent {
    /// The application.
    pub app: AppRef,
    /// The operation, when it belongs to one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// When.
    pub at: Timestamp,
    /// How much it matters.
    pub severity: Severity,
    /// What.
    pub kind: EventKind,
}

impl SyncEvent {
    /// An event of now; its severity follows from its kind.
    pub fn now(app: AppRef, operation: impl Into<String>, kind: EventKind) -> Self {
        let severity = match &kind {
            EventKind::SyncFinished { outcome } if !outcome.is_success() => Severity::Error,
            EventKind::Resource {
                action: ResourceAction::Failed,
                ..
            } => Severity::Error,
            EventKind::Retrying { .. } | EventKind::SyncRefused { .. } => Severity::Warning,
            EventKind::HealthChanged { health, .. } if health.status == HealthStatus::Degraded => {
                Severity::Warning
            }
            _ => Severity::Info,
        };
        Self {
            app,
            operation: operation.into(),
            at: Timestamp::now(),
            severity,
            kind,
        }
    }
}
