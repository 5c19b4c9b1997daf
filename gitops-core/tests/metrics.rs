//! What arrives at a recorder, from a whole stack of decorators.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use fake::{Fake, Fault};
use futures::StreamExt;
use gitops_core::application::AppRef;
use gitops_core::backend::{SyncOptions, Syncer};
use gitops_core::cache::{CachedBackend, StatusCache};
use gitops_core::limit::{LimitOptions, LimitedBackend, SyncLimiter};
use gitops_core::metrics::MeteredBackend;
use gitops_core::retry::{RetryOptions, RetryingBackend};
use gitops_core::{Error, ErrorKind};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

/// Every series, as `name{label=value,…}`.
fn series(recorded: Vec<(String, DebugValue)>) -> BTreeMap<String, f64> {
    recorded
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(values) => values.len() as f64,
            };
            (name, value)
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
    let recorded = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let (name, labels) = key.key().clone().into_parts();
            let mut labels: Vec<_> = labels
                .iter()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            labels.sort();
            (format!("{}{{{}}}", name.as_str(), labels.join(",")), value)
        })
        .collect();
    let series = series(recorded);
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
    // The table is whole: every name that was recorded is in it.
    let table = include_str!("../src/metrics/mod.rs");
    for name in series.keys() {
        let name = name.split('{').next().unwrap();
        assert!(table.contains(&format!("//! | `{name}` |")), "{name}");
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
