//! What is written through Kubernetes.

use anyhow::{Context, Result, ensure};
use gitops_argocd::rest::{Access, Cluster, ClusterId, RepoCredentials, Repository as Registered};
use gitops_core::error::ErrorKind;

use super::super::support::{kubernetes, rest, unique};
use super::clusters::same_cluster;
use super::{refused, secrets, told, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_secrets_the_server_sees() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let gitea = e2e::gitea().await?;
    let kube = kubernetes(argocd).await?;
    let made = gitea.repository("by-secret").await?;
    gitea.commit(&made, "first", &[("a", "1")]).await?;
    let wanted = Registered {
        repo: made.http_url.clone(),
        username: Some(gitea.user.clone()),
        password: Some(gitea.password.clone().into()),
        kind: Some("git".into()),
        ..Registered::default()
    };
    let listed = |what: &'static str, key: &'static str, value: String| async move {
        let list = told(argocd, &[what, "list"]).await?;
        anyhow::Ok(
            list.as_array()
                .into_iter()
                .flatten()
                .find(|one| one[key] == *value)
                .cloned(),
        )
    };

    kube.put_repository(Access::Read, &wanted).await?;
    until("the server does not see the repository", || async {
        let one = listed("repo", "repo", made.http_url.clone()).await?;
        Ok(one.is_some_and(|one| one["connectionState"]["status"] == "Successful"))
    })
    .await?;
    // Once more, it changes the same one; what is not said stays.
    let lfs = Registered {
        enable_lfs: Some(true),
        password: None,
        ..wanted.clone()
    };
    kube.put_repository(Access::Read, &lfs).await?;
    let read = kube.list_repositories(Access::Read).await?;
    let read: Vec<_> = read
        .iter()
        .filter(|one| one.repo == made.http_url)
        .collect();
    assert_eq!(read.len(), 1);
    assert_eq!(
        (read[0].enable_lfs, &read[0].password),
        (Some(true), &wanted.password)
    );
    // The server takes it for its own, once it has seen the newest version: what it writes names that.
    until("the server does not see the change", || async {
        let one = listed("repo", "repo", made.http_url.clone()).await?;
        Ok(one.is_some_and(|one| one["enableLfs"] == true))
    })
    .await?;
    rest(argocd)?
        .update_repository(Access::Read, &wanted)
        .await?;
    let named: Vec<_> = secrets(argocd, "repository").await?;
    assert_eq!(
        named
            .iter()
            .filter(|secret| secret["data"]["url"] == *made.http_url)
            .count(),
        1
    );
    kube.delete_repository(Access::Read, &made.http_url, None)
        .await?;
    until("the server still sees the repository", || async {
        Ok(listed("repo", "repo", made.http_url.clone())
            .await?
            .is_none())
    })
    .await?;
    refused(
        kube.delete_repository(Access::Read, &made.http_url, None)
            .await,
        ErrorKind::NotFound,
    );

    let url = format!("{}/{}/{}", gitea.url, gitea.user, unique("nothing"));
    let template = RepoCredentials {
        url: url.clone(),
        username: Some(gitea.user.clone()),
        password: Some(gitea.password.clone().into()),
        ..RepoCredentials::default()
    };
    kube.put_repository_credentials(Access::Read, &template)
        .await?;
    until("the server does not see the template", || async {
        Ok(listed("repocreds", "url", url.clone()).await?.is_some())
    })
    .await?;
    assert!(
        kube.list_repository_credentials(Access::Read)
            .await?
            .contains(&template)
    );
    kube.delete_repository_credentials(Access::Read, &url)
        .await?;
    until("the server still sees the template", || async {
        Ok(listed("repocreds", "url", url.clone()).await?.is_none())
    })
    .await?;

    let name = unique("by-secret");
    let cluster = same_cluster(argocd, &name).await?;
    kube.put_cluster(&cluster).await?;
    until("the server does not see the cluster", || async {
        Ok(listed("cluster", "name", name.clone()).await?.is_some())
    })
    .await?;
    let read = kube.list_clusters().await?;
    let read = read
        .iter()
        .find(|one| one.name == name)
        .context("not listed")?;
    assert_eq!(
        (&read.server, &read.config),
        (&cluster.server, &cluster.config)
    );
    // Reached with what is in the Secret.
    let id = ClusterId::Name(name.clone());
    let update = Cluster {
        server: cluster.server.clone(),
        namespaces: Some(vec!["one".into()]),
        ..Cluster::default()
    };
    rest(argocd)?
        .update_cluster(&id, &update, &["namespaces"])
        .await?;
    kube.delete_cluster(&id).await?;
    until("the server still sees the cluster", || async {
        Ok(listed("cluster", "name", name.clone()).await?.is_none())
    })
    .await?;
    ensure!(kube.delete_cluster(&id).await.is_err());
    Ok(())
}
