//! What became of a `HelmRelease`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::extra::Extra;
use super::super::{Condition, GoDuration, ReleaseAction};

/// `status` of a `HelmRelease`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmReleaseStatus {
    /// The generation that was reconciled last.
    pub observed_generation: Option<i64>,
    /// The digest of `postRenderers` as they were used.
    pub observed_post_renderers_digest: Option<String>,
    /// The digest of `commonMetadata` as it was used.
    pub observed_common_metadata_digest: Option<String>,
    /// The generation that was tried last.
    pub last_attempted_generation: Option<i64>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// The `HelmChart` that was made for it: `<namespace>/<name>`.
    pub helm_chart: Option<String>,
    /// The namespace of Helm's records.
    pub storage_namespace: Option<String>,
    /// The releases that were made, down to the last that went well; the newest first.
    pub history: Option<Vec<ReleaseSnapshot>>,
    /// What was done last.
    pub last_attempted_release_action: Option<ReleaseAction>,
    /// How long that took.
    pub last_attempted_release_action_duration: Option<GoDuration>,
    /// How often it failed since it last went well.
    pub failures: Option<i64>,
    /// How often installing failed since it last went well.
    pub install_failures: Option<i64>,
    /// How often upgrading failed since it last went well.
    pub upgrade_failures: Option<i64>,
    /// The chart's version that was tried last.
    pub last_attempted_revision: Option<String>,
    /// The digest of the OCI artifact that was tried last.
    pub last_attempted_revision_digest: Option<String>,
    /// Out of use since `lastAttemptedConfigDigest`.
    pub last_attempted_values_checksum: Option<String>,
    /// Out of use since `history`.
    pub last_release_revision: Option<i64>,
    /// The digest of the values that were tried last.
    pub last_attempted_config_digest: Option<String>,
    /// The last request to forget failures that was taken up.
    pub last_handled_reset_at: Option<String>,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// The last request to force a release that was taken up.
    pub last_handled_force_at: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One release of `status.history`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseSnapshot {
    /// How the digests are made.
    pub api_version: Option<String>,
    /// The digest of Helm's record: `<algorithm>:<hex>`.
    pub digest: String,
    /// The name of the release.
    pub name: String,
    /// The namespace that it is in.
    pub namespace: String,
    /// Its number.
    pub version: i64,
    /// `deployed`, `superseded`, `failed` …, as Helm has it.
    pub status: String,
    /// The chart's name.
    pub chart_name: String,
    /// The chart's version.
    pub chart_version: String,
    /// The version of what the chart installs.
    pub app_version: Option<String>,
    /// The digest of the values.
    pub config_digest: String,
    /// When it was deployed first.
    pub first_deployed: Option<Time>,
    /// When it was deployed last.
    pub last_deployed: Option<Time>,
    /// When it was deleted.
    pub deleted: Option<Time>,
    /// The tests that ran, by name; none were wanted when it is not there.
    pub test_hooks: Option<BTreeMap<String, TestHookStatus>>,
    /// The digest of the OCI artifact that it is of.
    pub oci_digest: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a test went.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TestHookStatus {
    /// When it started.
    pub last_started: Option<Time>,
    /// When it ended.
    pub last_completed: Option<Time>,
    /// `Succeeded`, `Failed`, `Running`, `Unknown`.
    pub phase: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
