//! `cargo xtask e2e`.

use std::process::ExitStatus;

use anyhow::{Context, Result, bail};
use clap::Args;
use e2e::Session;
use e2e::components::{COMPONENTS, bin_dir};
use e2e::go;
use e2e::session::DIR_VARIABLE;
use e2e::supervisor::{ADDRESS_VARIABLE, Supervisor};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::cargo::cargo;

/// Which tests, and how.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains one of these.
    filter: Vec<String>,
    /// How many tests run at a time.
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Show what the tests print even when they pass.
    #[arg(long)]
    nocapture: bool,
    /// Only the test whose name is FILTER, not those that contain it.
    #[arg(long)]
    exact: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let wanted: Vec<_> = COMPONENTS.iter().filter(|c| c.default).collect();
    go::build(&wanted, |line| eprintln!("{line}"))?;
    // The tests are built before any server runs: a build that fails should not start a cluster.
    let status = cargo()
        .args([
            "test",
            "--workspace",
            "--features=e2e/e2e",
            "--test=e2e",
            "--no-run",
        ])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the tests do not compile");
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let status = runtime.block_on(supervise(arguments))?;
    if !status.success() {
        bail!("end-to-end tests failed ({status})");
    }
    Ok(())
}

async fn supervise(arguments: &Arguments) -> Result<ExitStatus> {
    let session = Session::create()?;
    let logs = session.logs();
    eprintln!("e2e: logs in {}", logs.display());
    let supervisor = Supervisor::bind(&session).await?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(bin_dir()?).chain(std::env::split_paths(&path)))
            .context("the cache directory cannot be on PATH")?;
    let mut command = Command::from(cargo());
    command
        .env(DIR_VARIABLE, session.root())
        .env(ADDRESS_VARIABLE, supervisor.address()?)
        .env("PATH", path)
        .args([
            "test",
            "--workspace",
            "--features=e2e/e2e",
            "--test=e2e",
            "--",
        ])
        .arg(format!("--test-threads={}", arguments.threads))
        .args(&arguments.filter)
        .kill_on_drop(true);
    if arguments.nocapture {
        command.arg("--nocapture");
    }
    if arguments.exact {
        command.arg("--exact");
    }
    // The children of cargo get their signals from here, whoever sent them.
    command.process_group(0);
    let mut tests = command.spawn().context("cannot run cargo")?;
    // Should this process be killed, the next session ends them.
    if let Some(pid) = tests.id() {
        session.record(pid)?;
    }
    let outcome = tokio::select! {
        status = tests.wait() => status.context("cannot wait for the tests"),
        () = supervisor.serve() => bail!("the supervisor stopped"),
        name = interrupted() => {
            let name = name?;
            eprintln!("e2e: {name}, stopping");
            end(&mut tests).await;
            bail!("interrupted");
        }
    };
    eprintln!("e2e: stopping servers; logs in {}", logs.display());
    outcome
}

/// Waits for a signal that asks the process to end.
pub(crate) async fn interrupted() -> Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
        _ = hangup.recv() => "hung up",
    })
}

/// Ends cargo and the test binary that it started.
async fn end(tests: &mut Child) {
    if let Some(pid) = tests.id() {
        e2e::process::kill_group(pid);
    }
    // Reaps it; how it ended is known.
    let _ = tests.wait().await;
}
