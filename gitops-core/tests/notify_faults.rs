//! Notifiers that break the rules, and what counts as told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use gitops_core::application::{AppRef, HealthStatus, SyncStatus};
use gitops_core::backend::{EventKind, SyncEvent};
use gitops_core::notify::*;
use gitops_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

fn started() -> SyncEvent {
    SyncEvent::now(AppRef::new("a"), "op-1", EventKind::SyncStarted)
}

fn state(sync: SyncStatus) -> SyncEvent {
    let health = HealthStatus::Healthy;
    SyncEvent::now(
        AppRef::new("a"),
        "",
        EventKind::StatusChanged { sync, health },
    )
}

/// Remembers what it was told; takes it when there is a permit, and fails as often as it is to.
#[derive(Clone)]
struct Listener {
    heard: Arc<Mutex<Vec<EventKind>>>,
    gate: Arc<Semaphore>,
    failures: Arc<Mutex<usize>>,
}

impl Listener {
    fn with(permits: usize, failures: usize) -> Self {
        Self {
            heard: Arc::default(),
            gate: Arc::new(Semaphore::new(permits)),
            failures: Arc::new(Mutex::new(failures)),
        }
    }

    fn heard(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

#[async_trait]
impl Notifier for Listener {
    fn name(&self) -> &str {
        "listener"
    }
    async fn notify(&self, event: &SyncEvent) -> Result<()> {
        self.heard.lock().unwrap().push(event.kind.clone());
        self.gate.acquire().await.unwrap().forget();
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(Error::invalid("not like this"));
        }
        Ok(())
    }
}

fn telling_once(listeners: &[&Listener]) -> Arc<Notifiers> {
    let mut notifiers = Notifiers::new(NotifierOptions {
        deduplicate: Some(Duration::from_secs(60)),
        retries: 0,
        ..NotifierOptions::default()
    });
    for listener in listeners {
        notifiers.add_notifier((*listener).clone());
    }
    Arc::new(notifiers)
}

#[tokio::test(start_paused = true)]
async fn a_state_that_comes_back_is_told_again() {
    let listener = Listener::with(100, 0);
    let notifiers = telling_once(&[&listener]);
    use SyncStatus::{OutOfSync, Synced};
    for (sync, heard) in [
        (OutOfSync, 1),
        (OutOfSync, 1),
        (Synced, 2),
        (OutOfSync, 3),
        (OutOfSync, 3),
    ] {
        notifiers.notify_sync(&state(sync)).await.unwrap();
        assert_eq!(listener.heard(), heard, "{sync:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_took_it_is_not_told_again_because_another_did_not() {
    let (fine, failing) = (Listener::with(100, 0), Listener::with(100, 1));
    let notifiers = telling_once(&[&fine, &failing]);
    notifiers.notify_sync(&started()).await.unwrap_err();
    notifiers.notify_sync(&started()).await.unwrap();
    notifiers.notify_sync(&started()).await.unwrap();
    assert_eq!((fine.heard(), failing.heard()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_was_not_told() {
    let listener = Listener::with(0, 0);
    let notifiers = telling_once(&[&listener]);
    let event = started();
    let given_up = tokio::time::timeout(Duration::from_secs(1), notifiers.notify_sync(&event));
    assert!(given_up.await.is_err());
    listener.gate.add_permits(1);
    notifiers.notify_sync(&event).await.unwrap();
    assert_eq!(listener.heard(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_tells_the_same_at_the_same_time_learns_whether_it_was_told() {
    let listener = Listener::with(0, 1);
    let notifiers = telling_once(&[&listener]);
    let tell = || {
        let notifiers = notifiers.clone();
        tokio::spawn(async move { notifiers.notify_sync(&started()).await })
    };
    let (first, second) = (tell(), tell());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!second.is_finished());
    listener.gate.add_permits(2);
    assert!(first.await.unwrap().is_err());
    second.await.unwrap().unwrap();
    assert_eq!(listener.heard(), 2, "the second one delivered it");
}

/// Written without `async_trait`: it panics before there is a future.
struct Hasty;

impl Notifier for Hasty {
    fn name(&self) -> &str {
        "hasty"
    }
    fn notify<'a, 'b, 'c>(
        &'a self,
        _: &'b SyncEvent,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_panic_before_the_future_is_one_notifiers_failure() {
    let listener = Listener::with(100, 0);
    let mut notifiers = Notifiers::default();
    notifiers.add_notifier(Hasty).add_notifier(listener.clone());
    let failures = notifiers.notify_sync(&started()).await.unwrap_err();
    let told: Vec<_> = failures.iter().map(|(name, _)| name).collect();
    assert_eq!((told, listener.heard()), (vec!["hasty"], 1));
}

/// Blocks its thread until it is let go.
struct Blocking(Mutex<std::sync::mpsc::Receiver<()>>);

#[async_trait]
impl Notifier for Blocking {
    fn name(&self) -> &str {
        "blocking"
    }
    async fn notify(&self, _: &SyncEvent) -> Result<()> {
        let wait = Duration::from_secs(30);
        let _ = self.0.lock().unwrap().recv_timeout(wait);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notifier_that_blocks_its_thread_blocks_no_other_and_is_given_up() {
    let listener = Listener::with(100, 0);
    let (let_go, held) = std::sync::mpsc::channel();
    let mut notifiers = Notifiers::new(NotifierOptions {
        time_limit: Duration::from_secs(1),
        pause: Duration::ZERO,
        ..NotifierOptions::default()
    });
    notifiers.add_notifier(Blocking(Mutex::new(held)));
    notifiers.add_notifier(listener.clone());
    let begun = std::time::Instant::now();
    let failures = notifiers.notify_sync(&started()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20));
    let_go.send(()).unwrap();
    assert_eq!(listener.heard(), 1);
    let failures: Vec<_> = failures.iter().collect();
    let [(name, error)] = failures.as_slice() else {
        panic!("{failures:?}")
    };
    assert_eq!((*name, error.kind()), ("blocking", ErrorKind::Timeout));
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_validator_that_panics_before_the_future_is_one_that_could_not_look() {
    use gitops_core::application::Application;
    use gitops_core::validate::{Context, Finding, Validator, Validators};

    struct Hasty;
    impl Validator for Hasty {
        fn name(&self) -> &str {
            "hasty"
        }
        fn validate<'a, 'b, 'c, 'd, 'e>(
            &'a self,
            _: &'b Application,
            _: &'c Context<'d>,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<Finding>>> + Send + 'e>>
        where
            'a: 'e,
            'b: 'e,
            'c: 'e,
            'd: 'e,
            Self: 'e,
        {
            panic!("on purpose")
        }
    }
    let validators = Validators::new().validator(Hasty);
    let app = Application::new("shop");
    let context = Context::default();
    let looking = std::panic::AssertUnwindSafe(validators.validate(&app, &context));
    let report = looking.catch_unwind().await.expect("no panic");
    assert_eq!(report.failures.len(), 1);
}
