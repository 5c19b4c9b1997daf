//! The loop around one call.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::RetryOptions;
use crate::error::{Error, Result};

/// The waits of one call, and when to give up.
pub(super) struct Tries<'a> {
    backend: &'a str,
    delays: ExponentialBackoff,
    total: Duration,
    begun: Instant,
    made: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn new(backend: &'a str, options: &RetryOptions) -> Self {
        Self {
            backend,
            delays: ExponentialBuilder::default()
                .with_jitter()
                .with_min_delay(options.min_delay)
                .with_max_delay(options.max_delay.max(options.min_delay))
                .without_max_times()
                .build(),
            total: options.total,
            begun: Instant::now(),
            made: 0,
        }
    }

    /// Waits until the next try may begin.
    ///
    /// # Errors
    /// `error`, when it is not of the kind that passes, or the time is up.
    pub(super) async fn pause(&mut self, error: Error) -> Result<()> {
        if !error.is_retryable() {
            return Err(error);
        }
        self.made += 1;
        let delay = self.delays.next().unwrap_or(self.total);
        let delay = error.retry_after().map_or(delay, |after| after.max(delay));
        let spent = self.begun.elapsed();
        if spent.saturating_add(delay) > self.total {
            return Err(match self.made {
                1 => error,
                made => error.context(format!("given up after {made} tries in {spent:.1?}")),
            });
        }
        tracing::debug!(backend = self.backend, %error, ?delay, "trying again");
        crate::metrics::retried(self.backend, error.kind().as_str());
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
