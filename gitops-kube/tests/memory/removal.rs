//! What the inventory keeps while objects go, or cannot be seen.

use gitops_core::manifest::{GroupKind, ObjectId};
use gitops_kube::cluster::InMemoryCluster;
use gitops_kube::engine::{PlanAction, PlanOptions};
use serde_json::{Value, json};

use crate::engine::{fixture, manifests};
use crate::{apply, config_map, get};

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
