//! Of applications: revisions, manifests, resources, links, windows.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::Named;
use crate::types::{Extra, HealthStatus};

/// Author and message of a commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionMetadata {
    /// The author.
    pub author: Option<String>,
    /// When it was made.
    pub date: Option<Time>,
    /// Its tags.
    pub tags: Option<Vec<String>>,
    /// The message.
    pub message: Option<String>,
    /// What its signature says.
    pub signature_info: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a chart says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChartDetails {
    /// What it is.
    pub description: Option<String>,
    /// Its home page.
    pub home: Option<String>,
    /// Its maintainers.
    pub maintainers: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What an OCI artifact says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OciMetadata {
    /// When it was made.
    pub created_at: Option<String>,
    /// By whom.
    pub authors: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Rendered manifests.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifests {
    /// Each as JSON. Secrets' values are masked by the server.
    pub manifests: Option<Vec<String>>,
    /// The namespace that they were rendered for.
    pub namespace: Option<String>,
    /// The cluster.
    pub server: Option<String>,
    /// The revision, in full.
    pub revision: Option<String>,
    /// `Helm`, `Kustomize`, `Directory`, `Plugin`.
    pub source_type: Option<String>,
    /// The commands that rendered them.
    pub commands: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Desired, live and predicted state of one resource, each as JSON (or `null`).
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedResource {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// As Git wants it.
    pub target_state: String,
    /// As it is.
    pub live_state: String,
    /// As it is, without what does not count.
    pub normalized_live_state: String,
    /// As it would be after a sync.
    pub predicted_live_state: String,
    /// The live object's version.
    pub resource_version: String,
    /// Whether it is a hook.
    pub hook: bool,
    /// Whether it is not as desired.
    pub modified: bool,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The resources of an application and what they made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceTree {
    /// Resources, each naming those that made it.
    pub nodes: Option<Vec<ResourceNode>>,
    /// Resources of the namespace that belong to no application.
    pub orphaned_nodes: Option<Vec<ResourceNode>>,
    /// The nodes that pods run on.
    pub hosts: Option<Vec<Value>>,
    /// In how many parts the tree is kept.
    pub shards_count: Option<i64>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One resource of a tree.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceNode {
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
    /// The UID.
    pub uid: Option<String>,
    /// What made it.
    pub parent_refs: Option<Vec<ParentRef>>,
    /// Names and values for people, such as a pod's restarts.
    pub info: Option<Vec<InfoItem>>,
    /// Labels, ingresses and URLs.
    pub networking_info: Option<Value>,
    /// Its version.
    pub resource_version: Option<String>,
    /// Its images.
    pub images: Option<Vec<String>>,
    /// Its health.
    pub health: Option<HealthStatus>,
    /// When it was made.
    pub created_at: Option<Time>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What made a resource.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentRef {
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
    /// The UID.
    pub uid: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A name and a value for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InfoItem {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// What can be done with a resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceAction {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub params: Option<Vec<Named>>,
    /// Whether it cannot be done now.
    pub disabled: bool,
    /// Its name for people.
    pub display_name: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Link {
    /// Its title.
    pub title: Option<String>,
    /// Where it leads.
    pub url: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The sync windows that concern an application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncWindows {
    /// Those that are open now.
    pub active_windows: Option<Vec<ApplicationSyncWindow>>,
    /// All of them.
    pub assigned_windows: Option<Vec<ApplicationSyncWindow>>,
    /// Whether a sync that somebody asks for is allowed now.
    pub can_sync: bool,
}

/// A sync window, as an application sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationSyncWindow {
    /// `allow` or `deny`.
    pub kind: String,
    /// When, in cron's form.
    pub schedule: String,
    /// How long.
    pub duration: String,
    /// Whether somebody may sync all the same.
    pub manual_sync: bool,
}

impl fmt::Debug for Manifests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifests")
            .field("manifests", &self.manifests.as_ref().map_or(0, Vec::len))
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ManagedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedResource")
            .field("group", &self.group)
            .field("kind", &self.kind)
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("modified", &self.modified)
            .finish_non_exhaustive()
    }
}
