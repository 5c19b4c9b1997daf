//! One server process: its own process group, a log file, a record in the session, killed on drop.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::session::Session;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    session: Session,
}

impl Process {
    /// Starts `command` in a process group of its own, its output appended to the log file `NAME.log` of the session.
    ///
    /// # Errors
    ///
    /// When the program cannot be started or recorded.
    pub fn spawn(session: &Session, name: &str, command: &mut Command) -> Result<Process> {
        let log = session.logs().join(format!("{name}.log"));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("cannot duplicate the log file")?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let process = Process {
            name: name.to_owned(),
            child,
            log,
            session: session.clone(),
        };
        session.record(process.child.id())?;
        Ok(process)
    }

    /// The process id, which is also the id of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How the process ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal to the process group; the harness uses it to suspend and resume servers.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // A group that is gone already needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Kills the process group at once, as a crash would, and waits for the process to be gone.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        self.session.forget(self.pid());
    }

    /// Waits until `probe` says yes.
    ///
    /// # Errors
    ///
    /// When the process ends before that, or at the deadline; the message has the end of its log.
    pub async fn ready<F: Future<Output = bool>>(
        &mut self,
        deadline: Duration,
        mut probe: impl FnMut() -> F,
    ) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                bail!("{} ended with {status}; {}", self.name, tail(&self.log));
            }
            if probe().await {
                return Ok(());
            }
            if started.elapsed() > deadline {
                bail!(
                    "{} was not ready within {deadline:?}; {}",
                    self.name,
                    tail(&self.log)
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().rev().take(15).collect();
    let end: Vec<_> = lines.into_iter().rev().collect();
    format!("the end of {}:\n{}", log.display(), end.join("\n"))
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
///
/// When it cannot be started or fails; the message has what it wrote to standard error.
pub async fn run(command: &mut tokio::process::Command) -> Result<String> {
    let program = command.as_std().get_program().to_owned();
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!(
            "{} {}: {}",
            program.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Kills a process group at once, if it is there.
pub fn kill_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // A group that is gone already needs no signal.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
