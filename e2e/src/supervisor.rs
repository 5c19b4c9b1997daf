//! Starts the shared servers when a test first asks for them.
//!
//! `cargo xtask e2e` runs the supervisor; a test process asks it over a loopback connection, one line each way: `need gitea`, and
//! the answer is one line of JSON, `{"ok": …}` with what is needed to reach the server, or `{"error": "…"}`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

use crate::argocd::{ArgoCdOptions, ArgoCdServer};
use crate::control_plane::{ControlPlane, ControlPlaneOptions};
use crate::flux::{FluxController, FluxOptions, FluxServer};
use crate::gitea::{GiteaOptions, GiteaServer};
use crate::node::NodeServer;
use crate::redis::RedisServer;
use crate::registry::{RegistryOptions, RegistryServer};
use crate::session::Session;

/// The variable that tells a test process where the supervisor listens.
pub const ADDRESS_VARIABLE: &str = "GITOPS_E2E_SUPERVISOR";

/// The owner of the shared servers. Dropping it stops them.
#[derive(Debug)]
pub struct Supervisor {
    listener: TcpListener,
    servers: Arc<Servers>,
}

#[derive(Debug)]
struct Servers {
    session: Session,
    // Dropped in this order: the node before the control plane that it talks to.
    argocd: OnceCell<ArgoCdServer>,
    flux: OnceCell<FluxServer>,
    node: OnceCell<NodeServer>,
    control_plane: OnceCell<ControlPlane>,
    gitea: OnceCell<GiteaServer>,
    registry: OnceCell<RegistryServer>,
    redis: OnceCell<RedisServer>,
}

impl Supervisor {
    /// Listens on a loopback port; starts no server yet.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn bind(session: &Session) -> Result<Supervisor> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on loopback")?;
        Ok(Supervisor {
            listener,
            servers: Arc::new(Servers {
                session: session.clone(),
                argocd: OnceCell::new(),
                flux: OnceCell::new(),
                node: OnceCell::new(),
                control_plane: OnceCell::new(),
                gitea: OnceCell::new(),
                registry: OnceCell::new(),
                redis: OnceCell::new(),
            }),
        })
    }

    /// The value for [`ADDRESS_VARIABLE`].
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn address(&self) -> Result<String> {
        Ok(self
            .listener
            .local_addr()
            .context("no local address")?
            .to_string())
    }

    /// Answers requests until it is cancelled.
    pub async fn serve(&self) {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                continue;
            };
            let servers = Arc::clone(&self.servers);
            // Errors here mean that the asking process is gone.
            connections.spawn(async move { answer(stream, &servers).await.unwrap_or_default() });
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn answer(stream: TcpStream, servers: &Servers) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let reply = match servers.provide(line.trim()).await {
        Ok(value) => json!({"ok": value}),
        Err(error) => json!({"error": format!("{error:#}")}),
    };
    stream.write_all(format!("{reply}\n").as_bytes()).await?;
    stream.flush().await?;
    Ok(())
}

impl Servers {
    async fn provide(&self, request: &str) -> Result<Value> {
        let name = request
            .strip_prefix("need ")
            .with_context(|| format!("not a request: {request:?}"))?;
        match name {
            "cluster" => to_value(self.control_plane().await?.cluster()),
            "node" => to_value(self.node().await?.node()),
            "argocd" => to_value(self.argocd().await?.argocd()),
            "flux" => to_value(self.flux().await?.flux()),
            "gitea" => to_value(self.gitea().await?.gitea()),
            "registry" => {
                let start = async || {
                    announce(
                        "OCI registry",
                        RegistryServer::start(&self.session, &RegistryOptions::default()),
                    )
                    .await
                };
                to_value(self.registry.get_or_try_init(start).await?.registry())
            }
            "redis" => {
                let start = async || announce("Redis", RedisServer::start(&self.session)).await;
                to_value(self.redis.get_or_try_init(start).await?.redis())
            }
            other => bail!("no shared server is called {other:?}"),
        }
    }

    async fn control_plane(&self) -> Result<&ControlPlane> {
        let options = ControlPlaneOptions::with_controllers();
        let start = async || {
            announce(
                "control plane",
                ControlPlane::start(&self.session, &options),
            )
            .await
        };
        self.control_plane.get_or_try_init(start).await
    }

    async fn gitea(&self) -> Result<&GiteaServer> {
        let options = GiteaOptions::default();
        let start = async || announce("Gitea", GiteaServer::start(&self.session, &options)).await;
        self.gitea.get_or_try_init(start).await
    }

    async fn argocd(&self) -> Result<&ArgoCdServer> {
        // Without a repository there is nothing for it to do.
        let options = ArgoCdOptions {
            gitea: Some(self.gitea().await?.gitea().clone()),
            ..ArgoCdOptions::default()
        };
        let start =
            async || announce("Argo CD", ArgoCdServer::start(&self.session, &options)).await;
        self.argocd.get_or_try_init(start).await
    }

    async fn flux(&self) -> Result<&FluxServer> {
        // A test's health check that never passes keeps a worker busy: the other tests have enough of them all the same.
        let workers = |controller| (controller, "--concurrent=16".to_owned());
        let options = FluxOptions {
            node: true,
            args: FluxController::ALL.map(workers).to_vec(),
            ..FluxOptions::default()
        };
        let start = async || announce("Flux", FluxServer::start(&self.session, &options)).await;
        self.flux.get_or_try_init(start).await
    }

    async fn node(&self) -> Result<&NodeServer> {
        let cluster = self.control_plane().await?.cluster();
        let start = async || announce("node", NodeServer::start(&self.session, cluster)).await;
        self.node.get_or_try_init(start).await
    }
}

async fn announce<T>(what: &str, start: impl Future<Output = Result<T>>) -> Result<T> {
    let begun = std::time::Instant::now();
    let result = start.await;
    match &result {
        Ok(_) => eprintln!("e2e: {what} ready in {:.1?}", begun.elapsed()),
        Err(error) => eprintln!("e2e: {what} failed: {error:#}"),
    }
    result
}

fn to_value(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).context("cannot describe a server")
}
