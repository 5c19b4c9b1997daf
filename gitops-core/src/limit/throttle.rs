//! A token bucket.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// How often. Zeros count as the least that is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleOptions {
    /// So many calls …
    pub calls: u32,
    /// … in this time, on average.
    pub per: Duration,
    /// So many at once after a pause.
    pub burst: u32,
}

impl Default for ThrottleOptions {
    /// 50 a second, 100 at once: what kube's clients in Go allow themselves in controllers.
    fn default() -> Self {
        Self {
            calls: 50,
            per: Duration::from_secs(1),
            burst: 100,
        }
    }
}

/// Lets calls through at a rate, for APIs that refuse what comes too often. Clones share the bucket.
///
/// Who waits is let through in the order of asking; dropping the future that waits takes no token.
#[derive(Clone)]
pub struct Throttle {
    options: ThrottleOptions,
    bucket: Arc<DefaultDirectRateLimiter>,
    // The bucket itself wakes everybody for one token; this makes them a queue.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(ThrottleOptions::default())
    }
}

impl Throttle {
    /// A full bucket.
    pub fn new(options: ThrottleOptions) -> Self {
        let period = (options.per / options.calls.max(1)).max(Duration::from_nanos(1));
        let burst = NonZeroU32::new(options.burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(period)
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        Self {
            options,
            bucket: Arc::new(RateLimiter::direct(quota)),
            turn: Arc::default(),
        }
    }

    /// How often.
    pub fn options(&self) -> &ThrottleOptions {
        &self.options
    }

    /// Takes a token if one is there.
    pub fn try_turn(&self) -> bool {
        self.turn.try_lock().is_ok() && self.bucket.check().is_ok()
    }

    /// Waits for a token.
    pub async fn turn(&self) {
        let _turn = self.turn.lock().await;
        let clock = DefaultClock::default();
        while let Err(not_yet) = self.bucket.check() {
            tokio::time::sleep(not_yet.wait_time_from(clock.now())).await;
        }
    }
}
