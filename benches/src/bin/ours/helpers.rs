//! The helpers around backends.

use anyhow::Result;
use benches::helpers::{
    SeedCache, Statuses, apps, cache, contended, fill, keys, limiter, permits, single, sync_all,
};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::clock::ms;

const APPS: usize = 10_000;

/// Which cache.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Design {
    /// `StatusCache`.
    Ours,
    /// A map behind a read-write lock.
    Seed,
}

#[derive(Args)]
pub(crate) struct CacheRead {
    /// Which cache.
    #[arg(long, value_enum, default_value_t = Design::Ours)]
    design: Design,
    /// How many readers, besides one writer; without any, one reader is alone.
    #[arg(long, default_value_t = 8)]
    readers: usize,
    /// How often each reads.
    #[arg(long, default_value_t = 250_000)]
    reads: usize,
}

pub(crate) fn cache_read(arguments: &CacheRead) -> Result<()> {
    let cache: Box<dyn Statuses> = match arguments.design {
        Design::Ours => Box::new(cache()),
        Design::Seed => Box::new(SeedCache::default()),
    };
    let apps = apps(APPS);
    fill(&*cache, &apps, 20);
    let (readers, reads) = (arguments.readers, arguments.reads);
    let elapsed = if readers == 0 {
        single(&*cache, &apps, reads)?;
        single(&*cache, &apps, reads)?
    } else {
        contended(&*cache, &apps, readers, reads)?
    };
    let all = reads * readers.max(1);
    println!(
        "{}",
        json!({"ms": ms(elapsed), "reads": all, "reads_per_second": all as f64 / elapsed.as_secs_f64()})
    );
    Ok(())
}

pub(crate) fn limit(count: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let (limiter, keys) = (limiter(), keys(1000));
    runtime.block_on(permits(&limiter, &keys, count / 10 + 1))?;
    let elapsed = runtime.block_on(permits(&limiter, &keys, count))?;
    println!(
        "{}",
        json!({"ms": ms(elapsed), "permits": count, "us_each": ms(elapsed) * 1e3 / count as f64})
    );
    Ok(())
}

pub(crate) fn sync_many(count: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()?;
    runtime.block_on(sync_all(apps(count)))?;
    // In a task, as in a program: the future that `block_on` runs itself is woken from other threads.
    let elapsed = runtime.block_on(runtime.spawn(sync_all(apps(count))))??;
    println!("{}", json!({"ms": ms(elapsed), "apps": count}));
    Ok(())
}
