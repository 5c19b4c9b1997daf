//! Retries around a backend.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;

use super::tries::Tries;
use super::{CircuitBreaker, RetryOptions};
use crate::application::{AppRef, Application, ApplicationStatus, HistoryEntry, OperationStatus};
use crate::backend::{
    ApplicationStore, Backend, DeleteOptions, ListOptions, Operation, PutMode, PutOutcome,
    ResourceState, RevisionHistory, Selector, StateReader, StatusEvent, Stored, SyncOptions,
    SyncOutcome, Syncer,
};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// By how much the clocks of this machine and the backend may differ, and whole seconds cut off.
const SKEW: Duration = Duration::from_secs(5);

/// A backend whose calls are tried again when they failed for a moment.
///
/// | call | when it failed for a moment |
/// | --- | --- |
/// | reading, `wait`, `terminate`, `suspend`, `resume` | again |
/// | `put` | again; a conflict with what the lost try itself had stored is success |
/// | `delete` | again; `NotFound` after a lost try is success |
/// | `sync`, `roll_back` | see below |
/// | `watch` | forwarded: a watch mends itself |
///
/// Starting an operation is not repeated blindly. `RateLimited` says that nothing was started, so it is tried again. After `Unavailable` or
/// `Timeout` the operation may run: the application's status is read, and an operation that began since the call did, for the same initiator and
/// revisions, and was not known before, is taken for the one that was asked for. Without one, it is started again; should the lost request still arrive, the
/// backend's own rule (one operation at a time) stops the second. `OperationInProgress` without a lost try is the answer, at once.
///
/// With a [`CircuitBreaker`] nothing is asked while the circuit is open; waiting for operations goes on.
#[derive(Clone)]
pub struct RetryingBackend<B> {
    backend: B,
    options: RetryOptions,
    breaker: Option<CircuitBreaker>,
    /// The last operation of each application that was started here or read in its status; clones share it.
    known: Arc<Mutex<HashMap<AppRef, String>>>,
}

impl<B: Backend> fmt::Debug for RetryingBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryingBackend")
            .field("backend", &self.backend.name())
            .field("options", &self.options)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> RetryingBackend<B> {
    /// Retries around `backend`, with a breaker of its own if the options say so.
    pub fn new(backend: B, options: RetryOptions) -> Self {
        let breaker = options
            .breaker
            .clone()
            .map(|breaker| CircuitBreaker::new(backend.name(), breaker));
        Self {
            backend,
            options,
            breaker,
            known: Arc::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<AppRef, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, app: &AppRef, operation: &str) {
        let mut known = self.known();
        match known.get_mut(app) {
            Some(last) if last == operation => {}
            Some(last) => operation.clone_into(last),
            None => {
                known.insert(app.clone(), operation.to_owned());
            }
        }
    }

    /// The circuit breaker.
    pub fn breaker(&self) -> Option<&CircuitBreaker> {
        self.breaker.as_ref()
    }

    /// The backend behind it.
    pub fn inner(&self) -> &B {
        &self.backend
    }

    /// One try, if the circuit lets it through.
    async fn try_once<T>(&self, call: impl Future<Output = Result<T>>) -> Try<T> {
        let pass = match self.breaker.as_ref().map(CircuitBreaker::admit) {
            Some(Err(error)) => return Try::Refused(error),
            Some(Ok(pass)) => Some(pass),
            None => None,
        };
        let result = call.await;
        if let Some(pass) = pass {
            pass.done(&result);
        }
        match result {
            Ok(answer) => Try::Done(answer),
            Err(error) if error.kind() == ErrorKind::RateLimited => Try::Refused(error),
            Err(error) if error.kind() == ErrorKind::OperationInProgress => Try::Busy(error),
            Err(error) if error.is_retryable() => Try::Lost(error),
            Err(error) => Try::Failed(error),
        }
    }

    /// Tries what may be repeated; the answer says whether an earlier try may have been carried out.
    async fn repeat<T, Fut>(&self, call: impl Fn() -> Fut) -> (Result<T>, bool)
    where
        Fut: Future<Output = Result<T>>,
    {
        let mut tries = Tries::new(self.backend.name(), &self.options);
        let mut lost = false;
        loop {
            let error = match self.try_once(call()).await {
                Try::Done(answer) => return (Ok(answer), lost),
                Try::Failed(error) => return (Err(error), lost),
                Try::Refused(error) | Try::Busy(error) => error,
                Try::Lost(error) => {
                    lost = true;
                    error
                }
            };
            if let Err(error) = tries.pause(error).await {
                return (Err(error), lost);
            }
        }
    }

    async fn retry<T, Fut>(&self, call: impl Fn() -> Fut) -> Result<T>
    where
        Fut: Future<Output = Result<T>>,
    {
        self.repeat(call).await.0
    }

    /// Starts an operation, once.
    async fn start<Fut>(
        &self,
        app: &AppRef,
        options: &SyncOptions,
        revisions: &[String],
        call: impl Fn() -> Fut,
    ) -> Result<Operation>
    where
        Fut: Future<Output = Result<Operation>>,
    {
        let asked = Asked {
            app,
            before: self.known().get(app).cloned().unwrap_or_default(),
            since: Timestamp::now(),
            initiator: &options.initiator.name,
            revisions,
        };
        let started = self.start_once(&asked, call).await;
        started.inspect(|operation| self.learn(app, &operation.id))
    }

    async fn start_once<Fut>(&self, asked: &Asked<'_>, call: impl Fn() -> Fut) -> Result<Operation>
    where
        Fut: Future<Output = Result<Operation>>,
    {
        let app = asked.app;
        let mut tries = Tries::new(self.backend.name(), &self.options);
        let mut lost = false;
        loop {
            let error = match self.try_once(call()).await {
                Try::Done(operation) => return Ok(operation),
                Try::Failed(error) => return Err(error),
                Try::Refused(error) => error,
                Try::Busy(error) => {
                    // Somebody's; or that of a try whose answer was lost.
                    let running = if lost {
                        self.operation(app).await?
                    } else {
                        None
                    };
                    return running.and_then(|one| asked.is(one)).ok_or(error);
                }
                Try::Lost(error) => {
                    lost = true;
                    error
                }
            };
            tries.pause(error).await?;
            if lost
                && let Some(running) = self.operation(app).await?
                && let Some(operation) = asked.is(running)
            {
                tracing::info!(%app, operation = operation.id, "the operation runs, though the answer to its start was lost");
                return Ok(operation);
            }
        }
    }

    async fn operation(&self, app: &AppRef) -> Result<Option<OperationStatus>> {
        self.retry(|| self.backend.status(app))
            .await
            .map(|status| status.operation)
            .context(|| "the answer to the start of an operation was lost, and whether it runs cannot be learnt")
    }

    fn store_or(&self) -> Result<&dyn ApplicationStore> {
        self.backend
            .store()
            .ok_or_else(|| Error::unsupported("keeping applications", self.backend.name()))
    }

    fn state_or(&self) -> Result<&dyn StateReader> {
        self.backend
            .state()
            .ok_or_else(|| Error::unsupported("reading state", self.backend.name()))
    }

    fn history_or(&self) -> Result<&dyn RevisionHistory> {
        self.backend
            .history()
            .ok_or_else(|| Error::unsupported("history", self.backend.name()))
    }
}

enum Try<T> {
    Done(T),
    /// It certainly was not carried out.
    Refused(Error),
    /// It was not carried out, because an operation is in progress.
    Busy(Error),
    /// It may have been carried out.
    Lost(Error),
    /// It is no use to try again.
    Failed(Error),
}

/// An operation that is to be started.
struct Asked<'a> {
    app: &'a AppRef,
    /// The operation that was known before, which it cannot be.
    before: String,
    since: Timestamp,
    initiator: &'a str,
    revisions: &'a [String],
}

impl Asked<'_> {
    /// `running`, if it is what was asked for; what the backend does not tell counts as equal.
    fn is(&self, running: OperationStatus) -> Option<Operation> {
        let same = |told: &str, asked: &str| told.is_empty() || asked.is_empty() || told == asked;
        let started_at = running.started_at?;
        let skew = jiff::SignedDuration::try_from(SKEW).ok()?;
        let is_new = running.id != self.before && started_at.duration_until(self.since) <= skew;
        let is_same = same(&running.initiated_by, self.initiator)
            && (self.revisions.is_empty()
                || running.revisions.is_empty()
                || running.revisions == self.revisions);
        (is_new && is_same && !running.id.is_empty()).then(|| Operation {
            app: self.app.clone(),
            id: running.id,
            started_at,
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend> Syncer for RetryingBackend<B> {
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        self.start(app, options, &options.revisions, || {
            self.backend.sync(app, options)
        })
        .await
    }

    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        let mut failing: Option<Tries<'_>> = None;
        loop {
            let begun = tokio::time::Instant::now();
            let result = self.backend.wait(operation).await;
            if let Some(breaker) = &self.breaker {
                breaker.learn(&result);
            }
            let error = match result {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            // A wait that lasted before it failed is no part of the failures before it.
            if begun.elapsed() > self.options.total {
                failing = None;
            }
            failing
                .get_or_insert_with(|| Tries::new(self.backend.name(), &self.options))
                .pause(error)
                .await?;
        }
    }

    async fn terminate(&self, operation: &Operation) -> Result<()> {
        self.retry(|| self.backend.terminate(operation)).await
    }

    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        let status = self.retry(|| self.backend.status(app)).await?;
        if let Some(operation) = &status.operation {
            self.learn(app, &operation.id);
        }
        Ok(status)
    }

    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        self.backend.watch(selector)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<B: Backend> Backend for RetryingBackend<B> {
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
impl<B: Backend> ApplicationStore for RetryingBackend<B> {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        let store = self.store_or()?;
        let (result, lost) = self.repeat(|| store.put(app, mode.clone())).await;
        match result {
            Err(error) if lost && error.kind() == ErrorKind::Conflict => {
                let name = app.app_ref();
                match self.retry(|| store.get(&name)).await {
                    Ok(stored) if stored.app == *app => Ok(PutOutcome {
                        created: false,
                        changed: true,
                        version: stored.version,
                    }),
                    _ => Err(error),
                }
            }
            result => result,
        }
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        let store = self.store_or()?;
        self.retry(|| store.get(app)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        let store = self.store_or()?;
        self.retry(|| store.list(options)).await
    }

    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        let store = self.store_or()?;
        let (result, lost) = self.repeat(|| store.delete(app, options)).await;
        self.known().remove(app);
        match result {
            Err(error) if lost && error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    async fn suspend(&self, app: &AppRef) -> Result<()> {
        let store = self.store_or()?;
        self.retry(|| store.suspend(app)).await
    }

    async fn resume(&self, app: &AppRef) -> Result<()> {
        let store = self.store_or()?;
        self.retry(|| store.resume(app)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend> StateReader for RetryingBackend<B> {
    async fn state(&self, app: &AppRef, revisions: &[String]) -> Result<Vec<ResourceState>> {
        let state = self.state_or()?;
        self.retry(|| state.state(app, revisions)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend> RevisionHistory for RetryingBackend<B> {
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
        let history = self.history_or()?;
        self.retry(|| history.list(app)).await
    }

    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
        let history = self.history_or()?;
        // Which revisions the entry leads to is the backend's to know.
        self.start(app, options, &[], || history.roll_back(app, id, options))
            .await
    }
}
