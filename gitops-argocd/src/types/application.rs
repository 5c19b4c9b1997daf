//! The kind `Application`.

use std::fmt;

use gitops_core::error::redact_url;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::api_version;
use super::extra::{DebugMeta, Extra, null_is_default};
use super::operation::Operation;
use super::policy::{SyncPolicy, SyncPolicyAutomated};
use super::source::Source;
use super::status::ApplicationStatus;

/// An `Application` of Argo CD.
///
/// ```
/// use gitops_argocd::types::{Application, Destination, Source};
///
/// let app = Application::new("guestbook")
///     .project("default")
///     .source(Source::git("https://github.com/argoproj/argocd-example-apps").path("guestbook").target_revision("HEAD"))
///     .destination(Destination::server("https://kubernetes.default.svc").namespace("guestbook"))
///     .automated(true, true)
///     .sync_option("CreateNamespace=true");
/// assert_eq!(app.spec.source.as_ref().and_then(|s| s.path.as_deref()), Some("guestbook"));
/// ```
#[skip_serializing_none]
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// `argoproj.io/v1alpha1`.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// `Application`.
    #[serde(default = "kind")]
    pub kind: String,
    /// Name, namespace, labels …
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(default, deserialize_with = "null_is_default")]
    pub spec: ApplicationSpec,
    /// What became of it.
    pub status: Option<ApplicationStatus>,
    /// The operation that is asked for; gone when it has ended.
    pub operation: Option<Operation>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

fn kind() -> String {
    "Application".to_owned()
}

impl Default for Application {
    fn default() -> Self {
        Self {
            api_version: api_version(),
            kind: kind(),
            metadata: ObjectMeta::default(),
            spec: ApplicationSpec::default(),
            status: None,
            operation: None,
            extra: Extra::default(),
        }
    }
}

impl Application {
    /// An application of project `default` for the cluster that Argo CD runs in, without a source yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            metadata: ObjectMeta {
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            spec: ApplicationSpec {
                project: "default".to_owned(),
                ..ApplicationSpec::default()
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

    /// Sets the project.
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.spec.project = project.into();
        self
    }

    /// Adds a source: the first is `spec.source`; with the second all are `spec.sources`.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        match (&mut self.spec.sources, self.spec.source.take()) {
            (Some(sources), _) => sources.push(source),
            (sources @ None, Some(first)) => *sources = Some(vec![first, source]),
            (None, None) => self.spec.source = Some(source),
        }
        self
    }

    /// Sets the destination.
    #[must_use]
    pub fn destination(mut self, destination: Destination) -> Self {
        self.spec.destination = destination;
        self
    }

    /// Turns automated sync on.
    #[must_use]
    pub fn automated(mut self, prune: bool, self_heal: bool) -> Self {
        let policy = self.spec.sync_policy.get_or_insert_default();
        policy.automated = Some(SyncPolicyAutomated {
            prune: prune.then_some(true),
            self_heal: self_heal.then_some(true),
            ..SyncPolicyAutomated::default()
        });
        self
    }

    /// Adds a sync option: such as `CreateNamespace=true`.
    #[must_use]
    pub fn sync_option(mut self, option: impl fmt::Display) -> Self {
        self.spec
            .sync_policy
            .get_or_insert_default()
            .sync_options
            .get_or_insert_default()
            .push(option.to_string());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata
            .labels
            .get_or_insert_default()
            .insert(key.into(), value.into());
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata
            .annotations
            .get_or_insert_default()
            .insert(key.into(), value.into());
        self
    }

    /// Adds a finalizer, such as `resources-finalizer.argocd.argoproj.io` for a cascading deletion.
    #[must_use]
    pub fn finalizer(mut self, finalizer: impl Into<String>) -> Self {
        self.metadata
            .finalizers
            .get_or_insert_default()
            .push(finalizer.into());
        self
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("metadata", &DebugMeta(&self.metadata))
            .field("spec", &self.spec)
            .field("status", &self.status)
            .field("operation", &self.operation)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

/// A list of applications.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationList {
    /// The list's resource version.
    pub metadata: ListMeta,
    /// The applications; Argo CD writes `null` for none.
    pub items: Option<Vec<Application>>,
}

/// `spec` of an application.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationSpec {
    /// The one source.
    pub source: Option<Source>,
    /// Where to.
    #[serde(deserialize_with = "null_is_default")]
    pub destination: Destination,
    /// The project.
    pub project: String,
    /// When and how.
    pub sync_policy: Option<SyncPolicy>,
    /// Differences that do not count.
    pub ignore_differences: Option<Vec<ResourceIgnoreDifferences>>,
    /// Notes for people.
    pub info: Option<Vec<Info>>,
    /// How many syncs the history keeps; 10 by default.
    pub revision_history_limit: Option<i64>,
    /// Several sources, instead of `source`.
    pub sources: Option<Vec<Source>>,
    /// A source that is rendered to Git first, instead of `source`.
    pub source_hydrator: Option<SourceHydrator>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ApplicationSpec {
    /// The sources, whichever field has them (as `ApplicationSpec.GetSources`).
    pub fn all_sources(&self) -> &[Source] {
        match (&self.sources, &self.source) {
            (Some(sources), _) if !sources.is_empty() => sources,
            (_, Some(source)) => std::slice::from_ref(source),
            _ => &[],
        }
    }

    /// Whether syncs start by themselves.
    pub fn is_automated(&self) -> bool {
        self.sync_policy
            .as_ref()
            .and_then(|policy| policy.automated.as_ref())
            .is_some_and(SyncPolicyAutomated::is_enabled)
    }
}

/// `spec.destination`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Destination {
    /// The API server's URL.
    pub server: Option<String>,
    /// The namespace for objects that name none.
    pub namespace: Option<String>,
    /// The cluster's name, instead of `server`.
    pub name: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Destination {
    /// A cluster by its API server's URL.
    pub fn server(server: impl Into<String>) -> Self {
        Self {
            server: Some(server.into()),
            ..Self::default()
        }
    }

    /// A cluster by its name.
    pub fn name(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// Sets the namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("server", &self.server.as_deref().map(redact_url))
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("extra", &self.extra)
            .finish()
    }
}

/// One of `spec.ignoreDifferences`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceIgnoreDifferences {
    /// The API group; `*` for all.
    pub group: Option<String>,
    /// The kind; `*` for all.
    pub kind: String,
    /// The name.
    pub name: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// JSON pointers.
    pub json_pointers: Option<Vec<String>>,
    /// jq path expressions.
    #[serde(rename = "jqPathExpressions")]
    pub jq_path_expressions: Option<Vec<String>>,
    /// Field managers.
    pub managed_fields_managers: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `spec.info`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Info {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `spec.sourceHydrator`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceHydrator {
    /// What is rendered.
    #[serde(deserialize_with = "null_is_default")]
    pub dry_source: DrySource,
    /// What is synced.
    #[serde(deserialize_with = "null_is_default")]
    pub sync_source: SyncSource,
    /// What is committed to, where that is another branch.
    pub hydrate_to: Option<HydrateTo>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `drySource`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DrySource {
    /// The repository.
    #[serde(rename = "repoURL")]
    pub repo_url: String,
    /// The revision.
    pub target_revision: String,
    /// The path.
    pub path: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for DrySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrySource")
            .field("repo_url", &redact_url(&self.repo_url))
            .field("target_revision", &self.target_revision)
            .field("path", &self.path)
            .field("extra", &self.extra)
            .finish()
    }
}

/// `syncSource`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncSource {
    /// The branch.
    pub target_branch: String,
    /// The path.
    pub path: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `hydrateTo`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HydrateTo {
    /// The branch.
    pub target_branch: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_project_stays() {
        // Go writes it in the templates of generators, and the definition requires it.
        let document = json!({"destination": {}, "project": ""});
        let spec: ApplicationSpec = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(serde_json::to_value(spec).unwrap(), document);
    }

    #[test]
    fn debug_prints_nothing_that_may_be_secret() {
        let document = json!({
            "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hush"}},
            "spec": {
                "destination": {"server": "https://user:hush@api"},
                "source": {
                    "repoURL": "https://user:hush@git",
                    "helm": {"values": "hush", "valuesObject": {"a": "hush"}, "parameters": [{"name": "a", "value": "hush"}], "valueFiles": ["https://user:hush@git"]},
                    "kustomize": {"patches": [{"patch": "hush"}]},
                    "directory": {"jsonnet": {"extVars": [{"name": "a", "value": "hush"}]}},
                    "plugin": {"env": [{"name": "a", "value": "hush"}], "parameters": [{"name": "a", "string": "hush"}]},
                },
                "newer": "hush",
            },
            "operation": {"sync": {"manifests": ["hush"]}},
            "status": {"operationState": {"operation": {"sync": {"manifests": ["hush"]}}, "phase": "Running"}},
        });
        let app: Application = serde_json::from_value(document).unwrap();
        assert!(!format!("{app:?}").contains("hush"), "{app:?}");
    }
}
