//! A repository in Gitea, and a direct backend that deploys from it to a namespace of the real API server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use e2e::Gitea;
use gitops_core::application::{AppRef, Application, Source};
use gitops_core::backend::{ApplicationStore, PutMode, SyncOptions, SyncOutcome, SyncerExt};
use gitops_core::manifest::render::Renderers;
use gitops_git::GitClient;
use gitops_kube::cluster::{Cluster, KubeCluster};
use gitops_kube::direct::{DirectBackend, DirectOptions, GitSources};
use gitops_kube::engine::Engine;
use gitops_kube::store::ConfigMapStore;

use crate::git::{options, password};

/// Everything that one test deploys with; applications and their statuses are kept in ConfigMaps.
pub(crate) struct Place {
    pub(crate) gitea: &'static Gitea,
    pub(crate) repository: e2e::Repository,
    pub(crate) namespace: String,
    pub(crate) sources: Arc<GitSources>,
    pub(crate) backend: DirectBackend,
}

impl Place {
    pub(crate) async fn new(name: &str) -> Result<Self> {
        let gitea = e2e::gitea().await?;
        let cluster = e2e::cluster().await?;
        let namespace = cluster.namespace(name).await?.name().to_owned();
        let kube: Arc<dyn Cluster> = Arc::new(KubeCluster::new(cluster.client().await?));
        let git = GitClient::new(options().credentials(password(gitea)?))?;
        let sources = Arc::new(GitSources::new(git, Renderers::default()));
        let backend = DirectBackend::new(
            Engine::new(kube.clone()),
            sources.clone(),
            Arc::new(ConfigMapStore::new(kube, &namespace)),
            DirectOptions {
                refresh: Duration::from_millis(500),
                ..DirectOptions::default()
            },
        );
        Ok(Self {
            gitea,
            repository: gitea.repository(name).await?,
            namespace,
            sources,
            backend,
        })
    }

    /// Commits files onto `main`; returns the SHA.
    pub(crate) async fn commit(&self, files: &[(&str, &str)]) -> Result<String> {
        let message = files
            .first()
            .map_or("nothing".into(), |(path, _)| format!("Change {path}"));
        self.gitea.commit(&self.repository, &message, files).await
    }

    /// An application of `apps/NAME` on `main`, which goes to the namespace; not stored yet.
    pub(crate) fn app(&self, name: &str) -> Application {
        let source = Source::git(&self.repository.http_url)
            .path(format!("apps/{name}"))
            .revision("main");
        Application::new(name)
            .source(source)
            .in_namespace(&self.namespace)
    }

    pub(crate) async fn put(&self, app: &Application) -> Result<AppRef> {
        self.backend.put(app, PutMode::Upsert).await?;
        Ok(app.app_ref())
    }

    pub(crate) async fn sync(&self, app: &AppRef) -> Result<SyncOutcome> {
        let options = SyncOptions::default();
        let syncs = self.backend.sync_and_wait(app, &options);
        Ok(tokio::time::timeout(Duration::from_secs(180), syncs).await??)
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let arguments: Vec<&str> = ["-n", &self.namespace]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        e2e::cluster().await?.kubectl(&arguments).await
    }
}

/// A ConfigMap of one value.
pub(crate) fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{v: \"{value}\"}}\n"
    )
}
