//! Reading one path of a repository of 10,000 files from a Gitea over HTTP.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use e2e::GiteaServer;
use e2e::components::system_program;
use e2e::gitea::GiteaOptions;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::measure::{Settings, alternate, run, wall};
use super::report::Outcome;

/// Folders, and files in each.
const FOLDERS: usize = 100;
const FILES: usize = 100;
/// Commits after the first, each of which changes [`TOUCHED`] files.
const COMMITS: usize = 100;
const TOUCHED: usize = 10;
/// The path that is read.
const PATH: &str = "apps/042";

/// A Gitea with the repository in it.
pub(super) struct Forge {
    _server: GiteaServer,
    /// The repository's URL; it is public.
    url: String,
    /// A clone that pushes.
    work: PathBuf,
}

impl Forge {
    pub(super) async fn start(settings: &Settings) -> Result<Self> {
        let server = GiteaServer::start(&settings.session, &GiteaOptions::default()).await?;
        let gitea = server.gitea();
        let body = json!({"name": "bench", "private": false, "default_branch": "main"}).to_string();
        post(
            &gitea.url,
            "/api/v1/user/repos",
            &gitea.user,
            &gitea.password,
            &body,
        )
        .await?;
        let url = format!("{}/{}/bench.git", gitea.url, gitea.user);

        let work = settings.data.join("work");
        run(git(&[
            "init",
            "--quiet",
            "--initial-branch=main",
            path(&work)?,
        ])?)
        .await?;
        import(&work).await?;
        let push = url.replacen("://", &format!("://{}:{}@", gitea.user, gitea.password), 1);
        for args in [
            &["remote", "add", "origin", &push][..],
            &["push", "--quiet", "origin", "main"],
            &["reset", "--quiet", "--hard", "main"],
        ] {
            run(within(&work, args)?).await?;
        }
        Ok(Self {
            _server: server,
            url,
            work,
        })
    }

    /// One more commit, which changes one file of the path that is read.
    async fn commit(&self, message: &str) -> Result<()> {
        let file = self.work.join(PATH).join("file-007.yaml");
        std::fs::write(&file, document(42, 7, message))
            .with_context(|| file.display().to_string())?;
        run(within(
            &self.work,
            &["commit", "--quiet", "--all", "--message", message],
        )?)
        .await?;
        run(within(&self.work, &["push", "--quiet", "origin", "main"])?).await?;
        Ok(())
    }
}

pub(super) async fn run_case(name: &str, settings: &Settings, forge: &Forge) -> Result<Outcome> {
    match name {
        "git-read-cold" => cold(settings, forge).await,
        "git-read-update" => update(settings, forge).await,
        other => bail!("unknown case {other}"),
    }
}

async fn cold(settings: &Settings, forge: &Forge) -> Result<Outcome> {
    let medians = alternate(
        settings.rounds,
        async |round| {
            let cache = settings.data.join(format!("cold-ours-{round}"));
            wall(read(settings, forge, &cache)?).await
        },
        async |round| {
            let clone = settings.data.join(format!("cold-peer-{round}"));
            let ms = wall(git(&[
                "clone",
                "--quiet",
                "--depth",
                "1",
                "--",
                &forge.url,
                path(&clone)?,
            ])?)
            .await?;
            check(&clone, None)?;
            Ok(ms)
        },
    )
    .await?;
    Ok(Outcome::of("git clone --depth 1", medians))
}

async fn update(settings: &Settings, forge: &Forge) -> Result<Outcome> {
    let cache = settings.data.join("update-ours");
    run(read(settings, forge, &cache)?).await?;
    let clone = settings.data.join("update-peer");
    run(git(&[
        "clone",
        "--quiet",
        "--depth",
        "1",
        "--",
        &forge.url,
        path(&clone)?,
    ])?)
    .await?;
    let medians = alternate(
        settings.rounds,
        // One commit a round: ours fetches it first, then the peer.
        async |round| {
            let message = format!("round {round}");
            forge.commit(&message).await?;
            let mut command = read(settings, forge, &cache)?;
            command.args(["--contains", &message]);
            wall(command).await
        },
        async |round| {
            let fetch = wall(within(
                &clone,
                &["fetch", "--quiet", "--depth", "1", "origin", "main"],
            )?)
            .await?;
            let checkout = wall(within(
                &clone,
                &["checkout", "--quiet", "--detach", "FETCH_HEAD"],
            )?)
            .await?;
            check(&clone, Some(&format!("round {round}")))?;
            Ok(fetch + checkout)
        },
    )
    .await?;
    Ok(Outcome::of("git fetch --depth 1, git checkout", medians))
}

/// Ours: from the URL to the bytes of the files under the path.
fn read(settings: &Settings, forge: &Forge, cache: &Path) -> Result<Command> {
    let mut command = settings.ours("git-read");
    command.args(["--url", &forge.url, "--path", PATH]).args([
        "--files",
        &FILES.to_string(),
        "--cache",
        path(cache)?,
    ]);
    quiet(&mut command);
    Ok(command)
}

/// The peer has what ours read.
fn check(clone: &Path, message: Option<&str>) -> Result<()> {
    let folder = clone.join(PATH);
    let files = std::fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .count();
    if files != FILES {
        bail!("{files} files instead of {FILES}");
    }
    if let Some(message) = message
        && !std::fs::read_to_string(folder.join("file-007.yaml"))?.contains(message)
    {
        bail!("the last commit is missing");
    }
    Ok(())
}

/// A history as a platform team's: one commit that adds everything, then small ones.
async fn import(work: &Path) -> Result<()> {
    let mut stream = String::new();
    for commit in 0..=COMMITS {
        let message = format!("commit {commit}");
        writeln!(
            stream,
            "commit refs/heads/main\ncommitter Bench <bench@example.com> {} +0000\ndata {}\n{message}",
            1_700_000_000 + commit * 60,
            message.len(),
        )?;
        let mut put = |folder: usize, file: usize| -> Result<()> {
            let text = document(folder, file, &message);
            writeln!(
                stream,
                "M 100644 inline apps/{folder:03}/file-{file:03}.yaml\ndata {}\n{text}",
                text.len()
            )?;
            Ok(())
        };
        if commit == 0 {
            for folder in 0..FOLDERS {
                for file in 0..FILES {
                    put(folder, file)?;
                }
            }
        } else {
            for touched in 0..TOUCHED {
                put(
                    (commit * 7 + touched * 13) % FOLDERS,
                    (commit + touched) % FILES,
                )?;
            }
        }
    }
    stream.push_str("done\n");
    let mut child = within(work, &["fast-import", "--quiet", "--done"])?
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("git fast-import")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(stream.as_bytes()).await?;
    drop(stdin);
    let status = child.wait().await?;
    if !status.success() {
        bail!("git fast-import: {status}");
    }
    Ok(())
}

fn document(folder: usize, file: usize, message: &str) -> String {
    let mut text = format!(
        "# {message}\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings-{file:03}\n  namespace: app-{folder:03}\ndata:\n"
    );
    for key in 0..20 {
        let _ = writeln!(
            text,
            "  key-{key:02}: \"{}\"",
            // Text that compresses as text does.
            (folder * 7919 + file * 104_729 + key * 1_299_709) % 1_000_003
        );
    }
    text
}

pub(super) fn git(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(system_program("git")?);
    command.args(args);
    quiet(&mut command);
    Ok(command)
}

pub(super) fn within(folder: &Path, args: &[&str]) -> Result<Command> {
    let mut command = git(args)?;
    command.current_dir(folder);
    Ok(command)
}

/// Neither the machine's nor the user's configuration takes part.
fn quiet(command: &mut Command) {
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Bench")
        .env("GIT_AUTHOR_EMAIL", "bench@example.com")
        .env("GIT_COMMITTER_NAME", "Bench")
        .env("GIT_COMMITTER_EMAIL", "bench@example.com");
}

pub(super) fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

/// One request to Gitea's REST API.
pub(super) async fn post(
    base: &str,
    path: &str,
    user: &str,
    password: &str,
    body: &str,
) -> Result<()> {
    let host = base
        .strip_prefix("http://")
        .context("Gitea is not on plain HTTP")?;
    let credentials =
        base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut stream = TcpStream::connect(host).await?;
    stream
        .write_all(
            format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {credentials}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.lines().next().unwrap_or_default();
    if !status.contains(" 201 ") {
        bail!("POST {path}: {status}");
    }
    Ok(())
}
