//! The controllers.

use std::time::Duration;

use futures::StreamExt;
use gitops_core::application::HealthStatus;
use gitops_core::backend::Propagation;
use gitops_core::manifest::Object;
use gitops_kube::cluster::{
    Cluster, DeleteParams, InMemoryCluster, InMemoryOptions, ListParams, ObjectKey, WatchEvent,
};
use gitops_kube::health::HealthRules;
use serde_json::{Value, json};

use crate::{apply, deployment, get, kind, names};

const MINUTE: Duration = Duration::from_secs(60);

/// Pods take a minute; nothing happens before the test moves the clock.
fn cluster() -> InMemoryCluster {
    InMemoryCluster::with_options(InMemoryOptions {
        ready_after: MINUTE,
        unpullable: vec!["bad:1".into()],
        ..InMemoryOptions::default()
    })
}

fn health(object: &Object) -> HealthStatus {
    HealthRules::strict().assess(object).status
}

fn condition<'a>(object: &'a Object, kind: &str) -> &'a Value {
    object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind)
        .unwrap_or(&Value::Null)
}

async fn status(cluster: &InMemoryCluster, kind: &str, name: &str, field: &str) -> Value {
    let api_version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    let object = get(cluster, api_version, kind, name).await.expect(name);
    object
        .pointer(&format!("/status/{field}"))
        .cloned()
        .unwrap_or_default()
}

#[tokio::test]
async fn a_deployment_rolls_out() {
    let cluster = cluster();
    let made = apply(&cluster, deployment("web", "x:1", 3)).await;
    assert_eq!(made.pointer("/status/observedGeneration"), None);
    let web = async || get(&cluster, "apps/v1", "Deployment", "web").await.unwrap();
    let begun = web().await;
    assert_eq!(begun.pointer("/status/observedGeneration"), Some(&json!(1)));
    assert_eq!(
        begun.pointer("/status/unavailableReplicas"),
        Some(&json!(3))
    );
    assert_eq!(condition(&begun, "Available")["status"], "False");
    assert_eq!(
        condition(&begun, "Progressing")["reason"],
        "ReplicaSetUpdated"
    );
    assert_eq!(health(&begun), HealthStatus::Progressing);
    cluster.advance(MINUTE);
    let done = web().await;
    assert_eq!(done.pointer("/status/readyReplicas"), Some(&json!(3)));
    assert_eq!(
        condition(&done, "Progressing")["reason"],
        "NewReplicaSetAvailable"
    );
    assert_eq!(
        done.annotation("deployment.kubernetes.io/revision"),
        Some("1")
    );
    assert_eq!(health(&done), HealthStatus::Healthy);
    let first = names(&cluster, "apps/v1", "ReplicaSet", "app=web").await;
    let pods = names(&cluster, "v1", "Pod", "app=web").await;
    assert_eq!((first.len(), pods.len()), (1, 3));
    let pod = get(&cluster, "v1", "Pod", &pods[0]).await.unwrap();
    assert_eq!(
        pod.pointer("/metadata/ownerReferences/0/name"),
        Some(&json!(first[0]))
    );
    assert_eq!(pod.pointer("/status/phase"), Some(&json!("Running")));

    // The old pods stay until the new ones are there.
    apply(&cluster, deployment("web", "x:2", 3)).await;
    let rolling = web().await;
    assert_eq!(
        rolling.pointer("/status/observedGeneration"),
        Some(&json!(2))
    );
    assert_eq!(rolling.pointer("/status/replicas"), Some(&json!(6)));
    assert_eq!(health(&rolling), HealthStatus::Progressing);
    cluster.advance(MINUTE);
    let done = web().await;
    assert_eq!(
        (done.pointer("/status/replicas"), health(&done)),
        (Some(&json!(3)), HealthStatus::Healthy)
    );
    assert_eq!(names(&cluster, "v1", "Pod", "app=web").await.len(), 3);
    // Back to the first template: its ReplicaSet is used again.
    apply(&cluster, deployment("web", "x:1", 1)).await;
    cluster.advance(MINUTE);
    assert_eq!(
        web().await.annotation("deployment.kubernetes.io/revision"),
        Some("3")
    );
    assert_eq!(
        names(&cluster, "apps/v1", "ReplicaSet", "app=web")
            .await
            .len(),
        2
    );
    // A pod that is deleted is made anew.
    let pods = kind(&cluster, "v1", "Pod").await;
    let name = names(&cluster, "v1", "Pod", "app=web").await.remove(0);
    cluster
        .delete(
            ObjectKey {
                kind: &pods,
                namespace: "default",
                name: &name,
            },
            &DeleteParams::default(),
        )
        .await
        .unwrap();
    let again = names(&cluster, "v1", "Pod", "app=web").await;
    assert!(again.len() == 1 && again[0] != name, "{again:?}");
}

#[tokio::test]
async fn a_bad_image_never_gets_ready() {
    let cluster = cluster();
    apply(&cluster, deployment("web", "x:1", 1)).await;
    cluster.advance(MINUTE);
    apply(&cluster, deployment("web", "bad:1", 1)).await;
    cluster.advance(MINUTE * 5);
    let web = get(&cluster, "apps/v1", "Deployment", "web").await.unwrap();
    // The old pod still serves.
    assert_eq!(web.pointer("/status/availableReplicas"), Some(&json!(1)));
    assert_eq!(health(&web), HealthStatus::Progressing);
    let mut reasons = Vec::new();
    for name in names(&cluster, "v1", "Pod", "app=web").await {
        let pod = get(&cluster, "v1", "Pod", &name).await.unwrap();
        reasons.extend(
            pod.pointer("/status/containerStatuses/0/state/waiting/reason")
                .cloned(),
        );
    }
    assert_eq!(reasons, [json!("ImagePullBackOff")]);
    cluster.advance(MINUTE * 10);
    let web = get(&cluster, "apps/v1", "Deployment", "web").await.unwrap();
    assert_eq!(
        condition(&web, "Progressing")["reason"],
        "ProgressDeadlineExceeded"
    );
    assert_eq!(health(&web), HealthStatus::Degraded);
}

#[tokio::test]
async fn orphaned_pods_are_taken_up_again() {
    let cluster = cluster();
    apply(&cluster, deployment("web", "x:1", 2)).await;
    cluster.advance(MINUTE);
    let before = names(&cluster, "v1", "Pod", "app=web").await;
    let deployments = kind(&cluster, "apps/v1", "Deployment").await;
    let key = ObjectKey {
        kind: &deployments,
        namespace: "default",
        name: "web",
    };
    let orphan = DeleteParams {
        propagation: Some(Propagation::Orphan),
        ..DeleteParams::default()
    };
    cluster.delete(key, &orphan).await.unwrap();
    assert!(cluster.get(key).await.unwrap().is_none());
    apply(&cluster, deployment("web", "x:1", 2)).await;
    let web = get(&cluster, "apps/v1", "Deployment", "web").await.unwrap();
    assert_eq!(health(&web), HealthStatus::Healthy);
    assert_eq!(names(&cluster, "v1", "Pod", "app=web").await, before);
    // In the foreground everything goes.
    let params = DeleteParams {
        propagation: Some(Propagation::Foreground),
        ..DeleteParams::default()
    };
    cluster.delete(key, &params).await.unwrap();
    assert!(cluster.get(key).await.unwrap().is_none());
    assert!(names(&cluster, "v1", "Pod", "").await.is_empty());
}

fn workload(kind: &str, name: &str, image: &str, more: Value) -> Value {
    let mut value = deployment(name, image, 2);
    value["kind"] = kind.into();
    for (field, more) in more.as_object().unwrap() {
        value["spec"][field] = more.clone();
    }
    value
}

#[tokio::test]
async fn stateful_sets_go_one_by_one() {
    let cluster = cluster();
    let claims = json!({"serviceName": "db", "volumeClaimTemplates": [{"metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]});
    apply(
        &cluster,
        workload("StatefulSet", "db", "x:1", claims.clone()),
    )
    .await;
    assert_eq!(names(&cluster, "v1", "Pod", "app=db").await, ["db-0"]);
    cluster.advance(MINUTE);
    assert_eq!(
        names(&cluster, "v1", "Pod", "app=db").await,
        ["db-0", "db-1"]
    );
    assert_eq!(
        status(&cluster, "StatefulSet", "db", "readyReplicas").await,
        1
    );
    cluster.advance(MINUTE);
    let db = get(&cluster, "apps/v1", "StatefulSet", "db").await.unwrap();
    assert_eq!(
        health(&db),
        HealthStatus::Healthy,
        "{:?}",
        db.pointer("/status")
    );
    let claim = get(&cluster, "v1", "PersistentVolumeClaim", "data-db-1")
        .await
        .unwrap();
    assert_eq!(claim.pointer("/status/phase"), Some(&json!("Bound")));
    assert_eq!(health(&claim), HealthStatus::Healthy);

    apply(&cluster, workload("StatefulSet", "db", "x:2", claims)).await;
    let db = get(&cluster, "apps/v1", "StatefulSet", "db").await.unwrap();
    assert_eq!(health(&db), HealthStatus::Progressing);
    for _ in 0..4 {
        cluster.advance(MINUTE);
    }
    let db = get(&cluster, "apps/v1", "StatefulSet", "db").await.unwrap();
    assert_eq!(
        health(&db),
        HealthStatus::Healthy,
        "{:?}",
        db.pointer("/status")
    );
    assert_eq!(
        db.pointer("/status/currentRevision"),
        db.pointer("/status/updateRevision")
    );
}

#[tokio::test]
async fn daemon_sets_are_on_every_node() {
    let cluster = InMemoryCluster::with_options(InMemoryOptions {
        nodes: 3,
        ready_after: MINUTE,
        ..InMemoryOptions::default()
    });
    let mut agent = workload("DaemonSet", "agent", "x:1", json!({}));
    agent["spec"].as_object_mut().unwrap().remove("replicas");
    apply(&cluster, agent).await;
    assert_eq!(
        status(&cluster, "DaemonSet", "agent", "desiredNumberScheduled").await,
        3
    );
    cluster.advance(MINUTE);
    let agent = get(&cluster, "apps/v1", "DaemonSet", "agent")
        .await
        .unwrap();
    assert_eq!(
        health(&agent),
        HealthStatus::Healthy,
        "{:?}",
        agent.pointer("/status")
    );
}

fn job(image: &str, more: Value) -> Value {
    let mut value = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate", "namespace": "default"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]}}},
    });
    for (field, more) in more.as_object().unwrap() {
        value["spec"][field] = more.clone();
    }
    value
}

#[tokio::test]
async fn jobs_come_to_their_end() {
    let cluster = cluster();
    apply(
        &cluster,
        job("x:1", json!({"ttlSecondsAfterFinished": 300})),
    )
    .await;
    assert_eq!(status(&cluster, "Job", "migrate", "active").await, 1);
    cluster.advance(MINUTE);
    let done = get(&cluster, "batch/v1", "Job", "migrate").await.unwrap();
    assert_eq!(
        (
            condition(&done, "Complete")["status"].clone(),
            health(&done)
        ),
        (json!("True"), HealthStatus::Healthy)
    );
    // Applying it again changes nothing.
    let again = apply(
        &cluster,
        job("x:1", json!({"ttlSecondsAfterFinished": 300})),
    )
    .await;
    assert_eq!(again.resource_version(), done.resource_version());
    cluster.advance(MINUTE * 5);
    assert!(get(&cluster, "batch/v1", "Job", "migrate").await.is_none());
    assert!(names(&cluster, "v1", "Pod", "").await.is_empty());

    apply(
        &cluster,
        job("bad:1", json!({"activeDeadlineSeconds": 120})),
    )
    .await;
    cluster.advance(MINUTE * 3);
    let failed = get(&cluster, "batch/v1", "Job", "migrate").await.unwrap();
    assert_eq!(
        (
            condition(&failed, "Failed")["reason"].clone(),
            health(&failed)
        ),
        (json!("DeadlineExceeded"), HealthStatus::Degraded)
    );
    let jobs = kind(&cluster, "batch/v1", "Job").await;
    let key = ObjectKey {
        kind: &jobs,
        namespace: "default",
        name: "migrate",
    };
    let background = DeleteParams {
        propagation: Some(Propagation::Background),
        ..DeleteParams::default()
    };
    cluster.delete(key, &background).await.unwrap();
    apply(&cluster, job("x:1", json!({"suspend": true}))).await;
    let waiting = get(&cluster, "batch/v1", "Job", "migrate").await.unwrap();
    assert_eq!(health(&waiting), HealthStatus::Suspended);
}

#[tokio::test]
async fn other_kinds_tell_that_all_is_well() {
    let cluster = cluster();
    for value in [
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}}),
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": "x:1"}]}}),
    ] {
        let mut value = value;
        value["metadata"] = json!({"name": "x", "namespace": "default"});
        let made = apply(&cluster, value.clone()).await;
        cluster.advance(MINUTE);
        let (api_version, kind) = (made.api_version().to_owned(), made.kind().to_owned());
        let found = get(&cluster, &api_version, &kind, "x").await.unwrap();
        assert_eq!(
            health(&found),
            HealthStatus::Healthy,
            "{kind}: {:?}",
            found.pointer("/status")
        );
        // No controller took a field that was applied.
        let again = apply(&cluster, value).await;
        assert_eq!(again.resource_version(), found.resource_version(), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_what_happens_with_time() {
    let cluster = cluster();
    let deployments = kind(&cluster, "apps/v1", "Deployment").await;
    let mut watch = cluster.watch(&deployments, ListParams::default());
    apply(&cluster, deployment("web", "x:1", 1)).await;
    let seen = tokio::time::timeout(MINUTE * 2, async {
        while let Some(event) = watch.next().await {
            if let WatchEvent::Modified(object) = event.unwrap()
                && health(&object) == HealthStatus::Healthy
            {
                return;
            }
        }
    });
    seen.await.expect("nobody asks, and yet it becomes healthy");
}
