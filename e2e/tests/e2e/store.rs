//! Applications in ConfigMaps of the real API server: the conformance suite of stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};
use gitops_core::ErrorKind;
use gitops_core::application::{
    Application, ApplicationStatus, Helm, HistoryEntry, Render, Source,
};
use gitops_core::backend::{ApplicationStore, ListOptions, PutMode};
use gitops_core::store::StatusStore;
use gitops_kube::cluster::KubeCluster;
use gitops_kube::store::{APPLICATION_LABEL, ConfigMapStore};

async fn make() -> Result<Arc<ConfigMapStore>> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("store").await?;
    let cluster = Arc::new(KubeCluster::new(cluster.client().await?));
    Ok(Arc::new(ConfigMapStore::new(cluster, namespace.name())))
}

gitops_core::store_conformance!(make(), damage);

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

/// A status of so many entries that pack as badly as can be: their revisions are random.
fn random(entries: i64) -> ApplicationStatus {
    let revision = |_| {
        (0..40)
            .map(|_| fastrand::char('!'..='~'))
            .collect::<String>()
    };
    let entry = |id| HistoryEntry {
        id,
        revisions: (0..25).map(revision).collect(),
        ..HistoryEntry::default()
    };
    ApplicationStatus {
        history: (0..entries).map(entry).collect(),
        ..ApplicationStatus::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_status_is_packed_up_to_the_servers_limit() -> Result<()> {
    let store = make().await?;
    store.put(&Application::new("a"), PutMode::Create).await?;
    let name = "a".into();
    // Some 1.1 MB as text, less than 1 MiB packed.
    let large = random(1_000);
    assert!(serde_json::to_string(&large)?.len() > 1_048_576);
    store.put_status(&name, &large).await?;
    assert_eq!(store.get(&name).await?.status, Some(large.clone()));
    let error = store
        .put_status(&name, &random(3_000))
        .await
        .expect_err("more than a ConfigMap holds");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(store.status(&name).await?, Some(large));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_several_pages_is_whole_also_when_its_token_expires() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("store").await?;
    let (pages, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, gone) = (pages.clone(), refused.clone());
    let client = crate::faults::faulty(cluster.client().await?, move |request| {
        if !request
            .uri()
            .query()
            .unwrap_or_default()
            .contains("continue=")
        {
            return None;
        }
        seen.fetch_add(1, Ordering::SeqCst);
        let refuse = gone.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        refuse.is_ok().then_some((http::StatusCode::GONE, None))
    });
    let store = ConfigMapStore::new(Arc::new(KubeCluster::new(client)), namespace.name());
    futures::stream::iter(0..502)
        .map(|number| {
            let (store, app) = (store.clone(), Application::new(format!("app-{number:03}")));
            async move { store.put(&app, PutMode::Create).await }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await?;
    for expire in [0, 1] {
        refused.store(expire, Ordering::SeqCst);
        let listed = store.list(&ListOptions::default()).await?;
        let names: Vec<_> = listed.into_iter().map(|stored| stored.app.name).collect();
        let all: Vec<_> = (0..502).map(|number| format!("app-{number:03}")).collect();
        assert_eq!(names, all);
        assert_eq!(
            pages.swap(0, Ordering::SeqCst),
            1,
            "the second page was asked for"
        );
    }
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
