//! Retries: what is tried again, for how long, and that nothing is started twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake::{Fake, Fault};
use gitops_core::application::{AppRef, Application};
use gitops_core::backend::{
    ApplicationStore, Backend, DeleteOptions, Initiator, ListOptions, PutMode, PutOutcome, Stored,
    SyncOptions, Syncer, SyncerExt,
};
use gitops_core::retry::{BreakerOptions, BreakerState, RetryOptions, RetryingBackend};
use gitops_core::store::MemoryStore;
use gitops_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

fn options() -> RetryOptions {
    RetryOptions {
        breaker: None,
        ..RetryOptions::default()
    }
}

fn by(name: &str) -> SyncOptions {
    SyncOptions {
        initiator: Initiator {
            name: name.into(),
            automated: false,
        },
        ..SyncOptions::default()
    }
}

fn away() -> Error {
    Error::unavailable("away")
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_a_moment_is_tried_again_and_the_rest_is_not() {
    let fake = Fake::default();
    let backend = RetryingBackend::new(fake.clone(), options());
    let app = AppRef::new("a");
    fake.status_faults
        .lock()
        .unwrap()
        .extend([away(), Error::timeout("slow"), away()]);
    backend.status(&app).await.unwrap();
    assert_eq!(Fake::count(&fake.status_calls), 4);
    let denied = Error::permission_denied("no");
    fake.status_faults.lock().unwrap().push_back(denied);
    let error = backend.status(&app).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(Fake::count(&fake.status_calls), 5);
}

#[tokio::test(start_paused = true)]
async fn the_time_is_limited_in_all_and_the_waits_grow() {
    let fake = Fake::default();
    fake.status_faults
        .lock()
        .unwrap()
        .extend((0..10_000).map(|_| away()));
    let backend = RetryingBackend::new(fake.clone(), options());
    let begun = Instant::now();
    let error = backend.status(&"a".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("tries"), "{error}");
    let calls = Fake::count(&fake.status_calls);
    assert!(begun.elapsed() <= Duration::from_secs(60));
    assert!((6..20).contains(&calls), "{calls} tries");
}

#[tokio::test(start_paused = true)]
async fn what_the_other_side_asks_for_is_honoured() {
    let fake = Fake::default();
    let backend = RetryingBackend::new(fake.clone(), options());
    let limited = |seconds| {
        Error::new(ErrorKind::RateLimited, "too many")
            .with_retry_after(Duration::from_secs(seconds))
    };
    fake.status_faults.lock().unwrap().push_back(limited(30));
    let begun = Instant::now();
    backend.status(&"a".into()).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(30));
    // Longer than there is time for: the caller learns it at once.
    fake.status_faults.lock().unwrap().push_back(limited(3600));
    let begun = Instant::now();
    let error = backend.status(&"a".into()).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_operation_whose_start_was_lost_is_found_and_not_started_twice() {
    for lost in [away(), Error::timeout("no answer")] {
        let fake = Fake::lasting(Duration::from_secs(300));
        fake.sync_faults
            .lock()
            .unwrap()
            .push_back(Fault::AnswerLost(lost));
        fake.status_faults.lock().unwrap().push_back(away());
        let backend = RetryingBackend::new(fake.clone(), options());
        let outcome = backend
            .sync_and_wait(&"a".into(), &by("ann"))
            .await
            .unwrap();
        assert_eq!(outcome.operation.id, "operation-0");
        assert_eq!(Fake::count(&fake.started), 1);
        assert_eq!(Fake::count(&fake.sync_calls), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_never_arrived_is_repeated() {
    let fake = Fake::lasting(Duration::from_secs(1));
    fake.sync_faults
        .lock()
        .unwrap()
        .extend([Fault::Refused(away()), Fault::Refused(away())]);
    let backend = RetryingBackend::new(fake.clone(), options());
    backend.sync(&"a".into(), &by("ann")).await.unwrap();
    assert_eq!(Fake::count(&fake.started), 1);
    assert_eq!(Fake::count(&fake.sync_calls), 3);
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_operation_is_not_taken_for_ours() {
    let fake = Fake::lasting(Duration::from_secs(300));
    let app = AppRef::new("a");
    fake.sync(&app, &by("bob")).await.unwrap();
    let backend = RetryingBackend::new(fake.clone(), options());
    let begun = Instant::now();
    let error = backend.sync(&app, &by("ann")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OperationInProgress);
    assert!(begun.elapsed() < Duration::from_millis(1));
    // Nor after a try that was lost.
    fake.sync_faults
        .lock()
        .unwrap()
        .push_back(Fault::Refused(away()));
    let error = backend.sync(&app, &by("ann")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OperationInProgress);
    assert_eq!(Fake::count(&fake.started), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_survives_what_fails_in_between() {
    let fake = Fake::lasting(Duration::from_secs(3600));
    fake.wait_faults
        .lock()
        .unwrap()
        .extend([away(), away(), away()]);
    let backend = RetryingBackend::new(fake.clone(), options());
    let outcome = backend.sync_and_wait(&"a".into(), &by("ann")).await;
    assert!(outcome.unwrap().is_success());
    assert_eq!(Fake::count(&fake.wait_calls), 4);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_spares_the_backend_and_closes_again() {
    let fake = Fake::default();
    fake.status_faults
        .lock()
        .unwrap()
        .extend((0..20).map(|_| away()));
    let backend = RetryingBackend::new(
        fake.clone(),
        RetryOptions {
            total: Duration::from_secs(5),
            breaker: Some(BreakerOptions {
                failures: 3,
                open_for: Duration::from_secs(30),
            }),
            ..RetryOptions::default()
        },
    );
    let app = AppRef::new("a");
    for _ in 0..50 {
        let error = backend.status(&app).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert_eq!(Fake::count(&fake.status_calls), 3);
    assert_eq!(backend.breaker().unwrap().state(), BreakerState::Open);
    fake.status_faults.lock().unwrap().clear();
    tokio::time::advance(Duration::from_secs(30)).await;
    backend.status(&app).await.unwrap();
    assert_eq!(backend.breaker().unwrap().state(), BreakerState::Closed);
}

/// A store whose mutations are carried out, and whose first answers are lost.
struct Forgetful {
    store: MemoryStore,
    lost: AtomicUsize,
}

impl Forgetful {
    fn answer<T>(&self, result: Result<T>) -> Result<T> {
        let lose = self
            .lost
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |lost| {
                lost.checked_sub(1)
            });
        if lose.is_ok() { Err(away()) } else { result }
    }
}

#[async_trait::async_trait]
impl ApplicationStore for Forgetful {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        self.answer(self.store.put(app, mode).await)
    }
    async fn get(&self, app: &AppRef) -> Result<Stored> {
        self.store.get(app).await
    }
    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        self.store.list(options).await
    }
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        self.answer(self.store.delete(app, options).await)
    }
    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.answer(self.store.suspend(app).await)
    }
    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.answer(self.store.resume(app).await)
    }
}

#[tokio::test(start_paused = true)]
async fn changes_whose_answers_are_lost_are_no_failures() {
    let forgetful = Arc::new(Forgetful {
        store: MemoryStore::new(),
        lost: AtomicUsize::new(0),
    });
    let fake = Fake::default();
    let store: Arc<dyn ApplicationStore> = forgetful.clone();
    fake.kept_store.set(store).ok().unwrap();
    let backend = RetryingBackend::new(fake, options());
    let store = backend.store().unwrap();
    let lose = || forgetful.lost.store(2, Ordering::SeqCst);
    let mut app = Application::new("a");
    lose();
    let first = store.put(&app, PutMode::Create).await.unwrap();
    app.project = "shop".into();
    lose();
    let update = PutMode::Update(first.version.clone());
    let second = store.put(&app, update.clone()).await.unwrap();
    assert_eq!(
        store.get(&app.app_ref()).await.unwrap().version,
        second.version
    );
    // A conflict with somebody else is one.
    app.project = "other".into();
    lose();
    let error = store.put(&app, update).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    lose();
    store.suspend(&app.app_ref()).await.unwrap();
    let delete = DeleteOptions {
        cascade: false,
        ..DeleteOptions::default()
    };
    lose();
    store.delete(&app.app_ref(), &delete).await.unwrap();
    let error = store.delete(&app.app_ref(), &delete).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_was_over_before_is_not_taken_for_the_one_whose_start_was_lost() {
    let fake = Fake::default();
    let backend = RetryingBackend::new(fake.clone(), options());
    let app = AppRef::new("a");
    let lose = || {
        let mut faults = fake.sync_faults.lock().unwrap();
        faults.push_back(Fault::Refused(away()));
    };
    let run = async || {
        let outcome = backend.sync_and_wait(&app, &by("ann")).await;
        outcome.unwrap().operation.id
    };
    assert_eq!(run().await, "operation-0");
    lose();
    assert_eq!(run().await, "operation-1");
    // Somebody else's, by the same name, that was read in the status.
    fake.sync(&app, &by("ann")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    backend.status(&app).await.unwrap();
    lose();
    assert_eq!(run().await, "operation-3");
}
