//! What the tests of Flux share: objects of any kind, and the usual sources and Kustomizations.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Gitea, Repository};
use gitops_flux::reconcile::{ReconcileOptions, WaitOptions};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt, discovery};
use serde_json::{Value, json};

/// Longer than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// A wait for as long as anything takes. The controllers have no Leases, by which a busy one is told from one that does not run: it may be silent for as long.
pub(super) fn wait() -> WaitOptions {
    WaitOptions::within(PATIENCE).answer_within(PATIENCE)
}

/// A request to reconcile, with such a wait.
pub(super) fn ask() -> ReconcileOptions {
    ReconcileOptions::default().wait(wait())
}

/// The Secret that [`git_repository`] logs in with.
pub(super) const LOGIN: &str = "login";

/// The objects of the kind and namespace of `object`.
async fn api(client: &Client, object: &Value) -> Result<Api<DynamicObject>> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let version = text("/apiVersion").context("no apiVersion")?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let gvk = GroupVersionKind::gvk(group, version, text("/kind").context("no kind")?);
    let (resource, _) = discovery::pinned_kind(client, &gvk).await?;
    Ok(match text("/metadata/namespace") {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    })
}

fn name(object: &Value) -> Result<&str> {
    object["metadata"]["name"].as_str().context("no name")
}

/// Applies an object, by server-side apply.
pub(super) async fn apply(client: &Client, object: &Value) -> Result<DynamicObject> {
    let params = PatchParams::apply("e2e").force();
    let api = api(client, object).await?;
    let name = name(object)?;
    let applied = api.patch(name, &params, &Patch::Apply(object)).await;
    applied.with_context(|| format!("cannot apply {} {name}", object["kind"]))
}

/// The object as it is, or nothing.
pub(super) async fn find(client: &Client, object: &Value) -> Result<Option<DynamicObject>> {
    Ok(api(client, object).await?.get_opt(name(object)?).await?)
}

/// Waits until the object is as wanted.
pub(super) async fn until(
    client: &Client,
    object: &Value,
    wanted: impl Fn(&DynamicObject) -> bool,
) -> Result<DynamicObject> {
    let api = api(client, object).await?;
    let (name, started) = (name(object)?, Instant::now());
    loop {
        let found = api.get_opt(name).await?;
        match found {
            Some(found) if wanted(&found) => return Ok(found),
            _ => {}
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "{} {name} is not as wanted: {}",
            object["kind"],
            found.map_or(Value::Null, |found| found.data["status"].clone())
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Applies an object and waits until its controller says that it is ready.
pub(super) async fn ready(client: &Client, object: &Value) -> Result<DynamicObject> {
    let applied = apply(client, object).await?;
    let generation = applied.metadata.generation;
    let found = until(client, object, |found| is_ready(found, generation)).await?;
    println!("{} {} is ready", object["kind"], found.name_any());
    Ok(found)
}

/// Waits until somebody may do everything in a namespace: the API server goes by a binding some moments after it was made.
pub(super) async fn until_allowed(client: &Client, user: &str, namespace: &str) -> Result<()> {
    let everything = Some("*".to_owned());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                group: everything.clone(),
                resource: everything.clone(),
                verb: everything,
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let started = Instant::now();
    loop {
        let answer = reviews.create(&PostParams::default(), &review).await?;
        if answer.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "{user} may not do everything in {namespace}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the condition `Ready` is true for this generation or a newer one. A controller writes the conditions some milliseconds before the rest of the
/// status, of which its own `observedGeneration` tells.
fn is_ready(object: &DynamicObject, generation: Option<i64>) -> bool {
    if object.data["status"]["observedGeneration"].as_i64() < generation {
        return false;
    }
    let conditions = object.data["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| {
        condition["type"] == "Ready"
            && condition["status"] == "True"
            && condition["observedGeneration"].as_i64() >= generation
    })
}

/// A Secret named [`LOGIN`] with the administrator's name and password.
pub(super) fn login(namespace: &str, gitea: &Gitea) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": LOGIN, "namespace": namespace},
        "stringData": {"username": gitea.user, "password": gitea.password},
    })
}

/// A GitRepository of `main`, looked at every hour; it needs the Secret of [`login`].
pub(super) fn git_repository(namespace: &str, name: &str, repository: &Repository) -> Value {
    json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "interval": "1h",
            "url": repository.http_url,
            "ref": {"branch": "main"},
            "secretRef": {"name": LOGIN},
        },
    })
}

/// A Kustomization of everything in a source, applied to its own namespace every hour, that prunes and waits.
pub(super) fn kustomization(namespace: &str, name: &str, kind: &str, source: &str) -> Value {
    json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "interval": "1h",
            "retryInterval": "2s",
            "timeout": "30s",
            "path": "./",
            "prune": true,
            "wait": true,
            "targetNamespace": namespace,
            "sourceRef": {"kind": kind, "name": source},
        },
    })
}

/// Asks a controller to look at an object now, as `flux reconcile` does.
pub(super) async fn request(client: &Client, object: &Value, token: &str) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}});
    let api = api(client, object).await?;
    api.patch(name(object)?, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .context("cannot annotate")?;
    Ok(())
}

/// A ConfigMap, as a manifest.
pub(super) fn config_map(name: &str, value: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}).to_string()
}

/// A Deployment of one pod, as a manifest.
pub(super) fn deployment(name: &str) -> String {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": e2e::BUSYBOX, "imagePullPolicy": "Never"}]},
            },
        },
    })
    .to_string()
}
