//! What the kinds share: references, conditions, artifacts.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::GoDuration;
use super::extra::{Extra, Hidden};

/// A time of `k8s-openapi`, which has a `jiff` of its own, as a [`Timestamp`]; `None` for one that is outside of what it holds.
pub fn timestamp(time: &Time) -> Option<Timestamp> {
    Timestamp::from_nanosecond(time.0.as_nanosecond()).ok()
}

/// The time as `k8s-openapi` has it.
pub fn time(timestamp: Timestamp) -> Option<Time> {
    k8s_openapi::jiff::Timestamp::from_nanosecond(timestamp.as_nanosecond())
        .ok()
        .map(Time)
}

/// For `Debug`: metadata without the values of annotations, among which is a copy of the whole object when `kubectl apply` made it.
pub(crate) struct DebugMeta<'a>(pub(crate) &'a ObjectMeta);

impl fmt::Debug for DebugMeta<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meta = self.0;
        f.debug_struct("ObjectMeta")
            .field("name", &meta.name)
            .field("namespace", &meta.namespace)
            .field("labels", &meta.labels)
            .field("annotations", &Hidden::keys(&meta.annotations))
            .field("finalizers", &meta.finalizers)
            .field("generation", &meta.generation)
            .field("resource_version", &meta.resource_version)
            .field("uid", &meta.uid)
            .finish_non_exhaustive()
    }
}

/// An object of the same namespace and a known kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalObjectReference {
    /// Its name.
    pub name: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl LocalObjectReference {
    /// The object of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            extra: Extra::default(),
        }
    }
}

/// An object of a known kind, of the same namespace or another.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespacedObjectReference {
    /// Its name.
    pub name: String,
    /// Its namespace; that of the object with the reference when it is not there.
    pub namespace: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An object of any kind, of the same namespace or another: a source, or what is to be healthy.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// Group and version.
    pub api_version: Option<String>,
    /// The kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace; that of the object with the reference when it is not there.
    pub namespace: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ObjectReference {
    /// The object of that kind and name, of the same namespace.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
            ..Self::default()
        }
    }

    /// Sets the namespace.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }
}

/// A source of the same namespace.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalSourceReference {
    /// Group and version.
    pub api_version: Option<String>,
    /// The kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One object, or all of a kind with some labels, as alerts and receivers name them.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrossNamespaceObjectReference {
    /// Group and version.
    pub api_version: Option<String>,
    /// The kind.
    pub kind: String,
    /// Its name, or `*` for all.
    pub name: String,
    /// Their namespace; that of the object with the reference when it is not there.
    pub namespace: Option<String>,
    /// Labels that they must have.
    pub match_labels: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Something that must be ready first.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DependencyReference {
    /// Its name.
    pub name: String,
    /// Its namespace; that of the object with the reference when it is not there.
    pub namespace: Option<String>,
    /// A CEL expression that says whether it is ready, instead of its condition.
    pub ready_expr: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A key of a Secret.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretKeyReference {
    /// The Secret's name.
    pub name: String,
    /// The key; `value`, then `value.yaml`, when it is not there.
    pub key: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How another cluster is reached: exactly one of the two.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeConfigReference {
    /// A ConfigMap that says which workload identity to use.
    pub config_map_ref: Option<LocalObjectReference>,
    /// A Secret with a kubeconfig.
    pub secret_ref: Option<SecretKeyReference>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Who of other namespaces may use an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessFrom {
    /// Namespaces by their labels; one of them is enough.
    pub namespace_selectors: Vec<NamespaceSelector>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Namespaces by their labels.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSelector {
    /// All of these; none takes every namespace.
    pub match_labels: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Labels and annotations for all objects.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CommonMetadata {
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A condition, as `metav1.Condition`; what is missing in an old or partial one does not make the object unreadable.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `Ready`, `Reconciling`, `Stalled`, `Healthy` …; see [`condition`](super::condition).
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// The generation of the object that it is about.
    pub observed_generation: Option<i64>,
    /// Since when the status is as it is.
    pub last_transition_time: Option<Time>,
    /// Why, as a word.
    pub reason: Option<String>,
    /// Why, for people.
    pub message: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Condition {
    /// Whether the status is `True`.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// Whether the status is `False`; `Unknown` is neither.
    pub fn is_false(&self) -> bool {
        self.status == "False"
    }

    /// Since when the status is as it is.
    pub fn since(&self) -> Option<Timestamp> {
        self.last_transition_time.as_ref().and_then(timestamp)
    }

    /// Why, as a word; empty when it gives none.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }

    /// Why, for people; empty when it says nothing.
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }
}

/// What a source offers: a file of source-controller's, with the content of one revision.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Artifact {
    /// Its digest: `<algorithm>:<hex>`.
    pub digest: Option<String>,
    /// The path within the storage.
    pub path: String,
    /// Where it can be fetched, within the cluster.
    pub url: String,
    /// What it holds: `main@sha1:<commit>`, `<tag>@sha256:<digest>`, a chart's version.
    pub revision: String,
    /// When it was made.
    pub last_update_time: Option<Time>,
    /// Its size, in bytes.
    pub size: Option<i64>,
    /// What else upstream says, such as annotations of an OCI artifact.
    pub metadata: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of a `Kustomization`'s `status.history`: reconciliations of the same content with the same result.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// The digest of what was built.
    pub digest: String,
    /// When it was reconciled first.
    pub first_reconciled: Option<Time>,
    /// When it was reconciled last.
    pub last_reconciled: Option<Time>,
    /// How long that took.
    pub last_reconciled_duration: Option<GoDuration>,
    /// How that went: a reason of the `Ready` condition.
    pub last_reconciled_status: String,
    /// How often it was reconciled.
    pub total_reconciliations: i64,
    /// What else is known, such as `revision` and `originRevision`.
    pub metadata: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
