//! What arrives at a recorder, from a whole stack of decorators.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fake::{Fake, Fault};
use futures::StreamExt;
use gitops_core::application::{AppRef, ApplicationStatus, ResourceStatus, SyncStatus};
use gitops_core::backend::{EventKind, Selector, StatusEvent, SyncEvent, SyncOptions, Syncer};
use gitops_core::cache::{
    CacheOptions, CachedBackend, SharedRead, SharedStatuses, StatusCache, WriteToken,
};
use gitops_core::limit::{LimitKey, LimitOptions, LimitedBackend, SyncLimiter};
use gitops_core::manifest::ObjectId;
use gitops_core::metrics::MeteredBackend;
use gitops_core::notify::{Notifier, Notifiers};
use gitops_core::retry::{BreakerOptions, RetryOptions, RetryingBackend};
use gitops_core::testing::mocks::{MockBackend, MockSyncer};
use gitops_core::webhook::{Provider, WebhookReceiver, webhook_events};
use gitops_core::{Error, ErrorKind, Result};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower::ServiceExt;

/// Every series, as `name{label=value,…}`; each is in the table of names.
fn series(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let table = include_str!("../src/metrics/mod.rs");
    let recorded = snapshotter.snapshot().into_vec().into_iter();
    recorded
        .map(|(key, _, _, value)| {
            let (name, labels) = key.key().clone().into_parts();
            let name = name.as_str();
            assert!(table.contains(&format!("//! | `{name}` |")), "{name}");
            let mut labels: Vec<_> = labels
                .iter()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            labels.sort();
            let value = match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(values) => values.len() as f64,
            };
            (format!("{name}{{{}}}", labels.join(",")), value)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_stack_of_decorators_tells_what_it_does() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let fake = Fake::lasting(Duration::from_secs(5));
    fake.failing.lock().unwrap().push(AppRef::new("bad"));
    let refused = Error::new(ErrorKind::RateLimited, "slowly");
    fake.sync_faults
        .lock()
        .unwrap()
        .push_back(Fault::Refused(refused));
    let retrying = RetryingBackend::new(fake, RetryOptions::default());
    let limiter = SyncLimiter::new(LimitOptions {
        max: 1,
        name: "test".into(),
        ..LimitOptions::default()
    });
    let limited = LimitedBackend::new(MeteredBackend::new(retrying), limiter);
    let apps = vec!["good".into(), "bad".into(), "other".into()];
    let results: Vec<_> = limited
        .sync_all(apps, SyncOptions::default())
        .collect()
        .await;
    assert_eq!(results.len(), 3);
    let cached = CachedBackend::new(limited, StatusCache::default());
    for _ in 0..3 {
        cached.status(&"good".into()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let series = series(&snapshotter);
    for (name, value) in [
        ("gitops_syncs_total{backend=fake,outcome=succeeded}", 2.0),
        ("gitops_syncs_total{backend=fake,outcome=failed}", 1.0),
        (
            "gitops_sync_duration_seconds{backend=fake,outcome=succeeded}",
            2.0,
        ),
        ("gitops_syncs_running{backend=fake}", 0.0),
        (
            "gitops_backend_calls_total{backend=fake,call=sync,result=ok}",
            3.0,
        ),
        ("gitops_backend_call_seconds{backend=fake,call=sync}", 3.0),
        (
            "gitops_backend_retries_total{backend=fake,reason=rate_limited}",
            1.0,
        ),
        ("gitops_limiter_queued{limiter=test}", 0.0),
        ("gitops_limiter_running{limiter=test}", 0.0),
        ("gitops_limiter_wait_seconds{limiter=test}", 2.0),
        ("gitops_cache_reads_total{result=miss}", 1.0),
        ("gitops_cache_reads_total{result=hit}", 2.0),
        ("gitops_drifted_resources{app=good,backend=fake}", 0.0),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name} in {series:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn drift_is_counted_in_resources() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let resource = |name: &str, sync, hook| ResourceStatus {
        id: ObjectId::new("", "ConfigMap", "prod", name),
        version: "v1".into(),
        sync,
        health: None,
        hook,
        requires_pruning: false,
        sync_wave: 0,
    };
    let status = ApplicationStatus {
        resources: vec![
            resource("a", SyncStatus::OutOfSync, false),
            resource("b", SyncStatus::OutOfSync, false),
            resource("c", SyncStatus::Synced, false),
            resource("hook", SyncStatus::OutOfSync, true),
        ],
        ..ApplicationStatus::default()
    };
    let mut syncer = MockSyncer::new();
    let read = status.clone();
    syncer.expect_status().returning(move |_| Ok(read.clone()));
    syncer.expect_watch().returning(move |_| {
        let status = Box::new(ApplicationStatus {
            resources: vec![resource("a", SyncStatus::OutOfSync, false)],
            ..status.clone()
        });
        let (watched, gone) = (AppRef::new("watched"), AppRef::new("gone"));
        let events = [
            Ok(StatusEvent::Status {
                app: watched,
                status,
            }),
            Ok(StatusEvent::Deleted { app: gone }),
            Err(Error::unavailable("missed some")),
        ];
        futures::stream::iter(events).boxed()
    });
    let metered = MeteredBackend::new(MockBackend {
        syncer,
        ..MockBackend::default()
    });
    for app in ["read", "gone"] {
        metered.status(&app.into()).await.unwrap();
    }
    let drift = |app: &str| format!("gitops_drifted_resources{{app={app},backend=mock}}");
    // A snapshot begins anew.
    let read = series(&snapshotter);
    for app in ["read", "gone"] {
        assert_eq!(read.get(&drift(app)), Some(&2.0), "{app} in {read:#?}");
    }
    metered.watch(Selector::all()).collect::<Vec<_>>().await;
    let series = series(&snapshotter);
    for (name, value) in [
        (drift("watched"), 1.0),
        (drift("gone"), 0.0),
        ("gitops_watch_gaps_total{backend=mock}".into(), 1.0),
    ] {
        assert_eq!(series.get(&name), Some(&value), "{name} in {series:#?}");
    }
}

/// A shared store that is away.
struct Away;

#[async_trait]
impl SharedStatuses for Away {
    async fn read(&self, _: &AppRef) -> Result<SharedRead> {
        Err(Error::unavailable("away"))
    }
    async fn write(
        &self,
        _: &AppRef,
        _: &ApplicationStatus,
        _: Option<&WriteToken>,
        _: Duration,
    ) -> Result<()> {
        Err(Error::unavailable("away"))
    }
    async fn forget(&self, _: &AppRef) -> Result<()> {
        Err(Error::unavailable("away"))
    }
}

struct Refusing;

#[async_trait]
impl Notifier for Refusing {
    fn name(&self) -> &str {
        "refusing"
    }
    async fn notify(&self, _: &SyncEvent) -> Result<()> {
        Err(Error::invalid("not like this"))
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let app = AppRef::new("a");

    let mut notifiers = Notifiers::default();
    notifiers.add_notifier(Refusing);
    let event = SyncEvent::now(app.clone(), "op", EventKind::SyncStarted);
    notifiers.notify_sync(&event).await.unwrap_err();

    let limiter = SyncLimiter::new(LimitOptions {
        max: 1,
        queue: Some(1),
        wait: Some(Duration::from_secs(5)),
        name: "test".into(),
        ..LimitOptions::default()
    });
    let held = limiter.acquire(&LimitKey::default()).await.unwrap();
    let (first, second) = tokio::join!(limiter.run(async {}), limiter.run(async {}));
    assert!(first.is_err() && second.is_err());
    drop(held);

    let cache = StatusCache::shared(CacheOptions::default(), Arc::new(Away));
    cache.insert(&app, ApplicationStatus::default()).await;
    cache.invalidate(&app).await;

    let fake = Fake::default();
    let away = || Error::unavailable("away");
    let faults = (0..3).map(|_| away());
    fake.status_faults.lock().unwrap().extend(faults);
    let options = RetryOptions {
        breaker: Some(BreakerOptions {
            failures: 3,
            open_for: Duration::from_secs(3600),
        }),
        ..RetryOptions::default()
    };
    let retrying = RetryingBackend::new(fake, options);
    retrying.status(&app).await.unwrap_err();

    let counted = series(&snapshotter);
    for (name, value) in [
        ("gitops_notifier_failures_total{notifier=refusing}", 1.0),
        (
            "gitops_limiter_refused_total{limiter=test,reason=queue_full}",
            1.0,
        ),
        (
            "gitops_limiter_refused_total{limiter=test,reason=timeout}",
            1.0,
        ),
        ("gitops_cache_shared_failures_total{}", 2.0),
        ("gitops_circuit_open{backend=fake}", 1.0),
    ] {
        assert_eq!(counted.get(name), Some(&value), "{name} in {counted:#?}");
    }
    tokio::time::advance(Duration::from_secs(3600)).await;
    retrying.status(&app).await.unwrap();
    let closed = series(&snapshotter)["gitops_circuit_open{backend=fake}"];
    assert_eq!(closed, 0.0);
}

#[tokio::test]
async fn webhooks_are_counted_by_their_answers() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (sink, _events) = webhook_events(16);
    let receiver = WebhookReceiver::new(Provider::GitLab, ["s3cret".into()]).unwrap();
    let service = receiver.max_body(1000).service(sink);
    let push = r#"{"object_kind": "push", "ref": "refs/heads/main", "project": {"git_http_url": "https://h/o/r.git"}}"#;
    let long = "x".repeat(2000);
    for (method, token, kind, body) in [
        ("POST", "s3cret", "Push Hook", push),
        (
            "POST",
            "s3cret",
            "Pipeline Hook",
            r#"{"object_kind": "pipeline"}"#,
        ),
        ("POST", "s3cret", "Push Hook", "no JSON"),
        ("POST", "wrong", "Push Hook", push),
        ("POST", "s3cret", "Push Hook", &long),
        ("GET", "s3cret", "Push Hook", ""),
    ] {
        let request = http::Request::builder()
            .method(method)
            .header("x-gitlab-token", token)
            .header("x-gitlab-event", kind)
            .body(axum::body::Body::from(body.to_owned()))
            .unwrap();
        service.clone().oneshot(request).await.unwrap();
    }
    let series = series(&snapshotter);
    for result in [
        "accepted",
        "ignored",
        "invalid",
        "unauthenticated",
        "too_large",
        "not_a_post",
    ] {
        let name = format!("gitops_webhooks_total{{provider=gitlab,result={result}}}");
        assert_eq!(series.get(&name), Some(&1.0), "{name} in {series:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reconciler_without_leases_tells_how_many_applications_it_has() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = world::World::new(&["a", "b"]).await;
    let running = world.run(world.reconciler());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let recorded = snapshotter.snapshot().into_vec();
    let of = |wanted: &str| {
        let mut all = recorded.iter();
        let found = all.find(|(key, ..)| key.key().name() == wanted);
        found.map(|(.., value)| format!("{value:?}"))
    };
    let count = of("gitops_reconciler_applications").unwrap();
    assert!(count.contains("Gauge") && count.contains('2'), "{count}");
    assert_eq!(running.control.stats().owned, 2);
}
