//! Namespaces (kube-controller-manager, `pkg/controller/namespace`) and definitions of custom kinds (apiextensions-apiserver,
//! `pkg/controller`).

use gitops_core::backend::Propagation;
use gitops_core::manifest::{GroupKind, ObjectId};
use serde_json::{Value, json};

use super::condition;
use crate::cluster::memory::delete;
use crate::cluster::memory::state::{State, finalizers, is_terminating, text};
use crate::cluster::memory::write;

pub(super) fn namespace(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    if !is_terminating(&live) {
        furnish(state, &id.name);
        return;
    }
    let mut left: Vec<ObjectId> = Vec::new();
    for kind in state.kinds.namespaced() {
        left.extend(
            state
                .of_kind(&kind, Some(&id.name))
                .map(|(id, _)| id.clone()),
        );
    }
    let mut remaining: Vec<(ObjectId, Vec<String>)> = Vec::new();
    for object in left {
        let Some(value) = state.get(&object).cloned() else {
            continue;
        };
        if !is_terminating(&value) {
            delete::begin(state, &object, &value, Some(Propagation::Background));
        }
        if let Some(value) = state.get(&object) {
            let held = finalizers(value).into_iter().map(str::to_owned).collect();
            remaining.push((object, held));
        }
    }
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    if remaining.is_empty() {
        let mut new = (*live).clone();
        new["spec"]["finalizers"] = json!([]);
        if finalizers(&live).is_empty() {
            state.remove(id);
        } else if new != *live {
            state.put(id, new);
        }
        return;
    }
    let mut status = live["status"].clone();
    let mut kinds: Vec<String> = remaining
        .iter()
        .map(|(id, _)| id.group_kind().to_string())
        .collect();
    kinds.dedup();
    let now = state.timestamp();
    condition(
        &mut status,
        &now,
        "NamespaceContentRemaining",
        "True",
        "SomeResourcesRemain",
        &format!("Some resources are remaining: {}", kinds.join(", ")),
    );
    let mut held: Vec<&str> = remaining
        .iter()
        .flat_map(|(_, held)| held.iter().map(String::as_str))
        .collect();
    held.sort_unstable();
    held.dedup();
    if !held.is_empty() {
        condition(
            &mut status,
            &now,
            "NamespaceFinalizersRemaining",
            "True",
            "SomeFinalizersRemain",
            &format!(
                "Some content in the namespace has finalizers remaining: {}",
                held.join(", ")
            ),
        );
    }
    write::set_status(state, id, status);
}

/// What the service account and root CA controllers put into every namespace.
fn furnish(state: &mut State, namespace: &str) {
    let account = ObjectId::new("", "ServiceAccount", namespace, "default");
    if state.get(&account).is_none() {
        let value = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}});
        write::internal(state, &account, value, "");
    }
    let ca = ObjectId::new("", "ConfigMap", namespace, "kube-root-ca.crt");
    if state.get(&ca).is_none() {
        let value = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "kube-root-ca.crt", "namespace": namespace},
            "data": {"ca.crt": "the in-memory cluster has no certificate authority"},
        });
        write::internal(state, &ca, value, "");
    }
}

/// The definition of a custom object's kind.
pub(in crate::cluster::memory) fn definition_of(state: &State, id: &ObjectId) -> Option<ObjectId> {
    let kind = state.kinds.preferred(&id.group_kind())?;
    kind.openapi.as_ref()?;
    let name = format!("{}.{}", kind.api.plural, kind.api.gvk.group);
    Some(ObjectId::new(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "",
        name,
    ))
}

pub(super) fn definition(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    let kind = GroupKind::new(text(&live, "/spec/group"), text(&live, "/spec/names/kind"));
    if is_terminating(&live) {
        if !finalizers(&live).contains(&delete::CUSTOM_RESOURCES) {
            return;
        }
        let objects: Vec<ObjectId> = state
            .of_kind(&kind, None)
            .map(|(id, _)| id.clone())
            .collect();
        for object in objects {
            if let Some(value) = state.get(&object).cloned()
                && !is_terminating(&value)
            {
                delete::begin(state, &object, &value, Some(Propagation::Background));
            }
        }
        if state.of_kind(&kind, None).next().is_none() {
            state.kinds.undefine(&kind);
            delete::release(state, id, delete::CUSTOM_RESOURCES);
        } else {
            let mut status = live["status"].clone();
            let now = state.timestamp();
            condition(
                &mut status,
                &now,
                "Terminating",
                "True",
                "InstanceDeletionInProgress",
                "CustomResource deletion is in progress",
            );
            write::set_status(state, id, status);
        }
        return;
    }
    // Names that are taken are not accepted.
    let built_in = state
        .kinds
        .preferred(&kind)
        .is_some_and(|kind| kind.openapi.is_none());
    let other = definition_of(state, &ObjectId::new(&*kind.group, &*kind.kind, "", ""))
        .is_some_and(|other| other != *id);
    let mut status = live["status"].clone();
    let now = state.timestamp();
    if built_in || other {
        let message = format!("{:?} is already in use", kind.kind);
        condition(
            &mut status,
            &now,
            "NamesAccepted",
            "False",
            "KindConflict",
            &message,
        );
        condition(
            &mut status,
            &now,
            "Established",
            "False",
            "NotAccepted",
            "not all names are accepted",
        );
        write::set_status(state, id, status);
        return;
    }
    condition(
        &mut status,
        &now,
        "NamesAccepted",
        "True",
        "NoConflicts",
        "no conflicts found",
    );
    condition(
        &mut status,
        &now,
        "Established",
        "True",
        "InitialNamesAccepted",
        "the initial names have been accepted",
    );
    status["acceptedNames"] = live["spec"]["names"].clone();
    let mut stored: Vec<Value> = status["storedVersions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for version in live["spec"]["versions"].as_array().into_iter().flatten() {
        if version["storage"] == true && !stored.contains(&version["name"]) {
            stored.push(version["name"].clone());
        }
    }
    status["storedVersions"] = stored.into();
    state.kinds.define(&live);
    write::set_status(state, id, status);
}
