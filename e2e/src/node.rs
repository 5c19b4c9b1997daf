//! A node for a cluster: a real kubelet on containerd, or kwok's imitation where a real one cannot run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cluster::Cluster;
use crate::process::{Process, run};
use crate::session::Session;
use crate::{kubelet, kwok};

/// The variable that chooses the kind of node: `kubelet` or `kwok`.
pub const KIND_VARIABLE: &str = "GITOPS_E2E_NODE";

/// The name of the node.
pub const NAME: &str = "node-0";

/// What a cluster's node is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// Its name in the cluster.
    pub name: String,
    /// What runs it.
    pub kind: NodeKind,
}

/// What runs a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// A kubelet on containerd: pods are processes, with logs, exec, port-forward and probes. There are the images
    /// [`BUSYBOX`](crate::BUSYBOX) and [`BUSYBOX_2`](crate::BUSYBOX_2); pods say `imagePullPolicy: Never`.
    Kubelet,
    /// kwok: pods are set to running and ready, and nothing runs.
    Kwok {
        /// Why it is not a kubelet.
        reason: String,
    },
}

impl Node {
    /// For tests that mean nothing without running containers.
    ///
    /// # Errors
    ///
    /// When the node is kwok's; the message says why.
    pub fn require_real(&self) -> Result<()> {
        match &self.kind {
            NodeKind::Kubelet => Ok(()),
            NodeKind::Kwok { reason } => {
                bail!("this test needs containers that run, and the node is kwok's: {reason}")
            }
        }
    }
}

/// A running node; dropping it stops it with all its containers.
#[derive(Debug)]
pub struct NodeServer {
    node: Node,
    _process: Process,
}

impl NodeServer {
    /// Adds a node to a cluster with controllers, and waits until pods can be scheduled on it.
    ///
    /// # Errors
    ///
    /// When a program is missing (the message has the command that installs it), or the node does not become ready.
    pub async fn start(session: &Session, cluster: &Cluster) -> Result<NodeServer> {
        let kind = choose(session).await?;
        if let NodeKind::Kwok { reason } = &kind {
            eprintln!("e2e: the node is kwok's, no container runs: {reason}");
        }
        Self::start_kind(session, cluster, kind).await
    }

    /// Adds a node of kwok's: pods are running and ready at once, and nothing runs.
    pub(crate) async fn imitate(session: &Session, cluster: &Cluster) -> Result<NodeServer> {
        let reason = "no container has to run here".to_owned();
        Self::start_kind(session, cluster, NodeKind::Kwok { reason }).await
    }

    async fn start_kind(
        session: &Session,
        cluster: &Cluster,
        kind: NodeKind,
    ) -> Result<NodeServer> {
        let (name, dir) = session.data("node")?;
        let port = crate::ports::free_port()?;
        register(cluster, port, &kind, &dir).await?;
        let mut process = match kind {
            NodeKind::Kubelet => kubelet::start(session, &name, &dir, cluster, port).await?,
            NodeKind::Kwok { .. } => kwok::start(session, &name, &dir, cluster)?,
        };
        let get = [
            "get",
            "node",
            NAME,
            "--output=jsonpath={.status.conditions[?(@.type==\"Ready\")].status} {.spec.taints}",
        ];
        let probe = async || {
            cluster
                .kubectl(&get)
                .await
                .is_ok_and(|out| out.trim() == "True")
        };
        process.ready(Duration::from_secs(240), probe).await?;
        Ok(NodeServer {
            node: Node {
                name: NAME.to_owned(),
                kind,
            },
            _process: process,
        })
    }

    /// What it is.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }
}

async fn choose(session: &Session) -> Result<NodeKind> {
    let kwok = |reason: String| Ok(NodeKind::Kwok { reason });
    match std::env::var(KIND_VARIABLE).unwrap_or_default().as_str() {
        "" => {}
        "kwok" => return kwok(format!("{KIND_VARIABLE} says so")),
        "kubelet" => return kubelet::check_programs().map(|()| NodeKind::Kubelet),
        other => bail!("{KIND_VARIABLE} is {other:?}, neither kubelet nor kwok"),
    }
    if !rustix::process::geteuid().is_root() {
        return kwok("a kubelet needs root".to_owned());
    }
    // A missing program can be installed, so it is an error, not a reason to test less.
    kubelet::check_programs()?;
    if let Err(error) = run(&mut kubelet::unshare(&["true"])?.into()).await {
        return kwok(format!("a kubelet needs namespaces of its own: {error:#}"));
    }
    // Removed with the session's other groups.
    if let Err(error) = kubelet::make_cgroup(&format!("{}-probe", cgroup_prefix(session.root()))) {
        return kwok(format!(
            "a kubelet needs control groups of its own: {error:#}"
        ));
    }
    Ok(NodeKind::Kubelet)
}

/// Makes the node's object, with its addresses: the kubelet refuses loopback as its own address, but keeps what is there.
async fn register(cluster: &Cluster, port: u16, kind: &NodeKind, dir: &Path) -> Result<()> {
    let mut annotations = json!({});
    if matches!(kind, NodeKind::Kwok { .. }) {
        annotations["kwok.x-k8s.io/node"] = json!("fake");
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": NAME,
            "annotations": annotations,
            "labels": {"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux"},
        },
    });
    let file = dir.join("node.json");
    std::fs::write(&file, object.to_string()).context("cannot write the node's object")?;
    cluster
        .kubectl(&["create", "--filename", &file.to_string_lossy()])
        .await?;
    let resources = json!({"cpu": "32", "memory": "256Gi", "pods": "10000"});
    let mut status = json!({
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": "localhost"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    });
    if matches!(kind, NodeKind::Kwok { .. }) {
        status["capacity"] = resources.clone();
        status["allocatable"] = resources;
    }
    let patch = json!({"status": status}).to_string();
    cluster
        .kubectl(&[
            "patch",
            "node",
            NAME,
            "--subresource=status",
            "--patch",
            &patch,
        ])
        .await?;
    Ok(())
}

/// The name, or the beginning of the name, of the control groups of a session's nodes.
pub(crate) fn cgroup_prefix(session: &Path) -> String {
    let id = session.file_name().unwrap_or_default().to_string_lossy();
    format!("gitops-e2e-{id}")
}

/// Removes the control groups that a session's nodes left; their processes are gone.
pub(crate) fn remove_cgroups(session: &Path) {
    let prefix = cgroup_prefix(session);
    let root = Path::new("/sys/fs/cgroup");
    // Version 2 has one tree, version 1 one for each controller.
    let controllers = subdirectories(root);
    for tree in controllers.iter().map(|dir| dir.as_path()).chain([root]) {
        for group in subdirectories(tree) {
            if group
                .file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with(&prefix))
            {
                remove_group(&group);
            }
        }
    }
}

fn remove_group(group: &Path) {
    for child in subdirectories(group) {
        remove_group(&child);
    }
    // The kernel may still be at removing the last process.
    for _ in 0..20 {
        if std::fs::remove_dir(group).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn subdirectories(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}
