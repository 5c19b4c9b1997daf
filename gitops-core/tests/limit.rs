//! The limiter: never too many at once, in order, and no permit lost.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake::{Fake, Fault, until};
use futures::{FutureExt, StreamExt};
use gitops_core::application::{AppRef, Application, ClusterRef};
use gitops_core::backend::{ApplicationStore, PutMode, SyncOptions, Syncer};
use gitops_core::limit::{
    LimitKey, LimitOptions, LimitedBackend, SyncLimiter, Throttle, ThrottleOptions,
};
use gitops_core::store::MemoryStore;
use gitops_core::{Error, ErrorKind};

fn limiter(max: usize) -> SyncLimiter {
    SyncLimiter::new(LimitOptions {
        max,
        ..LimitOptions::default()
    })
}

fn cluster(name: &str) -> ClusterRef {
    ClusterRef::Name(name.into())
}

fn apps(count: usize) -> Vec<AppRef> {
    (0..count)
        .map(|n| AppRef::new(format!("app-{n}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_wait_half_are_cancelled_and_all_permits_come_back() {
    let limiter = SyncLimiter::new(LimitOptions {
        per_cluster: Some(3),
        ..LimitOptions::default()
    });
    let (running, most, finished) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let tasks: Vec<_> = (0..10_000)
        .map(|n| {
            let (limiter, running, most, finished) = (
                limiter.clone(),
                running.clone(),
                most.clone(),
                finished.clone(),
            );
            tokio::spawn(async move {
                // Every application twice, on five clusters.
                let key = LimitKey::app(AppRef::new(format!("app-{}", n / 2)))
                    .on(cluster(&(n / 2 % 5).to_string()));
                let work = async {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    // Some are cancelled while they run.
                    let running = scopeguard(|| {
                        running.fetch_sub(1, Ordering::SeqCst);
                    });
                    tokio::time::sleep(Duration::from_micros(200)).await;
                    drop(running);
                };
                limiter.run_for(&key, work).await.unwrap();
                finished.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    until(|| limiter.queued() > 5000).await;
    for task in tasks.iter().step_by(2) {
        task.abort();
    }
    let mut cancelled = 0;
    for task in tasks {
        cancelled += usize::from(task.await.is_err());
    }
    assert_eq!(finished.load(Ordering::SeqCst) + cancelled, 10_000);
    assert!(cancelled > 2000, "{cancelled} were cancelled");
    assert!(most.load(Ordering::SeqCst) <= 8);
    assert_eq!(
        (limiter.running(), limiter.queued(), limiter.keys()),
        (0, 0, 0)
    );
    // All eight are there, at once.
    let mut held = Vec::new();
    for n in 0..8 {
        let key = LimitKey::app(AppRef::new("app-0")).on(cluster("0"));
        let key = if n == 0 { key } else { LimitKey::default() };
        held.push(limiter.acquire(&key).now_or_never().unwrap().unwrap());
    }
    assert!(
        limiter
            .acquire(&LimitKey::default())
            .now_or_never()
            .is_none()
    );
}

fn scopeguard<F: FnMut()>(f: F) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(f)
}

#[tokio::test]
async fn who_asks_first_runs_first() {
    let limiter = limiter(1);
    let held = limiter.acquire(&LimitKey::default()).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..100 {
        let (mine, order) = (limiter.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            mine.run(async { order.lock().unwrap().push(n) }).await
        }));
        until_queued(&limiter, n + 1).await;
    }
    drop(held);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..100).collect::<Vec<_>>());

    async fn until_queued(limiter: &SyncLimiter, queued: usize) {
        while limiter.queued() < queued {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_application_holds_no_place_of_the_whole() {
    let limiter = limiter(2);
    let key = LimitKey::app(AppRef::new("busy"));
    let _busy = limiter.acquire(&key).await.unwrap();
    let second = limiter.clone();
    let waiting = tokio::spawn(async move { second.run_for(&key, async {}).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((limiter.running(), limiter.queued()), (1, 1));
    limiter
        .run_for(&LimitKey::app(AppRef::new("other")), async {})
        .now_or_never()
        .expect("there is room")
        .unwrap();
    assert!(!waiting.is_finished());
}

#[tokio::test(start_paused = true)]
async fn the_queue_and_the_wait_have_bounds() {
    let limiter = SyncLimiter::new(LimitOptions {
        max: 1,
        queue: Some(2),
        wait: Some(Duration::from_secs(30)),
        ..LimitOptions::default()
    });
    let held = limiter.acquire(&LimitKey::default()).await.unwrap();
    let wait = |within: Option<u64>| {
        let limiter = limiter.clone();
        let key = LimitKey {
            wait: within.map(Duration::from_secs),
            ..LimitKey::default()
        };
        tokio::spawn(async move { limiter.acquire(&key).await.map(drop) })
    };
    let (short, long) = (wait(Some(5)), wait(None));
    tokio::task::yield_now().await;
    assert_eq!(limiter.queued(), 2);
    let refused = limiter.run(async {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::RateLimited);
    assert!(refused.is_retryable());
    tokio::time::sleep(Duration::from_secs(6)).await;
    let late = short.await.unwrap().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
    assert_eq!(limiter.queued(), 1);
    drop(held);
    long.await.unwrap().unwrap();
    assert_eq!((limiter.running(), limiter.queued()), (0, 0));
}

#[tokio::test]
async fn a_panic_gives_the_permit_back() {
    let limiter = limiter(1);
    let second = limiter.clone();
    let task =
        tokio::spawn(async move { second.run(async { panic!("it was to be expected") }).await });
    assert!(task.await.is_err());
    limiter.run(async {}).now_or_never().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_keeps_its_rate() {
    let throttle = Throttle::new(ThrottleOptions {
        calls: 1000,
        per: Duration::from_secs(1),
        burst: 5,
    });
    let begun = Instant::now();
    let turns = (0..105).map(|_| throttle.turn());
    futures::future::join_all(turns).await;
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(99), "{taken:?}");
    // Zeros are no panic.
    let least = Throttle::new(ThrottleOptions {
        calls: 0,
        per: Duration::ZERO,
        burst: 0,
    });
    least.turn().await;
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_held_until_the_operation_ends_though_nobody_waits() {
    let fake = Fake::lasting(Duration::from_secs(60));
    let backend = LimitedBackend::new(fake.clone(), limiter(2));
    for app in apps(2) {
        backend.sync(&app, &SyncOptions::default()).await.unwrap();
    }
    assert_eq!(backend.limiter().running(), 2);
    let third = backend.clone();
    let waiting =
        tokio::spawn(async move { third.sync(&"third".into(), &SyncOptions::default()).await });
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert!(!waiting.is_finished());
    // It waits, and is one operation already.
    let again = backend.sync(&"third".into(), &SyncOptions::default()).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::OperationInProgress);
    tokio::time::sleep(Duration::from_secs(2)).await;
    waiting.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(backend.limiter().running(), 0);
    assert_eq!(Fake::count(&fake.most), 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_given_up_is_carried_through_under_its_permit() {
    let fake = Fake::lasting(Duration::from_secs(60));
    *fake.start_lasts.lock().unwrap() = Duration::from_secs(1);
    let backend = LimitedBackend::new(fake.clone(), limiter(1));
    let options = SyncOptions::default();
    let app = AppRef::new("a");
    let given_up = tokio::time::timeout(Duration::from_millis(10), backend.sync(&app, &options));
    assert!(given_up.await.is_err());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        (Fake::count(&fake.running), backend.limiter().running()),
        (1, 1)
    );
    // The one that waits when it is given up was never started.
    let app = AppRef::new("b");
    let given_up = tokio::time::timeout(Duration::from_secs(1), backend.sync(&app, &options));
    assert!(given_up.await.is_err());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(
        (Fake::count(&fake.started), backend.limiter().running()),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_held_while_the_outcome_cannot_be_asked_for() {
    let fake = Fake::lasting(Duration::from_secs(60));
    for _ in 0..3 {
        let away = Error::unavailable("away");
        fake.wait_faults.lock().unwrap().push_back(away);
    }
    let backend = LimitedBackend::new(fake.clone(), limiter(1));
    backend
        .sync(&"a".into(), &SyncOptions::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(backend.limiter().running(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(backend.limiter().running(), 0);
}

#[tokio::test(start_paused = true)]
async fn all_are_synced_and_failures_stop_nothing() {
    let fake = Fake::lasting(Duration::from_secs(1));
    let mut list = apps(100);
    fake.failing.lock().unwrap().push(list[7].clone());
    let refused = Error::permission_denied("no");
    fake.sync_faults
        .lock()
        .unwrap()
        .push_back(Fault::Refused(refused));
    // The bounds of waiting are not for lists.
    let limiter = SyncLimiter::new(LimitOptions {
        max: 10,
        queue: Some(3),
        wait: Some(Duration::from_secs(2)),
        ..LimitOptions::default()
    });
    let backend = LimitedBackend::new(fake.clone(), limiter);
    list.push(list[3].clone());
    let begun = tokio::time::Instant::now();
    let progress: Vec<_> = backend
        .sync_all(list, SyncOptions::default())
        .collect()
        .await;
    assert_eq!(progress.len(), 100);
    assert!(begun.elapsed() < Duration::from_secs(12));
    for (n, one) in progress.iter().enumerate() {
        assert_eq!((one.done, one.total), (n + 1, 100));
    }
    assert_eq!(progress[99].failed, 2);
    assert_eq!(Fake::count(&fake.most), 10);
    assert_eq!(progress.iter().filter(|one| !one.is_success()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_cluster_does_not_hold_up_the_others() {
    let fake = Fake::lasting(Duration::from_secs(1));
    let store = Arc::new(MemoryStore::new());
    for app in apps(40) {
        let mut application = Application::new(app.name.clone());
        // Three in four go to one cluster.
        let n: usize = app.name["app-".len()..].parse().unwrap();
        application.destination.cluster = cluster(if n % 4 == 3 { "idle" } else { "full" });
        store.put(&application, PutMode::Create).await.unwrap();
    }
    fake.kept_store.set(store).ok().unwrap();
    let limiter = SyncLimiter::new(LimitOptions {
        max: 10,
        per_cluster: Some(5),
        ..LimitOptions::default()
    });
    let backend = LimitedBackend::new(fake.clone(), limiter);
    let begun = tokio::time::Instant::now();
    let mut ends = Vec::new();
    let mut stream = backend.sync_all(apps(40), SyncOptions::default());
    while let Some(one) = stream.next().await {
        assert!(one.is_success(), "{one:?}");
        let n: usize = one.app.name["app-".len()..].parse().unwrap();
        ends.push((n % 4 == 3, begun.elapsed().as_secs()));
    }
    let last = |idle: bool| {
        ends.iter()
            .filter(|end| end.0 == idle)
            .map(|end| end.1)
            .max()
    };
    assert_eq!((last(true), last(false)), (Some(2), Some(6)));
    assert_eq!(Fake::count(&fake.most), 10);
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_held_however_long_the_operation_runs() {
    let fake = Fake::lasting(Duration::from_secs(2 * 3600));
    let backend = LimitedBackend::new(fake.clone(), limiter(1));
    let options = SyncOptions::default();
    backend.sync(&"a".into(), &options).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2 * 3600 - 1)).await;
    assert_eq!(backend.limiter().running(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(backend.limiter().running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_goes_back_when_the_end_cannot_be_learnt_for_an_hour() {
    let fake = Fake::lasting(Duration::from_secs(24 * 3600));
    let away = (0..10_000).map(|_| Error::unavailable("away"));
    fake.wait_faults.lock().unwrap().extend(away);
    let backend = LimitedBackend::new(fake.clone(), limiter(1));
    let options = SyncOptions::default();
    backend.sync(&"a".into(), &options).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3599)).await;
    assert_eq!(backend.limiter().running(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(backend.limiter().running(), 0);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_operations_wait_half_are_cancelled_and_each_permit_is_counted() {
    let fake = Fake::lasting(Duration::from_secs(1));
    let backend = LimitedBackend::new(fake.clone(), limiter(8));
    let tasks: Vec<_> = apps(10_000)
        .into_iter()
        .map(|app| {
            let backend = backend.clone();
            tokio::spawn(async move { backend.sync(&app, &SyncOptions::default()).await })
        })
        .collect();
    let counts = || {
        let limiter = backend.limiter();
        (limiter.running(), limiter.queued())
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(counts(), (8, 9_992));
    // Four of them have started already: what runs goes on.
    tasks.iter().step_by(2).for_each(|task| task.abort());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(counts(), (8, 4_996));
    let mut cancelled = 0;
    for task in tasks {
        cancelled += usize::from(task.await.is_err());
    }
    assert_eq!(cancelled, 4_996);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(counts(), (0, 0));
    assert_eq!(Fake::count(&fake.started), 5_004);
    assert_eq!(Fake::count(&fake.most), 8);
}
