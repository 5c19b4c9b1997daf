//! Starts Flux's controllers, and stops them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::{Flux, FluxController, FluxOptions, environment, install};
use crate::control_plane::{ControlPlane, ControlPlaneOptions};
use crate::http;
use crate::node::NodeServer;
use crate::ports::{free_port, open};
use crate::process::Process;
use crate::session::Session;

const DEADLINE: Duration = Duration::from_secs(90);

/// The ports of a controller, on 127.0.0.1. They stay when it is started again.
#[derive(Debug, Clone, Copy)]
struct Ports {
    health: u16,
    metrics: u16,
}

/// A running Flux; dropping it stops it with its cluster.
#[derive(Debug)]
pub struct FluxServer {
    name: String,
    session: Session,
    args: Vec<(FluxController, String)>,
    ports: BTreeMap<FluxController, Ports>,
    storage_port: u16,
    flux: Flux,
    // Dropped in this order.
    controllers: BTreeMap<FluxController, Process>,
    _node: Option<NodeServer>,
    control_plane: ControlPlane,
}

impl FluxServer {
    /// Starts a Flux in a new cluster, and waits until its controllers answer: about fifteen seconds.
    ///
    /// # Errors
    ///
    /// When a program is not built, or a controller does not become ready; the message has the end of its log.
    pub async fn start(session: &Session, options: &FluxOptions) -> Result<FluxServer> {
        let (name, dir) = session.data("flux")?;
        let control_plane =
            ControlPlane::start(session, &ControlPlaneOptions::with_controllers()).await?;
        let cluster = control_plane.cluster().clone();
        let storage_dir = dir.join("storage");
        for folder in [&dir.join("home"), &dir.join("tmp"), &storage_dir] {
            std::fs::create_dir(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let node = async {
            Ok(match options.node {
                true => Some(NodeServer::imitate(session, &cluster).await?),
                false => None,
            })
        };
        let (node, ()) = tokio::try_join!(node, install::install(&cluster, options, &dir))?;

        let mut ports = BTreeMap::new();
        for controller in FluxController::ALL {
            let (health, metrics) = (free_port()?, free_port()?);
            ports.insert(controller, Ports { health, metrics });
        }
        let storage_port = free_port()?;
        let mut server = FluxServer {
            name,
            session: session.clone(),
            args: options.args.clone(),
            ports,
            storage_port,
            flux: Flux {
                cluster,
                namespace: options.namespace.clone(),
                storage_url: format!("http://127.0.0.1:{storage_port}"),
                storage_dir,
                node: node.as_ref().map(|node| node.node().clone()),
                dir,
            },
            controllers: BTreeMap::new(),
            _node: node,
            control_plane,
        };
        for controller in &options.controllers {
            server.spawn(*controller)?;
        }
        for controller in &options.controllers {
            server.wait(*controller).await?;
        }
        Ok(server)
    }

    /// How to reach it.
    #[must_use]
    pub fn flux(&self) -> &Flux {
        &self.flux
    }

    /// Its cluster's control plane, to be killed and started again.
    pub fn control_plane(&mut self) -> &mut ControlPlane {
        &mut self.control_plane
    }

    /// Kills a controller, as a crash would. source-controller's artifacts stay in their folder, and nobody serves them.
    pub fn kill_controller(&mut self, controller: FluxController) {
        self.controllers.remove(&controller);
    }

    /// Starts a controller, on the ports that it had, and waits until it answers. One that runs is killed before.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn start_controller(&mut self, controller: FluxController) -> Result<()> {
        self.kill_controller(controller);
        self.spawn(controller)?;
        self.wait(controller).await
    }

    /// Stops a controller in its tracks: connections stay open and nothing answers, until [`FluxServer::resume_controller`].
    pub fn suspend_controller(&self, controller: FluxController) {
        self.signal(controller, Signal::STOP);
    }

    /// Lets a suspended controller go on.
    pub fn resume_controller(&self, controller: FluxController) {
        self.signal(controller, Signal::CONT);
    }

    fn signal(&self, controller: FluxController, signal: Signal) {
        if let Some(process) = self.controllers.get(&controller) {
            process.signal(signal);
        }
    }

    fn ports(&self, controller: FluxController) -> Result<Ports> {
        let ports = self.ports.get(&controller).copied();
        ports.with_context(|| format!("{} has no ports", controller.name()))
    }

    fn spawn(&mut self, controller: FluxController) -> Result<()> {
        let dir = &self.flux.dir;
        let mut command = environment(controller.name(), dir)?;
        command
            .current_dir(dir)
            .env("KUBECONFIG", install::kubeconfig_path(dir, controller))
            .env("RUNTIME_NAMESPACE", &self.flux.namespace)
            .args(self.arguments(controller)?);
        let name = format!("{}.{}", self.name, controller.name());
        let process = Process::spawn(&self.session, &name, &mut command)?;
        self.controllers.insert(controller, process);
        Ok(())
    }

    fn arguments(&self, controller: FluxController) -> Result<Vec<String>> {
        let ports = self.ports(controller)?;
        let mut args = vec![
            format!("--metrics-addr=127.0.0.1:{}", ports.metrics),
            format!("--health-addr=127.0.0.1:{}", ports.health),
            // There is no notification-controller; events go to the cluster alone.
            "--events-addr=".to_owned(),
            // Tests do not wait for the half minute that is the default, nor for delays that double up to a quarter of an hour.
            "--requeue-dependency=2s".to_owned(),
            "--max-retry-delay=10s".to_owned(),
        ];
        if controller == FluxController::Source {
            let address = format!("127.0.0.1:{}", self.storage_port);
            args.extend([
                format!("--storage-path={}", self.flux.storage_dir.display()),
                format!("--storage-addr={address}"),
                format!("--storage-adv-addr={address}"),
            ]);
        }
        let further = self.args.iter().filter(|(whose, _)| *whose == controller);
        args.extend(further.map(|(_, argument)| argument.clone()));
        Ok(args)
    }

    async fn wait(&mut self, controller: FluxController) -> Result<()> {
        let (health, storage) = (self.ports(controller)?.health, self.storage_port);
        let process = self
            .controllers
            .get_mut(&controller)
            .with_context(|| format!("{} was not started", controller.name()))?;
        let serves = async || controller != FluxController::Source || open(storage).await;
        let probe = async || http::is_ok(health, "/readyz").await && serves().await;
        process.ready(DEADLINE, probe).await
    }
}
