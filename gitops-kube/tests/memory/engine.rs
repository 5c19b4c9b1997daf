//! The engine on the in-memory cluster.

use std::sync::Arc;
use std::time::Duration;

use gitops_core::backend::ResourceAction;
use gitops_core::manifest::{GroupKind, ManifestSet};
use gitops_kube::cluster::{Cluster, Fault, FaultAnswer, InMemoryCluster, InMemoryOptions, Verb};
use gitops_kube::engine::{ApplySet, Engine, EngineOptions, WaitOptions};
use serde_json::{Value, json};

use crate::{config_map, deployment, get, names, object};

pub(crate) fn manifests(values: impl IntoIterator<Item = Value>) -> ManifestSet {
    ManifestSet::from_objects(values.into_iter().map(object)).expect("distinct objects")
}

pub(crate) fn fixture() -> (InMemoryCluster, Engine, ApplySet, EngineOptions) {
    let cluster = InMemoryCluster::new();
    let engine = Engine::new(Arc::new(cluster.clone()) as Arc<dyn Cluster>);
    let set = ApplySet::new("shop", "default").unwrap();
    let options = EngineOptions {
        namespace: "default".into(),
        prune: true,
        wait: Some(WaitOptions {
            timeout: Duration::from_secs(20),
            ..WaitOptions::default()
        }),
        ..EngineOptions::default()
    };
    (cluster, engine, set, options)
}

#[tokio::test]
async fn a_sync_a_second_one_a_change_and_a_prune() {
    let (cluster, engine, set, options) = fixture();
    let all = |text: &str| {
        manifests([
            config_map("a", json!({"k": text})),
            config_map("b", json!({"k": "1"})),
            deployment("web", "example.org/web:1", 2),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"},
                "stringData": {"k": "v"}}),
        ])
    };
    let report = engine.sync(&set, all("1"), &options).await.unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    assert_eq!(report.count(ResourceAction::Created), 5);

    let web = get(&cluster, "apps/v1", "Deployment", "web").await.unwrap();
    assert_eq!(web.pointer("/status/readyReplicas"), Some(&json!(2)));

    // The Deployment controller added its revision: one apply that changes nothing may be needed.
    let report = engine.sync(&set, all("1"), &options).await.unwrap();
    assert_eq!(report.changed, 0, "{:?}", report.results);

    cluster.reset_requests();
    let report = engine.sync(&set, all("1"), &options).await.unwrap();
    assert_eq!(report.count(ResourceAction::Unchanged), 5);
    assert_eq!(cluster.requests().writes(), 0, "{:?}", cluster.requests());

    let report = engine.sync(&set, all("2"), &options).await.unwrap();
    assert_eq!(
        report.count(ResourceAction::Updated),
        1,
        "{:?}",
        report.results
    );

    let report = engine
        .sync(
            &set,
            manifests([config_map("a", json!({"k": "2"}))]),
            &options,
        )
        .await
        .unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    assert_eq!(report.count(ResourceAction::Pruned), 4);
    assert!(names(&cluster, "v1", "Pod", "app=web").await.is_empty());
    assert!(
        get(&cluster, "apps/v1", "Deployment", "web")
            .await
            .is_none()
    );

    let report = engine.delete(&set, &options).await.unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    assert!(get(&cluster, "v1", "ConfigMap", "a").await.is_none());
    assert_eq!(
        names(&cluster, "v1", "ConfigMap", "").await,
        ["kube-root-ca.crt"]
    );
}

#[tokio::test]
async fn definitions_and_their_objects_go_together() {
    let (cluster, engine, set, options) = fixture();
    let widgets = || {
        manifests([
            json!({"apiVersion": "shop.example.org/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"},
                "spec": {"size": 3}}),
            crate::api::widgets(),
        ])
    };
    let report = engine.sync(&set, widgets(), &options).await.unwrap();
    assert!(
        report.is_success(),
        "{:?} {:?}",
        report.failure,
        report.results
    );
    let report = engine.sync(&set, widgets(), &options).await.unwrap();
    assert_eq!(report.changed, 0, "{:?}", report.results);
    let report = engine.delete(&set, &options).await.unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    assert!(
        get(
            &cluster,
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "widgets.shop.example.org"
        )
        .await
        .is_none()
    );
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_fails_the_wait_with_its_reason() {
    let cluster = InMemoryCluster::with_options(InMemoryOptions {
        unpullable: vec!["example.org/web:bad".into()],
        ..InMemoryOptions::default()
    });
    let engine = Engine::new(Arc::new(cluster.clone()) as Arc<dyn Cluster>);
    let set = ApplySet::new("shop", "default").unwrap();
    let options = EngineOptions {
        namespace: "default".into(),
        wait: Some(WaitOptions {
            timeout: Duration::from_millis(500),
            ..WaitOptions::default()
        }),
        ..EngineOptions::default()
    };
    let report = engine
        .sync(
            &set,
            manifests([deployment("web", "example.org/web:bad", 1)]),
            &options,
        )
        .await
        .unwrap();
    let failure = report.failure.expect("a failure");
    assert!(
        failure.contains("ImagePullBackOff") || failure.contains("pull"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_server_that_stumbles_is_asked_again() {
    let (cluster, engine, set, options) = fixture();
    cluster.fail_next(
        Fault::new(FaultAnswer::TooManyRequests(Duration::from_millis(10)))
            .on(Verb::Apply)
            .kind("", "ConfigMap")
            .name("a"),
    );
    cluster.fail_next(
        Fault::new(FaultAnswer::LostAnswer)
            .on(Verb::Apply)
            .name("b"),
    );
    cluster.fail_next(Fault::new(FaultAnswer::Internal).on(Verb::List).times(2));
    let all = manifests([
        config_map("a", json!({"k": "1"})),
        config_map("b", json!({"k": "1"})),
    ]);
    let report = engine.sync(&set, all, &options).await.unwrap();
    assert!(
        report.is_success(),
        "{:?} {:?}",
        report.failure,
        report.results
    );
    assert_eq!(
        names(&cluster, "v1", "ConfigMap", set.selector().as_str()).await,
        ["a", "b"]
    );
}

#[tokio::test]
async fn lists_per_namespace_do_where_cluster_wide_ones_are_forbidden() {
    let (cluster, engine, set, options) = fixture();
    for (group, kind) in [("", "ConfigMap"), ("apps", "Deployment"), ("", "Pod")] {
        cluster.forbid_cluster_wide(&GroupKind::new(group, kind));
    }
    let all = || {
        manifests([
            config_map("a", json!({"k": "1"})),
            deployment("web", "x:1", 1),
        ])
    };
    for _ in 0..2 {
        let report = engine.sync(&set, all(), &options).await.unwrap();
        assert!(
            report.is_success(),
            "{:?} {:?}",
            report.failure,
            report.results
        );
    }
}

#[tokio::test]
async fn a_no_op_of_a_thousand_objects_only_lists() {
    let (cluster, engine, set, options) = fixture();
    let all = || {
        manifests((0..1000).map(|number| match number % 10 {
            0 => deployment(&format!("web-{number}"), "x:1", 1),
            _ => config_map(&format!("map-{number}"), json!({"k": "1"})),
        }))
    };
    for _ in 0..2 {
        let report = engine.sync(&set, all(), &options).await.unwrap();
        assert!(report.is_success(), "{:?}", report.failure);
    }
    cluster.reset_requests();
    let report = engine.sync(&set, all(), &options).await.unwrap();
    assert_eq!(report.count(ResourceAction::Unchanged), 1000);
    let requests = cluster.requests();
    assert!(
        requests.writes() == 0 && requests.reads() < 20,
        "{requests:?}"
    );
}
