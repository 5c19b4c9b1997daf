//! What the helpers around backends are measured with: statuses, the seed's cache, and a backend that does nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::executor::block_on;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use gitops_core::application::{
    AppRef, ApplicationStatus, ClusterRef, Health, OperationPhase, OperationStatus, ResourceStatus,
    SyncStatus,
};
use gitops_core::backend::{
    Backend, Operation, Selector, StatusEvent, SyncOptions, SyncOutcome, Syncer,
};
use gitops_core::cache::{CacheOptions, StatusCache};
use gitops_core::limit::{LimitKey, LimitOptions, LimitedBackend, SyncLimiter};
use gitops_core::manifest::ObjectId;
use gitops_core::{Error, Result};
use jiff::Timestamp;

/// The names of so many applications.
pub fn apps(count: usize) -> Vec<AppRef> {
    (0..count)
        .map(|n| AppRef::namespaced("argocd", format!("application-{n}")))
        .collect()
}

/// A status with so many resources, as a backend reports it.
pub fn status(app: &AppRef, resources: usize) -> ApplicationStatus {
    const KINDS: [(&str, &str); 5] = [
        ("", "ConfigMap"),
        ("", "Service"),
        ("apps", "Deployment"),
        ("networking.k8s.io", "Ingress"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
    ];
    let revision = "0123456789abcdef0123456789abcdef01234567".to_owned();
    ApplicationStatus {
        sync: SyncStatus::Synced,
        health: Health::healthy(),
        revisions: vec![revision.clone()],
        operation: Some(OperationStatus {
            id: "1795486932-1".into(),
            phase: OperationPhase::Succeeded,
            message: "successfully synced (all tasks run)".into(),
            revisions: vec![revision],
            started_at: Some(Timestamp::UNIX_EPOCH),
            finished_at: Some(Timestamp::UNIX_EPOCH),
            initiated_by: "admin".into(),
            retry_count: 0,
        }),
        resources: (0..resources)
            .map(|n| {
                let (group, kind) = KINDS[n % KINDS.len()];
                ResourceStatus {
                    id: ObjectId::new(group, kind, "production", format!("{}-{n}", app.name)),
                    version: "v1".into(),
                    sync: SyncStatus::Synced,
                    health: Some(Health::healthy()),
                    hook: false,
                    requires_pruning: false,
                    sync_wave: 0,
                }
            })
            .collect(),
        observed_at: Some(Timestamp::UNIX_EPOCH),
        ..ApplicationStatus::default()
    }
}

/// What a cache does in these measurements.
pub trait Statuses: Send + Sync {
    /// Puts a status in.
    fn put(&self, app: &AppRef, status: ApplicationStatus);
    /// Reads one: how many resources it has.
    fn read(&self, app: &AppRef) -> Option<usize>;
}

/// The seed's design: a map behind a read-write lock.
#[derive(Debug, Default)]
pub struct SeedCache(RwLock<HashMap<AppRef, Arc<ApplicationStatus>>>);

impl Statuses for SeedCache {
    fn put(&self, app: &AppRef, status: ApplicationStatus) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(app.clone(), Arc::new(status));
    }
    fn read(&self, app: &AppRef) -> Option<usize> {
        let found = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(app)
            .cloned();
        found.map(|status| status.resources.len())
    }
}

impl Statuses for StatusCache {
    fn put(&self, app: &AppRef, status: ApplicationStatus) {
        block_on(self.insert(app, status));
    }
    fn read(&self, app: &AppRef) -> Option<usize> {
        // In memory it is there at once; an executor for each read would be measured with it.
        self.get(app)
            .now_or_never()
            .flatten()
            .map(|status| status.resources.len())
    }
}

/// Our cache, so large and so long-lived that nothing falls out.
pub fn cache() -> StatusCache {
    StatusCache::new(CacheOptions {
        time_to_live: Duration::from_secs(3600),
        capacity: 4 << 30,
        ..CacheOptions::default()
    })
}

/// Puts a status of each in.
pub fn fill(cache: &dyn Statuses, apps: &[AppRef], resources: usize) {
    for app in apps {
        cache.put(app, status(app, resources));
    }
}

/// For so many reads one status is written.
const READS_PER_WRITE: usize = 500;

/// How long `readers`, with `reads` each, and one writer need together. Every cache has the same to do, reads and writes: a writer that writes
/// for as long as there are readers would write least where it is kept waiting.
///
/// # Errors
/// When a status is missing.
pub fn contended(
    cache: &dyn Statuses,
    apps: &[AppRef],
    readers: usize,
    reads: usize,
) -> Result<Duration> {
    let writes: Vec<_> = apps
        .iter()
        .cycle()
        .take(readers * reads / READS_PER_WRITE)
        .map(|app| (app, status(app, 20)))
        .collect();
    let missing = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for reader in 0..readers {
            let missing = &missing;
            scope.spawn(move || {
                for n in 0..reads {
                    // Each reader walks through the applications in another order.
                    let app = &apps[(n * 31 + reader * 7919) % apps.len()];
                    if cache.read(app).is_none() {
                        missing.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        scope.spawn(move || {
            for (app, status) in writes {
                cache.put(app, status);
            }
        });
    });
    let elapsed = begun.elapsed();
    match missing.into_inner() {
        0 => Ok(elapsed),
        missing => Err(Error::failed(format!("{missing} statuses were missing"))),
    }
}

/// How long one reader needs for `reads`, with nobody else.
///
/// # Errors
/// When a status is missing.
pub fn single(cache: &dyn Statuses, apps: &[AppRef], reads: usize) -> Result<Duration> {
    let begun = Instant::now();
    let mut resources = 0;
    for n in 0..reads {
        resources += cache
            .read(&apps[n * 31 % apps.len()])
            .ok_or_else(|| Error::failed("a status is missing"))?;
    }
    std::hint::black_box(resources);
    Ok(begun.elapsed())
}

/// A limiter with a limit in all, per cluster and per application.
pub fn limiter() -> SyncLimiter {
    SyncLimiter::new(LimitOptions {
        per_cluster: Some(4),
        ..LimitOptions::default()
    })
}

/// What counts for all three limits.
pub fn keys(count: usize) -> Vec<LimitKey> {
    apps(count)
        .into_iter()
        .enumerate()
        .map(|(n, app)| LimitKey::app(app).on(ClusterRef::Name(format!("cluster-{}", n % 10))))
        .collect()
}

/// How long `count` permits take, one after the other.
///
/// # Errors
/// When a permit is refused.
pub async fn permits(limiter: &SyncLimiter, keys: &[LimitKey], count: usize) -> Result<Duration> {
    let begun = Instant::now();
    for n in 0..count {
        drop(limiter.acquire(&keys[n % keys.len()]).await?);
    }
    Ok(begun.elapsed())
}

/// A backend whose syncs have ended when they begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

#[async_trait]
impl Syncer for Nothing {
    async fn sync(&self, app: &AppRef, _: &SyncOptions) -> Result<Operation> {
        Ok(Operation {
            app: app.clone(),
            id: "1".into(),
            started_at: Timestamp::UNIX_EPOCH,
        })
    }
    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        Ok(SyncOutcome {
            operation: operation.clone(),
            phase: OperationPhase::Succeeded,
            message: String::new(),
            revisions: Vec::new(),
            resources: Vec::new(),
            finished_at: Timestamp::UNIX_EPOCH,
        })
    }
    async fn terminate(&self, _: &Operation) -> Result<()> {
        Ok(())
    }
    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        Ok(status(app, 20))
    }
    fn watch(&self, _: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        futures::stream::pending().boxed()
    }
}

impl Backend for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }
}

/// How long `sync_all` needs for `apps` with a backend that does nothing.
///
/// # Errors
/// When one is not synced.
pub async fn sync_all(apps: Vec<AppRef>) -> Result<Duration> {
    let count = apps.len();
    let backend = LimitedBackend::new(Nothing, SyncLimiter::default());
    let begun = Instant::now();
    let mut results = backend.sync_all(apps, SyncOptions::default());
    let mut synced = 0;
    while let Some(one) = results.next().await {
        synced += usize::from(one.is_success());
    }
    if synced != count {
        return Err(Error::failed(format!("{synced} of {count} were synced")));
    }
    Ok(begun.elapsed())
}
