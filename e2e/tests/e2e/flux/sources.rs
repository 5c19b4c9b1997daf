//! Applications of each kind of source: artifacts and charts of a registry, charts in Git.

use anyhow::{Context as _, Result};
use e2e::flux::{Chart, push_artifact, push_chart};
use e2e::{Flux, TestNamespace};
use gitops_core::application::{Application, Helm, HelmParameter, Render, Source, SyncStatus};
use gitops_core::backend::{
    ApplicationStore, PutMode, RevisionHistory, StateReader, SyncOptions, Syncer, SyncerExt,
};
use gitops_flux::convert::{ConvertOptions, Credentials};
use gitops_flux::{BackendOptions, FluxBackend, FluxKind, FluxManager, FluxOptions, FluxRef};
use serde_json::{Value, json};

use super::support::{LOGIN, apply, config_map, find, login};

/// A backend that knows Gitea's login, and that the registry speaks plain HTTP.
async fn backend(flux: &Flux, namespace: &str) -> Result<FluxBackend> {
    let (gitea, registry) = (e2e::gitea().await?, e2e::registry().await?);
    let options = FluxOptions {
        namespace: namespace.to_owned(),
        ..FluxOptions::default()
    };
    let manager = FluxManager::with_options(flux.cluster.client().await?, options);
    let options = BackendOptions {
        convert: ConvertOptions {
            credentials: Credentials::default().with(&*gitea.url, LOGIN),
            insecure: vec![registry.host.clone()],
            ..ConvertOptions::default()
        },
        ..BackendOptions::default()
    };
    Ok(FluxBackend::with_options(manager, options))
}

async fn value(namespace: &TestNamespace) -> Result<Value> {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map", "namespace": namespace.name()}});
    let found = find(&namespace.client(), &map).await?;
    Ok(found.context("no ConfigMap")?.data["data"]["value"].clone())
}

fn chart(version: &str) -> Chart {
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "map"},
        "data": {"value": "{{ .Chart.Version }} {{ .Values.given }}"},
    });
    Chart::new("app", version)
        .values("given: by default\n")
        .file("templates/map.yaml", &map.to_string())
}

fn given(value: &str) -> Render {
    Render::Helm(Box::new(Helm {
        parameters: vec![HelmParameter {
            name: "given".into(),
            value: value.into(),
            force_string: true,
        }],
        ..Helm::default()
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_of_a_registry_is_synced_and_rolled_back() -> Result<()> {
    let (flux, registry) = (e2e::flux().await?, e2e::registry().await?);
    let namespace = flux.cluster.namespace("app-oci").await?;
    let (name, backend) = (namespace.name(), backend(flux, namespace.name()).await?);
    let push = async |value: &str| {
        let map = config_map("map", value);
        let revision = "main@sha1:5a4f4a0ee4ee26ce1ad1b3a4a6ac5c1ef4b1b0b3";
        push_artifact(registry, name, "latest", revision, &[("map.yaml", &*map)]).await
    };
    let first = push("1").await?;
    let source = Source::oci(format!("oci://{}/{name}", registry.host)).revision("latest");
    let app = Application::new("app").source(source).in_namespace(name);
    backend.put(&app, PutMode::Create).await?;
    assert_eq!(backend.get(&app.app_ref()).await?.app, app);
    let app = app.app_ref();
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(value(&namespace).await?, "1");
    assert_eq!(backend.status(&app).await?.sync, SyncStatus::Synced);

    let second = push("2").await?;
    assert_ne!(first, second);
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.revisions, [&*second]);
    assert_eq!(value(&namespace).await?, "2");
    let states = backend.state(&app, &[]).await?;
    let [state] = states.as_slice() else {
        anyhow::bail!("{states:?}")
    };
    let desired = state.desired.as_ref().context("nothing is desired")?;
    assert_eq!(desired.pointer("/data/value"), Some(&json!("2")));

    // The tag has moved on; the digest leads back.
    let entries = RevisionHistory::list(&backend, &app).await?;
    assert_eq!(entries[0].revisions, [&*first]);
    let operation = backend
        .roll_back(&app, entries[0].id, &SyncOptions::default())
        .await?;
    let outcome = backend.wait(&operation).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.revisions, [&*first]);
    assert_eq!(value(&namespace).await?, "1");
    let named = FluxRef::new(FluxKind::OCIRepository, name, "app");
    let source = backend.manager().get_value(&named).await?;
    assert_eq!(source["spec"]["ref"], json!({"tag": "latest"}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_in_git_is_released() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let namespace = flux.cluster.namespace("app-chart-git").await?;
    apply(&namespace.client(), &login(namespace.name(), gitea)).await?;
    let backend = backend(flux, namespace.name()).await?;
    let repository = gitea.repository(namespace.name()).await?;
    let commit = async |version: &str| {
        let files: Vec<(String, String)> = chart(version)
            .all_files()
            .into_iter()
            .map(|(path, text)| (format!("charts/app/{path}"), text))
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (&**path, &**text))
            .collect();
        gitea.commit(&repository, version, &files).await
    };
    commit("1.0.0").await?;
    let mut source = Source::git(&*repository.http_url)
        .path("charts/app")
        .revision("main");
    source.render = given("in Git");
    let app = Application::new("app")
        .source(source)
        .in_namespace(namespace.name());
    backend.put(&app, PutMode::Create).await?;
    assert_eq!(backend.get(&app.app_ref()).await?.app, app);
    let app = app.app_ref();
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    let deployed = value(&namespace).await?;
    let deployed = deployed.as_str().context("no text")?;
    // The chart's version has the commit in it, as `reconcileStrategy: Revision` makes it.
    assert!(
        deployed.starts_with("1.0.0+") && deployed.ends_with(" in Git"),
        "{deployed}"
    );
    assert_eq!(backend.status(&app).await?.sync, SyncStatus::Synced);

    commit("1.1.0").await?;
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    let deployed = value(&namespace).await?;
    assert!(
        deployed
            .as_str()
            .is_some_and(|text| text.starts_with("1.1.0+")),
        "{deployed}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_of_a_registry_is_released_and_rolled_back() -> Result<()> {
    let (flux, registry) = (e2e::flux().await?, e2e::registry().await?);
    let namespace = flux.cluster.namespace("app-chart-oci").await?;
    let (name, backend) = (namespace.name(), backend(flux, namespace.name()).await?);
    let pushed = push_chart(registry, name, &chart("1.0.0")).await?;
    let mut source = Source::oci(format!("{pushed}/app")).revision("1.x");
    source.render = given("in a registry");
    let app = Application::new("app").source(source).in_namespace(name);
    backend.put(&app, PutMode::Create).await?;
    assert_eq!(backend.get(&app.app_ref()).await?.app, app);
    let app = app.app_ref();
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    push_chart(registry, name, &chart("1.1.0")).await?;
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    let deployed = async || -> Result<String> {
        let value = value(&namespace).await?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    };
    assert!(
        deployed().await?.starts_with("1.1.0"),
        "{}",
        deployed().await?
    );
    let entries = RevisionHistory::list(&backend, &app).await?;
    let operation = backend
        .roll_back(&app, entries[0].id, &SyncOptions::default())
        .await?;
    let outcome = backend.wait(&operation).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert!(
        deployed().await?.starts_with("1.0.0"),
        "{}",
        deployed().await?
    );
    Ok(())
}
