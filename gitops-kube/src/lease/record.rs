//! A Lease as the API server has it.

use std::time::Duration;

use gitops_core::Result;
use gitops_core::manifest::{GroupVersionKind, Object};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::{ApiKind, Scope};

/// The label by which the Leases of one group of replicas are listed.
pub(super) const LABEL: &str = "gitops-rs.dev/leases";

/// The annotation that names the number of shards that the holder divides the applications into.
const SHARDS: &str = "gitops-rs.dev/shards";

/// The annotation with the news that the holder hands on.
const NEWS: &str = "gitops-rs.dev/news";

/// Leases: every API server serves them, so that no discovery is needed.
pub(super) fn kind() -> ApiKind {
    ApiKind {
        gvk: GroupVersionKind::new("coordination.k8s.io", "v1", "Lease"),
        plural: "leases".into(),
        scope: Scope::Namespaced,
        verbs: Vec::new(),
    }
}

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) holder: String,
    pub(super) duration: Duration,
    pub(super) acquired: String,
    pub(super) transitions: i64,
    /// Changes with every write.
    pub(super) version: String,
    pub(super) uid: String,
    /// Into how many shards the holder divides the applications, if it says so.
    pub(super) shards: Option<u32>,
    /// What the holder hands on.
    pub(super) news: String,
}

impl Record {
    pub(super) fn read(object: &Object) -> Self {
        let field = |part: &str, name: &str| object.value().get(part)?.get(name);
        let text = |part, name| {
            let text = field(part, name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let annotation = |name: &str| field("metadata", "annotations")?.get(name)?.as_str();
        let number = |name| field("spec", name).and_then(Value::as_i64);
        let seconds = number("leaseDurationSeconds").and_then(|n| u64::try_from(n).ok());
        Self {
            name: text("metadata", "name"),
            holder: text("spec", "holderIdentity"),
            duration: Duration::from_secs(seconds.unwrap_or_default()),
            acquired: text("spec", "acquireTime"),
            transitions: number("leaseTransitions").unwrap_or_default(),
            version: text("metadata", "resourceVersion"),
            uid: text("metadata", "uid"),
            shards: annotation(SHARDS).and_then(|text| text.parse().ok()),
            news: annotation(NEWS).unwrap_or_default().to_owned(),
        }
    }
}

/// What a Lease is to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Says<'a> {
    /// Nobody when it is empty.
    pub(super) holder: &'a str,
    pub(super) duration: Duration,
    pub(super) shards: u32,
    pub(super) news: Option<&'a str>,
}

/// What is to be written: a new Lease, or in place of the one that `before` says.
pub(super) fn write(
    place: (&str, &str, &str),
    before: Option<&Record>,
    says: &Says<'_>,
) -> Result<Object> {
    let Says {
        holder,
        duration,
        shards,
        news,
    } = *says;
    let (namespace, group, name) = place;
    let now = format!("{:.6}", Timestamp::now());
    let same = before.filter(|before| before.holder == holder && !before.acquired.is_empty());
    let acquired = same.map_or(now.as_str(), |before| before.acquired.as_str());
    let transitions = match (before, same) {
        (Some(before), Some(_)) => before.transitions,
        // Letting go is no transition; the next holder is.
        (Some(before), None) if holder.is_empty() => before.transitions,
        (Some(before), None) => before.transitions.saturating_add(1),
        (None, _) => 0,
    };
    // A duration of less than a second is no valid Lease.
    let seconds = duration.as_secs_f64().ceil().max(1.0);
    let mut value = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": namespace, "name": name, "labels": {LABEL: group}, "annotations": {SHARDS: shards.to_string()}},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds as i64,
            "acquireTime": acquired,
            "renewTime": now,
            "leaseTransitions": transitions,
        },
    });
    if let Some(news) = news {
        value["metadata"]["annotations"][NEWS] = news.into();
    }
    if let Some(before) = before {
        value["metadata"]["resourceVersion"] = before.version.as_str().into();
    }
    Object::new(value, None)
}
