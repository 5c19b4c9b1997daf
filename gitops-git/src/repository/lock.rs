//! One writer of a bare copy at a time, across processes.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use gitops_core::{Error, Result};

/// Holds the lock until dropped; the system releases it when the process dies.
#[derive(Debug)]
pub(super) struct Guard {
    _file: File,
}

/// Takes the lock, waiting at most `timeout`; dropping the future stops waiting.
pub(super) async fn acquire(path: &Path, timeout: Duration) -> Result<Guard> {
    let failed = |error: std::io::Error| {
        Error::internal(format!("cannot lock {}", path.display())).with_source(error)
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed)?;
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Guard { _file: file }),
            Err(TryLockError::WouldBlock) if start.elapsed() < timeout => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::timeout(format!(
                    "{} is locked by another process",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}
