//! How much memory a cached status takes, counted by the allocator. A program of its own, since counting makes every other measurement slower.

use std::alloc::System;

use anyhow::{Result, ensure};
use benches::helpers::{apps, cache, fill};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STATUSES: usize = 10_000;
const RESOURCES: usize = 20;

fn main() -> Result<()> {
    let apps = apps(STATUSES);
    let cache = cache();
    let region = Region::new(ALLOCATOR);
    fill(&cache, &apps, RESOURCES);
    let change = region.change();
    let stats = cache.stats();
    ensure!(
        stats.entries == STATUSES as u64,
        "{} statuses are kept, not {STATUSES}",
        stats.entries
    );
    // What `realloc` adds or frees is in these two already (stats_alloc 0.1.10).
    let held = change.bytes_allocated - change.bytes_deallocated;
    println!(
        "{}",
        json!({
            "bytes": held as f64 / STATUSES as f64,
            "weighed": stats.bytes as f64 / STATUSES as f64,
            "statuses": STATUSES,
            "resources": RESOURCES,
        })
    );
    Ok(())
}
