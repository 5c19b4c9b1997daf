//! The cache of statuses: ages, single flight, and what a change overtakes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use gitops_core::application::{
    AppRef, ApplicationStatus, Health, HealthStatus, ResourceStatus, SyncStatus,
};
use gitops_core::cache::{CacheOptions, SharedRead, SharedStatuses, StatusCache, WriteToken};
use gitops_core::manifest::ObjectId;
use gitops_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::time::{advance, sleep};

fn numbered(number: usize) -> ApplicationStatus {
    ApplicationStatus {
        sync: SyncStatus::Synced,
        revisions: vec![number.to_string()],
        ..ApplicationStatus::default()
    }
}

/// A backend that answers with how often it was asked, when it is let.
#[derive(Clone)]
struct Source {
    asked: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Source {
    fn open() -> Self {
        Self {
            asked: Arc::default(),
            gate: Arc::new(Semaphore::new(1_000_000)),
        }
    }

    fn shut() -> Self {
        Self {
            gate: Arc::new(Semaphore::new(0)),
            ..Self::open()
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn number(&self, cache: &StatusCache, app: &AppRef) -> usize {
        let source = self.clone();
        let status = cache
            .get_or_load(app, move || {
                let source = source.clone();
                async move {
                    let number = source.asked.fetch_add(1, Ordering::SeqCst) + 1;
                    source.gate.acquire().await.unwrap().forget();
                    Ok(numbered(number))
                }
            })
            .await
            .unwrap();
        status.revisions[0].parse().unwrap()
    }
}

async fn until(condition: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come to that");
}

fn options(live: u64, stale: u64) -> CacheOptions {
    CacheOptions {
        time_to_live: Duration::from_secs(live),
        stale_for: Duration::from_secs(stale),
        ..CacheOptions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_lives_for_its_time() {
    let (cache, source, app) = (StatusCache::new(options(10, 0)), Source::open(), "a".into());
    assert_eq!(source.number(&cache, &app).await, 1);
    advance(Duration::from_secs(9)).await;
    assert_eq!(source.number(&cache, &app).await, 1);
    assert!(cache.get(&app).await.unwrap().age() >= Duration::from_secs(9));
    advance(Duration::from_secs(1)).await;
    assert!(cache.get(&app).await.is_none());
    assert_eq!(source.number(&cache, &app).await, 2);
}

#[tokio::test(start_paused = true)]
async fn an_old_status_is_served_while_a_new_one_is_read_once() {
    let (cache, source, app) = (StatusCache::new(options(10, 5)), Source::open(), "a".into());
    source.number(&cache, &app).await;
    advance(Duration::from_secs(11)).await;
    for _ in 0..5 {
        assert_eq!(source.number(&cache, &app).await, 1);
    }
    sleep(Duration::from_millis(1)).await;
    assert_eq!(source.asked(), 2);
    assert_eq!(source.number(&cache, &app).await, 2);
    // Nobody asks for longer than it may be old: the next one waits.
    advance(Duration::from_secs(16)).await;
    assert_eq!(source.number(&cache, &app).await, 3);
    assert_eq!(cache.stats().stale_hits, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_read_once() {
    let (cache, source, app) = (
        StatusCache::default(),
        Source::shut(),
        AppRef::from("team/a"),
    );
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let (cache, source, app) = (cache.clone(), source.clone(), app.clone());
            tokio::spawn(async move { source.number(&cache, &app).await })
        })
        .collect();
    until(|| source.asked() == 1).await;
    sleep(Duration::from_millis(20)).await;
    source.gate.add_permits(1);
    for answer in join_all(asking).await {
        assert_eq!(answer.unwrap(), 1);
    }
    assert_eq!(source.asked(), 1);
    assert_eq!(cache.stats().loads, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_one_reads_when_the_one_that_reads_gives_up() {
    let (cache, source, app) = (StatusCache::default(), Source::shut(), AppRef::new("a"));
    let ask = || {
        let (cache, source, app) = (cache.clone(), source.clone(), app.clone());
        tokio::spawn(async move { source.number(&cache, &app).await })
    };
    let first = ask();
    until(|| source.asked() == 1).await;
    let second = ask();
    sleep(Duration::from_millis(20)).await;
    first.abort();
    until(|| source.asked() == 2).await;
    source.gate.add_permits(1);
    assert_eq!(second.await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_change_is_not_told_after_it() {
    let (cache, source, app) = (StatusCache::default(), Source::shut(), AppRef::new("a"));
    let ask = || {
        let (cache, source, app) = (cache.clone(), source.clone(), app.clone());
        tokio::spawn(async move { source.number(&cache, &app).await })
    };
    let before = ask();
    until(|| source.asked() == 1).await;
    cache.invalidate(&app).await;
    let after = ask();
    sleep(Duration::from_millis(20)).await;
    source.gate.add_permits(2);
    assert_eq!(before.await.unwrap(), 1);
    assert_eq!(after.await.unwrap(), 2);
    assert_eq!(cache.get(&app).await.unwrap().revisions, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_watch_tells_is_newer_than_what_is_being_read() {
    let (cache, source, app) = (StatusCache::default(), Source::shut(), AppRef::new("a"));
    let reading = {
        let (cache, source, app) = (cache.clone(), source.clone(), app.clone());
        tokio::spawn(async move { source.number(&cache, &app).await })
    };
    until(|| source.asked() == 1).await;
    cache.insert(&app, numbered(100)).await;
    source.gate.add_permits(1);
    reading.await.unwrap();
    assert_eq!(cache.get(&app).await.unwrap().revisions, ["100"]);
}

#[tokio::test]
async fn everybody_who_waits_gets_the_same_error_and_it_is_not_kept() {
    let (cache, app) = (StatusCache::default(), AppRef::new("a"));
    let asked = Arc::new(AtomicUsize::new(0));
    let load = || {
        let asked = Arc::clone(&asked);
        move || {
            let asked = Arc::clone(&asked);
            async move {
                asked.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Err(Error::unavailable("gone fishing")
                    .with_source(std::io::Error::other("refused"))
                    .with_retry_after(Duration::from_secs(3))
                    .context("read the status"))
            }
        }
    };
    let answers = join_all((0..10).map(|_| cache.get_or_load(&app, load()))).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(
            format!("{error:#}"),
            "read the status: gone fishing: refused"
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }
    assert!(cache.get(&app).await.is_none());
    assert!(cache.get_or_load(&app, load()).await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(cache.stats().load_failures, 2);
}

#[tokio::test]
async fn an_old_status_of_what_is_gone_is_not_served_on() {
    tokio::time::pause();
    let (cache, source, app) = (
        StatusCache::new(options(1, 60)),
        Source::open(),
        AppRef::new("a"),
    );
    source.number(&cache, &app).await;
    advance(Duration::from_secs(2)).await;
    let gone = || || async { Err(Error::not_found("no application a")) };
    assert!(cache.get_or_load(&app, gone()).await.is_ok());
    sleep(Duration::from_millis(1)).await;
    let error = cache.get_or_load(&app, gone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_capacity_is_kept_by_weight() {
    let options = CacheOptions {
        capacity: 100_000,
        ..CacheOptions::default()
    };
    let cache = StatusCache::new(options);
    for number in 0..1000 {
        let mut status = numbered(number);
        status.resources = (0..20)
            .map(|n| ResourceStatus {
                id: ObjectId::new("apps", "Deployment", "shop", format!("web-{n}")),
                version: "v1".into(),
                sync: SyncStatus::Synced,
                health: Some(Health::new(HealthStatus::Healthy, "")),
                hook: false,
                requires_pruning: false,
                sync_wave: 0,
            })
            .collect();
        cache
            .insert(&AppRef::new(format!("app-{number}")), status)
            .await;
    }
    let stats = cache.stats();
    assert!(stats.bytes <= 100_000, "{stats:?}");
    assert!(stats.entries >= 10, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_freed_though_nobody_asks_for_it() {
    let cache = StatusCache::new(options(10, 5));
    for number in 0..100 {
        cache
            .insert(&AppRef::new(format!("app-{number}")), numbered(number))
            .await;
    }
    assert_eq!(cache.stats().entries, 100);
    advance(Duration::from_secs(16)).await;
    cache.insert(&AppRef::new("another"), numbered(1)).await;
    assert_eq!(cache.stats().entries, 1);
}

#[tokio::test]
async fn forgetting_everything_forgets_what_is_being_read() {
    let (cache, source, app) = (StatusCache::default(), Source::shut(), AppRef::new("a"));
    let reading = {
        let (cache, source, app) = (cache.clone(), source.clone(), app.clone());
        tokio::spawn(async move { source.number(&cache, &app).await })
    };
    until(|| source.asked() == 1).await;
    cache.insert(&AppRef::new("b"), numbered(7)).await;
    cache.invalidate_all();
    source.gate.add_permits(1);
    reading.await.unwrap();
    assert!(cache.get(&app).await.is_none());
    assert!(cache.get(&AppRef::new("b")).await.is_none());
    cache.insert(&app, numbered(8)).await;
    assert_eq!(cache.get(&app).await.unwrap().revisions, ["8"]);
}

/// A shared store whose writes take their time.
#[derive(Default)]
struct Slow(Mutex<Option<ApplicationStatus>>);

#[async_trait::async_trait]
impl SharedStatuses for Slow {
    async fn read(&self, _: &AppRef) -> Result<SharedRead> {
        Ok(match &*self.0.lock().unwrap() {
            Some(status) => SharedRead::Found {
                status: Box::new(status.clone()),
                age: Duration::ZERO,
            },
            None => SharedRead::Missing(WriteToken("t".into())),
        })
    }
    async fn write(
        &self,
        _: &AppRef,
        status: &ApplicationStatus,
        _: Option<&WriteToken>,
        _: Duration,
    ) -> Result<()> {
        sleep(Duration::from_secs(1)).await;
        *self.0.lock().unwrap() = Some(status.clone());
        Ok(())
    }
    async fn forget(&self, _: &AppRef) -> Result<()> {
        *self.0.lock().unwrap() = None;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_a_status_is_shared_is_not_hidden_by_it() {
    for all in [false, true] {
        let store = Arc::new(Slow::default());
        let cache = StatusCache::shared(CacheOptions::default(), store.clone());
        let app = AppRef::new("a");
        let inserting = {
            let (cache, app) = (cache.clone(), app.clone());
            tokio::spawn(async move { cache.insert(&app, numbered(1)).await })
        };
        sleep(Duration::from_millis(500)).await;
        assert_eq!(cache.get(&app).await.unwrap().revisions, ["1"]);
        if all {
            cache.invalidate_all();
        } else {
            cache.invalidate(&app).await;
        }
        inserting.await.unwrap();
        assert!(cache.get(&app).await.is_none(), "{all}");
    }
}
