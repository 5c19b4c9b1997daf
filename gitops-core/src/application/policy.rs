//! When and how an application is synced.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncPolicy {
    /// Sync by itself; `None` means only when asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automated: Option<Automated>,
    /// Options in Argo CD's form, such as `CreateNamespace=true` or `PruneLast=true`.
    #[serde(rename = "syncOptions", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// How a failed sync is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Labels and annotations of the namespace made by `CreateNamespace=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_namespace_metadata: Option<ManagedNamespaceMetadata>,
}

impl SyncPolicy {
    /// Whether `name=true` is among the options.
    pub fn has_option(&self, name: &str) -> bool {
        self.option(name) == Some("true")
    }

    /// The value of option `name`; the last one wins.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .rev()
            .find_map(|option| option.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    }
}

/// Automated sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Automated {
    /// Delete what Git no longer names.
    pub prune: bool,
    /// Repair what was changed behind Git's back.
    pub self_heal: bool,
    /// Allow that everything is pruned.
    pub allow_empty: bool,
    /// `Some(false)` turns it off without forgetting the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl Automated {
    /// Whether automated sync is on.
    pub fn is_enabled(&self) -> bool {
        self.enabled != Some(false)
    }

    /// Sets [`prune`](Self::prune).
    #[must_use]
    pub fn prune(mut self, prune: bool) -> Self {
        self.prune = prune;
        self
    }

    /// Sets [`self_heal`](Self::self_heal).
    #[must_use]
    pub fn self_heal(mut self, self_heal: bool) -> Self {
        self.self_heal = self_heal;
        self
    }

    /// Sets [`allow_empty`](Self::allow_empty).
    #[must_use]
    pub fn allow_empty(mut self, allow_empty: bool) -> Self {
        self.allow_empty = allow_empty;
        self
    }
}

/// How a failed sync is tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// How many times; negative means without end.
    pub limit: i64,
    /// The waits between.
    pub backoff: Backoff,
    /// Take the newest revision for each try (argo-cd 3.2).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refresh: bool,
}

/// Waits that grow. Defaults are Argo CD's: 5 s, factor 2, at most 3 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backoff {
    /// The first wait.
    pub duration: Duration,
    /// What it is multiplied with.
    pub factor: u32,
    /// The longest wait.
    pub max_duration: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(5),
            factor: 2,
            max_duration: Duration::from_secs(180),
        }
    }
}

/// Labels and annotations of a namespace that a sync makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagedNamespaceMetadata {
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Differences that do not count, for the objects that match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IgnoreDifference {
    /// The API group; `*` matches all, empty is the core group.
    pub group: String,
    /// The kind; `*` matches all.
    pub kind: String,
    /// The name; empty matches all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The namespace; empty matches all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// JSON pointers (RFC 6901) of what is ignored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub json_pointers: Vec<String>,
    /// jq path expressions of what is ignored.
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "jqPathExpressions")]
    pub jq_path_expressions: Vec<String>,
    /// Field managers whose fields are ignored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub managed_fields_managers: Vec<String>,
}
