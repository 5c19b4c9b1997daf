//! The API server killed and restarted at every stage of a sync.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use e2e::ControlPlaneOptions;
use futures::stream::BoxStream;
use gitops_core::manifest::{GroupKind, GroupVersionKind, ManifestSet, Object};
use gitops_kube::cluster::{
    ApiKind, Cluster, DeleteParams, KubeCluster, ListParams, ObjectKey, ObjectList, Patch,
    WatchEvent, WriteParams,
};
use gitops_kube::engine::{ApplySet, Engine, EngineOptions, RetryOptions};
use serde_json::json;
use tokio::sync::Notify;

/// Tells when the n-th request is about to be sent, and holds it until it may go on.
struct Tripwire {
    inner: KubeCluster,
    at: usize,
    count: AtomicUsize,
    tripped: Notify,
    go_on: Notify,
}

impl Tripwire {
    async fn step(&self) {
        if self.count.fetch_add(1, Ordering::SeqCst) == self.at {
            self.tripped.notify_one();
            self.go_on.notified().await;
        }
    }
}

#[async_trait]
impl Cluster for Tripwire {
    async fn resolve(&self, gvk: &GroupVersionKind) -> gitops_core::Result<ApiKind> {
        self.inner.resolve(gvk).await
    }
    async fn resolve_any(&self, kind: &GroupKind) -> gitops_core::Result<ApiKind> {
        self.inner.resolve_any(kind).await
    }
    fn invalidate(&self) {
        self.inner.invalidate();
    }
    async fn get(&self, key: ObjectKey<'_>) -> gitops_core::Result<Option<Object>> {
        self.step().await;
        self.inner.get(key).await
    }
    async fn list(&self, kind: &ApiKind, params: &ListParams) -> gitops_core::Result<ObjectList> {
        self.step().await;
        self.inner.list(kind, params).await
    }
    async fn create(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> gitops_core::Result<Object> {
        self.step().await;
        self.inner.create(kind, object, params).await
    }
    async fn apply(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> gitops_core::Result<Object> {
        self.step().await;
        self.inner.apply(kind, object, params).await
    }
    async fn replace(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> gitops_core::Result<Object> {
        self.step().await;
        self.inner.replace(kind, object, params).await
    }
    async fn patch(
        &self,
        key: ObjectKey<'_>,
        patch: &Patch,
        params: &WriteParams,
    ) -> gitops_core::Result<Object> {
        self.step().await;
        self.inner.patch(key, patch, params).await
    }
    async fn delete(&self, key: ObjectKey<'_>, params: &DeleteParams) -> gitops_core::Result<()> {
        self.step().await;
        self.inner.delete(key, params).await
    }
    fn watch(
        &self,
        kind: &ApiKind,
        params: ListParams,
    ) -> BoxStream<'static, gitops_core::Result<WatchEvent>> {
        self.inner.watch(kind, params)
    }
}

fn objects(range: std::ops::Range<usize>, version: &str) -> Result<ManifestSet> {
    let objects = range.map(|i| {
        let value = match i % 3 {
            0 => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("o-{i}")}, "data": {"v": version}}),
            1 => json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": format!("o-{i}"), "labels": {"v": version}}}),
            _ => json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("o-{i}"), "labels": {"v": version}},
                "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}),
        };
        Object::new(value, None)
    });
    Ok(ManifestSet::from_objects(
        objects.collect::<gitops_core::Result<Vec<_>>>()?,
    )?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_api_server_loses_nothing_and_hurts_nobody() -> Result<()> {
    let mut plane = e2e::private_control_plane(&ControlPlaneOptions::default()).await?;
    plane
        .cluster()
        .kubectl(&["create", "namespace", "kill"])
        .await?;
    plane
        .cluster()
        .kubectl(&[
            "-n",
            "kill",
            "create",
            "configmap",
            "bystander",
            "--from-literal=k=v",
        ])
        .await?;
    let set = ApplySet::new("kill", "kill")?;
    let options = EngineOptions {
        namespace: "kill".into(),
        prune: true,
        wait: None,
        retry: RetryOptions {
            total: Duration::from_secs(20),
            ..RetryOptions::default()
        },
        ..EngineOptions::default()
    };
    let mut recovered = 0;
    let mut failed = 0;
    // The requests of a sync, from its first LIST over the inventory and the applies to the prunes and the last inventory.
    let points = [0, 1, 2, 3, 5, 60, 150, 299, 301, 303, 310, 340, 380, 401];
    for (round, at) in points.into_iter().enumerate() {
        // Each round changes all objects and moves the window by 50: 50 are new, 50 are pruned.
        let wanted = || objects(round * 50..round * 50 + 300, &format!("v{round}"));
        let cluster = Arc::new(Tripwire {
            inner: KubeCluster::new(plane.cluster().client().await?),
            at,
            count: AtomicUsize::new(0),
            tripped: Notify::new(),
            go_on: Notify::new(),
        });
        let engine = Engine::new(cluster.clone());
        let sync = {
            let (engine, set, options, manifests) =
                (engine.clone(), set.clone(), options.clone(), wanted()?);
            tokio::spawn(async move { engine.sync(&set, manifests, &options).await })
        };
        let tripped = tokio::time::timeout(Duration::from_secs(60), cluster.tripped.notified())
            .await
            .is_ok();
        if tripped {
            plane.kill_apiserver();
            cluster.go_on.notify_one();
            // While it is down, requests fail; then it comes back.
            tokio::time::sleep(Duration::from_millis(500)).await;
            plane.start_apiserver().await?;
        }
        match sync.await? {
            Ok(report) if report.is_success() => recovered += 1,
            Ok(_) | Err(_) => failed += 1,
        }
        // Run again, it converges.
        let engine = Engine::new(Arc::new(KubeCluster::new(plane.cluster().client().await?)));
        let report = engine.sync(&set, wanted()?, &options).await?;
        assert!(
            report.is_success(),
            "killed at request {at}: {:?}",
            report.failure
        );
        let report = engine.sync(&set, wanted()?, &options).await?;
        assert_eq!(
            report.changed, 0,
            "killed at request {at}: {:?}",
            report.results
        );
        let live: BTreeSet<String> = plane
            .cluster()
            .kubectl(&[
                "-n",
                "kill",
                "get",
                "cm,sa,svc",
                "-l",
                &set.selector(),
                "-o",
                "name",
            ])
            .await?
            .lines()
            .map(|line| line.rsplit('/').next().unwrap_or_default().to_owned())
            .collect();
        let desired: BTreeSet<String> = wanted()?
            .iter()
            .map(|object| object.name().to_owned())
            .collect();
        assert_eq!(live, desired, "killed at request {at}");
        assert_eq!(engine.inventory(&set).await?.len(), 300);
        let bystander = plane
            .cluster()
            .kubectl(&[
                "-n",
                "kill",
                "get",
                "cm",
                "bystander",
                "-o",
                "jsonpath={.data.k}",
            ])
            .await?;
        assert_eq!(bystander, "v", "killed at request {at}");
        println!("killed at request {at:>3}: tripped {tripped}, converged");
    }
    println!(
        "{} kills: {recovered} syncs recovered by themselves, {failed} failed and converged when run again",
        points.len()
    );
    Ok(())
}
