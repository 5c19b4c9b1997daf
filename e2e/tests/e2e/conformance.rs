//! The real API server passes the conformance suite of `Cluster`, under the same test names as the in-memory cluster
//! (`gitops-kube/tests/conformance.rs`).

use std::sync::Arc;

use anyhow::Result;
use gitops_kube::cluster::{Cluster, KubeCluster};

async fn make() -> Result<Arc<dyn Cluster>> {
    Ok(Arc::new(KubeCluster::new(
        e2e::cluster().await?.client().await?,
    )))
}

async fn make_with_node() -> Result<Arc<dyn Cluster>> {
    e2e::node().await?;
    make().await
}

gitops_kube::cluster_conformance!(super::make());
gitops_kube::cluster_workload_conformance!(super::make_with_node(), e2e::BUSYBOX);
