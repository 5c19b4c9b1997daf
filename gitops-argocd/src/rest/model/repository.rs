//! Repositories, what is in them, and what they are trusted by.

use std::fmt;

use gitops_core::SecretString;
use gitops_core::error::redact_url;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{ConnectionState, exposed};
use crate::types::Extra;

/// A repository, with its credentials when it is sent; the server answers without them.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Repository {
    /// Its URL.
    pub repo: String,
    /// The user.
    pub username: Option<String>,
    /// The password or token.
    #[serde(serialize_with = "exposed")]
    pub password: Option<SecretString>,
    /// A private key for SSH.
    #[serde(serialize_with = "exposed")]
    pub ssh_private_key: Option<SecretString>,
    /// A bearer token (Bitbucket Data Center).
    #[serde(serialize_with = "exposed")]
    pub bearer_token: Option<SecretString>,
    /// Whether it could be reached.
    pub connection_state: Option<ConnectionState>,
    /// Take any host key. Old; see [`insecure`](Self::insecure).
    pub insecure_ignore_host_key: Option<bool>,
    /// Take any certificate or host key.
    pub insecure: Option<bool>,
    /// Fetch LFS objects.
    pub enable_lfs: Option<bool>,
    /// A client certificate.
    #[serde(serialize_with = "exposed")]
    pub tls_client_cert_data: Option<SecretString>,
    /// Its key.
    #[serde(serialize_with = "exposed")]
    pub tls_client_cert_key: Option<SecretString>,
    /// `git`, `helm` or `oci`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A name (Helm repositories).
    pub name: Option<String>,
    /// Whether its credentials come from a template.
    pub inherited_creds: Option<bool>,
    /// A Helm repository in an OCI registry.
    #[serde(rename = "enableOCI")]
    pub enable_oci: Option<bool>,
    /// The private key of a GitHub App.
    #[serde(serialize_with = "exposed")]
    pub github_app_private_key: Option<SecretString>,
    /// The GitHub App's id.
    #[serde(rename = "githubAppID")]
    pub github_app_id: Option<i64>,
    /// The installation's id.
    #[serde(rename = "githubAppInstallationID")]
    pub github_app_installation_id: Option<i64>,
    /// The API of GitHub Enterprise.
    #[serde(rename = "githubAppEnterpriseBaseUrl")]
    pub github_app_enterprise_base_url: Option<String>,
    /// A proxy.
    pub proxy: Option<String>,
    /// Hosts that are reached without it.
    pub no_proxy: Option<String>,
    /// The project that it belongs to.
    pub project: Option<String>,
    /// A key of Google Cloud.
    #[serde(serialize_with = "exposed")]
    pub gcp_service_account_key: Option<SecretString>,
    /// Send user and password at once.
    pub force_http_basic_auth: Option<bool>,
    /// Azure's workload identity.
    pub use_azure_workload_identity: Option<bool>,
    /// An OCI registry without TLS.
    #[serde(rename = "insecureOCIForceHttp")]
    pub insecure_oci_force_http: Option<bool>,
}

/// Credentials for all repositories below a URL.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RepoCredentials {
    /// What the repositories' URLs begin with.
    pub url: String,
    /// The user.
    pub username: Option<String>,
    /// The password or token.
    #[serde(serialize_with = "exposed")]
    pub password: Option<SecretString>,
    /// A private key for SSH.
    #[serde(serialize_with = "exposed")]
    pub ssh_private_key: Option<SecretString>,
    /// A bearer token.
    #[serde(serialize_with = "exposed")]
    pub bearer_token: Option<SecretString>,
    /// A client certificate.
    #[serde(serialize_with = "exposed")]
    pub tls_client_cert_data: Option<SecretString>,
    /// Its key.
    #[serde(serialize_with = "exposed")]
    pub tls_client_cert_key: Option<SecretString>,
    /// The private key of a GitHub App.
    #[serde(serialize_with = "exposed")]
    pub github_app_private_key: Option<SecretString>,
    /// The GitHub App's id.
    #[serde(rename = "githubAppID")]
    pub github_app_id: Option<i64>,
    /// The installation's id.
    #[serde(rename = "githubAppInstallationID")]
    pub github_app_installation_id: Option<i64>,
    /// The API of GitHub Enterprise.
    #[serde(rename = "githubAppEnterpriseBaseUrl")]
    pub github_app_enterprise_base_url: Option<String>,
    /// Helm repositories in OCI registries.
    #[serde(rename = "enableOCI")]
    pub enable_oci: Option<bool>,
    /// `git` or `helm`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A key of Google Cloud.
    #[serde(serialize_with = "exposed")]
    pub gcp_service_account_key: Option<SecretString>,
    /// A proxy.
    pub proxy: Option<String>,
    /// Hosts that are reached without it.
    pub no_proxy: Option<String>,
    /// Send user and password at once.
    pub force_http_basic_auth: Option<bool>,
    /// Azure's workload identity.
    pub use_azure_workload_identity: Option<bool>,
    /// An OCI registry without TLS.
    #[serde(rename = "insecureOCIForceHttp")]
    pub insecure_oci_force_http: Option<bool>,
}

/// Branches and tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refs {
    /// Branches.
    pub branches: Option<Vec<String>>,
    /// Tags.
    pub tags: Option<Vec<String>>,
}

/// A path that looks like an application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RepoApp {
    /// `Helm`, `Kustomize` …
    #[serde(rename = "type")]
    pub kind: String,
    /// The path.
    pub path: String,
}

/// A chart of a Helm repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HelmChart {
    /// Its name.
    pub name: String,
    /// Its versions.
    pub versions: Option<Vec<String>>,
}

/// What a source is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppDetails {
    /// `Helm`, `Kustomize`, `Directory`, `Plugin`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Details of its kind: value files, parameters, images …
    #[serde(flatten)]
    pub extra: Extra,
}

/// A TLS certificate or an SSH host key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificate {
    /// The host.
    pub server_name: String,
    /// `https` or `ssh`.
    pub cert_type: String,
    /// The key's algorithm.
    pub cert_sub_type: String,
    /// The certificate or key, in Base64. Public.
    pub cert_data: Option<String>,
    /// Subject or fingerprint.
    pub cert_info: String,
}

/// A GnuPG public key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GpgKey {
    /// Its id.
    #[serde(rename = "keyID")]
    pub key_id: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whose it is.
    pub owner: String,
    /// How far it is trusted.
    pub trust: String,
    /// Its algorithm.
    pub sub_type: String,
    /// The key itself, armoured.
    pub key_data: String,
}

// URLs without credentials; users not at all: one may be a token.

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("repo", &redact_url(&self.repo))
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("project", &self.project)
            .field("connection_state", &self.connection_state)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RepoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepoCredentials")
            .field("url", &redact_url(&self.url))
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
