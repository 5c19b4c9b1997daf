//! Just what a status needs, for lists and watches of thousands of objects of any kind.
//!
//! This is only read: whatever else an object holds, such as a `Kustomization`'s inventory, a `HelmRelease`'s values and what the API server keeps of managers, is skipped
//! without being built. From a list of 2,000 `Kustomization`s this takes a fraction of what the full types need, in time and in memory. [`read_list`](super::read_list) reads
//! lists of it.

use std::collections::BTreeMap;

use gitops_core::manifest::ObjectId;
use jiff::Timestamp;
use serde::Deserialize;

use super::extra::null_is_default as nullable;
use super::meta::time;
use super::{annotation, condition};
use crate::kind::FluxKind;

/// One object, of any kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    /// Its metadata.
    pub metadata: Metadata,
    /// What is needed of its specification.
    #[serde(deserialize_with = "nullable")]
    pub spec: Spec,
    /// What is needed of its status.
    #[serde(deserialize_with = "nullable")]
    pub status: Status,
}

/// What is needed of `metadata`. `Debug` prints the names of annotations, not their values.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The name.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// Changes with each change of `spec`.
    pub generation: i64,
    /// Changes with each write.
    pub resource_version: String,
    /// Names this one object of that name.
    pub uid: String,
    /// Labels.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
    /// When it was made.
    pub creation_timestamp: Option<Timestamp>,
    /// Set while it is deleted.
    pub deletion_timestamp: Option<Timestamp>,
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metadata")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("generation", &self.generation)
            .field("resource_version", &self.resource_version)
            .field("uid", &self.uid)
            .field("labels", &self.labels)
            .field("annotations", &self.annotations.keys())
            .finish_non_exhaustive()
    }
}

/// What is needed of `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Whether it is left alone.
    #[serde(deserialize_with = "nullable")]
    pub suspend: bool,
    /// The source, as it is written.
    pub source_ref: Option<Reference>,
    /// What a `HelmRelease` installs, as it is written.
    pub chart_ref: Option<Reference>,
    /// The chart of a `HelmRelease`; what a `HelmChart` has here, a name, is not kept.
    pub chart: Chart,
    /// `default` or `oci` (`HelmRepository`).
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// What is needed of a chart.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// Its source.
    pub source_ref: Option<Reference>,
}

impl<'de> Deserialize<'de> for Chart {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Template {
            source_ref: Option<Reference>,
        }

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Chart;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a chart's name or template")
            }

            // The `chart` of a `HelmChart`.
            fn visit_str<E>(self, _: &str) -> Result<Chart, E> {
                Ok(Chart::default())
            }

            fn visit_unit<E>(self) -> Result<Chart, E> {
                Ok(Chart::default())
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Chart, A::Error> {
                let mut chart = Chart::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "spec" => {
                            let template: Option<Template> = map.next_value()?;
                            chart.source_ref = template.and_then(|template| template.source_ref);
                        }
                        _ => _ = map.next_value::<serde::de::IgnoredAny>()?,
                    }
                }
                Ok(chart)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// What is needed of `status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The generation that was reconciled last.
    pub observed_generation: Option<i64>,
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// The revision that was applied last (`Kustomization`).
    pub last_applied_revision: Option<String>,
    /// The revision that was tried last (`Kustomization`, `HelmRelease`).
    pub last_attempted_revision: Option<String>,
    /// What it offers (sources).
    pub artifact: Option<Artifact>,
    /// The newest image (`ImagePolicy`).
    pub latest_ref: Option<Image>,
    /// When it ran to its end last (`ImageUpdateAutomation`).
    pub last_automation_run_time: Option<Timestamp>,
    /// What was seen last (`ImageRepository`).
    pub last_scan_result: Option<Scan>,
}

/// A reference, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    /// Group and version.
    #[serde(deserialize_with = "nullable")]
    pub api_version: String,
    /// The kind.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// The name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The namespace; empty for that of the object with the reference.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
}

/// A condition.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `Ready`, `Reconciling`, `Stalled` …
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// The generation of the object that it is about.
    pub observed_generation: Option<i64>,
    /// Since when the status is as it is.
    pub last_transition_time: Option<Timestamp>,
    /// Why, as a word.
    #[serde(deserialize_with = "nullable")]
    pub reason: String,
    /// Why, for people.
    #[serde(deserialize_with = "nullable")]
    pub message: String,
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
}

impl From<Condition> for super::Condition {
    fn from(condition: Condition) -> Self {
        let text = |text: String| (!text.is_empty()).then_some(text);
        Self {
            kind: condition.kind,
            status: condition.status,
            observed_generation: condition.observed_generation,
            last_transition_time: condition.last_transition_time.and_then(time),
            reason: text(condition.reason),
            message: text(condition.message),
            ..Self::default()
        }
    }
}

/// What is needed of an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Artifact {
    /// What it holds.
    #[serde(deserialize_with = "nullable")]
    pub revision: String,
    /// Its digest.
    #[serde(deserialize_with = "nullable")]
    pub digest: String,
    /// When it was made.
    pub last_update_time: Option<Timestamp>,
    /// Its size, in bytes.
    pub size: Option<i64>,
}

/// What is needed of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Image {
    /// The image.
    pub name: String,
    /// The tag.
    pub tag: String,
}

/// What is needed of a look at a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scan {
    /// How many tags there are.
    pub tag_count: i64,
    /// When that was.
    pub scan_time: Option<Timestamp>,
}

impl Object {
    /// Which object it is; the kind is that which was asked for, since items of a list do not say it.
    pub fn id(&self, kind: FluxKind) -> ObjectId {
        kind.object_id(&self.metadata.namespace, &self.metadata.name)
    }

    /// The condition `Ready`.
    pub fn ready(&self) -> Option<&Condition> {
        let mut conditions = self.status.conditions.iter();
        conditions.find(|condition| condition.kind == condition::READY)
    }

    /// The request to reconcile that was made last, taken up or not.
    pub fn requested_at(&self) -> Option<&str> {
        let requested = self.metadata.annotations.get(annotation::RECONCILE);
        requested.map(String::as_str)
    }

    /// Where it takes its content from, with its namespace.
    pub fn source_ref(&self) -> Option<Reference> {
        let spec = &self.spec;
        let written = [&spec.chart_ref, &spec.source_ref, &spec.chart.source_ref];
        let mut reference = written.into_iter().flatten().next()?.clone();
        if reference.namespace.is_empty() {
            reference.namespace.clone_from(&self.metadata.namespace);
        }
        Some(reference)
    }

    /// The revision that it stands at: of the artifact, or as it was applied or tried last.
    pub fn revision(&self) -> Option<&str> {
        let status = &self.status;
        let artifact = status.artifact.as_ref();
        artifact
            .map(|artifact| artifact.revision.as_str())
            .or(status.last_applied_revision.as_deref())
            .or(status.last_attempted_revision.as_deref())
    }
}
