//! Where an application goes.

use serde::{Deserialize, Serialize};

/// Which cluster.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterRef {
    /// The one that the backend runs against.
    #[default]
    InCluster,
    /// By the API server's URL.
    Server(String),
    /// By the name it is registered under.
    Name(String),
}

/// A cluster and the namespace for objects that name none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Destination {
    /// The cluster.
    pub cluster: ClusterRef,
    /// The namespace for namespaced objects that name none; empty means `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}
