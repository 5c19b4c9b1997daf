//! What the tests of `gitops-argocd` share: repositories that Argo CD may read, applications, and its two doors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{ArgoCd, Repository};
use futures::FutureExt;
use gitops_argocd::rest::{Access, ArgoCd as Client, Config, Refresh, Repository as Registered};
use gitops_argocd::{ArgoCdBackend, KubeArgoCd};
use gitops_core::application::{AppRef, Application, Source, SyncStatus};
use gitops_core::backend::{ApplicationStore, Backend, PutMode, SyncerExt};
use gitops_core::error::ErrorKind;
use gitops_core::testing::conformance::backend::Fixture;
use serde_json::json;

/// Longer than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Which way to Argo CD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Rest,
    Kubernetes,
}

pub(super) fn rest(argocd: &ArgoCd) -> Result<Client> {
    e2e::init();
    Ok(Client::new(
        Config::new(&*argocd.url).token(&*argocd.robot.token),
    )?)
}

pub(super) async fn kubernetes(argocd: &ArgoCd) -> Result<KubeArgoCd> {
    let client = argocd.cluster.client().await?;
    Ok(KubeArgoCd::new(client).in_namespace(&*argocd.namespace))
}

pub(super) async fn backend(argocd: &ArgoCd, door: Door) -> Result<ArgoCdBackend> {
    Ok(match door {
        Door::Rest => ArgoCdBackend::new(rest(argocd)?),
        Door::Kubernetes => ArgoCdBackend::new(kubernetes(argocd).await?),
    })
}

pub(super) fn config_map(name: &str, value: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}).to_string()
}

/// A Deployment of one pod that writes a line and sleeps.
pub(super) fn deployment(name: &str) -> String {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "main",
                        "image": e2e::BUSYBOX,
                        "imagePullPolicy": "Never",
                        "command": ["sh", "-c", format!("echo hello from {name}; sleep 3600")],
                    }],
                },
            },
        },
    })
    .to_string()
}

/// A Job that Argo CD runs as a hook.
pub(super) fn hook(name: &str, phase: &str, script: &str) -> String {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "annotations": {"argocd.argoproj.io/hook": phase, "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation"}},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "main",
                "image": e2e::BUSYBOX,
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", script],
            }],
        }}},
    })
    .to_string()
}

/// A repository that Argo CD has the credentials for.
pub(super) async fn repository(
    argocd: &ArgoCd,
    name: &str,
    files: &[(&str, &str)],
) -> Result<Repository> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository(name).await?;
    gitea.commit(&repository, "first", files).await?;
    let registered = Registered {
        repo: repository.http_url.clone(),
        username: Some(gitea.user.clone()),
        password: Some(gitea.password.clone().into()),
        kind: Some("git".into()),
        ..Registered::default()
    };
    rest(argocd)?
        .create_repository(Access::Read, &registered, true, false)
        .await?;
    Ok(repository)
}

/// An application of everything in the repository, to a namespace of its own name.
pub(super) fn application(name: &str, repository: &Repository) -> Application {
    Application::new(name)
        .source(
            Source::git(&*repository.http_url)
                .path(".")
                .revision("main"),
        )
        .in_namespace(name)
        .sync_option("CreateNamespace=true")
}

/// Repeats a call until the server's cache has the project that was just made: before that it refuses what belongs to it.
pub(super) async fn once_known<T, F: Future<Output = gitops_core::Result<T>>>(
    call: impl Fn() -> F,
) -> Result<T> {
    let began = Instant::now();
    loop {
        match call().await {
            Err(error) if error.kind() == ErrorKind::InvalidInput && began.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            result => return Ok(result?),
        }
    }
}

/// A name that no other test uses.
pub(super) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:06x}", fastrand::u32(..0x0100_0000))
}

/// Waits until the controller has compared the application.
pub(super) async fn compared(backend: &ArgoCdBackend, app: &AppRef) -> Result<()> {
    backend
        .wait_for(app, PATIENCE, |status| status.sync != SyncStatus::Unknown)
        .await
        .context("the controller does not compare it")?;
    Ok(())
}

/// An application that was never synced, for the conformance suite.
pub(super) async fn fixture(door: Door) -> gitops_core::Result<Fixture> {
    make(door)
        .await
        .map_err(|error| gitops_core::Error::internal(format!("{error:#}")))
}

async fn make(door: Door) -> Result<Fixture> {
    let argocd = e2e::argocd().await?;
    let name = unique("conform");
    let repository = repository(argocd, &name, &[("map.json", &config_map("map", "0"))]).await?;
    let backend = backend(argocd, door).await?;
    let app = application(&name, &repository);
    backend.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    compared(&backend, &app).await?;

    let (repository, refreshed) = (Arc::new(repository), backend.clone());
    let (commits, breaks) = (Arc::clone(&repository), repository);
    let (of, other) = (app.clone(), app.clone());
    let (first, second) = (refreshed.clone(), refreshed);
    let counter = std::sync::atomic::AtomicU32::new(0);
    let failed = |error: anyhow::Error| gitops_core::Error::internal(format!("{error:#}"));
    Ok(Fixture {
        backend: Arc::new(backend) as Arc<dyn Backend>,
        app,
        commit: Box::new(move || {
            let n = 1 + counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let (repository, backend, app) = (Arc::clone(&commits), first.clone(), of.clone());
            async move {
                let gitea = e2e::gitea().await.map_err(failed)?;
                let files = [("map.json", &*config_map("map", &n.to_string()))];
                let revision = gitea
                    .commit(&repository, "next", &files)
                    .await
                    .map_err(failed)?;
                seen(&backend, &app, &revision).await?;
                Ok(revision)
            }
            .boxed()
        }),
        break_it: Box::new(move || {
            let (repository, backend, app) = (Arc::clone(&breaks), second.clone(), other.clone());
            async move {
                let gitea = e2e::gitea().await.map_err(failed)?;
                // A field that no ConfigMap has a place for.
                let broken = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": "text"}).to_string();
                let revision = gitea
                    .commit(&repository, "broken", &[("map.json", &*broken)])
                    .await
                    .map_err(failed)?;
                seen(&backend, &app, &revision).await
            }
            .boxed()
        }),
        keep: Box::new(()),
    })
}

/// Waits until Argo CD has compared the application with `revision`.
pub(super) async fn seen(
    backend: &ArgoCdBackend,
    app: &AppRef,
    revision: &str,
) -> gitops_core::Result<()> {
    backend.refresh(app, Refresh::Normal).await?;
    backend
        .wait_for(app, PATIENCE, |status| status.revisions == [revision])
        .await
        .map(drop)
}

/// The names and values of the ConfigMaps that Argo CD deployed to a namespace.
pub(super) async fn config_maps(argocd: &ArgoCd, namespace: &str) -> Result<String> {
    argocd
        .cluster
        .kubectl(&[
            "get",
            "configmaps",
            "--namespace",
            namespace,
            "--field-selector=metadata.name!=kube-root-ca.crt",
            "--output=jsonpath={range .items[*]}{.metadata.name}={.data.value} {end}",
        ])
        .await
}
