//! The cache before a backend.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::task::AbortHandle;

use super::{CachedStatus, StatusCache};
use crate::application::{AppRef, Application, ApplicationStatus, HistoryEntry};
use crate::backend::{
    ApplicationStore, Backend, DeleteOptions, ListOptions, Operation, PutMode, PutOutcome,
    RevisionHistory, Selector, StateReader, StatusEvent, Stored, SyncOptions, SyncOutcome, Syncer,
    follow,
};
use crate::error::{Error, Result};

/// How long an operation is followed whose outcome cannot be learnt.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A pause between watches that ended, though they should not.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// A backend whose `status` is answered by a [`StatusCache`].
///
/// A sync, rollback, put, delete, suspension or resumption through it takes the application's status out of the cache; while an operation that
/// it started runs, statuses are read from the backend, so that progress is seen; when it has ended, with or without anybody waiting,
/// the cache starts anew. A [filling](Self::fill) keeps what a watch tells. A mutation whose caller gives up half-way may be carried out
/// later than this knows: then a status may be old for its time to live.
///
/// Everything else is forwarded: state, history and lists are never cached. What the backend cannot do, this cannot do.
pub struct CachedBackend<B> {
    shared: Arc<Shared<B>>,
}

struct Shared<B> {
    backend: B,
    cache: StatusCache,
    running: Arc<Running>,
}

/// Applications of which something is being changed, and how many changes.
#[derive(Debug, Default)]
struct Running(Mutex<HashMap<AppRef, usize>>);

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<AppRef, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, app: &AppRef) -> bool {
        self.lock().contains_key(app)
    }

    fn begin(self: &Arc<Self>, app: &AppRef) -> Busy {
        *self.lock().entry(app.clone()).or_default() += 1;
        Busy(Arc::clone(self), app.clone())
    }
}

#[derive(Debug)]
struct Busy(Arc<Running>, AppRef);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut running = self.0.lock();
        if let Some(count) = running.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.1);
            }
        }
    }
}

/// Fills a cache for as long as it lives.
#[derive(Debug)]
#[must_use = "dropping it ends the filling"]
pub struct Filling(AbortHandle);

impl Drop for Filling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<B> Clone for CachedBackend<B> {
    /// The clone shares backend and cache.
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<B: Backend> fmt::Debug for CachedBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedBackend")
            .field("backend", &self.shared.backend.name())
            .field("cache", &self.shared.cache)
            .finish()
    }
}

impl<B: Backend + 'static> CachedBackend<B> {
    /// `cache` before `backend`. A cache belongs to one backend: two may have applications of the same name.
    pub fn new(backend: B, cache: StatusCache) -> Self {
        Self {
            shared: Arc::new(Shared {
                backend,
                cache,
                running: Arc::default(),
            }),
        }
    }

    /// The cache.
    pub fn cache(&self) -> &StatusCache {
        &self.shared.cache
    }

    /// The backend behind it.
    pub fn inner(&self) -> &B {
        &self.shared.backend
    }

    /// The status of `app` without copying it: from the cache, else read from the backend and kept.
    ///
    /// # Errors
    /// As [`Syncer::status`].
    pub async fn cached_status(&self, app: &AppRef) -> Result<CachedStatus> {
        let (shared, of) = (Arc::clone(&self.shared), app.clone());
        let load = move || {
            let (shared, of) = (Arc::clone(&shared), of.clone());
            async move { shared.backend.status(&of).await }
        };
        self.shared.cache.get_or_load(app, load).await
    }

    /// Watches the applications that match, and keeps what is told, until the answer is dropped. After a gap in the watch what it told
    /// is forgotten; it is told again.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn fill(&self, selector: Selector) -> Filling {
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move {
            let mut seen = HashSet::new();
            loop {
                let mut events = shared.backend.watch(selector.clone());
                while let Some(event) = events.next().await {
                    shared.learn(event, &mut seen).await;
                }
                // A watch should not end; when it does, that is a gap.
                let gap = Error::unavailable("the watch ended");
                shared.learn(Err(gap), &mut seen).await;
                tokio::time::sleep(WATCH_PAUSE).await;
            }
        });
        Filling(task.abort_handle())
    }
}

impl<B: Backend + 'static> Shared<B> {
    /// Starts an operation of `app`; until it has ended, statuses of `app` are not kept.
    async fn start(
        self: &Arc<Self>,
        app: &AppRef,
        start: impl Future<Output = Result<Operation>>,
    ) -> Result<Operation> {
        let busy = self.running.begin(app);
        self.cache.invalidate(app).await;
        let started = start.await;
        let Ok(operation) = started else {
            // It may have been started all the same.
            self.cache.invalidate(app).await;
            return started;
        };
        let (shared, followed) = (Arc::clone(self), operation.clone());
        tokio::spawn(async move {
            if let Err(error) = follow(&shared.backend, &followed, PATIENCE).await {
                tracing::debug!(app = %followed.app, %error, "an operation's end was not learnt");
            }
            shared.cache.invalidate(&followed.app).await;
            drop(busy);
        });
        Ok(operation)
    }

    /// Changes something of `app`: nothing that was read before the change has ended is kept.
    async fn change<T>(&self, app: &AppRef, change: impl Future<Output = Result<T>>) -> Result<T> {
        let busy = self.running.begin(app);
        self.cache.invalidate(app).await;
        let result = change.await;
        self.cache.invalidate(app).await;
        drop(busy);
        result
    }

    async fn learn(&self, event: Result<StatusEvent>, seen: &mut HashSet<AppRef>) {
        match event {
            // Its end takes the status out; what is told meanwhile is soon outdated.
            Ok(StatusEvent::Status { app, .. }) if self.running.has(&app) => {}
            Ok(StatusEvent::Status { app, status }) => {
                self.cache.insert(&app, *status).await;
                seen.insert(app);
            }
            Ok(StatusEvent::Deleted { app }) => {
                seen.remove(&app);
                self.cache.invalidate(&app).await;
            }
            // What happened in the gap is not known, and what is gone is not told again.
            Err(error) => {
                tracing::debug!(%error, "a gap in the watch that fills the cache");
                for app in seen.drain() {
                    self.cache.invalidate(&app).await;
                }
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> Syncer for CachedBackend<B> {
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        let shared = &self.shared;
        shared.start(app, shared.backend.sync(app, options)).await
    }

    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        let result = self.shared.backend.wait(operation).await;
        if result.is_ok() {
            self.shared.cache.invalidate(&operation.app).await;
        }
        result
    }

    async fn terminate(&self, operation: &Operation) -> Result<()> {
        let shared = &self.shared;
        shared
            .change(&operation.app, shared.backend.terminate(operation))
            .await
    }

    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        if self.shared.running.has(app) {
            return self.shared.backend.status(app).await;
        }
        self.cached_status(app).await.map(CachedStatus::into_status)
    }

    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        self.shared.backend.watch(selector)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> Backend for CachedBackend<B> {
    fn name(&self) -> &str {
        self.shared.backend.name()
    }
    fn store(&self) -> Option<&dyn ApplicationStore> {
        self.shared.backend.store().map(|_| self as _)
    }
    fn state(&self) -> Option<&dyn StateReader> {
        self.shared.backend.state()
    }
    fn history(&self) -> Option<&dyn RevisionHistory> {
        self.shared.backend.history().map(|_| self as _)
    }
}

impl<B: Backend + 'static> CachedBackend<B> {
    fn inner_store(&self) -> Result<&dyn ApplicationStore> {
        let backend = &self.shared.backend;
        backend
            .store()
            .ok_or_else(|| Error::unsupported("keeping applications", backend.name()))
    }

    fn inner_history(&self) -> Result<&dyn RevisionHistory> {
        let backend = &self.shared.backend;
        backend
            .history()
            .ok_or_else(|| Error::unsupported("history", backend.name()))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> ApplicationStore for CachedBackend<B> {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        let store = self.inner_store()?;
        self.shared
            .change(&app.app_ref(), store.put(app, mode))
            .await
    }
    async fn get(&self, app: &AppRef) -> Result<Stored> {
        self.inner_store()?.get(app).await
    }
    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        self.inner_store()?.list(options).await
    }
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        let store = self.inner_store()?;
        self.shared.change(app, store.delete(app, options)).await
    }
    async fn suspend(&self, app: &AppRef) -> Result<()> {
        let store = self.inner_store()?;
        self.shared.change(app, store.suspend(app)).await
    }
    async fn resume(&self, app: &AppRef) -> Result<()> {
        let store = self.inner_store()?;
        self.shared.change(app, store.resume(app)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> RevisionHistory for CachedBackend<B> {
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
        self.inner_history()?.list(app).await
    }
    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
        let history = self.inner_history()?;
        self.shared
            .start(app, history.roll_back(app, id, options))
            .await
    }
}
