//! Verbs, discovery, selectors, deletion.

use std::time::Duration;

use futures::StreamExt;
use gitops_core::ErrorKind;
use gitops_core::backend::Propagation;
use gitops_core::manifest::{GroupKind, GroupVersionKind};
use gitops_kube::cluster::{
    Cluster, DeleteParams, FieldValidation, InMemoryCluster, InMemoryOptions, ListParams,
    ObjectKey, Patch, WatchEvent, WriteParams,
};
use serde_json::{Value, json};

use crate::{apply, as_manager, config_map, deployment, get, kind, names, object, slow, try_apply};

pub(crate) fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.shop.example.org"},
        "spec": {
            "group": "shop.example.org", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [
                {"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
                {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {"type": "object", "required": ["size"], "properties": {
                            "size": {"type": "integer", "minimum": 1},
                            "colour": {"type": "string", "enum": ["red", "green"], "default": "red"},
                            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                                "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}}},
                        }},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    },
                }}},
            ],
        },
    })
}

fn widget(spec: Value) -> Value {
    json!({"apiVersion": "shop.example.org/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"}, "spec": spec})
}

#[tokio::test]
async fn custom_kinds_are_served_once_defined() {
    let cluster = InMemoryCluster::new();
    let gvk = GroupVersionKind::new("shop.example.org", "v1", "Widget");
    let error = cluster.resolve(&gvk).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error
            .to_string()
            .contains("does not serve shop.example.org/v1, Kind=Widget"),
        "{error}"
    );

    apply(&cluster, widgets()).await;
    let found = cluster
        .resolve_any(&GroupKind::new("shop.example.org", "Widget"))
        .await
        .unwrap();
    assert_eq!(
        (found.gvk.version.as_str(), found.plural.as_str()),
        ("v1", "widgets")
    );
    let definition = get(
        &cluster,
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "widgets.shop.example.org",
    )
    .await
    .unwrap();
    assert!(
        definition
            .pointer("/status/conditions")
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
    );

    let stored = apply(&cluster, widget(json!({"size": 2}))).await;
    assert_eq!(stored.pointer("/spec/colour"), Some(&json!("red")));
    for (bad, says) in [
        (json!({"colour": "red"}), "spec.size: Required value"),
        (json!({"size": "2"}), "must be of type integer"),
        (json!({"size": 0}), "at least 1"),
        (json!({"size": 1, "colour": "blue"}), "Unsupported value"),
        (
            json!({"size": 1, "shape": "round"}),
            ".spec.shape: field not declared in schema",
        ),
    ] {
        let error = try_apply(&cluster, "test", widget(bad)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says), "{error}");
    }
    // In its other version it is the same object.
    let beta = get(&cluster, "shop.example.org/v1beta1", "Widget", "w")
        .await
        .unwrap();
    assert_eq!((beta.uid(), beta.version()), (stored.uid(), "v1beta1"));

    // With the definition go its objects, once nothing holds them.
    let crds = kind(
        &cluster,
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
    )
    .await;
    let key = ObjectKey {
        kind: &crds,
        namespace: "",
        name: "widgets.shop.example.org",
    };
    cluster.delete(key, &DeleteParams::default()).await.unwrap();
    assert!(cluster.get(key).await.unwrap().is_none());
    assert_eq!(
        cluster.resolve(&gvk).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(
        cluster
            .get(ObjectKey {
                kind: &found,
                namespace: "default",
                name: "w"
            })
            .await
            .unwrap()
            .is_none()
    );
    let error = cluster
        .list(&found, &ListParams::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn writes_answer_as_the_server_does() {
    let cluster = InMemoryCluster::with_options(slow());
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    let params = as_manager("test");
    let value = object(config_map("a", json!({"k": "1"})));
    let dry = WriteParams {
        dry_run: true,
        ..params.clone()
    };
    let made = cluster.create(&maps, &value, &dry).await.unwrap();
    assert!(made.resource_version().is_empty());
    assert!(get(&cluster, "v1", "ConfigMap", "a").await.is_none());
    let made = cluster.create(&maps, &value, &params).await.unwrap();
    assert!(!made.uid().is_empty() && !made.resource_version().is_empty());
    assert_eq!(
        cluster
            .create(&maps, &value, &params)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::AlreadyExists
    );

    // What changes nothing keeps its version.
    let again = cluster.replace(&maps, &made, &params).await.unwrap();
    assert_eq!(again.resource_version(), made.resource_version());
    let mut changed = made.clone();
    changed.value_mut().insert("data".into(), json!({"k": "2"}));
    let changed = cluster.replace(&maps, &changed, &params).await.unwrap();
    assert_ne!(changed.resource_version(), made.resource_version());
    let error = cluster.replace(&maps, &made, &params).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error.to_string().contains("the object has been modified"),
        "{error}"
    );

    let key = ObjectKey {
        kind: &maps,
        namespace: "default",
        name: "a",
    };
    let merge = Patch::Merge(json!({"data": {"k": null, "l": "3"}}));
    let patched = cluster.patch(key, &merge, &params).await.unwrap();
    assert_eq!(patched.pointer("/data"), Some(&json!({"l": "3"})));
    let patch = Patch::Json(json!([{"op": "test", "path": "/data/l", "value": "4"}]));
    assert_eq!(
        cluster
            .patch(key, &patch, &params)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput
    );
    let patch = Patch::Json(json!([{"op": "replace", "path": "/data/l", "value": "4"}]));
    let dry_patched = cluster.patch(key, &patch, &dry).await.unwrap();
    assert_eq!(dry_patched.pointer("/data/l"), Some(&json!("4")));
    assert_eq!(
        get(&cluster, "v1", "ConfigMap", "a")
            .await
            .unwrap()
            .pointer("/data/l"),
        Some(&json!("3"))
    );

    let nowhere = object(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "nowhere"}}),
    );
    let error = cluster.apply(&maps, &nowhere, &params).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotFound, "namespaces \"nowhere\" not found")
    );

    // Generation counts changes of the specification; status is kept apart.
    let made = apply(&cluster, deployment("web", "x:1", 1)).await;
    assert_eq!(made.pointer("/metadata/generation"), Some(&json!(1)));
    let mut labelled = deployment("web", "x:1", 1);
    labelled["metadata"]["labels"] = json!({"a": "b"});
    labelled["status"] = json!({"replicas": 7});
    let made = apply(&cluster, labelled).await;
    assert_eq!(made.pointer("/metadata/generation"), Some(&json!(1)));
    assert_ne!(made.pointer("/status/replicas"), Some(&json!(7)));
    let made = apply(&cluster, deployment("web", "x:2", 1)).await;
    assert_eq!(made.pointer("/metadata/generation"), Some(&json!(2)));
}

#[tokio::test]
async fn fields_are_checked() {
    let cluster = InMemoryCluster::with_options(slow());
    let mut bad = deployment("web", "x:1", 1);
    bad["spec"]["replica"] = json!(2);
    let error = try_apply(&cluster, "test", bad.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error
            .to_string()
            .contains(".spec.replica: field not declared in schema"),
        "{error}"
    );
    let deployments = kind(&cluster, "apps/v1", "Deployment").await;
    let strict = WriteParams {
        validation: Some(FieldValidation::Strict),
        ..as_manager("test")
    };
    let error = cluster
        .create(&deployments, &object(bad.clone()), &strict)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("unknown field \"spec.replica\""),
        "{error}"
    );
    let made = cluster
        .create(&deployments, &object(bad), &as_manager("test"))
        .await
        .unwrap();
    assert_eq!(made.pointer("/spec/replica"), None);

    for (value, says) in [
        (
            json!({"replicas": "two", "selector": {"matchLabels": {"app": "x"}}}),
            "invalid type",
        ),
        (
            json!({"selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "y"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}),
            "does not match template",
        ),
        (
            json!({"selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": []}}}),
            "containers: Required value",
        ),
    ] {
        let value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x", "namespace": "default"}, "spec": value});
        let error = try_apply(&cluster, "test", value).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says), "{error}");
    }
    // A number is a quantity, too.
    let mut numbers = deployment("numbers", "x:1", 1);
    numbers["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": 1}});
    apply(&cluster, numbers).await;

    apply(&cluster, deployment("fixed", "x:1", 1)).await;
    let mut selector = deployment("fixed", "x:1", 1);
    selector["spec"]["selector"]["matchLabels"]["b"] = json!("c");
    selector["spec"]["template"]["metadata"]["labels"]["b"] = json!("c");
    let error = try_apply(&cluster, "test", selector).await.unwrap_err();
    assert!(error.to_string().contains("field is immutable"), "{error}");

    // Of a Secret nothing is quoted.
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}, "stringData": {"k": "canary"}});
    let stored = apply(&cluster, secret).await;
    assert_eq!(stored.pointer("/data/k"), Some(&json!("Y2FuYXJ5")));
    assert_eq!(stored.pointer("/stringData"), None);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}, "data": {"k": "canary!"}});
    let error = try_apply(&cluster, "test", secret).await.unwrap_err();
    assert!(
        !format!("{error:?} {error}").contains("canary"),
        "{error:?}"
    );
}

#[tokio::test]
async fn lists_select_and_turn_pages() {
    let cluster = InMemoryCluster::new();
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    for number in 0..7 {
        let mut value = config_map(&format!("m{number}"), json!({}));
        value["metadata"]["labels"] = json!({"page": "yes", "even": (number % 2 == 0).to_string()});
        apply(&cluster, value).await;
    }
    assert_eq!(
        names(&cluster, "v1", "ConfigMap", "page,even=false").await,
        ["m1", "m3", "m5"]
    );
    let mut params = ListParams {
        labels: Some("page".into()),
        limit: Some(3),
        ..ListParams::default()
    };
    let first = cluster.list(&maps, &params).await.unwrap();
    params.continue_token = first.continue_token;
    // The next pages show what was there when the first was read.
    let key = ObjectKey {
        kind: &maps,
        namespace: "default",
        name: "m4",
    };
    cluster.delete(key, &DeleteParams::default()).await.unwrap();
    let second = cluster.list(&maps, &params).await.unwrap();
    assert_eq!(
        second
            .items
            .iter()
            .map(|item| item.name())
            .collect::<Vec<_>>(),
        ["m3", "m4", "m5"]
    );
    params.continue_token = second.continue_token.clone();
    let third = cluster.list(&maps, &params).await.unwrap();
    assert_eq!((third.items.len(), third.continue_token), (1, None));
    cluster.compact();
    apply(&cluster, config_map("another", json!({}))).await;
    let error = cluster.list(&maps, &params).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);

    let params = ListParams {
        fields: Some("metadata.name=m2,metadata.namespace=default".into()),
        ..ListParams::default()
    };
    assert_eq!(cluster.list(&maps, &params).await.unwrap().items.len(), 1);
    let params = ListParams {
        fields: Some("data.k=1".into()),
        ..ListParams::default()
    };
    assert_eq!(
        cluster.list(&maps, &params).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[tokio::test]
async fn deletion_heeds_preconditions_finalizers_and_owners() {
    let cluster = InMemoryCluster::new();
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    let mut held = config_map("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    let held = apply(&cluster, held).await;
    let key = ObjectKey {
        kind: &maps,
        namespace: "default",
        name: "held",
    };
    for params in [
        DeleteParams {
            uid: Some("other".into()),
            ..DeleteParams::default()
        },
        DeleteParams {
            resource_version: Some("1".into()),
            ..DeleteParams::default()
        },
    ] {
        assert_eq!(
            cluster.delete(key, &params).await.unwrap_err().kind(),
            ErrorKind::Conflict
        );
    }
    let dry = DeleteParams {
        dry_run: true,
        ..DeleteParams::default()
    };
    cluster.delete(key, &dry).await.unwrap();
    assert!(!cluster.get(key).await.unwrap().unwrap().is_terminating());
    let params = DeleteParams {
        uid: Some(held.uid().into()),
        ..DeleteParams::default()
    };
    cluster.delete(key, &params).await.unwrap();
    assert!(cluster.get(key).await.unwrap().unwrap().is_terminating());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    cluster.patch(key, &patch, &as_manager("x")).await.unwrap();
    assert!(cluster.get(key).await.unwrap().is_none());
    assert_eq!(
        cluster.delete(key, &params).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );

    for (propagation, left) in [
        (Propagation::Background, false),
        (Propagation::Foreground, false),
        (Propagation::Orphan, true),
    ] {
        let owner = apply(&cluster, config_map("owner", json!({}))).await;
        let mut child = config_map("child", json!({}));
        child["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(), "blockOwnerDeletion": true}]);
        apply(&cluster, child).await;
        let params = DeleteParams {
            propagation: Some(propagation),
            ..DeleteParams::default()
        };
        let key = ObjectKey {
            kind: &maps,
            namespace: "default",
            name: "owner",
        };
        cluster.delete(key, &params).await.unwrap();
        assert!(cluster.get(key).await.unwrap().is_none());
        let child = get(&cluster, "v1", "ConfigMap", "child").await;
        assert_eq!(child.is_some(), left, "{propagation:?}");
        if let Some(child) = child {
            assert_eq!(child.pointer("/metadata/ownerReferences"), None);
        }
    }
}

#[tokio::test]
async fn a_namespace_goes_with_its_content() {
    let cluster = InMemoryCluster::with_options(InMemoryOptions {
        controller_delay: Duration::from_secs(10),
        ..slow()
    });
    apply(
        &cluster,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
    )
    .await;
    let mut value = config_map("a", json!({}));
    value["metadata"]["namespace"] = json!("shop");
    value["metadata"]["finalizers"] = json!(["example.org/hold"]);
    apply(&cluster, value.clone()).await;
    let namespaces = kind(&cluster, "v1", "Namespace").await;
    let key = ObjectKey {
        kind: &namespaces,
        namespace: "",
        name: "shop",
    };
    cluster.delete(key, &DeleteParams::default()).await.unwrap();
    assert_eq!(
        cluster
            .get(key)
            .await
            .unwrap()
            .unwrap()
            .pointer("/status/phase"),
        Some(&json!("Terminating"))
    );
    value["metadata"]["name"] = json!("b");
    let error = try_apply(&cluster, "test", value).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(
        error.to_string().contains("because it is being terminated"),
        "{error}"
    );
    cluster.advance(Duration::from_secs(60));
    let namespace = cluster.get(key).await.unwrap().unwrap();
    assert!(
        namespace
            .pointer("/status/conditions")
            .unwrap()
            .to_string()
            .contains("example.org/hold")
    );
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    let held = ObjectKey {
        kind: &maps,
        namespace: "shop",
        name: "a",
    };
    let patch = Patch::Json(json!([{"op": "remove", "path": "/metadata/finalizers"}]));
    cluster.patch(held, &patch, &as_manager("x")).await.unwrap();
    cluster.advance(Duration::from_secs(60));
    assert!(cluster.get(key).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn watches_tell_what_happens() {
    let cluster = InMemoryCluster::new();
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    let labelled = |name: &str, label: &str| {
        let mut value = config_map(name, json!({}));
        value["metadata"]["labels"] = json!({"app": label});
        value
    };
    apply(&cluster, labelled("a", "web")).await;
    let params = ListParams {
        namespace: Some("default".into()),
        labels: Some("app=web".into()),
        ..ListParams::default()
    };
    let mut watch = cluster.watch(&maps, params);
    let mut next = async || {
        let event = tokio::time::timeout(Duration::from_secs(60), watch.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        match event {
            WatchEvent::Added(object) => format!("+{}", object.name()),
            WatchEvent::Modified(object) => format!("~{}", object.name()),
            WatchEvent::Deleted(object) => format!("-{}", object.name()),
            WatchEvent::Synced => "synced".to_owned(),
        }
    };
    assert_eq!((next().await, next().await), ("+a".into(), "synced".into()));
    apply(&cluster, labelled("other", "api")).await;
    apply(&cluster, labelled("b", "web")).await;
    let mut changed = labelled("a", "web");
    changed["data"] = json!({"k": "1"});
    apply(&cluster, changed).await;
    // What is no longer selected is gone for the watch.
    apply(&cluster, labelled("b", "api")).await;
    cluster
        .delete(
            ObjectKey {
                kind: &maps,
                namespace: "default",
                name: "a",
            },
            &DeleteParams::default(),
        )
        .await
        .unwrap();
    for expected in ["+b", "~a", "-b", "-a"] {
        assert_eq!(next().await, expected);
    }
    // After a gap all is told again.
    apply(&cluster, labelled("c", "web")).await;
    cluster.compact();
    apply(&cluster, labelled("d", "web")).await;
    for expected in ["+c", "+d", "synced"] {
        assert_eq!(next().await, expected);
    }
}

#[tokio::test]
async fn a_definition_waits_for_its_objects_and_takes_no_new_ones() {
    let cluster = InMemoryCluster::new();
    apply(&cluster, widgets()).await;
    let mut held = widget(json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    apply(&cluster, held).await;
    let crds = kind(
        &cluster,
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
    )
    .await;
    let key = ObjectKey {
        kind: &crds,
        namespace: "",
        name: "widgets.shop.example.org",
    };
    cluster.delete(key, &DeleteParams::default()).await.unwrap();
    let going = cluster.get(key).await.unwrap().unwrap();
    assert!(going.is_terminating());
    let mut another = widget(json!({"size": 1}));
    another["metadata"]["name"] = json!("another");
    let kinds = kind(&cluster, "shop.example.org/v1", "Widget").await;
    let error = cluster
        .create(&kinds, &object(another), &as_manager("test"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("is terminating"), "{error}");
    let widget = ObjectKey {
        kind: &kinds,
        namespace: "default",
        name: "w",
    };
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    cluster
        .patch(widget, &patch, &as_manager("x"))
        .await
        .unwrap();
    assert!(cluster.get(key).await.unwrap().is_none());
}

#[tokio::test]
async fn status_is_written_for_custom_kinds() {
    let cluster = InMemoryCluster::new();
    apply(&cluster, widgets()).await;
    let made = apply(&cluster, widget(json!({"size": 1}))).await;
    let kinds = kind(&cluster, "shop.example.org/v1", "Widget").await;
    let key = ObjectKey {
        kind: &kinds,
        namespace: "default",
        name: "w",
    };
    cluster.set_status(key, json!({"phase": "Ready"})).unwrap();
    let live = cluster.get(key).await.unwrap().unwrap();
    assert_eq!(live.pointer("/status/phase"), Some(&json!("Ready")));
    assert_eq!(
        live.pointer("/metadata/generation"),
        made.pointer("/metadata/generation")
    );
    // A write of the object itself leaves the status.
    let again = apply(&cluster, widget(json!({"size": 2}))).await;
    assert_eq!(again.pointer("/status/phase"), Some(&json!("Ready")));
    assert_eq!(again.pointer("/metadata/generation"), Some(&json!(2)));
}
