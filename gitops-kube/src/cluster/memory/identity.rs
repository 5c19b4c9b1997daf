//! What a write may not choose: identity, versions, what only the server sets, and what the live object keeps.

use gitops_core::manifest::{GroupVersionKind, ObjectId};
use gitops_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::managed;
use super::messages;
use super::state::text;

/// The identity under which a body is stored, checked against the request.
pub(super) fn identity(kind: &Kind, body: &Value, namespace: &str, name: &str) -> Result<ObjectId> {
    let gvk = GroupVersionKind::from_api_version(text(body, "/apiVersion"), text(body, "/kind"));
    if gvk.kind != kind.api.gvk.kind {
        return Err(Error::invalid(format!(
            "{} in version {:?} cannot be handled as a {}",
            gvk.kind,
            gvk.api_version(),
            kind.api.gvk.kind
        )));
    }
    if gvk != kind.api.gvk {
        return Err(Error::invalid(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            gvk.api_version(),
            kind.api.gvk.api_version()
        )));
    }
    let namespace = if kind.api.is_namespaced() {
        if namespace.is_empty() {
            return Err(Error::invalid(format!(
                "{} is namespaced, and no namespace is named",
                kind.api.group_kind()
            )));
        }
        namespace
    } else {
        ""
    };
    for part in [namespace, name] {
        path_segment(part)?;
    }
    Ok(ObjectId::new(
        kind.api.gvk.group.as_str(),
        kind.api.gvk.kind.as_str(),
        namespace,
        name,
    ))
}

/// apimachinery, `IsValidPathSegmentName`.
pub(super) fn path_segment(part: &str) -> Result<()> {
    if part == "."
        || part == ".."
        || part.contains(['/', '%', '?', '#', '\\'])
        || part.contains(char::is_whitespace)
    {
        return Err(Error::invalid(format!(
            "{part:?} cannot be part of an object's name"
        )));
    }
    Ok(())
}

/// Refuses a `PUT` that names another version or UID than the live ones: both are preconditions.
pub(super) fn check_put(kind: &Kind, id: &ObjectId, live: &Value, new: &Value) -> Result<()> {
    let uid = text(new, "/metadata/uid");
    if !uid.is_empty() && uid != text(live, "/metadata/uid") {
        return Err(Error::conflict(format!(
            "{}: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            messages::modified(kind, &id.name),
            text(live, "/metadata/uid")
        )));
    }
    check_version(kind, id, live, new)
}

/// Refuses a patch or apply that names another version or UID than the live ones: of these only the version is a precondition
/// (apiserver, `pkg/endpoints/handlers/patch.go`), and the UID an immutable field (apimachinery, `ValidateObjectMetaAccessorUpdate`).
pub(super) fn check_patch(kind: &Kind, id: &ObjectId, live: &Value, new: &Value) -> Result<()> {
    check_version(kind, id, live, new)?;
    let uid = text(new, "/metadata/uid");
    if !uid.is_empty() && uid != text(live, "/metadata/uid") {
        return Err(messages::invalid(
            kind,
            &id.name,
            &[format!(
                "metadata.uid: Invalid value: {uid:?}: field is immutable"
            )],
        ));
    }
    Ok(())
}

fn check_version(kind: &Kind, id: &ObjectId, live: &Value, new: &Value) -> Result<()> {
    let version = text(new, "/metadata/resourceVersion");
    if !version.is_empty() && version != text(live, "/metadata/resourceVersion") {
        return Err(Error::conflict(format!(
            "{}: the object has been modified; please apply your changes to the latest version and try again",
            messages::modified(kind, &id.name)
        )));
    }
    Ok(())
}

/// Takes out of a new object what only the server sets.
pub(super) fn clean_new(kind: &Kind, new: &mut Value) {
    managed::drop_nulls(new);
    if let Some(metadata) = new["metadata"].as_object_mut() {
        for field in SERVERS {
            metadata.remove(field);
        }
    }
    if kind.status
        && let Some(map) = new.as_object_mut()
    {
        map.remove("status");
    }
}

/// What only the server sets in `metadata`.
const SERVERS: [&str; 7] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// Takes from the live object what this write cannot change.
pub(super) fn carry_over(kind: &Kind, live: &Value, new: &mut Value, subresource: &str) {
    new["apiVersion"] = kind.api.gvk.api_version().into();
    new["kind"] = kind.api.gvk.kind.as_str().into();
    if kind.status && subresource == "status" {
        let status = new["status"].take();
        let mut kept = live.clone();
        kept["apiVersion"] = new["apiVersion"].take();
        kept["status"] = status;
        *new = kept;
    } else if kind.status {
        match live.get("status") {
            Some(status) => new["status"] = status.clone(),
            None => {
                if let Some(map) = new.as_object_mut() {
                    map.remove("status");
                }
            }
        }
    }
    if !new["metadata"].is_object() {
        new["metadata"] = json!({});
    }
    if let Some(metadata) = new["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        for field in SERVERS.into_iter().chain(["name", "namespace"]) {
            match live["metadata"].get(field) {
                Some(value) => metadata.insert(field.to_owned(), value.clone()),
                None => metadata.remove(field),
            };
        }
    }
}

/// What `metadata.generation` counts the changes of.
pub(super) fn content(kind: &Kind, value: &Value) -> Map<String, Value> {
    let mut content = value.as_object().cloned().unwrap_or_default();
    content.remove("metadata");
    content.remove("apiVersion");
    if kind.status {
        content.remove("status");
    }
    content
}

/// Whether two objects are the same but for the times in `managedFields`: then nothing is written.
pub(super) fn same_but_times(live: &Value, new: &Value) -> bool {
    let timeless = |value: &Value| {
        let mut value = value.clone();
        if let Some(map) = value.as_object_mut() {
            map.remove("apiVersion");
        }
        for entry in value["metadata"]["managedFields"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("time");
            }
        }
        if value["metadata"]["managedFields"].is_null()
            && let Some(metadata) = value["metadata"].as_object_mut()
        {
            metadata.remove("managedFields");
        }
        value
    };
    timeless(live) == timeless(new)
}

/// An object as a version of its kind shows it.
pub(super) fn served(kind: &Kind, value: &Value) -> Value {
    let mut value = value.clone();
    value["apiVersion"] = kind.api.gvk.api_version().into();
    value
}
