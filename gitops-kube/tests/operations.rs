//! Operations of the direct backend: one at a time, remembered truly, and watched without a gap that nobody hears of.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::*;
use gitops_core::backend::*;
use gitops_core::manifest::{GroupVersionKind, ManifestSet, Object};
use gitops_core::store::MemoryStore;
use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::{Cluster, InMemoryCluster, WriteParams};
use gitops_kube::direct::{DirectBackend, DirectOptions, Rendered, Sources};
use gitops_kube::engine::Engine;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Two ConfigMaps at revision `c<n>`, where `n` counts the commits; each rendering takes a permit, and fails as often as told.
struct Git {
    permits: Semaphore,
    commits: AtomicUsize,
    failures: AtomicUsize,
}

#[async_trait]
impl Sources for Git {
    async fn render(&self, _: &Application, revisions: &[String]) -> Result<Rendered> {
        let _permit = self.permits.acquire().await.unwrap();
        let fails = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if fails.is_ok() {
            return Err(Error::unavailable("the repository is away"));
        }
        let head = format!("c{}", self.commits.load(Ordering::SeqCst));
        let revision = revisions.first().cloned().unwrap_or(head);
        let objects = ["one", "two"].map(|name| Object::new(map(name, &revision), None).unwrap());
        Ok(Rendered {
            revisions: vec![revision],
            manifests: ManifestSet::from_objects(objects)?,
        })
    }
}

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"k": value}})
}

struct World {
    git: Arc<Git>,
    cluster: InMemoryCluster,
    backend: DirectBackend,
    app: AppRef,
}

impl World {
    async fn new(refresh: Duration) -> Self {
        let git = Arc::new(Git {
            permits: Semaphore::new(Semaphore::MAX_PERMITS),
            commits: AtomicUsize::new(1),
            failures: AtomicUsize::new(0),
        });
        let cluster = InMemoryCluster::new();
        let backend = DirectBackend::new(
            Engine::new(Arc::new(cluster.clone())),
            git.clone(),
            Arc::new(MemoryStore::new()),
            DirectOptions {
                refresh,
                ..DirectOptions::default()
            },
        );
        let app = Application::new("shop").in_namespace("default");
        backend.put(&app, PutMode::Create).await.unwrap();
        Self {
            git,
            cluster,
            backend,
            app: AppRef::new("shop"),
        }
    }

    async fn sync(&self, options: SyncOptions) -> SyncOutcome {
        self.backend
            .sync_and_wait(&self.app, &options)
            .await
            .unwrap()
    }

    /// Nothing renders until the permits are given back.
    async fn hold(&self) -> tokio::sync::SemaphorePermit<'_> {
        let all = self.git.permits.available_permits();
        self.git
            .permits
            .acquire_many(u32::try_from(all.min(u32::MAX as usize)).unwrap())
            .await
            .unwrap()
    }

    async fn drift(&self) {
        let kind = self
            .cluster
            .resolve(&GroupVersionKind::new("", "v1", "ConfigMap"))
            .await
            .unwrap();
        let params = WriteParams {
            field_manager: "somebody".into(),
            force: true,
            ..WriteParams::default()
        };
        let object = Object::new(map("one", "drifted"), None).unwrap();
        self.cluster.apply(&kind, &object, &params).await.unwrap();
    }
}

const NEVER: Duration = Duration::ZERO;

async fn next(events: &mut BoxStream<'static, Result<StatusEvent>>) -> Result<StatusEvent> {
    tokio::time::timeout(Duration::from_secs(10), events.next())
        .await
        .expect("no event")
        .expect("the watch ended")
}

async fn next_status(events: &mut BoxStream<'static, Result<StatusEvent>>) -> ApplicationStatus {
    match next(events).await.unwrap() {
        StatusEvent::Status { status, .. } => *status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_deleted_while_it_is_synced() {
    let world = World::new(NEVER).await;
    world.git.permits.forget_permits(Semaphore::MAX_PERMITS);
    let operation = world
        .backend
        .sync(&world.app, &SyncOptions::default())
        .await
        .unwrap();
    let delete = || ApplicationStore::delete(&world.backend, &world.app, &DEFAULT);
    let error = delete().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OperationInProgress);
    assert!(error.to_string().contains(&operation.id), "{error}");
    world.git.permits.add_permits(10);
    assert!(world.backend.wait(&operation).await.unwrap().is_success());
    delete().await.unwrap();
    // What was done to it is forgotten with it.
    let error = world.backend.wait(&operation).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

const DEFAULT: DeleteOptions = DeleteOptions {
    cascade: true,
    propagation: Propagation::Foreground,
};

#[tokio::test]
async fn a_running_operation_shows_in_the_status() {
    let world = World::new(NEVER).await;
    world.git.permits.forget_permits(Semaphore::MAX_PERMITS);
    let options = SyncOptions {
        revisions: vec!["c1".into()],
        initiator: Initiator {
            name: "ann".into(),
            automated: false,
        },
        ..SyncOptions::default()
    };
    let operation = world.backend.sync(&world.app, &options).await.unwrap();
    // One permit for the status, which renders too, none for the sync that waits before it.
    let status = tokio::spawn({
        let (backend, app) = (world.backend.clone(), world.app.clone());
        async move { backend.status(&app).await.unwrap() }
    });
    tokio::task::yield_now().await;
    world.git.permits.add_permits(10);
    let shown = status.await.unwrap().operation.unwrap();
    assert_eq!(shown.id, operation.id);
    assert_eq!(shown.revisions, ["c1"]);
    assert_eq!(shown.initiated_by, "ann");
    world.backend.wait(&operation).await.unwrap();
    let shown = world
        .backend
        .status(&world.app)
        .await
        .unwrap()
        .operation
        .unwrap();
    assert_eq!(shown.phase, OperationPhase::Succeeded);
}

#[tokio::test]
async fn retries_are_counted() {
    let world = World::new(NEVER).await;
    world.git.failures.store(2, Ordering::SeqCst);
    let outcome = world
        .sync(SyncOptions {
            retry_limit: Some(5),
            retry_backoff: Some(Backoff {
                duration: Duration::from_millis(1),
                ..Backoff::default()
            }),
            ..SyncOptions::default()
        })
        .await;
    assert!(outcome.is_success(), "{outcome:?}");
    let status = world.backend.status(&world.app).await.unwrap();
    assert_eq!(status.operation.unwrap().retry_count, 2);
}

#[tokio::test]
async fn a_sync_of_what_is_deployed_makes_no_history() {
    let world = World::new(NEVER).await;
    for _ in 0..3 {
        world.sync(SyncOptions::default()).await;
    }
    world.git.commits.store(2, Ordering::SeqCst);
    world.sync(SyncOptions::default()).await;
    world.drift().await;
    world.sync(SyncOptions::default()).await;
    let history = RevisionHistory::list(&world.backend, &world.app)
        .await
        .unwrap();
    let entries: Vec<_> = history
        .iter()
        .map(|entry| (entry.id, entry.revisions[0].as_str()))
        .collect();
    assert_eq!(entries, [(0, "c1"), (1, "c2")]);
}

#[tokio::test]
async fn a_selective_sync_leaves_what_is_known_of_the_others() {
    let world = World::new(NEVER).await;
    world.sync(SyncOptions::default()).await;
    let only_one = SyncOptions {
        resources: vec![SyncResource {
            kind: "ConfigMap".into(),
            name: "one".into(),
            ..SyncResource::default()
        }],
        ..SyncOptions::default()
    };
    assert!(world.sync(only_one).await.is_success());
    let stored = ApplicationStore::get(&world.backend, &world.app)
        .await
        .unwrap();
    let status = stored.status.unwrap();
    let known: Vec<_> = status
        .resources
        .iter()
        .map(|resource| (resource.id.name.as_str(), resource.sync))
        .collect();
    assert_eq!(
        known,
        [("one", SyncStatus::Synced), ("two", SyncStatus::Synced)]
    );
    assert_eq!(status.sync, SyncStatus::Synced);
}

#[tokio::test]
async fn a_watch_tells_what_nobody_did_through_the_backend() {
    let world = World::new(Duration::from_millis(50)).await;
    world.sync(SyncOptions::default()).await;
    let mut events = world.backend.watch(Selector::all());
    assert_eq!(next_status(&mut events).await.sync, SyncStatus::Synced);
    world.drift().await;
    assert_eq!(next_status(&mut events).await.sync, SyncStatus::OutOfSync);
    // Only news are told, however often it looks.
    let silence = tokio::time::timeout(Duration::from_millis(300), events.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    ApplicationStore::delete(&world.backend, &world.app, &DEFAULT)
        .await
        .unwrap();
    let event = next(&mut events).await.unwrap();
    assert_eq!(
        event,
        StatusEvent::Deleted {
            app: world.app.clone()
        }
    );
}

#[tokio::test]
async fn a_watch_that_lags_says_so_and_tells_all_again() {
    let world = World::new(NEVER).await;
    let mut events = world.backend.watch(Selector::all());
    next_status(&mut events).await;
    let held = world.hold().await;
    // The watch reads the state for the first of these, and cannot go on.
    for _ in 0..1500 {
        world.backend.suspend(&world.app).await.unwrap();
        world.backend.resume(&world.app).await.unwrap();
    }
    drop(held);
    let gap = loop {
        match next(&mut events).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(gap.is_retryable(), "{gap}");
    assert!(gap.to_string().contains("missed"), "{gap}");
    assert_eq!(next_status(&mut events).await.sync, SyncStatus::OutOfSync);
}
