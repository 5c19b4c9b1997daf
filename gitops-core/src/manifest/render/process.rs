//! Programs that render: found on PATH, run in a private directory with a cleared environment, and gone at their deadline.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

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
fn missing(what: &str, install: &str) -> Error {
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

/// What this machine offers to hold a program back.
#[derive(Debug, Default)]
struct Sandbox {
    /// The command that gives it a network namespace with nothing in it; empty where there is none.
    isolate: Vec<OsString>,
    /// The command that limits its memory.
    prlimit: Option<PathBuf>,
}

impl Sandbox {
    async fn probe() -> Self {
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
    fn command(&self, options: &ProgramOptions) -> Vec<OsString> {
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
    use super::*;
    use crate::error::ErrorKind;

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

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape("a\x1b[31mb\rc\n"), "a\\u{1b}[31mb\\rc\n");
    }
}
