//! A backend whose mutations are recorded.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::watch;

use super::log::AuditLog;
use super::record::{AuditAction, AuditOutcome, AuditRecord};
use crate::application::{AppRef, Application, ApplicationStatus, HistoryEntry};
use crate::backend::{
    ApplicationStore, Backend, DeleteOptions, Initiator, ListOptions, Operation, PutMode,
    PutOutcome, RevisionHistory, Selector, StateReader, StatusEvent, Stored, SyncOptions,
    SyncOutcome, Syncer, follow,
};
use crate::error::{Error, Result};

/// How long the end of an operation is asked for that cannot be learnt.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Records every mutation that passes through it: the request before it is tried, then what came of it.
///
/// The outcome of a sync is recorded when it ends, whether or not anybody waits; [`wait`](Syncer::wait) returns after that. What cannot be recorded is
/// reported by the [`AuditLog`] and changes no answer, unless the log is [`required`](AuditLog::required): then the mutation is refused before
/// it is tried. What is to be stopped does not wait for that: [`terminate`](Syncer::terminate) asks the backend and records the request at the same time, if the log is not required.
///
/// A mutation is carried through, and its end recorded, when its caller gives up. All that happens on the tokio runtime of the caller. Clones share everything but the actor.
#[derive(Clone)]
pub struct AuditedBackend {
    inner: Arc<dyn Backend>,
    log: Arc<AuditLog>,
    actor: String,
    running: Arc<Mutex<HashMap<Operation, watch::Receiver<()>>>>,
}

impl fmt::Debug for AuditedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditedBackend")
            .field("backend", &self.inner.name())
            .field("log", &self.log)
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}

impl AuditedBackend {
    /// Records what passes to `inner` in `log`.
    pub fn new(inner: Arc<dyn Backend>, log: Arc<AuditLog>) -> Self {
        Self {
            inner,
            log,
            actor: String::new(),
            running: Arc::default(),
        }
    }

    /// The same, acting for `actor`. A sync whose options name an initiator is recorded as theirs.
    #[must_use]
    pub fn acting_as(&self, actor: impl Into<String>) -> Self {
        Self {
            actor: actor.into(),
            ..self.clone()
        }
    }

    /// The log.
    pub fn log(&self) -> &Arc<AuditLog> {
        &self.log
    }

    fn request(&self, action: AuditAction, app: &AppRef, initiator: &Initiator) -> AuditRecord {
        let mut actor = initiator.clone();
        if actor.name.is_empty() {
            actor.name.clone_from(&self.actor);
        }
        AuditRecord::requested(actor, action, self.inner.name(), app.clone())
    }

    /// Records a request; refuses it when it must be recorded and cannot.
    async fn before(&self, record: &AuditRecord) -> Result<()> {
        match self.log.record(record).await {
            Err(error) if self.log.is_required() => Err(error.context(format!(
                "refused, for it cannot be recorded: {:?} of application {}",
                record.action, record.app
            ))),
            // The log has reported it.
            _ => Ok(()),
        }
    }

    /// A mutation that is over when its call returns.
    async fn plain<T, F>(
        &self,
        record: AuditRecord,
        work: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let this = self.clone();
        carry_through(async move {
            this.before(&record).await?;
            let result = work(this.clone()).await;
            this.after(&record, &result).await;
            result
        })
        .await
    }

    /// Records what came of a mutation that is over.
    async fn after<T: Sync>(&self, record: &AuditRecord, result: &Result<T>) {
        let ended = match result {
            Ok(_) => record.ended(AuditOutcome::Succeeded, &*record.message),
            Err(error) => record.failed(error),
        };
        let _ = self.log.record(&ended).await;
    }

    /// A mutation that starts an operation.
    async fn operation<F>(
        &self,
        mut record: AuditRecord,
        work: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<Operation>
    where
        F: Future<Output = Result<Operation>> + Send + 'static,
    {
        record.from = self.deployed(&record.app).await;
        let this = self.clone();
        carry_through(async move {
            this.before(&record).await?;
            let result = work(this.clone()).await;
            match &result {
                Ok(operation) => {
                    record.operation.clone_from(&operation.id);
                    this.follow(record, operation.clone());
                }
                Err(_) => this.after(&record, &result).await,
            }
            result
        })
        .await
    }

    /// Records the end of `operation`, whoever waits for it.
    fn follow(&self, record: AuditRecord, operation: Operation) {
        let (done, waiting) = watch::channel(());
        self.running().insert(operation.clone(), waiting);
        let this = self.clone();
        tokio::spawn(async move {
            let ended = match follow(&*this.inner, &operation, PATIENCE).await {
                Ok(outcome) => record.of_outcome(&outcome),
                Err(error) => record.ended(AuditOutcome::Unknown, error.to_string()),
            };
            let _ = this.log.record(&ended).await;
            this.running().remove(&operation);
            drop(done);
        });
    }

    /// The revisions deployed last, where the backend can say cheaply.
    async fn deployed(&self, app: &AppRef) -> Vec<String> {
        let Some(history) = self.inner.history() else {
            return Vec::new();
        };
        let last = history.list(app).await.ok().and_then(|mut all| all.pop());
        last.map(|entry| entry.revisions).unwrap_or_default()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Operation, watch::Receiver<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner_store(&self) -> Result<&dyn ApplicationStore> {
        self.inner
            .store()
            .ok_or_else(|| Error::unsupported("keeping applications", self.inner.name()))
    }

    fn inner_history(&self) -> Result<&dyn RevisionHistory> {
        self.inner
            .history()
            .ok_or_else(|| Error::unsupported("history", self.inner.name()))
    }
}

/// Runs `work` in a task of its own: it ends also when nobody waits for it.
async fn carry_through<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|_| Err(Error::internal("a recorded mutation panicked")))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Syncer for AuditedBackend {
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        let mut record = self.request(AuditAction::Sync, app, &options.initiator);
        record.to.clone_from(&options.revisions);
        if options.dry_run {
            record.message = "dry run".into();
        }
        let (app, options) = (app.clone(), options.clone());
        self.operation(record, move |this| async move {
            this.inner.sync(&app, &options).await
        })
        .await
    }

    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        let outcome = self.inner.wait(operation).await?;
        let recorded = self.running().get(operation).cloned();
        if let Some(mut recorded) = recorded {
            // Its sender goes when the end is recorded, or could not be within the log's time limit.
            while recorded.changed().await.is_ok() {}
        }
        Ok(outcome)
    }

    async fn terminate(&self, operation: &Operation) -> Result<()> {
        let mut record = self.request(
            AuditAction::Terminate,
            &operation.app,
            &Initiator::default(),
        );
        record.operation.clone_from(&operation.id);
        let (this, operation) = (self.clone(), operation.clone());
        carry_through(async move {
            let result = if this.log.is_required() {
                this.before(&record).await?;
                this.inner.terminate(&operation).await
            } else {
                let stopped = this.inner.terminate(&operation);
                tokio::join!(this.log.record(&record), stopped).1
            };
            this.after(&record, &result).await;
            result
        })
        .await
    }

    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        self.inner.status(app).await
    }

    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        self.inner.watch(selector)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for AuditedBackend {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn store(&self) -> Option<&dyn ApplicationStore> {
        self.inner.store().map(|_| self as &dyn ApplicationStore)
    }

    fn state(&self) -> Option<&dyn StateReader> {
        self.inner.state()
    }

    fn history(&self) -> Option<&dyn RevisionHistory> {
        self.inner.history().map(|_| self as &dyn RevisionHistory)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ApplicationStore for AuditedBackend {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        self.inner_store()?;
        let mut record = self.request(AuditAction::Put, &app.app_ref(), &Initiator::default());
        record.to = app
            .sources
            .iter()
            .map(|source| source.target_revision.clone().unwrap_or_default())
            .collect();
        let app = app.clone();
        self.plain(record, move |this| async move {
            this.inner_store()?.put(&app, mode).await
        })
        .await
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        self.inner_store()?.get(app).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        self.inner_store()?.list(options).await
    }

    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        self.inner_store()?;
        let mut record = self.request(AuditAction::Delete, app, &Initiator::default());
        record.from = self.deployed(app).await;
        record.message = if options.cascade {
            "with what it deployed".into()
        } else {
            "what it deployed stays".into()
        };
        let (app, options) = (app.clone(), *options);
        self.plain(record, move |this| async move {
            this.inner_store()?.delete(&app, &options).await
        })
        .await
    }

    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.inner_store()?;
        let record = self.request(AuditAction::Suspend, app, &Initiator::default());
        let app = app.clone();
        self.plain(record, move |this| async move {
            this.inner_store()?.suspend(&app).await
        })
        .await
    }

    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.inner_store()?;
        let record = self.request(AuditAction::Resume, app, &Initiator::default());
        let app = app.clone();
        self.plain(record, move |this| async move {
            this.inner_store()?.resume(&app).await
        })
        .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl RevisionHistory for AuditedBackend {
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
        self.inner_history()?.list(app).await
    }

    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
        self.inner_history()?;
        let mut record = self.request(AuditAction::RollBack, app, &options.initiator);
        record.message = format!("to history entry {id}");
        let (app, options) = (app.clone(), options.clone());
        self.operation(record, move |this| async move {
            this.inner_history()?.roll_back(&app, id, &options).await
        })
        .await
    }
}
