//! Every wait of a sync ends promptly when it is cancelled.

use std::time::Duration;

use gitops_core::manifest::{ManifestSet, ObjectId};
use gitops_kube::cluster::{
    Cluster, DeleteParams, Fault, FaultAnswer, InMemoryCluster, InMemoryOptions, ObjectKey, Verb,
};
use gitops_kube::engine::{ApplySet, Engine, EngineOptions, PlanOptions, Silent, WaitOptions};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::engine::manifests;
use crate::{config_map, deployment, get, kind, slow};

fn fixture(options: InMemoryOptions) -> (InMemoryCluster, Engine, ApplySet, EngineOptions) {
    let cluster = InMemoryCluster::with_options(options);
    let engine = Engine::new(Arc::new(cluster.clone()) as Arc<dyn Cluster>);
    let options = EngineOptions {
        namespace: "default".into(),
        prune: true,
        wait: Some(WaitOptions {
            timeout: Duration::from_secs(100),
            ..WaitOptions::default()
        }),
        ..EngineOptions::default()
    };
    (
        cluster,
        engine,
        ApplySet::new("shop", "default").unwrap(),
        options,
    )
}

/// A ConfigMap that a finalizer holds.
fn held(name: &str) -> Value {
    let mut value = config_map(name, json!({}));
    value["metadata"]["finalizers"] = json!(["example.org/hold"]);
    value
}

fn hook(name: &str) -> Value {
    let mut value = deployment(name, "x:1", 1);
    value["metadata"]["annotations"] = json!({"argocd.argoproj.io/hook": "PreSync"});
    value
}

/// Syncs and cancels after a second; it must end then, not at some timeout.
async fn cancelled(
    engine: &Engine,
    set: &ApplySet,
    wanted: ManifestSet,
    options: &EngineOptions,
    what: &str,
) {
    let plan = engine
        .plan(set, wanted, options, PlanOptions::default())
        .await
        .unwrap();
    let cancel = CancellationToken::new();
    let begun = tokio::time::Instant::now();
    let run = engine.execute(set, plan, options, &Silent, &cancel);
    let (result, ()) = tokio::join!(run, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    });
    let report = result.unwrap();
    let failure = report.failure.clone().unwrap();
    assert!(report.cancelled, "{failure}");
    assert!(failure.contains(what), "{failure}");
    assert!(begun.elapsed() < Duration::from_millis(1500), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_health() {
    let (_, engine, set, options) = fixture(slow());
    let wanted = manifests([deployment("web", "x:1", 1)]);
    cancelled(&engine, &set, wanted, &options, "for health").await;
    // What was applied is known.
    let inventory = engine.inventory(&set).await.unwrap();
    assert!(inventory.iter().all(|entry| !entry.uid.is_empty()));
    assert_eq!(inventory.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_until_pruned_objects_are_gone() {
    let (_, engine, set, options) = fixture(InMemoryOptions::default());
    let both = manifests([held("held"), config_map("a", json!({}))]);
    engine.sync(&set, both, &options).await.unwrap();
    let one = manifests([config_map("a", json!({}))]);
    cancelled(&engine, &set, one, &options, "until objects are gone").await;
    let id = ObjectId::new("", "ConfigMap", "default", "held");
    assert!(engine.inventory(&set).await.unwrap().get(&id).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_wait_until_an_object_may_be_made_again() {
    let (cluster, engine, set, options) = fixture(InMemoryOptions::default());
    let all = || manifests([held("held"), config_map("beside", json!({}))]);
    engine.sync(&set, all(), &options).await.unwrap();
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    for name in ["held", "beside"] {
        let key = ObjectKey {
            kind: &maps,
            namespace: "default",
            name,
        };
        cluster.delete(key, &DeleteParams::default()).await.unwrap();
    }
    cancelled(&engine, &set, all(), &options, "until an object is gone").await;
    // What was applied beside it is recorded.
    let beside = get(&cluster, "v1", "ConfigMap", "beside").await.unwrap();
    let inventory = engine.inventory(&set).await.unwrap();
    assert_eq!(inventory.get(&beside.id()).unwrap().uid, beside.uid());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_hook() {
    let (_, engine, set, options) = fixture(slow());
    let wanted = || manifests([hook("hook"), config_map("a", json!({}))]);
    cancelled(&engine, &set, wanted(), &options, "for a hook to end").await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_until_an_earlier_hook_is_gone() {
    let (_, engine, set, options) = fixture(InMemoryOptions::default());
    let mut held = held("hook");
    held["metadata"]["annotations"] = json!({"argocd.argoproj.io/hook": "PreSync"});
    let wanted = || manifests([held.clone(), config_map("a", json!({}))]);
    let report = engine.sync(&set, wanted(), &options).await.unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    cancelled(&engine, &set, wanted(), &options, "until an object is gone").await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_crd() {
    let (cluster, engine, set, options) = fixture(InMemoryOptions::default());
    cluster.fail_next(
        Fault::new(FaultAnswer::Hang)
            .on(Verb::Get)
            .kind("apiextensions.k8s.io", "CustomResourceDefinition")
            .always(),
    );
    let wanted = manifests([crate::api::widgets()]);
    cancelled(
        &engine,
        &set,
        wanted,
        &options,
        "for CRDs to be established",
    )
    .await;
}
