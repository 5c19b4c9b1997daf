//! The limiter before a backend.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Semaphore, oneshot};

use super::{LimitKey, SyncLimiter, Throttle};
use crate::application::{AppRef, Application, ApplicationStatus, ClusterRef, HistoryEntry};
use crate::backend::{
    ApplicationStore, Backend, DeleteOptions, ListOptions, Operation, PutMode, PutOutcome,
    ResourceState, RevisionHistory, Selector, StateReader, StatusEvent, Stored, SyncOptions,
    SyncOutcome, Syncer, follow,
};
use crate::error::{Error, ErrorKind, Result};

/// How many applications are looked up at once, to learn their clusters.
const LOOKUPS: usize = 8;

/// How long a permit is held for an operation whose outcome cannot be learnt.
const PATIENCE: Duration = Duration::from_secs(3600);

type ClusterOf = dyn Fn(&AppRef) -> Option<ClusterRef> + Send + Sync;

/// A backend of which only so many operations run at once.
///
/// `sync` and `roll_back` wait for a permit, then start the operation, and return; the permit is held until the operation has ended, whether
/// or not anybody waits for it. Dropping the call while it waits takes it out of the queue; once the backend was asked, the start is
/// carried through, so that a permit never comes back while its operation runs. A second operation of one application is refused with
/// `OperationInProgress`, also while the first still waits for its permit. A cascading `delete` holds a permit while it is being called.
///
/// Reading, and changing an application's record, need no permit; with a [`Throttle`] every call takes a token, watches excepted.
pub struct LimitedBackend<B> {
    inner: Arc<Inner<B>>,
}

struct Inner<B> {
    backend: B,
    limiter: SyncLimiter,
    throttle: Option<Throttle>,
    cluster_of: Option<Arc<ClusterOf>>,
    lookups: Semaphore,
    /// Applications whose operation waits for a permit or for its start.
    starting: Arc<Starting>,
}

#[derive(Debug, Default)]
struct Starting(Mutex<HashSet<AppRef>>);

impl Starting {
    fn lock(&self) -> MutexGuard<'_, HashSet<AppRef>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, app: &AppRef) -> Result<Claim> {
        if self.lock().insert(app.clone()) {
            return Ok(Claim(Arc::clone(self), app.clone()));
        }
        Err(Error::new(
            ErrorKind::OperationInProgress,
            format!("another operation of application {app} is about to start"),
        ))
    }
}

#[derive(Debug)]
struct Claim(Arc<Starting>, AppRef);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

/// One application of [`LimitedBackend::sync_all`] is done.
#[derive(Debug)]
pub struct SyncProgress {
    /// The application.
    pub app: AppRef,
    /// What came of it.
    pub result: Result<SyncOutcome>,
    /// How many are done, this one included.
    pub done: usize,
    /// How many of those did not succeed: an error, or an outcome that is no success.
    pub failed: usize,
    /// Of how many.
    pub total: usize,
}

impl SyncProgress {
    /// Whether this application's sync ended well.
    pub fn is_success(&self) -> bool {
        self.result.as_ref().is_ok_and(SyncOutcome::is_success)
    }
}

impl<B> Clone for LimitedBackend<B> {
    /// The clone shares backend and limits.
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<B: Backend> fmt::Debug for LimitedBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedBackend")
            .field("backend", &self.inner.backend.name())
            .field("limiter", &self.inner.limiter)
            .field("throttle", &self.inner.throttle)
            .finish_non_exhaustive()
    }
}

impl<B: Backend + 'static> LimitedBackend<B> {
    /// `limiter` before `backend`. Several backends may share one limiter.
    ///
    /// With a limit per cluster, an application's cluster is looked up in the backend's store for each operation.
    pub fn new(backend: B, limiter: SyncLimiter) -> Self {
        Self::build(backend, limiter, None, None)
    }

    /// The same, with every call taking a token of `throttle`.
    #[must_use]
    pub fn throttled(backend: B, limiter: SyncLimiter, throttle: Throttle) -> Self {
        Self::build(backend, limiter, Some(throttle), None)
    }

    /// The same, with `cluster_of` telling an application's cluster instead of the store.
    #[must_use]
    pub fn with_clusters(
        backend: B,
        limiter: SyncLimiter,
        throttle: Option<Throttle>,
        cluster_of: impl Fn(&AppRef) -> Option<ClusterRef> + Send + Sync + 'static,
    ) -> Self {
        Self::build(backend, limiter, throttle, Some(Arc::new(cluster_of)))
    }

    fn build(
        backend: B,
        limiter: SyncLimiter,
        throttle: Option<Throttle>,
        cluster_of: Option<Arc<ClusterOf>>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                backend,
                limiter,
                throttle,
                cluster_of,
                lookups: Semaphore::new(LOOKUPS),
                starting: Arc::default(),
            }),
        }
    }

    /// The limits.
    pub fn limiter(&self) -> &SyncLimiter {
        &self.inner.limiter
    }

    /// The backend behind them.
    pub fn inner(&self) -> &B {
        &self.inner.backend
    }

    /// Syncs many applications within the limits, and tells each result as it comes. A failure stops nothing. The limiter's bounds of waiting do not
    /// count here: what waits is this list. An application that is listed twice is synced once.
    ///
    /// Dropping the stream forgets those that wait; what has begun goes on, and holds its permit until it has ended.
    pub fn sync_all(
        &self,
        apps: Vec<AppRef>,
        options: SyncOptions,
    ) -> BoxStream<'static, SyncProgress> {
        let mut seen = HashSet::with_capacity(apps.len());
        let apps: Vec<_> = apps
            .into_iter()
            .filter(|app| seen.insert(app.clone()))
            .collect();
        drop(seen);
        let (inner, options, total) = (Arc::clone(&self.inner), Arc::new(options), apps.len());
        let results = async move {
            let clusters = inner.clusters_of_all(&apps).await;
            apps.into_iter()
                .map(|app| {
                    let cluster = clusters.get(&app).cloned();
                    let (inner, options) = (Arc::clone(&inner), Arc::clone(&options));
                    async move {
                        let result = inner.sync_and_wait(&app, options, cluster).await;
                        (app, result)
                    }
                })
                .collect::<FuturesUnordered<_>>()
        };
        let (mut done, mut failed) = (0, 0);
        results
            .flatten_stream()
            .map(move |(app, result)| {
                let mut progress = SyncProgress {
                    app,
                    result,
                    done: 0,
                    failed: 0,
                    total,
                };
                done += 1;
                failed += usize::from(!progress.is_success());
                (progress.done, progress.failed) = (done, failed);
                progress
            })
            .boxed()
    }
}

/// What starts an operation; it is carried through in a task of its own.
type Start = BoxFuture<'static, Result<Operation>>;

impl<B: Backend + 'static> Inner<B> {
    async fn turn(&self) {
        if let Some(throttle) = &self.throttle {
            throttle.turn().await;
        }
    }

    /// The cluster that `app` counts for, when that matters.
    async fn cluster(&self, app: &AppRef) -> Result<Option<ClusterRef>> {
        if self.limiter.options().per_cluster.is_none() {
            return Ok(None);
        }
        if let Some(cluster_of) = &self.cluster_of {
            return Ok(cluster_of(app));
        }
        let Some(store) = self.backend.store() else {
            return Ok(None);
        };
        let _lookup = self.lookups.acquire().await;
        self.turn().await;
        let stored = store.get(app).await?;
        Ok(Some(stored.app.destination.cluster))
    }

    /// The clusters of many, by one request where they have to be looked up. Who is not among them is looked up by itself.
    async fn clusters_of_all(&self, apps: &[AppRef]) -> HashMap<AppRef, ClusterRef> {
        let Some(store) = self.backend.store() else {
            return HashMap::new();
        };
        let asked = self.limiter.options().per_cluster.is_some() && self.cluster_of.is_none();
        if !asked || apps.len() <= LOOKUPS {
            return HashMap::new();
        }
        self.turn().await;
        match store.list(&ListOptions::default()).await {
            Ok(stored) => stored
                .into_iter()
                .map(|one| (one.app.app_ref(), one.app.destination.cluster))
                .collect(),
            Err(error) => {
                tracing::debug!(%error, "applications are looked up one by one");
                HashMap::new()
            }
        }
    }

    /// Starts an operation of `app` when there is room, and holds the permit until it has ended.
    async fn start(
        self: &Arc<Self>,
        app: &AppRef,
        cluster: Option<ClusterRef>,
        patient: bool,
        start: impl FnOnce(Arc<Self>) -> Start,
    ) -> Result<Operation> {
        let claim = self.starting.begin(app)?;
        let cluster = match cluster {
            Some(cluster) => Some(cluster),
            None => self.cluster(app).await?,
        };
        // The application itself is claimed above, and afterwards the backend refuses a second operation.
        let key = LimitKey {
            cluster,
            ..LimitKey::default()
        };
        let permit = if patient {
            self.limiter.acquire_patiently(&key).await?
        } else {
            self.limiter.acquire(&key).await?
        };
        self.turn().await;
        let (tell, told) = oneshot::channel();
        let (inner, starting) = (Arc::clone(self), start(Arc::clone(self)));
        tokio::spawn(async move {
            let started = starting.await;
            drop(claim);
            let operation = started.as_ref().ok().cloned();
            // An error means that the caller has given up.
            let _ = tell.send(started);
            if let Some(operation) = operation
                && let Err(error) = follow(&inner.backend, &operation, PATIENCE).await
            {
                tracing::warn!(app = %operation.app, %error, "an operation's end was not learnt; its permit goes back");
            }
            drop(permit);
        });
        told.await
            .unwrap_or_else(|_| Err(Error::internal("the start of an operation panicked")))
    }

    async fn sync(
        self: &Arc<Self>,
        app: &AppRef,
        options: Arc<SyncOptions>,
        cluster: Option<ClusterRef>,
        patient: bool,
    ) -> Result<Operation> {
        self.start(app, cluster, patient, |inner| {
            let app = app.clone();
            async move { inner.backend.sync(&app, &options).await }.boxed()
        })
        .await
    }

    async fn sync_and_wait(
        self: &Arc<Self>,
        app: &AppRef,
        options: Arc<SyncOptions>,
        cluster: Option<ClusterRef>,
    ) -> Result<SyncOutcome> {
        let operation = self.sync(app, options, cluster, true).await?;
        self.backend.wait(&operation).await
    }

    fn store(&self) -> Result<&dyn ApplicationStore> {
        self.backend
            .store()
            .ok_or_else(|| Error::unsupported("keeping applications", self.backend.name()))
    }

    fn state(&self) -> Result<&dyn StateReader> {
        self.backend
            .state()
            .ok_or_else(|| Error::unsupported("reading state", self.backend.name()))
    }

    fn history(&self) -> Result<&dyn RevisionHistory> {
        self.backend
            .history()
            .ok_or_else(|| Error::unsupported("history", self.backend.name()))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> Syncer for LimitedBackend<B> {
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        self.inner
            .sync(app, Arc::new(options.clone()), None, false)
            .await
    }
    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        self.inner.turn().await;
        self.inner.backend.wait(operation).await
    }
    async fn terminate(&self, operation: &Operation) -> Result<()> {
        self.inner.turn().await;
        self.inner.backend.terminate(operation).await
    }
    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        self.inner.turn().await;
        self.inner.backend.status(app).await
    }
    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        self.inner.backend.watch(selector)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> Backend for LimitedBackend<B> {
    fn name(&self) -> &str {
        self.inner.backend.name()
    }
    fn store(&self) -> Option<&dyn ApplicationStore> {
        self.inner.backend.store().map(|_| self as _)
    }
    fn state(&self) -> Option<&dyn StateReader> {
        self.inner.backend.state().map(|_| self as _)
    }
    fn history(&self) -> Option<&dyn RevisionHistory> {
        self.inner.backend.history().map(|_| self as _)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> ApplicationStore for LimitedBackend<B> {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        self.inner.turn().await;
        self.inner.store()?.put(app, mode).await
    }
    async fn get(&self, app: &AppRef) -> Result<Stored> {
        self.inner.turn().await;
        self.inner.store()?.get(app).await
    }
    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        self.inner.turn().await;
        self.inner.store()?.list(options).await
    }
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        let store = self.inner.store()?;
        let _permit = if options.cascade {
            let key = LimitKey {
                cluster: self.inner.cluster(app).await?,
                ..LimitKey::default()
            };
            Some(self.inner.limiter.acquire(&key).await?)
        } else {
            None
        };
        self.inner.turn().await;
        store.delete(app, options).await
    }
    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.inner.turn().await;
        self.inner.store()?.suspend(app).await
    }
    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.inner.turn().await;
        self.inner.store()?.resume(app).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> StateReader for LimitedBackend<B> {
    async fn state(&self, app: &AppRef, revisions: &[String]) -> Result<Vec<ResourceState>> {
        self.inner.turn().await;
        self.inner.state()?.state(app, revisions).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> RevisionHistory for LimitedBackend<B> {
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
        self.inner.turn().await;
        self.inner.history()?.list(app).await
    }
    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
        // Before the wait, not after it.
        self.inner.history()?;
        self.inner
            .start(app, None, false, |inner| {
                let (app, options) = (app.clone(), options.clone());
                async move { inner.history()?.roll_back(&app, id, &options).await }.boxed()
            })
            .await
    }
}
