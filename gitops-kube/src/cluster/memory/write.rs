//! Create, apply, replace and patch (apiserver, `pkg/registry/generic/registry/store.go`, `pkg/endpoints/handlers`).

use std::sync::Arc;

use gitops_core::manifest::ObjectId;
use gitops_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::identity::{
    carry_over, check_patch, check_put, clean_new, content, identity, same_but_times, served,
};
use super::kinds::Kind;
use super::managed::{self, Writer};
use super::state::{State, finalizers, is_terminating, text};
use super::{controllers, defaults, fields, messages, validate};
use crate::cluster::{FieldValidation, Patch};

/// Who writes, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) manager: &'a str,
    pub(super) dry_run: bool,
    pub(super) force: bool,
    pub(super) validation: FieldValidation,
    /// `status`, or empty.
    pub(super) subresource: &'static str,
}

impl<'a> Context<'a> {
    /// Of a controller of the cluster itself.
    pub(super) fn controller(subresource: &'static str) -> Context<'static> {
        Context {
            manager: "kube-controller-manager",
            dry_run: false,
            force: false,
            validation: FieldValidation::Ignore,
            subresource,
        }
    }

    fn writer(self, now: &'a str) -> Writer<'a> {
        Writer {
            // Without a name the server takes the user agent's.
            manager: if self.manager.is_empty() {
                "unknown"
            } else {
                self.manager
            },
            subresource: self.subresource,
            now,
        }
    }
}

/// `POST`.
pub(super) fn create(
    state: &mut State,
    kind: &Kind,
    id: &ObjectId,
    mut new: Value,
    context: Context<'_>,
) -> Result<Arc<Value>> {
    if !text(&new, "/metadata/resourceVersion").is_empty() {
        return Err(Error::invalid(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    admit(state, kind, id)?;
    fields::conform(kind, &mut new, context.validation)?;
    clean_new(kind, &mut new);
    fields::drop_empty(kind, &mut new);
    defaults::set(kind, &mut new);
    let now = state.timestamp();
    managed::update(kind, None, &mut new, context.writer(&now));
    if state.get(id).is_some() {
        return Err(Error::already_exists(format!(
            "{} already exists",
            messages::quoted(kind, &id.name)
        )));
    }
    insert(state, kind, id, new, context)
}

/// Server-side apply.
pub(super) fn apply(
    state: &mut State,
    kind: &Kind,
    id: &ObjectId,
    mut config: Value,
    context: Context<'_>,
) -> Result<Arc<Value>> {
    if context.manager.is_empty() {
        return Err(Error::invalid("an apply needs a field manager"));
    }
    if config
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .is_some_and(|entries| !entries.is_empty())
    {
        return Err(Error::invalid("metadata.managedFields must be nil"));
    }
    fields::conform_applied(kind, id, &mut config)?;
    if let Some(metadata) = config["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.retain(|field, value| field != "creationTimestamp" || !value.is_null());
    }
    // Status is its subresource's alone: here it is neither written nor owned, nor does it conflict.
    if kind.status
        && let Some(config) = config.as_object_mut()
    {
        config.remove("status");
    }
    let now = state.timestamp();
    let Some(live) = state.get(id).cloned() else {
        let uid = text(&config, "/metadata/uid");
        if !uid.is_empty() {
            return Err(Error::conflict(format!(
                "{}: uid mismatch: the provided object specified uid {uid}, and no existing object was found",
                messages::modified(kind, &id.name)
            )));
        }
        admit(state, kind, id)?;
        let mut new = managed::apply(kind, None, &config, context.writer(&now), context.force)?;
        clean_new(kind, &mut new);
        fields::complete(kind, &mut new)?;
        defaults::set(kind, &mut new);
        return insert(state, kind, id, new, context);
    };
    check_patch(kind, id, &live, &config)?;
    if let Some(metadata) = config["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    let mut new = managed::apply(
        kind,
        Some(&live),
        &config,
        context.writer(&now),
        context.force,
    )?;
    let managed_fields = new["metadata"]["managedFields"].take();
    carry_over(kind, &live, &mut new, context.subresource);
    fields::complete(kind, &mut new)?;
    defaults::set(kind, &mut new);
    defaults::keep(kind, &live, &mut new);
    new["metadata"]["managedFields"] = managed_fields;
    finish(state, kind, id, &live, new, context)
}

/// `PUT`.
pub(super) fn replace(
    state: &mut State,
    kind: &Kind,
    id: &ObjectId,
    new: Value,
    context: Context<'_>,
) -> Result<Arc<Value>> {
    let Some(live) = state.get(id).cloned() else {
        return Err(messages::not_found(kind, &id.name));
    };
    update(state, kind, id, &live, new, context)
}

/// `PATCH` that is no apply.
pub(super) fn patch(
    state: &mut State,
    kind: &Kind,
    id: &ObjectId,
    patch: &Patch,
    context: Context<'_>,
) -> Result<Arc<Value>> {
    let Some(live) = state.get(id).cloned() else {
        return Err(messages::not_found(kind, &id.name));
    };
    let mut new = served(kind, &live);
    match patch {
        Patch::Merge(patch) => {
            if !patch.is_object() {
                return Err(Error::invalid("a merge patch must be a JSON object"));
            }
            json_patch::merge(&mut new, patch);
        }
        Patch::Json(operations) => {
            let operations: json_patch::Patch = serde_json::from_value(operations.clone())
                .map_err(|error| {
                    Error::invalid("the JSON patch cannot be read").with_source(error)
                })?;
            json_patch::patch(&mut new, &operations).map_err(|error| {
                Error::invalid("the server rejected our request due to an error in our request")
                    .with_source(error)
            })?;
        }
    }
    for (field, wanted, place) in [
        ("name", &id.name, "name on the URL"),
        ("namespace", &id.namespace, "namespace on the request"),
    ] {
        let found = text(&new, &format!("/metadata/{field}"));
        if found != wanted {
            return Err(Error::invalid(format!(
                "the {field} of the object ({found}) does not match the {place} ({wanted})"
            )));
        }
    }
    identity(kind, &new, &id.namespace, &id.name)?;
    check_patch(kind, id, &live, &new)?;
    update(state, kind, id, &live, new, context)
}

/// What a controller makes of an object's status.
pub(super) fn set_status(state: &mut State, id: &ObjectId, status: Value) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    if live.get("status") == Some(&status) {
        return;
    }
    let mut new = (*live).clone();
    new["status"] = status;
    internal(state, id, new, "status");
}

/// A controller's write of an object that is there, or that it makes.
pub(super) fn internal(state: &mut State, id: &ObjectId, new: Value, subresource: &'static str) {
    let Some(kind) = state.kinds.preferred(&id.group_kind()).cloned() else {
        return;
    };
    let context = Context::controller(subresource);
    let result = match state.get(id).cloned() {
        Some(live) => update(state, &kind, id, &live, new, context),
        None => create(state, &kind, id, new, context),
    };
    if let Err(error) = result {
        tracing::debug!(%id, %error, "a controller of the in-memory cluster cannot write");
    }
}

fn update(
    state: &mut State,
    kind: &Kind,
    id: &ObjectId,
    live: &Arc<Value>,
    mut new: Value,
    context: Context<'_>,
) -> Result<Arc<Value>> {
    check_put(kind, id, live, &new)?;
    fields::conform(kind, &mut new, context.validation)?;
    // A client that does not know managedFields does not delete them; an empty list resets them.
    let given = new["metadata"]["managedFields"].take();
    let before = match given.as_array().map(Vec::as_slice) {
        Some([entry]) if entry.as_object().is_some_and(Map::is_empty) => {
            let mut before = (**live).clone();
            before["metadata"]["managedFields"] = json!([]);
            Arc::new(before)
        }
        Some([_, ..]) => {
            let mut before = (**live).clone();
            before["metadata"]["managedFields"] = given;
            Arc::new(before)
        }
        _ => live.clone(),
    };
    managed::drop_nulls(&mut new);
    fields::drop_empty(kind, &mut new);
    carry_over(kind, live, &mut new, context.subresource);
    defaults::set(kind, &mut new);
    defaults::keep(kind, live, &mut new);
    let now = state.timestamp();
    managed::update(kind, Some(&before), &mut new, context.writer(&now));
    finish(state, kind, id, live, new, context)
}

/// Makes an object.
fn insert(
    state: &mut State,
    kind: &Kind,
    id: &ObjectId,
    mut new: Value,
    context: Context<'_>,
) -> Result<Arc<Value>> {
    new["metadata"]["name"] = id.name.as_str().into();
    if kind.api.is_namespaced() {
        new["metadata"]["namespace"] = id.namespace.as_str().into();
    } else if let Some(metadata) = new["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    new["metadata"]["uid"] = state.uid().into();
    new["metadata"]["creationTimestamp"] = state.timestamp().into();
    if kind.generation {
        new["metadata"]["generation"] = 1.into();
    }
    defaults::allocate(state, kind, &mut new);
    fields::drop_empty(kind, &mut new);
    validate::object(kind, &new, None)?;
    if context.dry_run {
        return Ok(Arc::new(new));
    }
    Ok(state.put(id, new))
}

/// Changes an object, unless nothing changed.
fn finish(
    state: &mut State,
    kind: &Kind,
    id: &ObjectId,
    live: &Arc<Value>,
    mut new: Value,
    context: Context<'_>,
) -> Result<Arc<Value>> {
    if is_terminating(live) {
        let had = finalizers(live);
        let added: Vec<&str> = finalizers(&new)
            .into_iter()
            .filter(|finalizer| !had.contains(finalizer))
            .collect();
        if !added.is_empty() {
            return Err(messages::invalid(
                kind,
                &id.name,
                &[format!(
                    "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
                )],
            ));
        }
    }
    fields::drop_empty(kind, &mut new);
    validate::object(kind, &new, Some(live))?;
    if kind.generation && content(kind, live) != content(kind, &new) {
        let generation = live["metadata"]["generation"].as_i64().unwrap_or_default();
        new["metadata"]["generation"] = (generation + 1).into();
    }
    if new["metadata"]["managedFields"].is_null()
        && let Some(metadata) = new["metadata"].as_object_mut()
    {
        metadata.remove("managedFields");
    }
    if same_but_times(live, &new) {
        return Ok(live.clone());
    }
    if context.dry_run {
        return Ok(Arc::new(new));
    }
    let goes = is_terminating(&new)
        && finalizers(&new).is_empty()
        && new
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_none_or(|finalizers| kind.api.gvk.kind != "Namespace" || finalizers.is_empty());
    if goes {
        // With its last finalizer it is deleted, not changed before.
        state.remove(id);
        return Ok(Arc::new(new));
    }
    Ok(state.put(id, new))
}

/// The namespace must be there, and neither it nor the kind's definition may be going.
fn admit(state: &State, kind: &Kind, id: &ObjectId) -> Result<()> {
    let definition = controllers::definition_of(state, id);
    if definition
        .and_then(|definition| state.get(&definition))
        .is_some_and(|definition| is_terminating(definition))
    {
        return Err(Error::permission_denied(format!(
            "{} is forbidden: create not allowed while custom resource definition is terminating",
            messages::quoted(kind, &id.name)
        )));
    }
    if !kind.api.is_namespaced() {
        return Ok(());
    }
    let namespace = ObjectId::new("", "Namespace", "", id.namespace.as_str());
    match state.get(&namespace) {
        None => Err(Error::not_found(format!(
            "namespaces {:?} not found",
            id.namespace
        ))),
        Some(found) if is_terminating(found) => Err(Error::permission_denied(format!(
            "{} is forbidden: unable to create new content in namespace {} because it is being terminated",
            messages::quoted(kind, &id.name),
            id.namespace
        ))),
        Some(_) => Ok(()),
    }
}
