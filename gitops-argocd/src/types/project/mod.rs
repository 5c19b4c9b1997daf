//! The kind `AppProject`: what applications may do, and who may use them.

use std::collections::BTreeMap;
use std::fmt;

use gitops_core::error::redact_url;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::api_version;
use super::application::Destination;
use super::extra::{DebugMeta, Extra};

/// An `AppProject` of Argo CD.
///
/// ```
/// use gitops_argocd::types::{AppProject, Destination, ProjectRole};
///
/// let project = AppProject::new("team-a")
///     .source_repo("https://github.com/my-org/*")
///     .destination(Destination::server("https://kubernetes.default.svc").namespace("team-a-*"))
///     .role(ProjectRole::new("deployer").policy("p, proj:team-a:deployer, applications, sync, team-a/*, allow"));
/// assert_eq!(project.spec.roles.as_ref().map(Vec::len), Some(1));
/// ```
#[skip_serializing_none]
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppProject {
    /// `argoproj.io/v1alpha1`.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// `AppProject`.
    #[serde(default = "kind")]
    pub kind: String,
    /// Name, namespace, labels …
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(default)]
    pub spec: AppProjectSpec,
    /// The tokens that were made.
    pub status: Option<AppProjectStatus>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

fn kind() -> String {
    "AppProject".to_owned()
}

impl Default for AppProject {
    fn default() -> Self {
        Self {
            api_version: api_version(),
            kind: kind(),
            metadata: ObjectMeta::default(),
            spec: AppProjectSpec::default(),
            status: None,
            extra: Extra::default(),
        }
    }
}

impl AppProject {
    /// A project that allows nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            metadata: ObjectMeta {
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            ..Self::default()
        }
    }

    /// The name; empty when it has none.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The namespace of the resource itself; empty when it names none.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Sets the namespace of the resource itself.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.metadata.namespace = Some(namespace.into());
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.spec.description = Some(description.into());
        self
    }

    /// Allows a repository: a glob, or with `!` before it what is not allowed.
    #[must_use]
    pub fn source_repo(mut self, repo_url: impl Into<String>) -> Self {
        let repos = self.spec.source_repos.get_or_insert_default();
        repos.push(repo_url.into());
        self
    }

    /// Allows a destination; its fields are globs, or with `!` before them what is not allowed.
    #[must_use]
    pub fn destination(mut self, destination: Destination) -> Self {
        let destinations = self.spec.destinations.get_or_insert_default();
        destinations.push(destination);
        self
    }

    /// Allows applications that live in a namespace other than Argo CD's.
    #[must_use]
    pub fn source_namespace(mut self, namespace: impl Into<String>) -> Self {
        let namespaces = self.spec.source_namespaces.get_or_insert_default();
        namespaces.push(namespace.into());
        self
    }

    /// Allows a kind that has no namespace; without, none is allowed.
    #[must_use]
    pub fn allow_cluster_kind(mut self, kind: GroupKind) -> Self {
        let kinds = self.spec.cluster_resource_whitelist.get_or_insert_default();
        kinds.push(kind);
        self
    }

    /// Forbids a kind that has no namespace.
    #[must_use]
    pub fn forbid_cluster_kind(mut self, kind: GroupKind) -> Self {
        let kinds = self.spec.cluster_resource_blacklist.get_or_insert_default();
        kinds.push(kind);
        self
    }

    /// Allows a kind that has a namespace; without, all are allowed.
    #[must_use]
    pub fn allow_namespaced_kind(mut self, kind: GroupKind) -> Self {
        let kinds = &mut self.spec.namespace_resource_whitelist;
        kinds.get_or_insert_default().push(kind);
        self
    }

    /// Forbids a kind that has a namespace.
    #[must_use]
    pub fn forbid_namespaced_kind(mut self, kind: GroupKind) -> Self {
        let kinds = &mut self.spec.namespace_resource_blacklist;
        kinds.get_or_insert_default().push(kind);
        self
    }

    /// Adds a role.
    #[must_use]
    pub fn role(mut self, role: ProjectRole) -> Self {
        self.spec.roles.get_or_insert_default().push(role);
        self
    }

    /// Adds a window.
    #[must_use]
    pub fn sync_window(mut self, window: SyncWindow) -> Self {
        self.spec.sync_windows.get_or_insert_default().push(window);
        self
    }
}

impl fmt::Debug for AppProject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppProject")
            .field("metadata", &DebugMeta(&self.metadata))
            .field("spec", &self.spec)
            .field("status", &self.status)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

/// A list of projects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppProjectList {
    /// The list's resource version.
    pub metadata: ListMeta,
    /// The projects; Argo CD writes `null` for none.
    pub items: Option<Vec<AppProject>>,
}

/// `spec` of a project.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppProjectSpec {
    /// The repositories that are allowed.
    pub source_repos: Option<Vec<String>>,
    /// The destinations that are allowed.
    pub destinations: Option<Vec<Destination>>,
    /// A description for people.
    pub description: Option<String>,
    /// Who may use it.
    pub roles: Option<Vec<ProjectRole>>,
    /// The kinds without a namespace that are allowed; none by default.
    pub cluster_resource_whitelist: Option<Vec<GroupKind>>,
    /// The kinds with a namespace that are not allowed.
    pub namespace_resource_blacklist: Option<Vec<GroupKind>>,
    /// Look for what belongs to no application.
    pub orphaned_resources: Option<OrphanedResources>,
    /// When applications may be synced.
    pub sync_windows: Option<Vec<SyncWindow>>,
    /// The kinds with a namespace that are allowed; all by default.
    pub namespace_resource_whitelist: Option<Vec<GroupKind>>,
    /// Commits must be signed with one of these.
    pub signature_keys: Option<Vec<SignatureKey>>,
    /// The kinds without a namespace that are not allowed.
    pub cluster_resource_blacklist: Option<Vec<GroupKind>>,
    /// The namespaces applications may live in, besides Argo CD's.
    pub source_namespaces: Option<Vec<String>>,
    /// Only clusters that belong to the project.
    pub permit_only_project_scoped_clusters: Option<bool>,
    /// As whom applications are synced.
    pub destination_service_accounts: Option<Vec<DestinationServiceAccount>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A role.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectRole {
    /// The name.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// What it may do, as Casbin's policies (`p, proj:…`).
    pub policies: Option<Vec<String>>,
    /// Its tokens. Argo CD keeps them in `status` too.
    pub jwt_tokens: Option<Vec<JwtToken>>,
    /// The groups of single sign-on that have it.
    pub groups: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ProjectRole {
    /// A role that may do nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Adds a policy, such as `p, proj:team:role, applications, sync, team/*, allow`.
    #[must_use]
    pub fn policy(mut self, policy: impl Into<String>) -> Self {
        self.policies.get_or_insert_default().push(policy.into());
        self
    }

    /// Gives it to a group of single sign-on.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.get_or_insert_default().push(group.into());
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }
}

/// What is remembered of a token; the token itself is not.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtToken {
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// When it runs out, in seconds since 1970.
    pub exp: Option<i64>,
    /// Its number.
    pub id: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Tokens of a role.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtTokens {
    /// The tokens.
    pub items: Option<Vec<JwtToken>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A kind, whatever its version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupKind {
    /// The API group: a glob; empty for the core group.
    pub group: String,
    /// The kind: a glob.
    pub kind: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl GroupKind {
    /// A kind, whatever its version.
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
            extra: Extra::default(),
        }
    }
}

/// `orphanedResources`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrphanedResources {
    /// Whether they make a condition.
    pub warn: Option<bool>,
    /// Those that do not count.
    pub ignore: Option<Vec<OrphanedResourceKey>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `ignore`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrphanedResourceKey {
    /// The API group: a glob.
    pub group: Option<String>,
    /// The kind: a glob.
    pub kind: Option<String>,
    /// The name: a glob.
    pub name: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `syncWindows`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncWindow {
    /// `allow`, or `deny`.
    pub kind: Option<String>,
    /// When it opens, as cron writes it.
    pub schedule: Option<String>,
    /// How long it is open, as Go writes it (`1h30m`).
    pub duration: Option<String>,
    /// The applications, by name: globs.
    pub applications: Option<Vec<String>>,
    /// The applications, by their destination's namespace: globs.
    pub namespaces: Option<Vec<String>>,
    /// The applications, by their cluster's name or URL: globs.
    pub clusters: Option<Vec<String>>,
    /// Syncs that a person asks for are allowed all the same.
    pub manual_sync: Option<bool>,
    /// The time zone of the schedule; UTC by default.
    pub time_zone: Option<String>,
    /// Applications, namespaces and clusters must all fit; one is enough by default.
    pub and_operator: Option<bool>,
    /// A description for people.
    pub description: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl SyncWindow {
    /// Applications may be synced only in it. Says nothing yet about which applications.
    pub fn allow(schedule: impl Into<String>, duration: impl Into<String>) -> Self {
        Self {
            kind: Some("allow".to_owned()),
            schedule: Some(schedule.into()),
            duration: Some(duration.into()),
            ..Self::default()
        }
    }

    /// Applications must not be synced in it. Says nothing yet about which applications.
    pub fn deny(schedule: impl Into<String>, duration: impl Into<String>) -> Self {
        Self {
            kind: Some("deny".to_owned()),
            ..Self::allow(schedule, duration)
        }
    }

    /// Adds applications, by name.
    #[must_use]
    pub fn application(mut self, name: impl Into<String>) -> Self {
        self.applications.get_or_insert_default().push(name.into());
        self
    }
}

/// One of `signatureKeys`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SignatureKey {
    /// The key's number, in hexadecimal digits.
    #[serde(rename = "keyID")]
    pub key_id: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `destinationServiceAccounts`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DestinationServiceAccount {
    /// The API server's URL: a glob.
    pub server: String,
    /// The namespace: a glob.
    pub namespace: Option<String>,
    /// The service account; with its namespace and `:` before it where that is another.
    pub default_service_account: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status` of a project.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppProjectStatus {
    /// The tokens that were made, by role.
    pub jwt_tokens_by_role: Option<BTreeMap<String, JwtTokens>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

// URLs may hold credentials.

impl fmt::Debug for AppProjectSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source_repos: Option<Vec<String>> = self
            .source_repos
            .as_ref()
            .map(|repos| repos.iter().map(|repo| redact_url(repo)).collect());
        f.debug_struct("AppProjectSpec")
            .field("source_repos", &source_repos)
            .field("destinations", &self.destinations)
            .field("description", &self.description)
            .field("roles", &self.roles)
            .field(
                "cluster_resource_whitelist",
                &self.cluster_resource_whitelist,
            )
            .field(
                "namespace_resource_blacklist",
                &self.namespace_resource_blacklist,
            )
            .field("orphaned_resources", &self.orphaned_resources)
            .field("sync_windows", &self.sync_windows)
            .field(
                "namespace_resource_whitelist",
                &self.namespace_resource_whitelist,
            )
            .field("signature_keys", &self.signature_keys)
            .field(
                "cluster_resource_blacklist",
                &self.cluster_resource_blacklist,
            )
            .field("source_namespaces", &self.source_namespaces)
            .field(
                "permit_only_project_scoped_clusters",
                &self.permit_only_project_scoped_clusters,
            )
            .field(
                "destination_service_accounts",
                &self.destination_service_accounts,
            )
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for DestinationServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DestinationServiceAccount")
            .field("server", &redact_url(&self.server))
            .field("namespace", &self.namespace)
            .field("default_service_account", &self.default_service_account)
            .field("extra", &self.extra)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_project_in_a_few_lines() {
        let project = AppProject::new("team-a")
            .in_namespace("argocd")
            .description("Team A")
            .source_repo("https://github.com/my-org/*")
            .source_repo("!https://github.com/my-org/secret")
            .destination(Destination::server("https://kubernetes.default.svc").namespace("team-a"))
            .source_namespace("team-a")
            .allow_cluster_kind(GroupKind::new("", "Namespace"))
            .forbid_namespaced_kind(GroupKind::new("", "ResourceQuota"))
            .role(
                ProjectRole::new("deployer")
                    .policy("p, proj:team-a:deployer, applications, sync, team-a/*, allow")
                    .group("team-a"),
            )
            .sync_window(SyncWindow::deny("0 22 * * *", "8h").application("*"));
        let expected = json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": {"name": "team-a", "namespace": "argocd"},
            "spec": {
                "description": "Team A",
                "sourceRepos": ["https://github.com/my-org/*", "!https://github.com/my-org/secret"],
                "destinations": [{"server": "https://kubernetes.default.svc", "namespace": "team-a"}],
                "sourceNamespaces": ["team-a"],
                "clusterResourceWhitelist": [{"group": "", "kind": "Namespace"}],
                "namespaceResourceBlacklist": [{"group": "", "kind": "ResourceQuota"}],
                "roles": [{
                    "name": "deployer",
                    "policies": ["p, proj:team-a:deployer, applications, sync, team-a/*, allow"],
                    "groups": ["team-a"],
                }],
                "syncWindows": [{"kind": "deny", "schedule": "0 22 * * *", "duration": "8h", "applications": ["*"]}],
            },
        });
        assert_eq!(serde_json::to_value(&project).unwrap(), expected);
        assert_eq!(
            serde_json::from_value::<AppProject>(expected).unwrap(),
            project
        );
    }

    #[test]
    fn debug_prints_no_credentials() {
        let document = json!({
            "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hush"}},
            "spec": {
                "sourceRepos": ["https://user:hush@git/*"],
                "destinations": [{"server": "https://user:hush@api"}],
                "destinationServiceAccounts": [{"server": "https://user:hush@api", "defaultServiceAccount": "sa"}],
                "newer": "hush",
            },
        });
        let project: AppProject = serde_json::from_value(document).unwrap();
        assert!(!format!("{project:?}").contains("hush"), "{project:?}");
    }
}
