//! Where manifests come from.

use std::collections::BTreeMap;
use std::fmt;

use gitops_core::error::redact_url;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

use super::extra::Extra;

/// `spec.source`, and each of `spec.sources`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// The repository: Git, Helm (`https://…`, with `chart`) or OCI (`oci://…`).
    #[serde(rename = "repoURL")]
    pub repo_url: String,
    /// The path in a Git repository.
    pub path: Option<String>,
    /// A branch, tag, SHA or semver range; a chart's version.
    pub target_revision: Option<String>,
    /// Settings of Helm.
    pub helm: Option<SourceHelm>,
    /// Settings of Kustomize.
    pub kustomize: Option<SourceKustomize>,
    /// Settings of plain directories.
    pub directory: Option<SourceDirectory>,
    /// Settings of a config management plugin.
    pub plugin: Option<SourcePlugin>,
    /// The chart's name.
    pub chart: Option<String>,
    /// The name by which other sources reach this one's files.
    #[serde(rename = "ref")]
    pub ref_name: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
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
            chart: Some(chart.into()),
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
    pub fn target_revision(mut self, revision: impl Into<String>) -> Self {
        self.target_revision = Some(revision.into());
        self
    }
}

/// `helm` of a source.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceHelm {
    /// Value files; `$ref/…` reaches another source's.
    pub value_files: Option<Vec<String>>,
    /// `--set` and `--set-string`.
    pub parameters: Option<Vec<HelmParameter>>,
    /// The release's name; the application's by default.
    pub release_name: Option<String>,
    /// Values as a block of YAML.
    pub values: Option<String>,
    /// `--set-file`.
    pub file_parameters: Option<Vec<HelmFileParameter>>,
    /// Helm's version (`v3`).
    pub version: Option<String>,
    /// Pass credentials to all hosts.
    pub pass_credentials: Option<bool>,
    /// Skip value files that are not there.
    pub ignore_missing_value_files: Option<bool>,
    /// Leave out `crds/`.
    pub skip_crds: Option<bool>,
    /// Values as an object (of any form); it wins over `values`.
    pub values_object: Option<Map<String, Value>>,
    /// The namespace to render for.
    pub namespace: Option<String>,
    /// The Kubernetes version to render for.
    pub kube_version: Option<String>,
    /// The API versions to render for.
    pub api_versions: Option<Vec<String>>,
    /// Leave out tests.
    pub skip_tests: Option<bool>,
    /// Do not check values against the chart's schema.
    pub skip_schema_validation: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One `--set`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmParameter {
    /// The name, in the syntax of `--set`.
    pub name: Option<String>,
    /// The value.
    pub value: Option<String>,
    /// `--set-string`.
    pub force_string: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One `--set-file`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmFileParameter {
    /// The name.
    pub name: Option<String>,
    /// The file.
    pub path: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `kustomize` of a source.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceKustomize {
    /// Put before names.
    pub name_prefix: Option<String>,
    /// Put behind names.
    pub name_suffix: Option<String>,
    /// Images, in the forms of `kustomize edit set image`.
    pub images: Option<Vec<String>>,
    /// Labels for every object.
    pub common_labels: Option<BTreeMap<String, String>>,
    /// Kustomize's version, among those the server has.
    pub version: Option<String>,
    /// Annotations for every object.
    pub common_annotations: Option<BTreeMap<String, String>>,
    /// Overwrite labels.
    pub force_common_labels: Option<bool>,
    /// Overwrite annotations.
    pub force_common_annotations: Option<bool>,
    /// The namespace of every object.
    pub namespace: Option<String>,
    /// Substitute variables in annotations.
    pub common_annotations_envsubst: Option<bool>,
    /// Replica counts.
    pub replicas: Option<Vec<KustomizeReplica>>,
    /// Patches.
    pub patches: Option<Vec<KustomizePatch>>,
    /// Components.
    pub components: Option<Vec<String>>,
    /// Skip components that are not there.
    pub ignore_missing_components: Option<bool>,
    /// Labels not in selectors.
    pub label_without_selector: Option<bool>,
    /// The Kubernetes version for charts inside.
    pub kube_version: Option<String>,
    /// The API versions for charts inside.
    pub api_versions: Option<Vec<String>>,
    /// Labels in templates too.
    pub label_include_templates: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A replica count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KustomizeReplica {
    /// The object's name.
    pub name: String,
    /// How many.
    pub count: IntOrString,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A patch.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KustomizePatch {
    /// A file.
    pub path: Option<String>,
    /// The patch itself.
    pub patch: Option<String>,
    /// What it is for.
    pub target: Option<KustomizeSelector>,
    /// `allowNameChange`, `allowKindChange`.
    pub options: Option<BTreeMap<String, bool>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Selects objects for a patch.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KustomizeSelector {
    /// The API group.
    pub group: Option<String>,
    /// The API version.
    pub version: Option<String>,
    /// The kind.
    pub kind: Option<String>,
    /// The name, a regular expression.
    pub name: Option<String>,
    /// The namespace, a regular expression.
    pub namespace: Option<String>,
    /// By annotations.
    pub annotation_selector: Option<String>,
    /// By labels.
    pub label_selector: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `directory` of a source.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceDirectory {
    /// Sub-directories too.
    pub recurse: Option<bool>,
    /// Settings of Jsonnet.
    pub jsonnet: Option<SourceJsonnet>,
    /// A glob of files to leave out.
    pub exclude: Option<String>,
    /// A glob of files to take.
    pub include: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Settings of Jsonnet.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceJsonnet {
    /// External variables.
    pub ext_vars: Option<Vec<JsonnetVar>>,
    /// Top-level arguments.
    pub tlas: Option<Vec<JsonnetVar>>,
    /// Library directories.
    pub libs: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A variable of Jsonnet.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JsonnetVar {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
    /// Whether it is code.
    pub code: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `plugin` of a source.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourcePlugin {
    /// The plugin's name; without one the server finds it.
    pub name: Option<String>,
    /// Environment variables.
    pub env: Option<Vec<EnvEntry>>,
    /// Parameters.
    pub parameters: Option<Vec<PluginParameter>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An environment variable.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvEntry {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A parameter of a plugin.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginParameter {
    /// The name.
    pub name: Option<String>,
    /// A text.
    pub string: Option<String>,
    /// A map.
    pub map: Option<BTreeMap<String, String>>,
    /// A list.
    pub array: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

// What may hold secrets is not printed.

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("repo_url", &redact_url(&self.repo_url))
            .field("path", &self.path)
            .field("target_revision", &self.target_revision)
            .field("helm", &self.helm)
            .field("kustomize", &self.kustomize)
            .field("directory", &self.directory)
            .field("plugin", &self.plugin)
            .field("chart", &self.chart)
            .field("ref_name", &self.ref_name)
            .field("name", &self.name)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for SourceHelm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Option<Vec<String>> = self
            .value_files
            .as_ref()
            .map(|files| files.iter().map(|file| redact_url(file)).collect());
        f.debug_struct("SourceHelm")
            .field("value_files", &files)
            .field("parameters", &self.parameters)
            .field("release_name", &self.release_name)
            .field("namespace", &self.namespace)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SourceKustomize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceKustomize")
            .field("name_prefix", &self.name_prefix)
            .field("name_suffix", &self.name_suffix)
            .field("images", &self.images)
            .field("namespace", &self.namespace)
            .field("replicas", &self.replicas)
            .field("patches", &self.patches)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

macro_rules! debug_by_name {
    ($($kind:ident { $($field:ident),* }),* $(,)?) => {$(
        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($kind))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    )*};
}

debug_by_name!(
    HelmParameter { name, force_string },
    HelmFileParameter { name },
    KustomizePatch { path, target },
    JsonnetVar { name, code },
    EnvEntry { name },
    PluginParameter { name },
);
