//! What is told of a sync that failed or was cancelled.

use gitops_core::backend::{EventKind, ResourceAction};
use gitops_core::manifest::ManifestSet;
use gitops_kube::cluster::{Fault, FaultAnswer, InMemoryCluster, Verb};
use gitops_kube::engine::{ApplySet, Engine, EngineOptions, PlanOptions, Progress, Report};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::engine::{fixture, manifests};
use crate::{config_map, get};

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
