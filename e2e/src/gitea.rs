//! Gitea: a real Git forge, over HTTP and SSH.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::certificates;
use crate::components::{module_dir, program, system_program};
use crate::ports::{free_port, open};
use crate::process::{Process, run};
use crate::random_hex;
use crate::session::Session;

const DEADLINE: Duration = Duration::from_secs(180);

/// How to reach a running Gitea. With the feature `e2e` it has the calls of its REST API that tests need.
#[derive(Clone, Serialize, Deserialize)]
pub struct Gitea {
    /// The base URL, without a slash at its end.
    pub url: String,
    /// The port of its SSH server on 127.0.0.1.
    pub ssh_port: u16,
    /// The user that SSH clients name.
    pub ssh_user: String,
    /// A known_hosts file with the key of its SSH server.
    pub known_hosts: PathBuf,
    /// The administrator's name, who owns the repositories that the helpers make.
    pub user: String,
    /// The administrator's password.
    pub password: String,
    /// The certificate that clients have to trust, where it serves HTTPS.
    pub ca: Option<PathBuf>,
}

/// What a Gitea of a test's own is like.
#[derive(Debug, Clone, Default)]
pub struct GiteaOptions {
    /// Serve HTTPS, with a certificate that no machine trusts.
    pub https: bool,
}

impl fmt::Debug for Gitea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gitea {
            url,
            ssh_port,
            user,
            ..
        } = self;
        f.debug_struct("Gitea")
            .field("url", url)
            .field("ssh_port", ssh_port)
            .field("user", user)
            .finish_non_exhaustive()
    }
}

/// A running Gitea; dropping it stops it.
#[derive(Debug)]
pub struct GiteaServer {
    name: String,
    session: Session,
    config: PathBuf,
    gitea: Gitea,
    http_port: u16,
    process: Option<Process>,
}

impl GiteaServer {
    /// Starts a Gitea with one administrator and waits until HTTP and SSH answer: about four seconds.
    ///
    /// # Errors
    ///
    /// When it is not built, or does not become ready; the message has the end of its log.
    pub async fn start(session: &Session, options: &GiteaOptions) -> Result<GiteaServer> {
        let (name, dir) = session.data("gitea")?;
        let (http_port, ssh_port) = (free_port()?, free_port()?);
        let config = dir.join("app.ini");
        let mut ca = None;
        if options.https {
            certificates::make(&dir).await?;
            ca = Some(dir.join("ca.pem"));
        }
        let text = settings(&dir, http_port, ssh_port, options.https).await?;
        std::fs::write(&config, text).context("cannot write app.ini")?;
        let scheme = if options.https { "https" } else { "http" };
        let mut server = GiteaServer {
            name,
            session: session.clone(),
            config,
            gitea: Gitea {
                url: format!("{scheme}://127.0.0.1:{http_port}"),
                ssh_port,
                ssh_user: "git".to_owned(),
                known_hosts: dir.join("known_hosts"),
                user: "gitops".to_owned(),
                password: random_hex(16)?,
                ca,
            },
            http_port,
            process: None,
        };
        server.start_again().await?;
        server.make_admin().await?;
        server.learn_host_key().await?;
        Ok(server)
    }

    /// How to reach it.
    #[must_use]
    pub fn gitea(&self) -> &Gitea {
        &self.gitea
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts a killed Gitea again, on the same ports with the same data.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn start_again(&mut self) -> Result<()> {
        let mut command = Command::new(program("gitea")?);
        command.arg("web").arg("--config").arg(&self.config);
        quiet_environment(&mut command, &self.config);
        let mut process = Process::spawn(&self.session, &self.name, &mut command)?;
        let (http, ssh) = (self.http_port, self.gitea.ssh_port);
        process
            .ready(DEADLINE, async || open(http).await && open(ssh).await)
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it and starts it again.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.start_again().await
    }

    /// Stops it in its tracks: connections stay open and nothing answers, until [`GiteaServer::resume`].
    pub fn suspend(&self) {
        if let Some(process) = &self.process {
            process.signal(Signal::STOP);
        }
    }

    /// Lets a suspended Gitea go on.
    pub fn resume(&self) {
        if let Some(process) = &self.process {
            process.signal(Signal::CONT);
        }
    }

    /// Restarts it with another SSH host key, as an impostor would have. The known_hosts file keeps the old one.
    ///
    /// # Errors
    ///
    /// When the old key cannot be removed, or it does not become ready.
    pub async fn change_host_key(&mut self) -> Result<()> {
        self.kill();
        let keys = self.config.with_file_name("data").join("ssh");
        std::fs::remove_dir_all(&keys)
            .with_context(|| format!("cannot remove {}", keys.display()))?;
        self.start_again().await
    }

    async fn make_admin(&self) -> Result<()> {
        let mut command = Command::new(program("gitea")?);
        command
            .arg("admin")
            .arg("user")
            .arg("create")
            .arg("--config")
            .arg(&self.config);
        command.args([
            "--username",
            &self.gitea.user,
            "--password",
            &self.gitea.password,
        ]);
        command.args([
            "--email",
            "gitops@example.com",
            "--admin",
            "--must-change-password=false",
        ]);
        quiet_environment(&mut command, &self.config);
        run(&mut command.into()).await.map(drop)
    }

    async fn learn_host_key(&self) -> Result<()> {
        let mut command = tokio::process::Command::new(system_program("ssh-keyscan")?);
        // It gives up after five seconds else, without an error.
        command.args(["-T", "60", "-p", &self.gitea.ssh_port.to_string()]);
        let keys = run(command.arg("127.0.0.1")).await?;
        std::fs::write(&self.gitea.known_hosts, keys).context("cannot write known_hosts")
    }
}

/// Keeps Gitea and the git that it starts away from the configuration of whoever runs the tests.
fn quiet_environment(command: &mut Command, config: &Path) {
    let home = config.parent().unwrap_or(config);
    command
        .env("HOME", home)
        .env("GITEA_WORK_DIR", home)
        .env("GIT_CONFIG_NOSYSTEM", "1");
}

/// The contents of app.ini.
async fn settings(dir: &Path, http_port: u16, ssh_port: u16, https: bool) -> Result<String> {
    // Gitea insists on the name of the user that it runs as.
    let user = run(tokio::process::Command::new("id").arg("-un")).await?;
    let (scheme, certificate) = if https {
        (
            "https",
            format!(
                "CERT_FILE = {0}/cert.pem\nKEY_FILE = {0}/key.pem",
                dir.display()
            ),
        )
    } else {
        ("http", String::new())
    };
    Ok(format!(
        "RUN_USER = {user}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = {dir}
[server]
PROTOCOL = {scheme}
{certificate}
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {http_port}
ROOT_URL = {scheme}://127.0.0.1:{http_port}/
DOMAIN = 127.0.0.1
START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_LISTEN_HOST = 127.0.0.1
SSH_LISTEN_PORT = {ssh_port}
SSH_PORT = {ssh_port}
SSH_USER = git
STATIC_ROOT_PATH = {templates}
APP_DATA_PATH = {dir}/data
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {dir}/gitea.db
SQLITE_TIMEOUT = 20000
[repository]
ROOT = {dir}/repositories
DEFAULT_BRANCH = main
[security]
INSTALL_LOCK = true
SECRET_KEY = {secret}
PASSWORD_HASH_ALGO = pbkdf2$1000$50
[service]
DISABLE_REGISTRATION = true
[webhook]
ALLOWED_HOST_LIST = loopback
[log]
MODE = console
LEVEL = warn
ROOT_PATH = {dir}/log
[indexer]
ISSUE_INDEXER_TYPE = db
[cron]
ENABLED = false
",
        user = user.trim(),
        dir = dir.display(),
        templates = module_dir("code.gitea.io/gitea")?.display(),
        secret = random_hex(32)?,
    ))
}
