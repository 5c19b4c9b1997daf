//! Trying again what failed for a moment: [`RetryingBackend`], and a [`CircuitBreaker`] that spares a backend which is away.
//!
//! # The order of decorators
//! From the outside in: cache, limiter, metrics, retries, backend. A call that waits for its turn or is answered by a cache is no failure of the backend, and a
//! permit is held through all tries.
//!
//! ```
//! use std::time::Duration;
//! use gitops_core::backend::Backend;
//! use gitops_core::retry::{RetryOptions, RetryingBackend};
//!
//! # fn wrap(backend: impl Backend + 'static) -> impl Backend {
//! let options = RetryOptions { total: Duration::from_secs(30), ..RetryOptions::default() };
//! RetryingBackend::new(backend, options)
//! # }
//! ```

mod backend;
mod breaker;
mod tries;

use std::time::Duration;

pub use self::backend::RetryingBackend;
pub use self::breaker::{BreakerOptions, BreakerState, CircuitBreaker, Pass};

/// How to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOptions {
    /// The first wait; each further one is twice as long, with jitter.
    pub min_delay: Duration,
    /// The longest wait, unless the other side asks for a longer one.
    pub max_delay: Duration,
    /// No try begins later than this after the first one began. For a wait for an operation's end: after it first failed.
    pub total: Duration,
    /// When to stop asking a backend that is away; `None`: never.
    pub breaker: Option<BreakerOptions>,
}

impl Default for RetryOptions {
    /// 200 ms to 10 s, one minute in all, and a breaker with its own defaults.
    fn default() -> Self {
        Self {
            min_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(10),
            total: Duration::from_secs(60),
            breaker: Some(BreakerOptions::default()),
        }
    }
}
