//! Meeting transient failures of single, idempotent requests.

use std::future::Future;

use backon::{ExponentialBuilder, Retryable};
use gitops_core::{Error, Result};
use tracing::debug;

use super::options::RetryOptions;

/// Runs `request` until it succeeds, fails for good, or the time is up. What the server says of when to come back is honoured.
pub(super) async fn retry<T, F, Fut>(options: &RetryOptions, request: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    request
        .retry(
            ExponentialBuilder::default()
                .with_jitter()
                .with_min_delay(options.min_delay)
                .with_max_delay(options.max_delay)
                .with_total_delay(Some(options.total))
                .without_max_times(),
        )
        .when(Error::is_retryable)
        .adjust(|error: &Error, delay| {
            delay.map(|delay| error.retry_after().map_or(delay, |after| after.max(delay)))
        })
        .notify(|error: &Error, delay| debug!(%error, ?delay, "trying again"))
        .await
}
