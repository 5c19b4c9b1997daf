//! The server itself.

use anyhow::Result;
use gitops_argocd::rest::{ArgoCd as Client, Config};
use gitops_core::error::ErrorKind;

use super::super::support::{rest, unique};
use super::{refused, told, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_of_itself() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let client = rest(argocd)?;
    let told = told(argocd, &["version"]).await?;
    let version = client.version().await?;
    assert_eq!(told["server"]["Version"], *version.version);
    assert!(
        !version.helm_version.is_empty() && !version.go_version.is_empty(),
        "{version:?}"
    );
    let nobody = Client::new(Config::new(&*argocd.url))?;
    assert_eq!(nobody.version().await?.version, version.version);

    let settings = client.settings().await?;
    assert_eq!(settings.controller_namespace, argocd.namespace);
    assert!(settings.apps_in_any_namespace_enabled && !settings.user_logins_disabled);
    assert_eq!(settings.tracking_method, "annotation");
    assert!(client.plugins().await?.is_empty());
    refused(nobody.plugins().await, ErrorKind::Unauthenticated);
    assert!(client.list_gpg_keys().await?.is_empty());

    // Notifications: what a ConfigMap says.
    let name = unique("told");
    let data = serde_json::json!({
        format!("service.webhook.{name}"): "url: http://127.0.0.1:1",
        format!("template.{name}"): "message: hello",
        format!("trigger.{name}"): format!("- when: 'true'\n  send: [{name}]\n"),
    });
    let metadata = serde_json::json!({"name": "argocd-notifications-cm", "labels": {"app.kubernetes.io/part-of": "argocd"}});
    let map = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("map.json");
    tokio::fs::write(&file, map.to_string()).await?;
    let file = file.to_string_lossy();
    argocd
        .cluster
        .kubectl(&[
            "apply",
            "--server-side",
            "--namespace",
            &argocd.namespace,
            "--filename",
            &file,
        ])
        .await?;
    until("the notifications are not listed", || async {
        let listed = [
            client.notification_services().await,
            client.notification_templates().await,
            client.notification_triggers().await,
        ];
        Ok(listed
            .into_iter()
            .all(|names| names.is_ok_and(|names| names.iter().any(|one| one.ends_with(&name)))))
    })
    .await
}
