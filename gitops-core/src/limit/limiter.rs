//! The limiter.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::keyed::{Keyed, KeyedPermit};
use crate::application::{AppRef, ClusterRef};
use crate::error::{Error, ErrorKind, Result};

/// What a [`SyncLimiter`] lets through. A limit of 0 counts as 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitOptions {
    /// A name for metrics.
    pub name: String,
    /// How many at once.
    pub max: usize,
    /// How many at once for one cluster; `None` does not limit.
    pub per_cluster: Option<usize>,
    /// How many at once for one application; `None` does not limit.
    pub per_application: Option<usize>,
    /// How many may wait; the next is refused. `None` does not limit.
    pub queue: Option<usize>,
    /// How long one may wait, then it fails. `None` does not limit.
    pub wait: Option<Duration>,
}

impl Default for LimitOptions {
    /// 8 at once, one per application, and a queue without bounds.
    fn default() -> Self {
        Self {
            name: "sync".into(),
            max: 8,
            per_cluster: None,
            per_application: Some(1),
            queue: None,
            wait: None,
        }
    }
}

/// What something counts for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LimitKey {
    /// The application.
    pub app: Option<AppRef>,
    /// The cluster.
    pub cluster: Option<ClusterRef>,
    /// How long this one may wait; `None` leaves it to the limiter.
    pub wait: Option<Duration>,
}

impl LimitKey {
    /// Counts for an application.
    pub fn app(app: AppRef) -> Self {
        Self {
            app: Some(app),
            ..Self::default()
        }
    }

    /// Counts for a cluster too.
    #[must_use]
    pub fn on(mut self, cluster: ClusterRef) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Waits no longer than this.
    #[must_use]
    pub fn within(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }
}

/// Lets so many through at once: in all, per cluster, and per application. Clones share the limits.
///
/// - **Fair**: who waits for the same limit is let through in the order of asking.
/// - **Cancel-safe**: dropping a future that waits takes it out of the queue; dropping one that runs, or its [`Permit`], gives everything back.
/// - Who waits for its application or cluster holds no place of the whole.
///
/// Do not ask for a second permit of the same limiter while holding one: when all do so, nobody gets it.
#[derive(Clone)]
pub struct SyncLimiter {
    inner: Arc<Inner>,
}

struct Inner {
    options: LimitOptions,
    max: usize,
    all: Arc<Semaphore>,
    clusters: Option<Arc<Keyed<ClusterRef>>>,
    apps: Option<Arc<Keyed<AppRef>>>,
    queued: AtomicUsize,
}

/// The right to run; dropping it gives it back.
#[must_use = "dropping it gives the permit back"]
pub struct Permit {
    _all: OwnedSemaphorePermit,
    _cluster: Option<KeyedPermit<ClusterRef>>,
    _app: Option<KeyedPermit<AppRef>>,
    _running: Running,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

impl fmt::Debug for SyncLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncLimiter")
            .field("options", &self.inner.options)
            .field("running", &self.running())
            .field("queued", &self.queued())
            .finish()
    }
}

impl Default for SyncLimiter {
    fn default() -> Self {
        Self::new(LimitOptions::default())
    }
}

impl SyncLimiter {
    /// A limiter.
    pub fn new(options: LimitOptions) -> Self {
        let max = options.max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            inner: Arc::new(Inner {
                max,
                all: Arc::new(Semaphore::new(max)),
                clusters: options.per_cluster.map(Keyed::new),
                apps: options.per_application.map(Keyed::new),
                queued: AtomicUsize::new(0),
                options,
            }),
        }
    }

    /// What it lets through.
    pub fn options(&self) -> &LimitOptions {
        &self.inner.options
    }

    /// How many permits are out.
    pub fn running(&self) -> usize {
        self.inner.max - self.inner.all.available_permits()
    }

    /// How many wait.
    pub fn queued(&self) -> usize {
        self.inner.queued.load(Ordering::Acquire)
    }

    /// How many applications and clusters are waited for or held: nothing is kept of the others.
    pub fn keys(&self) -> usize {
        self.inner.apps.as_ref().map_or(0, |apps| apps.len())
            + self.inner.clusters.as_ref().map_or(0, |all| all.len())
    }

    /// Runs `work` when there is room for it; it is not polled before.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); `work` was not begun then.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        self.run_for(&LimitKey::default(), work).await
    }

    /// Runs `work` when there is room for what `key` says.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); `work` was not begun then.
    pub async fn run_for<F: Future>(&self, key: &LimitKey, work: F) -> Result<F::Output> {
        let _permit = self.acquire(key).await?;
        Ok(work.await)
    }

    /// Waits until there is room for what `key` says.
    ///
    /// # Errors
    /// `RateLimited` when the queue is full; `Timeout` when it took too long.
    pub async fn acquire(&self, key: &LimitKey) -> Result<Permit> {
        let options = &self.inner.options;
        let wait = key.wait.or(options.wait);
        self.take(key, options.queue, wait).await
    }

    /// As [`acquire`](Self::acquire), however many wait, and however long.
    pub(super) async fn acquire_patiently(&self, key: &LimitKey) -> Result<Permit> {
        self.take(key, None, None).await
    }

    async fn take(
        &self,
        key: &LimitKey,
        queue: Option<usize>,
        wait: Option<Duration>,
    ) -> Result<Permit> {
        let mut place = Place {
            limiter: self,
            queue,
            until: None,
            wait,
            queued: None,
        };
        // The narrowest first: who waits for an application must not hold a place that others could use.
        let app = match (&self.inner.apps, &key.app) {
            (Some(apps), Some(app)) => {
                let entered = apps.enter(app);
                Some(KeyedPermit {
                    _permit: place.pass(entered.semaphore()).await?,
                    _entered: entered,
                })
            }
            _ => None,
        };
        let cluster = match (&self.inner.clusters, &key.cluster) {
            (Some(clusters), Some(cluster)) => {
                let entered = clusters.enter(cluster);
                Some(KeyedPermit {
                    _permit: place.pass(entered.semaphore()).await?,
                    _entered: entered,
                })
            }
            _ => None,
        };
        let all = place.pass(&self.inner.all).await?;
        Ok(Permit {
            _all: all,
            _cluster: cluster,
            _app: app,
            _running: Running::begin(&self.inner),
        })
    }
}

/// One that asks for a permit, and waits if it has to.
struct Place<'a> {
    limiter: &'a SyncLimiter,
    queue: Option<usize>,
    wait: Option<Duration>,
    until: Option<Instant>,
    queued: Option<Queued<'a>>,
}

impl Place<'_> {
    async fn pass(&mut self, semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
        // Free permits never pass by those who wait: tokio hands them on in order.
        if let Ok(permit) = Arc::clone(semaphore).try_acquire_owned() {
            return Ok(permit);
        }
        if self.queued.is_none() {
            self.queued = Some(Queued::enter(&self.limiter.inner, self.queue)?);
            self.until = self.wait.and_then(|wait| Instant::now().checked_add(wait));
        }
        let permit = Arc::clone(semaphore).acquire_owned();
        let permit = match self.until {
            None => permit.await,
            Some(until) => match tokio::time::timeout_at(until, permit).await {
                Ok(permit) => permit,
                Err(_) => {
                    crate::metrics::limiter_refused(&self.limiter.inner.options.name, "timeout");
                    return Err(Error::timeout(format!(
                        "no room to run within {:?}: {} run and {} wait",
                        self.wait.unwrap_or_default(),
                        self.limiter.running(),
                        self.limiter.queued(),
                    )));
                }
            },
        };
        permit.map_err(|_| Error::internal("a limiter's semaphore was closed"))
    }
}

/// Counts one that waits.
struct Queued<'a> {
    inner: &'a Inner,
    since: Instant,
}

impl<'a> Queued<'a> {
    fn enter(inner: &'a Inner, bound: Option<usize>) -> Result<Self> {
        let bound = bound.unwrap_or(usize::MAX);
        let entered = inner
            .queued
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |queued| {
                (queued < bound).then_some(queued + 1)
            });
        match entered {
            Ok(_) => {
                crate::metrics::limiter_queued(&inner.options.name, 1.0);
                Ok(Self {
                    inner,
                    since: Instant::now(),
                })
            }
            Err(queued) => {
                crate::metrics::limiter_refused(&inner.options.name, "queue_full");
                Err(Error::new(
                    ErrorKind::RateLimited,
                    format!("{queued} wait already, and the queue holds no more"),
                ))
            }
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.inner.queued.fetch_sub(1, Ordering::AcqRel);
        let name = &self.inner.options.name;
        crate::metrics::limiter_queued(name, -1.0);
        crate::metrics::limiter_waited(name, self.since.elapsed());
    }
}

/// Counts one that runs.
struct Running(Arc<Inner>);

impl Running {
    fn begin(inner: &Arc<Inner>) -> Self {
        crate::metrics::limiter_running(&inner.options.name, 1.0);
        Self(Arc::clone(inner))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        crate::metrics::limiter_running(&self.0.options.name, -1.0);
    }
}
