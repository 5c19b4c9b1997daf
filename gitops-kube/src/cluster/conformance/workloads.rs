//! Workloads get pods and become ready, as their health sees it.

use gitops_core::application::HealthStatus;
use gitops_core::manifest::Object;
use gitops_core::{Error, Result};
use serde_json::{Value, json};

use super::{Place, at, check, equal, until};
use crate::cluster::ListParams;
use crate::health::{HealthRules, pods};

fn pod(image: &str, command: &[&str]) -> Value {
    json!({
        "metadata": {"labels": {"app": "w"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [
            {"name": "c", "image": image, "imagePullPolicy": "IfNotPresent", "command": command}]},
    })
}

fn workload(api_version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "w"}, "spec": spec})
}

async fn healthy(place: &Place, value: Value) -> Result<Object> {
    let made = place.apply("m", value).await?;
    let health = HealthRules::strict();
    let (api_version, kind) = (made.api_version().to_owned(), made.kind().to_owned());
    until(&format!("{kind} is healthy"), || async {
        let live = place.there(&api_version, &kind, "w").await?;
        let health = health.assess(&live);
        if health.status == HealthStatus::Degraded {
            return Err(Error::failed(health.message));
        }
        Ok((health.status == HealthStatus::Healthy).then_some(live))
    })
    .await
}

async fn pods_of(place: &Place) -> Result<Vec<Object>> {
    let kind = place.kind("v1", "Pod").await?;
    let params = ListParams {
        namespace: Some(place.namespace.clone()),
        labels: Some("app=w".into()),
        ..ListParams::default()
    };
    Ok(place.cluster.list(&kind, &params).await?.items)
}

fn selector() -> Value {
    json!({"matchLabels": {"app": "w"}})
}

/// A Deployment has a ReplicaSet, that has pods, and they run.
pub async fn a_deployment_becomes_ready(place: &Place, image: &str) -> Result<()> {
    let spec =
        json!({"replicas": 2, "selector": selector(), "template": pod(image, &["sleep", "1000"])});
    let live = healthy(place, workload("apps/v1", "Deployment", spec)).await?;
    equal(at(&live, "/status/readyReplicas"), &json!(2))?;
    equal(
        at(&live, "/status/observedGeneration"),
        at(&live, "/metadata/generation"),
    )?;
    equal(
        live.annotation("deployment.kubernetes.io/revision"),
        Some("1"),
    )?;
    let pods = pods_of(place).await?;
    equal(pods.len(), 2)?;
    for pod in &pods {
        equal(at(pod, "/status/phase"), &json!("Running"))?;
        equal(
            at(pod, "/metadata/ownerReferences/0/kind"),
            &json!("ReplicaSet"),
        )?;
    }
    Ok(())
}

/// A StatefulSet's pods are numbered.
pub async fn a_stateful_set_becomes_ready(place: &Place, image: &str) -> Result<()> {
    let spec = json!({"serviceName": "w", "replicas": 2, "selector": selector(), "template": pod(image, &["sleep", "1000"])});
    let live = healthy(place, workload("apps/v1", "StatefulSet", spec)).await?;
    equal(at(&live, "/status/readyReplicas"), &json!(2))?;
    let mut names: Vec<_> = pods_of(place)
        .await?
        .iter()
        .map(|pod| pod.name().to_owned())
        .collect();
    names.sort();
    equal(names, ["w-0", "w-1"])
}

/// A DaemonSet has a pod on each node.
pub async fn a_daemon_set_becomes_ready(place: &Place, image: &str) -> Result<()> {
    let spec = json!({"selector": selector(), "template": pod(image, &["sleep", "1000"])});
    let live = healthy(place, workload("apps/v1", "DaemonSet", spec)).await?;
    let wanted = at(&live, "/status/desiredNumberScheduled").as_u64();
    check(wanted > Some(0), || format!("{wanted:?} pods wanted"))?;
    equal(
        pods_of(place).await?.len() as u64,
        wanted.unwrap_or_default(),
    )
}

/// A Job runs to its end.
pub async fn a_job_completes(place: &Place, image: &str) -> Result<()> {
    let mut template = pod(image, &["true"]);
    template["spec"]["restartPolicy"] = json!("Never");
    let live = healthy(
        place,
        workload("batch/v1", "Job", json!({"template": template})),
    )
    .await?;
    equal(at(&live, "/status/succeeded"), &json!(1))
}

/// A pod whose image cannot be had says so, and its Deployment's health names it. The image's name holds `unpullable`.
pub async fn an_image_that_cannot_be_had_is_said(place: &Place, _image: &str) -> Result<()> {
    let spec = json!({"replicas": 1, "selector": selector(), "template": pod("127.0.0.1:1/unpullable:1", &["sleep", "1000"])});
    let made = place
        .apply("m", workload("apps/v1", "Deployment", spec))
        .await?;
    let health = until("the pod is told about", || async {
        let pods = pods_of(place).await?;
        let live = place.there("apps/v1", "Deployment", "w").await?;
        Ok(pods::explain(&live, &pods).filter(|health| health.status == HealthStatus::Degraded))
    })
    .await?;
    check(
        health.message.contains("unpullable") && health.message.contains(made.name()),
        || health.message,
    )
}
