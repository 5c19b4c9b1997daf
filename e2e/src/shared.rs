//! The shared servers, as a test process sees them.

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::argocd::{ArgoCd, ArgoCdOptions, ArgoCdServer};
use crate::cluster::Cluster;
use crate::control_plane::{ControlPlane, ControlPlaneOptions};
use crate::flux::{Flux, FluxOptions, FluxServer};
use crate::gitea::{Gitea, GiteaOptions, GiteaServer};
use crate::node::Node;
use crate::redis::{Redis, RedisServer};
use crate::registry::{Registry, RegistryOptions, RegistryServer};
use crate::session::Session;
use crate::supervisor::ADDRESS_VARIABLE;

/// The shared cluster: API server, etcd, controller-manager and scheduler. Started when first asked for. It has no node unless some
/// test asks for [`node`]: a test must neither need pods to run nor to stay pending.
///
/// # Errors
///
/// When the process was not started by `cargo xtask e2e`, or the cluster does not start.
pub async fn cluster() -> Result<&'static Cluster> {
    static CELL: OnceCell<Cluster> = OnceCell::const_new();
    CELL.get_or_try_init(async || need("cluster").await).await
}

/// The shared cluster's one node; pods run on it, see [`Node`].
///
/// # Errors
///
/// As [`cluster`].
pub async fn node() -> Result<&'static Node> {
    static CELL: OnceCell<Node> = OnceCell::const_new();
    CELL.get_or_try_init(async || need("node").await).await
}

/// The shared Gitea; tests make repositories of their own in it.
///
/// # Errors
///
/// As [`cluster`].
pub async fn gitea() -> Result<&'static Gitea> {
    static CELL: OnceCell<Gitea> = OnceCell::const_new();
    CELL.get_or_try_init(async || need("gitea").await).await
}

/// The shared Argo CD, which trusts the shared Gitea. Its cluster and node are not those of [`cluster`] and [`node`]: objects that Argo CD is
/// to see are made through [`ArgoCd::cluster`]. Tests make Applications, projects and repositories with names of their own.
///
/// # Errors
///
/// As [`cluster`].
pub async fn argocd() -> Result<&'static ArgoCd> {
    static CELL: OnceCell<ArgoCd> = OnceCell::const_new();
    CELL.get_or_try_init(async || need("argocd").await).await
}

/// The shared Flux. Its cluster is not that of [`cluster`]: objects that Flux is to see are made through [`Flux::cluster`]. Tests make sources and
/// Kustomizations in namespaces of their own.
///
/// # Errors
///
/// As [`cluster`].
pub async fn flux() -> Result<&'static Flux> {
    static CELL: OnceCell<Flux> = OnceCell::const_new();
    CELL.get_or_try_init(async || need("flux").await).await
}

/// The shared OCI registry.
///
/// # Errors
///
/// As [`cluster`].
pub async fn registry() -> Result<&'static Registry> {
    static CELL: OnceCell<Registry> = OnceCell::const_new();
    CELL.get_or_try_init(async || need("registry").await).await
}

/// The shared Redis.
///
/// # Errors
///
/// As [`cluster`].
pub async fn redis() -> Result<&'static Redis> {
    static CELL: OnceCell<Redis> = OnceCell::const_new();
    CELL.get_or_try_init(async || need("redis").await).await
}

/// An Argo CD of the test's own, whose components can be killed and started again. It stops when it is dropped.
///
/// # Errors
///
/// As [`cluster`].
pub async fn private_argocd(options: &ArgoCdOptions) -> Result<ArgoCdServer> {
    crate::init();
    ArgoCdServer::start(&Session::from_env()?, options).await
}

/// A Flux of the test's own, whose controllers can be killed, suspended and started again. It stops when it is dropped.
///
/// # Errors
///
/// As [`cluster`].
pub async fn private_flux(options: &FluxOptions) -> Result<FluxServer> {
    crate::init();
    FluxServer::start(&Session::from_env()?, options).await
}

/// A control plane of the test's own, to be killed, suspended and restarted. It stops when it is dropped.
///
/// # Errors
///
/// As [`cluster`].
pub async fn private_control_plane(options: &ControlPlaneOptions) -> Result<ControlPlane> {
    crate::init();
    ControlPlane::start(&Session::from_env()?, options).await
}

/// A Gitea of the test's own, to be killed and restarted. It stops when it is dropped.
///
/// # Errors
///
/// As [`cluster`].
pub async fn private_gitea(options: &GiteaOptions) -> Result<GiteaServer> {
    crate::init();
    GiteaServer::start(&Session::from_env()?, options).await
}

/// A registry of the test's own. It stops when it is dropped.
///
/// # Errors
///
/// As [`cluster`].
pub async fn private_registry(options: &RegistryOptions) -> Result<RegistryServer> {
    crate::init();
    RegistryServer::start(&Session::from_env()?, options).await
}

/// A Redis of the test's own, to be killed, suspended and restarted. It stops when it is dropped.
///
/// # Errors
///
/// As [`cluster`].
pub async fn private_redis() -> Result<RedisServer> {
    RedisServer::start(&Session::from_env()?).await
}

async fn need<T: DeserializeOwned>(name: &str) -> Result<T> {
    crate::init();
    let address = std::env::var(ADDRESS_VARIABLE)
        .ok()
        .context("these tests need real servers: run them through `cargo xtask e2e [FILTER]`")?;
    let mut stream = BufReader::new(
        TcpStream::connect(&address)
            .await
            .context("cannot reach the supervisor")?,
    );
    stream
        .write_all(format!("need {name}\n").as_bytes())
        .await
        .context("cannot ask the supervisor")?;
    let mut line = String::new();
    stream
        .read_line(&mut line)
        .await
        .context("cannot hear the supervisor")?;
    let mut reply: Value =
        serde_json::from_str(&line).context("cannot understand the supervisor")?;
    if let Some(error) = reply["error"].as_str() {
        bail!("{name} did not start: {error}");
    }
    serde_json::from_value(reply["ok"].take())
        .with_context(|| format!("cannot understand where {name} is"))
}
