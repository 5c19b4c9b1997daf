//! What the API answers and takes besides the custom resources. Secrets are read into a type that does not show them.

use std::collections::BTreeMap;
use std::fmt;

use gitops_core::SecretString;
use gitops_core::error::redact_url;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_with::skip_serializing_none;

use crate::types::{AppProject, Extra, HealthStatus};

/// A list; `null` for none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct Items<T> {
    /// What is in it.
    #[serde(default = "nothing")]
    pub items: Option<Vec<T>>,
}

fn nothing<T>() -> Option<Vec<T>> {
    None
}

/// A thing with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// For the one place where a secret is sent: the body of a request.
fn exposed<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_some(secret.expose()),
        None => serializer.serialize_none(),
    }
}

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

/// A project and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DetailedProject {
    /// The projects that it inherits from.
    pub global_projects: Option<Vec<AppProject>>,
    /// The project.
    pub project: Option<AppProject>,
    /// Its repositories.
    pub repositories: Option<Vec<Repository>>,
    /// Its clusters.
    pub clusters: Option<Vec<Cluster>>,
}

/// Whether something could be reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionState {
    /// `Successful`, `Failed`, `Unknown`.
    pub status: String,
    /// Why, for people.
    pub message: String,
    /// When it was tried.
    pub attempted_at: Option<Time>,
}

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

/// The server's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Where people reach it.
    pub url: String,
    /// The label that marks an application's resources.
    pub app_label_key: String,
    /// How resources are marked: `annotation`, `label`, `annotation+label`.
    pub tracking_method: String,
    /// The controller's namespace.
    pub controller_namespace: String,
    /// Applications outside of it.
    pub apps_in_any_namespace_enabled: bool,
    /// Terminals in pods.
    pub exec_enabled: bool,
    /// Whether nobody can log in with a password.
    pub user_logins_disabled: bool,
    /// What passwords must look like.
    pub password_pattern: String,
    /// Rendering to Git.
    pub hydrator_enabled: bool,
    /// Syncs under service accounts of their own.
    pub impersonation_enabled: bool,
    /// All the rest.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Versions of the server and its tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    /// Argo CD's, such as `v3.2.11+a1b2c3d`.
    pub version: String,
    /// When it was built.
    pub build_date: String,
    /// From which commit.
    pub git_commit: String,
    /// From which tag.
    pub git_tag: String,
    /// Whether it was built from exactly that.
    pub git_tree_state: String,
    /// Go's.
    pub go_version: String,
    /// Of which compiler.
    pub compiler: String,
    /// For which platform.
    pub platform: String,
    /// Kustomize's.
    pub kustomize_version: String,
    /// Helm's.
    pub helm_version: String,
    /// kubectl's.
    pub kubectl_version: String,
    /// Jsonnet's.
    pub jsonnet_version: String,
}

// URLs without credentials, users not at all (a user may be a token), states of resources not at all (a Secret's is one).

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
