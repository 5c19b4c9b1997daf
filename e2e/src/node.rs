//! Nodes: wip.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::session::Session;

/// The node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// The name.
    pub name: String,
}

/// A running node; dropping it stops it.
#[derive(Debug)]
pub struct NodeServer {
    node: Node,
}

impl NodeServer {
    /// Starts.
    ///
    /// # Errors
    ///
    /// Always.
    pub async fn start(_session: &Session, _cluster: &Cluster) -> Result<NodeServer> {
        bail!("the harness has no node yet")
    }

    /// How to use it.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }
}

pub(crate) fn remove_cgroups(_root: &std::path::Path) {}
