//! The kind `HelmRelease`.

mod action;
mod status;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;
use sha2::{Digest, Sha256};

pub use self::action::{
    Filter, Install, InstallRemediation, Rollback, Strategy, Test, Uninstall, Upgrade,
    UpgradeRemediation,
};
pub use self::status::{HelmReleaseStatus, ReleaseSnapshot, TestHookStatus};
use super::extra::{Extra, Hidden};
use super::resource::{at_intervals, flux_kind, handled, setters, suspendable, timed};
use super::{
    CommonMetadata, DependencyReference, DriftDetectionMode, GoDuration, Image,
    KubeConfigReference, LocalObjectReference, ObjectReference, Patch, ReconcileStrategy, Selector,
    VerificationProvider,
};

flux_kind! {
    /// A Helm chart, installed and kept up to date.
    HelmRelease(HelmReleaseSpec, HelmReleaseStatus) {
        handled!();
        suspendable!();
        at_intervals!();
        timed!();

        fn source_ref(&self) -> Option<ObjectReference> {
            let chart = self.spec.chart.as_ref();
            self.spec.chart_ref.clone().or_else(|| chart.map(|chart| chart.spec.source_ref.clone()))
        }

        fn depends_on(&self) -> &[DependencyReference] {
            self.spec.depends_on.as_deref().unwrap_or_default()
        }

        fn kube_config(&self) -> Option<&KubeConfigReference> {
            self.spec.kube_config.as_ref()
        }

        fn service_account_name(&self) -> Option<&str> {
            self.spec.service_account_name.as_deref()
        }

        fn last_applied_revision(&self) -> Option<&str> {
            self.latest().map(|snapshot| snapshot.chart_version.as_str())
        }

        fn last_attempted_revision(&self) -> Option<&str> {
            self.status.as_ref()?.last_attempted_revision.as_deref()
        }
    }
}

impl HelmRelease {
    setters!(HelmReleaseSpec: interval, timeout, target_namespace);

    /// Installs a chart of a source: a `HelmRepository`, or a path in a `GitRepository` or `Bucket`.
    #[must_use]
    pub fn chart(mut self, chart: impl Into<String>, source: ObjectReference) -> Self {
        let spec = &mut self.spec.chart.get_or_insert_default().spec;
        spec.chart = chart.into();
        spec.source_ref = source;
        self
    }

    /// Sets the version or semver range of the [chart](Self::chart).
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.spec.chart.get_or_insert_default().spec.version = Some(version.into());
        self
    }

    /// Installs what an `OCIRepository`, `HelmChart` or `ExternalArtifact` offers.
    #[must_use]
    pub fn chart_ref(mut self, source: ObjectReference) -> Self {
        self.spec.chart_ref = Some(source);
        self
    }

    /// Sets the values.
    #[must_use]
    pub fn values(mut self, values: Value) -> Self {
        self.spec.values = Some(values);
        self
    }

    /// The name of the release as Helm has it: `releaseName`, or `[<targetNamespace>-]<name>`; one of more than 53 bytes is cut, and a part of its SHA-256 added, as
    /// helm-controller 1.4 does.
    pub fn release_name(&self) -> String {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let name = text(&self.metadata.name).unwrap_or_default();
        let full = match (
            text(&self.spec.release_name),
            text(&self.spec.target_namespace),
        ) {
            (Some(release), _) => release,
            (None, Some(namespace)) => format!("{namespace}-{name}"),
            (None, None) => name,
        };
        if full.len() <= 53 {
            return full;
        }
        let digest = hex::encode(Sha256::digest(&full));
        let cut = full.floor_char_boundary(40);
        format!("{}-{}", &full[..cut], &digest[..12])
    }

    /// The namespace that it is installed into: `targetNamespace`, or its own.
    pub fn release_namespace(&self) -> &str {
        let target = self.spec.target_namespace.as_deref();
        target
            .filter(|namespace| !namespace.is_empty())
            .or(self.metadata.namespace.as_deref())
            .unwrap_or_default()
    }

    /// The newest release that its controller made.
    pub fn latest(&self) -> Option<&ReleaseSnapshot> {
        let history = self.status.as_ref()?.history.as_ref()?;
        history.iter().max_by_key(|snapshot| snapshot.version)
    }
}

/// `spec` of a `HelmRelease`. `Debug` prints the top keys of the values, not what they hold.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmReleaseSpec {
    /// The chart, for which a `HelmChart` is made; or `chartRef`.
    pub chart: Option<HelmChartTemplate>,
    /// What is installed: an `OCIRepository`, `HelmChart` or `ExternalArtifact`; or `chart`.
    pub chart_ref: Option<ObjectReference>,
    /// How often it is looked at. The definition requires it.
    pub interval: Option<GoDuration>,
    /// The other cluster that it is installed in.
    pub kube_config: Option<KubeConfigReference>,
    /// Whether it is left alone.
    pub suspend: Option<bool>,
    /// The name of the release; by default `[<targetNamespace>-]<name>`.
    pub release_name: Option<String>,
    /// The namespace that it is installed into; its own by default.
    pub target_namespace: Option<String>,
    /// The namespace of Helm's records; its own by default.
    pub storage_namespace: Option<String>,
    /// Others that must be ready first.
    pub depends_on: Option<Vec<DependencyReference>>,
    /// How long one operation of Helm may take; 5 min by default.
    pub timeout: Option<GoDuration>,
    /// How many releases Helm keeps; 5 by default, 0 for all.
    pub max_history: Option<i64>,
    /// The service account in whose name it is installed.
    pub service_account_name: Option<String>,
    /// Whether one client serves a whole reconciliation; on by default.
    pub persistent_client: Option<bool>,
    /// What is done about differences from the cluster.
    pub drift_detection: Option<DriftDetection>,
    /// How it is installed.
    pub install: Option<Install>,
    /// How it is upgraded.
    pub upgrade: Option<Upgrade>,
    /// How it is tested.
    pub test: Option<Test>,
    /// How it is rolled back.
    pub rollback: Option<Rollback>,
    /// How it is uninstalled.
    pub uninstall: Option<Uninstall>,
    /// ConfigMaps and Secrets with values; later ones win.
    pub values_from: Option<Vec<ValuesReference>>,
    /// Values; they win over those of `valuesFrom`.
    pub values: Option<Value>,
    /// Labels and annotations for all objects.
    pub common_metadata: Option<CommonMetadata>,
    /// What is done with what Helm rendered, one after the other.
    pub post_renderers: Option<Vec<PostRenderer>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for HelmReleaseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelmReleaseSpec")
            .field("chart", &self.chart)
            .field("chart_ref", &self.chart_ref)
            .field("interval", &self.interval)
            .field("kube_config", &self.kube_config)
            .field("suspend", &self.suspend)
            .field("release_name", &self.release_name)
            .field("target_namespace", &self.target_namespace)
            .field("storage_namespace", &self.storage_namespace)
            .field("depends_on", &self.depends_on)
            .field("timeout", &self.timeout)
            .field("max_history", &self.max_history)
            .field("service_account_name", &self.service_account_name)
            .field("persistent_client", &self.persistent_client)
            .field("drift_detection", &self.drift_detection)
            .field("install", &self.install)
            .field("upgrade", &self.upgrade)
            .field("test", &self.test)
            .field("rollback", &self.rollback)
            .field("uninstall", &self.uninstall)
            .field("values_from", &self.values_from)
            .field("values", &Hidden::of(&self.values))
            .field("common_metadata", &self.common_metadata)
            .field("post_renderers", &self.post_renderers)
            .field("extra", &self.extra)
            .finish()
    }
}

/// The `HelmChart` that is made for a `HelmRelease`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmChartTemplate {
    /// Its labels and annotations.
    pub metadata: Option<HelmChartTemplateMetadata>,
    /// Its `spec`.
    pub spec: HelmChartTemplateSpec,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Labels and annotations of a chart.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmChartTemplateMetadata {
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `spec` of the chart that is made for a `HelmRelease`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmChartTemplateSpec {
    /// The chart's name in a repository, or its path in another source.
    pub chart: String,
    /// A version or semver range; for repositories only.
    pub version: Option<String>,
    /// A `HelmRepository`, `GitRepository` or `Bucket`; without a namespace, of the `HelmRelease`'s own.
    pub source_ref: ObjectReference,
    /// How often the source is looked at; that of the `HelmRelease` by default.
    pub interval: Option<GoDuration>,
    /// What makes a new artifact.
    pub reconcile_strategy: Option<ReconcileStrategy>,
    /// Files of values instead of `values.yaml`, later ones over earlier.
    pub values_files: Option<Vec<String>>,
    /// Whether files of values may be missing.
    pub ignore_missing_values_files: Option<bool>,
    /// Whose signature it must have (`HelmRepository` of type `oci` only).
    pub verify: Option<HelmChartTemplateVerification>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whose signature a chart must have.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmChartTemplateVerification {
    /// What signed it; `cosign` by default. The definition requires it.
    pub provider: Option<VerificationProvider>,
    /// The Secret with the public keys.
    pub secret_ref: Option<LocalObjectReference>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is done about differences from the cluster.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DriftDetection {
    /// Whether they are repaired, told, or not looked for; `disabled` by default.
    pub mode: Option<DriftDetectionMode>,
    /// Differences that do not count.
    pub ignore: Option<Vec<IgnoreRule>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Differences that do not count.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IgnoreRule {
    /// JSON pointers.
    pub paths: Vec<String>,
    /// Of which objects; of all by default.
    pub target: Option<Selector>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A ConfigMap or Secret with values.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ValuesReference {
    /// `Secret` or `ConfigMap`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its key; `values.yaml` by default.
    pub values_key: Option<String>,
    /// Where the value goes, in Helm's dotted notation; without it, it is a document of values.
    pub target_path: Option<String>,
    /// Whether it may be missing.
    pub optional: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is done with what Helm rendered.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PostRenderer {
    /// Kustomize.
    pub kustomize: Option<PostRenderKustomize>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What Kustomize does with what Helm rendered.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PostRenderKustomize {
    /// Patches.
    pub patches: Option<Vec<Patch>>,
    /// Other names, tags or digests for images.
    pub images: Option<Vec<Image>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
