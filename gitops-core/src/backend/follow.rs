//! Following an operation to its end, for decorators that have to know it whether or not anybody waits.

use std::time::Duration;

use tokio::time::Instant;

use super::{Operation, SyncOutcome, Syncer};
use crate::error::{Error, Result};

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LAST_DELAY: Duration = Duration::from_secs(30);
/// No request takes so long: a wait that lasted longer before it failed was one for the operation.
const LASTING: Duration = Duration::from_secs(600);

/// The outcome of `operation`, however long it runs. While it cannot be learnt for a moment, it is asked for again, at most `patience` long.
///
/// # Errors
/// What [`Syncer::wait`] says and waiting does not mend; `Timeout` when it failed for `patience`.
pub(crate) async fn follow<S: Syncer + ?Sized>(
    syncer: &S,
    operation: &Operation,
    patience: Duration,
) -> Result<SyncOutcome> {
    let mut delay = FIRST_DELAY;
    let mut failing: Option<Instant> = None;
    loop {
        let begun = Instant::now();
        let error = match syncer.wait(operation).await {
            Err(error) if error.is_retryable() => error,
            result => return result,
        };
        if begun.elapsed() > LASTING {
            (failing, delay) = (None, FIRST_DELAY);
        }
        let failing_for = failing.get_or_insert_with(Instant::now).elapsed();
        if failing_for >= patience {
            return Err(Error::timeout(format!(
                "no outcome of operation {} of application {} within {patience:?}",
                operation.id, operation.app
            ))
            .with_source(error));
        }
        tracing::debug!(app = %operation.app, %error, "the outcome is not known yet");
        let pause = error.retry_after().map_or(delay, |after| after.max(delay));
        tokio::time::sleep(pause.min(patience - failing_for)).await;
        delay = (delay * 2).min(LAST_DELAY);
    }
}
