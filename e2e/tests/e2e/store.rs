//! Applications in ConfigMaps of the real API server: the conformance suite of stores.

use std::sync::Arc;

use anyhow::Result;
use gitops_kube::cluster::KubeCluster;
use gitops_kube::store::ConfigMapStore;

async fn make() -> Result<Arc<ConfigMapStore>> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("store").await?;
    let cluster = Arc::new(KubeCluster::new(cluster.client().await?));
    Ok(Arc::new(ConfigMapStore::new(cluster, namespace.name())))
}

gitops_core::store_conformance!(make());
