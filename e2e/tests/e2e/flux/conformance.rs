//! Core's suite for backends, on Kustomizations, and as far as Flux can on HelmReleases.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use e2e::flux::{Chart, ChartRepository};
use e2e::{Flux, Repository, TestNamespace};
use futures::FutureExt as _;
use gitops_core::application::{AppRef, Application, Source, SyncStatus};
use gitops_core::backend::{ApplicationStore, Backend, PutMode, SyncerExt};
use gitops_core::testing::conformance::backend::Fixture;
use gitops_flux::convert::{ConvertOptions, Credentials};
use gitops_flux::{BackendOptions, FluxBackend, FluxManager, FluxOptions};
use serde_json::json;

use super::support::{LOGIN, PATIENCE, apply, config_map, login};

fn failed(error: anyhow::Error) -> gitops_core::Error {
    gitops_core::Error::internal(format!("{error:#}"))
}

/// A backend whose applications are in a namespace, with the credentials for Gitea.
pub(super) async fn backend(flux: &Flux, namespace: &str) -> Result<FluxBackend> {
    let gitea = e2e::gitea().await?;
    let options = FluxOptions {
        namespace: namespace.to_owned(),
        ..FluxOptions::default()
    };
    let manager = FluxManager::with_options(flux.cluster.client().await?, options);
    let convert = ConvertOptions {
        credentials: Credentials::default().with(&*gitea.url, LOGIN),
        ..ConvertOptions::default()
    };
    let options = BackendOptions {
        convert,
        ..BackendOptions::default()
    };
    Ok(FluxBackend::with_options(manager, options))
}

/// A namespace with the login, a repository with a ConfigMap, and a backend.
pub(super) async fn place(name: &str) -> Result<(TestNamespace, Repository, FluxBackend)> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let namespace = flux.cluster.namespace(name).await?;
    apply(&namespace.client(), &login(namespace.name(), gitea)).await?;
    let repository = gitea.repository(namespace.name()).await?;
    gitea
        .commit(
            &repository,
            "first",
            &[("map.yaml", &*config_map("map", "0"))],
        )
        .await?;
    let backend = backend(flux, namespace.name()).await?;
    Ok((namespace, repository, backend))
}

/// An application of everything in the repository.
pub(super) fn application(name: &str, namespace: &str, repository: &Repository) -> Application {
    Application::new(name)
        .source(Source::git(&*repository.http_url).revision("main"))
        .in_namespace(namespace)
}

/// Waits until the source has fetched something.
pub(super) async fn fetched(backend: &FluxBackend, app: &AppRef) -> gitops_core::Result<()> {
    backend
        .wait_for(app, PATIENCE, |status| status.sync != SyncStatus::Unknown)
        .await
        .map(drop)
}

async fn kustomization() -> gitops_core::Result<Fixture> {
    make_kustomization().await.map_err(failed)
}

async fn make_kustomization() -> Result<Fixture> {
    let (namespace, repository, backend) = place("conform").await?;
    let app = application("app", namespace.name(), &repository);
    backend.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    fetched(&backend, &app).await?;
    let repository = Arc::new(repository);
    let (commits, breaks) = (Arc::clone(&repository), repository);
    let counter = AtomicU32::new(0);
    Ok(Fixture {
        backend: Arc::new(backend) as Arc<dyn Backend>,
        app,
        commit: Box::new(move || {
            let n = 1 + counter.fetch_add(1, Ordering::SeqCst);
            let repository = Arc::clone(&commits);
            async move {
                let gitea = e2e::gitea().await.map_err(failed)?;
                let files = [("map.yaml", &*config_map("map", &n.to_string()))];
                gitea
                    .commit(&repository, "next", &files)
                    .await
                    .map_err(failed)
            }
            .boxed()
        }),
        break_it: Box::new(move || {
            let repository = Arc::clone(&breaks);
            async move {
                let gitea = e2e::gitea().await.map_err(failed)?;
                // A field that no ConfigMap has a place for.
                let broken = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": "text"});
                let files = [("map.yaml", &*broken.to_string())];
                gitea.commit(&repository, "broken", &files).await.map(drop).map_err(failed)
            }
            .boxed()
        }),
        keep: Box::new(namespace),
    })
}

fn chart(version: &str, map: &str) -> Chart {
    Chart::new("app", version)
        .values("value: by default\n")
        .file("templates/map.yaml", map)
}

fn template(value: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "map"},
        "data": {"value": value, "given": "{{ .Values.value }}"},
    })
    .to_string()
}

async fn helm_release() -> gitops_core::Result<Fixture> {
    make_helm_release().await.map_err(failed)
}

async fn make_helm_release() -> Result<Fixture> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("conform-helm").await?;
    let charts = Arc::new(ChartRepository::start(None).await?);
    charts.add(&chart("0.1.0", &template("0"))).await?;
    let backend = backend(flux, namespace.name()).await?;
    let app = Application::new("app")
        .source(Source::chart(&*charts.url, "app"))
        .in_namespace(namespace.name());
    backend.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    let (commits, breaks) = (Arc::clone(&charts), Arc::clone(&charts));
    let counter = AtomicU32::new(0);
    Ok(Fixture {
        backend: Arc::new(backend) as Arc<dyn Backend>,
        app,
        commit: Box::new(move || {
            let n = 1 + counter.fetch_add(1, Ordering::SeqCst);
            let charts = Arc::clone(&commits);
            async move {
                let version = format!("1.0.{n}");
                let next = chart(&version, &template(&n.to_string()));
                charts.add(&next).await.map_err(failed)?;
                Ok(version)
            }
            .boxed()
        }),
        break_it: Box::new(move || {
            let charts = Arc::clone(&breaks);
            async move {
                let broken = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": "text"});
                charts.add(&chart("9.0.0", &broken.to_string())).await.map_err(failed)
            }
            .boxed()
        }),
        keep: Box::new((namespace, charts)),
    })
}

mod of_kustomizations {
    use super::kustomization;

    gitops_core::backend_conformance!(kustomization());
}

/// Without dry runs, which Flux has none of, and without the state before the first release: the chart is not rendered here.
mod of_helm_releases {
    use super::helm_release;

    gitops_core::backend_conformance!(@ helm_release();
        a_sync_names_its_operation_and_the_revision, an_unknown_application_is_not_found, an_unknown_operation_is_not_found, a_second_sync_at_once_is_refused,
        a_failed_sync_is_an_outcome, every_wait_gets_the_same_outcome, a_dropped_wait_leaves_the_operation, terminating_what_ended_is_fine,
        a_watch_tells_the_state_and_its_changes, a_watch_tells_deletions, the_history_grows_and_leads_back
    );
}
