//! kubectl's ApplySets and ours: each refuses the other's, and a set can be handed over.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result};
use gitops_core::ErrorKind;
use gitops_core::manifest::{ManifestSet, Object};
use gitops_kube::cluster::KubeCluster;
use gitops_kube::engine::{ApplySet, Engine, EngineOptions};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

fn config_map(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"k": name}})
}

fn manifests(objects: impl IntoIterator<Item = Value>) -> Result<ManifestSet> {
    let objects: Vec<Object> = objects
        .into_iter()
        .map(|value| Object::new(value, None))
        .collect::<gitops_core::Result<_>>()?;
    Ok(ManifestSet::from_objects(objects)?)
}

/// `kubectl apply --prune --applyset=configmaps/PARENT`; gives whether it succeeded, and all that it printed.
async fn kubectl_apply(
    namespace: &str,
    parent: &str,
    objects: &[Value],
    extra: &[&str],
) -> Result<(bool, String)> {
    let cluster = e2e::cluster().await?;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let mut child = tokio::process::Command::new(e2e::program("kubectl")?)
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args([
            "-n",
            namespace,
            "apply",
            "--server-side",
            "--prune",
            "--applyset",
        ])
        .arg(format!("configmaps/{parent}"))
        .args(extra)
        .args(["-f", "-"])
        .env("KUBECTL_APPLYSET", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no stdin")?
        .write_all(serde_json::to_string(&list)?.as_bytes())
        .await?;
    let output = child.wait_with_output().await?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((output.status.success(), text))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refuses_the_others_set_until_it_is_handed_over() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("applyset").await?.name().to_owned();
    let engine = Engine::new(Arc::new(KubeCluster::new(cluster.client().await?)));
    let options = EngineOptions {
        namespace: namespace.clone(),
        prune: true,
        wait: None,
        ..EngineOptions::default()
    };

    // Ours: kubectl refuses it.
    let ours = ApplySet::new("ours", &namespace)?;
    let (a, b) = (config_map(&namespace, "a"), config_map(&namespace, "b"));
    let report = engine
        .sync(&ours, manifests([a.clone(), b.clone()])?, &options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    let (ok, output) = kubectl_apply(
        &namespace,
        ours.parent_name(),
        std::slice::from_ref(&a),
        &[],
    )
    .await?;
    assert!(
        !ok && output.contains("already exists and is managed by tooling"),
        "{output}"
    );

    // kubectl's: we refuse it.
    let theirs = ApplySet::new("theirs", &namespace)?;
    let c = config_map(&namespace, "c");
    let (ok, output) = kubectl_apply(
        &namespace,
        theirs.parent_name(),
        std::slice::from_ref(&c),
        &[],
    )
    .await?;
    assert!(ok, "{output}");
    let error = engine
        .sync(&theirs, manifests([c.clone()])?, &options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error.to_string().contains("managed by tooling \"kubectl/"),
        "{error}"
    );

    // Handed over, kubectl prunes what is ours no longer.
    engine.hand_over(&ours, "kubectl/v1.34.4").await?;
    let (ok, output) = kubectl_apply(
        &namespace,
        ours.parent_name(),
        std::slice::from_ref(&a),
        &["--force-conflicts"],
    )
    .await?;
    assert!(ok, "{output}");
    assert!(output.contains("configmap/b pruned"), "{output}");
    let error = engine
        .sync(&ours, manifests([a])?, &options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");

    // And the other way round.
    engine.take_over(&theirs).await?;
    let force = EngineOptions {
        force_conflicts: true,
        ..options.clone()
    };
    let report = engine
        .sync(
            &theirs,
            manifests([c, config_map(&namespace, "d")])?,
            &force,
        )
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    let report = engine
        .sync(&theirs, manifests([config_map(&namespace, "d")])?, &options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    let left = cluster
        .kubectl(&[
            "-n",
            &namespace,
            "get",
            "cm",
            "-l",
            &theirs.selector(),
            "-o",
            "name",
        ])
        .await?;
    assert_eq!(left.trim(), "configmap/d");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_computes_the_same_identity() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("applyset-id").await?.name().to_owned();
    let set = ApplySet::new("same", &namespace)?;
    let (ok, output) = kubectl_apply(
        &namespace,
        set.parent_name(),
        &[config_map(&namespace, "a")],
        &[],
    )
    .await?;
    assert!(ok, "{output}");
    let id = cluster
        .kubectl(&[
            "-n",
            &namespace,
            "get",
            "cm",
            "a",
            "-o",
            "jsonpath={.metadata.labels.applyset\\.kubernetes\\.io/part-of}",
        ])
        .await?;
    assert_eq!(id, set.id());
    Ok(())
}
