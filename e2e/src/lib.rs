//! The real components as test fixtures: an API server, a node, a Git forge, each started on a free loopback port.
//!
//! # A test
//!
//! Add a module under `e2e/tests/e2e/`, name it in `main.rs`, and write:
//!
//! ```no_run
//! # #[cfg(feature = "e2e")]
//! # mod example {
//! use anyhow::Result;
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::Api;
//!
//! # /*
//! #[tokio::test(flavor = "multi_thread")]
//! # */
//! async fn a_test() -> Result<()> {
//!     let cluster = e2e::cluster().await?; // started when a test first asks for it
//!     let namespace = cluster.namespace("a-test").await?;
//!     let maps: Api<ConfigMap> = Api::namespaced(namespace.client(), namespace.name());
//!     maps.list(&Default::default()).await?;
//!     Ok(())
//! }
//! # }
//! ```
//!
//! and run `cargo xtask e2e a_test`.
//!
//! # What there is
//!
//! | call | gives | |
//! | --- | --- | --- |
//! | `cluster()` | [`Cluster`] | the shared API server with all controllers; `client()`, `client_as("alice")`, `kubeconfig()`, `kubectl(…)`, `namespace(…)`, `audit_events()` |
//! | `node()` | [`Node`] | the shared cluster gets a node: pods run, with the images [`BUSYBOX`] and [`BUSYBOX_2`] |
//! | `gitea()` | [`Gitea`] | the shared forge; `repository(…)`, `commit(…)`, `token(…)`, `add_ssh_key(…)`, `protect_branch(…)`, `api(…)` |
//! | `argocd()` | [`ArgoCd`] | the shared Argo CD, on a cluster and node of its own, with the accounts `admin`, `robot` and `guest`; `run_cli(…)` runs the command `argocd` |
//! | `flux()` | [`Flux`] | the shared Flux, on a cluster of its own with a node of kwok's; `cli(…)` runs the command `flux` |
//! | `registry()`, `redis()` | [`Registry`], [`Redis`] | |
//! | `private_control_plane(…)` | [`ControlPlane`] | the test's own API server: `kill_apiserver()`, `start_apiserver()`, `suspend_apiserver()` |
//! | `private_registry(…)` | [`RegistryServer`] | the test's own registry, which can tell a receiver of pushes |
//! | `private_gitea(…)` | [`GiteaServer`] | the test's own forge: `kill()`, `restart()`, `suspend()`, `change_host_key()`; HTTPS with `GiteaOptions` |
//! | `private_argocd(…)` | [`ArgoCdServer`] | the test's own Argo CD: `kill_server()`, `suspend_server()`, `kill_repo_server()`, `stop_controller()`; short sessions with [`ArgoCdOptions`] |
//! | `private_flux(…)` | [`FluxServer`] | the test's own Flux: `kill_controller(…)`, `suspend_controller(…)`; with [`FluxOptions`] only some controllers, flags of theirs, or no definitions |
//! | `private_redis()` | [`RedisServer`] | the test's own Redis: `kill()`, `restart()`, `suspend()` |
//! | `flux::ChartRepository::start(…)` | a Helm repository over HTTP | with a password where wanted; `add(…)` packages a `flux::Chart` |
//! | `flux::push_chart(…)`, `flux::push_artifact(…)` | | a chart, or files for an OCIRepository, in a registry |
//! | [`certificates::make`] | files | a certificate authority that no machine trusts, and a server's certificate |
//! | [`module_dir`] | a path | the folder of a pinned Go module, with its manifests and fixtures |
//! | [`flux::definitions`] | paths | the files with the custom resource definitions of all of Flux's kinds |
//!
//! Shared servers are used by many tests at once: work in a namespace or repository of your own, give cluster-wide objects names of your own,
//! and kill only what is private. A client belongs to the runtime of the test that made it; the values above are plain data.
//!
//! A chore that measures something opens a session of its own and starts what it needs; all stops when the values are dropped:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use e2e::{ControlPlane, ControlPlaneOptions, Session};
//!
//! let session = Session::create()?;
//! let options = ControlPlaneOptions { no_audit: true, ..Default::default() };
//! let plane = ControlPlane::start(&session, &options).await?;
//! println!("{}", plane.cluster().kubeconfig().display());
//! # Ok(())
//! # }
//! ```
//!
//! # Who stops the servers
//!
//! `cargo xtask e2e` does, however the tests end; see [`session`] and [`supervisor`]. A plain `cargo test -p e2e --features e2e`
//! therefore fails with that command; without the feature the tests are not built at all.
//!
//! # Features
//!
//! Without features this crate starts and stops servers (for xtask); the feature `e2e` adds the clients and the calls of the table above.

pub mod argocd;
mod cargo;
pub mod certificates;
pub mod cluster;
pub mod components;
pub mod control_plane;
pub mod flux;
pub mod gitea;
pub mod go;
mod http;
pub mod images;
mod kubelet;
mod kwok;
pub mod node;
pub mod peers;
pub mod ports;
pub mod process;
pub mod redis;
pub mod registry;
pub mod session;
pub mod supervisor;

#[cfg(feature = "e2e")]
mod client;
#[cfg(feature = "e2e")]
mod forge;
#[cfg(feature = "e2e")]
mod shared;

use anyhow::Context;

pub use argocd::{ArgoCd, ArgoCdOptions, ArgoCdServer};
pub use cargo::cargo;
pub use cluster::{ADMIN, Cluster, USERS, User};
pub use components::{
    KUBERNETES_VERSION, module_dir, program, system_program, testenv_dir, workspace_dir,
};
pub use control_plane::{ControlPlane, ControlPlaneOptions};
pub use flux::{Flux, FluxController, FluxOptions, FluxServer};
pub use gitea::{Gitea, GiteaOptions, GiteaServer};
pub use images::{BUSYBOX, BUSYBOX_2};
pub use node::{Node, NodeKind, NodeServer};
pub use process::run;
pub use redis::{Redis, RedisServer};
pub use registry::{Endpoint, Registry, RegistryOptions, RegistryServer};
pub use session::Session;

#[cfg(feature = "e2e")]
pub use client::TestNamespace;
#[cfg(feature = "e2e")]
pub use forge::Repository;
#[cfg(feature = "e2e")]
pub use shared::{
    argocd, cluster, flux, gitea, node, private_argocd, private_control_plane, private_flux,
    private_gitea, private_redis, private_registry, redis, registry,
};

/// Installs the process's TLS provider; the calls of this crate do it by themselves. Calling it again does nothing.
#[cfg(feature = "e2e")]
pub fn init() {
    // An error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(crate) fn random_hex(bytes: usize) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut buffer = vec![0; bytes];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut buffer))
        .context("cannot read /dev/urandom")?;
    Ok(buffer.iter().map(|b| format!("{b:02x}")).collect())
}
