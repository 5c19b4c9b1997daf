//! `flux stats`, `flux check` and `flux logs`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use gitops_core::ErrorKind;
use gitops_flux::FluxKind;
use gitops_flux::check::{CheckOptions, check, check_prerequisites};
use gitops_flux::logs::{LogsOptions, follow_logs, logs};
use gitops_kube::cluster::KubeCluster;
use serde_json::json;

use super::{World, manager};
use crate::flux::support::{PATIENCE, apply, kustomization, until};

#[tokio::test(flavor = "multi_thread")]
async fn stats_are_the_commands_stats() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let world = World::new(flux, gitea, "flux-stats", &[]).await?;
    let (manager, client, name) = (manager(flux).await?, world.namespace.client(), world.name());
    let mut suspended = kustomization(name, "suspended", "GitRepository", "source");
    suspended["spec"]["suspend"] = json!(true);
    apply(&client, &suspended).await?;
    let mut broken = kustomization(name, "broken", "GitRepository", "source");
    broken["spec"]["path"] = json!("./nowhere");
    // A further try would not be failing for as long as it runs.
    broken["spec"]["retryInterval"] = json!("1h");
    apply(&client, &broken).await?;
    until(&client, &broken, |found| {
        found.data["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "False")
    })
    .await?;
    let stats = manager.stats(Some(name)).await?;
    let found = super::found(stats.of(FluxKind::Kustomization), "row")?;
    assert_eq!((found.running, found.failing, found.suspended), (2, 1, 1));
    let source = super::found(stats.of(FluxKind::GitRepository), "row")?;
    assert!(source.storage > 0);
    let said = flux.cli(&["stats", &format!("--namespace={name}")]).await?;
    // The command's table, its columns apart.
    let words = |text: &str| -> Vec<Vec<String>> {
        text.lines()
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .filter(|words: &Vec<String>| !words.is_empty())
            .collect()
    };
    let ours = words(&stats.to_string());
    for row in words(&said) {
        ensure!(ours.contains(&row), "{row:?} is not in {ours:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_find_what_is_there_and_what_is_not() -> Result<()> {
    let flux = e2e::flux().await?;
    let manager = manager(flux).await?;
    let options = CheckOptions::default();
    let pre = check_prerequisites(manager.cluster(), &options).await?;
    assert!(pre.is_ok(), "{pre}");
    let future = CheckOptions {
        kubernetes: (9, 0),
        ..options.clone()
    };
    let pre = check_prerequisites(manager.cluster(), &future).await?;
    assert_eq!(pre.problems.len(), 1, "{pre}");

    // The fixture has definitions, and controllers that are no Deployments.
    let found = manager.check(&options).await?;
    println!("{found}");
    let installation = super::found(found.installation.clone(), "installation")?;
    assert_eq!(installation.distribution(), "flux-v2.7.5");
    assert!(!installation.bootstrapped);
    assert_eq!(found.definitions.len(), 14);
    assert!(
        found
            .definitions
            .iter()
            .all(|found| found.established && !found.stored.is_empty())
    );
    assert_eq!(found.controllers, []);
    assert_eq!(found.problems.len(), 1, "{found}");
    let said = flux.cli_output(&["check"]).await?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(said.contains("no controllers found"), "{said}");
    for definition in &found.definitions {
        let line = format!(
            "{}/{}",
            definition.name,
            super::found(definition.stored.last(), "version")?
        );
        ensure!(said.contains(&line), "{line} is not in {said}");
    }

    // Deployments with Flux's label: one that gets ready, one that cannot.
    let namespace = flux.cluster.namespace("flux-check").await?;
    let (client, name) = (namespace.client(), namespace.name());
    for (controller, replicas) in [("source-controller", 1), ("kustomize-controller", 0)] {
        let mut value: serde_json::Value =
            serde_json::from_str(&crate::flux::support::deployment(controller))?;
        value["metadata"]["namespace"] = json!(name);
        value["metadata"]["labels"] =
            json!({"app.kubernetes.io/part-of": "flux", "app.kubernetes.io/version": "v2.7.5"});
        value["spec"]["replicas"] = json!(replicas);
        if controller == "kustomize-controller" {
            value["spec"]["replicas"] = json!(1);
            value["spec"]["template"]["spec"]["nodeSelector"] = json!({"nobody": "has-this"});
        }
        apply(&client, &value).await?;
    }
    let options = CheckOptions {
        namespace: name.to_owned(),
        controllers: vec!["source-controller".into(), "helm-controller".into()],
        ..options
    };
    let started = Instant::now();
    let found = loop {
        let found = check(manager.cluster(), &options).await?;
        if found.controllers.iter().any(|found| found.ready) {
            break found;
        }
        ensure!(started.elapsed() < PATIENCE, "{found}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let problems = found.problems.join("\n");
    assert_eq!(found.problems.len(), 2, "{problems}");
    assert!(
        problems.contains("kustomize-controller is not ready"),
        "{problems}"
    );
    assert!(
        problems.contains("helm-controller is not there"),
        "{problems}"
    );
    let source = found
        .controllers
        .iter()
        .find(|found| found.name == "source-controller");
    let source = super::found(source, "controller")?;
    assert_eq!(source.version.as_deref(), Some("v2.7.5"));
    assert_eq!(source.images, [e2e::BUSYBOX]);

    // A cluster without Flux.
    e2e::init();
    let bare = e2e::cluster().await?;
    let bare = KubeCluster::from_config(bare.config_as(e2e::ADMIN).await?, Default::default())?;
    let found = check(&bare, &CheckOptions::default()).await?;
    assert_eq!(found.installation, None);
    assert!(found.problems[0].contains("not installed"), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_controllers_are_read_and_followed() -> Result<()> {
    // Pods that really run, with lines as the controllers write them.
    let node = e2e::node().await?;
    node.require_real()?;
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("flux-logs").await?;
    let (client, name) = (namespace.client(), namespace.name());
    let line = |level: &str, kind: &str, object: &str, message: &str| {
        json!({"level": level, "ts": "2025-11-01T10:00:00.000Z", "msg": message, "controllerKind": kind, "name": object, "namespace": "shop", "revision": "main@sha1:1"}).to_string()
    };
    for (controller, kind) in [
        ("source-controller", "GitRepository"),
        ("kustomize-controller", "Kustomization"),
    ] {
        let script = format!(
            "echo starting; echo '{}'; echo '{}'; sleep 3; echo '{}'; sleep 3600",
            line("info", kind, "apps", "applied"),
            line("error", kind, "apps", "failed"),
            line("info", kind, "late", "came later"),
        );
        let container = |name: &str, script: &str| json!({"name": name, "image": e2e::BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", script]});
        let mut containers = vec![container("manager", &script)];
        if kind == "Kustomization" {
            containers.insert(
                0,
                container(
                    "beside",
                    "echo '{\"level\":\"info\",\"msg\":\"not mine\"}'; sleep 3600",
                ),
            );
        }
        let value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"namespace": name, "name": controller, "labels": {"app.kubernetes.io/part-of": "flux"}},
            "spec": {"selector": {"matchLabels": {"app": controller}}, "template": {
                "metadata": {"labels": {"app": controller}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": containers},
            }},
        });
        apply(&client, &value).await?;
    }
    e2e::init();
    let kube = KubeCluster::from_config(cluster.config_as(e2e::ADMIN).await?, Default::default())?;
    let options = LogsOptions {
        flux_namespace: name.to_owned(),
        ..LogsOptions::default()
    };
    let started = Instant::now();
    let lines = loop {
        match logs(&kube, &options).await {
            Ok(logs) if logs.lines.len() >= 4 => break logs.lines,
            other => ensure!(started.elapsed() < PATIENCE, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    assert!(lines.iter().all(|line| line.message != "not mine"));
    let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    assert!(
        text.contains(&"2025-11-01T10:00:00Z error Kustomization/apps.shop - failed".to_owned()),
        "{text:#?}"
    );
    let errors = LogsOptions {
        level: Some("error".into()),
        kind: Some("kustomization".into()),
        name: Some("apps".into()),
        namespace: Some("shop".into()),
        ..options.clone()
    };
    let lines = logs(&kube, &errors).await?.lines;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].controller, "kustomize-controller");

    let late = LogsOptions {
        name: Some("late".into()),
        ..options.clone()
    };
    let mut following = follow_logs(&kube, late).await?;
    for _ in 0..2 {
        let line = tokio::time::timeout(PATIENCE, following.next()).await?;
        assert_eq!(super::found(line, "line")??.message, "came later");
    }
    let few = LogsOptions {
        lines: 1,
        ..options.clone()
    };
    assert_eq!(logs(&kube, &few).await?.lines.len(), 1);
    let nowhere = LogsOptions {
        flux_namespace: "default".into(),
        ..options
    };
    let error = logs(&kube, &nowhere).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    Ok(())
}
