//! Server-side apply.

use gitops_core::ErrorKind;
use gitops_core::manifest::Object;
use gitops_kube::cluster::{Cluster, InMemoryCluster, ObjectKey, Patch, WriteParams};
use serde_json::{Value, json};

use crate::{apply, as_manager, config_map, deployment, get, kind, object, slow, try_apply};

fn owned(object: &Object, manager: &str) -> Value {
    object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|entry| entry["manager"] == manager)
        .map(|entry| entry["fieldsV1"].clone())
        .unwrap_or_default()
}

#[tokio::test]
async fn conflicts_name_managers_and_fields() {
    let cluster = InMemoryCluster::new();
    try_apply(
        &cluster,
        "one",
        config_map("a", json!({"x": "1", "y": "1"})),
    )
    .await
    .unwrap();
    let other = config_map("a", json!({"x": "2", "y": "2"}));
    let error = try_apply(&cluster, "two", other.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = error.to_string();
    assert!(
        text.contains("Apply failed with 2 conflicts: conflicts with \"one\""),
        "{text}"
    );
    assert!(
        text.contains(".data.x") && text.contains(".data.y"),
        "{text}"
    );

    let maps = kind(&cluster, "v1", "ConfigMap").await;
    let force = WriteParams {
        force: true,
        ..as_manager("two")
    };
    let stored = cluster.apply(&maps, &object(other), &force).await.unwrap();
    assert_eq!(
        owned(&stored, "two"),
        json!({"f:data": {"f:x": {}, "f:y": {}}})
    );
    // Its emptied map is still the first one's? No: it never owned the map itself.
    assert_eq!(owned(&stored, "one"), Value::Null);
}

#[tokio::test]
async fn what_is_not_applied_any_more_goes_unless_shared() {
    let cluster = InMemoryCluster::new();
    try_apply(
        &cluster,
        "one",
        config_map("a", json!({"mine": "1", "ours": "1"})),
    )
    .await
    .unwrap();
    try_apply(&cluster, "two", config_map("a", json!({"ours": "1"})))
        .await
        .unwrap();
    let stored = try_apply(&cluster, "one", config_map("a", json!({"new": "1"})))
        .await
        .unwrap();
    assert_eq!(
        stored.pointer("/data"),
        Some(&json!({"new": "1", "ours": "1"}))
    );
    assert_eq!(owned(&stored, "one"), json!({"f:data": {"f:new": {}}}));
    assert_eq!(owned(&stored, "two"), json!({"f:data": {"f:ours": {}}}));
    // The same again changes nothing, not even the version.
    let again = try_apply(&cluster, "one", config_map("a", json!({"new": "1"})))
        .await
        .unwrap();
    assert_eq!(again, stored);
}

#[tokio::test]
async fn an_update_takes_what_it_changes() {
    let cluster = InMemoryCluster::with_options(slow());
    try_apply(&cluster, "one", deployment("web", "x:1", 2))
        .await
        .unwrap();
    let deployments = kind(&cluster, "apps/v1", "Deployment").await;
    let key = ObjectKey {
        kind: &deployments,
        namespace: "default",
        name: "web",
    };
    let scale = Patch::Merge(json!({"spec": {"replicas": 5}}));
    let scaled = cluster
        .patch(key, &scale, &as_manager("scaler"))
        .await
        .unwrap();
    assert_eq!(
        owned(&scaled, "scaler"),
        json!({"f:spec": {"f:replicas": {}}})
    );
    let error = try_apply(&cluster, "one", deployment("web", "x:1", 2))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("conflict with \"scaler\" using apps/v1"),
        "{error}"
    );
    assert!(error.to_string().contains(".spec.replicas"), "{error}");
    let mut without = deployment("web", "x:2", 2);
    without["spec"].as_object_mut().unwrap().remove("replicas");
    let stored = try_apply(&cluster, "one", without).await.unwrap();
    assert_eq!(stored.pointer("/spec/replicas"), Some(&json!(5)));
}

#[tokio::test]
async fn list_items_have_owners_of_their_own() {
    let cluster = InMemoryCluster::with_options(slow());
    let with = |env: Value| {
        let mut value = deployment("web", "x:1", 1);
        value["spec"]["template"]["spec"]["containers"][0]["env"] = env;
        value
    };
    try_apply(
        &cluster,
        "one",
        with(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "1"}])),
    )
    .await
    .unwrap();
    let sidecar = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {"containers": [
            {"name": "c", "env": [{"name": "C", "value": "1"}]},
            {"name": "sidecar", "image": "s:1"},
        ]}}},
    });
    try_apply(&cluster, "two", sidecar).await.unwrap();
    let stored = try_apply(&cluster, "one", with(json!([{"name": "B", "value": "1"}])))
        .await
        .unwrap();
    let containers = stored.pointer("/spec/template/spec/containers").unwrap();
    assert_eq!(containers.as_array().unwrap().len(), 2);
    let names: Vec<&str> = containers[0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["name"].as_str())
        .collect();
    assert_eq!(names, ["B", "C"]);
    assert!(
        owned(&stored, "one")
            .to_string()
            .contains(r#"k:{\"containerPort\":80,\"protocol\":\"TCP\"}"#)
    );
    let error = try_apply(
        &cluster,
        "one",
        with(json!([{"name": "B", "value": "1"}, {"name": "B", "value": "2"}])),
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn an_apply_checks_versions_and_needs_a_manager() {
    let cluster = InMemoryCluster::new();
    let stored = apply(&cluster, config_map("a", json!({}))).await;
    let mut stale = config_map("a", json!({"k": "1"}));
    stale["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(
        try_apply(&cluster, "test", stale).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    let mut other = config_map("a", json!({"k": "1"}));
    other["metadata"]["uid"] = json!("another");
    // Not a precondition: an immutable field.
    assert_eq!(
        try_apply(&cluster, "test", other).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        try_apply(&cluster, "", config_map("b", json!({})))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput
    );
    let mut managed = config_map("a", json!({}));
    managed["metadata"]["managedFields"] =
        stored.pointer("/metadata/managedFields").cloned().unwrap();
    assert_eq!(
        try_apply(&cluster, "test", managed)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput
    );
    // Managed fields can be reset.
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    let key = ObjectKey {
        kind: &maps,
        namespace: "default",
        name: "a",
    };
    let patch = Patch::Merge(json!({"metadata": {"managedFields": [{}]}}));
    cluster.patch(key, &patch, &as_manager("x")).await.unwrap();
    let reset = get(&cluster, "v1", "ConfigMap", "a").await.unwrap();
    assert_eq!(owned(&reset, "test"), Value::Null);
}
