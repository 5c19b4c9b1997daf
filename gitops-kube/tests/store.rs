//! Applications in ConfigMaps of the in-memory cluster; `e2e` runs the same on the real API server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use gitops_core::ErrorKind;
use gitops_core::application::{Application, ApplicationStatus, HistoryEntry, Source};
use gitops_core::backend::{ApplicationStore as _, PutMode};
use gitops_core::store::StatusStore as _;
use gitops_core::testing::conformance::store::{Damage as _, Part};
use gitops_kube::cluster::{
    ApiKind, Cluster, Fault, FaultAnswer, InMemoryCluster, ListParams, Verb,
};
use gitops_kube::store::ConfigMapStore;

async fn make() -> gitops_core::Result<Arc<ConfigMapStore>> {
    Ok(Arc::new(ConfigMapStore::new(
        Arc::new(InMemoryCluster::new()),
        "default",
    )))
}

gitops_core::store_conformance!(make(), damage);

fn both() -> (InMemoryCluster, ConfigMapStore) {
    let cluster = InMemoryCluster::new();
    let store = ConfigMapStore::new(Arc::new(cluster.clone()), "default");
    (cluster, store)
}

/// A status whose JSON form is large, and as well packed as real ones.
fn large(entries: i64) -> ApplicationStatus {
    let entry = |id| HistoryEntry {
        id,
        revisions: vec![format!("{id:040x}")],
        sources: vec![Source::git("https://git.example.com/shop/deploy.git").path("prod")],
        ..HistoryEntry::default()
    };
    ApplicationStatus {
        history: (0..entries).map(entry).collect(),
        ..ApplicationStatus::default()
    }
}

#[tokio::test]
async fn a_large_status_is_packed_and_a_small_one_is_not() {
    let (cluster, store) = both();
    let app = Application::new("a");
    store.put(&app, PutMode::Create).await.unwrap();
    for (entries, field) in [(2, "data"), (20_000, "binaryData"), (3, "data")] {
        let status = large(entries);
        store.put_status(&"a".into(), &status).await.unwrap();
        assert_eq!(
            store.status(&"a".into()).await.unwrap(),
            Some(status.clone())
        );
        // It survives what is written of the application.
        store.suspend(&"a".into()).await.unwrap();
        store.resume(&"a".into()).await.unwrap();
        assert_eq!(store.get(&"a".into()).await.unwrap().status, Some(status));
        let kind = cluster
            .resolve(&gitops_core::manifest::GroupVersionKind::new(
                "",
                "v1",
                "ConfigMap",
            ))
            .await
            .unwrap();
        let object = one(&cluster, &kind).await;
        let fields: Vec<_> = ["data", "binaryData"]
            .into_iter()
            .filter(|field| {
                let keys = object.value().get(*field).and_then(|keys| keys.as_object());
                keys.is_some_and(|keys| keys.keys().any(|key| key.starts_with("status")))
            })
            .collect();
        assert_eq!(fields, [field]);
    }
    store.put_status(&"a".into(), &large(20_000)).await.unwrap();
    store.damage(&"a".into(), Part::Status).await.unwrap();
    let error = store.status(&"a".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    assert!(error.to_string().contains("of application a"), "{error}");
}

async fn one(cluster: &InMemoryCluster, kind: &ApiKind) -> gitops_core::manifest::Object {
    let params = ListParams {
        labels: Some("gitops-rs.dev/application=true".into()),
        ..ListParams::default()
    };
    let mut found = cluster.list(kind, &params).await.unwrap().items;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[tokio::test]
async fn a_status_is_packed_when_the_application_leaves_it_little_room() {
    let (_, store) = both();
    let mut app = Application::new("a");
    app.annotations.insert("big".into(), "x".repeat(1_000_000));
    store.put(&app, PutMode::Create).await.unwrap();
    let status = large(500);
    let size = serde_json::to_string(&status).unwrap().len();
    assert!(size > 48_576 && size < 128 * 1024, "{size}");
    store.put_status(&"a".into(), &status).await.unwrap();
    assert_eq!(store.get(&"a".into()).await.unwrap().status, Some(status));
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_run_again_after_a_pause_and_not_for_ever() {
    let (cluster, store) = both();
    let app = Application::new("a");
    store.put(&app, PutMode::Create).await.unwrap();
    let lost = Fault::new(FaultAnswer::Conflict).on(Verb::Replace);
    cluster.fail_next(lost.clone().times(10));
    let started = tokio::time::Instant::now();
    store.suspend(&"a".into()).await.unwrap();
    assert!(started.elapsed() > Duration::from_secs(1));
    cluster.fail_next(lost.always());
    cluster.reset_requests();
    let started = tokio::time::Instant::now();
    let error = store.resume(&"a".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(cluster.requests().count(Verb::Replace) < 100);
}
