//! Tenants: service accounts of their own, and clusters of their own.

use anyhow::Result;
use gitops_core::ErrorKind;
use gitops_flux::diff::{DiffAction, diff};
use gitops_flux::secret::FluxSecret;
use gitops_flux::tree::{TreeNote, TreeOptions};
use gitops_flux::types::Kustomization;
use gitops_flux::{FluxKind, FluxRef};
use gitops_kube::cluster::KubeCluster;
use serde_json::{Value, json};

use super::commands::{World, found, manager};
use super::support::{apply, ask, config_map, find, kustomization, until_allowed};

fn map(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_rights_is_told_which() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let tenant = config_map("tenant", "1");
    let world = World::new(flux, gitea, "flux-tenant", &[("tenant/map.yaml", &tenant)]).await?;
    let (manager, client, name) = (manager(flux).await?, world.namespace.client(), world.name());
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": name, "name": "tenant"}});
    apply(&client, &account).await?;
    let mut object = kustomization(name, "tenant", "GitRepository", "source");
    object["spec"]["path"] = json!("./tenant");
    object["spec"]["serviceAccountName"] = json!("tenant");
    apply(&client, &object).await?;
    let reference = FluxRef::new(FluxKind::Kustomization, name, "tenant");
    let error = manager.reconcile(&reference, &ask()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
    let text = format!("{error:#}");
    assert!(
        text.contains("forbidden")
            && text.contains(&format!("system:serviceaccount:{name}:tenant")),
        "{text}"
    );
    assert!(find(&client, &map(name, "tenant")).await?.is_none());

    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"namespace": name, "name": "tenant"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": name}],
    });
    apply(&client, &role).await?;
    until_allowed(
        &client,
        &format!("system:serviceaccount:{name}:tenant"),
        name,
    )
    .await?;
    manager.reconcile(&reference, &ask()).await?;
    assert!(find(&client, &map(name, "tenant")).await?.is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_is_delivered_to() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let far = config_map("far", "1");
    let world = World::new(flux, gitea, "flux-far", &[("far/map.yaml", &far)]).await?;
    let (manager, client, name) = (manager(flux).await?, world.namespace.client(), world.name());
    let plane = e2e::private_control_plane(&Default::default()).await?;
    let other = plane.cluster();
    let theirs = other.namespace("far").await?;
    let kubeconfig = std::fs::read_to_string(other.kubeconfig())?;
    let secret = FluxSecret::kubeconfig(name, "far", kubeconfig)?;
    assert!(manager.create_secret(&secret).await?);
    let mut object = kustomization(name, "far", "GitRepository", "source");
    object["spec"]["path"] = json!("./far");
    object["spec"]["targetNamespace"] = json!(theirs.name());
    object["spec"]["kubeConfig"] = json!({"secretRef": {"name": "far"}});
    apply(&client, &object).await?;
    let reference = FluxRef::new(FluxKind::Kustomization, name, "far");
    manager.reconcile(&reference, &ask()).await?;
    assert!(find(&client, &map(name, "far")).await?.is_none());
    assert!(
        find(&theirs.client(), &map(theirs.name(), "far"))
            .await?
            .is_some()
    );

    // Its objects are not in this cluster, and nobody looks for them here.
    let tree = manager.tree(&reference, &TreeOptions::default()).await?;
    assert_eq!(tree.note, Some(TreeNote::Remote));
    let typed: Kustomization = manager.get(name, "far").await?;
    let mut wanted =
        gitops_core::manifest::Object::new(serde_json::from_str(&config_map("far", "2"))?, None)?;
    wanted.set_namespace(theirs.name());
    let refused = manager.diff(&typed, [wanted.clone()]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let there = KubeCluster::from_config(other.config_as(e2e::ADMIN).await?, Default::default())?;
    let report = diff(&there, &typed, [wanted]).await?;
    assert_eq!(
        found(report.entries.first(), "entry")?.action,
        DiffAction::Changed
    );
    let gone = diff(&there, &typed, []).await?;
    assert_eq!(
        found(gone.entries.first(), "entry")?.action,
        DiffAction::Deleted
    );
    Ok(())
}
