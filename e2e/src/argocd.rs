//! Argo CD: its server, repository server and controllers, with a Redis and a cluster of its own.
//!
//! It has a cluster of its own because it watches every kind of object there is: on the shared one it would follow whatever the
//! other tests make, begin anew with each of their custom resource definitions, and add its writes to the audit log that they read. A
//! second node runs beside the first, with its own containerd, network and control groups, so its pods are as real as the others.

mod install;
mod server;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::components::{program, system_program};
use crate::gitea::Gitea;
use crate::node::Node;
use crate::ports::{free_port, open};
use crate::process::{Process, run};
use crate::redis::Redis;
use crate::session::Session;

pub use server::ArgoCdServer;

/// The name of the local account with the role `role:admin`.
const ROBOT: &str = "robot";

/// The name of the local account without any right.
const GUEST: &str = "guest";

/// The namespaces, besides its own, in which Argo CD looks for Applications and ApplicationSets. A project has to allow them too, in its
/// `sourceNamespaces`.
pub const APPLICATION_NAMESPACES: &str = "team-*";

/// The names under which the one program is started; it behaves as it is called.
const NAMES: [&str; 6] = [
    "argocd",
    "argocd-git-ask-pass",
    "argocd-repo-server",
    "argocd-server",
    "argocd-application-controller",
    "argocd-applicationset-controller",
];

/// How to reach a running Argo CD.
#[derive(Clone, Serialize, Deserialize)]
pub struct ArgoCd {
    /// `http://127.0.0.1:PORT` of its server, for REST, gRPC and gRPC-Web.
    pub url: String,
    /// The port of its server on 127.0.0.1.
    pub port: u16,
    /// Where the ApplicationSet controller takes webhooks; the server takes those for Applications, at `/api/webhook` too.
    pub applicationset_webhook: String,
    /// The namespace that it is in.
    pub namespace: String,
    /// The password of the account `admin`.
    pub admin_password: String,
    /// An account with the role `role:admin`.
    pub robot: Account,
    /// An account without any right.
    pub guest: Account,
    /// Its cache.
    pub redis: Redis,
    /// The cluster that it is in and deploys to, as `https://kubernetes.default.svc`. Its components act there as service accounts of its
    /// namespace, so the audit log tells them from the tests.
    pub cluster: Cluster,
    /// The cluster's node, where it has one.
    pub node: Option<Node>,
    dir: PathBuf,
}

/// A local account of Argo CD.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its password, to log in.
    pub password: String,
    /// An API token that does not expire.
    pub token: String,
}

/// What an Argo CD of a test's own is like.
#[derive(Debug, Clone)]
pub struct ArgoCdOptions {
    /// The namespace that it is in.
    pub namespace: String,
    /// Whether its cluster has a node. Without one nothing with pods becomes healthy, and it starts in half the time.
    pub node: bool,
    /// Whether the application controller is started with the others; [`ArgoCdServer::start_controller`] does it later.
    pub controller: bool,
    /// Whether the ApplicationSet controller is started.
    pub applicationset_controller: bool,
    /// How long somebody who logged in stays so, in whole seconds; a day where it is not set. API tokens are not concerned.
    pub session_duration: Option<Duration>,
    /// The forge whose SSH host key and certificate it trusts, and whose API the generators of ApplicationSets may ask.
    pub gitea: Option<Gitea>,
}

impl Default for ArgoCdOptions {
    fn default() -> Self {
        ArgoCdOptions {
            namespace: "argocd".to_owned(),
            node: true,
            controller: true,
            applicationset_controller: true,
            session_duration: None,
            gitea: None,
        }
    }
}

impl fmt::Debug for ArgoCd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ArgoCd {
            url,
            namespace,
            redis,
            cluster,
            node,
            ..
        } = self;
        f.debug_struct("ArgoCd")
            .field("url", url)
            .field("namespace", namespace)
            .field("redis", redis)
            .field("cluster", cluster)
            .field("node", node)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ArgoCd {
    /// Runs the command `argocd` as the account `robot`, and returns its standard output.
    ///
    /// # Errors
    ///
    /// When it is not built or fails; the message has its standard error.
    pub async fn run_cli(&self, args: &[&str]) -> Result<String> {
        self.run_cli_with(&self.robot.token, args).await
    }

    /// Runs the command `argocd` with a token, and returns its standard output.
    ///
    /// # Errors
    ///
    /// As [`ArgoCd::run_cli`].
    pub async fn run_cli_with(&self, token: &str, args: &[&str]) -> Result<String> {
        let mut command = environment("argocd", &self.dir)?;
        command
            // Everybody on the machine can read the arguments of a process.
            .env("ARGOCD_AUTH_TOKEN", token)
            .args(["--server", &format!("127.0.0.1:{}", self.port)])
            .arg("--plaintext")
            .args(args);
        run(&mut command.into()).await
    }

    /// Starts another server beside the first, which speaks TLS with the certificate that Argo CD made for itself, and waits until it listens. It renders nothing, and stops
    /// when it is dropped.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn tls_server(&self, name: &str) -> Result<(Process, u16)> {
        let (port, metrics) = (free_port()?, free_port()?);
        let account = "argocd-server";
        let mut command = environment(account, &self.dir)?;
        command
            .env("KUBECONFIG", install::kubeconfig_path(&self.dir, account))
            .arg("--address=127.0.0.1")
            .arg(format!("--port={port}"))
            .arg("--metrics-address=127.0.0.1")
            .arg(format!("--metrics-port={metrics}"))
            .arg(format!(
                "--staticassets={}",
                self.dir.join("assets").display()
            ))
            .arg(format!("--redis=127.0.0.1:{}", self.redis.port));
        let mut process = Process::spawn(&Session::from_env()?, name, &mut command)?;
        process
            .ready(Duration::from_secs(60), || open(port))
            .await?;
        Ok((process, port))
    }
}

/// The program under one of [`NAMES`], away from the configuration of whoever runs the tests.
fn environment(name: &str, dir: &Path) -> Result<Command> {
    let mut folders = vec![dir.join("bin")];
    for tool in [
        program("helm")?,
        program("kustomize")?,
        system_program("git")?,
    ] {
        let folder = tool.parent().map(Path::to_path_buf).unwrap_or_default();
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders.extend(["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from));
    let path = std::env::join_paths(folders).context("a folder cannot be on PATH")?;
    let mut command = Command::new(dir.join("bin").join(name));
    command
        .current_dir(dir)
        .env_clear()
        .env("PATH", path)
        .env("HOME", dir.join("home"))
        .env("TMPDIR", dir.join("tmp"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        // `https://kubernetes.default.svc` is the cluster of the kubeconfig.
        .env("ARGOCD_FAKE_IN_CLUSTER", "true")
        .env("ARGOCD_GPG_ENABLED", "false")
        .env("ARGOCD_TLS_DATA_PATH", dir.join("tls"))
        .env("ARGOCD_SSH_DATA_PATH", dir.join("ssh"))
        .env("ARGOCD_PLUGINSOCKFILEPATH", dir.join("plugins"));
    Ok(command)
}
