//! The in-memory cluster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod cancel;
mod engine;
mod faults;
mod hooks;
mod ours;
mod outcome;
mod ownership;
mod removal;
mod workloads;

use gitops_core::manifest::{GroupVersionKind, Object};
use gitops_kube::cluster::{
    ApiKind, Cluster, InMemoryCluster, InMemoryOptions, ListParams, ObjectKey, WriteParams,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Pods are ready and controllers act only when the test moves the clock.
fn slow() -> InMemoryOptions {
    InMemoryOptions {
        ready_after: Duration::from_secs(3600),
        ..InMemoryOptions::default()
    }
}

fn object(value: Value) -> Object {
    Object::new(value, None).expect("a well-formed object")
}

fn as_manager(manager: &str) -> WriteParams {
    WriteParams {
        field_manager: manager.into(),
        ..WriteParams::default()
    }
}

async fn kind(cluster: &InMemoryCluster, api_version: &str, kind: &str) -> ApiKind {
    cluster
        .resolve(&GroupVersionKind::from_api_version(api_version, kind))
        .await
        .expect("a served kind")
}

/// Applies with the field manager `test`.
async fn apply(cluster: &InMemoryCluster, value: Value) -> Object {
    try_apply(cluster, "test", value).await.expect("applied")
}

async fn try_apply(
    cluster: &InMemoryCluster,
    manager: &str,
    value: Value,
) -> gitops_core::Result<Object> {
    let object = object(value);
    let kind = cluster.resolve(&object.gvk()).await?;
    cluster.apply(&kind, &object, &as_manager(manager)).await
}

/// `apiVersion/Kind` in the namespace `default`.
async fn get(
    cluster: &InMemoryCluster,
    api_version: &str,
    kind_name: &str,
    name: &str,
) -> Option<Object> {
    let kind = kind(cluster, api_version, kind_name).await;
    let namespace = if kind.is_namespaced() { "default" } else { "" };
    cluster
        .get(ObjectKey {
            kind: &kind,
            namespace,
            name,
        })
        .await
        .expect("an answer")
}

async fn names(
    cluster: &InMemoryCluster,
    api_version: &str,
    kind_name: &str,
    labels: &str,
) -> Vec<String> {
    let kind = kind(cluster, api_version, kind_name).await;
    let params = ListParams {
        namespace: Some("default".into()),
        labels: Some(labels.into()),
        ..ListParams::default()
    };
    let list = cluster.list(&kind, &params).await.expect("a list");
    list.items
        .iter()
        .map(|object| object.name().to_owned())
        .collect()
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data})
}

fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}
