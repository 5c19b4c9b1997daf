//! Ending waits early.

use std::future::Future;

use gitops_core::{Error, Result};
use tokio_util::sync::CancellationToken;

/// Runs `work` until it ends or `cancel` is cancelled; then it is dropped, and the error says what was being `done`.
pub(super) async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    done: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::cancelled(format!("the sync was terminated while it waited {done}"))),
        result = work => result,
    }
}
