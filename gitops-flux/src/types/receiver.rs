//! The kind `Receiver`.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;
use super::resource::{at_intervals, flux_kind, handled, suspendable};
use super::{
    Condition, CrossNamespaceObjectReference, GoDuration, LocalObjectReference, ReceiverType,
};

flux_kind! {
    /// A webhook that reconciles some objects.
    Receiver(ReceiverSpec, ReceiverStatus) {
        handled!();
        suspendable!();
        at_intervals!();
    }
}

/// `spec` of a `Receiver`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReceiverSpec {
    /// Whose webhooks it takes.
    #[serde(rename = "type")]
    pub kind: ReceiverType,
    /// How often the Secret is read; 10 min by default.
    pub interval: Option<GoDuration>,
    /// Which events, in the sender's words; all by default.
    pub events: Option<Vec<String>>,
    /// What is reconciled.
    pub resources: Vec<CrossNamespaceObjectReference>,
    /// A CEL expression over each resource and the request, that says whether it is reconciled.
    pub resource_filter: Option<String>,
    /// The Secret with the token, under `token`.
    pub secret_ref: LocalObjectReference,
    /// Whether nothing is taken.
    pub suspend: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `status` of a `Receiver`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReceiverStatus {
    /// The last request that was taken up.
    pub last_handled_reconcile_at: Option<String>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// Its path: `/hook/<SHA-256 of token, name and namespace>`.
    pub webhook_path: Option<String>,
    /// The generation that was reconciled last.
    pub observed_generation: Option<i64>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
