//! A circuit breaker.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};

/// Times are cut to this, so that adding them to a clock is always possible.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// When a [`CircuitBreaker`] opens, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// So many failures in a row open it.
    pub failures: u32,
    /// For so long nothing is let through; then one call tries.
    pub open_for: Duration,
}

impl Default for BreakerOptions {
    /// Five failures, ten seconds.
    fn default() -> Self {
        Self {
            failures: 5,
            open_for: Duration::from_secs(10),
        }
    }
}

/// What a [`CircuitBreaker`] does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything is let through.
    Closed,
    /// Nothing is let through.
    Open,
    /// One call tries whether the other side is back.
    HalfOpen,
}

/// Spares a backend that is away, and its callers the wait: after some failures in a row calls are refused for a while, then one at a time is let
/// through until one succeeds. Clones share the state.
///
/// A failure is an answer of `Unavailable` or `Timeout`: whatever else the backend says, it is there.
#[derive(Clone)]
pub struct CircuitBreaker {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    options: BreakerOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    // A call that never ends must not keep the circuit closed to all others: its right to be the only one expires.
    Probing { since: Instant },
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("name", &self.shared.name)
            .field("state", &self.state())
            .finish()
    }
}

impl CircuitBreaker {
    /// A closed circuit; `name` tells in errors and metrics what is behind it.
    pub fn new(name: impl Into<String>, mut options: BreakerOptions) -> Self {
        options.open_for = options.open_for.min(LONGEST);
        Self {
            shared: Arc::new(Shared {
                name: name.into(),
                options,
                state: Mutex::new(State::Closed { failures: 0 }),
            }),
        }
    }

    /// What it does now.
    pub fn state(&self) -> BreakerState {
        match *self.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if Instant::now() < until => BreakerState::Open,
            State::Open { .. } | State::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call through, which tells by the pass how it went.
    ///
    /// # Errors
    /// `Unavailable`, with the time until the next try, while the circuit is open.
    pub fn admit(&self) -> Result<Pass> {
        let now = Instant::now();
        let open_for = self.shared.options.open_for;
        let mut state = self.lock();
        let left = match *state {
            State::Closed { .. } => None,
            State::Open { until } => until
                .checked_duration_since(now)
                .filter(|left| !left.is_zero()),
            State::Probing { since } => open_for
                .checked_sub(now.duration_since(since))
                .filter(|left| !left.is_zero()),
        };
        if let Some(left) = left {
            return Err(Error::unavailable(format!(
                "the backend {} failed {} times in a row and is left alone for now",
                self.shared.name,
                self.shared.options.failures.max(1)
            ))
            .with_retry_after(left));
        }
        let probe = match *state {
            State::Closed { .. } => None,
            _ => {
                *state = State::Probing { since: now };
                Some(now)
            }
        };
        Ok(Pass {
            breaker: self.clone(),
            probe,
        })
    }

    /// Learns from a call that was let through by itself.
    pub fn learn<T>(&self, result: &Result<T>) {
        let failed = matches!(result, Err(error)
            if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout));
        let mut state = self.lock();
        let open = match *state {
            State::Closed { failures } if failed => {
                let failures = failures.saturating_add(1);
                *state = State::Closed { failures };
                failures >= self.shared.options.failures
            }
            // One that began before the circuit opened.
            State::Open { .. } if failed => false,
            State::Probing { .. } if failed => true,
            State::Closed { failures: 0 } => false,
            _ => {
                *state = State::Closed { failures: 0 };
                tracing::debug!(backend = %self.shared.name, "the circuit is closed");
                crate::metrics::circuit_open(&self.shared.name, false);
                false
            }
        };
        if open {
            *state = State::Open {
                until: Instant::now() + self.shared.options.open_for,
            };
            tracing::warn!(backend = %self.shared.name, "the circuit is open");
            crate::metrics::circuit_open(&self.shared.name, true);
        }
    }
}

/// A call that was let through. Dropping it without telling how it went lets the next one try.
#[derive(Debug)]
#[must_use = "tell how the call went"]
pub struct Pass {
    breaker: CircuitBreaker,
    probe: Option<Instant>,
}

impl Pass {
    /// The call ended like this.
    pub fn done<T>(mut self, result: &Result<T>) {
        self.probe = None;
        self.breaker.learn(result);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(mine) = self.probe {
            let mut state = self.breaker.lock();
            if matches!(*state, State::Probing { since } if since == mine) {
                *state = State::Open {
                    until: Instant::now(),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> CircuitBreaker {
        let options = BreakerOptions {
            failures: 3,
            open_for: Duration::from_secs(10),
        };
        CircuitBreaker::new("test", options)
    }

    fn away() -> Result<()> {
        Err(Error::unavailable("away"))
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_tries_one_and_closes() {
        let breaker = breaker();
        for _ in 0..2 {
            breaker.admit().unwrap().done(&away());
        }
        // What the backend says itself shows that it is there.
        breaker
            .admit()
            .unwrap()
            .done(&Err::<(), _>(Error::not_found("nothing")));
        for _ in 0..3 {
            assert_eq!(breaker.state(), BreakerState::Closed);
            breaker.admit().unwrap().done(&away());
        }
        let error = breaker.admit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_err());
        probe.done(&away());
        assert_eq!(breaker.state(), BreakerState::Open);
        tokio::time::advance(Duration::from_secs(10)).await;
        breaker.admit().unwrap().done(&Ok(()));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_or_hangs_lets_the_next_one_try() {
        let breaker = breaker();
        for _ in 0..3 {
            breaker.admit().unwrap().done(&away());
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        drop(breaker.admit().unwrap());
        let hangs = breaker.admit().unwrap();
        assert!(breaker.admit().is_err());
        tokio::time::advance(Duration::from_secs(10)).await;
        let second = breaker.admit().unwrap();
        // The first one's end says nothing of the second's.
        drop(hangs);
        assert!(breaker.admit().is_err());
        second.done(&Ok(()));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
