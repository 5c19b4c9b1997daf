//! Applications in ConfigMaps of the real API server: the conformance suite of stores.

use std::sync::Arc;

use anyhow::Result;
use gitops_core::ErrorKind;
use gitops_core::application::{Application, Helm, Render, Source};
use gitops_core::backend::{ApplicationStore, PutMode};
use gitops_kube::cluster::KubeCluster;
use gitops_kube::store::{APPLICATION_LABEL, ConfigMapStore};

async fn make() -> Result<Arc<ConfigMapStore>> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("store").await?;
    let cluster = Arc::new(KubeCluster::new(cluster.client().await?));
    Ok(Arc::new(ConfigMapStore::new(cluster, namespace.name())))
}

gitops_core::store_conformance!(make());

/// An application whose JSON form takes `bytes`.
fn of_size(bytes: usize) -> Result<Application> {
    let with = |filler: usize| {
        let helm = Helm {
            values: "x".repeat(filler),
            ..Helm::default()
        };
        Application::new("big").source(Source::git("/r").render(Render::Helm(Box::new(helm))))
    };
    let rest = serde_json::to_string(&with(1))?.len() - 1;
    Ok(with(bytes - rest))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_config_map_cannot_hold_is_refused_with_its_size() -> Result<()> {
    let store = make().await?;
    // The limit is the API server's own: the last that we let through, it takes.
    store.put(&of_size(1_048_576)?, PutMode::Upsert).await?;
    let error = store
        .put(&of_size(1_048_577)?, PutMode::Upsert)
        .await
        .expect_err("more than a ConfigMap holds");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("1048577 bytes"), "{error}");
    assert_eq!(store.get(&"big".into()).await?.app, of_size(1_048_576)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_into_metadata_stays() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("store").await?;
    let name = namespace.name();
    let store = ConfigMapStore::new(Arc::new(KubeCluster::new(cluster.client().await?)), name);
    let app = Application::new("a");
    store.put(&app, PutMode::Create).await?;
    let all = format!("{APPLICATION_LABEL}=true");
    let change = ["-n", name, "configmap", "-l", all.as_str()];
    cluster
        .kubectl(&[&["label"], &change[..], &["backup=daily"]].concat())
        .await?;
    cluster
        .kubectl(&[&["annotate"], &change[..], &["owner=ann"]].concat())
        .await?;
    store
        .put(&app.in_namespace("shop"), PutMode::Upsert)
        .await?;
    store.suspend(&"a".into()).await?;
    let template =
        "-o=jsonpath={.items[*].metadata.labels.backup} {.items[*].metadata.annotations.owner}";
    let left = cluster
        .kubectl(&[&["get"], &change[..], &[template]].concat())
        .await?;
    assert_eq!(left.trim(), "daily ann");
    assert!(store.get(&"a".into()).await?.app.suspended);
    Ok(())
}
