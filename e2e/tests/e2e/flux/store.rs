//! Applications as objects: what others made, puts that meet each other or fail, and what deleting takes along.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::TestNamespace;
use e2e::flux::{Chart, ChartRepository, push_artifact};
use gitops_core::ErrorKind;
use gitops_core::application::{AppRef, Application, Automated, OperationPhase, Source};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, ListOptions, PutMode, SyncOptions, Syncer, SyncerExt,
};
use gitops_flux::convert::ConvertOptions;
use gitops_flux::{BackendOptions, FluxBackend};
use serde_json::{Value, json};

use super::conformance::{application, backend, fetched, place};
use super::support::{PATIENCE, apply, config_map, find, git_repository, kustomization, ready};

fn map(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map", "namespace": namespace}})
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let group = match kind {
        "Kustomization" => "kustomize.toolkit.fluxcd.io/v1",
        "HelmRelease" => "helm.toolkit.fluxcd.io/v2",
        _ => "source.toolkit.fluxcd.io/v1",
    };
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": namespace}})
}

/// What an object says, without what the API server and the controllers write.
async fn said(namespace: &TestNamespace, kind: &str, name: &str) -> Result<Value> {
    let found = find(&namespace.client(), &object(kind, namespace.name(), name)).await?;
    let found = found.with_context(|| format!("no {kind} {name}"))?;
    let meta = &found.metadata;
    Ok(json!({"spec": found.data["spec"], "labels": meta.labels, "annotations": meta.annotations}))
}

async fn is_there(namespace: &TestNamespace, object: &Value) -> Result<bool> {
    Ok(find(&namespace.client(), object).await?.is_some())
}

async fn gone(namespace: &TestNamespace, object: &Value) -> Result<()> {
    let started = Instant::now();
    while is_there(namespace, object).await? {
        ensure!(started.elapsed() < PATIENCE, "{object} is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn automated() -> Automated {
    Automated::default().prune(true).self_heal(true)
}

fn with_options(of: &FluxBackend, change: impl FnOnce(&mut ConvertOptions)) -> FluxBackend {
    let mut options: BackendOptions = of.options().clone();
    change(&mut options.convert);
    FluxBackend::with_options(of.manager().clone(), options)
}

/// A release of the commonest form: nothing says what it is called, nor where it goes.
fn release(namespace: &str, name: &str) -> Value {
    let mut object = object("HelmRelease", namespace, name);
    object["spec"] = json!({
        "interval": "1h",
        "chart": {"spec": {"chart": "app", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}},
        "upgrade": {"crds": "Skip"},
        "driftDetection": {"mode": "warn", "ignore": [{"paths": ["/data/given"]}]},
    });
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_others_stays_what_and_where_it_is() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("foreign").await?;
    let (client, name) = (namespace.client(), namespace.name());
    let charts = ChartRepository::start(None).await?;
    let template = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"},
        "data": {"release": "{{ .Release.Name }}", "given": "{{ .Values.value }}"},
    });
    let chart = Chart::new("app", "1.0.0")
        .values("value: by default\n")
        .file("templates/map.yaml", &template.to_string());
    charts.add(&chart).await?;
    let mut repository = object("HelmRepository", name, "charts");
    repository["spec"] = json!({"interval": "1h", "url": charts.url});
    ready(&client, &repository).await?;
    ready(&client, &release(name, "podinfo")).await?;
    let before = said(&namespace, "HelmRelease", "podinfo").await?;
    let backend = backend(flux, name).await?;
    let app = AppRef::new("podinfo");

    backend.suspend(&app).await?;
    assert!(backend.get(&app).await?.app.suspended);
    let mut suspended = said(&namespace, "HelmRelease", "podinfo").await?;
    assert_eq!(suspended["spec"]["suspend"].take(), json!(true));
    backend.resume(&app).await?;
    assert_eq!(said(&namespace, "HelmRelease", "podinfo").await?, before);

    // Other values are an upgrade of the same release, and no other one elsewhere.
    let stored = backend.get(&app).await?;
    let mut changed = stored.app.clone();
    let gitops_core::application::Render::Helm(settings) = &mut changed.sources[0].render else {
        anyhow::bail!("no chart")
    };
    settings.values_object = json!({"value": "changed"}).as_object().cloned();
    backend
        .put(&changed, PutMode::Update(stored.version))
        .await?;
    let mut expected = before.clone();
    expected["spec"]["values"] = json!({"value": "changed"});
    assert_eq!(said(&namespace, "HelmRelease", "podinfo").await?, expected);
    let upgraded = super::support::until(&client, &map(name), |map| {
        map.data["data"]["given"] == "changed"
    })
    .await?;
    assert_eq!(upgraded.data["data"]["release"], "podinfo");
    let found = find(&client, &release(name, "podinfo")).await?;
    let history = found.context("no release")?.data["status"]["history"].clone();
    for entry in history.as_array().into_iter().flatten() {
        assert_eq!(
            (&entry["name"], &entry["namespace"]),
            (&json!("podinfo"), &json!(name))
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_is_called_by_its_whole_name() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("twins").await?;
    let (client, name) = (namespace.client(), namespace.name());
    // Suspended, so that no controller writes to them.
    let mut repository = object("HelmRepository", name, "charts");
    repository["spec"] =
        json!({"interval": "1h", "url": "https://charts.example.com", "suspend": true});
    let mut twin = release(name, "x");
    twin["spec"]["suspend"] = json!(true);
    let mut other = kustomization(name, "x", "GitRepository", "none");
    other["spec"]["suspend"] = json!(true);
    for object in [&repository, &twin, &other] {
        apply(&client, object).await?;
    }
    let before = said(&namespace, "Kustomization", "x").await?;
    let backend = backend(flux, name).await?;
    let app = AppRef::new("x.helmrelease");
    let stored = backend.get(&app).await?;
    assert_eq!(stored.app.app_ref(), app);
    let all = backend.list(&ListOptions::default()).await?;
    let listed = all.iter().find(|one| one.app.app_ref() == app);
    let listed = listed.context("it is not listed")?;
    assert_eq!(
        (&listed.app, &listed.version),
        (&stored.app, &stored.version)
    );

    let mut changed = listed.app.clone();
    changed.labels.insert("team".into(), "a".into());
    let put = backend
        .put(&changed, PutMode::Update(listed.version.clone()))
        .await?;
    assert!(put.changed && !put.created);
    assert_eq!(backend.get(&app).await?.app, changed);
    let again = backend.put(&changed, PutMode::Create).await?;
    assert!(!again.changed && again.version == put.version);
    backend.resume(&app).await?;
    assert_eq!(said(&namespace, "Kustomization", "x").await?, before);
    backend.delete(&app, &DeleteOptions::default()).await?;
    gone(&namespace, &twin).await?;
    assert_eq!(said(&namespace, "Kustomization", "x").await?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_registry_is_told_to_be_one() -> Result<()> {
    let (flux, registry) = (e2e::flux().await?, e2e::registry().await?);
    let namespace = flux.cluster.namespace("plain").await?;
    let name = namespace.name();
    let files = [("map.yaml", &*config_map("map", "from the registry"))];
    push_artifact(registry, name, "latest", "main@sha1:5a4f4a0", &files).await?;
    let backend = with_options(&backend(flux, name).await?, |convert| {
        convert.insecure = vec![registry.host.to_string()];
    });
    let app = Application::new("app")
        .source(Source::oci(format!("oci://{}/{name}", registry.host)))
        .in_namespace(name);
    backend.put(&app, PutMode::Create).await?;
    let stored = backend.get(&app.app_ref()).await?;
    assert_eq!(stored.app, app);
    let outcome = backend
        .sync_and_wait(&app.app_ref(), &SyncOptions::default())
        .await?;
    assert!(outcome.is_success(), "{outcome:?}");
    let found = find(&namespace.client(), &map(name))
        .await?
        .context("no map")?;
    assert_eq!(found.data["data"]["value"], "from the registry");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_changes_nothing() -> Result<()> {
    let (namespace, repository, backend) = place("refused").await?;
    let (client, name) = (namespace.client(), namespace.name());
    let mut wrong = application("app", name, &repository);
    wrong.labels.insert("team".into(), "no label at all".into());
    let error = backend.put(&wrong, PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(!is_there(&namespace, &object("GitRepository", name, "app")).await?);

    let app = application("app", name, &repository).automated(automated());
    backend.put(&app, PutMode::Create).await?;
    backend.wait_until_healthy(&app.app_ref(), PATIENCE).await?;
    let workload = said(&namespace, "Kustomization", "app").await?;
    let source = said(&namespace, "GitRepository", "app").await?;
    let mut wrong = app.clone();
    wrong.labels.insert("team".into(), "no label at all".into());
    wrong.sources[0].target_revision = Some("other".into());
    wrong.sources[0].repo_url.push_str("-moved");
    let error = backend.put(&wrong, PutMode::Upsert).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");

    // Where the new source is somebody else's.
    let mut theirs = object("OCIRepository", name, "app");
    theirs["spec"] =
        json!({"interval": "1h", "url": "oci://registry.example.com/x", "suspend": true});
    apply(&client, &theirs).await?;
    let mut moved = app.clone();
    moved.sources[0] = Source::oci("oci://registry.example.com/y");
    let error = backend.put(&moved, PutMode::Upsert).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(said(&namespace, "Kustomization", "app").await?, workload);
    assert_eq!(said(&namespace, "GitRepository", "app").await?, source);
    let stored = backend.get(&app.app_ref()).await?;
    assert_eq!(stored.app, app);

    // A put that died half-way: it is not the user's suspension, and whoever puts next finishes it.
    let manager = backend.manager();
    let of = gitops_flux::FluxRef::new(gitops_flux::FluxKind::Kustomization, "", "app");
    let live = manager.get_value(&of).await?;
    let generation = live["metadata"]["generation"]
        .as_i64()
        .context("no generation")?;
    let paused = json!({
        "apiVersion": live["apiVersion"], "kind": live["kind"],
        "metadata": {"name": "app", "namespace": name, "annotations": {
            "gitops.rs/putting": "1-dead", "gitops.rs/paused": (generation + 1).to_string(),
        }},
        "spec": {"suspend": true},
    });
    let api = kube::api::Api::<kube::api::DynamicObject>::namespaced_with(
        client.clone(),
        name,
        &kube::core::ApiResource::from_gvk_with_plural(
            &kube::core::GroupVersionKind::gvk(
                "kustomize.toolkit.fluxcd.io",
                "v1",
                "Kustomization",
            ),
            "kustomizations",
        ),
    );
    let merge = kube::api::Patch::Merge(&paused);
    api.patch("app", &Default::default(), &merge).await?;
    assert_eq!(backend.get(&app.app_ref()).await?.version, stored.version);
    let put = backend.put(&app, PutMode::Update(stored.version)).await?;
    assert!(put.changed);
    assert_eq!(said(&namespace, "Kustomization", "app").await?, workload);
    api.patch("app", &Default::default(), &merge).await?;
    let now = backend.get(&app.app_ref()).await?;
    assert!(
        now.app.suspended,
        "another generation is somebody's own suspension"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_updates_at_once_one_is_whole() -> Result<()> {
    let (namespace, repository, backend) = place("updates").await?;
    let mut app = application("app", namespace.name(), &repository);
    backend.put(&app, PutMode::Create).await?;
    let name = app.app_ref();
    let mut won = 0;
    for round in 0..12 {
        let version = backend.get(&name).await?.version;
        let update = |who: &str| {
            let mut app = app.clone();
            app.sources[0].target_revision = Some(format!("{who}-{round}"));
            app.sources[0].path = Some(format!("{who}/{round}"));
            app
        };
        let (a, b) = (update("a"), update("b"));
        let mode = || PutMode::Update(version.clone());
        let (first, second) = tokio::join!(backend.put(&a, mode()), backend.put(&b, mode()));
        let now = backend.get(&name).await?.app;
        match (&first, &second) {
            (Ok(_), Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                assert_eq!(now, a, "round {round}");
                won += 1;
            }
            (Err(error), Ok(_)) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                assert_eq!(now, b, "round {round}");
                won += 1;
            }
            (Err(_), Err(_)) => assert_eq!(now, app, "round {round}"),
            (Ok(_), Ok(_)) => anyhow::bail!("both are told to have replaced {version}"),
        }
        app = now;
    }
    assert!(won > 6, "{won} of 12");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_something_else_uses_stays() -> Result<()> {
    let (namespace, repository, backend) = place("used").await?;
    let (client, name) = (namespace.client(), namespace.name());
    let flux = e2e::flux().await?;
    let elsewhere = flux.cluster.namespace("used-elsewhere").await?;
    let mut user = kustomization(elsewhere.name(), "user", "GitRepository", "app");
    user["spec"]["sourceRef"]["namespace"] = json!(name);
    user["spec"]["suspend"] = json!(true);
    apply(&client, &user).await?;
    let app = application("app", name, &repository);
    backend.put(&app, PutMode::Create).await?;
    // Versions are the same from everywhere, whichever namespace the source is in.
    let far = super::conformance::backend(flux, elsewhere.name()).await?;
    let stored = far.get(&AppRef::new("user")).await?;
    let listed = far.list(&ListOptions::default()).await?;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].app, &listed[0].version),
        (&stored.app, &stored.version)
    );
    assert_eq!(stored.app.sources[0].repo_url, repository.http_url);

    let (git, oci) = (
        object("GitRepository", name, "app"),
        object("OCIRepository", name, "app"),
    );
    let mut moved = app.clone();
    moved.sources[0] = Source::oci("oci://registry.example.com/x");
    backend.put(&moved, PutMode::Upsert).await?;
    assert!(is_there(&namespace, &git).await? && is_there(&namespace, &oci).await?);
    // Back again it is taken up as it was left.
    backend.put(&app, PutMode::Upsert).await?;
    assert!(is_there(&namespace, &git).await?);
    gone(&namespace, &oci).await?;
    backend
        .delete(&app.app_ref(), &DeleteOptions::default())
        .await?;
    gone(&namespace, &object("Kustomization", name, "app")).await?;
    assert!(is_there(&namespace, &git).await?);

    // What a deletion left goes with the next one, once nothing uses it any more.
    let error = backend
        .delete(&app.app_ref(), &DeleteOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let of = gitops_flux::FluxRef::new(gitops_flux::FluxKind::Kustomization, "", "user");
    far.manager().delete(&of, &Default::default()).await?;
    gone(&elsewhere, &user).await?;
    backend
        .delete(&app.app_ref(), &DeleteOptions::default())
        .await?;
    gone(&namespace, &git).await?;
    let error = backend
        .delete(&app.app_ref(), &DeleteOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // One that nobody made for it is nobody's to delete.
    apply(&client, &git_repository(name, "app", &repository)).await?;
    let error = backend
        .delete(&app.app_ref(), &DeleteOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(is_there(&namespace, &git).await?);
    Ok(())
}

/// An application whose sync has applied what it has and waits for what never becomes healthy.
async fn waiting(
    name: &str,
    automated: Option<Automated>,
) -> Result<(
    TestNamespace,
    FluxBackend,
    Application,
    gitops_core::backend::Operation,
)> {
    let (namespace, repository, backend) = place(name).await?;
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "never"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}},
    });
    let files = [
        ("map.yaml", &*config_map("map", "1")),
        ("claim.yaml", &*claim.to_string()),
    ];
    e2e::gitea()
        .await?
        .commit(&repository, "unhealthy", &files)
        .await?;
    let backend = with_options(&backend, |convert| {
        convert.timeout = Duration::from_secs(12);
    });
    let mut app = application("app", namespace.name(), &repository);
    app.sync_policy.automated = automated;
    backend.put(&app, PutMode::Create).await?;
    fetched(&backend, &app.app_ref()).await?;
    let operation = backend
        .sync(&app.app_ref(), &SyncOptions::default())
        .await?;
    let started = Instant::now();
    while !is_there(&namespace, &map(namespace.name())).await? {
        ensure!(started.elapsed() < PATIENCE, "nothing is applied");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok((namespace, backend, app, operation))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_along_what_it_is_asked_to_while_a_sync_waits() -> Result<()> {
    let (namespace, backend, app, operation) = waiting("cascade", None).await?;
    backend
        .delete(&app.app_ref(), &DeleteOptions::default())
        .await?;
    let workload = object("Kustomization", namespace.name(), "app");
    gone(&namespace, &workload).await?;
    gone(&namespace, &map(namespace.name())).await?;
    // Whoever waits is told an end, or that it is gone.
    let waited = tokio::time::timeout(PATIENCE, backend.wait(&operation)).await?;
    assert!(waited.is_err() || waited.is_ok_and(|outcome| outcome.phase == OperationPhase::Failed));

    let (namespace, backend, app, operation) = waiting("orphans", Some(automated())).await?;
    let leave = DeleteOptions {
        cascade: false,
        ..DeleteOptions::default()
    };
    backend.delete(&app.app_ref(), &leave).await?;
    let workload = object("Kustomization", namespace.name(), "app");
    gone(&namespace, &workload).await?;
    let waited = tokio::time::timeout(PATIENCE, backend.wait(&operation)).await?;
    assert!(waited.is_err() || waited.is_ok_and(|outcome| outcome.phase == OperationPhase::Failed));
    assert!(is_there(&namespace, &map(namespace.name())).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_while_a_sync_runs_is_what_it_leaves() -> Result<()> {
    let (namespace, backend, app, operation) = waiting("running", Some(automated())).await?;
    let name = app.app_ref();
    let stored = backend.get(&name).await?;
    assert_eq!(stored.app, app);
    let mut changed = app.clone();
    changed.sync_policy.automated = Some(automated().prune(false));
    backend
        .put(&changed, PutMode::Update(stored.version))
        .await?;
    assert_eq!(backend.get(&name).await?.app, changed);
    let outcome = tokio::time::timeout(PATIENCE, backend.wait(&operation)).await??;
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
    assert_eq!(backend.get(&name).await?.app, changed);
    let spec = said(&namespace, "Kustomization", "app").await?["spec"].take();
    assert_eq!(spec["prune"], false, "{spec}");
    assert_eq!(spec["suspend"], Value::Null, "{spec}");
    Ok(())
}
