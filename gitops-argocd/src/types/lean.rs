//! Just what a status needs, for lists and streams of thousands of applications.
//!
//! These types are only read: whatever else an application holds is skipped without being built. From a list of 2,000 applications (16 MB) this takes a
//! fraction of what the [full types](super::Application) need, in time and in memory.

use std::collections::BTreeMap;

use gitops_core::application as core;
use gitops_core::manifest::ObjectId;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// `null` is the default, as Go writes empty lists and maps.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A list of applications.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApplicationList {
    /// The list's own metadata.
    pub metadata: ListMetadata,
    /// The applications.
    #[serde(deserialize_with = "nullable")]
    pub items: Vec<Application>,
}

/// Metadata of a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMetadata {
    /// The version from which a watch goes on.
    pub resource_version: String,
    /// Where the next page begins (Kubernetes only).
    #[serde(rename = "continue", deserialize_with = "nullable")]
    pub continue_token: String,
}

/// One application.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Application {
    /// Its metadata.
    pub metadata: Metadata,
    /// What is needed of its specification.
    pub spec: Spec,
    /// What is needed of its status.
    pub status: Status,
    /// The operation that is asked for or running.
    pub operation: Option<Operation>,
}

/// What is needed of `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The name.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// Changes with each write.
    pub resource_version: String,
    /// Names this one application of that name.
    pub uid: String,
    /// Labels.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// Set while it is deleted.
    pub deletion_timestamp: Option<Timestamp>,
}

/// What is needed of `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// The project.
    pub project: String,
}

/// What is needed of `status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Whether live is as desired.
    pub sync: Sync,
    /// The worst health.
    pub health: Health,
    /// Each resource.
    #[serde(deserialize_with = "nullable")]
    pub resources: Vec<Resource>,
    /// What a person should know.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<core::Condition>,
    /// Past syncs.
    #[serde(deserialize_with = "nullable")]
    pub history: Vec<History>,
    /// The running or last operation.
    pub operation_state: Option<OperationState>,
    /// When it was compared last.
    pub reconciled_at: Option<Timestamp>,
}

/// `status.sync`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sync {
    /// Whether live is as desired.
    pub status: SyncCode,
    /// The revision that live was compared with.
    #[serde(deserialize_with = "nullable")]
    pub revision: String,
    /// The revisions, one per source.
    #[serde(deserialize_with = "nullable")]
    pub revisions: Vec<String>,
}

/// A sync status; what is not known is `Unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub enum SyncCode {
    Synced,
    OutOfSync,
    #[default]
    #[serde(other)]
    Unknown,
}

/// A health status; what is not known is `Unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub enum HealthCode {
    Healthy,
    Suspended,
    Progressing,
    Missing,
    Degraded,
    #[default]
    #[serde(other)]
    Unknown,
}

/// The phase of an operation or a hook; [`is_completed`](Self::is_completed) as `OperationPhase.Completed` of gitops-engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub enum Phase {
    Running,
    Terminating,
    Succeeded,
    Failed,
    Error,
    /// None, or one of a newer server: whether it has ended nobody here can know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// Whether it ended.
    pub fn is_completed(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Error)
    }
}

/// A health.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The status.
    pub status: HealthCode,
    /// Why, for people.
    #[serde(deserialize_with = "nullable")]
    pub message: String,
}

/// One of `status.resources`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resource {
    /// The API group.
    pub group: String,
    /// The API version.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Whether it is as desired.
    pub status: SyncCode,
    /// Its health, where it has one.
    pub health: Option<Health>,
    /// Whether it is a hook.
    pub hook: bool,
    /// Whether Git no longer names it.
    pub requires_pruning: bool,
    /// The sync wave.
    pub sync_wave: i64,
}

/// One of `status.history`, without its sources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct History {
    /// Its number.
    pub id: i64,
    /// The revision.
    #[serde(deserialize_with = "nullable")]
    pub revision: String,
    /// The revisions, one per source.
    #[serde(deserialize_with = "nullable")]
    pub revisions: Vec<String>,
    /// When the sync started.
    pub deploy_started_at: Option<Timestamp>,
    /// When it ended.
    pub deployed_at: Option<Timestamp>,
    /// Who asked.
    pub initiated_by: Initiator,
}

/// Who asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Initiator {
    /// The user.
    pub username: String,
    /// Whether the controller did by itself.
    pub automated: bool,
}

/// What is needed of `operation`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// Notes kept with it.
    #[serde(deserialize_with = "nullable")]
    pub info: Vec<core::Info>,
    /// What it syncs.
    pub sync: Option<SyncOperation>,
    /// Who asked.
    pub initiated_by: Initiator,
}

impl Operation {
    /// The value of note `name`.
    pub fn note(&self, name: &str) -> Option<&str> {
        self.info
            .iter()
            .find(|info| info.name == name)
            .map(|info| info.value.as_str())
    }
}

/// What is needed of `operation.sync`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncOperation {
    /// The revision to sync to.
    #[serde(deserialize_with = "nullable")]
    pub revision: String,
    /// The revisions, one per source.
    #[serde(deserialize_with = "nullable")]
    pub revisions: Vec<String>,
    /// Whether it only says what would be done.
    pub dry_run: bool,
}

/// `status.operationState`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationState {
    /// The operation.
    pub operation: Operation,
    /// How far it is.
    pub phase: Phase,
    /// Why, for people.
    #[serde(deserialize_with = "nullable")]
    pub message: String,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended; while the phase is `Running`, when the last try did.
    pub finished_at: Option<Timestamp>,
    /// How often it was tried again.
    pub retry_count: i64,
    /// What it did so far.
    pub sync_result: Option<SyncResult>,
}

/// `syncResult`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SyncResult {
    /// The revision that was synced to.
    #[serde(deserialize_with = "nullable")]
    pub revision: String,
    /// The revisions, one per source.
    #[serde(deserialize_with = "nullable")]
    pub revisions: Vec<String>,
    /// Each resource.
    #[serde(deserialize_with = "nullable")]
    pub resources: Vec<ResourceResult>,
}

/// What happened to one resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceResult {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// How it went.
    pub status: ResultCode,
    /// Why, for people.
    #[serde(deserialize_with = "nullable")]
    pub message: String,
    /// Which hook it is; empty for what is none.
    #[serde(deserialize_with = "nullable")]
    pub hook_type: String,
    /// How far the hook, or what is waited for, is.
    pub hook_phase: Phase,
}

/// How it went with one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub enum ResultCode {
    Synced,
    SyncFailed,
    Pruned,
    PruneSkipped,
    #[default]
    #[serde(other)]
    Unknown,
}

/// A change of an application, as both APIs tell it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WatchEvent {
    /// `ADDED`, `MODIFIED`, `DELETED` …
    #[serde(rename = "type")]
    pub kind: String,
    /// The application; Kubernetes names it `object`.
    #[serde(alias = "object")]
    pub application: Application,
}

impl From<SyncCode> for core::SyncStatus {
    fn from(code: SyncCode) -> Self {
        match code {
            SyncCode::Synced => Self::Synced,
            SyncCode::OutOfSync => Self::OutOfSync,
            SyncCode::Unknown => Self::Unknown,
        }
    }
}

impl From<HealthCode> for core::HealthStatus {
    fn from(code: HealthCode) -> Self {
        match code {
            HealthCode::Healthy => Self::Healthy,
            HealthCode::Suspended => Self::Suspended,
            HealthCode::Progressing => Self::Progressing,
            HealthCode::Missing => Self::Missing,
            HealthCode::Degraded => Self::Degraded,
            HealthCode::Unknown => Self::Unknown,
        }
    }
}

impl From<Phase> for core::OperationPhase {
    /// A phase that is not known counts as running: nothing says that it ended.
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Running | Phase::Unknown => Self::Running,
            Phase::Terminating => Self::Terminating,
            Phase::Succeeded => Self::Succeeded,
            Phase::Failed => Self::Failed,
            Phase::Error => Self::Error,
        }
    }
}

impl From<Health> for core::Health {
    fn from(health: Health) -> Self {
        Self::new(health.status.into(), health.message)
    }
}

impl From<Resource> for core::ResourceStatus {
    fn from(resource: Resource) -> Self {
        Self {
            id: ObjectId::new(
                resource.group,
                resource.kind,
                resource.namespace,
                resource.name,
            ),
            version: resource.version,
            sync: resource.status.into(),
            health: resource.health.map(Into::into),
            hook: resource.hook,
            requires_pruning: resource.requires_pruning,
            sync_wave: resource.sync_wave,
        }
    }
}

/// `revisions`, or the one `revision`; none where neither is there.
pub(crate) fn revisions(revisions: Vec<String>, revision: String) -> Vec<String> {
    match (revisions.is_empty(), revision.is_empty()) {
        (false, _) => revisions,
        (true, false) => vec![revision],
        (true, true) => Vec::new(),
    }
}

impl From<History> for core::HistoryEntry {
    fn from(entry: History) -> Self {
        Self {
            id: entry.id,
            revisions: revisions(entry.revisions, entry.revision),
            sources: Vec::new(),
            started_at: entry.deploy_started_at,
            deployed_at: entry.deployed_at,
            initiated_by: entry.initiated_by.username,
        }
    }
}

impl Application {
    /// How others name it.
    pub fn app_ref(&self) -> core::AppRef {
        core::AppRef::namespaced(&*self.metadata.namespace, &*self.metadata.name)
    }

    /// The state as core's types have it, read now. The history has no sources, and resources have their health where the answer had it: Argo CD's API
    /// server adds it from the resource tree, Kubernetes does not know it (`status.resourceHealthSource: appTree`, the default of Argo CD 3).
    pub fn into_status(self) -> core::ApplicationStatus {
        let operation = crate::operation::status_of(&self);
        let status = self.status;
        core::ApplicationStatus {
            sync: status.sync.status.into(),
            health: status.health.into(),
            revisions: revisions(status.sync.revisions, status.sync.revision),
            operation,
            conditions: status.conditions,
            resources: status.resources.into_iter().map(Into::into).collect(),
            history: status.history.into_iter().map(Into::into).collect(),
            observed_at: Some(Timestamp::now()),
        }
    }
}

/// Reads the states of a list as `GET /api/v1/applications` and the Kubernetes API answer it.
///
/// # Errors
/// `Integrity` for what is no such list.
pub fn statuses(json: &[u8]) -> gitops_core::Result<Vec<(core::AppRef, core::ApplicationStatus)>> {
    let list: ApplicationList = serde_json::from_slice(json).map_err(|error| {
        gitops_core::Error::integrity("no list of applications").with_source(error)
    })?;
    Ok(list
        .items
        .into_iter()
        .map(|app| (app.app_ref(), app.into_status()))
        .collect())
}
