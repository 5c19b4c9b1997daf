//! What became of an application.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::application::{Destination, ResourceIgnoreDifferences, SourceHydrator};
use super::extra::{Extra, null_is_default};
use super::operation::{OperationInitiator, OperationState};
use super::source::Source;

/// `status` of an application.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationStatus {
    /// Its resources. Their health is not here when [`resource_health_source`](Self::resource_health_source) is `appTree`, the default of 3.x.
    pub resources: Option<Vec<ResourceStatus>>,
    /// Whether live is as desired.
    pub sync: Option<SyncStatus>,
    /// The worst health of its resources.
    pub health: Option<HealthStatus>,
    /// Past syncs, oldest first.
    pub history: Option<Vec<RevisionHistory>>,
    /// What a person should know.
    pub conditions: Option<Vec<ApplicationCondition>>,
    /// When it was compared last.
    pub reconciled_at: Option<Time>,
    /// The running or last operation.
    pub operation_state: Option<OperationState>,
    /// Not written any more.
    pub observed_at: Option<Time>,
    /// `Helm`, `Kustomize`, `Directory`, `Plugin`.
    pub source_type: Option<String>,
    /// URLs and images.
    pub summary: Option<ApplicationSummary>,
    /// Where the resources' health is: `inline`, or `appTree`.
    pub resource_health_source: Option<String>,
    /// The types of several sources.
    pub source_types: Option<Vec<String>>,
    /// The controller's namespace.
    pub controller_namespace: Option<String>,
    /// How far rendering to Git is.
    pub source_hydrator: Option<SourceHydratorStatus>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status.sync`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncStatus {
    /// `Synced`, `OutOfSync`, `Unknown`.
    pub status: String,
    /// What live was compared with.
    pub compared_to: Option<ComparedTo>,
    /// The revision that it was compared with.
    pub revision: Option<String>,
    /// The revisions, one per source.
    pub revisions: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `comparedTo`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ComparedTo {
    /// The source.
    pub source: Option<Source>,
    /// The destination.
    #[serde(deserialize_with = "null_is_default")]
    pub destination: Destination,
    /// The sources.
    pub sources: Option<Vec<Source>>,
    /// Differences that did not count.
    pub ignore_differences: Option<Vec<ResourceIgnoreDifferences>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A health.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthStatus {
    /// `Healthy`, `Suspended`, `Progressing`, `Missing`, `Degraded`, `Unknown`.
    pub status: Option<String>,
    /// Why, for people.
    pub message: Option<String>,
    /// Since when.
    pub last_transition_time: Option<Time>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `status.resources`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceStatus {
    /// The API group.
    pub group: Option<String>,
    /// The API version.
    pub version: Option<String>,
    /// The kind.
    pub kind: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// `Synced`, `OutOfSync`, `Unknown`.
    pub status: Option<String>,
    /// Its health, where it is kept here.
    pub health: Option<HealthStatus>,
    /// Whether it is a hook.
    pub hook: Option<bool>,
    /// Whether Git no longer names it.
    pub requires_pruning: Option<bool>,
    /// The sync wave.
    pub sync_wave: Option<i64>,
    /// Whether somebody must confirm that it is deleted.
    pub requires_deletion_confirmation: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `status.history`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionHistory {
    /// The revision.
    pub revision: Option<String>,
    /// When it was deployed.
    pub deployed_at: Option<Time>,
    /// Its number.
    pub id: i64,
    /// The source as it was.
    pub source: Option<Source>,
    /// When the sync started.
    pub deploy_started_at: Option<Time>,
    /// The sources as they were.
    pub sources: Option<Vec<Source>>,
    /// The revisions, one per source.
    pub revisions: Option<Vec<String>>,
    /// Who asked.
    pub initiated_by: Option<OperationInitiator>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `status.conditions`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationCondition {
    /// `ComparisonError`, `SyncError`, `InvalidSpecError`, `OrphanedResourceWarning` …
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says.
    pub message: String,
    /// Since when.
    pub last_transition_time: Option<Time>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status.summary`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationSummary {
    /// URLs that lead to it.
    #[serde(rename = "externalURLs")]
    pub external_urls: Option<Vec<String>>,
    /// All images.
    pub images: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status.sourceHydrator`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceHydratorStatus {
    /// The last that went well.
    pub last_successful_operation: Option<SuccessfulHydrateOperation>,
    /// The running or last one.
    pub current_operation: Option<HydrateOperation>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `lastSuccessfulOperation`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessfulHydrateOperation {
    /// The commit that was rendered.
    #[serde(rename = "drySHA")]
    pub dry_sha: Option<String>,
    /// The commit that was made.
    #[serde(rename = "hydratedSHA")]
    pub hydrated_sha: Option<String>,
    /// What was asked for.
    pub source_hydrator: Option<SourceHydrator>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `currentOperation`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HydrateOperation {
    /// When it started.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// `Hydrating`, `Failed`, `Hydrated`.
    pub phase: String,
    /// Why, for people.
    pub message: String,
    /// The commit that is rendered.
    #[serde(rename = "drySHA")]
    pub dry_sha: Option<String>,
    /// The commit that was made.
    #[serde(rename = "hydratedSHA")]
    pub hydrated_sha: Option<String>,
    /// What was asked for.
    pub source_hydrator: Option<SourceHydrator>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
