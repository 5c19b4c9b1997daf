//! Deletion, dependents, namespaces and custom kinds.

use gitops_core::backend::Propagation;
use gitops_core::manifest::Object;
use gitops_core::{ErrorKind, Result};
use serde_json::{Value, json};

use super::{Place, at, check, config_map, equal, gone, refused, then, until};
use crate::cluster::{DeleteParams, ListParams};

/// A UID is a condition.
pub async fn a_deletion_with_another_uid_is_refused(place: &Place) -> Result<()> {
    let made = place.apply("m", config_map("a", json!({}))).await?;
    let other = DeleteParams {
        uid: Some("11111111-2222-3333-4444-555555555555".into()),
        ..DeleteParams::default()
    };
    refused(
        place.delete("v1", "ConfigMap", "a", &other).await,
        ErrorKind::Conflict,
        &["UID"],
    )?;
    place.there("v1", "ConfigMap", "a").await?;
    let right = DeleteParams {
        uid: Some(made.uid().to_owned()),
        ..DeleteParams::default()
    };
    place.delete("v1", "ConfigMap", "a", &right).await?;
    check(place.get("v1", "ConfigMap", "a").await?.is_none(), || {
        "it is still there".into()
    })
}

/// An object that was made again is another one: what was known of the first does not delete it.
pub async fn what_is_made_again_has_another_uid(place: &Place) -> Result<()> {
    let first = place.apply("m", config_map("a", json!({}))).await?;
    place
        .delete("v1", "ConfigMap", "a", &DeleteParams::default())
        .await?;
    let second = place.apply("m", config_map("a", json!({}))).await?;
    check(first.uid() != second.uid(), || "the same UID".into())?;
    let first = DeleteParams {
        uid: Some(first.uid().to_owned()),
        ..DeleteParams::default()
    };
    refused(
        place.delete("v1", "ConfigMap", "a", &first).await,
        ErrorKind::Conflict,
        &["UID"],
    )?;
    equal(
        place.there("v1", "ConfigMap", "a").await?.uid(),
        second.uid(),
    )
}

/// A resource version is a condition.
pub async fn a_deletion_at_another_version_is_refused(place: &Place) -> Result<()> {
    let first = place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    let second = place.apply("m", config_map("a", json!({"x": "2"}))).await?;
    let at_version = |object: &Object| DeleteParams {
        resource_version: Some(object.resource_version().to_owned()),
        ..DeleteParams::default()
    };
    refused(
        place
            .delete("v1", "ConfigMap", "a", &at_version(&first))
            .await,
        ErrorKind::Conflict,
        &[],
    )?;
    place
        .delete("v1", "ConfigMap", "a", &at_version(&second))
        .await
}

/// A dry run of a deletion leaves the object there.
pub async fn a_dry_run_deletes_nothing(place: &Place) -> Result<()> {
    place.apply("m", config_map("a", json!({}))).await?;
    let dry_run = DeleteParams {
        dry_run: true,
        ..DeleteParams::default()
    };
    place.delete("v1", "ConfigMap", "a", &dry_run).await?;
    check(
        !place.there("v1", "ConfigMap", "a").await?.is_terminating(),
        || "it is being deleted".into(),
    )
}

/// Deleting what is not there is `NotFound`.
pub async fn a_deletion_of_nothing_is_not_found(place: &Place) -> Result<()> {
    let result = place
        .delete("v1", "ConfigMap", "nothing", &DeleteParams::default())
        .await;
    refused(result, ErrorKind::NotFound, &["nothing"])
}

fn held(name: &str) -> Value {
    let mut value = config_map(name, json!({"x": "1"}));
    value["metadata"]["finalizers"] = json!(["example.com/hold"]);
    value
}

/// With a finalizer the object stays, marked, until the finalizer goes.
pub async fn a_finalizer_holds_what_is_deleted(place: &Place) -> Result<()> {
    place.apply("m", held("a")).await?;
    let steps = async {
        place
            .delete("v1", "ConfigMap", "a", &DeleteParams::default())
            .await?;
        check(
            place.there("v1", "ConfigMap", "a").await?.is_terminating(),
            || "it is not marked".into(),
        )?;
        // Again is fine.
        place
            .delete("v1", "ConfigMap", "a", &DeleteParams::default())
            .await
    };
    then(steps, place.release(&place.namespace, "a")).await?;
    check(place.get("v1", "ConfigMap", "a").await?.is_none(), || {
        "it is still there".into()
    })
}

/// What is being deleted can be changed, but takes no new finalizer.
pub async fn what_is_being_deleted_takes_no_finalizer(place: &Place) -> Result<()> {
    let marked = place.apply("m", held("a")).await?;
    let steps = async {
        place
            .delete("v1", "ConfigMap", "a", &DeleteParams::default())
            .await?;
        let mut value = held("a");
        value["data"]["x"] = json!("2");
        let changed = place.apply("m", value.clone()).await?;
        equal(at(&changed, "/data/x"), &json!("2"))?;
        equal(changed.uid(), marked.uid())?;
        check(changed.is_terminating(), || "it came back".into())?;
        value["metadata"]["finalizers"] = json!(["example.com/hold", "example.com/more"]);
        refused(
            place.apply("m", value).await,
            ErrorKind::InvalidInput,
            &["metadata.finalizers"],
        )
    };
    then(steps, place.release(&place.namespace, "a")).await
}

/// An owner `a` and its dependent `b`.
async fn family(place: &Place, block: bool) -> Result<()> {
    let owner = place.apply("m", config_map("a", json!({}))).await?;
    let mut dependent = config_map("b", json!({}));
    dependent["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": owner.uid(), "blockOwnerDeletion": block,
    }]);
    place.apply("m", dependent).await?;
    Ok(())
}

fn propagation(propagation: Propagation) -> DeleteParams {
    DeleteParams {
        propagation: Some(propagation),
        ..DeleteParams::default()
    }
}

async fn is_gone(place: &Place, name: &str) -> Result<()> {
    until(&format!("{name} goes"), || async {
        Ok(place
            .get("v1", "ConfigMap", name)
            .await?
            .is_none()
            .then_some(()))
    })
    .await
}

/// Background: the owner at once, dependents by the garbage collector.
pub async fn dependents_go_with_their_owner(place: &Place) -> Result<()> {
    family(place, false).await?;
    place
        .delete(
            "v1",
            "ConfigMap",
            "a",
            &propagation(Propagation::Background),
        )
        .await?;
    check(place.get("v1", "ConfigMap", "a").await?.is_none(), || {
        "the owner is still there".into()
    })?;
    is_gone(place, "b").await
}

/// Orphan: dependents stay and lose the reference.
pub async fn orphans_stay(place: &Place) -> Result<()> {
    family(place, false).await?;
    place
        .delete("v1", "ConfigMap", "a", &propagation(Propagation::Orphan))
        .await?;
    is_gone(place, "a").await?;
    let orphan = place.there("v1", "ConfigMap", "b").await?;
    let references = at(&orphan, "/metadata/ownerReferences")
        .as_array()
        .map_or(0, Vec::len);
    equal(references, 0)
}

/// Foreground: dependents first, then the owner.
pub async fn a_foreground_deletion_ends_with_the_owner(place: &Place) -> Result<()> {
    family(place, true).await?;
    place
        .delete(
            "v1",
            "ConfigMap",
            "a",
            &propagation(Propagation::Foreground),
        )
        .await?;
    is_gone(place, "a").await?;
    check(place.get("v1", "ConfigMap", "b").await?.is_none(), || {
        "the owner went before its dependent".into()
    })
}

/// A dependent stays as long as one of its owners is there, and goes with the last.
pub async fn a_dependent_goes_with_its_last_owner(place: &Place) -> Result<()> {
    let mut references = Vec::new();
    for name in ["one", "two"] {
        let owner = place.apply("m", config_map(name, json!({}))).await?;
        references.push(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner.uid()}),
        );
    }
    let mut dependent = config_map("b", json!({}));
    dependent["metadata"]["ownerReferences"] = json!(references);
    place.apply("m", dependent).await?;
    place
        .delete(
            "v1",
            "ConfigMap",
            "one",
            &propagation(Propagation::Background),
        )
        .await?;
    // The collector takes the reference to what is gone away, and that is how one sees that it was here.
    until("the first reference goes", || async {
        let live = place.there("v1", "ConfigMap", "b").await?;
        let left = at(&live, "/metadata/ownerReferences")
            .as_array()
            .map_or(0, Vec::len);
        Ok((left == 1).then_some(()))
    })
    .await?;
    place
        .delete(
            "v1",
            "ConfigMap",
            "two",
            &propagation(Propagation::Background),
        )
        .await?;
    is_gone(place, "b").await
}

/// Another namespace than the case's own, which the case deletes.
async fn other_namespace(place: &Place) -> Result<String> {
    let name = format!("{}-x", place.namespace);
    place
        .apply(
            "m",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        )
        .await?;
    Ok(name)
}

fn map_in(namespace: &str, name: &str) -> Value {
    let mut value = config_map(name, json!({}));
    value["metadata"]["namespace"] = json!(namespace);
    value
}

/// With a namespace everything in it is deleted, and then the namespace is gone.
pub async fn a_namespace_takes_its_objects_along(place: &Place) -> Result<()> {
    let other = other_namespace(place).await?;
    place.apply("m", map_in(&other, "a")).await?;
    place
        .delete("v1", "Namespace", &other, &DeleteParams::default())
        .await?;
    until("the namespace goes", || async {
        Ok(place
            .get("v1", "Namespace", &other)
            .await?
            .is_none()
            .then_some(()))
    })
    .await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let params = ListParams {
        namespace: Some(other),
        ..ListParams::default()
    };
    equal(place.cluster.list(&kind, &params).await?.items.len(), 0)
}

/// A namespace that is being deleted is `Terminating` and refuses new objects: `PermissionDenied`, saying why.
pub async fn a_namespace_that_goes_takes_nothing_in(place: &Place) -> Result<()> {
    let other = other_namespace(place).await?;
    let mut held = held("held");
    held["metadata"]["namespace"] = json!(other);
    place.apply("m", held).await?;
    let steps = async {
        place
            .delete("v1", "Namespace", &other, &DeleteParams::default())
            .await?;
        until("the namespace is terminating", || async {
            let namespace = place.there("v1", "Namespace", &other).await?;
            Ok((at(&namespace, "/status/phase") == "Terminating").then_some(()))
        })
        .await?;
        refused(
            place.apply("m", map_in(&other, "new")).await,
            ErrorKind::PermissionDenied,
            &["because it is being terminated"],
        )
    };
    then(steps, place.release(&other, "held")).await
}

/// A definition of `Thing.<group>`, with `spec.size` and a default for `spec.mode`.
fn definition(group: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("things.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer"}, "mode": {"type": "string", "default": "auto"},
                    "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                        "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}}}}},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}})
}

async fn served(place: &Place, group: &str) -> Result<()> {
    until("the kind is served", || async {
        place.cluster.invalidate();
        match place.kind(&format!("{group}/v1"), "Thing").await {
            Ok(_) => Ok(Some(())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await
}

fn thing(group: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "t"}, "spec": spec})
}

async fn undefine(place: &Place, group: &str) -> Result<()> {
    place
        .delete(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            &format!("things.{group}"),
            &DeleteParams::default(),
        )
        .await
        .or_else(gone)
}

/// A custom kind is served once its definition is established, its schema gives defaults and list keys, and it goes with its definition.
pub async fn a_kind_comes_and_goes_with_its_definition(place: &Place) -> Result<()> {
    let group = format!("{}.example.com", place.namespace);
    let steps = async {
        place.apply("m", definition(&group)).await?;
        established(place, &group).await?;
        served(place, &group).await?;
        let made = place
            .apply(
                "first",
                thing(&group, json!({"size": 1, "parts": [{"id": "a", "n": 1}]})),
            )
            .await?;
        equal(at(&made, "/spec/mode"), &json!("auto"))?;
        equal(at(&made, "/metadata/generation"), &json!(1))?;
        let both = place
            .apply(
                "second",
                thing(&group, json!({"parts": [{"id": "b", "n": 2}]})),
            )
            .await?;
        equal(at(&both, "/spec/parts").as_array().map_or(0, Vec::len), 2)?;
        place.kind(&format!("{group}/v1"), "Thing").await
    };
    let kind = then(steps, undefine(place, &group)).await?;
    until("the kind goes", || async {
        place.cluster.invalidate();
        match place.kind(&format!("{group}/v1"), "Thing").await {
            Ok(_) => Ok(None),
            Err(error) => gone(error).map(Some),
        }
    })
    .await?;
    // Who still holds the kind is told the same.
    refused(
        place.cluster.list(&kind, &ListParams::default()).await,
        ErrorKind::NotFound,
        &[],
    )
}

async fn established(place: &Place, group: &str) -> Result<()> {
    let name = format!("things.{group}");
    until("the definition is established", || async {
        let crd = place
            .there("apiextensions.k8s.io/v1", "CustomResourceDefinition", &name)
            .await?;
        let conditions = at(&crd, "/status/conditions")
            .as_array()
            .cloned()
            .unwrap_or_default();
        let established =
            |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
        Ok(conditions.iter().any(established).then_some(()))
    })
    .await
}

/// The schema of a custom kind refuses what it does not know, and wrong types.
pub async fn unknown_fields_of_custom_kinds_are_refused(place: &Place) -> Result<()> {
    let group = format!("{}.example.com", place.namespace);
    let steps = async {
        place.apply("m", definition(&group)).await?;
        served(place, &group).await?;
        let unknown = place.apply("m", thing(&group, json!({"sighs": 1}))).await;
        refused(unknown, ErrorKind::InvalidInput, &["sighs"])?;
        let wrong = place
            .apply("m", thing(&group, json!({"size": "big"})))
            .await;
        refused(wrong, ErrorKind::InvalidInput, &["size"])
    };
    then(steps, undefine(place, &group)).await
}
