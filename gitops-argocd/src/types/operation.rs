//! Operations: asked for, running, ended.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::application::Info;
use super::extra::{Extra, null_is_default};
use super::policy::{ManagedNamespaceMetadata, RetryStrategy};
use super::source::Source;

/// `operation`: what the controller is asked to do.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// A sync.
    pub sync: Option<SyncOperation>,
    /// Who asked.
    pub initiated_by: Option<OperationInitiator>,
    /// Notes kept with it.
    pub info: Option<Vec<Info>>,
    /// How it is tried again.
    pub retry: Option<RetryStrategy>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `initiatedBy`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationInitiator {
    /// The user.
    pub username: Option<String>,
    /// Whether the controller did by itself.
    pub automated: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `operation.sync`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncOperation {
    /// The revision to sync to.
    pub revision: Option<String>,
    /// Delete what Git no longer names.
    pub prune: Option<bool>,
    /// Only say what would be done.
    pub dry_run: Option<bool>,
    /// With hooks (the default), or `kubectl apply` alone.
    pub sync_strategy: Option<SyncStrategy>,
    /// Only these resources.
    pub resources: Option<Vec<SyncOperationResource>>,
    /// The source, where it is not the application's own (a rollback).
    pub source: Option<Source>,
    /// Manifests instead of Git's, as JSON.
    pub manifests: Option<Vec<String>>,
    /// Options, on top of the application's.
    pub sync_options: Option<Vec<String>>,
    /// The sources, where they are not the application's own.
    pub sources: Option<Vec<Source>>,
    /// The revisions to sync to, one per source.
    pub revisions: Option<Vec<String>>,
    /// How often the controller tried to repair drift.
    pub auto_heal_attempts_count: Option<i64>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for SyncOperation {
    /// Manifests may be secrets: only how many there are is printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncOperation")
            .field("revision", &self.revision)
            .field("prune", &self.prune)
            .field("dry_run", &self.dry_run)
            .field("sync_strategy", &self.sync_strategy)
            .field("resources", &self.resources)
            .field("source", &self.source)
            .field("manifests", &self.manifests.as_ref().map(Vec::len))
            .field("sync_options", &self.sync_options)
            .field("sources", &self.sources)
            .field("revisions", &self.revisions)
            .field("auto_heal_attempts_count", &self.auto_heal_attempts_count)
            .field("extra", &self.extra)
            .finish()
    }
}

/// `syncStrategy`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncStrategy {
    /// Without hooks.
    pub apply: Option<SyncStrategyApply>,
    /// With hooks.
    pub hook: Option<SyncStrategyHook>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `apply`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncStrategyApply {
    /// Delete and make anew what cannot be patched.
    pub force: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `hook`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncStrategyHook {
    /// Delete and make anew what cannot be patched.
    pub force: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `resources` of a selective sync.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncOperationResource {
    /// The API group.
    pub group: Option<String>,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The namespace.
    pub namespace: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status.operationState`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationState {
    /// The operation.
    #[serde(deserialize_with = "null_is_default")]
    pub operation: Operation,
    /// `Running`, `Terminating`, `Succeeded`, `Failed`, `Error`.
    pub phase: String,
    /// Why, for people.
    pub message: Option<String>,
    /// What it did so far.
    pub sync_result: Option<SyncOperationResult>,
    /// When it started.
    pub started_at: Option<Time>,
    /// When it ended — or, while `phase` is `Running`, when the last try did.
    pub finished_at: Option<Time>,
    /// How often it was tried again.
    pub retry_count: Option<i64>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `syncResult`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncOperationResult {
    /// What happened to each resource.
    pub resources: Option<Vec<ResourceResult>>,
    /// The revision that was synced to.
    pub revision: String,
    /// The source.
    pub source: Option<Source>,
    /// The sources.
    pub sources: Option<Vec<Source>>,
    /// The revisions that were synced to, one per source.
    pub revisions: Option<Vec<String>>,
    /// Labels and annotations of the namespace.
    pub managed_namespace_metadata: Option<ManagedNamespaceMetadata>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One resource of a sync's result.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceResult {
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
    /// `Synced`, `SyncFailed`, `Pruned`, `PruneSkipped`.
    pub status: Option<String>,
    /// Why, for people.
    pub message: Option<String>,
    /// `PreSync`, `Sync`, `PostSync`, `SyncFail`; empty for what is no hook.
    pub hook_type: Option<String>,
    /// The phase of a hook, or of what is waited for.
    pub hook_phase: Option<String>,
    /// In which phase of the sync.
    pub sync_phase: Option<String>,
    /// Its images.
    pub images: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
