//! The helpers around backends, against limits and the seed's design. Everything is ours: no Go peer, no server.

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::measure::{Settings, alternate, json, median, reported};
use super::report::Outcome;

/// At least this many reads of a cached status a second, on one core.
const READS_PER_SECOND: f64 = 1e6;

/// At most this long for a permit of three limits, in microseconds.
const PERMIT_US: f64 = 5.0;

/// At most this long for 10,000 applications with a backend that does nothing, in milliseconds.
const SYNC_ALL_MS: f64 = 100.0;

/// At most so many bytes for a cached status of 20 resources.
const STATUS_BYTES: f64 = 6.0 * 1024.0;

/// Each reader's reads.
const READS: usize = 250_000;

pub(super) async fn run(name: &str, settings: &Settings) -> Result<Outcome> {
    match name {
        "cache-read" => cache_read(settings).await,
        "cache-read-one-core" => {
            let reads = 1_000_000;
            let wanted = reads as f64 / READS_PER_SECOND * 1e3;
            let job = || read(settings, "ours", 0, reads);
            let limit = format!("{READS_PER_SECOND:.0} reads a second, {reads} reads");
            limited(settings, job, wanted, limit).await
        }
        "limiter" => {
            let permits = 200_000;
            let wanted = permits as f64 * PERMIT_US / 1e3;
            let job = || {
                let mut command = settings.ours("limit");
                command.arg(permits.to_string());
                command
            };
            let limit = format!("{PERMIT_US} µs for a permit of three limits, {permits} permits");
            limited(settings, job, wanted, limit).await
        }
        "sync-all" => {
            let job = || settings.ours("sync-all");
            let limit = "10,000 applications and a backend that does nothing".to_owned();
            limited(settings, job, SYNC_ALL_MS, limit).await
        }
        "status-memory" => memory(settings).await,
        other => bail!("no case {other}"),
    }
}

fn read(settings: &Settings, design: &str, readers: usize, reads: usize) -> Command {
    let mut command = settings.ours("cache-read");
    command.args(["--design", design]);
    command.args(["--readers", &readers.to_string()]);
    command.args(["--reads", &reads.to_string()]);
    command
}

/// Eight readers and a writer, until all have ended; both sides are ours, the seed's design in our language.
async fn cache_read(settings: &Settings) -> Result<Outcome> {
    let side = async |design| {
        reported(read(settings, design, 8, READS))
            .await
            .map(|(ms, _)| ms)
    };
    let medians = alternate(
        settings.rounds,
        async |_| side("ours").await,
        async |_| side("seed").await,
    )
    .await?;
    Ok(Outcome::of(
        format!("a map behind a lock; 8 × {READS} reads, a write for 500 of them"),
        medians,
    ))
}

/// Ours against a limit.
async fn limited(
    settings: &Settings,
    job: impl Fn() -> Command,
    limit_ms: f64,
    limit: String,
) -> Result<Outcome> {
    let mut times = Vec::new();
    for _ in 0..settings.rounds {
        let (ms, _) = reported(job()).await?;
        eprintln!("bench:   {ms:.1} ms");
        times.push(ms);
    }
    let ours_ms = median(times);
    Ok(Outcome {
        name: String::new(),
        ours_ms,
        peer: format!("a limit of {limit_ms} ms: {limit}"),
        peer_ms: None,
        ratio: limit_ms / ours_ms,
        wanted: 0.0,
        ours_mb: None,
    })
}

/// Counted by the allocator of a program of its own.
async fn memory(settings: &Settings) -> Result<Outcome> {
    let program = settings.programs.ours.with_file_name("memory");
    let answer = json(Command::new(program)).await?;
    let bytes = answer["bytes"].as_f64().context("no `bytes`")?;
    let statuses = answer["statuses"].as_f64().context("no `statuses`")?;
    Ok(Outcome {
        name: String::new(),
        ours_ms: 0.0,
        peer: format!("a limit of {STATUS_BYTES} bytes a status; ours: {bytes:.0}"),
        peer_ms: None,
        ratio: STATUS_BYTES / bytes,
        wanted: 0.0,
        ours_mb: Some(bytes * statuses / 1e6),
    })
}
