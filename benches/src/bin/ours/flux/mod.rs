//! Flux.

mod audit;
mod create;
mod list;
mod reconcile;
mod trace;

use std::path::Path;

use anyhow::Result;
use gitops_flux::{FluxManager, FluxOptions};
use gitops_kube::cluster::{ClusterOptions, KubeCluster};
use kube::config::{KubeConfigOptions, Kubeconfig};

pub(crate) use self::create::{Create, create};
pub(crate) use self::list::{List, decode, list};
pub(crate) use self::reconcile::{Reconcile, reconcile};
pub(crate) use self::trace::{Trace, TraceCreate, create as trace_create, trace};

/// The cluster of a kubeconfig, with a connection of its own.
async fn cluster(kubeconfig: &Path) -> Result<KubeCluster> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(KubeCluster::from_config(config, ClusterOptions::default())?)
}

/// Flux in that cluster.
async fn manager(kubeconfig: &Path, options: FluxOptions) -> Result<FluxManager> {
    let cluster = cluster(kubeconfig).await?;
    Ok(FluxManager::with_options(cluster.client().clone(), options))
}
