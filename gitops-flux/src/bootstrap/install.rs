//! Applying Flux before Flux is there to do it.

use std::time::Duration;

use gitops_core::application::HealthStatus;
use gitops_core::manifest::Object;
use gitops_core::{Error, ErrorKind, Result, ResultExt as _};
use gitops_kube::cluster::{Cluster, ObjectKey, Scope, WriteParams};
use gitops_kube::health::HealthRules;
use tokio::time::Instant;

use super::BootstrapOptions;
use crate::deadline;
use crate::kind::KUSTOMIZE;
use crate::view;

/// As whom kustomize-controller applies.
const CONTROLLER: &str = "kustomize-controller";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// How long definitions may take to be served.
const SERVED: Duration = Duration::from_secs(60);

/// Applies objects as kustomize-controller would: namespaces and definitions first, the latter awaited, then the rest by kind.
pub(super) async fn apply(
    cluster: &dyn Cluster,
    objects: &[Object],
    options: &BootstrapOptions,
) -> Result<()> {
    let mut objects: Vec<Object> = objects.to_vec();
    objects.sort_by_key(|object| {
        gitops_core::manifest::order::kind_rank(object.group(), object.kind())
    });
    let deadline = Instant::now() + SERVED;
    let (first, rest): (Vec<_>, Vec<_>) = objects.iter().partition(|object| is_first(object));
    for object in &first {
        apply_one(cluster, object, options, deadline).await?;
    }
    for object in first.iter().filter(|object| is_definition(object)) {
        established(cluster, object, deadline).await?;
    }
    cluster.invalidate();
    for object in rest {
        apply_one(cluster, object, options, deadline).await?;
    }
    Ok(())
}

fn is_definition(object: &Object) -> bool {
    object.kind() == "CustomResourceDefinition"
}

fn is_first(object: &Object) -> bool {
    is_definition(object) || (object.kind() == "Namespace" && object.group().is_empty())
}

async fn apply_one(
    cluster: &dyn Cluster,
    object: &Object,
    options: &BootstrapOptions,
    deadline: Instant,
) -> Result<()> {
    let mut object = object.clone();
    // The labels that kustomize-controller gives what it applies.
    object.set_label(&format!("{KUSTOMIZE}/name"), options.name.clone());
    object.set_label(&format!("{KUSTOMIZE}/namespace"), options.namespace.clone());
    let params = WriteParams {
        field_manager: CONTROLLER.to_owned(),
        force: true,
        ..WriteParams::default()
    };
    loop {
        let applied = async {
            let kind = cluster.resolve(&object.gvk()).await?;
            cluster.apply(&kind, &object, &params).await
        };
        match applied.await {
            Ok(_) => return Ok(()),
            // A definition is established a moment before it is served.
            Err(error)
                if (error.is_retryable() || error.kind() == ErrorKind::NotFound)
                    && Instant::now() < deadline =>
            {
                tokio::time::sleep(PAUSE).await;
                cluster.invalidate();
            }
            Err(error) => return Err(error.context(format!("apply {}", object.id()))),
        }
    }
}

async fn established(cluster: &dyn Cluster, definition: &Object, deadline: Instant) -> Result<()> {
    let kind = view::native(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        Scope::Cluster,
    );
    let key = ObjectKey {
        kind: &kind,
        namespace: "",
        name: definition.name(),
    };
    loop {
        let found = cluster
            .get(key)
            .await
            .context(|| format!("get {}", definition.id()))?;
        let established = found
            .as_ref()
            .and_then(|found| view::condition(found, "Established"))
            .is_some_and(|condition| condition.is == Some(true));
        if established {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::timeout(format!(
                "{} is not established",
                definition.id()
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits for the Deployments among `objects`.
pub(super) async fn wait(
    cluster: &dyn Cluster,
    objects: &[Object],
    timeout: Duration,
) -> Result<()> {
    let kind = view::native("apps", "Deployment", "deployments", Scope::Namespaced);
    let rules = HealthRules::kstatus();
    let deadline = deadline::after(timeout);
    let mut left: Vec<(&Object, String)> = objects
        .iter()
        .filter(|object| object.kind() == "Deployment" && object.group() == "apps")
        .map(|object| (object, String::new()))
        .collect();
    loop {
        let mut waiting = Vec::new();
        for (object, _) in left {
            let key = ObjectKey {
                kind: &kind,
                namespace: object.namespace(),
                name: object.name(),
            };
            let found = cluster
                .get(key)
                .await
                .context(|| format!("get {}", object.id()))?;
            match found.map(|found| rules.assess(&found)) {
                Some(health) if health.status == HealthStatus::Healthy => {}
                Some(health) => waiting.push((object, health.message)),
                None => waiting.push((object, "it is not there".to_owned())),
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let names: Vec<String> = waiting
                .iter()
                .map(|(object, why)| format!("{}: {why}", object.id()))
                .collect();
            return Err(Error::timeout(format!(
                "Flux's controllers are not ready: {}",
                names.join("; ")
            )));
        }
        left = waiting;
        tokio::time::sleep(PAUSE).await;
    }
}
