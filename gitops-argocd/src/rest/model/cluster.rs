//! Clusters.

use std::collections::BTreeMap;
use std::fmt;

use gitops_core::SecretString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::{ConnectionState, exposed};
use crate::types::Extra;

/// A cluster.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// Its API server's URL.
    pub server: String,
    /// Its name.
    pub name: String,
    /// How to reach it; the server answers without secrets.
    pub config: ClusterConfig,
    /// Whether it could be reached.
    pub connection_state: Option<ConnectionState>,
    /// Its Kubernetes version.
    pub server_version: Option<String>,
    /// Only these namespaces.
    pub namespaces: Option<Vec<String>>,
    /// When its cache was to be forgotten.
    pub refresh_requested_at: Option<Time>,
    /// What is known of it.
    pub info: Option<Value>,
    /// Which controller takes care of it.
    pub shard: Option<i64>,
    /// With `namespaces`: cluster-scoped resources, too.
    pub cluster_resources: Option<bool>,
    /// The project that it belongs to.
    pub project: Option<String>,
    /// Labels of its Secret.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations of its Secret.
    pub annotations: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a cluster is reached.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterConfig {
    /// The user.
    pub username: Option<String>,
    /// The password.
    #[serde(serialize_with = "exposed")]
    pub password: Option<SecretString>,
    /// A service account's token.
    #[serde(serialize_with = "exposed")]
    pub bearer_token: Option<SecretString>,
    /// TLS.
    pub tls_client_config: TlsClientConfig,
    /// AWS IAM.
    #[serde(rename = "awsAuthConfig")]
    pub aws_auth_config: Option<Value>,
    /// A program that gets credentials.
    pub exec_provider_config: Option<Value>,
    /// No gzip.
    pub disable_compression: Option<bool>,
    /// A proxy.
    pub proxy_url: Option<String>,
}

/// TLS settings of a cluster.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsClientConfig {
    /// Take any certificate.
    pub insecure: bool,
    /// The name in the certificate, where it is not the host.
    pub server_name: Option<String>,
    /// A client certificate, PEM in Base64.
    pub cert_data: Option<String>,
    /// Its key, PEM in Base64.
    #[serde(serialize_with = "exposed")]
    pub key_data: Option<SecretString>,
    /// The CA, PEM in Base64.
    pub ca_data: Option<String>,
}

impl fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConfig")
            .field("insecure", &self.tls_client_config.insecure)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClientConfig")
            .field("insecure", &self.insecure)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
