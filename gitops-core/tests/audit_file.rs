//! The audit log's files when they are moved, replaced, or can grow no more.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(target_os = "linux")]
mod fake;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gitops_core::application::AppRef;
use gitops_core::audit::*;
use gitops_core::backend::Initiator;

fn record(name: &str) -> AuditRecord {
    let actor = Initiator {
        name: "ann".into(),
        automated: false,
    };
    AuditRecord::requested(actor, AuditAction::Sync, "direct", AppRef::new(name))
}

fn sink(path: &Path, max_bytes: u64, keep: Option<usize>) -> FileSink {
    let options = FileOptions {
        max_bytes,
        keep,
        sync: false,
        ..FileOptions::default()
    };
    FileSink::open(path, options).unwrap()
}

#[tokio::test]
async fn a_first_line_that_is_torn_is_no_tampering() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    std::fs::write(&path, b"{\"hash\":\"half a rec").unwrap();
    let proof = verify(&path, None).unwrap();
    assert_eq!((proof.records, proof.torn), (0, true));
    sink(&path, 1 << 20, None)
        .append(&record("a"))
        .await
        .unwrap();
    let proof = verify(&path, None).unwrap();
    assert_eq!((proof.records, proof.torn), (1, false));
}

#[tokio::test]
async fn another_file_of_the_same_number_and_length_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("a.jsonl"), dir.path().join("b.jsonl"));
    let sinks = [&path, &other].map(|path| sink(path, 1 << 20, None));
    let mut first = record("aa");
    sinks[0].append(&first).await.unwrap();
    first.app.name = "bb".into();
    sinks[1].append(&first).await.unwrap();
    // As when the file system gives a number again that a removed file had.
    let before = std::fs::metadata(&path).unwrap();
    std::fs::write(&path, std::fs::read(&other).unwrap()).unwrap();
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    let later = before.modified().unwrap() + Duration::from_secs(1);
    file.set_modified(later).unwrap();
    assert_eq!(file.metadata().unwrap().len(), before.len());
    sinks[0].append(&record("c")).await.unwrap();
    assert_eq!(verify(&path, None).unwrap().records, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_moved_away_and_removed_meanwhile_are_no_tampering() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let sink = sink(&path, 20_000, Some(4));
    sink.append(&record("first")).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let stop = stop.clone();
        tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                sink.append(&record("next")).await.unwrap();
            }
        })
    };
    let reading = tokio::task::spawn_blocking(move || {
        let mut last = 0;
        for _ in 0..200 {
            let proof = verify(&path, None).unwrap();
            assert!(proof.head.sequence >= last);
            last = proof.head.sequence;
        }
    });
    let read = reading.await;
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    read.unwrap();
}

/// Where a child process of these tests finds the log that it may not let grow.
#[cfg(target_os = "linux")]
const CHILD: &str = "GITOPS_TEST_AUDIT_LIMITED";

/// The kernel writes what there is room for, then refuses, as a disk does that gets full: half a line is taken back.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_line_for_which_there_is_half_the_room_is_taken_back() {
    use gitops_core::backend::{SyncOptions, SyncerExt};

    if let Some(path) = std::env::var_os(CHILD) {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let limit = limits
            .lines()
            .find(|line| line.starts_with("Max file size"));
        let limit = limit.unwrap().split_whitespace().nth(3).unwrap();
        let sink = sink(Path::new(&path), 1 << 20, None);
        let mut kept = 0;
        let error = loop {
            match sink.append(&record("app")).await {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("File too large"), "{error}");
        let left = limit.parse::<u64>().unwrap() - std::fs::metadata(&path).unwrap().len();
        assert!(kept > 0 && left > 0, "{kept} lines, {left} bytes left");
        // The sync's result arrives, and the failures are told.
        let log = Arc::new(AuditLog::new().with_sink(Arc::new(sink)));
        let backend = fake::Fake::default();
        let audited = AuditedBackend::new(Arc::new(backend), log.clone());
        let outcome = audited
            .sync_and_wait(&AppRef::new("app"), &SyncOptions::default())
            .await;
        assert!(outcome.unwrap().is_success());
        assert_eq!(log.failures(), 2);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let child = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["a_line_for_which_there_is_half_the_room_is_taken_back"])
        .args(["--exact", "--nocapture"])
        .env(CHILD, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    let proof = verify(&path, None).unwrap();
    assert!(proof.records > 0 && !proof.torn, "{proof:?}");
    // With room again, the chain goes on.
    sink(&path, 1 << 20, None)
        .append(&record("more"))
        .await
        .unwrap();
    assert_eq!(verify(&path, None).unwrap().records, proof.records + 1);
}
