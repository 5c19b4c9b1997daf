//! Kinds and the status of workloads.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use gitops_core::application::HealthStatus;
use gitops_core::manifest::{GroupKind, GroupVersionKind, Object};
use gitops_kube::cluster::{
    Cluster, InMemoryCluster, KubeCluster, ListParams, ObjectKey, WriteParams,
};
use gitops_kube::health::HealthRules;
use serde_json::{Value, json};

use super::differences;

/// What the API server serves beyond the declared subset: kinds that only answer, and what nobody deploys from Git.
const LEFT_OUT: [&str; 4] = [
    "authentication.k8s.io",
    "authorization.k8s.io",
    "internal.apiserver.k8s.io",
    "metrics.k8s.io",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_kinds_are_the_servers() -> Result<()> {
    let real = e2e::cluster().await?;
    let memory = InMemoryCluster::new();
    let discovery = kube::Discovery::new(real.client().await?)
        .run_aggregated()
        .await?;
    let kube = KubeCluster::new(real.client().await?);
    let mut wrong = BTreeSet::new();
    for group in discovery.groups() {
        // Groups of custom kinds that other tests define have other names.
        let builtin = !group.name().contains('.') || group.name().ends_with(".k8s.io");
        if !builtin || LEFT_OUT.contains(&group.name()) {
            continue;
        }
        for version in group.versions() {
            for (resource, capabilities) in group.versioned_resources(version) {
                let needed = ["create", "list", "delete"];
                if version.contains("alpha")
                    || version.contains("beta")
                    || !needed
                        .iter()
                        .all(|verb| capabilities.supports_operation(verb))
                {
                    continue;
                }
                let gvk =
                    GroupVersionKind::new(&*resource.group, &*resource.version, &*resource.kind);
                let kind = GroupKind::new(&*resource.group, &*resource.kind);
                match memory.resolve(&gvk).await {
                    Err(_) => {
                        wrong.insert(format!("{gvk} is not served"));
                    }
                    Ok(ours) => {
                        let theirs = kube.resolve(&gvk).await?;
                        if (ours.plural.as_str(), ours.scope) != (&theirs.plural, theirs.scope) {
                            wrong.insert(format!("{gvk}: {theirs:?}, in memory {ours:?}"));
                        }
                        if memory.resolve_any(&kind).await?.gvk
                            != kube.resolve_any(&kind).await?.gvk
                        {
                            wrong.insert(format!("{gvk}: another version is preferred"));
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

fn workloads() -> Vec<Value> {
    let template = |name: &str, command: Value, policy: &str| {
        json!({
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "restartPolicy": policy, "containers": [
                {"name": "c", "image": e2e::BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": command}]},
        })
    };
    let sleep = json!(["sleep", "1000"]);
    let of = |api_version: &str, kind: &str, name: &str, spec: Value| {
        let mut value = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec});
        if matches!(
            kind,
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet"
        ) {
            value["spec"]["selector"] = json!({"matchLabels": {"app": name}});
            value["spec"]["template"] = template(name, sleep.clone(), "Always");
        }
        value
    };
    vec![
        of("apps/v1", "Deployment", "de", json!({"replicas": 2})),
        of("apps/v1", "ReplicaSet", "rs", json!({"replicas": 1})),
        of(
            "apps/v1",
            "StatefulSet",
            "st",
            json!({"replicas": 2, "serviceName": "st"}),
        ),
        of("apps/v1", "DaemonSet", "da", json!({})),
        of(
            "batch/v1",
            "Job",
            "jo",
            json!({"template": template("jo", json!(["true"]), "Never")}),
        ),
        of(
            "v1",
            "Pod",
            "po",
            template("po", sleep.clone(), "Always")["spec"].clone(),
        ),
    ]
}

/// Applies all, waits until all are healthy, and tells their status and what they made.
async fn run(cluster: &dyn Cluster, namespace: &str) -> Result<Value> {
    let params = WriteParams {
        field_manager: "one".into(),
        ..WriteParams::default()
    };
    let mut told = json!({});
    for mut value in workloads() {
        value["metadata"]["namespace"] = namespace.into();
        let object = Object::new(value, None)?;
        let kind = cluster.resolve(&object.gvk()).await?;
        cluster.apply(&kind, &object, &params).await?;
        let key = ObjectKey {
            kind: &kind,
            namespace,
            name: object.name(),
        };
        let mut tries = 0;
        let live = loop {
            if let Some(live) = cluster.get(key).await?
                && HealthRules::strict().assess(&live).status == HealthStatus::Healthy
            {
                break live;
            }
            tries += 1;
            if tries > 480 {
                bail!("{key} does not become healthy");
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        };
        told[object.kind()] = plain(&live);
    }
    // The controllers may have a last word to say.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (api_version, kind) in [("v1", "Pod"), ("apps/v1", "ReplicaSet")] {
        let kind = cluster
            .resolve(&GroupVersionKind::from_api_version(api_version, kind))
            .await?;
        let params = ListParams {
            namespace: Some(namespace.to_owned()),
            labels: Some("app in (de,st,da,jo)".into()),
            ..ListParams::default()
        };
        for made in cluster.list(&kind, &params).await?.items {
            let mut of = plain(&made);
            of["owners"] = made
                .pointer("/metadata/ownerReferences")
                .cloned()
                .unwrap_or_default();
            for owner in of["owners"].as_array_mut().into_iter().flatten() {
                owner["uid"] = Value::Null;
                if owner["kind"] == "ReplicaSet" {
                    owner["name"] = Value::Null;
                }
            }
            let app = made.label("app").unwrap_or_default();
            told[format!("{} of {app}", made.kind())] = of;
        }
    }
    Ok(told)
}

/// Status, labels' names and annotations' names, without what no two clusters have in common.
fn plain(object: &Object) -> Value {
    fn clean(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|name, value| {
                    !value.is_null() && !matches!(name.as_str(), "image" | "volumeMounts")
                });
                for (name, value) in map.iter_mut() {
                    let differs = name.ends_with("Time")
                        || name.ends_with("At")
                        || name.ends_with("Revision")
                        || name.ends_with("ID")
                        || name.ends_with("IP")
                        || matches!(name.as_str(), "ip" | "message");
                    if differs {
                        *value = "some".into();
                    } else {
                        clean(value);
                    }
                }
            }
            Value::Array(items) => {
                items.iter_mut().for_each(clean);
                items.sort_by_key(|item| item["type"].to_string());
            }
            _ => {}
        }
    }
    let mut status = object.pointer("/status").cloned().unwrap_or_default();
    clean(&mut status);
    let names = |field: &str| -> Vec<String> {
        object
            .pointer(&format!("/metadata/{field}"))
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    };
    json!({"status": status, "labels": names("labels"), "annotations": names("annotations"),
        "finalizers": object.pointer("/metadata/finalizers")})
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_tell_the_same_status() -> Result<()> {
    let real = e2e::cluster().await?;
    e2e::node().await?;
    let namespace = real.namespace("status").await?;
    let kube = KubeCluster::new(real.client().await?);
    let ours = run(&InMemoryCluster::new(), "default").await?;
    let mut found = Vec::new();
    for _ in 0..60 {
        // To apply the same again is no write: this looks again, if controllers and kubelet were not at the end yet.
        let theirs = run(&kube, namespace.name()).await?;
        found.clear();
        differences("", &theirs, &ours, &mut found);
        if found.is_empty() {
            break;
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}
