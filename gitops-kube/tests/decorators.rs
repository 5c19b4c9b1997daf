//! Each decorator of `gitops-core` passes the conformance suite of backends around the direct backend, and so do all of them together.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::sync::Arc;

use gitops_core::Result;
use gitops_core::backend::Backend;
use gitops_core::testing::conformance::backend::Fixture;

/// The direct backend in what `wrap` puts around it.
async fn wrapped(wrap: impl FnOnce(Arc<dyn Backend>) -> Arc<dyn Backend>) -> Result<Fixture> {
    let fixture = fixture::make().await?;
    Ok(Fixture {
        backend: wrap(fixture.backend),
        ..fixture
    })
}

mod cached {
    use std::sync::Arc;
    use std::time::Duration;

    use gitops_core::Result;
    use gitops_core::application::SyncStatus;
    use gitops_core::backend::{Selector, SyncOptions, Syncer};
    use gitops_core::cache::{CacheOptions, CachedBackend, StatusCache};
    use gitops_core::testing::conformance::backend::Fixture;

    /// So long that only a change takes a status out.
    fn cache() -> StatusCache {
        StatusCache::new(CacheOptions {
            time_to_live: Duration::from_secs(3600),
            ..CacheOptions::default()
        })
    }

    async fn make() -> Result<Fixture> {
        super::wrapped(|backend| Arc::new(CachedBackend::new(backend, cache()))).await
    }

    gitops_core::backend_conformance!(make());

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sync_that_nobody_waits_for_takes_the_status_out() {
        let fixture = super::fixture::make().await.unwrap();
        let backend = CachedBackend::new(fixture.backend.clone(), cache());
        let app = &fixture.app;
        for _ in 0..10 {
            let status = backend.status(app).await.unwrap();
            assert_eq!(status.sync, SyncStatus::OutOfSync);
        }
        assert_eq!(backend.cache().stats().loads, 1);
        backend.sync(app, &SyncOptions::default()).await.unwrap();
        let synced = async {
            while backend.status(app).await.unwrap().sync != SyncStatus::Synced {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), synced)
            .await
            .unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_watch_fills_the_cache_and_a_deletion_empties_it() {
        let fixture = super::fixture::make().await.unwrap();
        let backend = CachedBackend::new(fixture.backend.clone(), cache());
        let filling = backend.fill(Selector::all());
        let app = &fixture.app;
        let until = async |there: bool| {
            while backend.cache().get(app).await.is_some() != there {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), until(true))
            .await
            .unwrap();
        assert_eq!(
            backend.status(app).await.unwrap().sync,
            SyncStatus::OutOfSync
        );
        assert_eq!(backend.cache().stats().loads, 0);
        // Somebody else deletes it.
        let store = fixture.backend.store().unwrap();
        store.delete(app, &Default::default()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), until(false))
            .await
            .unwrap();
        drop(filling);
    }
}

mod limited {
    use std::sync::Arc;

    use gitops_core::Result;
    use gitops_core::limit::{
        LimitOptions, LimitedBackend, SyncLimiter, Throttle, ThrottleOptions,
    };
    use gitops_core::testing::conformance::backend::Fixture;

    async fn make() -> Result<Fixture> {
        let limiter = SyncLimiter::new(LimitOptions {
            max: 1,
            per_cluster: Some(1),
            queue: Some(1),
            ..LimitOptions::default()
        });
        let throttle = Throttle::new(ThrottleOptions {
            calls: 1000,
            ..ThrottleOptions::default()
        });
        super::wrapped(|backend| Arc::new(LimitedBackend::throttled(backend, limiter, throttle)))
            .await
    }

    gitops_core::backend_conformance!(make());
}

mod retrying {
    use std::sync::Arc;

    use gitops_core::Result;
    use gitops_core::retry::{RetryOptions, RetryingBackend};
    use gitops_core::testing::conformance::backend::Fixture;

    async fn make() -> Result<Fixture> {
        super::wrapped(|backend| Arc::new(RetryingBackend::new(backend, RetryOptions::default())))
            .await
    }

    gitops_core::backend_conformance!(make());
}

mod metered {
    use std::sync::Arc;

    use gitops_core::Result;
    use gitops_core::metrics::MeteredBackend;
    use gitops_core::testing::conformance::backend::Fixture;

    async fn make() -> Result<Fixture> {
        super::wrapped(|backend| Arc::new(MeteredBackend::new(backend))).await
    }

    gitops_core::backend_conformance!(make());
}

mod audited {
    use std::sync::Arc;

    use gitops_core::Result;
    use gitops_core::audit::{AuditLog, AuditedBackend, TracingSink};
    use gitops_core::testing::conformance::backend::Fixture;

    async fn make() -> Result<Fixture> {
        let log = AuditLog::new().with_sink(Arc::new(TracingSink));
        let log = Arc::new(log.required(true));
        super::wrapped(|backend| Arc::new(AuditedBackend::new(backend, log))).await
    }

    gitops_core::backend_conformance!(make());
}

mod together {
    use std::sync::Arc;

    use gitops_core::Result;
    use gitops_core::audit::{AuditLog, AuditedBackend, TracingSink};
    use gitops_core::cache::{CachedBackend, StatusCache};
    use gitops_core::limit::{LimitedBackend, SyncLimiter};
    use gitops_core::metrics::MeteredBackend;
    use gitops_core::retry::{RetryOptions, RetryingBackend};
    use gitops_core::testing::conformance::backend::Fixture;

    async fn make() -> Result<Fixture> {
        super::wrapped(|backend| {
            let retrying = RetryingBackend::new(backend, RetryOptions::default());
            let metered = MeteredBackend::new(retrying);
            let limited = LimitedBackend::new(metered, SyncLimiter::default());
            let log = AuditLog::new().with_sink(Arc::new(TracingSink));
            let audited = AuditedBackend::new(Arc::new(limited), Arc::new(log));
            Arc::new(CachedBackend::new(audited, StatusCache::default()))
        })
        .await
    }

    gitops_core::backend_conformance!(make());
}
