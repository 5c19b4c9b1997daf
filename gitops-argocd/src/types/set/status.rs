//! What became of a set.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::extra::{Extra, null_is_default};
use super::super::status::ResourceStatus;

/// `status` of a set.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationSetStatus {
    /// What a person should know.
    pub conditions: Option<Vec<SetCondition>>,
    /// How far each application is, with `RollingSync`.
    pub application_status: Option<Vec<SetApplicationStatus>>,
    /// The applications.
    pub resources: Option<Vec<ResourceStatus>>,
    /// How many applications there are; `resources` may be cut.
    pub resources_count: Option<i64>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `status.conditions`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetCondition {
    /// `ErrorOccurred`, `ParametersGenerated`, `ResourcesUpToDate`, `RolloutProgressing`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says.
    pub message: String,
    /// Since when.
    pub last_transition_time: Option<Time>,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Why, in a word.
    pub reason: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `status.applicationStatus`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetApplicationStatus {
    /// The application.
    pub application: String,
    /// Since when.
    pub last_transition_time: Option<Time>,
    /// Why, for people.
    pub message: String,
    /// `Waiting`, `Pending`, `Progressing`, `Healthy`.
    pub status: String,
    /// The step it belongs to, a number as text.
    pub step: String,
    /// The revisions it should be synced to.
    #[serde(deserialize_with = "null_is_default")]
    pub target_revisions: Vec<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
