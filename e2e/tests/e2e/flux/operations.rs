//! What operations leave behind: what others do meanwhile is respected, and what an operation changed for its time is as it was.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{FluxController, FluxOptions, Repository, TestNamespace};
use gitops_core::ErrorKind;
use gitops_core::application::{AppRef, Application, Automated, OperationPhase, SyncStatus};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, PutMode, SyncOptions, SyncOutcome, Syncer, SyncerExt,
};
use gitops_flux::{BackendOptions, FluxBackend};
use serde_json::{Value, json};

use super::conformance::{application, backend, fetched, place};
use super::history::{at, commit, gone, map, object, offered, value};
use super::reconcile::Site;
use super::support::{PATIENCE, apply, config_map, find, git_repository, kustomization, until};

fn automated(app: Application) -> Application {
    app.automated(Automated::default().prune(true).self_heal(true))
}

/// A Deployment that nothing can run, as a manifest.
fn never_healthy() -> String {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "never"},
        "spec": {
            "selector": {"matchLabels": {"app": "never"}},
            "template": {
                "metadata": {"labels": {"app": "never"}},
                "spec": {
                    "nodeSelector": {"no": "such-node"},
                    "containers": [{"name": "main", "image": e2e::BUSYBOX, "imagePullPolicy": "Never"}],
                },
            },
        },
    })
    .to_string()
}

/// With runs that wait no longer than this for what never becomes healthy, and operations that wait no longer for a run once they are terminated.
fn impatient(backend: &FluxBackend) -> FluxBackend {
    let mut options = BackendOptions {
        terminate: Duration::from_secs(2),
        ..backend.options().clone()
    };
    options.convert.timeout = Duration::from_secs(10);
    FluxBackend::with_options(backend.manager().clone(), options)
}

async fn commit_unhealthy(repository: &Repository, value: &str) -> Result<String> {
    let files = [
        ("map.yaml", &*config_map("map", value)),
        ("never.yaml", &*never_healthy()),
    ];
    e2e::gitea().await?.commit(repository, value, &files).await
}

async fn until_value(namespace: &TestNamespace, wanted: &str) -> Result<()> {
    until(&namespace.client(), &map(namespace.name(), "map"), |map| {
        map.data["data"]["value"] == wanted
    })
    .await
    .map(drop)
}

async fn spec(namespace: &TestNamespace, kind: &str, name: &str) -> Result<Value> {
    let found = find(&namespace.client(), &object(kind, namespace.name(), name)).await?;
    Ok(found.context("it is gone")?.data["spec"].clone())
}

/// Deletes an application while a sync waits for what never becomes healthy. The workload is gone afterwards.
async fn delete_in_a_sync(
    name: &str,
    is_automated: bool,
    cascade: bool,
) -> Result<(TestNamespace, Option<SyncOutcome>)> {
    let (namespace, repository, backend) = place(name).await?;
    let backend = impatient(&backend);
    commit_unhealthy(&repository, "1").await?;
    let mut app = application("app", namespace.name(), &repository);
    if is_automated {
        app = automated(app);
    }
    backend.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    fetched(&backend, &app).await?;
    let operation = backend.sync(&app, &SyncOptions::default()).await?;
    until_value(&namespace, "1").await?;
    until(
        &namespace.client(),
        &object("Kustomization", namespace.name(), "app"),
        |found| {
            let annotations = found.metadata.annotations.as_ref();
            let record = annotations.and_then(|all| all.get("gitops.rs/operation"));
            record.is_some_and(|record| record.contains("\"step\":\"workload\""))
        },
    )
    .await?;
    let options = DeleteOptions {
        cascade,
        ..DeleteOptions::default()
    };
    backend.delete(&app, &options).await?;
    let outcome = tokio::time::timeout(PATIENCE, backend.wait(&operation)).await?;
    let outcome = match outcome {
        Ok(outcome) => Some(outcome),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let workload = object("Kustomization", namespace.name(), "app");
    gone(&namespace, &[workload]).await?;
    Ok((namespace, outcome))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascading_deletion_in_a_sync_deletes() -> Result<()> {
    let (namespace, outcome) = delete_in_a_sync("deleted", false, true).await?;
    gone(&namespace, &[map(namespace.name(), "map")]).await?;
    if let Some(outcome) = outcome {
        assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
        assert!(outcome.message.contains("deleted"), "{outcome:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_without_cascade_in_a_sync_leaves_what_is_deployed() -> Result<()> {
    let (namespace, _) = delete_in_a_sync("left", true, false).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let found = find(&namespace.client(), &map(namespace.name(), "map")).await?;
    let found = found.context("what was to stay was pruned")?;
    assert_eq!(found.metadata.deletion_timestamp, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_application_is_as_automated_as_it_was() -> Result<()> {
    let (namespace, repository, backend) = place("stopped").await?;
    let backend = impatient(&backend);
    commit_unhealthy(&repository, "1").await?;
    let app = automated(application("app", namespace.name(), &repository));
    backend.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    let operation = backend.sync(&app, &SyncOptions::default()).await?;
    until_value(&namespace, "1").await?;
    backend.terminate(&operation).await?;
    let outcome = tokio::time::timeout(PATIENCE, backend.wait(&operation)).await??;
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
    assert!(outcome.message.contains("terminated"), "{outcome:?}");
    let spec = spec(&namespace, "Kustomization", "app").await?;
    assert_ne!(spec["suspend"], true);
    assert_eq!(spec["prune"], true);
    assert!(!backend.get(&app).await?.app.suspended);
    // Flux goes on with it.
    let next = commit(&repository, "2").await?;
    offered(&backend, &app, &next).await?;
    until_value(&namespace, "2").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_others_use_is_not_pinned() -> Result<()> {
    let (namespace, repository, backend) = place("shared").await?;
    let (client, name) = (namespace.client(), namespace.name());
    let first = commit(&repository, "1").await?;
    let second = commit(&repository, "2").await?;
    let ours = application("ours", name, &repository);
    backend.put(&ours, PutMode::Create).await?;
    let ours = ours.app_ref();
    offered(&backend, &ours, &second).await?;
    apply(&client, &git_repository(name, "fleet", &repository)).await?;
    let mut theirs = kustomization(name, "theirs", "GitRepository", "fleet");
    theirs["spec"]["suspend"] = json!(true);
    apply(&client, &theirs).await?;
    let mut guest = kustomization(name, "guest", "GitRepository", "ours");
    guest["spec"]["suspend"] = json!(true);
    apply(&client, &guest).await?;

    for (app, source, other) in [
        (AppRef::new("theirs"), "fleet", "was not made for"),
        (ours.clone(), "ours", "Kustomization"),
    ] {
        fetched(&backend, &app).await?;
        let refused = backend.sync(&app, &at(&first)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        let told = refused.to_string();
        assert!(
            told.contains(&format!("GitRepository {name}/{source}")) && told.contains(other),
            "{told}"
        );
        let spec = spec(&namespace, "GitRepository", source).await?;
        assert_eq!(spec["ref"], json!({"branch": "main"}));
        // What the source has may be synced.
        let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
        assert!(outcome.is_success(), "{outcome:?}");
    }
    // Alone with its source it goes back.
    let guest = AppRef::new("guest");
    let leave = DeleteOptions {
        cascade: false,
        ..DeleteOptions::default()
    };
    backend.delete(&guest, &leave).await?;
    gone(&namespace, &[object("Kustomization", name, "guest")]).await?;
    let outcome = backend.sync_and_wait(&ours, &at(&first)).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(value(&namespace).await?.as_deref(), Some("1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_in_sync_once_flux_has_applied_them() -> Result<()> {
    let (namespace, repository, backend) = place("settings").await?;
    let files = [
        ("one/map.yaml", &*config_map("map", "1")),
        ("two/map.yaml", &*config_map("map", "2")),
        (
            "broken/map.yaml",
            "kind: ConfigMap\napiVersion: v1\nmetadata: {}\n",
        ),
    ];
    let gitea = e2e::gitea().await?;
    gitea.commit(&repository, "folders", &files).await?;
    let mut app = automated(application("app", namespace.name(), &repository));
    let name = app.app_ref();
    for (path, wanted) in [("one", "1"), ("two", "2")] {
        app.sources[0].path = Some(path.into());
        backend.put(&app, PutMode::Upsert).await?;
        backend.wait_until_healthy(&name, PATIENCE).await?;
        assert_eq!(value(&namespace).await?.as_deref(), Some(wanted));
    }
    let outcome = backend
        .sync_and_wait(&name, &SyncOptions::default())
        .await?;
    assert!(outcome.is_success(), "{outcome:?}");
    app.sources[0].path = Some("one".into());
    backend.put(&app, PutMode::Upsert).await?;
    backend.wait_until_healthy(&name, PATIENCE).await?;
    assert_eq!(value(&namespace).await?.as_deref(), Some("1"));

    // What cannot be built is not applied, whatever the revision is.
    app.sources[0].path = Some("broken".into());
    backend.put(&app, PutMode::Upsert).await?;
    until(
        &namespace.client(),
        &object("Kustomization", namespace.name(), "app"),
        |found| found.data["status"].to_string().contains("BuildFailed"),
    )
    .await?;
    assert_eq!(backend.status(&name).await?.sync, SyncStatus::OutOfSync);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_do_not_run_are_named_and_who_suspends_is_heard() -> Result<()> {
    let server = e2e::private_flux(&FluxOptions {
        controllers: vec![FluxController::Source],
        ..FluxOptions::default()
    })
    .await?;
    let flux = server.flux().clone();
    let site = Site::new(
        &flux,
        "flux-unanswered",
        &[("map.yaml", &config_map("map", "1"))],
    )
    .await?;
    let backend = backend(&flux, site.name()).await?;
    let options = BackendOptions {
        unanswered: Duration::from_secs(3),
        ..backend.options().clone()
    };
    let backend = FluxBackend::with_options(backend.manager().clone(), options);
    let app = application("app", site.name(), &site.repository);
    backend.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    fetched(&backend, &app).await?;

    let lease = |controller: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": format!("{controller}-leader-election"), "namespace": "flux-system"},
            "spec": {"holderIdentity": "x", "leaseDurationSeconds": 35, "renewTime": format!("{:.6}", jiff::Timestamp::now())},
        })
    };
    // The one that runs may take longer to answer.
    apply(&site.client(), &lease("source-controller")).await?;
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
    assert!(
        outcome.message.contains("is kustomize-controller running?"),
        "{outcome:?}"
    );
    // One that has renewed its Lease is busy, and is waited for until the time is up.
    apply(&site.client(), &lease("kustomize-controller")).await?;
    let soon = SyncOptions {
        timeout: Some(Duration::from_secs(12)),
        ..SyncOptions::default()
    };
    let outcome = backend.sync_and_wait(&app, &soon).await?;
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
    assert!(
        outcome.message.contains("the time was up")
            && outcome.message.contains("has not taken it up"),
        "{outcome:?}"
    );

    // Somebody suspends an automated application while its source is slow.
    let automatic = automated(application("slow", site.name(), &site.repository));
    backend.put(&automatic, PutMode::Create).await?;
    let app = automatic.app_ref();
    let source = object("GitRepository", site.name(), "slow");
    until(&site.client(), &source, |found| {
        found.data["status"]["artifact"].is_object()
    })
    .await?;
    server.suspend_controller(FluxController::Source);
    let patient = FluxBackend::with_options(
        backend.manager().clone(),
        BackendOptions {
            unanswered: PATIENCE,
            ..backend.options().clone()
        },
    );
    let operation = patient.sync(&app, &SyncOptions::default()).await?;
    until(&site.client(), &source, |found| {
        let annotations = found.metadata.annotations.as_ref();
        annotations.is_some_and(|all| all.contains_key("reconcile.fluxcd.io/requestedAt"))
    })
    .await?;
    let mut suspended = object("Kustomization", site.name(), "slow");
    suspended["spec"] = json!({"suspend": true});
    apply(&site.client(), &suspended).await?;
    server.resume_controller(FluxController::Source);
    let outcome = tokio::time::timeout(PATIENCE, patient.wait(&operation)).await??;
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
    assert!(outcome.message.contains("suspended"), "{outcome:?}");
    let found = find(&site.client(), &suspended).await?.context("gone")?;
    assert_eq!(found.data["spec"]["suspend"], true);
    assert!(patient.get(&app).await?.app.suspended);
    Ok(())
}
