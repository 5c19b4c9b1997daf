//! `flux trace`.

use anyhow::{Result, ensure};
use gitops_core::ErrorKind;
use gitops_core::manifest::ObjectId;
use gitops_flux::FluxKind;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{World, found, manager, trimmed};
use crate::flux::support::{PATIENCE, apply, request, until, until_allowed};

#[tokio::test(flavor = "multi_thread")]
async fn trace_tells_what_the_command_tells() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let world = World::new(flux, gitea, "flux-trace", &[]).await?;
    let manager = manager(flux).await?;
    let name = world.name();
    let map = ObjectId::new("", "ConfigMap", name, "map");
    let trace = manager.trace(&map).await?;
    let stage = found(trace.manager.clone(), "manager")?;
    assert_eq!(stage.id, FluxKind::Kustomization.object_id(name, "app"));
    assert_eq!(stage.revision, Some(world.revision()));
    assert_eq!(stage.ready, Some(true));
    let source = found(trace.source.clone(), "source")?;
    assert_eq!(source.id, FluxKind::GitRepository.object_id(name, "source"));
    assert_eq!(source.revision, Some(world.revision()));

    // Everything that the command prints is in what we print, but for the way times are written.
    let namespace = format!("--namespace={name}");
    let said = flux.cli(&["trace", "configmap", "map", &namespace]).await?;
    let ours = trace.to_string();
    let ours = trimmed(&ours);
    for line in trimmed(&said) {
        let same = match line.split_once("reconciled at") {
            Some((before, _)) => ours.iter().any(|line| line.starts_with(before)),
            None => ours.contains(&line),
        };
        ensure!(same, "{line:?} is not in {ours:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_follows_owners_and_failures() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let world = World::new(flux, gitea, "flux-pods", &[]).await?;
    let (manager, client) = (manager(flux).await?, world.namespace.client());
    let name = world.name();
    let pods: Api<Pod> = Api::namespaced(client.clone(), name);
    let pod = found(pods.list(&Default::default()).await?.items.pop(), "pod")?;
    let id = ObjectId::new("", "Pod", name, pod.name_any());
    let trace = manager.trace(&id).await?;
    let through: Vec<&str> = trace.through.iter().map(|id| id.kind.as_str()).collect();
    assert_eq!(through, ["ReplicaSet", "Deployment"]);
    assert_eq!(
        found(trace.manager, "manager")?.id,
        FluxKind::Kustomization.object_id(name, "app")
    );

    // The source fails: the trace says so, and the manager is as it was.
    let mut source = crate::flux::support::git_repository(name, "source", &world.repository);
    source["spec"]["ref"]["branch"] = json!("gone");
    apply(&client, &source).await?;
    request(&client, &source, "gone").await?;
    until(&client, &source, |found| {
        found.data["status"]["lastHandledReconcileAt"] == "gone"
    })
    .await?;
    let started = std::time::Instant::now();
    let trace = loop {
        let trace = manager.trace(&id).await?;
        if trace
            .source
            .as_ref()
            .is_some_and(|source| source.ready == Some(false))
        {
            break trace;
        }
        ensure!(started.elapsed() < PATIENCE, "{trace}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    let text = trace.to_string();
    assert!(text.contains("Last reconciliation failed"), "{text}");
    assert!(!text.contains(&gitea.password), "{text}");

    // What Flux does not manage, and what is not there.
    let account = ObjectId::new("", "ServiceAccount", name, "default");
    let trace = manager.trace(&account).await?;
    assert!(!trace.is_managed());
    let absent = ObjectId::new("apps", "Deployment", name, "absent");
    let error = manager.trace(&absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_of_five_hundred_objects_lists_each_kind_once() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let maps: Vec<String> = (0..500)
        .map(|n| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("many-{n}")}}).to_string())
        .collect();
    let many = maps.join("\n---\n");
    let world = World::new(flux, gitea, "flux-many", &[("many.yaml", &many)]).await?;
    let name = world.name();
    // As a user of its own, so that the audit log tells its requests from others'.
    let config = flux.cluster.config_as("bob").await?;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"namespace": name, "name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    });
    apply(&world.namespace.client(), &role).await?;
    until_allowed(&world.namespace.client(), "bob", name).await?;
    let cluster = gitops_kube::cluster::KubeCluster::from_config(config, Default::default())?;
    let ids: Vec<ObjectId> = (0..500)
        .map(|n| ObjectId::new("", "ConfigMap", name, format!("many-{n}")))
        .collect();
    let started = std::time::Instant::now();
    let traces = gitops_flux::trace::trace_many(&cluster, &ids).await?;
    println!("500 objects traced in {:.1?}", started.elapsed());
    assert_eq!(traces.len(), 500);
    for trace in traces {
        let trace = trace?;
        assert_eq!(
            found(trace.source, "source")?.revision,
            Some(world.revision())
        );
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let events = flux.cluster.audit_events().await?;
    let theirs: Vec<String> = events
        .iter()
        .filter(|event| {
            event["user"]["username"] == "bob" && event["objectRef"]["namespace"] == name
        })
        .map(|event| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            format!(
                "{} {}",
                text(&event["verb"]),
                text(&event["objectRef"]["resource"])
            )
        })
        .collect();
    assert_eq!(
        theirs,
        [
            "list configmaps",
            "get kustomizations",
            "get gitrepositories"
        ]
    );
    Ok(())
}
