//! `flux tree`, and `dependsOn`.

use anyhow::{Result, ensure};
use e2e::flux::{Chart, push_chart};
use gitops_flux::graph::DependencyGraph;
use gitops_flux::tree::TreeOptions;
use gitops_flux::{FluxKind, FluxRef};
use serde_json::json;

use super::{World, manager, trimmed};
use crate::flux::support::{apply, ask, find, ready};

#[tokio::test(flavor = "multi_thread")]
async fn tree_is_the_commands_tree() -> Result<()> {
    let (flux, gitea, registry) = (
        e2e::flux().await?,
        e2e::gitea().await?,
        e2e::registry().await?,
    );
    let world = World::new(flux, gitea, "flux-tree", &[]).await?;
    let (client, name) = (world.namespace.client(), world.name());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-map"}});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": format!("{name}:reader")}, "rules": [],
    });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things.{name}.example.com")},
        "spec": {"group": format!("{name}.example.com"), "scope": "Cluster",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    let chart = Chart::new("treed", "1.0.0")
        .file("templates/map.yaml", &map.to_string())
        .file("templates/role.yaml", &role.to_string())
        .file("crds/thing.yaml", &definition.to_string());
    let url = push_chart(registry, name, &chart).await?;
    // A Kustomization that brings a HelmRelease, its repository and another Kustomization.
    let inner = [
        json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository",
            "metadata": {"name": "charts", "namespace": name},
            "spec": {"interval": "1h", "type": "oci", "insecure": true, "url": url},
        }),
        json!({
            "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
            "metadata": {"name": "treed", "namespace": name},
            "spec": {"interval": "1h", "install": {"crds": "Create"}, "chart": {"spec": {
                "chart": "treed", "version": "1.x", "sourceRef": {"kind": "HelmRepository", "name": "charts"},
            }}},
        }),
        json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": "second", "namespace": name},
            "spec": {"interval": "1h", "prune": true, "path": "./second", "targetNamespace": name,
                "sourceRef": {"kind": "GitRepository", "name": "source"}},
        }),
    ];
    let inner: Vec<String> = inner.iter().map(ToString::to_string).collect();
    let inner = inner.join("\n---\n");
    let second = crate::flux::support::config_map("of-second", "1");
    let files = [("root/inner.yaml", &*inner), ("second/map.yaml", &*second)];
    gitea.commit(&world.repository, "nested", &files).await?;
    let manager = manager(flux).await?;
    let mut root = crate::flux::support::kustomization(name, "root", "GitRepository", "source");
    root["spec"]["path"] = json!("./root");
    manager
        .reconcile(
            &FluxRef::new(FluxKind::GitRepository, name, "source"),
            &ask(),
        )
        .await?;
    ready(&client, &root).await?;

    let reference = FluxRef::new(FluxKind::Kustomization, name, "root");
    let tree = manager.tree(&reference, &TreeOptions::default()).await?;
    let text = tree.to_string();
    println!("{text}");
    let namespace = format!("--namespace={name}");
    let said = flux
        .cli(&["tree", "kustomization", "root", &namespace])
        .await?;
    assert_eq!(trimmed(&text), trimmed(&said));
    let said = flux
        .cli(&["tree", "kustomization", "root", &namespace, "--output=json"])
        .await?;
    assert_eq!(
        tree.to_json(),
        serde_json::from_str::<serde_json::Value>(&said)?
    );
    let compact = TreeOptions {
        compact: true,
        ..TreeOptions::default()
    };
    let tree = manager.tree(&reference, &compact).await?;
    let said = flux
        .cli(&["tree", "kustomization", "root", &namespace, "--compact"])
        .await?;
    assert_eq!(trimmed(&tree.to_string()), trimmed(&said));
    ensure!(text.contains("CustomResourceDefinition/things."), "{text}");
    // And a release by itself.
    let release = FluxRef::new(FluxKind::HelmRelease, name, "treed");
    let tree = manager.tree(&release, &TreeOptions::default()).await?;
    assert_eq!(tree.children.len(), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn circles_are_found_before_they_are_applied() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let world = World::new(flux, gitea, "flux-graph", &[]).await?;
    let (client, name) = (world.namespace.client(), world.name());
    let manager = manager(flux).await?;
    let depends = |object: &str, on: &[&str]| {
        let mut value =
            crate::flux::support::kustomization(name, object, "GitRepository", "source");
        let on: Vec<_> = on.iter().map(|name| json!({"name": name})).collect();
        value["spec"]["dependsOn"] = json!(on);
        value["spec"]["namePrefix"] = json!(format!("{object}-"));
        value
    };
    ready(&client, &depends("second", &["app"])).await?;
    let mut graph: DependencyGraph = manager.dependencies(Some(name)).await?;
    let order: Vec<Vec<String>> = graph
        .order()?
        .iter()
        .map(|step| step.iter().map(|id| id.name.clone()).collect())
        .collect();
    assert_eq!(order, [["app"], ["second"]]);

    // What the next commit would bring, asked before it is applied.
    let object = |value| gitops_core::manifest::Object::new(value, None);
    let wanted = [
        object(depends("third", &["second", "nobody"]))?,
        object(depends("app", &["third"]))?,
    ];
    graph.extend(&wanted);
    let error = graph.check_cycles().unwrap_err();
    let circle = format!(
        "Kustomization/{name}/app -> Kustomization/{name}/third -> Kustomization/{name}/second -> Kustomization/{name}/app"
    );
    assert!(error.to_string().contains(&circle), "{error}");
    let missing = graph.missing();
    assert_eq!(missing.len(), 1);
    assert_eq!(
        missing[0].1.on,
        FluxKind::Kustomization.object_id(name, "nobody")
    );
    assert!(find(&client, &depends("third", &[])).await?.is_none());

    // Flux itself only waits: neither of two that wait for each other gets ready.
    apply(&client, &depends("left", &["right"])).await?;
    apply(&client, &depends("right", &["left"])).await?;
    for object in ["left", "right"] {
        crate::flux::support::until(&client, &depends(object, &[]), |found| {
            found.data["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|condition| condition["reason"] == "DependencyNotReady")
        })
        .await?;
    }
    let graph = manager.dependencies(Some(name)).await?;
    assert_eq!(graph.cycles().len(), 1);
    Ok(())
}
