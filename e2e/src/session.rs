//! A session: the folder under which servers keep their data and logs, and the list of their processes.
//!
//! `cargo xtask e2e` opens one and stops everything in it when it ends. A server started by a test process is recorded in the same
//! session, so it is stopped even when the test process was killed; servers of a session whose owner was itself killed are
//! stopped by the next session that is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::components::workspace_dir;
use crate::random_hex;

/// The variable that tells a test process the folder of its session.
pub const DIR_VARIABLE: &str = "GITOPS_E2E_DIR";

/// How many finished sessions keep their logs.
const KEPT: usize = 5;

/// The folder, logs and processes of one run.
#[derive(Debug, Clone)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    owner: bool,
}

impl Session {
    /// Opens a new session under the target folder. The caller owns it: when the last clone is dropped, all its servers are stopped and
    /// their data removed; the logs stay. Sessions whose owner died are cleaned up first.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn create() -> Result<Session> {
        let sessions = target_dir().join("e2e");
        std::fs::create_dir_all(&sessions)
            .with_context(|| format!("cannot make {}", sessions.display()))?;
        sweep(&sessions);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let root = sessions.join(format!("{now}-{}-{}", std::process::id(), random_hex(2)?));
        for part in ["data", "logs", "pids"] {
            std::fs::create_dir_all(root.join(part))
                .with_context(|| format!("cannot make {}", root.display()))?;
        }
        let me = std::process::id();
        let start = start_time(me).unwrap_or_default();
        std::fs::write(root.join("owner"), format!("{me} {start}"))
            .context("cannot record the owner")?;
        Ok(Session(Arc::new(Inner { root, owner: true })))
    }

    /// The session of the `cargo xtask e2e` that started this process. Dropping it stops nothing.
    ///
    /// # Errors
    ///
    /// When the process was started without it; the message has the command to run.
    pub fn from_env() -> Result<Session> {
        let root = std::env::var_os(DIR_VARIABLE).context(
            "these tests need real servers: run them through `cargo xtask e2e [FILTER]`",
        )?;
        Ok(Session(Arc::new(Inner {
            root: PathBuf::from(root),
            owner: false,
        })))
    }

    /// The session's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// The folder of the log files.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.root.join("logs")
    }

    /// Makes a new data folder called `name`, or `name-2` and so on if that exists; returns it with the name it got.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn data(&self, name: &str) -> Result<(String, PathBuf)> {
        for n in 1.. {
            let unique = if n == 1 {
                name.to_owned()
            } else {
                format!("{name}-{n}")
            };
            let dir = self.0.root.join("data").join(&unique);
            match std::fs::create_dir(&dir) {
                Ok(()) => return Ok((unique, dir)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).with_context(|| format!("cannot make {}", dir.display())),
            }
        }
        unreachable!("the loop above has no end")
    }

    /// Notes a process group that ends with the session, by its leader's id.
    ///
    /// # Errors
    ///
    /// When the note cannot be written.
    pub fn record(&self, pid: u32) -> Result<()> {
        let start = start_time(pid).unwrap_or_default();
        std::fs::write(
            self.0.root.join("pids").join(pid.to_string()),
            start.to_string(),
        )
        .context("cannot record a process")
    }

    pub(crate) fn forget(&self, pid: u32) {
        // Best effort: a record left behind is checked against the process's start time before anything is killed.
        let _ = std::fs::remove_file(self.0.root.join("pids").join(pid.to_string()));
    }

    /// Kills the process groups of all recorded servers that still run, whoever started them.
    pub fn reap(&self) {
        reap(&self.0.root);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.owner {
            finish(&self.root);
        }
    }
}

/// Cargo's target folder.
#[must_use]
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|v| !v.is_empty()) {
        Some(dir) => workspace_dir().join(dir),
        None => workspace_dir().join("target"),
    }
}

/// When a process was started, in the kernel's clock ticks: with the process id it names one process for good.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    let rest = stat.rsplit_once(')')?.1;
    rest.split_whitespace().nth(19)?.parse().ok()
}

fn reap(root: &Path) {
    let Ok(records) = std::fs::read_dir(root.join("pids")) else {
        return;
    };
    for record in records.flatten() {
        let pid = record
            .file_name()
            .to_str()
            .and_then(|s| s.parse::<u32>().ok());
        let start = std::fs::read_to_string(record.path())
            .ok()
            .and_then(|s| s.parse::<u64>().ok());
        if let (Some(pid), Some(start)) = (pid, start)
            && start_time(pid) == Some(start)
            && let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        {
            // It may have ended in between, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = std::fs::remove_file(record.path());
    }
}

/// Stops what a session started and removes its data; the logs stay.
fn finish(root: &Path) {
    reap(root);
    crate::node::remove_cgroups(root);
    // The kernel may take a moment to close the files of killed processes, which then still write.
    for _ in 0..20 {
        let gone = std::fs::remove_dir_all(root.join("data"));
        if gone.is_ok() || !root.join("data").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let _ = std::fs::remove_dir(root.join("pids"));
    let _ = std::fs::remove_file(root.join("owner"));
    // A session that started nothing has nothing to tell. Neither call removes a folder with something in it.
    let _ = std::fs::remove_dir(root.join("logs"));
    let _ = std::fs::remove_dir(root);
}

/// Finishes sessions whose owner died, and removes the logs of all but the newest ones.
fn sweep(sessions: &Path) {
    let Ok(entries) = std::fs::read_dir(sessions) else {
        return;
    };
    let mut finished = Vec::new();
    for root in entries.flatten().map(|e| e.path()) {
        let owner = std::fs::read_to_string(root.join("owner")).unwrap_or_default();
        let alive = owner.split_once(' ').is_some_and(|(pid, start)| {
            let start = start.parse::<u64>().ok();
            start.is_some() && pid.parse().ok().and_then(start_time) == start
        });
        if !alive {
            if root.join("owner").exists() {
                finish(&root);
            }
            finished.push(root);
        }
    }
    finished.sort();
    finished.reverse();
    for old in finished.into_iter().skip(KEPT) {
        let _ = std::fs::remove_dir_all(old);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process::Process;

    fn is_running(pid: u32) -> bool {
        // A killed child is a zombie until it is waited for.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    #[test]
    fn owned_session_ends_its_servers_and_keeps_their_logs() {
        let session = Session::create().unwrap();
        session.data("server").unwrap();
        let root = session.root().to_path_buf();
        // Owned by nobody who would stop it, as that of a test process that was killed.
        let mut command = Command::new("sh");
        let server = Process::spawn(
            &session,
            "server",
            command.args(["-c", "echo hello; sleep 600"]),
        )
        .unwrap();
        let pid = server.pid();
        std::mem::forget(server);
        assert!(is_running(pid));
        // The forgotten server holds a clone of the session, so this is what the last drop does.
        finish(&root);
        for _ in 0..200 {
            if !is_running(pid) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(!is_running(pid));
        assert!(!root.join("data").exists());
        assert!(root.join("logs/server.log").exists());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn record_of_another_process_with_the_same_id_is_left_alone() {
        let session = Session::create().unwrap();
        let mut command = Command::new("sleep");
        let server = Process::spawn(&session, "server", command.arg("600")).unwrap();
        let record = session.root().join("pids").join(server.pid().to_string());
        std::fs::write(&record, "1").unwrap();
        session.reap();
        assert!(is_running(server.pid()));
        assert!(!record.exists());
        std::fs::remove_dir_all(session.logs()).unwrap();
    }

    #[test]
    fn data_folders_never_collide() {
        let session = Session::create().unwrap();
        assert_eq!(session.data("cluster").unwrap().0, "cluster");
        assert_eq!(session.data("cluster").unwrap().0, "cluster-2");
    }
}
