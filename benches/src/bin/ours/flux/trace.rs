//! Where hundreds of objects come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use benches::kustomizations as corpus;
use clap::Args;
use futures::StreamExt;
use gitops_core::manifest::ObjectId;
use gitops_flux::FluxKind;
use gitops_flux::trace::trace_many;
use kube::Client;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::create::{apply, counted, namespaces};
use crate::clock;

/// Objects that one application has: four that its manager applied, and a ReplicaSet, which the Deployment among them owns.
const OF_EACH: usize = 5;

/// One in so many applications is a HelmRelease.
const RELEASES: usize = 4;

/// Sources of each kind.
const SOURCES: usize = 5;

/// Applications that have a Kustomization or HelmRelease together.
const TOGETHER: usize = 4;

#[derive(Args)]
pub(crate) struct TraceCreate {
    /// The cluster. It has the definitions, and no controller.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many objects are to be traced.
    #[arg(long)]
    objects: usize,
    /// How many applications are made at once.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
}

/// Makes the objects, what manages them, and its sources.
pub(crate) fn create(arguments: &TraceCreate) -> Result<()> {
    Runtime::new()?.block_on(async {
        let client = super::cluster(&arguments.kubeconfig)
            .await?
            .client()
            .clone();
        namespaces(&client).await?;
        let applications = arguments.objects.div_ceil(OF_EACH);
        let mut managers = BTreeMap::new();
        for app in 0..applications {
            managers.entry(manager(app)).or_insert(app);
        }
        for i in 0..SOURCES {
            for source in sources(i) {
                apply(&client, &source).await?;
            }
        }
        for (id, app) in managers {
            for object in managing(&id, app) {
                apply(&client, &object).await?;
            }
        }
        let making = futures::stream::iter(0..applications)
            .map(|app| {
                let client = client.clone();
                async move { application(&client, app).await }
            })
            .buffer_unordered(arguments.concurrency);
        let made = counted(making).await?;
        ensure!(made == applications, "{made} of {applications} were made");
        anyhow::Ok(())
    })
}

#[derive(Args)]
pub(crate) struct Trace {
    /// The cluster.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many objects.
    #[arg(long)]
    objects: usize,
}

/// Traces them all, once. Whoever counts the requests counts those of this process.
pub(crate) fn trace(arguments: &Trace) -> Result<()> {
    Runtime::new()?.block_on(async {
        let cluster = super::cluster(&arguments.kubeconfig).await?;
        let ids: Vec<ObjectId> = (0..arguments.objects)
            .map(|n| id(n / OF_EACH, n % OF_EACH))
            .collect();
        let begun = Instant::now();
        let traces = trace_many(&cluster, &ids).await?;
        let ms = clock::ms(begun.elapsed());
        let mut kinds: BTreeSet<String> = ids.iter().map(|id| id.group_kind().to_string()).collect();
        let (mut managed, mut from, mut through) = (0, 0, 0);
        for (n, trace) in traces.into_iter().enumerate() {
            let trace = trace?;
            let expected = manager(n / OF_EACH);
            ensure!(
                trace.manager.as_ref().is_some_and(|stage| stage.found && stage.id == expected),
                "{} belongs to {expected}, not to {:?}",
                trace.object,
                trace.manager
            );
            managed += 1;
            from += usize::from(
                trace.source.as_ref().is_some_and(|stage| stage.found && stage.revision.is_some()),
            );
            through += usize::from(!trace.through.is_empty());
            kinds.extend(trace.stages().map(|stage| stage.id.group_kind().to_string()));
        }
        println!(
            "{}",
            json!({"ms": ms, "objects": ids.len(), "managed": managed, "sources": from, "through": through, "kinds": kinds})
        );
        anyhow::Ok(())
    })
}

/// The Kustomization or HelmRelease of an application.
fn manager(app: usize) -> ObjectId {
    let group = app / TOGETHER;
    let kind = match group.is_multiple_of(RELEASES) {
        true => FluxKind::HelmRelease,
        false => FluxKind::Kustomization,
    };
    kind.object_id("flux-system", &format!("shop-{group:04}"))
}

/// An object of an application.
fn id(app: usize, n: usize) -> ObjectId {
    let (group, kind) = match n {
        0 => ("", "ConfigMap"),
        1 => ("", "Service"),
        2 => ("", "ServiceAccount"),
        3 => ("apps", "Deployment"),
        _ => ("apps", "ReplicaSet"),
    };
    ObjectId::new(group, kind, corpus::namespace(app), format!("web-{app:04}"))
}

fn artifact(revision: &str) -> Value {
    json!({
        "artifact": {
            "digest": format!("sha256:{}", "0f".repeat(32)),
            "lastUpdateTime": "2026-03-10T11:02:45Z",
            "path": "a/b/c.tar.gz",
            "revision": revision,
            "url": "http://source-controller.flux-system.svc.cluster.local./a/b/c.tar.gz",
        },
        "conditions": [condition("Succeeded", &format!("stored artifact for revision '{revision}'"))],
        "observedGeneration": 1,
    })
}

fn condition(reason: &str, message: &str) -> Value {
    json!({
        "type": "Ready",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-03-10T11:02:45Z",
        "observedGeneration": 1,
    })
}

fn flux(kind: FluxKind, name: &str, spec: Value, status: Value) -> Value {
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind(),
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": spec,
        "status": status,
    })
}

fn source_name(group: usize) -> String {
    format!("source-{}", group % SOURCES)
}

fn sources(i: usize) -> [Value; 2] {
    let name = source_name(i);
    let url = format!("https://git.example.com/{name}.git");
    [
        flux(
            FluxKind::GitRepository,
            &name,
            json!({"interval": "1m0s", "url": url, "ref": {"branch": "main"}}),
            artifact(&format!("main@sha1:{}", "12345678".repeat(5))),
        ),
        flux(
            FluxKind::HelmRepository,
            &name,
            json!({"interval": "10m0s", "url": format!("https://charts.example.com/{name}")}),
            artifact(&format!("sha256:{}", "ab".repeat(32))),
        ),
    ]
}

/// A manager, and what is between it and its source.
fn managing(id: &ObjectId, app: usize) -> Vec<Value> {
    let source = source_name(app / TOGETHER);
    if id.kind == "Kustomization" {
        let mut status = corpus::status(app + 1);
        status["conditions"] = json!([condition("ReconciliationSucceeded", "Applied revision")]);
        let spec = json!({
            "interval": "10m0s",
            "path": format!("./apps/{}", id.name),
            "prune": true,
            "sourceRef": {"kind": "GitRepository", "name": source},
        });
        return vec![flux(FluxKind::Kustomization, &id.name, spec, status)];
    }
    let repository = json!({"kind": "HelmRepository", "name": source});
    let chart = format!("flux-system-{}", id.name);
    vec![
        flux(
            FluxKind::HelmChart,
            &chart,
            json!({"chart": "web", "version": "1.x", "interval": "10m0s", "sourceRef": repository}),
            artifact("1.2.3"),
        ),
        flux(
            FluxKind::HelmRelease,
            &id.name,
            json!({"interval": "10m0s", "chart": {"spec": {"chart": "web", "version": "1.x", "sourceRef": repository}}}),
            json!({
                "conditions": [condition("UpgradeSucceeded", "Helm upgrade succeeded")],
                "helmChart": format!("flux-system/{chart}"),
                "lastAttemptedRevision": "1.2.3",
                "observedGeneration": 1,
            }),
        ),
    ]
}

async fn application(client: &Client, app: usize) -> Result<()> {
    let by = manager(app);
    let labels = json!({
        format!("{}/name", by.group): by.name,
        format!("{}/namespace", by.group): by.namespace,
    });
    let selector = json!({"matchLabels": {"app": format!("web-{app:04}")}});
    let pods = json!({
        "metadata": {"labels": selector["matchLabels"]},
        "spec": {"containers": [{"name": "main", "image": "registry.example.com/web:1.2.3"}]},
    });
    let workload = json!({"replicas": 1, "selector": selector, "template": pods});
    let mut owner = None;
    for n in 0..OF_EACH {
        let id = id(app, n);
        let mut object = json!({
            "apiVersion": if id.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", id.group) },
            "kind": id.kind,
            "metadata": {"name": id.name, "namespace": id.namespace},
        });
        match &*id.kind {
            "ConfigMap" => object["data"] = json!({"key": "value"}),
            "Service" => {
                object["spec"] =
                    json!({"selector": selector["matchLabels"], "ports": [{"port": 80}]})
            }
            "Deployment" => object["spec"] = workload.clone(),
            "ReplicaSet" => object["spec"] = workload.clone(),
            _ => {}
        }
        match &owner {
            // What a controller of Kubernetes makes has none of Flux's labels.
            Some(uid) if id.kind == "ReplicaSet" => {
                object["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": id.name, "uid": uid, "controller": true, "blockOwnerDeletion": true,
                }]);
            }
            _ => object["metadata"]["labels"] = labels.clone(),
        }
        let made = apply(client, &object).await?;
        if id.kind == "Deployment" {
            owner = Some(made.metadata.uid.context("no UID")?);
        }
    }
    Ok(())
}
