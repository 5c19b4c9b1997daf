//! A backend for faults and counts that a real one cannot make: its operations last as long as a test says, and its calls fail as often as it says.
#![allow(dead_code)]

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::{AppRef, ApplicationStatus, OperationPhase, OperationStatus};
use gitops_core::backend::{
    ApplicationStore, Backend, Operation, Selector, StatusEvent, SyncOptions, SyncOutcome, Syncer,
};
use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, watch};

/// What a call of `sync` meets.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is refused with this error, and nothing was started.
    Refused(Error),
    /// It is started, and the answer is lost with this error.
    AnswerLost(Error),
}

/// An operation, how it was asked for, and what came of it.
type Known = (Operation, SyncOptions, watch::Receiver<Option<SyncOutcome>>);

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<State>);

#[derive(Default)]
pub(crate) struct State {
    /// How long an operation lasts.
    pub(crate) lasts: Mutex<Duration>,
    pub(crate) operations: Mutex<HashMap<AppRef, Known>>,
    pub(crate) started: AtomicUsize,
    pub(crate) running: AtomicUsize,
    pub(crate) most: AtomicUsize,
    pub(crate) sync_faults: Mutex<VecDeque<Fault>>,
    pub(crate) status_faults: Mutex<VecDeque<Error>>,
    pub(crate) wait_faults: Mutex<VecDeque<Error>>,
    pub(crate) sync_calls: AtomicUsize,
    pub(crate) status_calls: AtomicUsize,
    pub(crate) wait_calls: AtomicUsize,
    /// How long `sync` itself takes.
    pub(crate) start_lasts: Mutex<Duration>,
    /// Applications whose operations fail.
    pub(crate) failing: Mutex<Vec<AppRef>>,
    /// Ends operations before their time.
    pub(crate) terminations: Mutex<HashMap<String, Arc<Notify>>>,
    pub(crate) terminated: AtomicUsize,
    /// An operation that was terminated lasts this much longer.
    pub(crate) terminating_lasts: Mutex<Duration>,
    /// What watches tell.
    pub(crate) told: OnceLock<broadcast::Sender<StatusEvent>>,
    /// Every operation, in order.
    pub(crate) asked: Mutex<Vec<(AppRef, SyncOptions)>>,
    pub(crate) kept_store: OnceLock<Arc<dyn ApplicationStore>>,
}

impl std::ops::Deref for Fake {
    type Target = State;
    fn deref(&self) -> &State {
        &self.0
    }
}

impl Fake {
    pub(crate) fn lasting(time: Duration) -> Self {
        let fake = Self::default();
        *fake.lasts.lock().unwrap() = time;
        fake
    }

    pub(crate) fn count(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::SeqCst)
    }

    fn begin(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        let mut operations = self.operations.lock().unwrap();
        if let Some((_, _, outcome)) = operations.get(app)
            && outcome.borrow().is_none()
        {
            return Err(Error::new(
                ErrorKind::OperationInProgress,
                "one operation runs",
            ));
        }
        let number = self.started.fetch_add(1, Ordering::SeqCst);
        let operation = Operation {
            app: app.clone(),
            id: format!("operation-{number}"),
            started_at: Timestamp::now(),
        };
        let (send, outcome) = watch::channel(None);
        operations.insert(app.clone(), (operation.clone(), options.clone(), outcome));
        let asked = (app.clone(), options.clone());
        self.asked.lock().unwrap().push(asked);
        let terminate = Arc::new(Notify::new());
        let mut terminations = self.terminations.lock().unwrap();
        terminations.insert(operation.id.clone(), Arc::clone(&terminate));
        let revisions = match options.revisions.is_empty() {
            true => vec!["a".into()],
            false => options.revisions.clone(),
        };
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let (fake, lasts, done) = (self.clone(), *self.lasts.lock().unwrap(), operation.clone());
        let phase = if self.failing.lock().unwrap().contains(app) {
            OperationPhase::Failed
        } else {
            OperationPhase::Succeeded
        };
        tokio::spawn(async move {
            let mut phase = phase;
            tokio::select! {
                () = tokio::time::sleep(lasts) => {}
                () = terminate.notified() => {
                    let longer = *fake.terminating_lasts.lock().unwrap();
                    tokio::time::sleep(longer).await;
                    phase = OperationPhase::Failed;
                }
            }
            fake.terminations.lock().unwrap().remove(&done.id);
            fake.running.fetch_sub(1, Ordering::SeqCst);
            send.send_replace(Some(SyncOutcome {
                operation: done,
                phase,
                message: String::new(),
                revisions,
                resources: Vec::new(),
                finished_at: Timestamp::now(),
            }));
        });
        Ok(operation)
    }
}

#[async_trait]
impl Syncer for Fake {
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        self.sync_calls.fetch_add(1, Ordering::SeqCst);
        let pause = *self.start_lasts.lock().unwrap();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let fault = self.sync_faults.lock().unwrap().pop_front();
        match fault {
            None => self.begin(app, options),
            Some(Fault::Refused(error)) => Err(error),
            Some(Fault::AnswerLost(error)) => {
                self.begin(app, options)?;
                Err(error)
            }
        }
    }

    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        self.wait_calls.fetch_add(1, Ordering::SeqCst);
        if let Some(error) = self.wait_faults.lock().unwrap().pop_front() {
            return Err(error);
        }
        let known = self.operations.lock().unwrap().get(&operation.app).cloned();
        let Some((known, _, mut outcome)) = known else {
            return Err(Error::not_found("no such operation"));
        };
        if known.id != operation.id {
            return Err(Error::not_found("an older operation"));
        }
        let outcome = outcome.wait_for(Option::is_some).await;
        outcome
            .map_err(|_| Error::internal("the operation is lost"))?
            .clone()
            .ok_or_else(|| Error::internal("no outcome"))
    }

    async fn terminate(&self, operation: &Operation) -> Result<()> {
        self.terminated.fetch_add(1, Ordering::SeqCst);
        if let Some(terminate) = self.terminations.lock().unwrap().get(&operation.id) {
            terminate.notify_one();
        }
        Ok(())
    }

    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        self.status_calls.fetch_add(1, Ordering::SeqCst);
        if let Some(error) = self.status_faults.lock().unwrap().pop_front() {
            return Err(error);
        }
        let operation = self.operations.lock().unwrap().get(app).cloned();
        Ok(ApplicationStatus {
            operation: operation.map(|(operation, options, outcome)| OperationStatus {
                id: operation.id,
                phase: outcome
                    .borrow()
                    .as_ref()
                    .map_or(OperationPhase::Running, |outcome| outcome.phase),
                started_at: Some(operation.started_at),
                initiated_by: options.initiator.name,
                revisions: options.revisions,
                ..OperationStatus::default()
            }),
            ..ApplicationStatus::default()
        })
    }

    fn watch(&self, _: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        let told = self.told.get_or_init(|| broadcast::channel(1024).0);
        let events = futures::stream::unfold(told.subscribe(), |mut told| async move {
            let event = told.recv().await.ok()?;
            Some((Ok(event), told))
        });
        events.chain(futures::stream::pending()).boxed()
    }
}

impl Backend for Fake {
    fn name(&self) -> &str {
        "fake"
    }
    fn store(&self) -> Option<&dyn ApplicationStore> {
        self.kept_store.get().map(|store| store as _)
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let seen = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen)
        .await
        .expect("it did not come to that");
}
