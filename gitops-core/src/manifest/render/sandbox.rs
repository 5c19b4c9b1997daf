//! What the machine offers to hold a program back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::program::{ProgramOptions, find};

/// What this machine offers to hold a program back.
#[derive(Debug, Default)]
pub(super) struct Sandbox {
    /// The command that gives it a network namespace with nothing in it; empty where there is none.
    pub(super) isolate: Vec<OsString>,
    /// The command that limits its memory.
    prlimit: Option<PathBuf>,
}

impl Sandbox {
    pub(super) async fn probe() -> Self {
        let mut sandbox = Self::default();
        if !cfg!(target_os = "linux") {
            return sandbox;
        }
        if let Some(unshare) = find(&["unshare"]) {
            // A user namespace makes it possible without privileges; root may be able to do without.
            for flags in [&["--user", "--map-current-user", "--net"][..], &["--net"]] {
                if works(&unshare, flags).await {
                    sandbox.isolate.push(unshare.into_os_string());
                    sandbox
                        .isolate
                        .extend(flags.iter().chain(&["--"]).map(OsString::from));
                    break;
                }
            }
        }
        if let Some(prlimit) = find(&["prlimit"])
            && works(&prlimit, &["--data=1073741824:1073741824"]).await
        {
            sandbox.prlimit = Some(prlimit);
        }
        if sandbox.isolate.is_empty() || sandbox.prlimit.is_none() {
            tracing::debug!(
                network_namespaces = !sandbox.isolate.is_empty(),
                memory_limits = sandbox.prlimit.is_some(),
                "this machine cannot hold rendering programs back in every way"
            );
        }
        sandbox
    }

    /// What stands before the program.
    pub(super) fn command(&self, options: &ProgramOptions) -> Vec<OsString> {
        let mut argv = Vec::new();
        if let Some(prlimit) = &self.prlimit {
            let limit = options.max_memory;
            argv.extend([
                prlimit.clone().into_os_string(),
                format!("--data={limit}:{limit}").into(),
                "--".into(),
            ]);
        }
        if !options.network() {
            argv.extend(self.isolate.iter().cloned());
        }
        argv
    }
}

/// Whether `wrapper` can run a program under these flags: itself, to show its version.
async fn works(wrapper: &Path, flags: &[&str]) -> bool {
    let tried = Command::new(wrapper)
        .args(flags)
        .arg("--")
        .arg(wrapper)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    let tried = tokio::time::timeout(Duration::from_secs(5), tried).await;
    matches!(tried, Ok(Ok(status)) if status.success())
}
