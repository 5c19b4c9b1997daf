//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

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

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
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
        let (counter, label) = match answer {
            Answer::Hit => (&self.hits, "hit"),
            Answer::Stale => (&self.stale_hits, "stale"),
            Answer::Shared => (&self.shared_hits, "shared"),
            Answer::Miss => (&self.misses, "miss"),
        };
        add(counter);
        crate::metrics::cache_read(label);
    }

    pub(super) fn snapshot(&self) -> CacheStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: get(&self.hits),
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
