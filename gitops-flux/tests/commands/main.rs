//! What the `flux` command does, on a cluster in memory with definitions of Flux's kinds that take anything.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod diff;
mod hooks;
mod secrets;
mod stats;
mod trace;
mod tree;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use gitops_core::Result;
use gitops_core::manifest::{GroupKind, GroupVersionKind, Object};
use gitops_flux::FluxKind;
use gitops_kube::cluster::{
    ApiKind, Cluster, DeleteParams, InMemoryCluster, ListParams, ObjectKey, ObjectList, Patch,
    WatchEvent, WriteParams,
};
use serde_json::{Value, json};

fn object(value: Value) -> Object {
    Object::new(value, None).unwrap()
}

fn params() -> WriteParams {
    WriteParams {
        field_manager: "test".into(),
        force: true,
        ..WriteParams::default()
    }
}

/// A cluster with definitions of these kinds.
async fn cluster(kinds: &[FluxKind]) -> InMemoryCluster {
    let cluster = InMemoryCluster::new();
    for kind in kinds {
        put(
            &cluster,
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{}.{}", kind.plural(), kind.group())},
                "spec": {
                    "group": kind.group(), "scope": "Namespaced",
                    "names": {"kind": kind.kind(), "plural": kind.plural(), "singular": kind.kind().to_lowercase(), "listKind": format!("{kind}List")},
                    "versions": [{"name": kind.version(), "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    }}}],
                },
            }),
        )
        .await;
    }
    cluster
}

/// Applies an object, and gives its UID.
async fn put(cluster: &dyn Cluster, value: Value) -> String {
    let object = object(value);
    let kind = cluster.resolve(&object.gvk()).await.unwrap();
    let applied = cluster.apply(&kind, &object, &params()).await.unwrap();
    applied.uid().to_owned()
}

async fn namespace(cluster: &dyn Cluster, name: &str) {
    put(
        cluster,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
    )
    .await;
}

/// A Flux object with a spec and a status.
fn flux(kind: FluxKind, namespace: &str, name: &str, spec: Value, status: Value) -> Value {
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind(),
        "metadata": {"namespace": namespace, "name": name}, "spec": spec, "status": status,
    })
}

fn inventory(ids: &[&str]) -> Value {
    let entries: Vec<Value> = ids.iter().map(|id| json!({"id": id, "v": "v1"})).collect();
    json!({"inventory": {"entries": entries}})
}

fn config_map(namespace: &str, name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name, "labels": labels}, "data": {"a": "1"}})
}

/// Counts reads.
struct Counting {
    cluster: InMemoryCluster,
    reads: Arc<Mutex<Vec<(&'static str, String)>>>,
    lists: Arc<Mutex<Vec<(String, ListParams)>>>,
}

impl Counting {
    fn new(cluster: InMemoryCluster) -> Self {
        Self {
            cluster,
            reads: Arc::default(),
            lists: Arc::default(),
        }
    }

    fn count(&self, verb: &str, kind: &str) -> usize {
        let reads = self.reads.lock().unwrap();
        reads
            .iter()
            .filter(|(found, of)| *found == verb && of == kind)
            .count()
    }

    fn most_lists_of_a_kind(&self) -> usize {
        let reads = self.reads.lock().unwrap();
        let lists: Vec<&String> = reads
            .iter()
            .filter(|(verb, _)| *verb == "list")
            .map(|(_, kind)| kind)
            .collect();
        lists
            .iter()
            .map(|kind| lists.iter().filter(|other| *other == kind).count())
            .max()
            .unwrap_or(0)
    }

    fn note(&self, verb: &'static str, kind: &ApiKind) {
        self.reads
            .lock()
            .unwrap()
            .push((verb, kind.gvk.kind.clone()));
    }
}

#[async_trait]
impl Cluster for Counting {
    async fn resolve(&self, gvk: &GroupVersionKind) -> Result<ApiKind> {
        self.cluster.resolve(gvk).await
    }
    async fn resolve_any(&self, kind: &GroupKind) -> Result<ApiKind> {
        self.cluster.resolve_any(kind).await
    }
    fn invalidate(&self) {
        self.cluster.invalidate();
    }
    async fn get(&self, key: ObjectKey<'_>) -> Result<Option<Object>> {
        self.note("get", key.kind);
        self.cluster.get(key).await
    }
    async fn list(&self, kind: &ApiKind, params: &ListParams) -> Result<ObjectList> {
        self.note("list", kind);
        self.lists
            .lock()
            .unwrap()
            .push((kind.gvk.kind.clone(), params.clone()));
        self.cluster.list(kind, params).await
    }
    async fn create(&self, kind: &ApiKind, object: &Object, p: &WriteParams) -> Result<Object> {
        self.cluster.create(kind, object, p).await
    }
    async fn apply(&self, kind: &ApiKind, object: &Object, p: &WriteParams) -> Result<Object> {
        self.cluster.apply(kind, object, p).await
    }
    async fn replace(&self, kind: &ApiKind, object: &Object, p: &WriteParams) -> Result<Object> {
        self.cluster.replace(kind, object, p).await
    }
    async fn patch(&self, key: ObjectKey<'_>, patch: &Patch, p: &WriteParams) -> Result<Object> {
        self.cluster.patch(key, patch, p).await
    }
    async fn delete(&self, key: ObjectKey<'_>, params: &DeleteParams) -> Result<()> {
        self.cluster.delete(key, params).await
    }
    fn watch(&self, kind: &ApiKind, params: ListParams) -> BoxStream<'static, Result<WatchEvent>> {
        self.cluster.watch(kind, params)
    }
}
