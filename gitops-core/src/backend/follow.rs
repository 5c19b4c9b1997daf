//! Following an operation to its end, for decorators that have to know it whether or not anybody waits.

use std::time::Duration;

use super::{Operation, SyncOutcome, Syncer};
use crate::error::{Error, Result};

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LAST_DELAY: Duration = Duration::from_secs(30);

/// The outcome of `operation`. While it cannot be learnt for a moment, it is asked for again, in all at most `patience` long.
///
/// # Errors
/// What [`Syncer::wait`] says and waiting does not mend; `Timeout` after `patience`.
pub(crate) async fn follow<S: Syncer + ?Sized>(
    syncer: &S,
    operation: &Operation,
    patience: Duration,
) -> Result<SyncOutcome> {
    let asking = async {
        let mut delay = FIRST_DELAY;
        loop {
            match syncer.wait(operation).await {
                Err(error) if error.is_retryable() => {
                    let pause = error.retry_after().map_or(delay, |after| after.max(delay));
                    tracing::debug!(app = %operation.app, %error, "the outcome is not known yet");
                    tokio::time::sleep(pause).await;
                    delay = (delay * 2).min(LAST_DELAY);
                }
                result => return result,
            }
        }
    };
    match tokio::time::timeout(patience, asking).await {
        Ok(result) => result,
        Err(_) => Err(Error::timeout(format!(
            "no outcome of operation {} of application {} within {patience:?}",
            operation.id, operation.app
        ))),
    }
}
