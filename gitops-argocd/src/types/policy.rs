//! When and how an application is synced.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;

/// `spec.syncPolicy`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncPolicy {
    /// Sync without being asked.
    pub automated: Option<SyncPolicyAutomated>,
    /// Options such as `CreateNamespace=true`.
    pub sync_options: Option<Vec<String>>,
    /// How a failed sync is tried again.
    pub retry: Option<RetryStrategy>,
    /// Labels and annotations of a namespace made by `CreateNamespace=true`.
    pub managed_namespace_metadata: Option<ManagedNamespaceMetadata>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `automated`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncPolicyAutomated {
    /// Delete what Git no longer names.
    pub prune: Option<bool>,
    /// Repair what was changed in the cluster.
    pub self_heal: Option<bool>,
    /// Allow that everything is pruned.
    pub allow_empty: Option<bool>,
    /// `false` turns it off and keeps the rest.
    pub enabled: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl SyncPolicyAutomated {
    /// Whether syncs start by themselves.
    pub fn is_enabled(&self) -> bool {
        self.enabled != Some(false)
    }
}

/// `retry`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryStrategy {
    /// How often; negative means without end.
    pub limit: Option<i64>,
    /// The waits between.
    pub backoff: Option<Backoff>,
    /// Take the newest revision for each try.
    pub refresh: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `backoff`: durations as Go writes them (`5s`, `3m`) or seconds as a number.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backoff {
    /// The first wait; 5 s by default.
    pub duration: Option<String>,
    /// What each next wait is multiplied with; 2 by default.
    pub factor: Option<i64>,
    /// The longest wait; 3 minutes by default.
    pub max_duration: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `managedNamespaceMetadata`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedNamespaceMetadata {
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
