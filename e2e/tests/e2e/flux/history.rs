//! Applications through Flux: what is applied and when, the way back, and what is left alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::flux::{Chart, ChartRepository};
use e2e::{Repository, TestNamespace};
use gitops_core::ErrorKind;
use gitops_core::application::{
    AppRef, Application, Automated, HealthStatus, OperationPhase, Source, SyncStatus,
};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, Initiator, ListOptions, PutMode, ResourceAction,
    RevisionHistory, StateReader, SyncOptions, Syncer, SyncerExt,
};
use gitops_flux::backend::{AutoSync, RollbackOptions};
use gitops_flux::{BackendOptions, FluxBackend};
use serde_json::{Value, json};

use super::conformance::{application, backend, fetched, place};
use super::support::{PATIENCE, apply, ask, config_map, find, kustomization, until};

pub(super) fn map(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}})
}

pub(super) async fn value(namespace: &TestNamespace) -> Result<Option<String>> {
    let found = find(&namespace.client(), &map(namespace.name(), "map")).await?;
    Ok(found.and_then(|map| map.data["data"]["value"].as_str().map(str::to_owned)))
}

pub(super) async fn commit(repository: &Repository, value: &str) -> Result<String> {
    let gitea = e2e::gitea().await?;
    gitea
        .commit(
            repository,
            value,
            &[("map.yaml", &*config_map("map", value))],
        )
        .await
}

pub(super) fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let group = match kind {
        "Kustomization" => "kustomize.toolkit.fluxcd.io/v1",
        "HelmRelease" => "helm.toolkit.fluxcd.io/v2",
        _ => "source.toolkit.fluxcd.io/v1",
    };
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": namespace}})
}

/// Waits until the application's source offers `revision`.
pub(super) async fn offered(backend: &FluxBackend, app: &AppRef, revision: &str) -> Result<()> {
    let source = gitops_flux::FluxRef::new(gitops_flux::FluxKind::GitRepository, "", &*app.name);
    backend.manager().reconcile(&source, &ask()).await?;
    backend
        .wait_for(app, PATIENCE, |status| status.revisions == [revision])
        .await?;
    Ok(())
}

pub(super) fn at(revision: &str) -> SyncOptions {
    SyncOptions {
        revisions: vec![revision.to_owned()],
        ..SyncOptions::default()
    }
}

/// The application's source is not pinned.
async fn follows_main(namespace: &TestNamespace) -> Result<()> {
    let source = object("GitRepository", namespace.name(), "app");
    let source = find(&namespace.client(), &source).await?;
    let source = source.context("no source")?;
    assert_eq!(source.data["spec"]["ref"], json!({"branch": "main"}));
    let annotations = source.metadata.annotations.unwrap_or_default();
    let pinned = |name: &&String| name.starts_with("gitops.rs/pinned");
    assert_eq!(annotations.keys().find(pinned), None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_applied_that_nobody_asked_for() -> Result<()> {
    let (namespace, repository, backend) = place("asked").await?;
    let app = application("app", namespace.name(), &repository);
    let put = backend.put(&app, PutMode::Create).await?;
    assert!(put.created);
    assert_eq!(backend.get(&app.app_ref()).await?.app, app);
    let again = backend.put(&app, PutMode::Create).await?;
    assert!(!again.created && !again.changed);
    assert_eq!(again.version, put.version);
    let app = app.app_ref();
    fetched(&backend, &app).await?;
    let first = commit(&repository, "1").await?;
    offered(&backend, &app, &first).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(value(&namespace).await?, None);

    let options = SyncOptions {
        initiator: Initiator {
            name: "tester".into(),
            automated: false,
        },
        ..SyncOptions::default()
    };
    let outcome = backend.sync_and_wait(&app, &options).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.count(ResourceAction::Created), 1, "{outcome:?}");
    assert_eq!(value(&namespace).await?.as_deref(), Some("1"));

    let second = commit(&repository, "2").await?;
    offered(&backend, &app, &second).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(value(&namespace).await?.as_deref(), Some("1"));
    let status = backend.status(&app).await?;
    assert_eq!(status.sync, SyncStatus::OutOfSync);
    assert_eq!(status.health.status, HealthStatus::Healthy);
    assert_eq!(status.history.len(), 1);
    assert_eq!(status.history[0].initiated_by, "tester");

    // A sync at a revision brings that one, and leaves it there.
    let outcome = backend.sync_and_wait(&app, &at(&second)).await?;
    assert_eq!(outcome.revisions, [&*second]);
    assert_eq!(outcome.count(ResourceAction::Updated), 1, "{outcome:?}");
    let outcome = backend.sync_and_wait(&app, &at(&first)).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.revisions, [&*first]);
    assert_eq!(value(&namespace).await?.as_deref(), Some("1"));
    follows_main(&namespace).await?;
    offered(&backend, &app, &second).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(value(&namespace).await?.as_deref(), Some("1"));
    assert_eq!(
        backend.get(&app).await?.app.sources[0]
            .target_revision
            .as_deref(),
        Some("main")
    );

    // One that is not there fails, and says so; the next one is as before.
    let outcome = backend.sync_and_wait(&app, &at(&"f".repeat(40))).await?;
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
    assert!(outcome.message.contains("ffff"), "{outcome:?}");
    follows_main(&namespace).await?;
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.revisions, [&*second]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn automated_sync_is_never_undone_in_silence() -> Result<()> {
    let (namespace, repository, backend) = place("automated").await?;
    let first = commit(&repository, "1").await?;
    let app = application("app", namespace.name(), &repository)
        .automated(Automated::default().prune(true).self_heal(true));
    backend.put(&app, PutMode::Upsert).await?;
    let app = app.app_ref();
    backend.wait_until_healthy(&app, PATIENCE).await?;
    assert_eq!(value(&namespace).await?.as_deref(), Some("1"));
    let second = commit(&repository, "2").await?;
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.revisions, [&*second]);

    let entries = RevisionHistory::list(&backend, &app).await?;
    let entry = entries
        .iter()
        .find(|entry| entry.revisions == [&*first])
        .context("no entry")?;
    for refused in [
        backend.sync(&app, &at(&first)).await,
        backend
            .roll_back(&app, entry.id, &SyncOptions::default())
            .await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    }
    let options = RollbackOptions {
        auto_sync: AutoSync::Pause,
        ..RollbackOptions::default()
    };
    let back = backend.roll_back_and_wait(&app, entry.id, &options).await?;
    assert!(
        back.outcome.is_success() && back.auto_sync_paused,
        "{back:?}"
    );
    assert_eq!(back.outcome.revisions, [&*first]);
    assert_eq!(value(&namespace).await?.as_deref(), Some("1"));
    assert!(backend.get(&app).await?.app.suspended);
    // Programs leave it alone.
    let by_itself = SyncOptions {
        initiator: Initiator {
            name: "loop".into(),
            automated: true,
        },
        ..SyncOptions::default()
    };
    assert_eq!(
        backend.sync(&app, &by_itself).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    backend.resume(&app).await?;
    backend.resume(&app).await?;
    let wanted = map(namespace.name(), "map");
    until(&namespace.client(), &wanted, |map| {
        map.data["data"]["value"] == "2"
    })
    .await?;
    assert!(!backend.get(&app).await?.app.suspended);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_git_no_longer_names_is_pruned_when_asked_and_all_of_it_at_the_end() -> Result<()> {
    let (namespace, repository, backend) = place("prune").await?;
    let gitea = e2e::gitea().await?;
    gitea
        .commit(
            &repository,
            "more",
            &[("more.yaml", &*config_map("more", "1"))],
        )
        .await?;
    let app = application("app", namespace.name(), &repository);
    backend.put(&app, PutMode::Upsert).await?;
    let name = app.app_ref();
    let outcome = backend
        .sync_and_wait(&name, &SyncOptions::default())
        .await?;
    assert_eq!(outcome.count(ResourceAction::Created), 2, "{outcome:?}");

    // The one that is no longer in the folder that is applied now.
    gitea
        .commit(
            &repository,
            "folder",
            &[("only/map.yaml", &*config_map("map", "9"))],
        )
        .await?;
    let mut moved = app.clone();
    moved.sources[0].path = Some("only".into());
    let version = backend.get(&name).await?.version;
    backend
        .put(&moved, PutMode::Update(version.clone()))
        .await?;
    assert_eq!(
        backend
            .put(&app, PutMode::Update(version))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Conflict
    );
    assert_eq!(backend.status(&name).await?.sync, SyncStatus::OutOfSync);
    let pruning = SyncOptions {
        prune: Some(true),
        ..SyncOptions::default()
    };
    let dry = backend
        .sync_and_wait(
            &name,
            &SyncOptions {
                dry_run: true,
                ..pruning.clone()
            },
        )
        .await;
    let outcome = backend.sync_and_wait(&name, &pruning).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.count(ResourceAction::Pruned), 1, "{outcome:?}");
    assert!(
        find(&namespace.client(), &map(namespace.name(), "more"))
            .await?
            .is_none()
    );
    // The dry run came before the new commit was fetched: it says so, or what was pruned.
    if let Ok(dry) = dry {
        assert!(
            !dry.is_success() || dry.count(ResourceAction::Pruned) == 1,
            "{dry:?}"
        );
    }
    let spec = find(
        &namespace.client(),
        &object("Kustomization", namespace.name(), "app"),
    )
    .await?
    .context("no workload")?;
    assert_eq!(spec.data["spec"]["prune"], false);
    assert_eq!(spec.data["spec"]["suspend"], true);

    backend.delete(&name, &DeleteOptions::default()).await?;
    gone(
        &namespace,
        &[
            object("Kustomization", namespace.name(), "app"),
            object("GitRepository", namespace.name(), "app"),
            map(namespace.name(), "map"),
        ],
    )
    .await?;
    assert_eq!(
        backend.get(&name).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );

    // Without a cascade all stays.
    backend.put(&moved, PutMode::Create).await?;
    let outcome = backend
        .sync_and_wait(&name, &SyncOptions::default())
        .await?;
    assert!(outcome.is_success(), "{outcome:?}");
    let leave = DeleteOptions {
        cascade: false,
        ..DeleteOptions::default()
    };
    backend.delete(&name, &leave).await?;
    gone(
        &namespace,
        &[object("Kustomization", namespace.name(), "app")],
    )
    .await?;
    assert!(value(&namespace).await?.is_some());
    Ok(())
}

pub(super) async fn gone(namespace: &TestNamespace, objects: &[Value]) -> Result<()> {
    let started = Instant::now();
    for object in objects {
        while find(&namespace.client(), object).await?.is_some() {
            ensure!(started.elapsed() < PATIENCE, "{object} is still there");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_outlives_the_process_that_started_it() -> Result<()> {
    let (namespace, repository, backend) = place("outlives").await?;
    let revision = commit(&repository, "1").await?;
    let app = application("app", namespace.name(), &repository);
    backend.put(&app, PutMode::Upsert).await?;
    let app = app.app_ref();
    let (name, of) = (namespace.name().to_owned(), app.clone());
    let operation = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let operation = runtime.block_on(async {
            let flux = e2e::flux().await?;
            let other = super::conformance::backend(flux, &name).await?;
            anyhow::Ok(other.sync(&of, &SyncOptions::default()).await?)
        })?;
        // The task that carries it on dies here.
        runtime.shutdown_background();
        anyhow::Ok(operation)
    })
    .await??;
    let outcome = tokio::time::timeout(PATIENCE, backend.wait(&operation)).await??;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.revisions, [&*revision]);
    assert_eq!(outcome.operation, operation);
    // Whoever never saw it learns the same.
    let stranger = super::conformance::backend(e2e::flux().await?, namespace.name()).await?;
    assert_eq!(stranger.wait(&operation).await?, outcome);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_says_why_and_is_tried_again_as_often_as_asked() -> Result<()> {
    let (namespace, repository, backend) = place("fails").await?;
    let gitea = e2e::gitea().await?;
    gitea
        .commit(
            &repository,
            "broken",
            &[(
                "map.yaml",
                "kind: ConfigMap\napiVersion: v1\nmetadata: {}\n",
            )],
        )
        .await?;
    let app = application("app", namespace.name(), &repository);
    // A run that waits for what never becomes healthy must not keep the controller for long.
    let mut options = backend.options().clone();
    options.convert.timeout = Duration::from_secs(10);
    let backend = FluxBackend::with_options(backend.manager().clone(), options);
    backend.put(&app, PutMode::Upsert).await?;
    let app = app.app_ref();
    let options = SyncOptions {
        retry_limit: Some(2),
        retry_backoff: Some(gitops_core::application::Backoff {
            duration: Duration::from_millis(200),
            factor: 2,
            max_duration: Duration::from_secs(1),
        }),
        ..SyncOptions::default()
    };
    let outcome = backend.sync_and_wait(&app, &options).await?;
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
    assert!(outcome.message.contains("BuildFailed"), "{outcome:?}");
    let status = backend.status(&app).await?;
    let operation = status.operation.context("no operation")?;
    assert_eq!(
        (operation.retry_count, operation.phase),
        (2, OperationPhase::Failed)
    );
    assert!(status.history.is_empty());

    // Something that never becomes healthy: it is terminated between runs, or its time is up.
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "never"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}},
    });
    let files = [
        ("map.yaml", &*config_map("map", "1")),
        ("claim.yaml", &*claim.to_string()),
    ];
    gitea.commit(&repository, "unhealthy", &files).await?;
    let impatient = FluxBackend::with_options(
        backend.manager().clone(),
        BackendOptions {
            terminate: Duration::from_secs(2),
            ..backend.options().clone()
        },
    );
    let operation = impatient.sync(&app, &SyncOptions::default()).await?;
    until(&namespace.client(), &map(namespace.name(), "map"), |_| true).await?;
    assert_eq!(
        impatient
            .sync(&app, &SyncOptions::default())
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::OperationInProgress
    );
    impatient.terminate(&operation).await?;
    impatient.terminate(&operation).await?;
    let outcome = tokio::time::timeout(PATIENCE, impatient.wait(&operation)).await??;
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
    assert!(outcome.message.contains("terminated"), "{outcome:?}");
    let spec = find(
        &namespace.client(),
        &object("Kustomization", namespace.name(), "app"),
    )
    .await?
    .context("no workload")?;
    assert_eq!(spec.data["spec"]["suspend"], true);

    let soon = SyncOptions {
        timeout: Some(Duration::from_secs(3)),
        ..SyncOptions::default()
    };
    let outcome = impatient.sync_and_wait(&app, &soon).await?;
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
    assert!(outcome.message.contains("the time was up"), "{outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_made_is_an_application_too() -> Result<()> {
    let (namespace, repository, backend) = place("others").await?;
    let (client, name) = (namespace.client(), namespace.name());
    apply(
        &client,
        &super::support::git_repository(name, "fleet", &repository),
    )
    .await?;
    let mut object = kustomization(name, "theirs", "GitRepository", "fleet");
    object["spec"]["suspend"] = json!(true);
    apply(&client, &object).await?;
    let ours = application("ours", name, &repository);
    backend.put(&ours, PutMode::Upsert).await?;

    let listed = ApplicationStore::list(
        &backend,
        &ListOptions {
            with_status: true,
            ..ListOptions::default()
        },
    )
    .await?;
    let names: Vec<_> = listed.iter().map(|stored| &*stored.app.name).collect();
    assert_eq!(names, ["ours", "theirs"]);
    let app = AppRef::new("theirs");
    let theirs = backend.get(&app).await?.app;
    assert!(theirs.suspended);
    assert_eq!(theirs.sources[0].repo_url, repository.http_url);
    fetched(&backend, &app).await?;
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    // It is as suspended as it was.
    assert!(backend.get(&app).await?.app.suspended);
    let found = find(&client, &object).await?.context("no workload")?;
    assert_eq!(found.data["spec"]["suspend"], true);
    assert_eq!(found.data["spec"]["prune"], true);
    backend.resume(&app).await?;
    assert!(!backend.get(&app).await?.app.suspended);

    // Its source has other users, perhaps: it is not changed, and stays.
    let mut moved = backend.get(&app).await?.app;
    moved.sources[0].target_revision = Some("other".into());
    assert_eq!(
        backend
            .put(&moved, PutMode::Upsert)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Conflict
    );
    backend.delete(&app, &DeleteOptions::default()).await?;
    gone(&namespace, &[object_of(&object)]).await?;
    assert!(
        find(&client, &self::object("GitRepository", name, "fleet"))
            .await?
            .is_some()
    );
    Ok(())
}

fn object_of(object: &Value) -> Value {
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": object["metadata"]})
}

fn chart(version: &str, value: &str) -> Chart {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"value": value, "given": "{{ .Values.given }}"}});
    Chart::new("app", version)
        .values("given: by default\n")
        .file("templates/map.yaml", &map.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_synced_read_and_rolled_back() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("release").await?;
    let charts = ChartRepository::start(None).await?;
    charts.add(&chart("1.0.0", "1")).await?;
    let backend = backend(flux, namespace.name()).await?;
    let mut app = Application::new("app")
        .source(Source::chart(&*charts.url, "app").revision("1.x"))
        .in_namespace(namespace.name());
    let settings = gitops_core::application::Helm {
        parameters: vec![gitops_core::application::HelmParameter {
            name: "given".into(),
            value: "007".into(),
            force_string: false,
        }],
        ..Default::default()
    };
    app.sources[0].render = gitops_core::application::Render::Helm(Box::new(settings));
    backend.put(&app, PutMode::Create).await?;
    assert_eq!(backend.get(&app.app_ref()).await?.app, app);
    let app = app.app_ref();
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.revisions, ["1.0.0"]);
    charts.add(&chart("1.1.0", "2")).await?;
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert_eq!(outcome.revisions, ["1.1.0"], "{outcome:?}");
    assert_eq!(value(&namespace).await?.as_deref(), Some("2"));

    let states = backend.state(&app, &[]).await?;
    let [state] = states.as_slice() else {
        anyhow::bail!("{states:?}")
    };
    assert_eq!(
        (&*state.id.kind, &*state.id.namespace, &*state.id.name),
        ("ConfigMap", namespace.name(), "map")
    );
    let data = |object: &Option<gitops_core::manifest::Object>, key: &str| {
        object.as_ref().and_then(|object| {
            object
                .pointer(&format!("/data/{key}"))?
                .as_str()
                .map(str::to_owned)
        })
    };
    assert_eq!(data(&state.desired, "given").as_deref(), Some("007"));
    assert_eq!(data(&state.live, "value").as_deref(), Some("2"));

    let entries = RevisionHistory::list(&backend, &app).await?;
    let revisions: Vec<_> = entries.iter().flat_map(|entry| &entry.revisions).collect();
    assert_eq!(revisions, ["1.0.0", "1.1.0"]);
    let operation = backend
        .roll_back(&app, entries[0].id, &SyncOptions::default())
        .await?;
    let outcome = backend.wait(&operation).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.revisions, ["1.0.0"]);
    assert_eq!(value(&namespace).await?.as_deref(), Some("1"));
    // What it follows is what it was, and what it has is not that.
    assert_eq!(
        backend.get(&app).await?.app.sources[0]
            .target_revision
            .as_deref(),
        Some("1.x")
    );
    assert_eq!(backend.status(&app).await?.sync, SyncStatus::OutOfSync);
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert_eq!(outcome.revisions, ["1.1.0"], "{outcome:?}");

    backend.delete(&app, &DeleteOptions::default()).await?;
    let chart = format!("{}-app", namespace.name());
    let left = [
        object("HelmRelease", namespace.name(), "app"),
        object("HelmRepository", namespace.name(), "app"),
        object("HelmChart", namespace.name(), &chart),
        map(namespace.name(), "map"),
    ];
    gone(&namespace, &left).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_leads_back_and_automated_sync_follows_it() -> Result<()> {
    let (namespace, repository, backend) = place("revert").await?;
    let gitea = e2e::gitea().await?;
    let files = [
        ("prod/map.yaml", &*config_map("map", "1")),
        ("other/map.yaml", &*config_map("map", "other")),
    ];
    let first = gitea.commit(&repository, "first", &files).await?;
    let mut app = application("app", namespace.name(), &repository)
        .automated(Automated::default().prune(true).self_heal(true));
    app.sources[0].path = Some("prod".into());
    backend.put(&app, PutMode::Upsert).await?;
    let app = app.app_ref();
    backend.wait_until_healthy(&app, PATIENCE).await?;
    let files = [
        ("prod/map.yaml", &*config_map("map", "2")),
        ("prod/more.yaml", &*config_map("more", "2")),
    ];
    gitea.commit(&repository, "second", &files).await?;
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(value(&namespace).await?.as_deref(), Some("2"));

    let entries = RevisionHistory::list(&backend, &app).await?;
    let entry = entries
        .iter()
        .find(|entry| entry.revisions == [&*first])
        .context("no entry")?;
    let cache = tempfile::tempdir()?;
    let login =
        gitops_git::credential::StaticCredential::basic(&gitea.url, &gitea.user, &*gitea.password)?;
    let git = gitops_git::GitClient::new(
        gitops_git::RepositoryOptions::default()
            .cache_dir(cache.path())
            .credentials(login),
    )?;
    let git = git.repository(&repository.http_url).await?;
    let options = gitops_flux::backend::RevertOptions {
        paths: Vec::new(),
        commit: gitops_git::CommitOptions::new(
            "Tester",
            "tester@example.com",
            "Go back to {revision}",
        ),
        sync: SyncOptions::default(),
    };
    let back = backend
        .roll_back_in_git(&app, entry.id, &git, &options)
        .await?;
    let commit = back.commit.commit().context("no commit")?;
    assert_ne!(commit, first);
    assert!(back.outcome.is_success(), "{back:?}");
    assert_eq!(back.outcome.revisions, [commit]);
    assert_eq!(value(&namespace).await?.as_deref(), Some("1"));
    assert!(
        find(&namespace.client(), &map(namespace.name(), "more"))
            .await?
            .is_none()
    );
    let tree = git.tree(commit, "").await?;
    let names: Vec<_> = tree.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["map.yaml", "other/map.yaml", "prod/map.yaml"]);
    Ok(())
}
