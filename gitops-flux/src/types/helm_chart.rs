//! The kind `HelmChart`.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;
use super::resource::{at_intervals, flux_kind, handled, offers_artifact, suspendable};
use super::{
    Artifact, Condition, GoDuration, LocalSourceReference, ObjectReference,
    OciRepositoryVerification, ReconcileStrategy,
};

flux_kind! {
    /// A chart of a source, packed. A `HelmRelease` with `chart` has one, named `<namespace>-<name>` after it, which its controller makes.
    HelmChart(HelmChartSpec, HelmChartStatus) {
        handled!();
        suspendable!();
        at_intervals!();
        offers_artifact!();

        fn source_ref(&self) -> Option<ObjectReference> {
            let source = &self.spec.source_ref;
            Some(ObjectReference {
                api_version: source.api_version.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                ..ObjectReference::default()
            })
        }
    }
}

/// `spec` of a `HelmChart`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmChartSpec {
    /// The chart's name in a repository, or its path in another source.
    pub chart: String,
    /// A version or semver range; for repositories only.
    pub version: Option<String>,
    /// A `HelmRepository`, `GitRepository` or `Bucket`.
    pub source_ref: LocalSourceReference,
    /// How often the source is looked at. The definition requires it.
    pub interval: Option<GoDuration>,
    /// What makes a new artifact.
    pub reconcile_strategy: Option<ReconcileStrategy>,
    /// Files of values instead of `values.yaml`, later ones over earlier.
    pub values_files: Option<Vec<String>>,
    /// Whether files of values may be missing.
    pub ignore_missing_values_files: Option<bool>,
    /// Whether it is left alone.
    pub suspend: Option<bool>,
    /// Whose signature it must have (`HelmRepository` of type `oci` only).
    pub verify: Option<OciRepositoryVerification>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status` of a `HelmChart`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmChartStatus {
    /// The generation that was reconciled last.
    pub observed_generation: Option<i64>,
    /// The revision of the source that was used.
    pub observed_source_artifact_revision: Option<String>,
    /// The chart's own name.
    pub observed_chart_name: Option<String>,
    /// `valuesFiles` as they were used.
    pub observed_values_files: Option<Vec<String>>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// Where the newest artifact is, more or less; the artifact says exactly.
    pub url: Option<String>,
    /// The chart.
    pub artifact: Option<Artifact>,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
