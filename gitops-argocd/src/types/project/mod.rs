//! The kind `AppProject`: what applications may do, and who may use them.

mod role;
mod rule;

use std::collections::BTreeMap;
use std::fmt;

use gitops_core::error::redact_url;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::api_version;
use super::application::Destination;
use super::extra::{DebugMeta, Extra, null_is_default};

pub use self::role::{JwtToken, JwtTokens, ProjectRole};
pub use self::rule::{
    DestinationServiceAccount, GroupKind, OrphanedResourceKey, OrphanedResources, SignatureKey,
    SyncWindow,
};

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
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(default, deserialize_with = "null_is_default")]
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
