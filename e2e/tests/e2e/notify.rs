//! Notifiers against real receivers.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use gitops_core::application::{AppRef, Application, OperationPhase, Source};
use gitops_core::backend::{
    ApplicationStore, EventKind, Operation, PutMode, Severity, SyncEvent, SyncOutcome,
};
use gitops_core::notify::{CommitStatusNotifier, Forge, HttpOptions, Notifier};
use gitops_core::{ErrorKind, SecretString};
use gitops_kube::cluster::{Cluster, KubeCluster};
use gitops_kube::notify::EventNotifier;
use gitops_kube::store::{APPLICATION_LABEL, ConfigMapStore};
use reqwest::Method;

#[tokio::test]
async fn commit_statuses_stand_at_the_commit_on_gitea() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("statuses").await?;
    let commit = gitea.commit(&repository, "start", &[("a", "1")]).await?;
    let name = format!("{}/{}", repository.owner, repository.name);
    let token = gitea.token(&["write:repository"]).await?;
    let options = HttpOptions::default();
    let notifier = |token: &str| {
        let token = SecretString::from(token);
        CommitStatusNotifier::new(Forge::Gitea, &gitea.url, &*name, &token, &options)
    };
    let app = AppRef::namespaced("prod", "shop");
    let rendered = EventKind::Rendered {
        objects: 3,
        revisions: vec![commit.clone()],
    };
    let finished = EventKind::SyncFinished {
        outcome: Box::new(SyncOutcome {
            operation: Operation {
                app: app.clone(),
                id: "1".into(),
                started_at: "2026-01-01T00:00:00Z".parse()?,
            },
            phase: OperationPhase::Succeeded,
            message: String::new(),
            revisions: vec![commit.clone()],
            resources: Vec::new(),
            finished_at: "2026-01-01T00:01:00Z".parse()?,
        }),
    };
    let notify = notifier(&token)?.target_url("https://deploy.example.com/shop");
    let path = format!("/repos/{name}/commits/{commit}/status");
    for (kind, expected) in [(rendered.clone(), "pending"), (finished, "success")] {
        notify
            .notify(&SyncEvent::now(app.clone(), "1", kind))
            .await?;
        let status = gitea.api(Method::GET, &path, None).await?;
        let newest = status["statuses"].get(0).context("no status")?;
        assert_eq!(status["state"], expected, "{status}");
        assert_eq!(newest["context"], "gitops/prod/shop");
        assert_eq!(newest["target_url"], "https://deploy.example.com/shop");
    }
    let refused = notifier("0123456789012345678901234567890123456789")?
        .notify(&SyncEvent::now(app, "1", rendered))
        .await
        .expect_err("a wrong token was taken");
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_events_stand_at_the_application() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("events").await?.name().to_owned();
    let kube: Arc<dyn Cluster> = Arc::new(KubeCluster::new(cluster.client().await?));
    let store = ConfigMapStore::new(kube.clone(), &namespace);
    let app = Application::new("shop").source(Source::git("https://git.example.com/o/r"));
    store.put(&app, PutMode::Create).await?;
    let notifier = EventNotifier::new(kube, &namespace, "replica-0")?;
    let told = |severity, message: &str| {
        let message = message.to_owned();
        let mut event = SyncEvent::now(
            app.app_ref(),
            "1",
            EventKind::Retrying {
                attempt: 1,
                message,
            },
        );
        event.severity = severity;
        event
    };
    notifier
        .notify(&SyncEvent::now(app.app_ref(), "1", EventKind::SyncStarted))
        .await?;
    let first = told(Severity::Warning, "a");
    for event in [
        first.clone(),
        first,
        told(Severity::Warning, "a"),
        told(Severity::Warning, "a"),
    ] {
        notifier.notify(&event).await?;
    }
    // Another message is another Event.
    notifier
        .notify(&told(Severity::Error, &"b".repeat(5000)))
        .await?;

    let name = cluster
        .kubectl(&[
            "-n",
            &namespace,
            "get",
            "configmaps",
            "-l",
            APPLICATION_LABEL,
            "-o",
            "name",
        ])
        .await?;
    let name = name.trim().trim_start_matches("configmap/").to_owned();
    let described = cluster
        .kubectl(&["-n", &namespace, "describe", "configmap", &name])
        .await?;
    ensure!(described.contains("SyncStarted"), "{described}");
    let listed = cluster
        .kubectl(&[
            "-n",
            &namespace,
            "get",
            "events.v1.events.k8s.io",
            "-o",
            "json",
        ])
        .await?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let mut found: Vec<(&str, &str, i64, usize)> = listed["items"]
        .as_array()
        .context("no list")?
        .iter()
        .map(|event| {
            assert_eq!(event["regarding"]["name"], name.as_str());
            assert_eq!(event["reportingInstance"], "replica-0");
            let text = |field: &str| event[field].as_str().unwrap_or_default();
            let count = event["series"]["count"].as_i64().unwrap_or(1);
            (text("reason"), text("type"), count, text("note").len())
        })
        .collect();
    found.sort_unstable();
    let repeated = format!("{}: attempt 1 failed: a", app.app_ref()).len();
    let started = format!("{}: sync started", app.app_ref()).len();
    assert_eq!(
        found,
        [
            ("Retrying", "Warning", 1, 1024),
            ("Retrying", "Warning", 3, repeated),
            ("SyncStarted", "Normal", 1, started),
        ]
    );
    Ok(())
}
