//! The programs that render: how they are run, where they are found, and which they are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::error::{Error, Result};

/// Whether a program that renders may use the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// It may not. What names something remote is refused before the program runs; the program finds neither `git` nor a proxy that
    /// answers; and on Linux it runs in a network namespace of its own where `unshare` (util-linux) may make one.
    #[default]
    Denied,
    /// It may: remote bases and charts' dependencies are fetched with whatever the environment grants. Results are not cached, because the
    /// same request may give something else tomorrow.
    Allowed,
}

/// How a program that renders is run.
#[derive(Clone)]
pub struct ProgramOptions {
    /// The program; `None` looks for it on PATH.
    pub program: Option<PathBuf>,
    /// How long one rendering may take (90 s unless set, as Argo CD's `ARGOCD_EXEC_TIMEOUT`).
    pub deadline: Duration,
    /// How much it may print (32 MiB unless set).
    pub max_output: usize,
    /// How much memory each of its processes may take, where the system can limit that: on Linux with `prlimit` (util-linux). 2 GiB unless
    /// set.
    pub max_memory: u64,
    /// Whether it may use the network.
    pub network: Network,
    /// Environment variables to add. Nothing else is inherited, except, when the network is allowed, PATH, proxies and certificates.
    pub env: BTreeMap<String, String>,
}

impl Default for ProgramOptions {
    fn default() -> Self {
        Self {
            program: None,
            deadline: Duration::from_secs(90),
            max_output: 32 << 20,
            max_memory: 2 << 30,
            network: Network::default(),
            env: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for ProgramOptions {
    /// Variables by name only: their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgramOptions")
            .field("program", &self.program)
            .field("deadline", &self.deadline)
            .field("max_output", &self.max_output)
            .field("max_memory", &self.max_memory)
            .field("network", &self.network)
            .field("env", &self.env.keys())
            .finish()
    }
}

impl ProgramOptions {
    pub(super) fn network(&self) -> bool {
        self.network == Network::Allowed
    }

    /// Runs all of a rendering, which may start several programs, within the deadline.
    pub(super) async fn in_time<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.deadline, work).await {
            Ok(done) => done,
            Err(_) => Err(Error::timeout(format!(
                "{what} took longer than {:?}",
                self.deadline
            ))),
        }
    }
}

/// The first of `names` that is on PATH.
pub(super) fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    names.iter().find_map(|name| {
        std::env::split_paths(&path)
            // An empty or relative element would take the program from wherever the caller happens to stand.
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(name))
            .find(|file| is_executable(file))
    })
}

fn is_executable(file: &Path) -> bool {
    let Ok(meta) = std::fs::metadata(file) else {
        return false;
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        meta.is_file() && meta.permissions().mode() & 0o111 != 0
    }
    #[cfg(not(unix))]
    meta.is_file()
}

/// Does work that takes longer than an async task may.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("reading what was rendered stopped").with_source(error))?
}

/// The program of the options, else the first of `names` on PATH.
///
/// # Errors
/// `Unavailable`, with how to get it, when there is none.
pub(super) fn locate(options: &ProgramOptions, names: &[&str], install: &str) -> Result<PathBuf> {
    match &options.program {
        Some(program) => locate_given(program, install),
        None => find(names).ok_or_else(|| missing(&format!("the program {:?}", names[0]), install)),
    }
}

/// A program that was named, by its path or by a name to look for on PATH.
///
/// # Errors
/// As [`locate`].
pub(super) fn locate_given(program: &Path, install: &str) -> Result<PathBuf> {
    let found = match program.to_str() {
        Some(name) if !name.contains(std::path::is_separator) => find(&[name]),
        _ => std::path::absolute(program)
            .ok()
            .filter(|program| is_executable(program)),
    };
    found.ok_or_else(|| missing(&format!("the program {}", program.display()), install))
}

/// A program that is not there, with how to get it.
pub(super) fn missing(what: &str, install: &str) -> Error {
    Error::unavailable(format!("{what} is not there: {install}"))
        // It does not appear by itself.
        .with_retryable(false)
}

/// Which program this is: a file that is replaced by another version has another size or time.
pub(super) fn identity(program: &Path) -> Option<String> {
    let real = program.canonicalize().ok()?;
    let meta = std::fs::metadata(&real).ok()?;
    let modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!(
        "{} {} {}",
        real.display(),
        meta.len(),
        modified.as_nanos()
    ))
}

/// What the added variables are, without telling.
pub(super) fn env_digest(options: &ProgramOptions) -> String {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    for (name, value) in &options.env {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    format!("{:?}", hash.finalize())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_missing_program_is_named_and_not_tried_again() {
        for program in ["/nowhere/kustomize", "no-such-program", "/etc/passwd"] {
            let options = ProgramOptions {
                program: Some(program.into()),
                ..ProgramOptions::default()
            };
            let error = locate(&options, &["sh"], "install it").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(!error.is_retryable());
            let text = error.to_string();
            assert!(
                text.contains(program) && text.contains("install it"),
                "{text}"
            );
        }
        let error = locate(
            &ProgramOptions::default(),
            &["no-such-program"],
            "install it",
        );
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(locate_given(Path::new("sh"), "").is_ok());
    }
}
