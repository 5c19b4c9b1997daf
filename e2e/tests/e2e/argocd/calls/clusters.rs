//! Clusters.

use anyhow::{Context, Result};
use base64::Engine as _;
use e2e::ArgoCd;
use gitops_argocd::rest::{Cluster, ClusterConfig, ClusterId, TlsClientConfig};
use gitops_argocd::types::convert::IN_CLUSTER;
use gitops_core::error::ErrorKind;
use serde_json::Value;

use super::super::support::{rest, unique};
use super::{refused, secret_with, told, with_token};

/// The fixture's cluster under another URL, as an account without rights.
pub(super) async fn same_cluster(argocd: &ArgoCd, name: &str) -> Result<Cluster> {
    let namespace = argocd.cluster.namespace("registered").await?;
    let token = argocd
        .cluster
        .kubectl(&[
            "create",
            "token",
            "default",
            "--namespace",
            namespace.name(),
            "--duration=1h",
        ])
        .await?;
    // A query makes the URL one of its own, however many tests register the same server.
    Ok(Cluster {
        server: format!("{}/?name={name}", argocd.cluster.server),
        name: name.to_owned(),
        config: ClusterConfig {
            bearer_token: Some(token.trim().into()),
            tls_client_config: TlsClientConfig {
                ca_data: Some(base64::engine::general_purpose::STANDARD.encode(&argocd.cluster.ca)),
                ..TlsClientConfig::default()
            },
            ..ClusterConfig::default()
        },
        ..Cluster::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_are_registered_changed_and_forgotten() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let client = rest(argocd)?;
    let own = client.list_clusters().await?;
    let own = own
        .iter()
        .find(|cluster| cluster.server == IN_CLUSTER)
        .context("its own is not listed")?;
    assert_eq!(own.name, "in-cluster");

    let name = unique("cluster");
    let cluster = same_cluster(argocd, &name).await?;
    let token = cluster.config.bearer_token.clone().context("no token")?;
    let wrong = Cluster {
        server: "https://localhost:1".into(),
        ..cluster.clone()
    };
    let error = client.create_cluster(&wrong, false).await.unwrap_err();
    println!("nothing listens there: {}: {error}", error.kind().as_str());
    let made = client.create_cluster(&cluster, false).await?;
    // Later the controller, which has no application there, writes every ten seconds that it does not know.
    assert_eq!(
        made.connection_state
            .as_ref()
            .map(|state| state.status.as_str()),
        Some("Successful")
    );
    for shown in [
        format!("{made:?} {cluster:?}"),
        serde_json::to_string(&made)?,
    ] {
        assert!(!shown.contains(token.expose()));
    }
    let listed = told(argocd, &["cluster", "list"]).await?;
    assert!(
        listed
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one["name"] == *name),
        "{listed}"
    );
    let id = ClusterId::Name(name.clone());
    let by_url = ClusterId::Server(cluster.server.clone());
    let read = client.get_cluster(&by_url).await?;
    assert_eq!(read.name, name);
    assert_eq!(client.get_cluster(&id).await?.server, cluster.server);
    assert!(read.connection_state.is_some());

    // Only what is named changes: the token stays.
    let changed = Cluster {
        server: cluster.server.clone(),
        namespaces: Some(vec!["one".into(), "two".into()]),
        labels: Some([("tier".to_owned(), "test".to_owned())].into()),
        ..Cluster::default()
    };
    client
        .update_cluster(&by_url, &changed, &["namespaces"])
        .await?;
    let stored = secret_with(argocd, "cluster", "name", &name)
        .await?
        .context("no Secret")?;
    assert_eq!(stored["data"]["namespaces"], "one,two");
    assert_eq!(stored["metadata"]["labels"]["tier"], Value::Null);
    client.update_cluster(&id, &changed, &["labels"]).await?;
    let stored = secret_with(argocd, "cluster", "name", &name)
        .await?
        .context("no Secret")?;
    assert_eq!(stored["metadata"]["labels"]["tier"], "test");
    let config: Value =
        serde_json::from_str(stored["data"]["config"].as_str().context("no config")?)?;
    assert_eq!(config["bearerToken"], token.expose());
    client.invalidate_cluster_cache(&id).await?;

    refused(
        client
            .create_cluster(
                &Cluster {
                    shard: Some(3),
                    ..cluster.clone()
                },
                false,
            )
            .await,
        ErrorKind::AlreadyExists,
    );
    let guest = with_token(argocd, &argocd.guest.token)?;
    assert!(guest.list_clusters().await?.is_empty());
    refused(guest.delete_cluster(&id).await, ErrorKind::PermissionDenied);
    client.delete_cluster(&id).await?;
    assert!(
        secret_with(argocd, "cluster", "name", &name)
            .await?
            .is_none()
    );
    refused(client.get_cluster(&id).await, ErrorKind::PermissionDenied);
    Ok(())
}
