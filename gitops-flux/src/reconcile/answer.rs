//! Whether a controller is there to answer.

use gitops_core::Result;
use gitops_core::manifest::Object;
use gitops_kube::cluster::{Cluster as _, ListParams, Scope};
use jiff::Timestamp;
use serde_json::Value;

use crate::manager::{FluxManager, FluxRef};
use crate::view::{self, line};

/// The label by which controllers share objects (Flux 2.7).
const SHARD: &str = "sharding.fluxcd.io/key";
/// A Lease is fresh for so many of its own durations; clocks may differ a little.
const DURATIONS: i64 = 3;

/// What is known about the controller of an object that nobody has taken up, each in words.
pub(crate) enum Controller {
    /// Some replica of it has renewed its Lease lately: it may be busy.
    Alive(String),
    /// Leases could be read, and none of them is fresh.
    Absent(String),
    /// Leases could not be read: whether it runs is not known.
    Unknown(String),
}

impl Controller {
    /// What is known, in words.
    pub(crate) fn says(&self) -> &str {
        match self {
            Self::Alive(says) | Self::Absent(says) | Self::Unknown(says) => says,
        }
    }
}

/// Looks for the Leases of an object's controller.
pub(crate) async fn look(manager: &FluxManager, object: &FluxRef, value: &Value) -> Controller {
    let kind = view::native("coordination.k8s.io", "Lease", "leases", Scope::Namespaced);
    let namespace = &manager.options().flux_namespace;
    let params = ListParams {
        namespace: Some(namespace.clone()),
        ..ListParams::default()
    };
    let leases = manager.cluster().list(&kind, &params).await;
    judge(leases.map(|list| list.items), namespace, object, value)
}

fn judge(
    leases: Result<Vec<Object>>,
    namespace: &str,
    object: &FluxRef,
    value: &Value,
) -> Controller {
    let controller = object.kind.controller();
    let mut hints = format!(" Does it watch namespace {}?", object.namespace);
    if let Some(key) = value["metadata"]["labels"][SHARD].as_str() {
        hints.push_str(&format!(
            " The object belongs to shard {key:?} (label {SHARD}): does that shard's controller run?"
        ));
    }
    let leases = match leases {
        Ok(leases) => leases,
        Err(error) => {
            return Controller::Unknown(format!(
                "no controller has taken it up, and whether {controller} runs is not known, since Leases cannot be read: {}.{hints}",
                line(&error.to_string())
            ));
        }
    };
    // A shard's Lease has a digest of its label selector behind the name.
    let prefix = format!("{controller}-leader-election");
    let newest = leases
        .iter()
        .filter(|lease| lease.name().starts_with(&prefix))
        .filter_map(|lease| renewed(lease).map(|at| (at, lease)))
        .max_by_key(|(at, _)| *at);
    match newest {
        Some((at, lease)) if is_fresh(at, lease, Timestamp::now()) => Controller::Alive(format!(
            "{controller} runs (Lease {:?} is fresh), but has not taken it up.{hints}",
            lease.name()
        )),
        Some((at, lease)) => Controller::Absent(format!(
            "no controller has taken it up: is {controller} running? Its Lease {:?} was renewed last at {at}.{hints}",
            lease.name()
        )),
        None => Controller::Absent(format!(
            "no controller has taken it up: is {controller} running? Namespace {namespace} has no Lease of it.{hints}"
        )),
    }
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
    use gitops_core::Error;
    use serde_json::json;

    use super::*;
    use crate::FluxKind;

    fn lease(spec: Value) -> Object {
        Object::new(
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "kustomize-controller-leader-election", "namespace": "flux-system"},
                "spec": spec,
            }),
            None,
        )
        .unwrap()
    }

    #[test]
    fn a_lease_that_cannot_be_read_is_not_one_that_is_missing() {
        let object = FluxRef::new(FluxKind::Kustomization, "apps", "app");
        let sharded = json!({"metadata": {"labels": {SHARD: "one"}}});
        let judge = |leases| judge(leases, "flux-system", &object, &sharded);

        let forbidden = judge(Err(Error::new(
            gitops_core::ErrorKind::PermissionDenied,
            "alice cannot\u{1b}list leases",
        )));
        assert!(matches!(forbidden, Controller::Unknown(_)));
        for part in [
            "is not known",
            "alice cannot\\u{1b}list leases",
            "apps",
            "shard \"one\"",
        ] {
            assert!(forbidden.says().contains(part), "{}", forbidden.says());
        }
        let absent = judge(Ok(Vec::new()));
        assert!(matches!(absent, Controller::Absent(_)));
        let where_looked =
            "Namespace flux-system has no Lease of it. Does it watch namespace apps?";
        assert!(absent.says().contains(where_looked), "{}", absent.says());
        let at = |renewed: Timestamp| {
            lease(json!({"leaseDurationSeconds": 15, "renewTime": format!("{renewed:.6}")}))
        };
        let now = Timestamp::now();
        let alive = judge(Ok(vec![at(Timestamp::UNIX_EPOCH), at(now)]));
        assert!(matches!(alive, Controller::Alive(_)), "{}", alive.says());
        let stale = judge(Ok(vec![at(Timestamp::UNIX_EPOCH)]));
        assert!(matches!(stale, Controller::Absent(_)), "{}", stale.says());
        assert!(stale.says().contains("1970"), "{}", stale.says());
    }

    #[test]
    fn a_lease_is_fresh_for_a_while() {
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
