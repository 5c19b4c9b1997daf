//! Flux: source-controller, kustomize-controller and helm-controller, with a cluster of their own.
//!
//! The cluster is their own because what Flux deploys is cluster-wide too, and because tests take the controllers away from it. Its node is kwok's: Pods and Jobs
//! are ready or done at once, which is all that a health check looks at. The notification and image controllers are in no module that
//! can be had, so their kinds have definitions and nobody who acts on them.

mod definitions;
mod install;
mod server;

#[cfg(feature = "e2e")]
mod artifact;
#[cfg(feature = "e2e")]
mod charts;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::components::program;
use crate::node::Node;
use crate::process::run;

pub use definitions::{definitions, generate as generate_definitions};
pub use server::FluxServer;

#[cfg(feature = "e2e")]
pub use artifact::push_artifact;
#[cfg(feature = "e2e")]
pub use charts::{Chart, ChartRepository, push_chart};

/// One of Flux's controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FluxController {
    /// source-controller.
    Source,
    /// kustomize-controller.
    Kustomize,
    /// helm-controller.
    Helm,
}

impl FluxController {
    /// Those that a fixture has.
    pub const ALL: [FluxController; 3] = [
        FluxController::Source,
        FluxController::Kustomize,
        FluxController::Helm,
    ];

    /// The name of its program, and of its service account.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FluxController::Source => "source-controller",
            FluxController::Kustomize => "kustomize-controller",
            FluxController::Helm => "helm-controller",
        }
    }
}

/// How to reach a running Flux.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Flux {
    /// The cluster that it is in and deploys to. The controllers act there as service accounts of their namespace, so the audit log tells them
    /// from the tests. Failed dependencies are looked at again after two seconds, failed sources at the latest after ten.
    pub cluster: Cluster,
    /// The namespace of the controllers.
    pub namespace: String,
    /// `http://127.0.0.1:PORT` of source-controller's artifacts; their URLs begin with it.
    pub storage_url: String,
    /// The folder of these artifacts, for tests that damage them.
    pub storage_dir: PathBuf,
    /// The cluster's node, where it has one.
    pub node: Option<Node>,
    dir: PathBuf,
}

/// What a Flux of a test's own is like.
#[derive(Debug, Clone)]
pub struct FluxOptions {
    /// The namespace of the controllers.
    pub namespace: String,
    /// Whether the cluster has a node, of kwok's. Without one no Pod becomes ready.
    pub node: bool,
    /// Whether its custom resource definitions are there. Without them every controller ends at once, with an error.
    pub definitions: bool,
    /// The controllers that are started; [`FluxServer::start_controller`] starts others later.
    pub controllers: Vec<FluxController>,
    /// Further arguments of controllers, for example `--watch-label-selector=sharding.fluxcd.io/key=shard1`.
    pub args: Vec<(FluxController, String)>,
}

impl Default for FluxOptions {
    fn default() -> Self {
        FluxOptions {
            namespace: "flux-system".to_owned(),
            node: false,
            definitions: true,
            controllers: FluxController::ALL.to_vec(),
            args: Vec::new(),
        }
    }
}

impl Flux {
    /// Runs the command `flux` as the administrator, and returns its standard output.
    ///
    /// # Errors
    ///
    /// When it is not built or fails; the message has its standard error.
    pub async fn cli(&self, args: &[&str]) -> Result<String> {
        run(&mut self.command(args)?.into()).await
    }

    /// Runs the command `flux` as the administrator, and returns all that it printed, and how it ended: `flux diff` for example tells of a difference by failing.
    ///
    /// # Errors
    ///
    /// When it is not built or cannot be started.
    pub async fn cli_output(&self, args: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.command(args)?);
        command
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run flux")
    }

    fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = environment("flux", &self.dir)?;
        command
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("FLUX_SYSTEM_NAMESPACE", &self.namespace)
            .args(args);
        Ok(command)
    }
}

/// A program of Flux's, away from the configuration of whoever runs the tests.
fn environment(name: &str, dir: &Path) -> Result<Command> {
    let mut command = Command::new(program(name)?);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", dir.join("home"))
        .env("TMPDIR", dir.join("tmp"));
    Ok(command)
}
