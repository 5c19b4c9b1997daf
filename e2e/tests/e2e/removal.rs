//! What the engine deletes, and waits for, on a real API server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use gitops_core::manifest::{ManifestSet, Object, ObjectId};
use gitops_kube::cluster::KubeCluster;
use gitops_kube::engine::{APPLICATION_ANNOTATION, ApplySet, Engine, EngineOptions, WaitOptions};
use serde_json::{Value, json};

async fn fixture(name: &str) -> Result<(Engine, ApplySet, EngineOptions, String)> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace(name).await?.name().to_owned();
    let options = EngineOptions {
        namespace: namespace.clone(),
        prune: true,
        wait: Some(WaitOptions {
            timeout: Duration::from_secs(60),
            ..WaitOptions::default()
        }),
        ..EngineOptions::default()
    };
    let engine = Engine::new(Arc::new(KubeCluster::new(cluster.client().await?)));
    Ok((engine, ApplySet::new(name, &namespace)?, options, namespace))
}

fn manifests(objects: impl IntoIterator<Item = Value>) -> ManifestSet {
    let objects = objects
        .into_iter()
        .map(|value| Object::new(value, None).expect("a well-formed object"));
    ManifestSet::from_objects(objects).expect("distinct objects")
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_holds_a_prune_up_until_it_is_taken_off() -> Result<()> {
    let (engine, set, options, namespace) = fixture("held").await?;
    let cluster = e2e::cluster().await?;
    let held = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "held", "finalizers": ["example.org/hold"]}, "spec": {"ports": [{"port": 80}]}});
    let all = manifests([held, config_map("below"), config_map("stays")]);
    let report = engine.sync(&set, all, &options).await?;
    assert!(report.is_success(), "{:?}", report.failure);
    let parent = cluster
        .kubectl(&[
            "-n",
            &namespace,
            "get",
            "cm",
            set.parent_name(),
            "-o",
            "json",
        ])
        .await?;
    let parent: Value = serde_json::from_str(&parent)?;
    assert_eq!(
        parent["metadata"]["annotations"][APPLICATION_ANNOTATION],
        set.application().to_string()
    );

    let rest = || manifests([config_map("stays")]);
    let impatient = EngineOptions {
        wait: Some(WaitOptions {
            timeout: Duration::from_secs(2),
            ..WaitOptions::default()
        }),
        ..options.clone()
    };
    let report = engine.sync(&set, rest(), &impatient).await?;
    let failure = report.failure.expect("a failure");
    assert!(failure.contains("finalizers example.org/hold"), "{failure}");
    let id = ObjectId::new("", "Service", &*namespace, "held");
    assert!(engine.inventory(&set).await?.get(&id).is_some());
    cluster
        .kubectl(&["-n", &namespace, "get", "cm", "below"])
        .await?;

    let release = [
        "-n",
        &namespace,
        "patch",
        "service",
        "held",
        "--type=merge",
        "-p",
        r#"{"metadata": {"finalizers": null}}"#,
    ];
    let (report, released) = tokio::join!(engine.sync(&set, rest(), &options), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.kubectl(&release).await
    });
    released?;
    let report = report?;
    assert!(report.is_success(), "{:?}", report.failure);
    assert_eq!(engine.inventory(&set).await?.len(), 1);

    let report = engine.delete(&set, &options).await?;
    assert!(report.is_success(), "{:?}", report.failure);
    let left = cluster
        .kubectl(&["-n", &namespace, "get", "cm,svc", "-o", "name"])
        .await?;
    assert_eq!(left.trim(), "configmap/kube-root-ca.crt");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_leaves_alone_what_kubectl_made() -> Result<()> {
    let (engine, set, options, namespace) = fixture("foreign-hook").await?;
    let cluster = e2e::cluster().await?;
    let make = ["-n", &namespace, "create", "configmap", "settings"];
    cluster
        .kubectl(&[make.as_slice(), &["--from-literal=theirs=1"]].concat())
        .await?;
    let hook = |name: &str| {
        let mut hook = config_map(name);
        hook["metadata"]["annotations"] = json!({"argocd.argoproj.io/hook": "PreSync"});
        hook
    };
    let read = [
        "-n",
        &namespace,
        "get",
        "cm",
        "settings",
        "-o",
        "jsonpath={.metadata.uid} {.data}",
    ];
    let before = cluster.kubectl(&read).await?;
    let report = engine
        .sync(
            &set,
            manifests([hook("settings"), config_map("a")]),
            &options,
        )
        .await?;
    let failure = report.failure.expect("a failure");
    assert!(
        failure.contains("belongs to field manager \"kubectl-create\""),
        "{failure}"
    );
    assert_eq!(cluster.kubectl(&read).await?, before);
    // Our own is made again each time.
    for _ in 0..2 {
        let report = engine
            .sync(&set, manifests([hook("own"), config_map("a")]), &options)
            .await?;
        assert!(report.is_success(), "{:?}", report.failure);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_of_a_kind_that_comes_with_it_runs_in_its_phase() -> Result<()> {
    for (phase, expected) in [("Sync", true), ("PostSync", true), ("PreSync", false)] {
        let name = format!("crd-hook-{}", phase.to_lowercase());
        let (engine, set, options, namespace) = fixture(&name).await?;
        let group = format!("{namespace}.example.org");
        let all = manifests([
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("things.{group}")},
                "spec": {
                    "group": group, "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
                },
            }),
            json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "t",
                "annotations": {"argocd.argoproj.io/hook": phase}}}),
            config_map("a"),
        ]);
        let options = EngineOptions {
            wait: Some(WaitOptions::default()),
            ..options
        };
        match engine.sync(&set, all, &options).await {
            Ok(report) => {
                assert!(
                    expected && report.is_success(),
                    "{phase}: {:?}",
                    report.failure
                );
                let made = e2e::cluster()
                    .await?
                    .kubectl(&[
                        "-n",
                        &namespace,
                        "get",
                        &format!("things.{group}"),
                        "-o",
                        "name",
                    ])
                    .await?;
                assert!(made.contains("/t"), "{made}");
            }
            Err(error) => assert!(
                !expected
                    && error
                        .to_string()
                        .contains("comes before the CRD of its kind"),
                "{phase}: {error}"
            ),
        }
        engine.delete(&set, &options).await?;
    }
    Ok(())
}
