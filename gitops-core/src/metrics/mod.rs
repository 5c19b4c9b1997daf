//! What is counted and measured.
//!
//! With the feature `metrics`, through the facade of that name: install any recorder (Prometheus, StatsD …), and these arrive. Without the
//! feature nothing is recorded and nothing is built in.
//!
//! | name | kind | labels | what |
//! | --- | --- | --- | --- |
//! | `gitops_syncs_total` | counter | `backend`, `outcome`: `succeeded`, `failed`, `error`, `unknown` | operations that ended, rollbacks included; from `MeteredBackend`, like the next six |
//! | `gitops_sync_duration_seconds` | histogram | `backend`, `outcome` | how long they lasted |
//! | `gitops_syncs_running` | gauge | `backend` | operations that run |
//! | `gitops_backend_calls_total` | counter | `backend`, `call`, `result`: `ok` or the error's kind | calls of the backend |
//! | `gitops_backend_call_seconds` | histogram | `backend`, `call` | how long they took |
//! | `gitops_drifted_resources` | gauge | `backend`, `app` | resources of the application that are out of sync, as last read or watched |
//! | `gitops_watch_gaps_total` | counter | `backend` | errors that watches told |
//! | `gitops_cache_reads_total` | counter | `result`: `hit`, `stale`, `shared`, `miss` | questions to a `StatusCache` |
//! | `gitops_cache_shared_failures_total` | counter | | calls of the cache's shared store that failed |
//! | `gitops_limiter_queued` | gauge | `limiter` | who waits for a `SyncLimiter` |
//! | `gitops_limiter_running` | gauge | `limiter` | who runs under it |
//! | `gitops_limiter_wait_seconds` | histogram | `limiter` | how long those waited that had to |
//! | `gitops_limiter_refused_total` | counter | `limiter`, `reason`: `queue_full`, `timeout` | who was not let through |
//! | `gitops_backend_retries_total` | counter | `backend`, `reason`: the error's kind | tries after the first that a `RetryingBackend` made |
//! | `gitops_notifier_failures_total` | counter | `notifier` | events that a notifier could not be told of, after all tries, or because it is too slow |
//! | `gitops_reconciler_looks_total` | counter | `result`: `synced`, `idle`, `busy`, `later`, `refused`, `failed`, `paused`, `stopped`, `gone` | looks of a `Reconciler` at an application |
//! | `gitops_reconciler_applications` | gauge | | applications that this replica takes care of |
//! | `gitops_reconciler_due` | gauge | | applications that are due and wait for their turn |
//! | `gitops_webhooks_total` | counter | `provider`, `result`: `accepted`, `ignored`, `repeated`, `unauthenticated`, `invalid`, `too_large`, `too_slow`, `busy`, `not_a_post`, `broken` | requests to a `WebhookService` |
//! | `gitops_circuit_open` | gauge, 0 or 1 | `backend` | whether its circuit breaker is open |
//!
//! Labels hold names of backends, applications, limiters and notifiers, never messages. A series per application is made for drift only.

// Who calls these may be behind a feature that is off.
#![allow(dead_code)]

use std::time::Duration;

#[cfg(feature = "metrics")]
mod backend;

#[cfg(feature = "metrics")]
pub use self::backend::MeteredBackend;

macro_rules! record {
    ($($body:tt)*) => {{
        #[cfg(feature = "metrics")]
        { $($body)*; }
    }};
}

/// A notifier could not be told of an event.
#[allow(unused_variables)]
pub(crate) fn notifier_failed(notifier: &str) {
    record!(
        ::metrics::counter!("gitops_notifier_failures_total", "notifier" => notifier.to_owned())
            .increment(1)
    );
}

/// A cache was asked.
#[allow(unused_variables)]
pub(crate) fn cache_read(result: &'static str) {
    record!(::metrics::counter!("gitops_cache_reads_total", "result" => result).increment(1));
}

/// The cache's shared store failed.
pub(crate) fn shared_cache_failed() {
    record!(::metrics::counter!("gitops_cache_shared_failures_total").increment(1));
}

/// One more, or one less, waits for a limiter.
#[allow(unused_variables)]
pub(crate) fn limiter_queued(limiter: &str, change: f64) {
    record!(
        ::metrics::gauge!("gitops_limiter_queued", "limiter" => limiter.to_owned())
            .increment(change)
    );
}

/// One more, or one less, runs under a limiter.
#[allow(unused_variables)]
pub(crate) fn limiter_running(limiter: &str, change: f64) {
    record!(
        ::metrics::gauge!("gitops_limiter_running", "limiter" => limiter.to_owned())
            .increment(change)
    );
}

/// Somebody waited so long in a limiter's queue.
#[allow(unused_variables)]
pub(crate) fn limiter_waited(limiter: &str, waited: Duration) {
    record!(
        ::metrics::histogram!("gitops_limiter_wait_seconds", "limiter" => limiter.to_owned())
            .record(waited.as_secs_f64())
    );
}

/// A limiter let somebody not through.
#[allow(unused_variables)]
pub(crate) fn limiter_refused(limiter: &str, reason: &'static str) {
    record!(
        ::metrics::counter!("gitops_limiter_refused_total", "limiter" => limiter.to_owned(), "reason" => reason)
            .increment(1)
    );
}

/// A backend's circuit opened or closed.
#[allow(unused_variables)]
pub(crate) fn circuit_open(backend: &str, open: bool) {
    record!(
        ::metrics::gauge!("gitops_circuit_open", "backend" => backend.to_owned())
            .set(f64::from(u8::from(open)))
    );
}

/// A call of a backend is tried again.
#[allow(unused_variables)]
pub(crate) fn retried(backend: &str, reason: &'static str) {
    record!(
        ::metrics::counter!("gitops_backend_retries_total", "backend" => backend.to_owned(), "reason" => reason)
            .increment(1)
    );
}

/// A reconciler has looked at an application.
#[cfg(feature = "reconcile")]
#[allow(unused_variables)]
pub(crate) fn reconciler_looked(result: &'static str) {
    record!(::metrics::counter!("gitops_reconciler_looks_total", "result" => result).increment(1));
}

/// How many applications are this replica's.
#[cfg(feature = "reconcile")]
#[allow(unused_variables)]
pub(crate) fn reconciler_owned(count: usize) {
    record!(::metrics::gauge!("gitops_reconciler_applications").set(count as f64));
}

/// How many applications are due and wait for their turn.
#[cfg(feature = "reconcile")]
#[allow(unused_variables)]
pub(crate) fn reconciler_due(count: usize) {
    record!(::metrics::gauge!("gitops_reconciler_due").set(count as f64));
}

/// A webhook came.
#[allow(unused_variables)]
pub(crate) fn webhook(provider: &'static str, result: &'static str) {
    record!(
        ::metrics::counter!("gitops_webhooks_total", "provider" => provider, "result" => result)
            .increment(1)
    );
}
