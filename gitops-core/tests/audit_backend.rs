//! The audited backend when the log hangs, the backend is away for a moment, or the caller gives up.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fake::{Fake, until};
use gitops_core::application::{AppRef, Application};
use gitops_core::audit::*;
use gitops_core::backend::{
    ApplicationStore, Backend, DeleteOptions, ListOptions, PutMode, PutOutcome, Stored,
    SyncOptions, Syncer,
};
use gitops_core::store::MemoryStore;
use gitops_core::{Error, Result};
use tokio::time::timeout;

/// Remembers; hangs while it is to.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<(bool, Vec<AuditRecord>)>>);

impl Sink {
    fn hang(&self) {
        self.0.lock().unwrap().0 = true;
    }
    fn told(&self) -> Vec<(AuditAction, AuditOutcome)> {
        let kept = self.0.lock().unwrap();
        kept.1.iter().map(|one| (one.action, one.outcome)).collect()
    }
}

#[async_trait]
impl AuditSink for Sink {
    fn name(&self) -> &str {
        "test"
    }
    async fn append(&self, record: &AuditRecord) -> Result<()> {
        let hangs = self.0.lock().unwrap().0;
        if hangs {
            std::future::pending::<()>().await;
        }
        self.0.lock().unwrap().1.push(record.clone());
        Ok(())
    }
}

fn audited(fake: &Fake, required: bool) -> (AuditedBackend, Sink) {
    let sink = Sink::default();
    let log = AuditLog::new()
        .with_sink(Arc::new(sink.clone()))
        .required(required);
    let backend = AuditedBackend::new(Arc::new(fake.clone()), Arc::new(log));
    (backend, sink)
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_stopped_does_not_wait_for_the_log() {
    let fake = Fake::lasting(Duration::from_secs(3600));
    let (backend, sink) = audited(&fake, false);
    let app = AppRef::new("a");
    let operation = backend.sync(&app, &SyncOptions::default()).await.unwrap();
    sink.hang();
    // Long before the log is given up.
    let _ = timeout(Duration::from_secs(1), backend.terminate(&operation)).await;
    assert_eq!(Fake::count(&fake.terminated), 1);
    assert_eq!(Fake::count(&fake.running), 0);
}

#[tokio::test(start_paused = true)]
async fn with_a_required_log_nothing_is_stopped_unrecorded() {
    let fake = Fake::lasting(Duration::from_secs(3600));
    let (backend, sink) = audited(&fake, true);
    let app = AppRef::new("a");
    let operation = backend.sync(&app, &SyncOptions::default()).await.unwrap();
    sink.hang();
    backend.terminate(&operation).await.unwrap_err();
    assert_eq!(Fake::count(&fake.terminated), 0);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_learnt_for_a_moment_is_recorded() {
    use AuditOutcome::{Requested, Succeeded};
    let fake = Fake::lasting(Duration::from_secs(60));
    for _ in 0..3 {
        let away = Error::unavailable("away");
        fake.wait_faults.lock().unwrap().push_back(away);
    }
    let (backend, sink) = audited(&fake, false);
    let app = AppRef::new("a");
    backend.sync(&app, &SyncOptions::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let sync = AuditAction::Sync;
    assert_eq!(sink.told(), [(sync, Requested), (sync, Succeeded)]);
}

#[tokio::test(start_paused = true)]
async fn a_sync_whose_caller_gives_up_is_recorded_to_its_end() {
    use AuditOutcome::{Requested, Succeeded};
    let fake = Fake::lasting(Duration::from_secs(60));
    *fake.start_lasts.lock().unwrap() = Duration::from_secs(1);
    let (backend, sink) = audited(&fake, false);
    let (app, options) = (AppRef::new("a"), SyncOptions::default());
    let given_up = timeout(Duration::from_millis(10), backend.sync(&app, &options));
    assert!(given_up.await.is_err());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(Fake::count(&fake.started), 1);
    let sync = AuditAction::Sync;
    assert_eq!(sink.told(), [(sync, Requested), (sync, Succeeded)]);
}

/// A store that stores at once and answers late.
struct Slow(MemoryStore);

#[async_trait]
impl ApplicationStore for Slow {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        let put = self.0.put(app, mode).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        put
    }
    async fn get(&self, app: &AppRef) -> Result<Stored> {
        self.0.get(app).await
    }
    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        self.0.list(options).await
    }
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        self.0.delete(app, options).await
    }
    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.0.suspend(app).await
    }
    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.0.resume(app).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_caller_gives_up_is_recorded_to_its_end() {
    use AuditOutcome::{Requested, Succeeded};
    let fake = Fake::default();
    let store: Arc<dyn ApplicationStore> = Arc::new(Slow(MemoryStore::new()));
    fake.kept_store.set(store).ok().unwrap();
    let (backend, sink) = audited(&fake, false);
    let app = Application::new("a");
    let store = backend.store().unwrap();
    let given_up = timeout(Duration::from_secs(1), store.put(&app, PutMode::Create));
    assert!(given_up.await.is_err());
    until(|| sink.told().len() == 2).await;
    let put = AuditAction::Put;
    assert_eq!(sink.told(), [(put, Requested), (put, Succeeded)]);
}
