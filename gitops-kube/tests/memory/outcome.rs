//! What is told of a sync that failed or was cancelled.

use std::time::{Duration, Instant};

use gitops_core::backend::{EventKind, ResourceAction};
use gitops_core::manifest::ManifestSet;
use gitops_kube::cluster::{
    Cluster, DeleteParams, Fault, FaultAnswer, InMemoryCluster, ObjectKey, Verb,
};
use gitops_kube::engine::{ApplySet, Engine, EngineOptions, PlanOptions, Progress, Report, Silent};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::engine::{fixture, manifests};
use crate::{config_map, get, try_apply};

/// Plans and executes.
async fn run(
    engine: &Engine,
    set: &ApplySet,
    manifests: ManifestSet,
    options: &EngineOptions,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Report {
    let plan = engine
        .plan(set, manifests, options, PlanOptions::default())
        .await
        .unwrap();
    engine
        .execute(set, plan, options, progress, cancel)
        .await
        .unwrap()
}

/// The inventory is made by `create`; every later write of it is a `replace`.
fn forbid_saving(cluster: &InMemoryCluster) {
    cluster.fail_next(
        Fault::new(FaultAnswer::Forbidden)
            .on(Verb::Replace)
            .kind("", "ConfigMap"),
    );
}

#[tokio::test]
async fn a_failure_is_told_before_that_it_could_not_be_recorded() {
    let (cluster, engine, set, options) = fixture();
    let bad = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "namespace": "default"}, "nope": 1});
    forbid_saving(&cluster);
    let report = engine
        .sync(
            &set,
            manifests([config_map("a", json!({})), bad.clone()]),
            &options,
        )
        .await
        .unwrap();
    let failure = report.failure.clone().unwrap();
    let (first, second) = failure
        .split_once("; and the inventory could not be written: ")
        .expect("both failures");
    assert!(first.contains("ConfigMap default/b"), "{failure}");
    assert!(!second.is_empty());
    assert_eq!(report.count(ResourceAction::Created), 1);

    // What was applied stays told when only recording it failed; the next sync finds it.
    let (cluster, engine, set, options) = fixture();
    forbid_saving(&cluster);
    let one = || manifests([config_map("a", json!({}))]);
    let report = engine.sync(&set, one(), &options).await.unwrap();
    let failure = report.failure.clone().unwrap();
    assert!(
        failure.starts_with("the inventory could not be written"),
        "{failure}"
    );
    assert_eq!(report.count(ResourceAction::Created), 1);
    let report = engine.sync(&set, one(), &options).await.unwrap();
    assert!(report.is_success() && report.changed == 0, "{report:?}");
}

#[tokio::test]
async fn a_cancelled_sync_tells_and_records_what_it_did() {
    let (cluster, engine, set, mut options) = fixture();
    options.concurrency = 1;
    let all = || manifests(["a", "b", "c"].map(|name| config_map(name, json!({}))));
    let cancel = CancellationToken::new();
    let after_first = |event: EventKind| {
        if let EventKind::Resource { .. } = event {
            cancel.cancel();
        }
    };
    let report = run(&engine, &set, all(), &options, &after_first, &cancel).await;
    assert!(report.cancelled && !report.is_success(), "{report:?}");
    assert_eq!(report.results.len(), 1, "{report:?}");
    assert_eq!(report.count(ResourceAction::Created), 1);
    assert!(get(&cluster, "v1", "ConfigMap", "b").await.is_none());
    let recorded = engine.inventory(&set).await.unwrap();
    assert_eq!(
        recorded
            .iter()
            .filter(|entry| !entry.uid.is_empty())
            .count(),
        1
    );
    let report = engine.sync(&set, all(), &options).await.unwrap();
    assert!(
        report.is_success() && report.changed == 2 && !report.cancelled,
        "{report:?}"
    );
}

/// Cancels soon, and holds that the sync ends long before what it waits for.
async fn ends_soon(
    engine: &Engine,
    set: &ApplySet,
    manifests: ManifestSet,
    options: &EngineOptions,
) -> Report {
    let cancel = CancellationToken::new();
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        later.cancel();
    });
    let start = Instant::now();
    let report = run(engine, set, manifests, options, &Silent, &cancel).await;
    assert!(report.cancelled, "{report:?}");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    report
}

#[tokio::test]
async fn cancelling_ends_the_wait_for_a_definition() {
    let (cluster, engine, set, options) = fixture();
    let widget = json!({"apiVersion": "shop.example.org/v1", "kind": "Widget",
        "metadata": {"name": "w", "namespace": "default"}, "spec": {"size": 3}});
    // Nobody sees that it is established.
    cluster.fail_next(
        Fault::new(FaultAnswer::Hang)
            .on(Verb::Get)
            .kind("apiextensions.k8s.io", "CustomResourceDefinition")
            .always(),
    );
    let report = ends_soon(
        &engine,
        &set,
        manifests([crate::api::widgets(), widget]),
        &options,
    )
    .await;
    assert_eq!(report.count(ResourceAction::Created), 1, "{report:?}");
}

#[tokio::test]
async fn cancelling_ends_the_pause_between_two_tries() {
    let (cluster, engine, set, options) = fixture();
    cluster.fail_next(
        Fault::new(FaultAnswer::TooManyRequests(Duration::from_secs(25)))
            .on(Verb::Apply)
            .always(),
    );
    let report = ends_soon(
        &engine,
        &set,
        manifests([config_map("a", json!({}))]),
        &options,
    )
    .await;
    assert_eq!(report.changed, 0, "{report:?}");
    // What it was about to do is in the inventory, and nothing is recorded as done.
    let inventory = engine.inventory(&set).await.unwrap();
    assert!(inventory.iter().all(|entry| entry.uid.is_empty()) && inventory.len() == 1);
}

#[tokio::test]
async fn cancelling_ends_the_wait_for_an_object_that_goes() {
    let (cluster, engine, set, options) = fixture();
    let mut held = config_map("a", json!({}));
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    let all = || manifests([held.clone()]);
    assert!(
        engine
            .sync(&set, all(), &options)
            .await
            .unwrap()
            .is_success()
    );
    let maps = crate::kind(&cluster, "v1", "ConfigMap").await;
    let key = ObjectKey {
        kind: &maps,
        namespace: "default",
        name: "a",
    };
    cluster.delete(key, &DeleteParams::default()).await.unwrap();
    ends_soon(&engine, &set, all(), &options).await;
}

#[tokio::test]
async fn what_was_never_recorded_is_pruned_only_if_we_made_it() {
    let (cluster, engine, set, options) = fixture();
    let theirs = config_map("theirs", json!({"k": "v"}));
    try_apply(&cluster, "somebody", theirs.clone())
        .await
        .unwrap();
    cluster.advance(Duration::from_secs(10));
    forbid_saving(&cluster);
    let all = manifests([
        config_map("a", json!({})),
        config_map("ours", json!({})),
        theirs,
    ]);
    let report = engine.sync(&set, all, &options).await.unwrap();
    assert!(!report.is_success());
    cluster.advance(Duration::from_secs(10));
    let report = engine
        .sync(&set, manifests([config_map("a", json!({}))]), &options)
        .await
        .unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    assert!(get(&cluster, "v1", "ConfigMap", "ours").await.is_none());
    assert!(get(&cluster, "v1", "ConfigMap", "theirs").await.is_some());
    let kept = report
        .results
        .iter()
        .find(|result| result.id.name == "theirs")
        .unwrap();
    assert_eq!(kept.action, ResourceAction::PruneSkipped);
    assert!(kept.message.contains("never recorded"), "{}", kept.message);
}
