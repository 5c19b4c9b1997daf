//! Notifiers against real receivers.

use anyhow::{Context as _, Result};
use gitops_core::application::{AppRef, OperationPhase};
use gitops_core::backend::{EventKind, Operation, SyncEvent, SyncOutcome};
use gitops_core::notify::{CommitStatusNotifier, Forge, HttpOptions, Notifier};
use gitops_core::{ErrorKind, SecretString};
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
