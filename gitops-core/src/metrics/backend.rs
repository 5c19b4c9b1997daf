//! Metrics around a backend.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use metrics::{counter, gauge, histogram};

use crate::application::{
    AppRef, Application, ApplicationStatus, HistoryEntry, OperationPhase, SyncStatus,
};
use crate::backend::{
    ApplicationStore, Backend, DeleteOptions, ListOptions, Operation, PutMode, PutOutcome,
    ResourceState, RevisionHistory, Selector, StateReader, StatusEvent, Stored, SyncOptions,
    SyncOutcome, Syncer, follow,
};
use crate::error::{Error, Result};

/// How long an operation is followed whose outcome cannot be learnt.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// A backend whose calls and operations are counted and measured; [the table](super) says what is recorded. Operations are counted when they
/// end, whether or not anybody waits.
pub struct MeteredBackend<B> {
    backend: Arc<B>,
    name: Arc<str>,
}

impl<B> Clone for MeteredBackend<B> {
    fn clone(&self) -> Self {
        Self {
            backend: Arc::clone(&self.backend),
            name: Arc::clone(&self.name),
        }
    }
}

impl<B> fmt::Debug for MeteredBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeteredBackend")
            .field("backend", &self.name)
            .finish_non_exhaustive()
    }
}

impl<B: Backend + 'static> MeteredBackend<B> {
    /// Metrics around `backend`, under its name.
    pub fn new(backend: B) -> Self {
        Self {
            name: backend.name().into(),
            backend: Arc::new(backend),
        }
    }

    /// The backend behind it.
    pub fn inner(&self) -> &B {
        &self.backend
    }

    fn label(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    async fn call<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        let answer = work.await;
        let result = match &answer {
            Ok(_) => "ok",
            Err(error) => error.kind().as_str(),
        };
        counter!("gitops_backend_calls_total", "backend" => self.label(), "call" => call, "result" => result)
            .increment(1);
        histogram!("gitops_backend_call_seconds", "backend" => self.label(), "call" => call)
            .record(begun.elapsed());
        answer
    }

    /// Counts an operation that began, and follows it to its end.
    fn began(&self, operation: &Operation) {
        let begun = Instant::now();
        let running = Running::begin(self.label());
        let (metered, operation) = (self.clone(), operation.clone());
        tokio::spawn(async move {
            let outcome = follow(&metered.backend, &operation, PATIENCE).await;
            drop(running);
            let outcome = match outcome.map(|outcome| outcome.phase) {
                Ok(OperationPhase::Succeeded) => "succeeded",
                Ok(OperationPhase::Failed) => "failed",
                Ok(OperationPhase::Error) => "error",
                Ok(_) | Err(_) => "unknown",
            };
            counter!("gitops_syncs_total", "backend" => metered.label(), "outcome" => outcome)
                .increment(1);
            histogram!("gitops_sync_duration_seconds", "backend" => metered.label(), "outcome" => outcome)
                .record(begun.elapsed());
        });
    }

    fn store_or(&self) -> Result<&dyn ApplicationStore> {
        self.backend
            .store()
            .ok_or_else(|| Error::unsupported("keeping applications", &self.name))
    }

    fn state_or(&self) -> Result<&dyn StateReader> {
        self.backend
            .state()
            .ok_or_else(|| Error::unsupported("reading state", &self.name))
    }

    fn history_or(&self) -> Result<&dyn RevisionHistory> {
        self.backend
            .history()
            .ok_or_else(|| Error::unsupported("history", &self.name))
    }
}

/// Counts an operation that runs.
struct Running(Arc<str>);

impl Running {
    fn begin(backend: Arc<str>) -> Self {
        gauge!("gitops_syncs_running", "backend" => Arc::clone(&backend)).increment(1.0);
        Self(backend)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        gauge!("gitops_syncs_running", "backend" => Arc::clone(&self.0)).decrement(1.0);
    }
}

fn drifted(backend: &Arc<str>, app: &AppRef, resources: usize) {
    gauge!("gitops_drifted_resources", "backend" => Arc::clone(backend), "app" => app.to_string())
        .set(resources as f64);
}

fn out_of_sync(status: &ApplicationStatus) -> usize {
    let drifted = status
        .resources
        .iter()
        .filter(|one| one.sync == SyncStatus::OutOfSync && !one.hook);
    drifted.count()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> Syncer for MeteredBackend<B> {
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        let started = self.call("sync", self.backend.sync(app, options)).await;
        started.inspect(|operation| self.began(operation))
    }

    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        self.call("wait", self.backend.wait(operation)).await
    }

    async fn terminate(&self, operation: &Operation) -> Result<()> {
        self.call("terminate", self.backend.terminate(operation))
            .await
    }

    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        let status = self.call("status", self.backend.status(app)).await;
        status.inspect(|status| drifted(&self.name, app, out_of_sync(status)))
    }

    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        let name = self.label();
        self.backend
            .watch(selector)
            .inspect(move |event| match event {
                Ok(StatusEvent::Status { app, status }) => {
                    drifted(&name, app, out_of_sync(status));
                }
                Ok(StatusEvent::Deleted { app }) => drifted(&name, app, 0),
                Err(_) => {
                    counter!("gitops_watch_gaps_total", "backend" => Arc::clone(&name))
                        .increment(1);
                }
            })
            .boxed()
    }
}

#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> Backend for MeteredBackend<B> {
    fn name(&self) -> &str {
        self.backend.name()
    }
    fn store(&self) -> Option<&dyn ApplicationStore> {
        self.backend.store().map(|_| self as _)
    }
    fn state(&self) -> Option<&dyn StateReader> {
        self.backend.state().map(|_| self as _)
    }
    fn history(&self) -> Option<&dyn RevisionHistory> {
        self.backend.history().map(|_| self as _)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> ApplicationStore for MeteredBackend<B> {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        self.call("put", self.store_or()?.put(app, mode)).await
    }
    async fn get(&self, app: &AppRef) -> Result<Stored> {
        self.call("get", self.store_or()?.get(app)).await
    }
    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        self.call("list", self.store_or()?.list(options)).await
    }
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        self.call("delete", self.store_or()?.delete(app, options))
            .await
    }
    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.call("suspend", self.store_or()?.suspend(app)).await
    }
    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.call("resume", self.store_or()?.resume(app)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> StateReader for MeteredBackend<B> {
    async fn state(&self, app: &AppRef, revisions: &[String]) -> Result<Vec<ResourceState>> {
        self.call("state", self.state_or()?.state(app, revisions))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + 'static> RevisionHistory for MeteredBackend<B> {
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
        self.call("history", self.history_or()?.list(app)).await
    }
    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
        let history = self.history_or()?;
        let started = self
            .call("roll_back", history.roll_back(app, id, options))
            .await;
        started.inspect(|operation| self.began(operation))
    }
}
