//! What is counted and measured.
//!
//! With the feature `metrics`, through the facade of that name: install any recorder (Prometheus, StatsD …), and these arrive. Without the
//! feature nothing is recorded and nothing is built in.
//!
//! | name | kind | labels | what |
//! | --- | --- | --- | --- |
//! | `gitops_cache_reads_total` | counter | `result`: `hit`, `stale`, `shared`, `miss` | questions to a `StatusCache` |
//! | `gitops_cache_shared_failures_total` | counter | | calls of the cache's shared store that failed |

macro_rules! record {
    ($($body:tt)*) => {{
        #[cfg(feature = "metrics")]
        { $($body)*; }
    }};
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
