//! Replicas that share shards, on the in-memory cluster. The clock is tokio's, paused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt};
use gitops_core::application::AppRef;
use gitops_core::manifest::{GroupKind, GroupVersionKind, Object};
use gitops_core::reconcile::Ownership;
use gitops_core::source::RevisionEvent;
use gitops_core::{Error, Result};
use gitops_kube::cluster::{
    ApiKind, Cluster, DeleteParams, InMemoryCluster, ListParams, ObjectKey, ObjectList, Patch,
    Scope, WatchEvent, WriteParams,
};
use gitops_kube::lease::{LeaseOptions, LeaseOwnership};
use tokio::time::{Instant, sleep};

fn options(identity: &str) -> LeaseOptions {
    LeaseOptions {
        identity: identity.into(),
        ..LeaseOptions::default()
    }
}

fn replica(cluster: &Arc<InMemoryCluster>, identity: &str) -> LeaseOwnership {
    LeaseOwnership::start(cluster.clone(), options(identity)).unwrap()
}

/// Lets time pass, and holds that no shard has two owners at any moment of it.
async fn pass(seconds: u64, replicas: &[&LeaseOwnership]) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let mut all: Vec<u32> = replicas
            .iter()
            .flat_map(|replica| replica.shards())
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "a shard has two owners");
        sleep(Duration::from_millis(100)).await;
    }
}

fn counts(replicas: &[&LeaseOwnership]) -> Vec<usize> {
    replicas
        .iter()
        .map(|replica| replica.shards().len())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn replicas_share_evenly_and_take_over_from_each_other() {
    let cluster = Arc::new(InMemoryCluster::new());
    let a = replica(&cluster, "a");
    pass(5, &[&a]).await;
    assert_eq!(counts(&[&a]), [16]);
    // One joins: the first gives up half, and nothing has two owners meanwhile.
    let b = replica(&cluster, "b");
    pass(20, &[&a, &b]).await;
    assert_eq!(counts(&[&a, &b]), [8, 8]);
    let c = replica(&cluster, "c");
    pass(30, &[&a, &b, &c]).await;
    let mut shared = counts(&[&a, &b, &c]);
    shared.sort_unstable();
    assert_eq!(shared.iter().sum::<usize>(), 16);
    assert!(shared[0] >= 4 && shared[2] <= 6, "{shared:?}");
    // One dies without a word: its shards are taken within the lease time.
    let app = (0..)
        .map(|n| AppRef::namespaced("argocd", format!("app-{n}")))
        .find(|app| c.tenure(app).is_some())
        .unwrap();
    let tenure = c.tenure(&app).unwrap();
    assert!(tenure.is_valid() && a.tenure(&app).is_none() && b.tenure(&app).is_none());
    drop(c);
    assert!(!tenure.is_valid(), "what it was doing must stop");
    let died = Instant::now();
    while a.tenure(&app).is_none() && b.tenure(&app).is_none() {
        sleep(Duration::from_millis(100)).await;
    }
    // Its last write may have been a look ago, and the others may have seen it at once.
    let took = died.elapsed().as_secs_f64();
    assert!((9.5..=15.1).contains(&took), "{took} seconds");
    pass(20, &[&a, &b]).await;
    assert_eq!(counts(&[&a, &b]), [8, 8]);
    // One resigns: the other need not wait for the lease to expire.
    b.resign(&[]).await;
    assert_eq!(counts(&[&b]), [0]);
    pass(6, &[&a, &b]).await;
    assert_eq!(counts(&[&a]), [16]);
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_and_strangers_are_believed() {
    let cluster = Arc::new(InMemoryCluster::new());
    let a = replica(&cluster, "a");
    let mut changes = a.changes();
    changes.next().await.unwrap();
    pass(5, &[&a]).await;
    changes.next().await.unwrap();
    let app = AppRef::namespaced("argocd", "shop");
    let tenure = a.tenure(&app).unwrap();
    // Somebody else writes the Lease, whatever the rules say.
    let kind = ApiKind {
        gvk: GroupVersionKind::new("coordination.k8s.io", "v1", "Lease"),
        plural: "leases".into(),
        scope: Scope::Namespaced,
        verbs: Vec::new(),
    };
    let name = format!("gitops-shard-{}", options("a").shard_of(&app));
    let key = ObjectKey {
        kind: &kind,
        namespace: "default",
        name: &name,
    };
    let patch = Patch::Merge(serde_json::json!({"spec": {"holderIdentity": "stranger"}}));
    let params = WriteParams {
        field_manager: "stranger".into(),
        ..WriteParams::default()
    };
    cluster.patch(key, &patch, &params).await.unwrap();
    pass(3, &[&a]).await;
    assert!(!tenure.is_valid() && a.tenure(&app).is_none());
    assert_eq!(counts(&[&a]), [15]);
    // It does not come back to it: after the lease time it is ours again, as another right.
    pass(20, &[&a]).await;
    assert!(!tenure.is_valid() && a.tenure(&app).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_finished_is_not_given_away_but_expires() {
    let cluster = Arc::new(InMemoryCluster::new());
    let a = replica(&cluster, "a");
    pass(5, &[&a]).await;
    let (app, other) = (AppRef::new("shop"), AppRef::new("blog"));
    assert_ne!(options("a").shard_of(&app), options("a").shard_of(&other));
    let tenure = a.tenure(&app).unwrap();
    let b = replica(&cluster, "b");
    // Before it could take a part.
    a.resign(std::slice::from_ref(&app)).await;
    assert!(!tenure.is_valid());
    let resigned = Instant::now();
    while b.tenure(&other).is_none() {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(resigned.elapsed() < Duration::from_secs(6));
    assert!(b.tenure(&app).is_none());
    while b.tenure(&app).is_none() {
        sleep(Duration::from_millis(100)).await;
    }
    let took = resigned.elapsed().as_secs_f64();
    assert!((8.0..=15.1).contains(&took), "{took} seconds");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_has_no_right_when_it_goes_on() {
    let cluster = Arc::new(InMemoryCluster::new());
    let a = replica(&cluster, "a");
    pass(5, &[&a]).await;
    let tenure = a.tenure(&AppRef::new("shop")).unwrap();
    assert!(tenure.is_valid());
    // The clock goes on, and no task has run since.
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(!tenure.is_valid());
    assert!(a.tenure(&AppRef::new("shop")).is_none());
}

#[tokio::test(start_paused = true)]
async fn replicas_that_divide_differently_hold_nothing() {
    let cluster = Arc::new(InMemoryCluster::new());
    let more = |identity: &str| LeaseOptions {
        shards: 32,
        ..options(identity)
    };
    // Both at once: neither may have seen the other before it takes what it can.
    let a = replica(&cluster, "a");
    let b = LeaseOwnership::start(cluster.clone(), more("b")).unwrap();
    let app = AppRef::new("shop");
    let alone = async |seconds: u64| {
        for _ in 0..seconds * 10 {
            let owners = [&a, &b].map(|one| one.tenure(&app).is_some());
            assert_ne!(owners, [true, true], "two owners");
            sleep(Duration::from_millis(100)).await;
        }
    };
    alone(20).await;
    assert_eq!(counts(&[&a, &b]), [0, 0]);
    // The last one of the old number ends: the new number holds.
    a.resign(&[]).await;
    alone(10).await;
    assert_eq!(counts(&[&a, &b]), [0, 32]);
    // One of the old number comes back: nobody acts until it is gone, with or without a word.
    let c = replica(&cluster, "c");
    for _ in 0..200 {
        let owners = [&b, &c].map(|one| one.tenure(&app).is_some());
        assert_ne!(owners, [true, true], "two owners");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(counts(&[&b, &c]), [0, 0]);
    drop(c);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(counts(&[&b]), [32]);
}

#[tokio::test(start_paused = true)]
async fn news_reach_the_others_within_two_looks_and_owners_are_known() {
    let cluster = Arc::new(InMemoryCluster::new());
    let (a, b) = (replica(&cluster, "a"), replica(&cluster, "b"));
    pass(20, &[&a, &b]).await;
    let mut heard = b.handed_on();
    let mut own = a.handed_on();
    let event = RevisionEvent {
        urls: vec!["https://git.example.com/org/config".into()],
        revision: Some("r2".into()),
        ..RevisionEvent::default()
    };
    let told = Instant::now();
    a.hand_on(&event);
    assert_eq!(heard.next().await, Some(event));
    assert!(
        told.elapsed() < Duration::from_secs(5),
        "{:?}",
        told.elapsed()
    );
    // Once, and not to itself.
    pass(30, &[&a, &b]).await;
    assert!(heard.next().now_or_never().is_none() && own.next().now_or_never().is_none());
    for n in 0..20 {
        let app = AppRef::new(format!("app-{n}"));
        let owner = if a.tenure(&app).is_some() { "a" } else { "b" };
        assert_eq!(a.owner(&app).as_deref(), Some(owner));
        assert_eq!(b.owner(&app).as_deref(), Some(owner));
    }
}

/// A cluster that can be made to answer nothing.
struct Silent {
    inner: Arc<InMemoryCluster>,
    silent: AtomicBool,
}

impl Silent {
    async fn wait(&self) {
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Cluster for Silent {
    async fn resolve(&self, gvk: &GroupVersionKind) -> Result<ApiKind> {
        self.inner.resolve(gvk).await
    }
    async fn resolve_any(&self, kind: &GroupKind) -> Result<ApiKind> {
        self.inner.resolve_any(kind).await
    }
    fn invalidate(&self) {}
    async fn get(&self, key: ObjectKey<'_>) -> Result<Option<Object>> {
        self.inner.get(key).await
    }
    async fn list(&self, kind: &ApiKind, params: &ListParams) -> Result<ObjectList> {
        self.wait().await;
        self.inner.list(kind, params).await
    }
    async fn create(&self, kind: &ApiKind, o: &Object, params: &WriteParams) -> Result<Object> {
        self.wait().await;
        self.inner.create(kind, o, params).await
    }
    async fn apply(&self, _: &ApiKind, _: &Object, _: &WriteParams) -> Result<Object> {
        Err(Error::internal("not used"))
    }
    async fn replace(&self, kind: &ApiKind, o: &Object, params: &WriteParams) -> Result<Object> {
        self.wait().await;
        self.inner.replace(kind, o, params).await
    }
    async fn patch(&self, _: ObjectKey<'_>, _: &Patch, _: &WriteParams) -> Result<Object> {
        Err(Error::internal("not used"))
    }
    async fn delete(&self, key: ObjectKey<'_>, params: &DeleteParams) -> Result<()> {
        self.wait().await;
        self.inner.delete(key, params).await
    }
    fn watch(&self, kind: &ApiKind, params: ListParams) -> BoxStream<'static, Result<WatchEvent>> {
        self.inner.watch(kind, params)
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_loses_before_another_can_take() {
    let inner = Arc::new(InMemoryCluster::new());
    let cluster = Arc::new(Silent {
        inner: inner.clone(),
        silent: AtomicBool::new(false),
    });
    let a = LeaseOwnership::start(cluster.clone(), options("a")).unwrap();
    pass(5, &[&a]).await;
    let app = AppRef::namespaced("argocd", "shop");
    let tenure = a.tenure(&app).unwrap();
    let b = replica(&inner, "b");
    cluster.silent.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    tenure.lost().await;
    let lost = begun.elapsed().as_secs_f64();
    assert!((7.0..10.5).contains(&lost), "{lost} seconds");
    assert!(b.tenure(&app).is_none());
    while b.tenure(&app).is_none() {
        pass(1, &[&a, &b]).await;
    }
    // At least the time that work may need to stop.
    let taken = begun.elapsed().as_secs_f64();
    assert!(taken - lost > 3.5 && taken < 20.0, "{taken} seconds");
    // The network is back: both share again.
    cluster.silent.store(false, Ordering::SeqCst);
    pass(40, &[&a, &b]).await;
    assert_eq!(counts(&[&a, &b]), [8, 8]);
}

#[tokio::test]
async fn applications_keep_their_shards_and_options_must_fit() {
    let cluster = Arc::new(InMemoryCluster::new());
    // Of all versions of this crate: replicas of two versions must agree.
    let shards = ["", "argocd"]
        .map(|namespace| options("a").shard_of(&AppRef::namespaced(namespace, "shop")));
    assert_eq!(shards, [SHARD_OF_SHOP, SHARD_OF_ARGOCD_SHOP]);
    let bad = LeaseOptions {
        renew_deadline: Duration::from_secs(60),
        ..options("b")
    };
    let error = LeaseOwnership::start(cluster, bad).unwrap_err();
    assert_eq!(error.kind(), gitops_core::ErrorKind::InvalidInput);
}

const SHARD_OF_SHOP: u32 = 1;
const SHARD_OF_ARGOCD_SHOP: u32 = 7;
