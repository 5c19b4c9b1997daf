//! Runs programs that render: in a private directory with a cleared environment, and gone at their deadline.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::program::{ProgramOptions, missing};
use super::sandbox::Sandbox;
use crate::error::{Error, Result};

/// What is kept of a program's error output.
const STDERR_LIMIT: usize = 16 * 1024;
/// What a program that may use the network inherits: where to find `git`, and how to reach and trust the other side.
const NETWORK_ENV: [&str; 9] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// A proxy that nobody answers at: the discard port.
const NO_PROXY_AT_ALL: &str = "http://127.0.0.1:9";

/// One run of a program.
pub(super) struct Run<'a> {
    pub(super) program: &'a Path,
    pub(super) args: Vec<OsString>,
    pub(super) cwd: &'a Path,
    /// A private directory: home, caches and temporary files.
    pub(super) home: &'a Path,
    /// Variables besides those of the options.
    pub(super) env: BTreeMap<String, String>,
    /// What it is called in errors.
    pub(super) what: &'a str,
}

/// What a program left.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) success: bool,
    pub(super) stdout: Vec<u8>,
    /// The end of its error output, control characters escaped.
    pub(super) stderr: String,
}

/// Runs programs.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    sandbox: Arc<OnceCell<Sandbox>>,
    slots: Arc<Semaphore>,
}

impl Default for Runner {
    fn default() -> Self {
        // Each takes a processor and its share of memory: more at a time end no sooner.
        let slots = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            sandbox: Arc::default(),
            slots: Arc::new(Semaphore::new(slots)),
        }
    }
}

impl Runner {
    /// Waits until there is room for one more rendering.
    pub(super) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.slots.acquire().await.ok()
    }

    /// Runs a program to its end. It dies with its children at the deadline, past the output limit, and when the future is dropped.
    pub(super) async fn run(&self, options: &ProgramOptions, run: Run<'_>) -> Result<Finished> {
        let sandbox = self.sandbox.get_or_init(Sandbox::probe).await;
        let mut argv = sandbox.command(options);
        argv.push(run.program.into());
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .args(&run.args)
            .current_dir(run.cwd);
        environment(&mut command, options, &run);
        let finished = execute(command, run.what, options).await?;
        if !finished.success && is_out_of_memory(&finished.stderr) {
            return Err(Error::invalid(format!(
                "{} needs more than {} bytes of memory",
                run.what, options.max_memory
            )));
        }
        Ok(finished)
    }
}

/// What Go's runtime says at the limit, before it lists what it was doing.
fn is_out_of_memory(stderr: &str) -> bool {
    [
        "fatal error: runtime: out of memory",
        "fatal error: runtime: cannot allocate memory",
        "fatal error: out of memory",
    ]
    .iter()
    .any(|message| stderr.contains(message))
}

fn environment(command: &mut Command, options: &ProgramOptions, run: &Run<'_>) {
    command.env_clear();
    for name in [
        "HOME",
        "TMPDIR",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
    ] {
        command.env(name, run.home);
    }
    command
        .env("LC_ALL", "C")
        .env("KUBECONFIG", run.home.join("kubeconfig"));
    if options.network() {
        for name in NETWORK_ENV {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1");
    } else {
        command.env("PATH", run.home);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env(name, NO_PROXY_AT_ALL);
        }
    }
    command.envs(&run.env).envs(&options.env);
}

/// Kills the whole process group when dropped before its leader was waited for.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(pid) = self
            .0
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            // A group that is gone already needs no signal.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

async fn execute(mut command: Command, what: &str, options: &ProgramOptions) -> Result<Finished> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| {
        let program = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        if error.kind() == std::io::ErrorKind::NotFound {
            missing(
                &format!("the program {program:?} for {what}"),
                "it was there a moment ago",
            )
        } else {
            Error::internal(format!("cannot start {program:?} for {what}"))
        }
        .with_source(error)
    })?;
    let mut group = Group(child.id());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr) =
            tokio::try_join!(head(stdout, what, options.max_output), tail(stderr))?;
        let status = child.wait().await.map_err(broken)?;
        Ok((status, stdout, stderr))
    };
    let (status, stdout, stderr) = tokio::time::timeout(options.deadline, work)
        .await
        .map_err(|_| Error::timeout(format!("{what} took longer than {:?}", options.deadline)))??;
    group.0 = None;
    Ok(Finished {
        success: status.success(),
        stdout,
        stderr: escape(&String::from_utf8_lossy(&stderr)),
    })
}

fn broken(error: std::io::Error) -> Error {
    Error::internal("cannot follow a program that renders").with_source(error)
}

/// All output, up to a limit that it is an error to pass.
async fn head(pipe: Option<impl AsyncRead + Unpin>, what: &str, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(limit as u64 + 1)
            .read_to_end(&mut bytes)
            .await
            .map_err(broken)?;
    }
    if bytes.len() > limit {
        return Err(Error::invalid(format!(
            "{what} printed more than {limit} bytes"
        )));
    }
    Ok(bytes)
}

/// The end of the output: what a program says last is why it failed.
async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut buffer = [0; 4096];
        loop {
            let count = pipe.read(&mut buffer).await.map_err(broken)?;
            if count == 0 {
                break;
            }
            kept.extend_from_slice(&buffer[..count]);
            if kept.len() > 2 * STDERR_LIMIT {
                kept.drain(..kept.len() - STDERR_LIMIT);
            }
        }
    }
    Ok(kept)
}

/// Escapes control characters other than newlines, so that a chart cannot steer a terminal or forge log lines.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::super::program::find;
    use super::*;
    use crate::error::ErrorKind;
    use std::time::Duration;

    async fn shell(script: &str, options: &ProgramOptions) -> Result<Finished> {
        let dir = tempfile::tempdir().unwrap();
        let run = Run {
            program: &find(&["sh"]).unwrap(),
            args: vec!["-c".into(), script.into()],
            cwd: dir.path(),
            home: dir.path(),
            env: BTreeMap::new(),
            what: "the script",
        };
        Runner::default().run(options, run).await
    }

    #[tokio::test]
    async fn a_program_and_its_children_die_at_the_deadline_and_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str| {
            format!(
                "(/bin/sleep 2; : > {}) & wait",
                dir.path().join(name).display()
            )
        };
        let options = ProgramOptions {
            deadline: Duration::from_millis(300),
            ..ProgramOptions::default()
        };
        let error = shell(&script("late"), &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("the script"), "{error}");
        let options = ProgramOptions::default();
        let dropped = tokio::time::timeout(
            Duration::from_millis(300),
            shell(&script("dropped"), &options),
        )
        .await;
        assert!(dropped.is_err());
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn output_is_bounded() {
        let options = ProgramOptions {
            max_output: 1000,
            ..ProgramOptions::default()
        };
        let error = shell("while :; do echo spam; done", &options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("1000 bytes"), "{error}");
    }

    #[tokio::test]
    async fn nothing_is_inherited_but_what_was_named() {
        let mut options = ProgramOptions::default();
        options.env.insert("GIVEN".into(), "yes".into());
        let finished = shell("set", &options).await.unwrap();
        let text = String::from_utf8(finished.stdout).unwrap();
        assert!(
            text.contains("GIVEN='yes'") || text.contains("GIVEN=yes"),
            "{text}"
        );
        // Cargo sets it for every test.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert!(!text.contains("CARGO_MANIFEST_DIR"), "{text}");
        assert!(!format!("{options:?}").contains("yes"));
    }

    #[tokio::test]
    async fn the_network_is_out_of_reach_where_namespaces_are() {
        if Sandbox::probe().await.isolate.is_empty() {
            eprintln!("no network namespaces on this machine");
            return;
        }
        let script = "while read -r line; do echo \"$line\"; done < /proc/self/net/dev";
        let devices = |text: Vec<u8>| String::from_utf8(text).unwrap().matches(':').count();
        let inside = shell(script, &ProgramOptions::default()).await.unwrap();
        assert_eq!(devices(inside.stdout), 1, "only lo, and down");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape("a\x1b[31mb\rc\n"), "a\\u{1b}[31mb\\rc\n");
    }
}
