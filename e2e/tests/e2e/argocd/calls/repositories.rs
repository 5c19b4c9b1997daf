//! Repositories, credential templates and certificates.

use anyhow::{Context, Result};
use base64::Engine as _;
use gitops_argocd::rest::{Access, Certificate, RepoCredentials, Repository as Registered};
use gitops_argocd::types::Source;
use gitops_core::error::ErrorKind;

use super::super::support::{config_map, rest, unique};
use super::{object, refused, secret_with, told, until, with_token};

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_registered_tried_and_forgotten() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let gitea = e2e::gitea().await?;
    let client = rest(argocd)?;
    let made = gitea.repository("registered").await?;
    gitea
        .commit(
            &made,
            "first",
            &[
                ("app/kustomization.yaml", "resources: [map.json]"),
                ("app/map.json", &*config_map("map", "1")),
            ],
        )
        .await?;
    let url = &*made.http_url;
    let good = Registered {
        repo: url.to_owned(),
        username: Some(gitea.user.clone()),
        password: Some(gitea.password.clone().into()),
        kind: Some("git".into()),
        ..Registered::default()
    };
    let bad = Registered {
        password: Some("hunter2-hunter2".into()),
        ..good.clone()
    };
    let listed = || async {
        let repositories = told(argocd, &["repo", "list"]).await?;
        anyhow::Ok(
            repositories
                .as_array()
                .into_iter()
                .flatten()
                .find(|one| one["repo"] == url)
                .cloned(),
        )
    };

    // Argo CD 3.2 takes the escaped URL of this call as it is, and reaches nothing.
    refused(
        client.validate_repository(Access::Read, &good).await,
        ErrorKind::Internal,
    );
    for error in [
        client.validate_repository(Access::Read, &bad).await.err(),
        client
            .create_repository(Access::Read, &bad, false, false)
            .await
            .err(),
    ] {
        let error = error.context("a wrong password is taken")?;
        println!("a wrong password: {}: {error}", error.kind().as_str());
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    assert!(listed().await?.is_none(), "trying it registered it");

    let answer = client
        .create_repository(Access::Read, &good, false, false)
        .await?;
    let one = client.get_repository(Access::Read, url, None).await?;
    let list = client.list_repositories(Access::Read, false).await?;
    let found = list
        .iter()
        .find(|one| one.repo == url)
        .context("not listed")?;
    assert_eq!(
        found
            .connection_state
            .as_ref()
            .map(|state| state.status.as_str()),
        Some("Successful")
    );
    for shown in [&answer, &one, found] {
        assert!(shown.password.is_none());
    }
    for shown in [
        format!("{good:?}"),
        format!("{one:?}"),
        format!("{list:?}"),
        serde_json::to_string(&list)?,
    ] {
        assert!(!shown.contains(&gitea.password));
    }
    assert_eq!(
        listed().await?.context("the command does not list it")?["type"],
        "git"
    );
    let stored = secret_with(argocd, "repository", "url", url)
        .await?
        .context("no Secret")?;
    assert_eq!(stored["data"]["password"], *gitea.password);
    client
        .create_repository(Access::Read, &good, false, false)
        .await?;
    let changed = Registered {
        insecure: Some(true),
        ..good.clone()
    };
    refused(
        client
            .create_repository(Access::Read, &changed, false, false)
            .await,
        ErrorKind::AlreadyExists,
    );
    client.update_repository(Access::Read, &changed).await?;
    let stored = secret_with(argocd, "repository", "url", url)
        .await?
        .context("no Secret")?;
    assert_eq!(stored["data"]["insecure"], "true");

    let refs = client.repository_refs(url, None).await?;
    assert_eq!(refs.branches.unwrap_or_default(), ["main"]);
    let apps = client
        .repository_apps(url, "main", "any", Some("default"))
        .await?;
    assert!(
        apps.iter()
            .any(|app| app.path == "app" && app.kind == "Kustomize"),
        "{apps:?}"
    );
    let source = Source::git(url).path("app").target_revision("main");
    assert_eq!(
        client.app_details(&source, "any", "default").await?.kind,
        "Kustomize"
    );

    let guest = with_token(argocd, &argocd.guest.token)?;
    assert!(
        guest
            .list_repositories(Access::Read, false)
            .await?
            .is_empty()
    );
    refused(
        guest.delete_repository(Access::Read, url, None).await,
        ErrorKind::PermissionDenied,
    );
    client.delete_repository(Access::Read, url, None).await?;
    assert!(listed().await?.is_none());
    assert!(
        secret_with(argocd, "repository", "url", url)
            .await?
            .is_none()
    );
    // Argo CD does not tell what is not there from what is not allowed.
    refused(
        client.get_repository(Access::Read, url, None).await,
        ErrorKind::PermissionDenied,
    );
    refused(
        client.delete_repository(Access::Read, url, None).await,
        ErrorKind::PermissionDenied,
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn credential_templates_are_for_what_is_below_them() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let gitea = e2e::gitea().await?;
    let client = rest(argocd)?;
    let prefix = unique("below");
    let made = gitea.repository(&prefix).await?;
    gitea.commit(&made, "first", &[("a", "1")]).await?;
    let url = format!("{}/{}/{prefix}", gitea.url, gitea.user);
    let template = RepoCredentials {
        url: url.clone(),
        username: Some(gitea.user.clone()),
        password: Some(gitea.password.clone().into()),
        ..RepoCredentials::default()
    };
    let plain = Registered {
        repo: made.http_url.clone(),
        kind: Some("git".into()),
        ..Registered::default()
    };
    assert!(
        client
            .create_repository(Access::Read, &plain, false, false)
            .await
            .is_err()
    );

    let early = client.update_repository_credentials(Access::Read, &template);
    refused(early.await, ErrorKind::NotFound);
    let answer = client
        .create_repository_credentials(Access::Read, &template, false)
        .await?;
    assert!(answer.password.is_none());
    assert!(!format!("{template:?}").contains(&gitea.password));
    let listed = told(argocd, &["repocreds", "list"]).await?;
    assert!(
        listed
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one["url"] == *url),
        "{listed}"
    );
    let listed = client.list_repository_credentials(Access::Read).await?;
    let found = listed
        .iter()
        .find(|one| one.url == url)
        .context("not listed")?;
    assert!(found.password.is_none());

    client
        .create_repository(Access::Read, &plain, false, false)
        .await?;
    let one = client
        .get_repository(Access::Read, &made.http_url, None)
        .await?;
    assert_eq!(one.inherited_creds, Some(true));

    let other = RepoCredentials {
        username: Some("somebody".into()),
        ..template
    };
    refused(
        client
            .create_repository_credentials(Access::Read, &other, false)
            .await,
        ErrorKind::AlreadyExists,
    );
    client
        .update_repository_credentials(Access::Read, &other)
        .await?;
    let stored = secret_with(argocd, "repo-creds", "url", &url)
        .await?
        .context("no Secret")?;
    assert_eq!(stored["data"]["username"], "somebody");

    client
        .delete_repository(Access::Read, &made.http_url, None)
        .await?;
    client
        .delete_repository_credentials(Access::Read, &url)
        .await?;
    assert!(
        secret_with(argocd, "repo-creds", "url", &url)
            .await?
            .is_none()
    );
    refused(
        client
            .delete_repository_credentials(Access::Read, &url)
            .await,
        ErrorKind::NotFound,
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_added_and_removed() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let client = rest(argocd)?;
    let host = format!("{}.example.com", unique("host"));
    let certificate = |pem: &str| Certificate {
        server_name: host.clone(),
        cert_type: "https".into(),
        cert_data: Some(base64::engine::general_purpose::STANDARD.encode(pem)),
        ..Certificate::default()
    };
    let pem = &argocd.cluster.ca;
    let stored = || async {
        let map = object(argocd, "configmap", "argocd-tls-certs-cm").await?;
        anyhow::Ok(map["data"][&host].as_str().map(str::to_owned))
    };
    let made = client
        .create_certificates(&[certificate(pem)], false)
        .await?;
    // The API server's own certificate, and that of its authority.
    let all = pem.matches("BEGIN CERTIFICATE").count();
    assert_eq!(made.len(), all);
    assert_eq!(stored().await?.context("not stored")?.trim(), pem.trim());
    let listed = told(argocd, &["cert", "list", "--hostname-pattern", &host]).await?;
    assert_eq!(listed[0]["serverName"], *host, "{listed}");
    until("it is not listed", || async {
        Ok(client
            .list_certificates()
            .await?
            .iter()
            .any(|one| one.server_name == host && one.cert_info.contains("CN=")))
    })
    .await?;

    assert!(
        client
            .create_certificates(&[certificate(pem)], false)
            .await?
            .is_empty()
    );
    let two = format!("{pem}\n{pem}");
    refused(
        client
            .create_certificates(&[certificate(&two)], false)
            .await,
        ErrorKind::AlreadyExists,
    );
    assert_eq!(
        client
            .create_certificates(&[certificate(&two)], true)
            .await?
            .len(),
        2 * all
    );
    assert!(
        client
            .create_certificates(&[certificate("no PEM")], true)
            .await
            .is_err()
    );

    let gone = client.delete_certificates(&host, "https", "").await?;
    assert_eq!(gone.len(), 2 * all);
    assert_eq!(stored().await?, None);
    assert!(
        client
            .delete_certificates(&host, "https", "")
            .await?
            .is_empty()
    );
    refused(
        client.delete_certificates("", "", "").await,
        ErrorKind::InvalidInput,
    );
    Ok(())
}
