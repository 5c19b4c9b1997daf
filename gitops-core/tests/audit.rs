//! The audit log: nothing torn, nothing changed unseen, and no sync that waits for it for ever.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gitops_core::application::{AppRef, Application, HistoryEntry, OperationPhase};
use gitops_core::audit::*;
use gitops_core::backend::*;
use gitops_core::manifest::ObjectId;
use gitops_core::testing::mocks::{
    MockApplicationStore, MockBackend, MockRevisionHistory, MockStateReader, MockSyncer,
};
use gitops_core::{Error, ErrorKind, Result, SecretString};
use jiff::Timestamp;

fn record(name: &str) -> AuditRecord {
    let actor = Initiator {
        name: "ann".into(),
        automated: false,
    };
    AuditRecord::requested(actor, AuditAction::Sync, "direct", AppRef::new(name))
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn unsynced() -> FileOptions {
    FileOptions {
        sync: false,
        ..FileOptions::default()
    }
}

#[tokio::test]
async fn every_line_is_json_and_the_chain_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let sink = FileSink::open(&path, FileOptions::default()).unwrap();
    assert_eq!(
        verify(&path, None).unwrap_err().kind(),
        ErrorKind::NotFound,
        "nothing was written yet"
    );
    for n in 0..20 {
        sink.append(&record(&format!("app-{n}"))).await.unwrap();
    }
    for (n, line) in lines(&path).iter().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["sequence"], n + 1);
        assert_eq!(value["app"]["name"], format!("app-{n}"));
        assert_eq!(value["actor"]["name"], "ann");
    }
    let proof = verify(&path, None).unwrap();
    assert_eq!((proof.records, proof.torn), (20, false));
    assert_eq!(proof.head, sink.head().unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "readable by others");
    }
}

#[tokio::test]
async fn whatever_is_changed_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let sink = FileSink::open(&path, unsynced()).unwrap();
    for n in 0..6 {
        sink.append(&record(&format!("app-{n}"))).await.unwrap();
    }
    let good = lines(&path);
    let anchor = sink.head().unwrap();
    let check = |lines: &[String]| {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        verify(&path, None)
    };
    let mut changed = good.clone();
    changed[2] = changed[2].replace("ann", "bob");
    let mut removed = good.clone();
    removed.remove(3);
    let mut twice = good.clone();
    twice.insert(4, good[4].clone());
    let mut swapped = good.clone();
    swapped.swap(1, 2);
    for (what, lines, line) in [
        ("changed", changed, "line 3"),
        ("removed", removed, "line 4"),
        ("twice", twice, "line 6"),
        ("swapped", swapped, "line 2"),
    ] {
        let error = check(&lines).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{what}");
        assert!(error.to_string().contains(line), "{what}: {error}");
    }
    // A cut end is no broken link; the head that was kept elsewhere shows it.
    let proof = check(&good[..4]).unwrap();
    assert!(!proof.contains(&anchor));
    assert!(check(&good).unwrap().contains(&anchor));
}

#[tokio::test]
async fn with_a_key_nobody_else_writes_the_log_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let key = SecretString::from("k1");
    let options = FileOptions {
        key: Some(key.clone()),
        ..unsynced()
    };
    assert!(!format!("{options:?}").contains("k1"));
    FileSink::open(&path, options)
        .unwrap()
        .append(&record("a"))
        .await
        .unwrap();
    assert_eq!(verify(&path, Some(&key)).unwrap().records, 1);
    for wrong in [None, Some(SecretString::from("k2"))] {
        let error = verify(&path, wrong.as_ref()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity);
        let options = FileOptions {
            key: wrong,
            ..unsynced()
        };
        let error = FileSink::open(&path, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity);
    }
}

#[tokio::test]
async fn full_files_are_moved_away_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let options = FileOptions {
        max_bytes: 1200,
        ..unsynced()
    };
    let sink = FileSink::open(&path, options.clone()).unwrap();
    for n in 0..30 {
        sink.append(&record(&format!("app-{n}"))).await.unwrap();
    }
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(files > 5, "{files} files");
    assert_eq!(verify(&path, None).unwrap().records, 30);
    // Older ones may go: the rest still verifies, and says what it follows.
    let keep = FileOptions {
        keep: Some(2),
        ..options
    };
    let sink = FileSink::open(&path, keep).unwrap();
    for n in 0..10 {
        sink.append(&record(&format!("more-{n}"))).await.unwrap();
    }
    let proof = verify(&path, None).unwrap();
    assert!(proof.records < 40);
    assert_eq!(proof.first.sequence + proof.records, 40);
}

#[tokio::test]
async fn several_writers_share_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut tasks = Vec::new();
    for writer in 0..4 {
        let options = FileOptions {
            max_bytes: 4000,
            ..unsynced()
        };
        let sink = FileSink::open(&path, options).unwrap();
        tasks.push(tokio::spawn(async move {
            for n in 0..25 {
                sink.append(&record(&format!("w{writer}-{n}")))
                    .await
                    .unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(verify(&path, None).unwrap().records, 100);
}

#[tokio::test]
async fn a_torn_line_is_told_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let sink = FileSink::open(&path, unsynced()).unwrap();
    sink.append(&record("a")).await.unwrap();
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"{\"hash\":\"half a rec").unwrap();
    let proof = verify(&path, None).unwrap();
    assert_eq!((proof.records, proof.torn), (1, true));
    sink.append(&record("b")).await.unwrap();
    let proof = verify(&path, None).unwrap();
    assert_eq!((proof.records, proof.torn), (2, false));
}

/// Every write to `/dev/full` fails as a full disk does.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_stops_no_sync_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let sink = FileSink::open(&path, unsynced()).unwrap();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = AuditLog::new().with_sink(Arc::new(sink)).on_failure({
        let told = told.clone();
        move |error| told.lock().unwrap().push(error.to_string())
    });
    let log = Arc::new(log);
    let audited = AuditedBackend::new(Arc::new(backend()), log.clone());
    let outcome = audited
        .sync_and_wait(&AppRef::new("shop"), &SyncOptions::default())
        .await
        .unwrap();
    assert!(outcome.is_success());
    assert_eq!(log.failures(), 2, "the request and the end");
    let told = told.lock().unwrap();
    assert!(told[0].contains("No space left"), "{told:?}");
}

/// Hangs, or remembers.
struct Sink {
    hang: bool,
    kept: std::sync::Mutex<Vec<AuditRecord>>,
}

impl Sink {
    fn new(hang: bool) -> Arc<Self> {
        Arc::new(Self {
            hang,
            kept: std::sync::Mutex::default(),
        })
    }
}

#[async_trait]
impl AuditSink for Sink {
    fn name(&self) -> &str {
        "test"
    }
    async fn append(&self, record: &AuditRecord) -> Result<()> {
        if self.hang {
            std::future::pending::<()>().await;
        }
        self.kept.lock().unwrap().push(record.clone());
        Ok(())
    }
}

fn operation() -> Operation {
    Operation {
        app: AppRef::new("shop"),
        id: "op-1".into(),
        started_at: Timestamp::UNIX_EPOCH,
    }
}

fn outcome() -> SyncOutcome {
    let resource = |name: &str, action| ResourceResult {
        id: ObjectId::new("", "ConfigMap", "prod", name),
        action,
        message: String::new(),
        health: None,
    };
    SyncOutcome {
        operation: operation(),
        phase: OperationPhase::Succeeded,
        message: "done".into(),
        revisions: vec!["new".into()],
        resources: vec![
            resource("same", ResourceAction::Unchanged),
            resource("made", ResourceAction::Created),
            resource("gone", ResourceAction::Pruned),
        ],
        finished_at: Timestamp::UNIX_EPOCH,
    }
}

fn backend() -> MockBackend {
    let mut syncer = MockSyncer::new();
    syncer.expect_sync().returning(|_, _| Ok(operation()));
    syncer.expect_wait().returning(|_| Ok(outcome()));
    syncer.expect_terminate().returning(|_| Ok(()));
    let mut history = MockRevisionHistory::new();
    history.expect_list().returning(|_| {
        Ok(vec![HistoryEntry {
            id: 1,
            revisions: vec!["old".into()],
            ..HistoryEntry::default()
        }])
    });
    history
        .expect_roll_back()
        .returning(|_, _, _| Err(Error::conflict("automated sync is on")));
    let mut store = MockApplicationStore::new();
    store.expect_put().returning(|_, _| {
        Ok(PutOutcome {
            created: true,
            changed: true,
            version: "1".into(),
        })
    });
    store.expect_delete().returning(|_, _| Ok(()));
    store.expect_suspend().returning(|_| Ok(()));
    store.expect_resume().returning(|_| Ok(()));
    MockBackend {
        syncer,
        store: Some(store),
        state: Some(MockStateReader::new()),
        history: Some(history),
    }
}

#[tokio::test]
async fn every_mutation_is_recorded_before_and_after() {
    let sink = Sink::new(false);
    let log = Arc::new(AuditLog::new().with_sink(sink.clone()));
    let audited = AuditedBackend::new(Arc::new(backend()), log).acting_as("bot");
    let app = AppRef::new("shop");
    let store = audited.store().unwrap();
    store
        .put(&Application::new("shop"), PutMode::Create)
        .await
        .unwrap();
    store.suspend(&app).await.unwrap();
    store.resume(&app).await.unwrap();
    let options = SyncOptions {
        initiator: Initiator {
            name: "ann".into(),
            automated: false,
        },
        ..SyncOptions::default()
    };
    audited.sync_and_wait(&app, &options).await.unwrap();
    audited.terminate(&operation()).await.unwrap();
    let refused = audited
        .history()
        .unwrap()
        .roll_back(&app, 1, &SyncOptions::default())
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    store.delete(&app, &DeleteOptions::default()).await.unwrap();

    let kept = sink.kept.lock().unwrap();
    use AuditAction::*;
    use AuditOutcome::*;
    let told: Vec<_> = kept
        .iter()
        .map(|record| (record.action, record.outcome, record.actor.name.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Put, Requested, "bot"),
            (Put, Succeeded, "bot"),
            (Suspend, Requested, "bot"),
            (Suspend, Succeeded, "bot"),
            (Resume, Requested, "bot"),
            (Resume, Succeeded, "bot"),
            (Sync, Requested, "ann"),
            (Sync, Succeeded, "ann"),
            (Terminate, Requested, "bot"),
            (Terminate, Succeeded, "bot"),
            (RollBack, Requested, "bot"),
            (RollBack, Failed, "bot"),
            (Delete, Requested, "bot"),
            (Delete, Succeeded, "bot"),
        ]
    );
    let synced = &kept[7];
    assert_eq!(
        (&*synced.from, &*synced.to),
        (&["old".into()][..], &["new".into()][..])
    );
    assert_eq!(synced.operation, "op-1");
    let changed: Vec<_> = synced
        .changed
        .iter()
        .map(|change| (change.id.name.as_str(), change.action))
        .collect();
    assert_eq!(
        changed,
        [
            ("made", ResourceAction::Created),
            ("gone", ResourceAction::Pruned)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_keeps_nothing_from_the_others() {
    let (hanging, other) = (Sink::new(true), Sink::new(false));
    let log = AuditLog::new()
        .with_sink(hanging)
        .with_sink(other.clone())
        .time_limit(Duration::from_secs(1));
    let error = log.record(&record("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(other.kept.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_must_be_recorded_and_cannot_is_not_done() {
    let log = AuditLog::new().with_sink(Sink::new(true)).required(true);
    let mut backend = backend();
    backend.syncer = MockSyncer::new();
    let audited = AuditedBackend::new(Arc::new(backend), Arc::new(log));
    let error = audited
        .sync(&AppRef::new("shop"), &SyncOptions::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cannot be recorded"), "{error}");
}

/// The log that a child process of these tests is to write.
const CHILD: &str = "GITOPS_TEST_AUDIT";

/// Two processes write; each is killed again and again while it does.
#[tokio::test]
async fn killed_writers_leave_whole_lines_and_one_chain() {
    if let Some(path) = std::env::var_os(CHILD) {
        let options = FileOptions {
            max_bytes: 20_000,
            ..unsynced()
        };
        let sink = FileSink::open(path, options).unwrap();
        for n in 0.. {
            sink.append(&record(&format!("app-{n}"))).await.unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let start = || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["killed_writers_leave_whole_lines_and_one_chain", "--exact"])
            .env(CHILD, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut last = 0;
    for round in 0..6 {
        let mut children = [start(), start()];
        // Until one of them has written, and for a while.
        let begun = Instant::now();
        while !verify(&path, None).is_ok_and(|proof| proof.records > last) {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody writes");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let proof = verify(&path, None).unwrap();
        assert!(proof.records > last, "round {round}: {proof:?}");
        last = proof.records;
    }
}
