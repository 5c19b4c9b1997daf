//! The default transport: the `git` program as a child.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use gitops_core::{Error, Result};
use tokio::process::Command;

use super::private::{Ssh, Surroundings};
use super::process::{Finished, run};
use super::{FetchRequest, Remote, RemoteRefs, Transport, classify, is_ref_name, is_sha};

/// Runs the `git` program (2.31 or newer), and for SSH the `ssh` of OpenSSH, as children.
///
/// Each call gets an environment of its own: no system or user configuration, no hooks, no prompts, no credential helper, no redirects, only the URL's own
/// protocol, the C locale, a private home directory. The credential of an HTTP remote travels as a header set through the environment and scoped to
/// the URL's origin; an SSH key as a file that only this user may read. The child runs in a process group of its own, which is killed at the deadline and when the
/// future is dropped.
#[derive(Clone, Debug)]
pub struct GitCli {
    git: PathBuf,
    ssh: PathBuf,
    agent: Option<PathBuf>,
    max_output: usize,
}

impl Default for GitCli {
    fn default() -> Self {
        Self {
            git: PathBuf::from("git"),
            ssh: PathBuf::from("ssh"),
            agent: None,
            max_output: 64 * 1024 * 1024,
        }
    }
}

impl GitCli {
    /// `git` and `ssh` as found on `PATH`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses this `git`.
    #[must_use]
    pub fn git_program(mut self, path: impl Into<PathBuf>) -> Self {
        self.git = path.into();
        self
    }

    /// Uses this `ssh`.
    #[must_use]
    pub fn ssh_program(mut self, path: impl Into<PathBuf>) -> Self {
        self.ssh = path.into();
        self
    }

    /// Uses the SSH agent at this socket, instead of the one that `SSH_AUTH_SOCK` names, where the credential is
    /// [`Credential::SshAgent`](gitops_core::credential::Credential::SshAgent).
    #[must_use]
    pub fn agent_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.agent = Some(path.into());
        self
    }

    /// Accepts at most this many bytes of output (a list of references), 64 MiB unless set.
    #[must_use]
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }

    async fn call(
        &self,
        git_dir: Option<&Path>,
        remote: &Remote,
        what: &str,
        arguments: Vec<String>,
    ) -> Result<Finished> {
        let mut command = Command::new(&self.git);
        match git_dir {
            Some(dir) => command.arg("--git-dir").arg(dir).current_dir(dir),
            // Nowhere: so that no repository around the working directory is found.
            None => command.current_dir("/"),
        };
        command.args(arguments);
        let ssh = Ssh {
            program: &self.ssh,
            agent: self.agent.as_deref(),
        };
        let surroundings = Surroundings::prepare(&mut command, remote, &ssh)?;
        if git_dir.is_none() {
            command.env("GIT_DIR", "/dev/null");
        }
        let finished = run(command, what, None, remote.timeout, self.max_output).await?;
        Ok(Finished {
            stderr: surroundings.redact(&finished.stderr),
            ..finished
        })
    }
}

fn check(what: &str, finished: &Finished) -> Result<()> {
    if finished.success {
        return Ok(());
    }
    Err(classify::error(
        what,
        &finished.stderr,
        &String::from_utf8_lossy(&finished.stdout[..finished.stdout.len().min(16 * 1024)]),
    ))
}

#[async_trait]
impl Transport for GitCli {
    async fn list_refs(&self, remote: &Remote) -> Result<RemoteRefs> {
        let arguments = ["ls-remote", "--symref", "--", remote.url.as_git()]
            .map(str::to_owned)
            .to_vec();
        let finished = self.call(None, remote, "git ls-remote", arguments).await?;
        check("git ls-remote", &finished)?;
        let text = std::str::from_utf8(&finished.stdout).map_err(|error| {
            Error::integrity("a reference's name is not UTF-8").with_source(error)
        })?;
        let mut refs = RemoteRefs::default();
        for line in text.lines() {
            let Some((object, name)) = line.split_once('\t') else {
                return Err(Error::integrity(
                    "git ls-remote gave a line that is not a reference",
                ));
            };
            if let Some(target) = object.strip_prefix("ref: ") {
                if name == "HEAD" {
                    if !is_ref_name(target) {
                        return Err(Error::integrity("the server's HEAD is not a reference"));
                    }
                    refs.head = Some(target.to_owned());
                }
                continue;
            }
            refs.insert(object, name)?;
        }
        Ok(refs)
    }

    async fn fetch(&self, git_dir: &Path, remote: &Remote, request: &FetchRequest) -> Result<()> {
        let mut arguments: Vec<String> = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
        ]
        .map(str::to_owned)
        .to_vec();
        if request.prune {
            arguments.push("--prune".to_owned());
        }
        if let Some(depth) = request.depth {
            arguments.push(format!("--depth={depth}"));
        }
        arguments.push("--".to_owned());
        arguments.push(remote.url.as_git().to_owned());
        for spec in &request.refspecs {
            let plain = |name: &str| is_ref_name(&name.replacen('*', "x", 1));
            if !(spec.source == "HEAD" || is_sha(&spec.source) || plain(&spec.source))
                || !plain(&spec.destination)
            {
                return Err(Error::invalid(format!(
                    "{:?} is not a reference",
                    spec.source
                )));
            }
            arguments.push(format!("+{}:{}", spec.source, spec.destination));
        }
        let call = self.call(Some(git_dir), remote, "git fetch", arguments);
        let finished = match request.max_bytes {
            None => call.await?,
            Some(limit) => {
                tokio::select! {
                    finished = call => finished?,
                    size = grown_over(git_dir, limit) => {
                        remove_partial_objects(git_dir);
                        return Err(Error::invalid(format!(
                            "git fetch was stopped: it brought {size} bytes, over the limit of {limit}"
                        )));
                    }
                }
            }
        };
        check("git fetch", &finished)
    }

    async fn push(
        &self,
        git_dir: &Path,
        remote: &Remote,
        commit: &str,
        reference: &str,
    ) -> Result<()> {
        if !is_sha(commit) || !is_ref_name(reference) {
            return Err(Error::invalid(format!("{reference:?} is not a reference")));
        }
        let arguments = [
            "push",
            "--porcelain",
            "--no-verify",
            "--no-signed",
            "--",
            remote.url.as_git(),
            &format!("{commit}:{reference}"),
        ]
        .map(str::to_owned)
        .to_vec();
        let finished = self
            .call(Some(git_dir), remote, "git push", arguments)
            .await?;
        check("git push", &finished)
    }
}

/// The files in the directories of the object store that changed since then: `git` unpacks small fetches into loose objects, and keeps others as packs.
fn new_files(git_dir: &Path, since: SystemTime) -> impl Iterator<Item = DirEntry> {
    let list = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_new = move |entry: &DirEntry| {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| modified >= since)
    };
    list(git_dir.join("objects"))
        .filter(is_new)
        .flat_map(move |dir| list(dir.path()).filter(is_new))
}

/// Ends when what arrived takes more than `limit` bytes.
async fn grown_over(git_dir: &Path, limit: u64) -> u64 {
    // Some file systems keep times in steps of two seconds.
    let since = SystemTime::now() - Duration::from_secs(2);
    let size = || -> u64 {
        new_files(git_dir, since)
            .filter_map(|entry| entry.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    };
    let before = size();
    let mut pause = Duration::from_millis(10);
    loop {
        tokio::time::sleep(pause).await;
        let grown = size().saturating_sub(before);
        if grown > limit {
            return grown;
        }
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// Removes what a killed `git` left half-written.
pub(crate) fn remove_partial_objects(git_dir: &Path) {
    for entry in new_files(git_dir, SystemTime::UNIX_EPOCH) {
        if entry.file_name().to_string_lossy().starts_with("tmp_") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
