//! The in-memory cluster passes the conformance suite of `Cluster`; `e2e` runs the same on the real API server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use gitops_kube::cluster::{Cluster, InMemoryCluster, InMemoryOptions};

async fn make() -> gitops_core::Result<Arc<dyn Cluster>> {
    Ok(Arc::new(InMemoryCluster::with_options(InMemoryOptions {
        unpullable: vec!["127.0.0.1:1/unpullable:1".into()],
        ..InMemoryOptions::default()
    })))
}

gitops_kube::cluster_conformance!(super::make());
gitops_kube::cluster_workload_conformance!(super::make(), "busybox");
