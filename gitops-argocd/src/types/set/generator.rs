//! Generators: they make the parameters that fill the template.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

use super::super::extra::{Extra, Hidden, null_is_default};
use super::git::{GitDirectory, GitFile, GitGenerator};
use super::pull_request::PullRequestGenerator;
use super::scm::ScmProviderGenerator;
use super::template::SetTemplate;

/// One generator: one of the fields is set, and perhaps `selector`. It is the same inside `matrix` and `merge`, at every depth; Argo CD takes two levels.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Generator {
    /// Parameters that are written down.
    pub list: Option<ListGenerator>,
    /// Parameters from the clusters Argo CD knows.
    pub clusters: Option<ClusterGenerator>,
    /// Parameters from a Git repository.
    pub git: Option<GitGenerator>,
    /// Parameters from the repositories of an organisation.
    pub scm_provider: Option<Box<ScmProviderGenerator>>,
    /// Parameters from a resource that lists clusters.
    pub cluster_decision_resource: Option<ClusterDecisionGenerator>,
    /// Parameters from open pull requests.
    pub pull_request: Option<Box<PullRequestGenerator>>,
    /// Every pair of two generators' parameters.
    pub matrix: Option<MatrixGenerator>,
    /// Generators' parameters, put over each other.
    pub merge: Option<MergeGenerator>,
    /// Only the parameters that these labels' rules select.
    pub selector: Option<LabelSelector>,
    /// Parameters from an HTTP service.
    pub plugin: Option<PluginGenerator>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Generator {
    /// Parameters that are written down, each a set of keys and values.
    pub fn list<E, K, V>(elements: impl IntoIterator<Item = E>) -> Self
    where
        E: IntoIterator<Item = (K, V)>,
        K: Into<String>,
        V: Into<Value>,
    {
        let element = |element: E| -> Map<String, Value> {
            element
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect()
        };
        Self::from(ListGenerator {
            elements: Some(elements.into_iter().map(element).collect()),
            ..ListGenerator::default()
        })
    }

    /// All clusters, the one that Argo CD runs in too.
    pub fn clusters() -> Self {
        Self::from(ClusterGenerator::default())
    }

    /// The clusters whose secrets have these labels.
    pub fn clusters_with<K, V>(labels: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        Self::from(ClusterGenerator {
            selector: Some(match_labels(labels)),
            ..ClusterGenerator::default()
        })
    }

    /// The directories of a repository.
    pub fn git_directories(
        repo_url: impl Into<String>,
        revision: impl Into<String>,
        directories: impl IntoIterator<Item = impl Into<GitDirectory>>,
    ) -> Self {
        Self::from(GitGenerator {
            repo_url: repo_url.into(),
            revision: revision.into(),
            directories: Some(directories.into_iter().map(Into::into).collect()),
            ..GitGenerator::default()
        })
    }

    /// The files of a repository.
    pub fn git_files(
        repo_url: impl Into<String>,
        revision: impl Into<String>,
        files: impl IntoIterator<Item = impl Into<GitFile>>,
    ) -> Self {
        Self::from(GitGenerator {
            repo_url: repo_url.into(),
            revision: revision.into(),
            files: Some(files.into_iter().map(Into::into).collect()),
            ..GitGenerator::default()
        })
    }

    /// Every pair of two generators' parameters.
    pub fn matrix(first: Self, second: Self) -> Self {
        Self::from(MatrixGenerator {
            generators: vec![first, second],
            ..MatrixGenerator::default()
        })
    }

    /// The first generator's parameters; those of the others are put over them where the keys' values are equal.
    pub fn merge(
        keys: impl IntoIterator<Item = impl Into<String>>,
        generators: impl IntoIterator<Item = Self>,
    ) -> Self {
        Self::from(MergeGenerator {
            merge_keys: keys.into_iter().map(Into::into).collect(),
            generators: generators.into_iter().collect(),
            ..MergeGenerator::default()
        })
    }

    /// A plugin, by the `ConfigMap` that says where it is.
    pub fn plugin(config_map: impl Into<String>) -> Self {
        Self::from(PluginGenerator {
            config_map_ref: PluginConfigMapRef {
                name: config_map.into(),
                extra: Extra::default(),
            },
            ..PluginGenerator::default()
        })
    }

    /// Only the parameters that have these values.
    #[must_use]
    pub fn only<K, V>(mut self, labels: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        self.selector = Some(match_labels(labels));
        self
    }
}

fn match_labels<K: Into<String>, V: Into<String>>(
    labels: impl IntoIterator<Item = (K, V)>,
) -> LabelSelector {
    let labels = labels.into_iter().map(|(k, v)| (k.into(), v.into()));
    LabelSelector {
        match_labels: Some(labels.collect()),
        ..LabelSelector::default()
    }
}

macro_rules! from_generator {
    ($($field:ident: $kind:ty),* $(,)?) => {$(
        impl From<$kind> for Generator {
            fn from(generator: $kind) -> Self {
                Self {
                    $field: Some(generator.into()),
                    ..Self::default()
                }
            }
        }
    )*};
}

from_generator!(
    list: ListGenerator,
    clusters: ClusterGenerator,
    git: GitGenerator,
    scm_provider: ScmProviderGenerator,
    cluster_decision_resource: ClusterDecisionGenerator,
    pull_request: PullRequestGenerator,
    matrix: MatrixGenerator,
    merge: MergeGenerator,
    plugin: PluginGenerator,
);

/// `list`: parameters that are written down.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListGenerator {
    /// The sets of parameters, of any form.
    pub elements: Option<Vec<Map<String, Value>>>,
    /// Put over the set's own template.
    pub template: Option<Box<SetTemplate>>,
    /// More sets of parameters, as a block of YAML that is rendered first.
    pub elements_yaml: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `clusters`: parameters from the clusters Argo CD knows.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterGenerator {
    /// Which, by the labels of their secrets; all by default.
    pub selector: Option<LabelSelector>,
    /// Put over the set's own template.
    pub template: Option<Box<SetTemplate>>,
    /// More parameters, under `values`.
    pub values: Option<BTreeMap<String, String>>,
    /// One set of parameters for all clusters: a list, under `clusters`.
    pub flat_list: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `clusterDecisionResource`: parameters from the status of a resource that lists clusters.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterDecisionGenerator {
    /// The `ConfigMap` that says of which kind the resource is and where its list.
    pub config_map_ref: String,
    /// The resource.
    pub name: Option<String>,
    /// How often it looks; every 3 minutes by default.
    pub requeue_after_seconds: Option<i64>,
    /// The resources, by their labels, instead of `name`.
    pub label_selector: Option<LabelSelector>,
    /// Put over the set's own template.
    pub template: Option<Box<SetTemplate>>,
    /// More parameters, under `values`.
    pub values: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `matrix`: every pair of two generators' parameters.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MatrixGenerator {
    /// The two generators; the second may use the first's parameters.
    #[serde(deserialize_with = "null_is_default")]
    pub generators: Vec<Generator>,
    /// Put over the set's own template; not read in nested generators.
    pub template: Option<Box<SetTemplate>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `merge`: the first generator's parameters, and those of the others put over them.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MergeGenerator {
    /// The generators, the base first.
    #[serde(deserialize_with = "null_is_default")]
    pub generators: Vec<Generator>,
    /// The keys whose values tell which parameters belong together.
    #[serde(deserialize_with = "null_is_default")]
    pub merge_keys: Vec<String>,
    /// Put over the set's own template; not read in nested generators.
    pub template: Option<Box<SetTemplate>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `plugin`: parameters from an HTTP service.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginGenerator {
    /// Where the service is.
    #[serde(deserialize_with = "null_is_default")]
    pub config_map_ref: PluginConfigMapRef,
    /// What is sent to it.
    pub input: Option<PluginInput>,
    /// How often it is asked; every 30 minutes by default.
    pub requeue_after_seconds: Option<i64>,
    /// Put over the set's own template.
    pub template: Option<Box<SetTemplate>>,
    /// More parameters, under `values`; they are not sent.
    pub values: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `configMapRef` of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginConfigMapRef {
    /// The `ConfigMap`.
    pub name: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `input` of a plugin.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginInput {
    /// Parameters, with values of any form.
    pub parameters: Option<BTreeMap<String, Value>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

// Parameters may be secrets: only their names are printed.

impl fmt::Debug for ListGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements = self.elements.as_ref().map(Vec::len);
        f.debug_struct("ListGenerator")
            .field("elements", &elements)
            .field("template", &self.template)
            .field("elements_yaml", &Hidden::of(&self.elements_yaml))
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for ClusterGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterGenerator")
            .field("selector", &self.selector)
            .field("template", &self.template)
            .field("values", &Hidden::keys(&self.values))
            .field("flat_list", &self.flat_list)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for ClusterDecisionGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterDecisionGenerator")
            .field("config_map_ref", &self.config_map_ref)
            .field("name", &self.name)
            .field("requeue_after_seconds", &self.requeue_after_seconds)
            .field("label_selector", &self.label_selector)
            .field("template", &self.template)
            .field("values", &Hidden::keys(&self.values))
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for PluginGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginGenerator")
            .field("config_map_ref", &self.config_map_ref)
            .field("input", &self.input)
            .field("requeue_after_seconds", &self.requeue_after_seconds)
            .field("template", &self.template)
            .field("values", &Hidden::keys(&self.values))
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for PluginInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginInput")
            .field("parameters", &Hidden::keys(&self.parameters))
            .field("extra", &self.extra)
            .finish()
    }
}
