//! Servers that do not run, die, or do not know what they are asked for. Each test has a Flux of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{FluxController, FluxOptions};
use futures::StreamExt as _;
use gitops_core::ErrorKind;
use gitops_flux::manager::{DeleteOptions, FluxEvent, ListOptions};
use gitops_flux::reconcile::{ReconcileOptions, Update};
use gitops_flux::types::{Alert, Kustomization};
use gitops_flux::{FluxKind, FluxManager, FluxRef};
use serde_json::{Value, json};

use super::super::reconcile::{Site, Told};
use super::super::support::{PATIENCE, apply, ask, config_map, find, ready, until, wait};

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_do_not_run() -> Result<()> {
    let mut server = e2e::private_flux(&FluxOptions {
        controllers: vec![FluxController::Source],
        ..FluxOptions::default()
    })
    .await?;
    let flux = server.flux().clone();
    let map = config_map("map", "1");
    let site = Site::new(&flux, "flux-nobody", &[("map.yaml", &map)]).await?;
    ready(&site.client(), &site.source()).await?;
    let mut object = site.app();
    object["metadata"]["labels"] = json!({"sharding.fluxcd.io/key": "shard1"});
    apply(&site.client(), &object).await?;
    let app = site.the(FluxKind::Kustomization, "app");
    let soon = || wait().answer_within(Duration::from_secs(3));

    // Nobody has ever looked at it.
    let started = Instant::now();
    for refused in [
        site.manager.wait(&app, &soon()).await.unwrap_err(),
        site.manager
            .reconcile(&app, &ReconcileOptions::default().wait(soon()))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
        let told = refused.to_string();
        assert!(told.contains("is kustomize-controller running?"), "{told}");
        assert!(
            told.contains(&format!("namespace {}", site.name())),
            "{told}"
        );
        assert!(told.contains("shard \"shard1\""), "{told}");
    }
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(site.status(&site.app()).await?["conditions"], Value::Null);

    // Its Lease is old: said so. It is fresh: the controller may be busy, and the wait goes on.
    let lease = |renewed: jiff::Timestamp| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "kustomize-controller-leader-election", "namespace": "flux-system"},
            "spec": {"holderIdentity": "x", "leaseDurationSeconds": 35, "renewTime": format!("{:.6}", renewed)},
        })
    };
    let now = jiff::Timestamp::now();
    apply(
        &site.client(),
        &lease(now - jiff::SignedDuration::from_mins(10)),
    )
    .await?;
    let refused = site.manager.wait(&app, &soon()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(
        refused.to_string().contains("was renewed last at"),
        "{refused}"
    );
    apply(&site.client(), &lease(now)).await?;
    let told = Told::default();
    let options = told
        .options(Duration::from_secs(6))
        .answer_within(Duration::from_secs(2));
    let late = site.manager.wait(&app, &options).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout, "{late}");
    assert!(late.to_string().contains("has not taken it up"), "{late}");
    let unanswered = told
        .updates()
        .iter()
        .any(|update| matches!(update, Update::Unanswered { .. }));
    assert!(unanswered, "{:?}", told.lines());

    // An object that was ready before, whose controller is gone: its old Ready is not taken for a new one.
    server.start_controller(FluxController::Kustomize).await?;
    site.manager.wait(&app, &wait()).await?;
    server.kill_controller(FluxController::Kustomize);
    apply(
        &site.client(),
        &lease(now - jiff::SignedDuration::from_mins(10)),
    )
    .await?;
    let refused = site
        .manager
        .reconcile(&app, &ReconcileOptions::default().wait(soon()))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");

    // Deleting it needs the controller too.
    let gone = DeleteOptions::default().wait(Duration::from_secs(3));
    let held = site.manager.delete(&app, &gone).await.unwrap_err();
    assert_eq!(held.kind(), ErrorKind::Timeout, "{held}");
    assert!(held.to_string().contains("finalizers.fluxcd.io"), "{held}");
    server.start_controller(FluxController::Kustomize).await?;
    until_gone(&site).await
}

async fn until_gone(site: &Site) -> Result<()> {
    let started = Instant::now();
    while find(&site.client(), &site.app()).await?.is_some() {
        anyhow::ensure!(started.elapsed() < PATIENCE, "it is still there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(site.value("map").await?, None, "it left what it deployed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_die_in_the_middle() -> Result<()> {
    let mut server = e2e::private_flux(&FluxOptions {
        controllers: vec![FluxController::Source, FluxController::Kustomize],
        ..FluxOptions::default()
    })
    .await?;
    let flux = server.flux().clone();
    let map = config_map("map", "1");
    let site = Site::new(&flux, "flux-dies", &[("map.yaml", &map)]).await?;
    site.deploy().await?;
    let app = site.the(FluxKind::Kustomization, "app");
    let files = [("map.yaml", &*config_map("map", "2"))];
    let commit = site
        .gitea
        .commit(&site.repository, "second", &files)
        .await?;

    // source-controller is stopped when it is asked, killed, and started again.
    server.suspend_controller(FluxController::Source);
    let told = Told::default();
    let patient = told
        .options(PATIENCE)
        .answer_within(Duration::from_secs(60));
    let options = ReconcileOptions::default().with_source().wait(patient);
    let manager = site.manager.clone();
    let waiting = tokio::spawn({
        let app = app.clone();
        async move { manager.reconcile(&app, &options).await }
    });
    until(&site.client(), &site.source(), |found| {
        found
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|all| all.contains_key("reconcile.fluxcd.io/requestedAt"))
    })
    .await?;
    server.kill_controller(FluxController::Source);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(
        !waiting.is_finished(),
        "it did not wait for source-controller"
    );
    server.start_controller(FluxController::Source).await?;
    let done = waiting.await??;
    assert_eq!(done.revision, Some(format!("main@sha1:{commit}")));
    assert_eq!(site.value("map").await?.as_deref(), Some("2"));

    // Without it, the request fails and says so.
    server.kill_controller(FluxController::Source);
    let soon = wait().answer_within(Duration::from_secs(3));
    let options = ReconcileOptions::default().with_source().wait(soon);
    let refused = site.manager.reconcile(&app, &options).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(
        refused
            .to_string()
            .contains("is source-controller running?"),
        "{refused}"
    );
    server.start_controller(FluxController::Source).await?;

    // The API server is restarted in the middle of a wait.
    server.suspend_controller(FluxController::Kustomize);
    let files = [("map.yaml", &*config_map("map", "3"))];
    let commit = site.gitea.commit(&site.repository, "third", &files).await?;
    let source = site.the(FluxKind::GitRepository, "source");
    site.manager.reconcile(&source, &ask()).await?;
    let manager = site.manager.clone();
    let told = Told::default();
    let patient = told
        .options(PATIENCE)
        .answer_within(Duration::from_secs(60));
    let waiting = tokio::spawn({
        let app = app.clone();
        async move {
            let options = ReconcileOptions::default().wait(patient);
            manager.reconcile(&app, &options).await
        }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.control_plane().kill_apiserver();
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.control_plane().start_apiserver().await?;
    server.start_controller(FluxController::Kustomize).await?;
    let done = waiting.await??;
    assert_eq!(done.revision, Some(format!("main@sha1:{commit}")));
    assert_eq!(site.value("map").await?.as_deref(), Some("3"));
    println!("{:#?}", told.lines());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_are_not_installed_and_objects_that_cannot_be_read() -> Result<()> {
    let server = e2e::private_flux(&FluxOptions {
        definitions: false,
        controllers: Vec::new(),
        ..FluxOptions::default()
    })
    .await?;
    let cluster = server.flux().cluster.clone();
    let manager = FluxManager::new(cluster.client().await?);
    let app: Kustomization = serde_json::from_value(json!({
        "metadata": {"name": "good", "namespace": "default"},
        "spec": {"interval": "1h", "prune": true, "path": "./", "sourceRef": {"kind": "GitRepository", "name": "a"}},
    }))?;
    let named = FluxRef::of(&app);
    let mut events = manager.watch::<Kustomization>(&ListOptions::everywhere());
    let watched = loop {
        match events.next().await.context("the watch has ended")? {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let refusals = [
        manager.create(&app).await.map(drop).unwrap_err(),
        manager
            .get::<Kustomization>("default", "good")
            .await
            .map(drop)
            .unwrap_err(),
        manager
            .list::<Alert>(&ListOptions::everywhere())
            .await
            .map(drop)
            .unwrap_err(),
        manager.suspend(&named).await.unwrap_err(),
        manager
            .delete(&named, &DeleteOptions::default())
            .await
            .unwrap_err(),
        manager
            .reconcile(&named, &ask())
            .await
            .map(drop)
            .unwrap_err(),
        manager.wait(&named, &wait()).await.map(drop).unwrap_err(),
        manager.export(&named).await.map(drop).unwrap_err(),
        watched,
    ];
    for refused in refusals {
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
        let told = refused.to_string();
        assert!(
            told.contains("does not know the kind") && told.contains("flux install"),
            "{told}"
        );
        assert!(
            told.contains("Kustomization") || told.contains("Alert"),
            "{told}"
        );
    }

    // A definition that lets anything through, as one of another version may.
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "kustomizations.kustomize.toolkit.fluxcd.io"},
        "spec": {
            "group": "kustomize.toolkit.fluxcd.io", "scope": "Namespaced",
            "names": {"kind": "Kustomization", "listKind": "KustomizationList", "plural": "kustomizations", "singular": "kustomization"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    apply(&manager.client().clone(), &definition).await?;
    let definition = [
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "crd/kustomizations.kustomize.toolkit.fluxcd.io",
    ];
    cluster.kubectl(&definition).await?;
    let broken = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "broken", "namespace": "default"},
        "spec": {"interval": "1h", "prune": "canary-4711", "sourceRef": {"kind": "GitRepository", "name": "a"}},
    });
    let make = async || {
        manager.create(&app).await?;
        apply(manager.client(), &broken).await.map(drop)
    };
    // What is established is served some moments later.
    let started = Instant::now();
    while let Err(error) = make().await {
        anyhow::ensure!(started.elapsed() < PATIENCE, "{error:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let list = manager
        .list::<Kustomization>(&ListOptions::everywhere())
        .await?;
    let good: Vec<_> = list
        .items
        .iter()
        .filter_map(|item| item.metadata.name.as_deref())
        .collect();
    assert_eq!(good, ["good"]);
    assert_eq!(list.unreadable.len(), 1);
    assert_eq!(
        list.unreadable[0].object.to_string(),
        "Kustomization default/broken"
    );
    assert!(
        list.unreadable[0].reason.contains("expected a boolean"),
        "{:?}",
        list.unreadable
    );
    assert!(!format!("{list:?}").contains("canary"), "{list:?}");
    let refused = manager
        .get::<Kustomization>("default", "broken")
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Integrity, "{refused}");
    assert!(
        !format!("{refused:?}{refused:#}").contains("canary"),
        "{refused:?}"
    );
    let mut events = manager.watch::<Kustomization>(&ListOptions::everywhere());
    let (mut readable, mut unreadable) = (0, 0);
    loop {
        match events.next().await.context("the watch has ended")?? {
            FluxEvent::Applied(_) => readable += 1,
            FluxEvent::Unreadable(one) => {
                assert_eq!(one.object.name, "broken");
                unreadable += 1;
            }
            FluxEvent::Synced => break,
            _ => {}
        }
    }
    assert_eq!((readable, unreadable), (1, 1));
    // It can be suspended, exported and deleted all the same.
    let broken = FluxRef::to::<Kustomization>("default", "broken");
    manager.suspend(&broken).await?;
    assert!(
        manager
            .export(&broken)
            .await?
            .to_yaml()
            .contains("suspend: true")
    );
    manager
        .delete(&broken, &DeleteOptions::default().wait(PATIENCE))
        .await?;
    let list = manager
        .list::<Kustomization>(&ListOptions::everywhere())
        .await?;
    assert_eq!((list.items.len(), list.unreadable.len()), (1, 0));
    Ok(())
}
