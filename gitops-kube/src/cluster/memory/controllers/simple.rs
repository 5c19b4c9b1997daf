//! Controllers that only tell that all is well: claims, addresses, disruption budgets, autoscalers, API services.

use gitops_core::manifest::{GroupKind, ObjectId};
use serde_json::{Value, json};

use super::condition;
use super::pods::is_over;
use crate::cluster::memory::defaults::{CLAIM_PROTECTION, VOLUME_PROTECTION};
use crate::cluster::memory::delete;
use crate::cluster::memory::state::{State, is_terminating, text};
use crate::cluster::memory::write;

/// A claim is bound to a volume of its own (as by a dynamic provisioner; the volume itself is not there).
pub(super) fn claim(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    if is_terminating(&live) {
        let uses = |pod: &Value| {
            !is_over(pod)
                && pod["spec"]["volumes"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|volume| volume["persistentVolumeClaim"]["claimName"] == id.name.as_str())
        };
        let used = state
            .of_kind(&GroupKind::new("", "Pod"), Some(&id.namespace))
            .any(|(_, pod)| uses(pod));
        if !used {
            delete::release(state, id, CLAIM_PROTECTION);
        }
        return;
    }
    if text(&live, "/spec/volumeName").is_empty() {
        let mut bound = (*live).clone();
        bound["spec"]["volumeName"] = format!("pvc-{}", text(&live, "/metadata/uid")).into();
        write::internal(state, id, bound, "");
    }
    let mut status = json!({"phase": "Bound", "accessModes": live["spec"]["accessModes"]});
    let request = &live["spec"]["resources"]["requests"]["storage"];
    if !request.is_null() {
        status["capacity"] = json!({"storage": request});
    }
    write::set_status(state, id, status);
}

/// A volume that is being deleted goes: none is ever bound here.
pub(super) fn volume(state: &mut State, id: &ObjectId) {
    if state.get(id).is_some_and(|live| is_terminating(live)) {
        delete::release(state, id, VOLUME_PROTECTION);
    }
}

/// A load balancer's or an ingress controller's address (TEST-NET-3).
pub(super) fn address(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    let wanted = state.options.load_balancers
        && !is_terminating(&live)
        && (id.kind == "Ingress" || text(&live, "/spec/type") == "LoadBalancer");
    let known = live
        .pointer("/status/loadBalancer/ingress")
        .is_some_and(Value::is_array);
    if wanted == known {
        return;
    }
    let mut status = live["status"].clone();
    status["loadBalancer"] = json!({});
    if wanted {
        let number = 1 + state.random() % 254;
        let mut ingress = json!({"ip": format!("203.0.113.{number}")});
        if id.kind == "Service" {
            ingress["ipMode"] = "VIP".into();
        }
        status["loadBalancer"]["ingress"] = json!([ingress]);
    }
    write::set_status(state, id, status);
}

pub(super) fn disruption_budget(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    let mut status = live["status"].clone();
    status["observedGeneration"] = live["metadata"]["generation"].clone();
    for (field, count) in [
        ("disruptionsAllowed", 1),
        ("currentHealthy", 1),
        ("desiredHealthy", 0),
        ("expectedPods", 1),
    ] {
        status[field] = count.into();
    }
    let now = state.timestamp();
    condition(
        &mut status,
        &now,
        "DisruptionAllowed",
        "True",
        "SufficientPods",
        "",
    );
    write::set_status(state, id, status);
}

pub(super) fn autoscaler(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    let mut status = live["status"].clone();
    let replicas = live["spec"]["minReplicas"].as_u64().unwrap_or(1);
    status["currentReplicas"] = replicas.into();
    status["desiredReplicas"] = replicas.into();
    let now = state.timestamp();
    for (kind, is, reason) in [
        ("AbleToScale", "True", "ReadyForNewScale"),
        ("ScalingActive", "True", "ValidMetricFound"),
        ("ScalingLimited", "False", "DesiredWithinRange"),
    ] {
        condition(&mut status, &now, kind, is, reason, "");
    }
    if live["apiVersion"] == "autoscaling/v1"
        && let Some(status) = status.as_object_mut()
    {
        status.remove("conditions");
    }
    write::set_status(state, id, status);
}

pub(super) fn api_service(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    let mut status = live["status"].clone();
    let now = state.timestamp();
    condition(
        &mut status,
        &now,
        "Available",
        "True",
        "Passed",
        "all checks passed",
    );
    write::set_status(state, id, status);
}
