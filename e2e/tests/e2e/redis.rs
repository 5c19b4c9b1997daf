//! The cache that several processes share, on a real Redis, which is killed and suspended while it is used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::{AppRef, ApplicationStatus, OperationPhase, SyncStatus};
use gitops_core::backend::{
    Backend, Operation, Selector, StatusEvent, SyncOptions, SyncOutcome, Syncer, SyncerExt,
};
use gitops_core::cache::{
    CacheOptions, CachedBackend, RedisOptions, RedisStatuses, SharedRead, SharedStatuses,
    StatusCache,
};

/// Counts the syncs of each application: that is its revision. A real backend would be too slow to press Redis.
#[derive(Clone, Default)]
struct Counting(Arc<Counts>);

#[derive(Default)]
struct Counts {
    syncs: Mutex<HashMap<AppRef, u64>>,
    statuses: AtomicU64,
}

impl Counting {
    fn revision(&self, app: &AppRef) -> u64 {
        let syncs = self.0.syncs.lock().unwrap();
        syncs.get(app).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Syncer for Counting {
    async fn sync(&self, app: &AppRef, _: &SyncOptions) -> gitops_core::Result<Operation> {
        let mut syncs = self.0.syncs.lock().unwrap();
        let revision = syncs.entry(app.clone()).or_default();
        *revision += 1;
        Ok(Operation {
            app: app.clone(),
            id: revision.to_string(),
            started_at: Default::default(),
        })
    }
    async fn wait(&self, operation: &Operation) -> gitops_core::Result<SyncOutcome> {
        Ok(SyncOutcome {
            operation: operation.clone(),
            phase: OperationPhase::Succeeded,
            message: String::new(),
            revisions: vec![operation.id.clone()],
            resources: Vec::new(),
            finished_at: Default::default(),
        })
    }
    async fn terminate(&self, _: &Operation) -> gitops_core::Result<()> {
        Ok(())
    }
    async fn status(&self, app: &AppRef) -> gitops_core::Result<ApplicationStatus> {
        self.0.statuses.fetch_add(1, Ordering::Relaxed);
        let status = ApplicationStatus {
            sync: SyncStatus::Synced,
            revisions: vec![self.revision(app).to_string()],
            ..ApplicationStatus::default()
        };
        // Time for a change to overtake what was read.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(status)
    }
    fn watch(&self, _: Selector) -> BoxStream<'static, gitops_core::Result<StatusEvent>> {
        futures::stream::pending().boxed()
    }
}

impl Backend for Counting {
    fn name(&self) -> &str {
        "counting"
    }
}

fn revision(status: &ApplicationStatus) -> u64 {
    status.revisions[0].parse().unwrap()
}

fn options() -> CacheOptions {
    CacheOptions {
        time_to_live: Duration::from_secs(60),
        stale_for: Duration::ZERO,
        near: Duration::from_millis(100),
        ..CacheOptions::default()
    }
}

fn store(url: &str, prefix: &str, timeout: Duration) -> RedisStatuses {
    let options = RedisOptions {
        prefix: prefix.into(),
        pause: Duration::from_millis(200),
        timeout,
    };
    RedisStatuses::new(url, options).unwrap()
}

/// For a Redis that is there, however busy the machine is.
const PATIENT: Duration = Duration::from_secs(20);

/// For a Redis that may be away: the default.
fn short() -> Duration {
    RedisOptions::default().timeout
}

/// One process's view of the backend.
fn process(
    backend: &Counting,
    url: &str,
    prefix: &str,
    timeout: Duration,
) -> CachedBackend<Counting> {
    let cache = StatusCache::shared(options(), Arc::new(store(url, prefix, timeout)));
    CachedBackend::new(backend.clone(), cache)
}

/// Waits until so many have been counted.
async fn reaches(what: &str, count: impl Fn() -> u64, wanted: u64) {
    let counts = async {
        while count() <= wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENT, counts).await;
    assert!(reached.is_ok(), "{what}: {} of {wanted}", count());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_what_one_has_read_and_what_one_has_changed() -> Result<()> {
    let url = &e2e::redis().await?.url;
    let backend = Counting::default();
    let (one, other) = (
        process(&backend, url, "sharing", PATIENT),
        process(&backend, url, "sharing", PATIENT),
    );
    let stranger = process(&backend, url, "stranger", PATIENT);
    let app = AppRef::from("team/a");
    assert_eq!(revision(&one.status(&app).await?), 0);
    assert_eq!(revision(&other.status(&app).await?), 0);
    assert_eq!(backend.0.statuses.load(Ordering::Relaxed), 1);
    assert_eq!(other.cache().stats().shared_hits, 1);
    assert_eq!(revision(&stranger.status(&app).await?), 0);
    assert_eq!(backend.0.statuses.load(Ordering::Relaxed), 2);
    one.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert_eq!(revision(&one.status(&app).await?), 1);
    tokio::time::sleep(options().near).await;
    assert_eq!(revision(&other.status(&app).await?), 1);
    assert_eq!(other.cache().stats().shared_failures, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_change_of_another_process_is_not_written() -> Result<()> {
    let url = &e2e::redis().await?.url;
    let (one, other) = (store(url, "tokens", PATIENT), store(url, "tokens", PATIENT));
    // Names that would meet if they were only joined.
    for app in [AppRef::namespaced("a", "b"), AppRef::new("a/b")] {
        let status = |n: u64| ApplicationStatus {
            revisions: vec![n.to_string()],
            ..ApplicationStatus::default()
        };
        let live = Duration::from_secs(60);
        let SharedRead::Missing(token) = one.read(&app).await? else {
            panic!("it is there already");
        };
        other.forget(&app).await?;
        one.write(&app, &status(1), Some(&token), live).await?;
        let SharedRead::Missing(token) = other.read(&app).await? else {
            panic!("an old status was written");
        };
        other.write(&app, &status(2), Some(&token), live).await?;
        let SharedRead::Found { status: found, age } = one.read(&app).await? else {
            panic!("it was not written");
        };
        assert_eq!(revision(&found), 2);
        assert!(age < Duration::from_secs(5), "{age:?}");
        // What a watch tells overtakes a reading too.
        one.forget(&app).await?;
        let SharedRead::Missing(token) = one.read(&app).await? else {
            panic!("it was forgotten");
        };
        other.write(&app, &status(4), None, live).await?;
        one.write(&app, &status(3), Some(&token), live).await?;
        let SharedRead::Found { status: found, .. } = one.read(&app).await? else {
            panic!("it was not written");
        };
        assert_eq!(revision(&found), 4);
        one.write(&app, &status(5), None, Duration::from_millis(50))
            .await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(matches!(one.read(&app).await?, SharedRead::Missing(_)));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_suspended_and_started_under_load() -> Result<()> {
    let mut server = e2e::private_redis().await?;
    let url = server.redis().url.clone();
    let backend = Counting::default();
    let (one, other) = (
        process(&backend, &url, "faults", short()),
        process(&backend, &url, "faults", short()),
    );
    let apps: Arc<Vec<AppRef>> =
        Arc::new((0..20).map(|n| AppRef::new(format!("app-{n}"))).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let (slowest, reads) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let synced = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for (reader, own) in [(&one, true), (&one, true), (&other, false), (&other, false)] {
        let (reader, backend, apps) = (reader.clone(), backend.clone(), apps.clone());
        let (stop, slowest, reads) = (stop.clone(), slowest.clone(), reads.clone());
        tasks.push(tokio::spawn(async move {
            // When each revision was first seen as the newest, to tell how old an answer is.
            let mut seen: HashMap<AppRef, Vec<(u64, Instant)>> = HashMap::new();
            while !stop.load(Ordering::Relaxed) {
                for app in apps.iter() {
                    let newest = backend.revision(app);
                    let history = seen.entry(app.clone()).or_default();
                    if history.last().is_none_or(|last| last.0 < newest) {
                        history.push((newest, Instant::now()));
                    }
                    let begun = Instant::now();
                    let told = revision(&reader.status(app).await.expect("a status"));
                    let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
                    slowest.fetch_max(took, Ordering::Relaxed);
                    reads.fetch_add(1, Ordering::Relaxed);
                    // The process that syncs waits for each sync: when its status is read afterwards, it is never older. How long the read itself took does not
                    // count; a cache that nobody tells would go on for a minute.
                    let overtaken = history.iter().find(|(number, _)| *number > told);
                    let late = overtaken.map_or(Duration::ZERO, |(_, since)| begun - *since);
                    let allowed = Duration::from_secs(if own { 3 } else { 6 });
                    assert!(
                        late < allowed,
                        "{app}: {told} was told {late:?} after {overtaken:?}"
                    );
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }));
    }
    let syncing = {
        let (one, apps, stop, synced) = (one.clone(), apps.clone(), stop.clone(), synced.clone());
        tokio::spawn(async move {
            for app in apps.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = one.sync_and_wait(app, &SyncOptions::default()).await;
                let revision_synced: u64 =
                    outcome.expect("an outcome").revisions[0].parse().unwrap();
                // Who synced sees it at once.
                let told = revision(&one.status(app).await.expect("a status"));
                assert!(
                    told >= revision_synced,
                    "{app}: {told} after {revision_synced}"
                );
                synced.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    let pause = || tokio::time::sleep(Duration::from_millis(1500));
    let shared_hits = || other.cache().stats().shared_hits;
    let mut report = Vec::new();
    let mut told = |what: &str| {
        let line = format!(
            "{what}: {} reads, {} syncs, slowest read {} ms, shared hits {}, failures {}",
            reads.swap(0, Ordering::Relaxed),
            synced.swap(0, Ordering::Relaxed),
            slowest.swap(0, Ordering::Relaxed),
            other.cache().stats().shared_hits,
            other.cache().stats().shared_failures,
        );
        println!("{line}");
        report.push(line);
    };
    pause().await;
    reaches("shared hits", shared_hits, 0).await;
    told("there");
    for round in 0..2 {
        server.kill();
        pause().await;
        reaches("syncs go on", || synced.load(Ordering::Relaxed), 10).await;
        reaches("reads go on", || reads.load(Ordering::Relaxed), 100).await;
        assert!(slowest.load(Ordering::Relaxed) < 5000, "bounded");
        told(&format!("killed, round {round}"));
        server.restart().await?;
        pause().await;
        reaches("it is used again", shared_hits, shared_hits()).await;
        told("started");
        server.suspend();
        pause().await;
        reaches("syncs go on", || synced.load(Ordering::Relaxed), 5).await;
        reaches("reads go on", || reads.load(Ordering::Relaxed), 100).await;
        assert!(slowest.load(Ordering::Relaxed) < 5000, "bounded");
        told("suspended");
        server.resume();
        pause().await;
        reaches("it is used again", shared_hits, shared_hits()).await;
        told("resumed");
    }
    stop.store(true, Ordering::Relaxed);
    syncing.await?;
    for task in tasks {
        task.await?;
    }
    // Nothing old is left in Redis: a process that comes now sees the newest of each, long before the old would expire.
    let late = process(&backend, &url, "faults", PATIENT);
    for app in apps.iter() {
        let newest = async {
            while revision(&late.status(app).await?) != backend.revision(app) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        let seen = tokio::time::timeout(PATIENT, newest).await;
        seen.with_context(|| format!("an old status of {app} is left"))??;
    }
    Ok(())
}

#[tokio::test]
async fn a_redis_that_never_was_is_a_miss() -> Result<()> {
    let port = e2e::ports::free_port()?;
    let url = format!("redis://somebody:canary@127.0.0.1:{port}");
    let store = store(&url, "none", short());
    let error = store.read(&AppRef::new("a")).await.unwrap_err();
    assert!(!format!("{error:#} {error:?} {store:?}").contains("canary"));
    let backend = Counting::default();
    let cached = CachedBackend::new(
        backend.clone(),
        StatusCache::shared(options(), Arc::new(store)),
    );
    let begun = Instant::now();
    for _ in 0..10 {
        cached.status(&AppRef::new("a")).await?;
        cached
            .sync_and_wait(&AppRef::new("a"), &SyncOptions::default())
            .await?;
    }
    assert!(begun.elapsed() < PATIENT);
    let error = RedisStatuses::new("http://canary:canary@nowhere", RedisOptions::default())
        .err()
        .unwrap();
    assert!(
        !format!("{error:#} {error:?}").contains("canary"),
        "{error}"
    );
    Ok(())
}
