//! `flux diff kustomization`.

use anyhow::{Result, ensure};
use gitops_core::manifest::{Object, ObjectId};
use gitops_flux::diff::DiffAction;
use gitops_flux::types::Kustomization;
use gitops_flux::{FluxKind, FluxRef};
use serde_json::{Value, json};

use super::{World, manager};
use crate::flux::support::{apply, ask, find};

/// An object as kustomize-controller would apply it for `app`.
fn built(namespace: &str, text: &str) -> Result<Object> {
    let mut object = Object::new(serde_json::from_str(text)?, None)?;
    object.set_namespace(namespace);
    Ok(object)
}

#[tokio::test(flavor = "multi_thread")]
async fn diff_tells_what_the_next_reconcile_does() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secret"}, "stringData": {"a": "canary-1"}}).to_string();
    let world = World::new(flux, gitea, "flux-diff", &[("secret.yaml", &secret)]).await?;
    let (manager, client, name) = (manager(flux).await?, world.namespace.client(), world.name());
    let app: Kustomization = manager.get(name, "app").await?;
    let map = crate::flux::support::config_map("map", "1");
    let same = [
        built(name, &map)?,
        built(name, &crate::flux::support::deployment("app"))?,
        built(name, &secret)?,
    ];
    let report = manager.diff(&app, same.clone()).await?;
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!(report.of(DiffAction::Unchanged).count(), 3);

    // Somebody scales, Git changes the map and the Secret, adds one and drops the Deployment.
    let other = crate::flux::support::config_map("map", "2");
    let new = crate::flux::support::config_map("new", "1");
    let secret = secret.replace("canary-1", "canary-2");
    let next = [
        built(name, &other)?,
        built(name, &secret)?,
        built(name, &new)?,
    ];
    let before = state(&client, name).await?;
    let report = manager.diff(&app, next).await?;
    let text = report.to_string();
    println!("{text}");
    assert_eq!(report.exit_code(), 1, "{text}");
    let actions: Vec<(String, DiffAction)> = report
        .entries
        .iter()
        .map(|entry| (entry.id.name.clone(), entry.action))
        .collect();
    let expected = [
        ("map", DiffAction::Changed),
        ("secret", DiffAction::Changed),
        ("new", DiffAction::Created),
        ("app", DiffAction::Deleted),
    ];
    assert_eq!(
        actions,
        expected.map(|(name, action)| (name.to_owned(), action))
    );
    assert!(!text.contains("canary"), "{text}");
    assert_eq!(
        state(&client, name).await?,
        before,
        "a diff changed something"
    );

    // The command says the same of the same files.
    let dir = tempfile::tempdir()?;
    for (file, text) in [
        ("map.yaml", &other),
        ("secret.yaml", &secret),
        ("new.yaml", &new),
    ] {
        std::fs::write(dir.path().join(file), text)?;
    }
    let path = format!("--path={}", dir.path().display());
    let namespace = format!("--namespace={name}");
    let said = flux
        .cli_output(&["diff", "kustomization", "app", &namespace, &path])
        .await?;
    let lines = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.status.code(), Some(report.exit_code()), "{lines}");
    for entry in &report.entries {
        let word = match entry.action {
            DiffAction::Changed => "drifted",
            DiffAction::Created => "created",
            _ => "deleted",
        };
        let line = format!("{}/{name}/{} {word}", entry.id.kind, entry.id.name);
        ensure!(
            lines.contains(&line) && text.contains(&line),
            "{line} is not in\n{lines}"
        );
    }

    // And a reconcile does it.
    let files = [
        ("map.yaml", &*other),
        ("secret.yaml", &*secret),
        ("app.yaml", &*new),
    ];
    gitea.commit(&world.repository, "next", &files).await?;
    let options = ask().with_source();
    manager
        .reconcile(
            &FluxRef::new(FluxKind::Kustomization, name, "app"),
            &options,
        )
        .await?;
    let map = super::found(
        find(&client, &object_of(name, "ConfigMap", "map")).await?,
        "map",
    )?;
    assert_eq!(map.data["data"]["value"], "2");
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": name, "name": "app"}});
    assert!(
        find(&client, &deployment)
            .await?
            .is_none_or(|found| found.metadata.deletion_timestamp.is_some())
    );
    Ok(())
}

fn object_of(namespace: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": namespace, "name": name}})
}

/// The resource versions of what is in a namespace.
async fn state(client: &kube::Client, namespace: &str) -> Result<Vec<Option<String>>> {
    let mut versions = Vec::new();
    for (kind, name) in [
        ("ConfigMap", "map"),
        ("Secret", "secret"),
        ("ConfigMap", "new"),
    ] {
        let found = find(client, &object_of(namespace, kind, name)).await?;
        versions.push(found.and_then(|found| found.metadata.resource_version));
    }
    Ok(versions)
}

#[tokio::test(flavor = "multi_thread")]
async fn immutable_fields_and_refusals_are_told() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let world = World::new(flux, gitea, "flux-immutable", &[]).await?;
    let (manager, client, name) = (manager(flux).await?, world.namespace.client(), world.name());
    let mut app: Kustomization = manager.get(name, "app").await?;
    let mut deployment: Value = serde_json::from_str(&crate::flux::support::deployment("app"))?;
    deployment["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    deployment["spec"]["template"]["metadata"]["labels"]["app"] = json!("other");
    let map = crate::flux::support::config_map("map", "1");
    let next = || -> Result<[Object; 2]> {
        Ok([built(name, &map)?, built(name, &deployment.to_string())?])
    };
    let report = manager.diff(&app, next()?).await?;
    assert_eq!(report.exit_code(), 2, "{report}");
    let failed = super::found(report.of(DiffAction::Failed).next(), "failure")?;
    assert!(
        failed
            .reason
            .as_ref()
            .is_some_and(|why| why.contains("immutable")),
        "{failed:?}"
    );
    app.spec.force = Some(true);
    let report = manager.diff(&app, next()?).await?;
    assert_eq!(report.exit_code(), 1, "{report}");
    assert_eq!(report.of(DiffAction::Recreated).count(), 1);

    // A definition and what is of it, in one commit.
    let group = format!("{name}.example.com");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    let thing = json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "one", "namespace": name}});
    let mut objects = vec![Object::new(definition, None)?, Object::new(thing, None)?];
    let report = manager.diff(&app, objects.clone()).await?;
    assert_eq!(report.of(DiffAction::Created).count(), 2, "{report}");
    let alone = manager.diff(&app, objects.split_off(1)).await?;
    assert_eq!(alone.of(DiffAction::Failed).count(), 1, "{alone}");

    // What is protected stays.
    let protected = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": name, "name": "map",
            "annotations": {"kustomize.toolkit.fluxcd.io/prune": "disabled"}},
    });
    apply(&client, &protected).await?;
    let report = manager.diff(&app, []).await?;
    let kept: Vec<&ObjectId> = report.of(DiffAction::Kept).map(|entry| &entry.id).collect();
    assert_eq!(kept, [&ObjectId::new("", "ConfigMap", name, "map")]);
    assert_eq!(report.of(DiffAction::Deleted).count(), 1);
    Ok(())
}
