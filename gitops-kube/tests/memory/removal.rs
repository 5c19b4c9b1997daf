//! What the inventory keeps while objects go, or cannot be seen.

use gitops_core::ErrorKind;
use gitops_core::application::Application;
use gitops_core::manifest::{GroupKind, ObjectId};
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
