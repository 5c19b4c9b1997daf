//! Deletion, dependents, namespaces, custom kinds and watches.

use std::collections::BTreeMap;

use futures::StreamExt;
use gitops_core::backend::Propagation;
use gitops_core::manifest::Object;
use gitops_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::{PATIENCE, Place, at, by, check, config_map, equal, gone, refused, until};
use crate::cluster::{DeleteParams, ListParams, Patch, WatchEvent};

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

/// With a finalizer the object stays, marked, until the finalizer goes.
pub async fn a_finalizer_holds_what_is_deleted(place: &Place) -> Result<()> {
    let mut value = config_map("a", json!({}));
    value["metadata"]["finalizers"] = json!(["example.com/hold"]);
    place.apply("m", value).await?;
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
        .await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    place
        .cluster
        .patch(place.key(&kind, "a"), &patch, &by("m"))
        .await?;
    check(place.get("v1", "ConfigMap", "a").await?.is_none(), || {
        "it is still there".into()
    })
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

/// A namespace that is being deleted is `Terminating` and refuses new objects.
pub async fn a_namespace_that_goes_takes_nothing_in(place: &Place) -> Result<()> {
    let other = other_namespace(place).await?;
    let mut held = map_in(&other, "held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    place.apply("m", held).await?;
    place
        .delete("v1", "Namespace", &other, &DeleteParams::default())
        .await?;
    until("the namespace is terminating", || async {
        let namespace = place.there("v1", "Namespace", &other).await?;
        Ok((at(&namespace, "/status/phase") == "Terminating").then_some(()))
    })
    .await?;
    let result = place.apply("m", map_in(&other, "new")).await;
    let release = async {
        let kind = place.kind("v1", "ConfigMap").await?;
        let key = crate::cluster::ObjectKey {
            kind: &kind,
            namespace: &other,
            name: "held",
        };
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        place.cluster.patch(key, &patch, &by("m")).await
    };
    release.await?;
    match result {
        Ok(_) => Err(Error::failed("it was not refused")),
        Err(error) => check(
            error.to_string().contains("because it is being terminated"),
            || error.to_string(),
        ),
    }
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

/// A custom kind is served once its definition is established, its schema gives defaults and list keys, and it goes with its definition.
pub async fn a_kind_comes_and_goes_with_its_definition(place: &Place) -> Result<()> {
    let group = format!("{}.example.com", place.namespace);
    let name = format!("things.{group}");
    place.apply("m", definition(&group)).await?;
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
    .await?;
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

    place
        .delete(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            &name,
            &DeleteParams::default(),
        )
        .await?;
    until("the kind goes", || async {
        place.cluster.invalidate();
        match place.kind(&format!("{group}/v1"), "Thing").await {
            Ok(_) => Ok(None),
            Err(error) => gone(error).map(Some),
        }
    })
    .await
}

/// The schema of a custom kind refuses what it does not know, and wrong types.
pub async fn unknown_fields_of_custom_kinds_are_refused(place: &Place) -> Result<()> {
    let group = format!("{}.example.com", place.namespace);
    place.apply("m", definition(&group)).await?;
    served(place, &group).await?;
    let unknown = place.apply("m", thing(&group, json!({"sighs": 1}))).await;
    let wrong = place
        .apply("m", thing(&group, json!({"size": "big"})))
        .await;
    let name = format!("things.{group}");
    place
        .delete(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            &name,
            &DeleteParams::default(),
        )
        .await?;
    refused(unknown, ErrorKind::InvalidInput, &["sighs"])?;
    refused(wrong, ErrorKind::InvalidInput, &["size"])
}

/// What a watch told so far: `+` or `-` and the object's name, or `synced`.
async fn told(
    events: &mut futures::stream::BoxStream<'static, Result<WatchEvent>>,
    count: usize,
) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    let collect = async {
        while seen.len() < count {
            let event = events
                .next()
                .await
                .ok_or_else(|| Error::failed("the watch ended"))??;
            let (letter, object) = match &event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => ("+", Some(object)),
                WatchEvent::Deleted(object) => ("-", Some(object)),
                WatchEvent::Synced => ("synced", None),
            };
            // Every namespace gets this one on a real cluster.
            if object.is_some_and(|object| object.name() == "kube-root-ca.crt") {
                continue;
            }
            seen.push(format!(
                "{letter}{}",
                object.map(Object::name).unwrap_or_default()
            ));
        }
        Ok::<(), Error>(())
    };
    match tokio::time::timeout(PATIENCE, collect).await {
        Ok(result) => result.map(|()| seen),
        Err(_) => Err(Error::timeout(format!("{count} events, seen {seen:?}"))),
    }
}

/// First what is there, then that this is all, then changes in their order.
pub async fn a_watch_tells_what_is_there_and_what_changes(place: &Place) -> Result<()> {
    place.apply("m", config_map("a", json!({}))).await?;
    place.apply("m", config_map("b", json!({}))).await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let params = ListParams {
        namespace: Some(place.namespace.clone()),
        ..ListParams::default()
    };
    let mut events = place.cluster.watch(&kind, params);
    let mut first = told(&mut events, 3).await?;
    let synced = first.pop();
    first.sort();
    equal(first, ["+a", "+b"])?;
    equal(synced.as_deref(), Some("synced"))?;
    place.apply("m", config_map("c", json!({}))).await?;
    place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    // No write, no event.
    place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    place
        .delete("v1", "ConfigMap", "b", &DeleteParams::default())
        .await?;
    equal(told(&mut events, 3).await?, ["+c", "+a", "-b"])
}

/// An object that no longer matches the selector is told as deleted, one that begins to match as added.
pub async fn a_watch_of_labels_tells_what_leaves(place: &Place) -> Result<()> {
    let labelled = |name: &str, label: &str| {
        let mut value = config_map(name, json!({}));
        value["metadata"]["labels"] = json!({"l": label});
        value
    };
    let kind = place.kind("v1", "ConfigMap").await?;
    let params = ListParams {
        namespace: Some(place.namespace.clone()),
        labels: Some("l=yes".into()),
        ..ListParams::default()
    };
    place.apply("m", labelled("a", "yes")).await?;
    place.apply("m", labelled("b", "no")).await?;
    let mut events = place.cluster.watch(&kind, params);
    let seen: BTreeMap<_, _> = told(&mut events, 2).await?.into_iter().zip(1..).collect();
    equal(
        seen.keys().map(String::as_str).collect::<Vec<_>>(),
        ["+a", "synced"],
    )?;
    place.apply("m", labelled("a", "no")).await?;
    place.apply("m", labelled("b", "yes")).await?;
    equal(told(&mut events, 2).await?, ["-a", "+b"])
}
