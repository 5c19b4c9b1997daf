//! Starts Argo CD's components, and stops them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    APPLICATION_NAMESPACES, Account, ArgoCd, ArgoCdOptions, GUEST, NAMES, ROBOT, environment,
    install,
};
use crate::components::program;
use crate::control_plane::{ControlPlane, ControlPlaneOptions};
use crate::gitea::Gitea;
use crate::node::NodeServer;
use crate::ports::{free_port, open};
use crate::process::Process;
use crate::redis::RedisServer;
use crate::session::Session;
use crate::{http, random_hex};

const DEADLINE: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    RepoServer,
    Server,
    Controller,
    ApplicationSetController,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Part::RepoServer => "argocd-repo-server",
            Part::Server => "argocd-server",
            Part::Controller => "argocd-application-controller",
            Part::ApplicationSetController => "argocd-applicationset-controller",
        }
    }
}

/// The ports of the components, on 127.0.0.1. They stay when one is started again.
#[derive(Debug, Clone, Copy)]
struct Ports {
    server: u16,
    server_metrics: u16,
    repo: u16,
    repo_metrics: u16,
    controller_metrics: u16,
    applicationset_metrics: u16,
    applicationset_probe: u16,
    applicationset_webhook: u16,
}

impl Ports {
    fn new() -> Result<Ports> {
        Ok(Ports {
            server: free_port()?,
            server_metrics: free_port()?,
            repo: free_port()?,
            repo_metrics: free_port()?,
            controller_metrics: free_port()?,
            applicationset_metrics: free_port()?,
            applicationset_probe: free_port()?,
            applicationset_webhook: free_port()?,
        })
    }
}

/// A running Argo CD; dropping it stops it with its cluster.
#[derive(Debug)]
pub struct ArgoCdServer {
    name: String,
    session: Session,
    options: ArgoCdOptions,
    ports: Ports,
    ask_pass: String,
    argocd: ArgoCd,
    // Dropped in this order.
    parts: BTreeMap<Part, Process>,
    redis: RedisServer,
    _node: Option<NodeServer>,
    control_plane: ControlPlane,
}

impl ArgoCdServer {
    /// Starts an Argo CD in a new cluster, and waits until its components answer and its accounts are there: about twenty seconds.
    ///
    /// # Errors
    ///
    /// When a program is not built or not installed, or a component does not become ready; the message has the end of its log.
    pub async fn start(session: &Session, options: &ArgoCdOptions) -> Result<ArgoCdServer> {
        let (name, dir) = session.data("argocd")?;
        let (control_plane, redis) = tokio::try_join!(
            async { ControlPlane::start(session, &ControlPlaneOptions::with_controllers()).await },
            RedisServer::start(session)
        )?;
        let cluster = control_plane.cluster().clone();
        lay_out(&dir, options.gitea.as_ref())?;
        let node = async {
            Ok(match options.node {
                true => Some(NodeServer::start(session, &cluster).await?),
                false => None,
            })
        };
        let (node, ()) = tokio::try_join!(node, install::install(&cluster, options, &dir))?;

        let ports = Ports::new()?;
        let account = |name: &str| -> Result<Account> {
            Ok(Account {
                name: name.to_owned(),
                password: random_hex(12)?,
                token: String::new(),
            })
        };
        let mut server = ArgoCdServer {
            name,
            session: session.clone(),
            options: options.clone(),
            ports,
            // No file, whose path may be longer than that of a socket can be.
            ask_pass: format!("@gitops-e2e-{}", random_hex(8)?),
            argocd: ArgoCd {
                url: format!("http://127.0.0.1:{}", ports.server),
                port: ports.server,
                applicationset_webhook: format!(
                    "http://127.0.0.1:{}/api/webhook",
                    ports.applicationset_webhook
                ),
                namespace: options.namespace.clone(),
                admin_password: String::new(),
                robot: account(ROBOT)?,
                guest: account(GUEST)?,
                redis: redis.redis().clone(),
                cluster,
                node: node.as_ref().map(|node| node.node().clone()),
                dir,
            },
            parts: BTreeMap::new(),
            redis,
            _node: node,
            control_plane,
        };
        let mut controllers = Vec::new();
        if options.controller {
            controllers.push(Part::Controller);
        }
        if options.applicationset_controller {
            controllers.push(Part::ApplicationSetController);
        }
        // The server makes the key without which the ApplicationSet controller takes no webhooks, and looks for it but once.
        for parts in [vec![Part::RepoServer, Part::Server], controllers] {
            for part in &parts {
                server.spawn(*part)?;
            }
            for part in parts {
                server.wait(part).await?;
            }
        }
        server.make_accounts().await?;
        Ok(server)
    }

    /// How to reach it.
    #[must_use]
    pub fn argocd(&self) -> &ArgoCd {
        &self.argocd
    }

    /// Its cluster's control plane, to be killed and started again.
    pub fn control_plane(&mut self) -> &mut ControlPlane {
        &mut self.control_plane
    }

    /// Its cache, to be killed and started again.
    pub fn redis(&mut self) -> &mut RedisServer {
        &mut self.redis
    }

    /// Kills the server, as a crash would.
    pub fn kill_server(&mut self) {
        self.kill(Part::Server);
    }

    /// Starts the server again, on the same port, and waits until it answers. Tokens and sessions stay good.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn start_server(&mut self) -> Result<()> {
        self.start_part(Part::Server).await
    }

    /// Stops the server in its tracks: connections stay open and nothing answers, until [`ArgoCdServer::resume_server`].
    pub fn suspend_server(&self) {
        self.signal(Part::Server, Signal::STOP);
    }

    /// Lets a suspended server go on.
    pub fn resume_server(&self) {
        self.signal(Part::Server, Signal::CONT);
    }

    /// Kills the repository server, as a crash would: nothing can be rendered any more that is not in the cache.
    pub fn kill_repo_server(&mut self) {
        self.kill(Part::RepoServer);
    }

    /// Starts the repository server again, on the same port, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn start_repo_server(&mut self) -> Result<()> {
        self.start_part(Part::RepoServer).await
    }

    /// Stops the application controller: operations that are asked for stay pending.
    pub fn stop_controller(&mut self) {
        self.kill(Part::Controller);
    }

    /// Starts the application controller, and waits until it works.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn start_controller(&mut self) -> Result<()> {
        self.start_part(Part::Controller).await
    }

    fn kill(&mut self, part: Part) {
        self.parts.remove(&part);
    }

    fn signal(&self, part: Part, signal: Signal) {
        if let Some(process) = self.parts.get(&part) {
            process.signal(signal);
        }
    }

    async fn start_part(&mut self, part: Part) -> Result<()> {
        self.kill(part);
        self.spawn(part)?;
        self.wait(part).await
    }

    fn spawn(&mut self, part: Part) -> Result<()> {
        let mut command = environment(part.name(), &self.argocd.dir)?;
        command
            .env(
                "KUBECONFIG",
                install::kubeconfig_path(&self.argocd.dir, part.name()),
            )
            .env("ARGOCD_ASK_PASS_SOCK", &self.ask_pass)
            .args(self.arguments(part));
        let name = format!("{}.{}", self.name, part.name());
        let process = Process::spawn(&self.session, &name, &mut command)?;
        self.parts.insert(part, process);
        Ok(())
    }

    fn arguments(&self, part: Part) -> Vec<String> {
        let ports = &self.ports;
        let repo = format!("127.0.0.1:{}", ports.repo);
        let redis = format!("--redis=127.0.0.1:{}", self.argocd.redis.port);
        let namespaces = format!("--application-namespaces={APPLICATION_NAMESPACES}");
        // With ApplicationSets outside of its own namespace Argo CD wants to be told which forges their generators may ask.
        let forge = match &self.options.gitea {
            Some(gitea) => format!("allowed-scm-providers={}", gitea.url),
            None => "enable-scm-providers=false".to_owned(),
        };
        match part {
            Part::RepoServer => vec![
                "--address=127.0.0.1".to_owned(),
                format!("--port={}", ports.repo),
                "--metrics-address=127.0.0.1".to_owned(),
                format!("--metrics-port={}", ports.repo_metrics),
                "--disable-tls".to_owned(),
                redis,
            ],
            Part::Server => vec![
                "--insecure".to_owned(),
                "--address=127.0.0.1".to_owned(),
                format!("--port={}", ports.server),
                "--metrics-address=127.0.0.1".to_owned(),
                format!("--metrics-port={}", ports.server_metrics),
                format!("--repo-server={repo}"),
                "--repo-server-plaintext".to_owned(),
                format!(
                    "--staticassets={}",
                    self.argocd.dir.join("assets").display()
                ),
                format!("--appset-{forge}"),
                namespaces,
                redis,
            ],
            Part::Controller => vec![
                format!("--metrics-port={}", ports.controller_metrics),
                format!("--repo-server={repo}"),
                "--repo-server-plaintext".to_owned(),
                // Tests do not wait for the three minutes that are the default.
                "--app-resync=10".to_owned(),
                "--app-resync-jitter=0".to_owned(),
                namespaces,
                redis,
            ],
            Part::ApplicationSetController => vec![
                format!("--metrics-addr=127.0.0.1:{}", ports.applicationset_metrics),
                format!("--probe-addr=127.0.0.1:{}", ports.applicationset_probe),
                format!("--webhook-addr=127.0.0.1:{}", ports.applicationset_webhook),
                format!("--argocd-repo-server={repo}"),
                "--repo-server-plaintext".to_owned(),
                format!("--applicationset-namespaces={APPLICATION_NAMESPACES}"),
                format!("--{forge}"),
            ],
        }
    }

    async fn wait(&mut self, part: Part) -> Result<()> {
        let ports = self.ports;
        let process = self
            .parts
            .get_mut(&part)
            .with_context(|| format!("{} was not started", part.name()))?;
        let probe = async || match part {
            Part::RepoServer => {
                open(ports.repo).await && http::is_ok(ports.repo_metrics, "/healthz").await
            }
            Part::Server => http::is_ok(ports.server, "/healthz").await,
            Part::Controller => http::is_ok(ports.controller_metrics, "/healthz").await,
            Part::ApplicationSetController => {
                open(ports.applicationset_webhook).await
                    && http::is_ok(ports.applicationset_metrics, "/metrics").await
            }
        };
        process.ready(DEADLINE, probe).await
    }

    /// Reads the administrator's password, and gives the other accounts their passwords and tokens.
    async fn make_accounts(&mut self) -> Result<()> {
        let encoded = self
            .argocd
            .cluster
            .kubectl(&[
                "get",
                "secret",
                "argocd-initial-admin-secret",
                "--namespace",
                &self.argocd.namespace,
                "--output=jsonpath={.data.password}",
            ])
            .await?;
        let password = base64::engine::general_purpose::STANDARD
            .decode(encoded.trim())
            .context("the administrator's password is not base64")?;
        self.argocd.admin_password =
            String::from_utf8(password).context("the administrator's password is no text")?;
        let admin = self.argocd.admin_password.clone();
        for name in [ROBOT, GUEST] {
            let account = match name {
                ROBOT => &mut self.argocd.robot,
                _ => &mut self.argocd.guest,
            };
            let change = json!({
                "name": name,
                "currentPassword": admin,
                "newPassword": account.password,
            });
            let port = self.ports.server;
            as_admin(port, &admin, "PUT", "/api/v1/account/password", &change).await?;
            let path = format!("/api/v1/account/{name}/token");
            let answer = as_admin(port, &admin, "POST", &path, &json!({})).await?;
            account.token = answer["token"]
                .as_str()
                .context("Argo CD gave no token")?
                .to_owned();
        }
        Ok(())
    }
}

/// One request of the administrator, in a session of its own: sessions may be short.
async fn as_admin(
    port: u16,
    password: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<Value> {
    let login = json!({"username": "admin", "password": password});
    let session = http::json(port, "POST", "/api/v1/session", None, &login).await?;
    let token = session["token"].as_str().context("no session")?;
    http::json(port, method, path, Some(token), body).await
}

/// Makes the folders that the components look into.
fn lay_out(dir: &Path, gitea: Option<&Gitea>) -> Result<()> {
    for folder in ["assets", "bin", "home", "plugins", "ssh", "tls", "tmp"] {
        std::fs::create_dir(dir.join(folder))
            .with_context(|| format!("cannot make {} in {}", folder, dir.display()))?;
    }
    let argocd = program("argocd")?;
    for name in NAMES {
        std::os::unix::fs::symlink(&argocd, dir.join("bin").join(name))
            .with_context(|| format!("cannot link {name}"))?;
    }
    let known_hosts = dir.join("ssh").join("ssh_known_hosts");
    match gitea {
        Some(gitea) => std::fs::copy(&gitea.known_hosts, known_hosts).map(drop),
        None => std::fs::write(known_hosts, ""),
    }
    .context("cannot write known_hosts")?;
    if let Some(ca) = gitea.and_then(|gitea| gitea.ca.as_ref()) {
        // The file is named as the host that it is for.
        std::fs::copy(ca, dir.join("tls").join("127.0.0.1"))
            .context("cannot copy the forge's certificate")?;
    }
    Ok(())
}
