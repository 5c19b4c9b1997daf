//! Where manifests come from, and how they are rendered.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What kind of repository a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum SourceKind {
    /// A Git repository.
    #[default]
    Git,
    /// A Helm repository over HTTP (`index.yaml`).
    Helm,
    /// An OCI registry.
    Oci,
}

/// One source of an application.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The repository's URL: `https://…`, `ssh://…`, `git@host:path`, `file://…`, a local path, `oci://…`.
    pub repo_url: String,
    /// What kind of repository it is.
    #[serde(default)]
    pub kind: SourceKind,
    /// A branch, tag, SHA, `HEAD`, or a semver range over tags; for charts and OCI a version, range or digest. `None` means the default
    /// branch, or the newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_revision: Option<String>,
    /// The path inside the repository; `None` and `.` mean its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The chart's name in a Helm repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<String>,
    /// The name under which other sources reach this one's files (`$name/values.yaml`).
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub ref_name: Option<String>,
    /// A name for people and for `--source-name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How the files become manifests.
    #[serde(default)]
    pub render: Render,
}

impl Source {
    /// A Git repository.
    pub fn git(repo_url: impl Into<String>) -> Self {
        Self {
            repo_url: repo_url.into(),
            ..Self::default()
        }
    }

    /// A chart of a Helm repository.
    pub fn chart(repo_url: impl Into<String>, chart: impl Into<String>) -> Self {
        Self {
            repo_url: repo_url.into(),
            kind: SourceKind::Helm,
            chart: Some(chart.into()),
            ..Self::default()
        }
    }

    /// An OCI artifact.
    pub fn oci(repo_url: impl Into<String>) -> Self {
        Self {
            repo_url: repo_url.into(),
            kind: SourceKind::Oci,
            ..Self::default()
        }
    }

    /// Sets the path.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Sets the target revision.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.target_revision = Some(revision.into());
        self
    }

    /// Sets how it is rendered.
    #[must_use]
    pub fn render(mut self, render: Render) -> Self {
        self.render = render;
        self
    }
}

/// How the files of a source become manifests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Render {
    /// By what is there, as Argo CD does: `Chart.yaml` → helm, a kustomization file → kustomize, else a plain directory.
    #[default]
    Auto,
    /// A plain directory of YAML and JSON files.
    Directory(Directory),
    /// `kustomize build`.
    Kustomize(Box<Kustomize>),
    /// `helm template`.
    Helm(Box<Helm>),
    /// A config management plugin.
    Plugin(Plugin),
}

/// Settings of a plain directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Directory {
    /// Read sub-directories too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recurse: bool,
    /// Only files that match this glob, relative to the path; `{a,b}` names alternatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<String>,
    /// No files that match this glob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
    /// Settings for `.jsonnet` files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jsonnet: Option<Jsonnet>,
}

/// Settings for Jsonnet files. Kept for backends that evaluate Jsonnet; the direct backend refuses such files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Jsonnet {
    /// External variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ext_vars: Vec<JsonnetVar>,
    /// Top-level arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tlas: Vec<JsonnetVar>,
    /// Library directories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub libs: Vec<String>,
}

/// A variable of Jsonnet.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JsonnetVar {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
    /// Whether the value is code.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub code: bool,
}

/// Settings of kustomize, as Argo CD names them.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kustomize {
    /// Put before every name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_prefix: String,
    /// Put behind every name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_suffix: String,
    /// Image overrides in the forms of `kustomize edit set image`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Labels for every object.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub common_labels: BTreeMap<String, String>,
    /// Overwrite labels that are there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force_common_labels: bool,
    /// Labels go to metadata only, not to selectors.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub label_without_selector: bool,
    /// With `label_without_selector`: labels go to templates as well.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub label_include_templates: bool,
    /// Annotations for every object.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub common_annotations: BTreeMap<String, String>,
    /// Overwrite annotations that are there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force_common_annotations: bool,
    /// Substitute environment variables in annotation values.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub common_annotations_envsubst: bool,
    /// The namespace of every object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Replica counts by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<KustomizeReplica>,
    /// Patches in kustomize's own form (`{patch, path, target, options}`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<serde_json::Value>,
    /// Components to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Skip components that are not there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_missing_components: bool,
    /// Which version of kustomize to use, as far as the backend offers several.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The Kubernetes version to render for (helm charts inside).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kube_version: String,
    /// API versions to render for (helm charts inside).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_versions: Vec<String>,
}

/// A replica count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KustomizeReplica {
    /// The object's name.
    pub name: String,
    /// A number, or a text that is one.
    pub count: serde_json::Value,
}

/// Settings of helm, as Argo CD names them.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Helm {
    /// The release's name; the application's when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub release_name: String,
    /// Value files, relative to the chart, or `$ref/…` into another source; later ones win.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub value_files: Vec<String>,
    /// Skip value files that are not there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_missing_value_files: bool,
    /// Values as a block of YAML.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub values: String,
    /// Values as an object; wins over `values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values_object: Option<serde_json::Map<String, serde_json::Value>>,
    /// `--set` and `--set-string`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<HelmParameter>,
    /// `--set-file`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file_parameters: Vec<HelmFileParameter>,
    /// Helm's version (`v3`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Pass credentials to all hosts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pass_credentials: bool,
    /// Leave out the chart's `crds/`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_crds: bool,
    /// Leave out test hooks.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_tests: bool,
    /// Do not check the values against the chart's schema.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_schema_validation: bool,
    /// The release's namespace; the destination's when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The Kubernetes version to render for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kube_version: String,
    /// API versions to render for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_versions: Vec<String>,
}

/// One `--set`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmParameter {
    /// The name, in the syntax of `--set`.
    pub name: String,
    /// The value.
    pub value: String,
    /// Keep it a string (`--set-string`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force_string: bool,
}

/// One `--set-file`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HelmFileParameter {
    /// The name.
    pub name: String,
    /// The file, relative to the chart.
    pub path: String,
}

/// A config management plugin. Kept for backends that have them; the direct backend takes a renderer registered under its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plugin {
    /// The plugin's name; empty lets the backend find one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Environment variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<PluginParameter>,
}

/// An environment variable.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A plugin's parameter: one of a text, a list or a map.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginParameter {
    /// The name.
    pub name: String,
    /// A text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string: Option<String>,
    /// A list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array: Option<Vec<String>>,
    /// A map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<BTreeMap<String, String>>,
}

/// Rendered manifests are committed before they are synced (Argo CD's `sourceHydrator`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hydrate {
    /// What is rendered.
    pub dry_source: Source,
    /// The branch that is synced.
    pub sync_branch: String,
    /// The path on that branch.
    pub sync_path: String,
    /// The branch that is committed to, when it is promoted from there to the one that is synced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hydrate_to_branch: Option<String>,
}
