//! Whether a controller is there to answer.

use gitops_core::manifest::{GroupVersionKind, Object};
use gitops_kube::cluster::{ApiKind, Cluster as _, ListParams, Scope};
use jiff::Timestamp;
use serde_json::Value;

use crate::manager::{FluxManager, FluxRef};

/// The label by which controllers share objects (Flux 2.7).
const SHARD: &str = "sharding.fluxcd.io/key";
/// A Lease is fresh for so many of its own durations; clocks may differ a little.
const DURATIONS: i64 = 3;

/// What is known about the controller of an object that nobody has taken up.
pub(crate) struct Controller {
    /// Some replica of it has renewed its Lease lately.
    pub(crate) is_alive: bool,
    /// In words.
    pub(crate) says: String,
}

/// Looks for the Leases of an object's controller. Whoever may not read Leases learns nothing, which is said.
pub(crate) async fn look(manager: &FluxManager, object: &FluxRef, value: &Value) -> Controller {
    let controller = object.kind.controller();
    let kind = ApiKind {
        gvk: GroupVersionKind::new("coordination.k8s.io", "v1", "Lease"),
        plural: "leases".to_owned(),
        scope: Scope::Namespaced,
        verbs: Vec::new(),
    };
    let params = ListParams {
        namespace: Some(manager.options().namespace.clone()),
        ..ListParams::default()
    };
    let leases = match manager.cluster().list(&kind, &params).await {
        Ok(list) => list.items,
        Err(_) => Vec::new(),
    };
    // A shard's Lease has a digest of its label selector behind the name.
    let prefix = format!("{controller}-leader-election");
    let newest = leases
        .iter()
        .filter(|lease| lease.name().starts_with(&prefix))
        .filter_map(|lease| renewed(lease).map(|at| (at, lease)))
        .max_by_key(|(at, _)| *at);
    let is_alive = newest.is_some_and(|(at, lease)| is_fresh(at, lease, Timestamp::now()));
    let mut says = match &newest {
        Some((_, lease)) if is_alive => {
            format!(
                "{controller} runs (Lease {:?} is fresh), but has not taken it up",
                lease.name()
            )
        }
        Some((at, lease)) => format!(
            "no controller has taken it up: is {controller} running? Its Lease {:?} was renewed last at {at}",
            lease.name()
        ),
        None => format!("no controller has taken it up: is {controller} running?"),
    };
    says.push_str(&format!(" Does it watch namespace {}?", object.namespace));
    if let Some(key) = value["metadata"]["labels"][SHARD].as_str() {
        says.push_str(&format!(
            " The object belongs to shard {key:?} (label {SHARD}): does that shard's controller run?"
        ));
    }
    Controller { is_alive, says }
}

fn renewed(lease: &Object) -> Option<Timestamp> {
    lease.pointer("/spec/renewTime")?.as_str()?.parse().ok()
}

fn is_fresh(renewed: Timestamp, lease: &Object, now: Timestamp) -> bool {
    let duration = lease
        .pointer("/spec/leaseDurationSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(15)
        .clamp(1, 3_600);
    now.as_second().saturating_sub(renewed.as_second()) <= duration * DURATIONS
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_is_fresh_for_a_while() {
        let lease = |spec: Value| {
            Object::new(
                json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x", "namespace": "y"}, "spec": spec}),
                None,
            )
            .unwrap()
        };
        let now: Timestamp = "2025-01-02T03:05:00Z".parse().unwrap();
        let fresh =
            lease(json!({"leaseDurationSeconds": 35, "renewTime": "2025-01-02T03:04:00.000000Z"}));
        assert!(is_fresh(renewed(&fresh).unwrap(), &fresh, now));
        let stale =
            lease(json!({"leaseDurationSeconds": 15, "renewTime": "2025-01-02T03:04:00.000000Z"}));
        assert!(!is_fresh(renewed(&stale).unwrap(), &stale, now));
        assert!(renewed(&lease(json!({"renewTime": "soon"}))).is_none());
        assert!(renewed(&lease(json!({"leaseDurationSeconds": 15}))).is_none());
    }
}
