//! What workload controllers share: the objects that they own.

use std::sync::Arc;

use gitops_core::manifest::{GroupKind, Object, ObjectId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::pods;
use crate::cluster::memory::selector::Labels;
use crate::cluster::memory::state::{State, is_terminating, owners, safe_char, text};
use crate::cluster::memory::{delete, write};
use crate::health;

/// An object with its identity.
pub(super) type Owned = (ObjectId, Arc<Value>);

/// The owner reference of a controller.
pub(super) fn reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// The objects of a kind that `owner` controls and that are not being deleted. Orphans that its selector matches are adopted.
pub(super) fn controlled(state: &mut State, owner: &Value, kind: &str) -> Vec<Owned> {
    let uid = text(owner, "/metadata/uid");
    if state.has_orphans() {
        adopt(state, owner, kind);
    }
    let mut found = Vec::new();
    for id in state.dependents(uid) {
        if id.kind != kind {
            continue;
        }
        let Some(value) = state.get(&id) else {
            continue;
        };
        let mine = owners(value).any(|owner| owner["uid"] == uid && owner["controller"] == true);
        if mine && !is_terminating(value) {
            found.push((id, value.clone()));
        }
    }
    found
}

fn adopt(state: &mut State, owner: &Value, kind: &str) {
    let selector = Object::new(owner.clone(), None)
        .ok()
        .and_then(|owner| health::pods::selector(&owner));
    let Some(Ok(selector)) = selector.map(|selector| Labels::parse(&selector)) else {
        return;
    };
    let group = if kind == "Pod" { "" } else { "apps" };
    let orphans: Vec<Owned> = state
        .of_kind(
            &GroupKind::new(group, kind),
            Some(text(owner, "/metadata/namespace")),
        )
        .filter(|(_, value)| {
            selector.matches(value)
                && !is_terminating(value)
                && owners(value).all(|owner| owner["controller"] != true)
        })
        .map(|(id, value)| (id.clone(), value.clone()))
        .collect();
    for (id, value) in orphans {
        let mut new = (*value).clone();
        let mut references: Vec<Value> = owners(&value).cloned().collect();
        references.push(reference(owner));
        new["metadata"]["ownerReferences"] = references.into();
        write::internal(state, &id, new, "");
    }
}

/// Makes a pod from a workload's template.
pub(super) fn make_pod(
    state: &mut State,
    owner: &Value,
    name: &str,
    labels: &[(&str, &str)],
    change: impl FnOnce(&mut Value),
) {
    let namespace = text(owner, "/metadata/namespace");
    let template = &owner["spec"]["template"];
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace,
            "ownerReferences": [reference(owner)],
        },
        "spec": template["spec"],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field) {
            pod["metadata"][field] = value.clone();
        }
    }
    for (label, value) in labels {
        pod["metadata"]["labels"][*label] = (*value).into();
    }
    change(&mut pod);
    write::internal(state, &ObjectId::new("", "Pod", namespace, name), pod, "");
}

/// Deletes what a controller has no use for any more.
pub(super) fn discard(state: &mut State, object: &Owned) {
    if let Some(live) = state.get(&object.0).cloned() {
        delete::begin(state, &object.0, &live, None);
    }
}

/// How many of the pods are ready.
pub(super) fn ready(pods: &[Owned]) -> usize {
    pods.iter().filter(|(_, pod)| pods::is_ready(pod)).count()
}

/// The number at a JSON pointer.
pub(super) fn count(value: &Value, pointer: &str, default: usize) -> usize {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(default)
}

/// A short name for a template.
pub(super) fn hash(template: &Value) -> String {
    let mut hasher = Sha256::new();
    feed(&mut hasher, template);
    hasher
        .finalize()
        .iter()
        .take(10)
        .map(|byte| safe_char(u64::from(*byte)))
        .collect()
}

/// Feeds a value in an order that does not depend on how its maps are kept.
fn feed(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            hasher.update(b"{");
            for (name, value) in entries {
                hasher.update(name.as_bytes());
                hasher.update(b"\0");
                feed(hasher, value);
            }
            hasher.update(b"}");
        }
        Value::Array(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| feed(hasher, item));
            hasher.update(b"]");
        }
        scalar => {
            hasher.update(scalar.to_string().as_bytes());
            hasher.update(b"\0");
        }
    }
}

/// Puts counts into a status; zeros are left out, as Go's `omitempty` does.
pub(super) fn counts(status: &mut Value, values: &[(&str, usize)]) {
    for (name, count) in values {
        if *count > 0 {
            status[*name] = (*count).into();
        } else if let Some(status) = status.as_object_mut() {
            status.remove(*name);
        }
    }
}
