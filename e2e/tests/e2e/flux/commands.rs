//! What the `flux` command does, done here: beside the command itself where it can tell the same.

mod controllers;
mod diff;
mod events;
mod secrets;
mod trace;
mod tree;

use anyhow::{Context, Result};
use e2e::{Flux, Gitea, Repository, TestNamespace};
use gitops_flux::FluxManager;
use gitops_kube::cluster::{ClusterOptions, KubeCluster};
use serde_json::json;

use super::support::{apply, config_map, deployment, git_repository, kustomization, login, ready};

/// A manager on the administrator's rights.
pub(super) async fn manager(flux: &Flux) -> Result<FluxManager> {
    e2e::init();
    let config = flux.cluster.config_as(e2e::ADMIN).await?;
    let cluster = KubeCluster::from_config(config, ClusterOptions::default())?;
    Ok(FluxManager::new(cluster.client().clone()))
}

/// A namespace with what Flux delivered there: Kustomization `app` of GitRepository `source` has ConfigMap `map` and Deployment `app`.
pub(super) struct World {
    pub(super) namespace: TestNamespace,
    repository: Repository,
    commit: String,
}

impl World {
    pub(super) async fn new(
        flux: &Flux,
        gitea: &Gitea,
        prefix: &str,
        more: &[(&str, &str)],
    ) -> Result<Self> {
        let repository = gitea.repository(prefix).await?;
        let (map, app) = (config_map("map", "1"), deployment("app"));
        let mut files = [&[("map.yaml", &*map), ("app.yaml", &*app)], more].concat();
        // Files in directories are for other Kustomizations.
        let root: Vec<&str> = files
            .iter()
            .map(|(path, _)| *path)
            .filter(|path| !path.contains('/'))
            .collect();
        let root = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": root,
        })
        .to_string();
        files.push(("kustomization.yaml", &*root));
        let commit = gitea.commit(&repository, "first", &files).await?;
        let namespace = flux.cluster.namespace(prefix).await?;
        let client = namespace.client();
        apply(&client, &login(namespace.name(), gitea)).await?;
        let source = git_repository(namespace.name(), "source", &repository);
        ready(&client, &source).await?;
        let app = kustomization(namespace.name(), "app", "GitRepository", "source");
        ready(&client, &app).await?;
        Ok(Self {
            namespace,
            repository,
            commit,
        })
    }

    pub(super) fn name(&self) -> &str {
        self.namespace.name()
    }

    fn revision(&self) -> String {
        format!("main@sha1:{}", self.commit)
    }
}

/// The lines of a text that are no more than spaces at their ends apart.
fn trimmed(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect()
}

pub(super) fn found<T>(value: Option<T>, what: &str) -> Result<T> {
    value.with_context(|| format!("there is no {what}"))
}
