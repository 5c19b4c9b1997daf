//! The controllers: what happens in a cluster by itself.

mod cluster;
mod deployment;
mod job;
mod owned;
mod pods;
mod simple;
mod stateful;

pub(super) use self::cluster::definition_of;

use gitops_core::manifest::{GroupKind, ObjectId};
use serde_json::{Value, json};

use super::delete;
use super::state::{State, Task, is_terminating, owners, text};
use super::write;

/// The namespaces and nodes that are there from the beginning.
pub(super) fn boot(state: &mut State) {
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let id = ObjectId::new("", "Namespace", "", namespace);
        let value =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        write::internal(state, &id, value, "");
    }
    for number in 1..=state.options.nodes {
        let name = format!("node-{number}");
        let id = ObjectId::new("", "Node", "", name.as_str());
        let value = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        });
        write::internal(state, &id, value, "");
        let condition = json!({"type": "Ready", "status": "True", "reason": "KubeletReady"});
        write::set_status(state, &id, json!({"conditions": [condition]}));
    }
}

/// Notes what has to be looked at after a write.
pub(super) fn changed(
    state: &mut State,
    id: &ObjectId,
    before: Option<&Value>,
    after: Option<&Value>,
) {
    let soon = state.soon();
    match after {
        Some(after) => {
            if is_controlled(id) || is_terminating(after) {
                state.schedule(Task::Reconcile(id.clone()), soon);
            }
        }
        None => {
            // The last of a namespace's or a definition's objects lets those go.
            if !id.namespace.is_empty() {
                let namespace = ObjectId::new("", "Namespace", "", id.namespace.as_str());
                wake_terminating(state, namespace);
            }
            if id.group.is_empty() && id.kind == "Pod" {
                let claims: Vec<ObjectId> = state
                    .of_kind(
                        &GroupKind::new("", "PersistentVolumeClaim"),
                        Some(&id.namespace),
                    )
                    .map(|(id, _)| id.clone())
                    .collect();
                for claim in claims {
                    wake_terminating(state, claim);
                }
            }
            if let Some(definition) = cluster::definition_of(state, id) {
                wake_terminating(state, definition);
            }
        }
    }
    if id.group.is_empty() && id.kind == "Node" && before.is_some() != after.is_some() {
        for kind in [
            GroupKind::new("apps", "DaemonSet"),
            GroupKind::new("", "Pod"),
        ] {
            let found: Vec<ObjectId> = state
                .of_kind(&kind, None)
                .map(|(id, _)| id.clone())
                .collect();
            for id in found {
                state.schedule(Task::Reconcile(id), soon);
            }
        }
    }
    // What changes in a dependent is of interest to its owners.
    for owner in before.into_iter().chain(after).flat_map(owners) {
        if let Some(owner) = state.by_uid(text(owner, "/uid")).cloned() {
            state.schedule(Task::Reconcile(owner), soon);
        }
    }
}

fn wake_terminating(state: &mut State, id: ObjectId) {
    if state.get(&id).is_some_and(|value| is_terminating(value)) {
        state.schedule(Task::Reconcile(id), state.soon());
    }
}

fn is_controlled(id: &ObjectId) -> bool {
    matches!(
        (&*id.group, &*id.kind),
        ("apiextensions.k8s.io", "CustomResourceDefinition")
            | (
                "",
                "Namespace" | "Pod" | "ReplicationController" | "PersistentVolumeClaim" | "Service"
            )
            | (
                "apps",
                "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet"
            )
            | ("batch", "Job")
            | ("networking.k8s.io", "Ingress")
            | ("policy", "PodDisruptionBudget")
            | ("autoscaling", "HorizontalPodAutoscaler")
            | ("apiregistration.k8s.io", "APIService")
    )
}

/// Brings one object's surroundings to what it asks for.
pub(super) fn reconcile(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    if is_terminating(&live) {
        delete::finalize(state, id);
    }
    match (&*id.group, &*id.kind) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => cluster::definition(state, id),
        ("", "Namespace") => cluster::namespace(state, id),
        ("", "Pod") => pods::reconcile(state, id),
        ("", "ReplicationController") | ("apps", "ReplicaSet") => {
            deployment::replica_set(state, id);
        }
        ("apps", "Deployment") => deployment::deployment(state, id),
        ("apps", "StatefulSet") => stateful::stateful_set(state, id),
        ("apps", "DaemonSet") => stateful::daemon_set(state, id),
        ("batch", "Job") => job::job(state, id),
        ("", "PersistentVolumeClaim") => simple::claim(state, id),
        ("", "PersistentVolume") => simple::volume(state, id),
        ("", "Service") | ("networking.k8s.io", "Ingress") => simple::address(state, id),
        ("policy", "PodDisruptionBudget") => simple::disruption_budget(state, id),
        ("autoscaling", "HorizontalPodAutoscaler") => simple::autoscaler(state, id),
        ("apiregistration.k8s.io", "APIService") => simple::api_service(state, id),
        _ => {}
    }
}

/// Sets a condition; its transition time changes with its status only.
fn condition(status: &mut Value, now: &str, kind: &str, is: &str, reason: &str, message: &str) {
    if !status.is_object() {
        *status = json!({});
    }
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    let found = conditions
        .iter_mut()
        .find(|condition| condition["type"] == kind);
    match found {
        Some(condition) => {
            if condition["status"] != is {
                condition["lastTransitionTime"] = now.into();
            }
            condition["status"] = is.into();
        }
        None => {
            conditions.push(json!({"type": kind, "status": is, "lastTransitionTime": now}));
        }
    }
    let set = conditions
        .iter_mut()
        .find(|condition| condition["type"] == kind)
        .and_then(Value::as_object_mut);
    if let Some(set) = set {
        for (field, value) in [("reason", reason), ("message", message)] {
            if value.is_empty() {
                set.remove(field);
            } else {
                set.insert(field.to_owned(), value.into());
            }
        }
    }
}

/// Gives every condition that has none yet another time: when its transition was.
fn also_at(status: &mut Value, field: &str) {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        if condition[field].is_null() {
            condition[field] = condition["lastTransitionTime"].clone();
        }
    }
}
