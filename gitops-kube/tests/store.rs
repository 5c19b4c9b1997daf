//! Applications in ConfigMaps of the in-memory cluster; `e2e` runs the same on the real API server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use gitops_kube::cluster::InMemoryCluster;
use gitops_kube::store::ConfigMapStore;

async fn make() -> gitops_core::Result<Arc<ConfigMapStore>> {
    Ok(Arc::new(ConfigMapStore::new(
        Arc::new(InMemoryCluster::new()),
        "default",
    )))
}

gitops_core::store_conformance!(make());
