//! Syncs: what is told while they run, what they did, and the ways back.

use anyhow::{Context, Result};
use futures::StreamExt;
use gitops_argocd::backend::{AutoSync, RollbackOptions, WhenBusy};
use gitops_argocd::rest::{LogQuery, ResourceRef};
use gitops_argocd::{ArgoCDManager, ArgoCdOptions};
use gitops_core::application::{Automated, HealthStatus, OperationPhase, SyncStatus};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, EventKind, PutMode, ResourceAction, RevisionHistory,
    SyncOptions, SyncResource, Syncer, SyncerExt,
};
use gitops_core::error::ErrorKind;

use super::support::{
    Door, PATIENCE, application, backend, compared, config_map, config_maps, deployment, hook,
    repository, rest, seen, unique,
};

async fn a_sync_tells_what_it_does(door: Door) -> Result<()> {
    let argocd = e2e::argocd().await?;
    let name = unique("sync");
    let files = [
        ("web.json", &*deployment("web")),
        ("map.json", &*config_map("map", "1")),
        ("gone.yaml", &*config_map("gone", "1")),
        ("before.json", &*hook("before", "PreSync", "echo ready")),
    ];
    let repository = repository(argocd, &name, &files).await?;
    let backend = backend(argocd, door).await?;
    let manager = ArgoCDManager::new(backend.clone());
    let app = application(&name, &repository);
    let put = manager.create_application(&app).await?;
    assert!(put.created && put.changed);
    let again = manager.create_application(&app).await?;
    assert!(!again.created && !again.changed);
    let app = app.app_ref();
    compared(&backend, &app).await?;

    let operation = backend.sync(&app, &SyncOptions::default()).await?;
    let events: Vec<EventKind> = backend
        .events(&operation)
        .map(|event| event.map(|event| event.kind))
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect::<gitops_core::Result<_>>()?;
    assert!(
        matches!(events.first(), Some(EventKind::SyncStarted)),
        "{events:?}"
    );
    let hooks: Vec<_> = events
        .iter()
        .filter_map(|kind| match kind {
            EventKind::Hook { id, phase, .. } => Some((id.name.as_str(), phase.as_str())),
            _ => None,
        })
        .collect();
    assert!(hooks.contains(&("before", "Succeeded")), "{hooks:?}");
    let made: Vec<_> = events
        .iter()
        .filter_map(|kind| match kind {
            EventKind::Resource {
                id,
                action: ResourceAction::Created,
                ..
            } => Some(id.name.as_str()),
            _ => None,
        })
        .collect();
    for wanted in ["web", "map", "gone"] {
        assert!(made.contains(&wanted), "{wanted}: {made:?}");
    }
    let Some(EventKind::SyncFinished { outcome }) = events.last() else {
        panic!("{events:?}");
    };
    assert!(outcome.is_success(), "{outcome:?}");

    let status = backend.wait_until_healthy(&app, PATIENCE).await?;
    assert_eq!(status.revisions, outcome.revisions);
    assert_eq!(status.operation.context("no operation")?.id, operation.id);
    assert_eq!(config_maps(argocd, &name).await?, "gone=1 map=1 ");
    assert_eq!(
        manager.get_application_status(&app).await?.health.status,
        HealthStatus::Healthy
    );
    if door == Door::Rest {
        // Argo CD 3 keeps it in the tree; its API server adds it.
        let web = status
            .resources
            .iter()
            .find(|resource| resource.id.name == "web");
        let health = web
            .and_then(|web| web.health.as_ref())
            .context("no health")?;
        assert_eq!(health.status, HealthStatus::Healthy);
    }

    // A change, and what Git no longer names.
    let gitea = e2e::gitea().await?;
    let files = [("map.json", &*config_map("map", "2")), ("gone.yaml", "")];
    let revision = gitea.commit(&repository, "next", &files).await?;
    seen(&backend, &app, &revision).await?;
    let options = SyncOptions {
        prune: Some(true),
        ..SyncOptions::default()
    };
    let outcome = manager.sync_application(&app, &options).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.revisions, [revision]);
    assert_eq!(outcome.count(ResourceAction::Pruned), 1, "{outcome:?}");
    // The garbage collector takes away what was pruned, and the controller compares once more.
    let pruned = async {
        while config_maps(argocd, &name).await? != "map=2 " {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, pruned)
        .await
        .context("it is not pruned")??;
    backend
        .wait_for(&app, PATIENCE, |status| {
            status.resources.iter().all(|one| one.id.name != "gone")
        })
        .await?;

    // Only one of its resources, after somebody changed two.
    for (kind, patch) in [
        ("configmap/map", r#"{"data":{"value":"3"}}"#),
        (
            "deployment/web",
            r#"{"metadata":{"labels":{"by":"hand"}},"spec":{"replicas":0}}"#,
        ),
    ] {
        argocd
            .cluster
            .kubectl(&[
                "patch",
                kind,
                "--namespace",
                &name,
                "--type=merge",
                "--patch",
                patch,
            ])
            .await?;
    }
    let options = SyncOptions {
        resources: vec![SyncResource {
            kind: "ConfigMap".into(),
            ..SyncResource::default()
        }],
        ..SyncOptions::default()
    };
    let outcome = backend.sync_and_wait(&app, &options).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    let names: Vec<_> = outcome
        .resources
        .iter()
        .map(|r| r.id.name.as_str())
        .collect();
    assert_eq!(names, ["map"]);
    assert_eq!(config_maps(argocd, &name).await?, "map=2 ");

    backend.delete(&app, &DeleteOptions::default()).await?;
    let gone = async {
        while backend.get(&app).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await?;
    assert_eq!(config_maps(argocd, &name).await?, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_tells_what_it_does_over_rest() -> Result<()> {
    a_sync_tells_what_it_does(Door::Rest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_tells_what_it_does_over_kubernetes() -> Result<()> {
    a_sync_tells_what_it_does(Door::Kubernetes).await
}

async fn a_busy_application(door: Door) -> Result<()> {
    let argocd = e2e::argocd().await?;
    let name = unique("busy");
    let files = [
        ("map.json", &*config_map("map", "1")),
        (
            "slow.json",
            &*hook("slow", "PreSync", "trap exit TERM; sleep 200 & wait"),
        ),
    ];
    let repository = repository(argocd, &name, &files).await?;
    let backend = backend(argocd, door).await?;
    let app = application(&name, &repository);
    backend.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    compared(&backend, &app).await?;

    // While one runs, another one is refused.
    let first = backend.sync(&app, &SyncOptions::default()).await?;
    let error = backend
        .sync(&app, &SyncOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OperationInProgress, "{error}");

    // Or waits, as asked, and has an outcome of its own.
    let patient = backend.clone().with_options(ArgoCdOptions {
        when_busy: WhenBusy::Wait(PATIENCE),
        ..ArgoCdOptions::default()
    });
    let waiting = {
        let (patient, app) = (patient.clone(), app.clone());
        tokio::spawn(async move {
            patient
                .sync(
                    &app,
                    &SyncOptions {
                        dry_run: true,
                        ..SyncOptions::default()
                    },
                )
                .await
        })
    };

    // Terminated, it ends badly and says so.
    let running = async {
        loop {
            let status = backend.status(&app).await?;
            if status
                .operation
                .is_some_and(|operation| operation.started_at.is_some())
            {
                return anyhow::Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, running).await??;
    backend.terminate(&first).await?;
    let outcome = tokio::time::timeout(PATIENCE, backend.wait(&first)).await;
    // The one that waits may have begun before this one was asked for its outcome.
    match outcome? {
        Ok(outcome) => assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
    }
    let second = tokio::time::timeout(PATIENCE, waiting).await???;
    assert_ne!(second.id, first.id);
    let outcome = tokio::time::timeout(PATIENCE, backend.wait(&second)).await??;
    assert!(outcome.is_success(), "{outcome:?}");

    // A sync whose time is up is terminated by whoever waits for it.
    let options = SyncOptions {
        timeout: Some(std::time::Duration::from_secs(3)),
        ..SyncOptions::default()
    };
    // Long before the hook would end.
    let outcome = tokio::time::timeout(PATIENCE, backend.sync_and_wait(&app, &options)).await??;
    assert!(!outcome.is_success(), "{outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_application_is_waited_for_over_rest() -> Result<()> {
    a_busy_application(Door::Rest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_application_is_waited_for_over_kubernetes() -> Result<()> {
    a_busy_application(Door::Kubernetes).await
}

async fn rollbacks(door: Door) -> Result<()> {
    let argocd = e2e::argocd().await?;
    let name = unique("back");
    let repository = repository(argocd, &name, &[("map.json", &config_map("map", "1"))]).await?;
    let backend = backend(argocd, door).await?;
    let app = application(&name, &repository).automated(Automated::default());
    backend.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    let synced = |revision: String| {
        let (backend, app) = (backend.clone(), app.clone());
        async move {
            backend
                .wait_for(&app, PATIENCE, move |status| {
                    status.sync == SyncStatus::Synced
                        && (revision.is_empty() || status.revisions == [revision.clone()])
                        && status
                            .operation
                            .as_ref()
                            .is_some_and(|operation| operation.phase.is_terminal())
                })
                .await
        }
    };
    synced(String::new()).await?;
    let gitea = e2e::gitea().await?;
    let second = gitea
        .commit(
            &repository,
            "next",
            &[("map.json", &*config_map("map", "2"))],
        )
        .await?;
    backend
        .refresh(&app, gitops_argocd::rest::Refresh::Normal)
        .await?;
    synced(second.clone()).await?;
    let history = backend.list_history(&app).await?;
    assert_eq!(history.len(), 2, "{history:?}");
    assert_eq!(history[1].revisions, [second]);
    assert_eq!(history[0].sources.len(), 1);

    // Automated sync would undo it: refused.
    let refused = backend
        .roll_back(&app, history[0].id, &SyncOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    assert!(refused.to_string().contains("automated sync"), "{refused}");

    // Paused, and said so.
    let options = RollbackOptions {
        auto_sync: AutoSync::Pause,
        ..RollbackOptions::default()
    };
    let back = backend
        .roll_back_and_wait(&app, history[0].id, &options)
        .await?;
    assert!(back.outcome.is_success(), "{back:?}");
    assert!(back.auto_sync_paused);
    assert_eq!(back.outcome.revisions, history[0].revisions);
    assert_eq!(config_maps(argocd, &name).await?, "map=1 ");
    assert!(backend.get(&app).await?.app.suspended);
    // It stays there: the controller compares every ten seconds, and does nothing.
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    assert_eq!(config_maps(argocd, &name).await?, "map=1 ");

    // Turned on again, it goes to what Git says.
    backend.resume_auto_sync(&app).await?;
    assert!(!backend.get(&app).await?.app.suspended);
    tokio::time::timeout(PATIENCE, async {
        while config_maps(argocd, &name).await? != "map=2 " {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        anyhow::Ok(())
    })
    .await??;

    // Paused and restored; and an entry that is not there leaves automated sync as it was.
    let options = RollbackOptions {
        auto_sync: AutoSync::PauseAndRestore,
        ..RollbackOptions::default()
    };
    synced(String::new()).await?;
    let back = backend
        .roll_back_and_wait(&app, history[0].id, &options)
        .await?;
    assert!(
        back.outcome.is_success() && !back.auto_sync_paused,
        "{back:?}"
    );
    let error = backend
        .roll_back_and_wait(&app, i64::MAX, &options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let stored = backend.get(&app).await?.app;
    assert!(!stored.suspended && stored.sync_policy.automated.is_some_and(|a| a.is_enabled()));
    Ok(())
}

trait ListHistory {
    async fn list_history(
        &self,
        app: &gitops_core::application::AppRef,
    ) -> gitops_core::Result<Vec<gitops_core::application::HistoryEntry>>;
}

impl ListHistory for gitops_argocd::ArgoCdBackend {
    async fn list_history(
        &self,
        app: &gitops_core::application::AppRef,
    ) -> gitops_core::Result<Vec<gitops_core::application::HistoryEntry>> {
        RevisionHistory::list(self, app).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollbacks_under_automated_sync_over_rest() -> Result<()> {
    rollbacks(Door::Rest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rollbacks_under_automated_sync_over_kubernetes() -> Result<()> {
    rollbacks(Door::Kubernetes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_read_changed_and_restarted() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let name = unique("parts");
    let secret = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"key"},"stringData":{"password":"canary-in-a-secret"}}"#;
    let files = [
        ("web.json", &*deployment("web")),
        ("key.json", secret),
        ("map.json", &*config_map("map", "1")),
    ];
    let repository = repository(argocd, &name, &files).await?;
    let backend = backend(argocd, Door::Rest).await?;
    let client = rest(argocd)?;
    let app = application(&name, &repository);
    backend.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    let outcome = backend.sync_and_wait(&app, &SyncOptions::default()).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    backend.wait_until_healthy(&app, PATIENCE).await?;

    let web = ResourceRef {
        group: "apps".into(),
        version: "v1".into(),
        kind: "Deployment".into(),
        namespace: name.clone(),
        name: "web".into(),
    };
    let map = ResourceRef {
        group: String::new(),
        version: "v1".into(),
        kind: "ConfigMap".into(),
        name: "map".into(),
        ..web.clone()
    };
    let live = client.get_resource(&app, &web).await?;
    assert_eq!(live["metadata"]["name"], "web");

    // The tree leads from the Deployment to its pod.
    let tree = client.resource_tree(&app).await?;
    let nodes = tree.nodes.context("no nodes")?;
    let pod = nodes
        .iter()
        .find(|node| node.kind.as_deref() == Some("Pod"))
        .and_then(|pod| pod.name.clone())
        .context("no pod")?;
    let mut trees = client.watch_resource_tree(&app).await?;
    assert!(trees.next().await.context("no tree")??.nodes.is_some());

    // Its log, by the pod and by the Deployment; nothing where nothing matches.
    for query in [
        LogQuery {
            pod_name: Some(pod.clone()),
            namespace: name.clone(),
            ..LogQuery::default()
        },
        LogQuery {
            group: "apps".into(),
            kind: "Deployment".into(),
            resource_name: "web".into(),
            ..LogQuery::default()
        },
    ] {
        let lines: Vec<_> = client.logs(&app, &query).await?.collect().await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = lines.into_iter().next().context("no line")??;
        assert_eq!(
            (line.content.as_str(), line.pod_name),
            ("hello from web", pod.clone())
        );
    }
    let none = LogQuery {
        kind: "StatefulSet".into(),
        ..LogQuery::default()
    };
    assert_eq!(client.logs(&app, &none).await?.count().await, 0);

    // An action of the Deployment: another pod.
    let actions = client.resource_actions(&app, &web).await?;
    assert!(
        actions.iter().any(|action| action.name == "restart"),
        "{actions:?}"
    );
    client
        .run_resource_action(&app, &web, "restart", &[])
        .await?;
    let live = client.get_resource(&app, &web).await?;
    let restarted =
        &live["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"];
    assert!(restarted.is_string(), "{live}");
    // With a parameter, which needs the other form of the call.
    let scale = [("replicas".to_owned(), "2".to_owned())];
    client
        .run_resource_action(&app, &web, "scale", &scale)
        .await?;
    assert_eq!(
        client.get_resource(&app, &web).await?["spec"]["replicas"],
        2
    );

    // A change behind Git's back is drift, and the comparison shows it.
    let patch = serde_json::json!({"data": {"value": "9"}});
    client
        .patch_resource(&app, &map, &patch, gitops_argocd::rest::PatchType::Merge)
        .await?;
    assert!(config_maps(argocd, &name).await?.contains("map=9"));
    backend
        .wait_for(&app, PATIENCE, |status| {
            status.sync == SyncStatus::OutOfSync
        })
        .await?;
    let managed = client
        .managed_resources(&app, &ResourceRef::default())
        .await?;
    let drifted = managed
        .iter()
        .find(|one| one.name == "map")
        .context("no map")?;
    assert!(
        drifted.live_state.contains(r#""value":"9""#)
            && drifted.predicted_live_state.contains(r#""value":"1""#)
    );
    // Nobody sees the Secret's value.
    assert!(managed.iter().any(|one| one.kind == "Secret"));
    assert!(!managed.iter().any(|one| {
        [
            &one.live_state,
            &one.target_state,
            &one.predicted_live_state,
        ]
        .iter()
        .any(|state| state.contains("canary"))
    }));
    let rendered = client.manifests(&app, &[], &[], false).await?;
    let rendered = rendered.manifests.context("no manifests")?;
    assert_eq!(rendered.len(), 3);
    assert!(!rendered.iter().any(|one| one.contains("canary-in")));

    // Deleted, it is missing.
    client.delete_resource(&app, &map, false, false).await?;
    backend
        .wait_for(&app, PATIENCE, |status| {
            status.resources.iter().any(|one| {
                one.id.name == "map"
                    && one
                        .health
                        .as_ref()
                        .is_some_and(|h| h.status == HealthStatus::Missing)
            })
        })
        .await?;
    let error = client
        .get_resource(
            &app,
            &ResourceRef {
                name: "other".into(),
                ..map
            },
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");

    // Who wrote the revision, and what happened.
    let metadata = client
        .revision_metadata(&app, &outcome.revisions[0], None, None)
        .await?;
    assert_eq!(metadata.message.as_deref().map(str::trim), Some("first"));
    let events = client.events(&app, None).await?;
    assert!(
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some("OperationStarted"))
    );
    assert!(client.application_sync_windows(&app).await?.can_sync);
    assert!(client.links(&app).await?.is_empty());
    Ok(())
}
