//! What a `HelmRelease` lets Helm do.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::extra::Extra;
use super::super::{
    ActionStrategy, CrdsPolicy, DeletionPropagation, GoDuration, RemediationStrategy,
};

/// How it is installed.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Install {
    /// How long it may take; that of the `HelmRelease` by default.
    pub timeout: Option<GoDuration>,
    /// What a failure leads to.
    pub strategy: Option<Strategy>,
    /// How a failure is remedied; not at all by default.
    pub remediation: Option<InstallRemediation>,
    /// Whether objects of others are left to them.
    pub disable_take_ownership: Option<bool>,
    /// Whether it ends before the objects are ready.
    pub disable_wait: Option<bool>,
    /// Whether it ends before Jobs are complete.
    pub disable_wait_for_jobs: Option<bool>,
    /// Whether hooks do not run.
    pub disable_hooks: Option<bool>,
    /// Whether the API server's schemas are not asked.
    #[serde(rename = "disableOpenAPIValidation")]
    pub disable_open_api_validation: Option<bool>,
    /// Whether the chart's schema of values is not asked.
    pub disable_schema_validation: Option<bool>,
    /// Whether the name of a deleted release is used again.
    pub replace: Option<bool>,
    /// Out of use since `crds`.
    #[serde(rename = "skipCRDs")]
    pub skip_crds: Option<bool>,
    /// What is done with definitions of the chart's `crds/`; `Create` by default.
    pub crds: Option<CrdsPolicy>,
    /// Whether the target namespace is created.
    pub create_namespace: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a failed install or upgrade leads to.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    /// Which. The definition requires it.
    pub name: Option<ActionStrategy>,
    /// How soon it is tried again (`RetryOnFailure` only); 5 min by default.
    pub retry_interval: Option<GoDuration>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a failed install is remedied: by uninstalling.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstallRemediation {
    /// How often it is tried again; below zero, for ever.
    pub retries: Option<i64>,
    /// Whether failed tests do not count; as `test` has it by default.
    pub ignore_test_failures: Option<bool>,
    /// Whether the last failure is remedied too.
    pub remediate_last_failure: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How it is upgraded.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Upgrade {
    /// How long it may take; that of the `HelmRelease` by default.
    pub timeout: Option<GoDuration>,
    /// What a failure leads to.
    pub strategy: Option<Strategy>,
    /// How a failure is remedied; not at all by default.
    pub remediation: Option<UpgradeRemediation>,
    /// Whether objects of others are left to them.
    pub disable_take_ownership: Option<bool>,
    /// Whether it ends before the objects are ready.
    pub disable_wait: Option<bool>,
    /// Whether it ends before Jobs are complete.
    pub disable_wait_for_jobs: Option<bool>,
    /// Whether hooks do not run.
    pub disable_hooks: Option<bool>,
    /// Whether the API server's schemas are not asked.
    #[serde(rename = "disableOpenAPIValidation")]
    pub disable_open_api_validation: Option<bool>,
    /// Whether the chart's schema of values is not asked.
    pub disable_schema_validation: Option<bool>,
    /// Whether objects are replaced instead of patched.
    pub force: Option<bool>,
    /// Whether values of the last release stay where these do not say otherwise.
    pub preserve_values: Option<bool>,
    /// Whether new objects of a failed upgrade are deleted.
    pub cleanup_on_fail: Option<bool>,
    /// What is done with definitions of the chart's `crds/`; `Skip` by default.
    pub crds: Option<CrdsPolicy>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a failed upgrade is remedied.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradeRemediation {
    /// How often it is tried again; below zero, for ever.
    pub retries: Option<i64>,
    /// Whether failed tests do not count; as `test` has it by default.
    pub ignore_test_failures: Option<bool>,
    /// Whether the last failure is remedied too; by default when there are retries.
    pub remediate_last_failure: Option<bool>,
    /// By what; `rollback` by default.
    pub strategy: Option<RemediationStrategy>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How it is tested.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Test {
    /// Whether Helm's tests run after an install or upgrade.
    pub enable: Option<bool>,
    /// How long each may take; that of the `HelmRelease` by default.
    pub timeout: Option<GoDuration>,
    /// Whether failed tests do not count.
    pub ignore_failures: Option<bool>,
    /// Which tests run; all by default.
    pub filters: Option<Vec<Filter>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A test that runs, or that does not.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// The test's name.
    pub name: String,
    /// Whether it does not run.
    pub exclude: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How it is rolled back.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollback {
    /// How long it may take; that of the `HelmRelease` by default.
    pub timeout: Option<GoDuration>,
    /// Whether it ends before the objects are ready.
    pub disable_wait: Option<bool>,
    /// Whether it ends before Jobs are complete.
    pub disable_wait_for_jobs: Option<bool>,
    /// Whether hooks do not run.
    pub disable_hooks: Option<bool>,
    /// Whether pods are restarted.
    pub recreate: Option<bool>,
    /// Whether objects are replaced instead of patched.
    pub force: Option<bool>,
    /// Whether new objects of a failed rollback are deleted.
    pub cleanup_on_fail: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How it is uninstalled.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Uninstall {
    /// How long it may take; that of the `HelmRelease` by default.
    pub timeout: Option<GoDuration>,
    /// Whether hooks do not run.
    pub disable_hooks: Option<bool>,
    /// Whether Helm's records stay.
    pub keep_history: Option<bool>,
    /// Whether it ends before the objects are gone.
    pub disable_wait: Option<bool>,
    /// How what depends on the objects is deleted; `background` by default.
    pub deletion_propagation: Option<DeletionPropagation>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
