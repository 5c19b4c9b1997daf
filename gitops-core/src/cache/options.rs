//! How a cache behaves.

use std::time::Duration;

/// How a [`StatusCache`](super::StatusCache) behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// For how long a status is given out without asking.
    pub time_to_live: Duration,
    /// For how long after that the old status is still given out, while a new one is read behind the caller's back. Zero: never.
    pub stale_for: Duration,
    /// How many bytes the statuses may take ([`weight`](super::weight())); what is used least goes first.
    pub capacity: u64,
    /// With a shared store: for how long a copy in this process answers without asking that store. No longer than `time_to_live`.
    pub near: Duration,
}

impl Default for CacheOptions {
    /// 10 s, 10 s more while refreshing, 64 MiB; 1 s before a shared store is asked again.
    fn default() -> Self {
        Self {
            time_to_live: Duration::from_secs(10),
            stale_for: Duration::from_secs(10),
            capacity: 64 << 20,
            near: Duration::from_secs(1),
        }
    }
}
