//! Projects, their roles and their sync windows.

use std::time::Duration;

use anyhow::{Context, Result};
use gitops_argocd::rest::{CreateOptions, SyncRequest};
use gitops_argocd::types::convert::IN_CLUSTER;
use gitops_argocd::types::{
    AppProject, Application, Destination, GroupKind, ProjectRole, Source, SyncWindow,
};
use gitops_core::application::AppRef;
use gitops_core::backend::DeleteOptions;
use gitops_core::error::ErrorKind;

use super::super::support::{config_map, repository, rest, unique};
use super::{object, refused, told, until, with_token};

#[tokio::test(flavor = "multi_thread")]
async fn projects_rule_over_their_applications() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let client = rest(argocd)?;
    let name = unique("project");
    let repository = repository(argocd, &name, &[("map.json", &config_map("map", "1"))]).await?;
    let project = AppProject::new(&*name)
        .description("first")
        .source_repo(&*repository.http_url)
        .destination(Destination::server(IN_CLUSTER).namespace(&*name))
        .allow_cluster_kind(GroupKind::new("", "Namespace"));

    client.create_project(&project, false).await?;
    assert_eq!(
        object(argocd, "appproject", &name).await?["spec"]["description"],
        "first"
    );
    client.create_project(&project, false).await?;
    let other = project.clone().description("second");
    refused(
        client.create_project(&other, false).await,
        ErrorKind::AlreadyExists,
    );
    client.create_project(&other, true).await?;
    assert_eq!(
        told(argocd, &["proj", "get", &name]).await?["spec"]["description"],
        "second"
    );
    assert!(
        client
            .list_projects()
            .await?
            .iter()
            .any(|one| one.name() == name)
    );

    // The version that was read is compared.
    let read = client.get_project(&name).await?;
    let policy = format!("p, proj:{name}:reader, applications, get, {name}/*, allow");
    let written = client
        .update_project(
            &read
                .clone()
                .role(ProjectRole::new("reader").policy(&*policy)),
        )
        .await?;
    refused(
        client.update_project(&read.description("late")).await,
        ErrorKind::Conflict,
    );
    let stored = object(argocd, "appproject", &name).await?;
    assert_eq!(stored["spec"]["description"], "second");
    assert_eq!(stored["spec"]["roles"][0]["policies"][0], *policy);

    let app = Application::new(&*name)
        .project(&*name)
        .source(Source::git(&*repository.http_url).path("."))
        .destination(Destination::server(IN_CLUSTER).namespace(&*name))
        .sync_option("CreateNamespace=true");
    let of = AppRef::new(&*name);
    client
        .create_application(&app, CreateOptions::default())
        .await?;

    // A role's token may do what the role may; deleted, it is refused.
    let token = client
        .create_role_token(&name, "reader", Some("ci"), Some(Duration::from_secs(3600)))
        .await?;
    let reader = with_token(argocd, token.expose())?;
    until("the token is not taken", || async {
        Ok(reader.user_info().await.is_ok_and(|info| info.logged_in))
    })
    .await?;
    assert_eq!(
        reader.user_info().await?.username,
        format!("proj:{name}:reader")
    );
    assert_eq!(reader.get_application(&of).await?.name(), name);
    refused(
        reader
            .delete_application(&of, &DeleteOptions::default())
            .await,
        ErrorKind::PermissionDenied,
    );
    let twice = client
        .create_role_token(&name, "reader", Some("ci"), None)
        .await;
    refused(twice, ErrorKind::InvalidInput);
    refused(
        client.create_role_token(&name, "nobody", None, None).await,
        ErrorKind::NotFound,
    );
    let stored = object(argocd, "appproject", &name).await?;
    let known = &stored["status"]["jwtTokensByRole"]["reader"]["items"][0];
    assert_eq!(known["id"], "ci");
    let issued_at = known["iat"].as_i64().context("no time")?;
    client
        .delete_role_token(&name, "reader", issued_at, Some("ci"))
        .await?;
    let stored = object(argocd, "appproject", &name).await?;
    assert!(!stored.to_string().contains("\"ci\""), "{stored}");
    until("the token is still taken", || async {
        Ok(matches!(reader.get_application(&of).await, Err(error) if error.kind() == ErrorKind::Unauthenticated))
    })
    .await?;

    // In a window that denies it, nothing is synced.
    let mut closed = client.get_project(&name).await?;
    closed = closed.sync_window(SyncWindow::deny("* * * * *", "2h").application("*"));
    client.update_project(&closed).await?;
    let active = client.active_sync_windows(&name).await?;
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].kind.as_deref(), Some("deny"));
    assert_eq!(
        told(argocd, &["proj", "windows", "list", &name]).await?[0]["duration"],
        "2h"
    );
    until("the window does not count", || async {
        Ok(!client.application_sync_windows(&of).await?.can_sync)
    })
    .await?;
    refused(
        client.sync_application(&of, &SyncRequest::default()).await,
        ErrorKind::PermissionDenied,
    );
    let maps = ["get", "configmap", "map", "--namespace", &name];
    assert!(argocd.cluster.kubectl(&maps).await.is_err());
    let mut open = client.get_project(&name).await?;
    open.spec.sync_windows = None;
    client.update_project(&open).await?;
    assert!(client.active_sync_windows(&name).await?.is_empty());
    until("the window still counts", || async {
        Ok(client.application_sync_windows(&of).await?.can_sync)
    })
    .await?;
    client
        .sync_application(&of, &SyncRequest::default())
        .await?;
    until("nothing is synced", || async {
        Ok(argocd.cluster.kubectl(&maps).await.is_ok())
    })
    .await?;

    // What it inherits from, what belongs to it, and what happened to it.
    let global = unique("global");
    client
        .create_project(&AppProject::new(&*global), false)
        .await?;
    let inherits = format!(
        "- projectName: {global}\n  labelSelector:\n    matchExpressions:\n    - {{key: inherits, operator: In, values: [{global}]}}\n"
    );
    let patch = serde_json::json!({"data": {"globalProjects": inherits}}).to_string();
    let map = [
        "patch",
        "configmap",
        "argocd-cm",
        "--namespace",
        &argocd.namespace,
        "--type=merge",
        "--patch",
        &patch,
    ];
    argocd.cluster.kubectl(&map).await?;
    let mut labelled = client.get_project(&name).await?;
    labelled.metadata.labels = Some([("inherits".to_owned(), global.clone())].into());
    client.update_project(&labelled).await?;
    until("it inherits from nothing", || async {
        Ok(client
            .global_projects(&name)
            .await?
            .iter()
            .map(AppProject::name)
            .eq([&*global]))
    })
    .await?;
    let detailed = client.get_detailed_project(&name).await?;
    assert_eq!(detailed.project.context("no project")?.name(), name);
    assert_eq!(detailed.global_projects.unwrap_or_default().len(), 1);
    let patch = r#"{"data":{"globalProjects":null}}"#;
    let map = [
        "patch",
        "configmap",
        "argocd-cm",
        "--namespace",
        &argocd.namespace,
        "--type=merge",
        "--patch",
        patch,
    ];
    argocd.cluster.kubectl(&map).await?;
    let events = client.project_events(&name).await?;
    for reason in ["ResourceCreated", "ResourceUpdated", "ResourceDeleted"] {
        assert!(
            events
                .iter()
                .any(|event| event.reason.as_deref() == Some(reason)),
            "{reason}: {events:?}"
        );
    }
    assert!(client.project_links(&name).await?.is_empty());

    // It stays as long as something belongs to it.
    refused(client.delete_project(&name).await, ErrorKind::InvalidInput);
    client
        .delete_application(&of, &DeleteOptions::default())
        .await?;
    until("the application is still there", || async {
        Ok(object(argocd, "application", &name).await.is_err())
    })
    .await?;
    client.delete_project(&name).await?;
    client.delete_project(&global).await?;
    assert!(object(argocd, "appproject", &name).await.is_err());
    refused(client.delete_project(&name).await, ErrorKind::NotFound);
    refused(client.get_project(&name).await, ErrorKind::NotFound);
    refused(client.update_project(&written).await, ErrorKind::NotFound);
    Ok(())
}
