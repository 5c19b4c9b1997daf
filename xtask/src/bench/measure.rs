//! Running both sides in turns.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use e2e::Session;
use serde_json::Value;
use tokio::process::Command;

/// Both sides' programs.
pub(super) struct Programs {
    pub(super) ours: PathBuf,
    pub(super) peers: PathBuf,
}

/// What all cases share.
pub(super) struct Settings {
    pub(super) programs: Programs,
    pub(super) session: Session,
    /// A folder for inputs and clones, removed afterwards.
    pub(super) data: PathBuf,
    pub(super) rounds: usize,
    pub(super) objects: usize,
    pub(super) concurrency: usize,
}

impl Settings {
    /// One of our jobs.
    pub(super) fn ours(&self, job: &str) -> Command {
        let mut command = Command::new(&self.programs.ours);
        command.arg(job);
        command
    }

    /// The same job of the peers.
    pub(super) fn peer(&self, job: &str) -> Command {
        let mut command = Command::new(&self.programs.peers);
        command.arg(job);
        command
    }

    /// Writes a corpus of manifests (`ours corpus`), read by both sides.
    pub(super) async fn corpus(
        &self,
        objects: usize,
        prefix: &str,
        revision: usize,
    ) -> Result<PathBuf> {
        let file = self
            .data
            .join(format!("{prefix}-{objects}-{revision}.yaml"));
        let mut command = self.ours("corpus");
        command.arg(&file);
        command.args(["--objects", &objects.to_string()]);
        command.args(["--prefix", prefix]);
        command.args(["--revision", &revision.to_string()]);
        run(command).await?;
        Ok(file)
    }
}

/// The medians of both sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Medians {
    pub(super) ours: f64,
    pub(super) peer: f64,
}

/// Runs ours, the peer, ours, the peer …; the first run of each only warms up. Each gets the number of the round.
pub(super) async fn alternate(
    rounds: usize,
    mut ours: impl AsyncFnMut(usize) -> Result<f64>,
    mut peer: impl AsyncFnMut(usize) -> Result<f64>,
) -> Result<Medians> {
    let mut times = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let a = ours(round).await.context("ours")?;
        let b = peer(round).await.context("the peer")?;
        eprintln!(
            "bench:   {a:.1} ms, {b:.1} ms{}",
            if round == 0 { " (warm-up)" } else { "" }
        );
        if round > 0 {
            times.0.push(a);
            times.1.push(b);
        }
    }
    Ok(Medians {
        ours: median(times.0),
        peer: median(times.1),
    })
}

/// The middle one, or the mean of the two middle ones.
pub(super) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    match times.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => times[n / 2],
        n => f64::midpoint(times[n / 2 - 1], times[n / 2]),
    }
}

/// Runs a program to its end: its output, or an error with what it wrote to standard error.
pub(super) async fn run(mut command: Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {}", name(&command)))?;
    if !output.status.success() {
        bail!(
            "{}: {}: {}",
            name(&command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

/// Runs a program that answers with JSON.
pub(super) async fn json(command: Command) -> Result<Value> {
    let output = run(command).await?;
    serde_json::from_slice(&output).with_context(|| {
        format!(
            "not JSON: {}",
            String::from_utf8_lossy(&output[..output.len().min(200)])
        )
    })
}

/// The milliseconds that a program measured itself, and its whole answer.
pub(super) async fn reported(command: Command) -> Result<(f64, Value)> {
    let answer = json(command).await?;
    let ms = answer["ms"].as_f64().context("no `ms` in the answer")?;
    Ok((ms, answer))
}

/// The milliseconds from a program's start to its end.
pub(super) async fn wall(command: Command) -> Result<f64> {
    let start = Instant::now();
    run(command).await?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn name(command: &Command) -> String {
    let std = command.as_std();
    let mut words = vec![
        Path::new(std.get_program())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy(),
    ];
    words.extend(std.get_args().map(|arg| arg.to_string_lossy()));
    words.join(" ")
}
