//! What may be done to the applications of a set, and in which order.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::extra::Extra;

/// `syncPolicy` of a set.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetSyncPolicy {
    /// Keep what the applications deployed when they are deleted.
    pub preserve_resources_on_deletion: Option<bool>,
    /// `sync` (the default), `create-only`, `create-update`, `create-delete`.
    pub applications_sync: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `strategy` of a set.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetStrategy {
    /// `AllAtOnce` (the default), or `RollingSync`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The steps of `RollingSync`.
    pub rolling_sync: Option<SetRollingSync>,
    /// `AllAtOnce` (the default), or `Reverse`: the last step's applications are deleted first.
    pub deletion_order: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl SetStrategy {
    /// One step after the other.
    pub fn rolling(steps: impl IntoIterator<Item = SetRolloutStep>) -> Self {
        Self {
            kind: Some("RollingSync".to_owned()),
            rolling_sync: Some(SetRollingSync {
                steps: Some(steps.into_iter().collect()),
                ..SetRollingSync::default()
            }),
            ..Self::default()
        }
    }
}

/// `rollingSync`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetRollingSync {
    /// The steps, first to last.
    pub steps: Option<Vec<SetRolloutStep>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One step: the applications that all expressions select.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetRolloutStep {
    /// Which applications, by their labels.
    pub match_expressions: Option<Vec<SetMatchExpression>>,
    /// How many at a time: a number or a percentage; all by default.
    pub max_update: Option<IntOrString>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl SetRolloutStep {
    /// The applications whose label has one of these values.
    pub fn label_in(
        key: impl Into<String>,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            match_expressions: Some(vec![SetMatchExpression {
                key: Some(key.into()),
                operator: Some("In".to_owned()),
                values: Some(values.into_iter().map(Into::into).collect()),
                ..SetMatchExpression::default()
            }]),
            ..Self::default()
        }
    }

    /// Sets how many at a time.
    #[must_use]
    pub fn max_update(mut self, max: IntOrString) -> Self {
        self.max_update = Some(max);
        self
    }
}

/// One expression about a label.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetMatchExpression {
    /// The label.
    pub key: Option<String>,
    /// `In`, or `NotIn`.
    pub operator: Option<String>,
    /// The values.
    pub values: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `preservedFields`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PreservedFields {
    /// Annotations that are left as they are.
    pub annotations: Option<Vec<String>>,
    /// Labels that are left as they are.
    pub labels: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `ignoreApplicationDifferences`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetIgnoreDifferences {
    /// The application; all by default.
    pub name: Option<String>,
    /// JSON pointers.
    pub json_pointers: Option<Vec<String>>,
    /// jq path expressions.
    #[serde(rename = "jqPathExpressions")]
    pub jq_path_expressions: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
