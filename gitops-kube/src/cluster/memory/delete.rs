//! Deletion: preconditions, finalizers, propagation, and the garbage collector (kube-controller-manager,
//! `pkg/controller/garbagecollector`).

use std::sync::Arc;

use gitops_core::backend::Propagation;
use gitops_core::manifest::ObjectId;
use gitops_core::{Error, Result};
use serde_json::{Value, json};

use super::kinds::Kind;
use super::messages;
use super::state::{State, Task, finalizers, is_terminating, owners, text};
use crate::cluster::DeleteParams;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// Holds a definition until its objects are gone.
pub(super) const CUSTOM_RESOURCES: &str = "customresourcecleanup.apiextensions.k8s.io";

/// `DELETE`.
pub(super) fn delete(
    state: &mut State,
    kind: &Kind,
    id: &ObjectId,
    params: &DeleteParams,
) -> Result<()> {
    let Some(live) = state.get(id).cloned() else {
        return Err(messages::not_found(kind, &id.name));
    };
    for (what, wanted, pointer) in [
        ("UID", &params.uid, "/metadata/uid"),
        (
            "ResourceVersion",
            &params.resource_version,
            "/metadata/resourceVersion",
        ),
    ] {
        let found = text(&live, pointer);
        if let Some(wanted) = wanted
            && wanted != found
        {
            return Err(Error::conflict(format!(
                "{}: Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}",
                messages::modified(kind, &id.name)
            )));
        }
    }
    if kind.api.gvk.kind == "Namespace"
        && kind.api.gvk.group.is_empty()
        && matches!(&*id.name, "default" | "kube-system" | "kube-public")
    {
        return Err(Error::permission_denied(format!(
            "{} is forbidden: this namespace may not be deleted",
            messages::quoted(kind, &id.name)
        )));
    }
    if params.dry_run {
        return Ok(());
    }
    begin(state, id, &live, params.propagation);
    Ok(())
}

/// Begins to delete an object; it is gone at once where nothing holds it.
pub(super) fn begin(
    state: &mut State,
    id: &ObjectId,
    live: &Arc<Value>,
    propagation: Option<Propagation>,
) {
    // For compatibility, Jobs and ReplicationControllers leave their dependents when nothing is said.
    let propagation = propagation.unwrap_or(match (&*id.group, &*id.kind) {
        ("batch", "Job") | ("", "ReplicationController") => Propagation::Orphan,
        _ => Propagation::Background,
    });
    let mut held: Vec<String> = finalizers(live).into_iter().map(str::to_owned).collect();
    held.retain(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN);
    match propagation {
        Propagation::Foreground => held.push(FOREGROUND.into()),
        Propagation::Orphan => held.push(ORPHAN.into()),
        Propagation::Background => {}
    }
    if id.kind == "CustomResourceDefinition" && !held.iter().any(|held| held == CUSTOM_RESOURCES) {
        held.push(CUSTOM_RESOURCES.into());
    }
    let content = id.kind == "Namespace" && id.group.is_empty();
    if held.is_empty() && !content {
        state.remove(id);
        return;
    }
    let mut new = (**live).clone();
    new["metadata"]["finalizers"] = held.into();
    if new["metadata"]["finalizers"] == json!([])
        && let Some(metadata) = new["metadata"].as_object_mut()
    {
        metadata.remove("finalizers");
    }
    if !is_terminating(live) {
        new["metadata"]["deletionTimestamp"] = state.timestamp().into();
        new["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        if let Some(generation) = new["metadata"]["generation"].as_i64() {
            new["metadata"]["generation"] = (generation + 1).into();
        }
        if content {
            new["status"]["phase"] = "Terminating".into();
        }
    }
    if new != **live {
        state.put(id, new);
    }
    state.schedule(Task::Reconcile(id.clone()), state.soon());
}

/// Does what the finalizers of the garbage collector stand for.
pub(super) fn finalize(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned().filter(|live| is_terminating(live)) else {
        return;
    };
    let held = finalizers(&live);
    let uid = text(&live, "/metadata/uid").to_owned();
    if held.contains(&ORPHAN) {
        for dependent in state.dependents(&uid) {
            disown(state, &dependent, &uid);
        }
        release(state, id, ORPHAN);
    } else if held.contains(&FOREGROUND) {
        let mut blocked = false;
        for dependent in state.dependents(&uid) {
            let Some(value) = state.get(&dependent).cloned() else {
                continue;
            };
            blocked |= owners(&value)
                .any(|owner| text(owner, "/uid") == uid && owner["blockOwnerDeletion"] == true);
            if !is_terminating(&value) {
                if solid_owner(state, &value, &uid) {
                    disown(state, &dependent, &uid);
                } else {
                    begin(state, &dependent, &value, Some(Propagation::Foreground));
                }
            }
        }
        if !blocked || state.dependents(&uid).is_empty() {
            release(state, id, FOREGROUND);
        }
    }
}

/// Takes a finalizer off; with the last one the object goes.
pub(super) fn release(state: &mut State, id: &ObjectId, finalizer: &str) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    let left: Vec<String> = finalizers(&live)
        .into_iter()
        .filter(|held| *held != finalizer)
        .map(str::to_owned)
        .collect();
    let content = id.kind == "Namespace" && id.group.is_empty();
    if left.is_empty() && is_terminating(&live) && !content {
        state.remove(id);
        return;
    }
    let mut new = (*live).clone();
    if left.is_empty() {
        if let Some(metadata) = new["metadata"].as_object_mut() {
            metadata.remove("finalizers");
        }
    } else {
        new["metadata"]["finalizers"] = left.into();
    }
    if new != *live {
        state.put(id, new);
    }
}

/// Collects what a vanished owner leaves behind.
pub(super) fn collect(state: &mut State, uid: &str) {
    if state.by_uid(uid).is_some() {
        return;
    }
    for dependent in state.dependents(uid) {
        let Some(value) = state.get(&dependent).cloned() else {
            continue;
        };
        if solid_owner(state, &value, uid) {
            disown(state, &dependent, uid);
        } else if !is_terminating(&value) {
            begin(state, &dependent, &value, Some(Propagation::Background));
        }
    }
}

/// Whether another owner keeps the object.
fn solid_owner(state: &State, value: &Value, but: &str) -> bool {
    owners(value).any(|owner| {
        let uid = text(owner, "/uid");
        uid != but
            && state
                .by_uid(uid)
                .and_then(|id| state.get(id))
                .is_some_and(|owner| {
                    !is_terminating(owner) || !finalizers(owner).contains(&FOREGROUND)
                })
    })
}

fn disown(state: &mut State, id: &ObjectId, uid: &str) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    let mut new = (*live).clone();
    let Some(references) = new["metadata"]["ownerReferences"].as_array_mut() else {
        return;
    };
    references.retain(|owner| owner["uid"] != uid);
    if references.is_empty()
        && let Some(metadata) = new["metadata"].as_object_mut()
    {
        metadata.remove("ownerReferences");
    }
    state.note_orphan();
    super::write::internal(state, id, new, "");
}
