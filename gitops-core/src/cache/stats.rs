//! What a cache counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// What a [`StatusCache`](super::StatusCache) counted since it was made, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Answered with a fresh status from memory.
    pub hits: u64,
    /// Answered with an old status while a new one was read.
    pub stale_hits: u64,
    /// Answered by the shared store.
    pub shared_hits: u64,
    /// Not there.
    pub misses: u64,
    /// Statuses read from the backend.
    pub loads: u64,
    /// Readings that failed.
    pub load_failures: u64,
    /// Calls of the shared store that failed or were left out because it was away.
    pub shared_failures: u64,
    /// Statuses that were taken out because something changed.
    pub invalidations: u64,
    /// Statuses in memory; about, since housekeeping lags.
    pub entries: u64,
    /// What they weigh; about.
    pub bytes: u64,
}

impl CacheStats {
    /// The part of all questions that needed no reading from the backend; 0 when nothing was asked.
    pub fn hit_ratio(&self) -> f64 {
        let hits = self.hits + self.stale_hits + self.shared_hits;
        let all = hits + self.misses;
        if all == 0 {
            0.0
        } else {
            hits as f64 / all as f64
        }
    }
}

/// A counter that many threads add to at once: each to a cache line of its own, so that they do not wait for each other.
#[derive(Debug, Default)]
struct Striped([CachePadded<AtomicU64>; STRIPES]);

const STRIPES: usize = 16;

static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

impl Striped {
    fn add(&self) {
        // While a thread ends, its own stripe may be gone.
        let stripe = STRIPE.try_with(|stripe| *stripe).unwrap_or_default();
        add(&self.0[stripe]);
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|one| one.load(Ordering::Relaxed)).sum()
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    hits: Striped,
    pub(super) stale_hits: AtomicU64,
    pub(super) shared_hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) loads: AtomicU64,
    pub(super) load_failures: AtomicU64,
    pub(super) shared_failures: AtomicU64,
    pub(super) invalidations: AtomicU64,
}

/// Which kind of answer a read got.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Hit,
    Stale,
    Shared,
    Miss,
}

impl Counters {
    pub(super) fn answered(&self, answer: Answer) {
        let label = match answer {
            Answer::Hit => {
                self.hits.add();
                "hit"
            }
            Answer::Stale => {
                add(&self.stale_hits);
                "stale"
            }
            Answer::Shared => {
                add(&self.shared_hits);
                "shared"
            }
            Answer::Miss => {
                add(&self.misses);
                "miss"
            }
        };
        crate::metrics::cache_read(label);
    }

    pub(super) fn snapshot(&self) -> CacheStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: self.hits.sum(),
            stale_hits: get(&self.stale_hits),
            shared_hits: get(&self.shared_hits),
            misses: get(&self.misses),
            loads: get(&self.loads),
            load_failures: get(&self.load_failures),
            shared_failures: get(&self.shared_failures),
            invalidations: get(&self.invalidations),
            entries: 0,
            bytes: 0,
        }
    }
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
