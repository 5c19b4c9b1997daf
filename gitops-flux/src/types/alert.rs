//! The kind `Alert`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::extra::Extra;
use super::resource::{flux_kind, suspendable};
use super::{CrossNamespaceObjectReference, EventSeverity, LocalObjectReference};

flux_kind! {
    /// Events of some objects, told to a `Provider`. It has no status since `v1beta3`.
    Alert(AlertSpec) {
        suspendable!();
    }
}

/// `spec` of an `Alert`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AlertSpec {
    /// The `Provider`.
    pub provider_ref: LocalObjectReference,
    /// How grave an event must be; `info` by default.
    pub event_severity: Option<EventSeverity>,
    /// Whose events.
    pub event_sources: Vec<CrossNamespaceObjectReference>,
    /// Regular expressions, one of which a message must match.
    pub inclusion_list: Option<Vec<String>>,
    /// What is said besides with each event; what the event says itself wins.
    pub event_metadata: Option<BTreeMap<String, String>>,
    /// Regular expressions, none of which a message may match.
    pub exclusion_list: Option<Vec<String>>,
    /// What it is about; out of use since `eventMetadata`.
    pub summary: Option<String>,
    /// Whether nothing is told.
    pub suspend: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
