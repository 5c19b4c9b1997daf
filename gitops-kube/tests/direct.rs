//! The direct backend where several applications, hooks and other clusters come in.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use async_trait::async_trait;
use futures::StreamExt as _;
use gitops_core::Result;
use gitops_core::application::*;
use gitops_core::backend::*;
use gitops_core::manifest::{ManifestSet, Object};
use gitops_core::store::MemoryStore;
use gitops_kube::cluster::{Cluster, Fault, FaultAnswer, InMemoryCluster, ObjectKey, WriteParams};
use gitops_kube::direct::{DirectBackend, DirectOptions, Rendered, Sources};
use gitops_kube::engine::Engine;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Renders by the application's label `set`.
struct Fake(Vec<(&'static str, Vec<Value>)>);
#[async_trait]
impl Sources for Fake {
    async fn render(&self, app: &Application, _: &[String]) -> Result<Rendered> {
        let set = app.labels.get("set").cloned().unwrap_or_default();
        let values = self
            .0
            .iter()
            .find(|(n, _)| *n == set)
            .map(|(_, v)| v.clone())
            .unwrap_or_default();
        let manifests =
            ManifestSet::from_objects(values.into_iter().map(|v| Object::new(v, None).unwrap()))?;
        Ok(Rendered {
            revisions: vec!["c".into()],
            manifests,
        })
    }
}
fn cm(name: &str) -> Value {
    json!({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":name},"data":{"k":"v"}})
}
fn app(name: &str, set: &str) -> Application {
    let mut a = Application::new(name)
        .in_namespace("default")
        .automated(Automated::default().prune(true));
    a.labels.insert("set".into(), set.into());
    a
}
fn backend(sets: Vec<(&'static str, Vec<Value>)>) -> (InMemoryCluster, DirectBackend) {
    let c = InMemoryCluster::new();
    let b = DirectBackend::new(
        Engine::new(Arc::new(c.clone())),
        Arc::new(Fake(sets)),
        Arc::new(MemoryStore::new()),
        DirectOptions::default(),
    );
    (c, b)
}
async fn there(c: &InMemoryCluster, name: &str) -> bool {
    let kind = c
        .resolve(&gitops_core::manifest::GroupVersionKind::from_api_version(
            "v1",
            "ConfigMap",
        ))
        .await
        .unwrap();
    c.get(ObjectKey {
        kind: &kind,
        namespace: "default",
        name,
    })
    .await
    .unwrap()
    .is_some()
}

#[tokio::test]
async fn deleting_another_application_ends_no_wait() {
    let (_c, b) = backend(vec![("one", vec![cm("one")]), ("two", vec![cm("two")])]);
    for a in [app("one", "one"), app("two", "two")] {
        b.put(&a, PutMode::Create).await.unwrap();
    }
    let b2 = b.clone();
    let wait = tokio::spawn(async move {
        b2.wait_for(&AppRef::new("one"), Duration::from_secs(5), |s| {
            s.sync == SyncStatus::Synced
        })
        .await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    ApplicationStore::delete(&b, &AppRef::new("two"), &DeleteOptions::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let r = wait.await.unwrap();
    assert!(!r.unwrap_err().to_string().contains("was deleted"));
}

#[tokio::test]
async fn two_applications_never_share_a_set() {
    let (_, b) = backend(vec![("one", vec![cm("one")]), ("two", vec![cm("two")])]);
    let first = app("web", "one");
    let mut second = app("web", "two");
    second.namespace = "default".into();
    b.put(&first, PutMode::Create).await.unwrap();
    let error = b.put(&second, PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), gitops_core::ErrorKind::Conflict);
    assert!(error.to_string().contains("application web"), "{error}");
    b.put(&first, PutMode::Upsert).await.unwrap();
}

#[tokio::test]
async fn a_sync_hook_runs_without_an_object_in_its_wave() {
    let mut hook = cm("hook");
    hook["metadata"]["annotations"] =
        json!({"argocd.argoproj.io/hook": "Sync", "argocd.argoproj.io/sync-wave": "5"});
    let (c, b) = backend(vec![("one", vec![cm("one"), hook])]);
    b.put(&app("one", "one"), PutMode::Create).await.unwrap();
    let o = b
        .sync_and_wait(&AppRef::new("one"), &SyncOptions::default())
        .await
        .unwrap();
    assert!(o.is_success(), "{o:?}");
    assert!(there(&c, "hook").await, "the Sync hook never ran");
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let (c, b) = backend(vec![("one", vec![cm("one")])]);
    let mut a = app("one", "one");
    a.destination.cluster = ClusterRef::Server("https://other.example.com".into());
    let error = b.put(&a, PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), gitops_core::ErrorKind::Unsupported);
    // Argo CD's name for the cluster that it runs in.
    a.destination.cluster = ClusterRef::Server("https://kubernetes.default.svc".into());
    b.put(&a, PutMode::Create).await.unwrap();
    assert!(
        !there(&c, "one").await,
        "deployed to a cluster that was not named"
    );
}

#[tokio::test]
async fn a_selected_object_needs_no_kind_beside_it() {
    let crd = json!({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.x.example.org"},
      "spec":{"group":"x.example.org","scope":"Namespaced","names":{"plural":"widgets","singular":"widget","kind":"Widget","listKind":"WidgetList"},
      "versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}});
    let w = json!({"apiVersion":"x.example.org/v1","kind":"Widget","metadata":{"name":"w"}});
    let c = InMemoryCluster::new();
    let mut opts = DirectOptions::default();
    opts.engine.crd_timeout = Duration::from_secs(2);
    let b = DirectBackend::new(
        Engine::new(Arc::new(c.clone())),
        Arc::new(Fake(vec![("one", vec![cm("one"), crd, w])])),
        Arc::new(MemoryStore::new()),
        opts,
    );
    b.put(&app("one", "one"), PutMode::Create).await.unwrap();
    let o = SyncOptions {
        resources: vec![SyncResource {
            kind: "ConfigMap".into(),
            name: "one".into(),
            ..SyncResource::default()
        }],
        ..SyncOptions::default()
    };
    let out = b.sync_and_wait(&AppRef::new("one"), &o).await.unwrap();
    assert!(out.is_success(), "{}", out.message);
}

#[tokio::test]
async fn an_application_does_not_leave_its_objects_behind() {
    let (c, b) = backend(vec![("one", vec![cm("one")])]);
    c.apply(
        &c.resolve(&gitops_core::manifest::GroupVersionKind::new(
            "",
            "v1",
            "Namespace",
        ))
        .await
        .unwrap(),
        &Object::new(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "stage"}}),
            None,
        )
        .unwrap(),
        &WriteParams {
            field_manager: "test".into(),
            ..WriteParams::default()
        },
    )
    .await
    .unwrap();
    let first = app("web", "one");
    b.put(&first, PutMode::Create).await.unwrap();
    let moved = first.clone().in_namespace("stage");
    // Nothing was applied yet: it may go where it likes.
    b.put(&moved, PutMode::Upsert).await.unwrap();
    b.put(&first, PutMode::Upsert).await.unwrap();
    let outcome = b
        .sync_and_wait(&AppRef::new("web"), &SyncOptions::default())
        .await
        .unwrap();
    assert!(outcome.is_success(), "{outcome:?}");
    let error = b.put(&moved, PutMode::Upsert).await.unwrap_err();
    assert_eq!(error.kind(), gitops_core::ErrorKind::Conflict);
    assert!(
        error.to_string().contains("leave 1 objects behind"),
        "{error}"
    );
    b.put(&first, PutMode::Upsert).await.unwrap();

    // A record with a namespace of its own keeps its set wherever it deploys to.
    let mut own = app("own", "one");
    own.namespace = "default".into();
    b.put(&own, PutMode::Create).await.unwrap();
    let moved = own.in_namespace("stage");
    b.put(&moved, PutMode::Upsert).await.unwrap();
}

#[tokio::test]
async fn a_damaged_record_is_told_to_who_watches_and_stops_no_sync() {
    let dir = tempfile::tempdir().unwrap();
    let backend = DirectBackend::new(
        Engine::new(Arc::new(InMemoryCluster::new())),
        Arc::new(Fake(vec![("one", vec![cm("one")])])),
        Arc::new(gitops_core::store::DirectoryStore::open(dir.path()).unwrap()),
        DirectOptions::default(),
    );
    for name in ["broken", "good"] {
        backend
            .put(&app(name, "one"), PutMode::Create)
            .await
            .unwrap();
    }
    std::fs::write(dir.path().join("_/broken.yaml"), "name: [").unwrap();
    let listed = ApplicationStore::list(&backend, &ListOptions::default()).await;
    let error = listed.unwrap_err();
    assert!(error.to_string().contains("broken.yaml"), "{error}");
    let mut events = backend.watch(Selector::all());
    let told = events.next().await.unwrap().unwrap_err();
    assert!(told.to_string().contains("broken.yaml"), "{told}");
    match events.next().await.unwrap().unwrap() {
        StatusEvent::Status { app, .. } => assert_eq!(app.name, "good"),
        event => panic!("{event:?}"),
    }
    let outcome = backend
        .sync_and_wait(&"good".into(), &SyncOptions::default())
        .await
        .unwrap();
    assert!(outcome.phase == OperationPhase::Succeeded, "{outcome:?}");
}

#[tokio::test]
async fn terminating_ends_the_planning_of_a_cluster_that_hangs() {
    let (c, b) = backend(vec![("one", vec![cm("one")])]);
    b.put(&app("one", "one"), PutMode::Create).await.unwrap();
    c.fail_next(Fault::new(FaultAnswer::Hang).always());
    let one = AppRef::new("one");
    let operation = b.sync(&one, &SyncOptions::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    b.terminate(&operation).await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(5), b.wait(&operation))
        .await
        .expect("a prompt end")
        .unwrap();
    assert!(outcome.message.contains("terminated"), "{outcome:?}");
}

#[tokio::test]
async fn sync_options_are_acted_on_or_refused() {
    let (c, b) = backend(vec![
        ("two", vec![cm("one"), cm("two")]),
        (
            "kept",
            vec![cm("one"), {
                let mut kept = cm("kept");
                kept["metadata"]["annotations"] =
                    json!({"argocd.argoproj.io/sync-options": "Delete=false"});
                kept
            }],
        ),
        ("one", vec![cm("one")]),
    ]);
    let with = |set: &str, options: &[&str]| {
        let mut app = app("web", set);
        app.sync_policy.options = options.iter().map(|&option| option.into()).collect();
        app
    };
    let sync = async |options: SyncOptions| {
        let out = b
            .sync_and_wait(&AppRef::new("web"), &options)
            .await
            .unwrap();
        assert!(out.is_success(), "{out:?}");
        out
    };
    let error = b
        .put(&with("two", &["KeepEverything=true"]), PutMode::Upsert)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), gitops_core::ErrorKind::InvalidInput);

    b.put(&with("two", &[]), PutMode::Upsert).await.unwrap();
    sync(SyncOptions::default()).await;
    let asked = SyncOptions {
        prune: Some(true),
        ..SyncOptions::default()
    };
    // Never, whoever asks.
    b.put(&with("one", &["Prune=false"]), PutMode::Upsert)
        .await
        .unwrap();
    sync(asked.clone()).await;
    assert!(there(&c, "two").await);
    // Not by the policy, but when a person asks.
    b.put(&with("one", &["Prune=confirm"]), PutMode::Upsert)
        .await
        .unwrap();
    sync(SyncOptions::default()).await;
    assert!(there(&c, "two").await);
    sync(asked).await;
    assert!(!there(&c, "two").await);

    let delete =
        async || ApplicationStore::delete(&b, &AppRef::new("web"), &DeleteOptions::default()).await;
    b.put(&with("kept", &["Delete=false"]), PutMode::Upsert)
        .await
        .unwrap();
    sync(SyncOptions::default()).await;
    assert_eq!(
        delete().await.unwrap_err().kind(),
        gitops_core::ErrorKind::Conflict
    );
    b.put(&with("kept", &[]), PutMode::Upsert).await.unwrap();
    delete().await.unwrap();
    assert!(there(&c, "kept").await, "it asked to stay");
    assert!(!there(&c, "one").await);
}
