//! What the inventory keeps while objects go, or cannot be seen.

use std::time::Duration;

use gitops_core::ErrorKind;
use gitops_core::application::Application;
use gitops_core::backend::ResourceAction;
use gitops_core::manifest::{GroupKind, ManifestSet, ObjectId};
use gitops_kube::cluster::{Cluster, InMemoryCluster, ObjectKey, Patch};
use gitops_kube::engine::{
    APPLICATION_ANNOTATION, ApplySet, EngineOptions, InventoryEntry, PlanAction, PlanOptions,
};
use serde_json::{Value, json};

use crate::engine::{fixture, manifests};
use crate::{apply, as_manager, config_map, get, kind};

fn widget() -> Value {
    json!({"apiVersion": "shop.example.org/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"},
        "spec": {"size": 3}})
}

/// The CRD of widgets, served or not.
async fn serve_widgets(cluster: &InMemoryCluster, served: bool) {
    let mut crd = crate::api::widgets();
    for version in crd["spec"]["versions"].as_array_mut().unwrap() {
        version["served"] = served.into();
    }
    apply(cluster, crd).await;
}

#[tokio::test]
async fn a_kind_that_is_away_keeps_its_entries() {
    let (cluster, engine, set, options) = fixture();
    serve_widgets(&cluster, true).await;
    let both = manifests([config_map("a", json!({})), widget()]);
    let one = || manifests([config_map("a", json!({}))]);
    let id = ObjectId::new("shop.example.org", "Widget", "default", "w");
    let report = engine.sync(&set, both, &options).await.unwrap();
    assert!(report.is_success(), "{:?}", report.failure);

    serve_widgets(&cluster, false).await;
    let plan = engine
        .plan(&set, one(), &options, PlanOptions::default())
        .await
        .unwrap();
    let step = plan.steps().iter().find(|step| step.id == id).unwrap();
    assert_eq!(step.action, PlanAction::Keep);
    assert!(
        step.reason.contains("CRD widgets.shop.example.org"),
        "{}",
        step.reason
    );
    engine.sync(&set, one(), &options).await.unwrap();
    assert!(engine.inventory(&set).await.unwrap().get(&id).is_some());

    // Who may not look cannot know.
    cluster.forbid_cluster_wide(&GroupKind::new(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
    ));
    engine.sync(&set, one(), &options).await.unwrap();
    assert!(engine.inventory(&set).await.unwrap().get(&id).is_some());
    cluster.clear_faults();

    serve_widgets(&cluster, true).await;
    let report = engine.sync(&set, one(), &options).await.unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    assert!(
        get(&cluster, "shop.example.org/v1", "Widget", "w")
            .await
            .is_none()
    );
    assert!(engine.inventory(&set).await.unwrap().get(&id).is_none());
}

#[tokio::test]
async fn a_set_that_names_another_application_is_refused() {
    let (cluster, engine, set, options) = fixture();
    let one = || manifests([config_map("a", json!({}))]);
    // The same parent, by the destination's namespace.
    let other = Application::new("shop").in_namespace("default");
    let other = ApplySet::of(&other).unwrap();
    assert_eq!(other.id(), set.id());
    engine.sync(&other, one(), &options).await.unwrap();
    let parent = get(&cluster, "v1", "ConfigMap", "gitops-shop")
        .await
        .unwrap();
    assert_eq!(parent.annotation(APPLICATION_ANNOTATION), Some("shop"));

    let error = engine.sync(&set, one(), &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error
            .to_string()
            .contains("belongs to application shop already, not to default/shop"),
        "{error}"
    );
    assert_eq!(
        engine.delete(&set, &options).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );

    // Taken over on purpose, or written before applications were named: it is ours.
    engine.take_over(&set).await.unwrap();
    engine.sync(&set, one(), &options).await.unwrap();
    let unnamed = json!({"metadata": {"annotations": {APPLICATION_ANNOTATION: null}}});
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    let key = ObjectKey {
        kind: &maps,
        namespace: "default",
        name: "gitops-shop",
    };
    cluster
        .patch(key, &Patch::Merge(unnamed), &as_manager("test"))
        .await
        .unwrap();
    engine.sync(&other, one(), &options).await.unwrap();
    let parent = get(&cluster, "v1", "ConfigMap", "gitops-shop")
        .await
        .unwrap();
    assert_eq!(parent.annotation(APPLICATION_ANNOTATION), Some("shop"));
}

#[tokio::test]
async fn a_concurrent_writers_inventory_is_never_deleted() {
    let (cluster, engine, set, options) = fixture();
    let nothing = || manifests([]);
    let engine_options = EngineOptions {
        allow_empty: true,
        ..options.clone()
    };
    let one = |name: &str| manifests([config_map(name, json!({}))]);
    engine.sync(&set, one("a"), &options).await.unwrap();
    engine.sync(&set, nothing(), &engine_options).await.unwrap();
    let mut stale = engine.inventory(&set).await.unwrap();
    assert!(stale.exists() && stale.is_empty());

    // Meanwhile another sync applies something.
    engine.sync(&set, one("b"), &options).await.unwrap();
    let error = stale.delete(&cluster, &set).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error.to_string().contains("by somebody else meanwhile"),
        "{error}"
    );
    assert_eq!(engine.inventory(&set).await.unwrap().len(), 1);

    // Another layout: enough entries for a second shard.
    engine.sync(&set, nothing(), &engine_options).await.unwrap();
    let mut stale = engine.inventory(&set).await.unwrap();
    let mut many = stale.clone();
    for number in 0..2500 {
        many.insert(InventoryEntry {
            id: ObjectId::new("", "ConfigMap", "default", format!("m-{number}")),
            version: "v1".into(),
            uid: String::new(),
            desired: String::new(),
            live: String::new(),
        });
    }
    many.write(&cluster, &set).await.unwrap();
    let error = stale.delete(&cluster, &set).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(engine.inventory(&set).await.unwrap().len(), 2500);

    // A writer who splits shards that somebody else wrote meanwhile leaves those: what both know stays known.
    engine.sync(&set, nothing(), &engine_options).await.unwrap();
    let mut first = engine.inventory(&set).await.unwrap();
    let mut splits = first.clone();
    first.insert(InventoryEntry {
        id: ObjectId::new("", "ConfigMap", "default", "theirs"),
        version: "v1".into(),
        uid: String::new(),
        desired: String::new(),
        live: String::new(),
    });
    first.write(&cluster, &set).await.unwrap();
    for entry in many.iter() {
        splits.insert(entry.clone());
    }
    let error = splits.write(&cluster, &set).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let now = engine.inventory(&set).await.unwrap();
    let theirs = ObjectId::new("", "ConfigMap", "default", "theirs");
    assert!(now.get(&theirs).is_some());
}

/// A Service whose finalizer somebody has to take off, and a ConfigMap, which is pruned after it.
fn held() -> ManifestSet {
    manifests([
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "held", "namespace": "default", "finalizers": ["example.org/hold"]},
            "spec": {"ports": [{"port": 80}]}}),
        config_map("below", json!({})),
        config_map("stays", json!({})),
    ])
}

async fn release(cluster: &InMemoryCluster) {
    let services = kind(cluster, "v1", "Service").await;
    let key = ObjectKey {
        kind: &services,
        namespace: "default",
        name: "held",
    };
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    cluster
        .patch(key, &patch, &as_manager("test"))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_gone_in_time_is_told_and_stays_in_the_inventory() {
    let (cluster, engine, set, options) = fixture();
    let rest = || manifests([config_map("stays", json!({}))]);
    let id = ObjectId::new("", "Service", "default", "held");
    engine.sync(&set, held(), &options).await.unwrap();

    for _ in 0..2 {
        let report = engine.sync(&set, rest(), &options).await.unwrap();
        let failure = report.failure.clone().expect("a failure");
        assert!(
            failure.contains("after 20s") && failure.contains("finalizers example.org/hold"),
            "{failure}"
        );
        assert_eq!(report.count(ResourceAction::Failed), 1);
        assert!(engine.inventory(&set).await.unwrap().get(&id).is_some());
        // What comes after it was not touched.
        assert!(get(&cluster, "v1", "ConfigMap", "below").await.is_some());
    }

    // It goes while the sync waits.
    let other = cluster.clone();
    let releasing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(get(&other, "v1", "ConfigMap", "below").await.is_some());
        release(&other).await;
    });
    let report = engine.sync(&set, rest(), &options).await.unwrap();
    releasing.await.unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    assert_eq!(report.count(ResourceAction::Pruned), 2);
    assert!(get(&cluster, "v1", "ConfigMap", "below").await.is_none());
    assert_eq!(engine.inventory(&set).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_wait_an_entry_stays_until_a_later_plan_sees_it_gone() {
    let (cluster, engine, set, mut options) = fixture();
    options.wait = None;
    let rest = || manifests([config_map("stays", json!({}))]);
    engine.sync(&set, held(), &options).await.unwrap();
    let begun = tokio::time::Instant::now();
    let report = engine.sync(&set, rest(), &options).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(100), "it waited");
    assert!(report.is_success(), "{:?}", report.failure);
    assert!(get(&cluster, "v1", "ConfigMap", "below").await.is_none());
    let inventory = engine.inventory(&set).await.unwrap();
    assert_eq!(inventory.len(), 2, "{inventory:?}");

    release(&cluster).await;
    let report = engine.sync(&set, rest(), &options).await.unwrap();
    assert!(report.is_success() && report.changed == 0, "{report:?}");
    assert_eq!(engine.inventory(&set).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delete_of_everything_waits_whatever_the_options_say() {
    let (cluster, engine, set, mut options) = fixture();
    options.wait = None;
    engine.sync(&set, held(), &options).await.unwrap();
    let other = cluster.clone();
    let releasing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(100)).await;
        release(&other).await;
    });
    let report = engine.delete(&set, &options).await.unwrap();
    releasing.await.unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    assert!(!engine.inventory(&set).await.unwrap().exists());
}
