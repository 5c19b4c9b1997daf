//! What the log gets of events and audit records.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io;
use std::sync::{Arc, Mutex};

use gitops_core::application::AppRef;
use gitops_core::audit::{AuditAction, AuditRecord, AuditSink, TracingSink};
use gitops_core::backend::{EventKind, Initiator, SyncEvent};
use gitops_core::notify::{Notifier, TracingNotifier};
use tracing::subscriber::DefaultGuard;

/// What was logged, in text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Keeps what this thread logs.
    fn keep() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

#[tokio::test]
async fn events_are_logged_by_their_severity() {
    let (log, _guard) = Log::keep();
    let app = AppRef::namespaced("prod", "shop");
    let started = SyncEvent::now(app.clone(), "op-1", EventKind::SyncStarted);
    let retrying = SyncEvent::now(
        app,
        "op-1",
        EventKind::Retrying {
            attempt: 2,
            message: "away".into(),
        },
    );
    for event in [&started, &retrying] {
        TracingNotifier.notify(event).await.unwrap();
    }
    assert_eq!(
        log.lines(),
        [
            r#"INFO gitops::notify: sync started app=prod/shop operation=op-1 kind="syncStarted""#,
            r#"WARN gitops::notify: attempt 2 failed: away app=prod/shop operation=op-1 kind="retrying""#,
        ]
    );
}

#[tokio::test]
async fn audit_records_are_logged_whole() {
    let (log, _guard) = Log::keep();
    let actor = Initiator {
        name: "ann".into(),
        automated: false,
    };
    let record = AuditRecord::requested(actor, AuditAction::Sync, "direct", AppRef::new("shop"));
    TracingSink.append(&record).await.unwrap();
    let lines = log.lines();
    let [line] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    let (fields, json) = line.split_once(" record=").unwrap();
    assert_eq!(
        fields,
        r#"INFO gitops::audit: actor=ann action=Sync app=shop outcome=Requested"#
    );
    let read: AuditRecord = serde_json::from_str(json).unwrap();
    assert_eq!(read, record);
}
