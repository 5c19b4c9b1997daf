//! A sync as a value: what was asked, what is running, what came of it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::application::{AppRef, Backoff, Health, OperationPhase};
use crate::manifest::ObjectId;

/// Selects one resource of an application; empty fields and `*` match all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncResource {
    /// The API group; empty is the core group, `*` is any.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl SyncResource {
    /// Whether `id` is meant.
    pub fn matches(&self, id: &ObjectId) -> bool {
        let any = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        any(&self.group, &id.group)
            && (self.kind.is_empty() || any(&self.kind, &id.kind))
            && (self.namespace.is_empty() || any(&self.namespace, &id.namespace))
            && (self.name.is_empty() || any(&self.name, &id.name))
    }
}

/// Who asked for an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Initiator {
    /// A name for people and the audit log.
    pub name: String,
    /// Whether a program decided by itself.
    pub automated: bool,
}

/// How to sync. The default is: the application's own target revision, all resources, prune as the application's policy says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncOptions {
    /// The revisions to sync to, one per source; empty means the application's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<String>,
    /// Delete what Git no longer names; `None` leaves it to the application's automated policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<bool>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Take over fields that other managers own, and replace what cannot be patched.
    pub force: bool,
    /// Only these resources; empty means all. A selective sync prunes and records history only for what it names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<SyncResource>,
    /// Options in Argo CD's form, on top of the application's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// How often to try again after a failure; `None` leaves it to the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_limit: Option<i64>,
    /// The waits between tries; `None` leaves it to the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_backoff: Option<Backoff>,
    /// The whole operation, waits included, ends after this time; `None` leaves it to the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Who asks.
    pub initiator: Initiator,
    /// Notes kept with the operation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub info: Vec<(String, String)>,
}

/// Names one operation of one application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Operation {
    /// The application.
    pub app: AppRef,
    /// The operation's name, opaque, unique per application: a wait never takes a newer operation for this one.
    pub id: String,
    /// When it was started.
    pub started_at: Timestamp,
}

/// What happened to one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ResourceAction {
    /// It was made.
    Created,
    /// It was changed.
    Updated,
    /// It was as desired.
    #[default]
    Unchanged,
    /// It was deleted because Git no longer names it.
    Pruned,
    /// It should be deleted, and something protects it.
    PruneSkipped,
    /// It was left alone, as asked.
    Skipped,
    /// It failed.
    Failed,
}

/// One resource of an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceResult {
    /// Which one.
    #[serde(flatten)]
    pub id: ObjectId,
    /// What happened.
    pub action: ResourceAction,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Its health at the end, where that was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncOutcome {
    /// Which operation.
    pub operation: Operation,
    /// How it ended; always terminal.
    pub phase: OperationPhase,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The revisions that were really applied, one per source, in full.
    pub revisions: Vec<String>,
    /// Each resource, in the order in which they were dealt with.
    pub resources: Vec<ResourceResult>,
    /// When it ended.
    pub finished_at: Timestamp,
}

impl SyncOutcome {
    /// Whether it ended well.
    pub fn is_success(&self) -> bool {
        self.phase == OperationPhase::Succeeded
    }

    /// How many resources met `action`.
    pub fn count(&self, action: ResourceAction) -> usize {
        self.resources.iter().filter(|r| r.action == action).count()
    }
}
