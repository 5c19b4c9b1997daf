//! How much memory statuses take, counted by the allocator. A program of its own, since counting makes every other measurement slower.

use std::alloc::System;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use benches::applications;
use benches::helpers::{apps, cache, fill};
use clap::Parser;
use gitops_argocd::types::lean;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STATUSES: usize = 10_000;
const RESOURCES: usize = 20;

#[derive(Parser)]
struct Cli {
    /// Instead of cached statuses, those of a file that `ours applications` wrote.
    #[arg(long)]
    applications: Option<PathBuf>,
}

fn main() -> Result<()> {
    match Cli::parse().applications {
        Some(file) => read(&file),
        None => cached(),
    }
}

/// What a status in the cache takes.
fn cached() -> Result<()> {
    let apps = apps(STATUSES);
    let cache = cache();
    let region = Region::new(ALLOCATOR);
    fill(&cache, &apps, RESOURCES);
    let held = held(&region.change());
    let stats = cache.stats();
    ensure!(
        stats.entries == STATUSES as u64,
        "{} statuses are kept, not {STATUSES}",
        stats.entries
    );
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

/// What a status that was read from a list takes, when the list is gone.
fn read(file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let region = Region::new(ALLOCATOR);
    let statuses = lean::statuses(&bytes)?;
    let held = held(&region.change());
    let counts = applications::count(&statuses);
    println!(
        "{}",
        json!({
            "bytes": held as f64 / counts.applications as f64,
            "statuses": counts.applications,
            "resources": counts.resources / counts.applications.max(1),
        })
    );
    Ok(())
}

/// What `realloc` adds or frees is in these two already (stats_alloc 0.1.10).
fn held(change: &Stats) -> usize {
    change.bytes_allocated - change.bytes_deallocated
}
