//! The engine against a real API server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gitops_core::ErrorKind;
use gitops_core::application::ManagedNamespaceMetadata;
use gitops_core::backend::{ResourceAction, SyncResource};
use gitops_core::manifest::{GroupVersionKind, ManifestSet, Object};
use gitops_kube::cluster::{Cluster, KubeCluster};
use gitops_kube::engine::{
    ApplySet, Engine, EngineOptions, PlanAction, PlanOptions, Verify, WaitOptions,
};
use serde_json::{Value, json};

/// A cluster, an engine on it, a namespace, and an application in it.
struct Fixture {
    engine: Engine,
    namespace: String,
    set: ApplySet,
    options: EngineOptions,
}

async fn fixture(name: &str) -> Result<Fixture> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace(name).await?.name().to_owned();
    fixture_for(
        Arc::new(KubeCluster::new(cluster.client().await?)),
        name,
        namespace,
    )
}

fn fixture_for(cluster: Arc<dyn Cluster>, name: &str, namespace: String) -> Result<Fixture> {
    Ok(Fixture {
        engine: Engine::new(cluster),
        set: ApplySet::new(name, &namespace)?,
        options: EngineOptions {
            namespace: namespace.clone(),
            prune: true,
            wait: None,
            ..EngineOptions::default()
        },
        namespace,
    })
}

fn manifests(objects: impl IntoIterator<Item = Value>) -> ManifestSet {
    let objects = objects
        .into_iter()
        .map(|value| Object::new(value, None).expect("a well-formed object"));
    ManifestSet::from_objects(objects).expect("distinct objects")
}

fn config_map(name: &str, data: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": data}})
}

fn deployment(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}],
                    "resources": {"requests": {"cpu": "0.5"}}}]},
            },
        },
    })
}

/// Asks kubectl again until it succeeds with an answer that is not empty.
async fn until(what: &str, arguments: &[&str]) -> Result<()> {
    let cluster = e2e::cluster().await?;
    let answered = async {
        while !(cluster.kubectl(arguments).await).is_ok_and(|answer| !answer.trim().is_empty()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answered)
        .await
        .with_context(|| format!("not within a minute: {what}"))
}

/// Waits for the last that the Deployment controller writes beside the status.
async fn until_it_has_its_revision(namespace: &str, deployment: &str) -> Result<()> {
    let revision = r"-o=jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}";
    let get = ["-n", namespace, "get", "deployment", deployment, revision];
    until("the Deployment has a revision", &get).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sync_writes_nothing_and_prune_removes() -> Result<()> {
    let f = fixture("basics").await?;
    let all = || {
        manifests([
            config_map("a", "1"),
            config_map("b", "1"),
            deployment("web", "x:1"),
        ])
    };

    let report = f.engine.sync(&f.set, all(), &f.options).await?;
    assert!(report.is_success(), "{:?}", report.failure);
    assert_eq!(report.count(ResourceAction::Created), 3);

    // The Deployment controller adds its revision: one more apply, which changes nothing.
    until_it_has_its_revision(&f.namespace, "web").await?;
    let report = f.engine.sync(&f.set, all(), &f.options).await?;
    assert_eq!(report.changed, 0, "{:?}", report.results);

    let writes = |events: Vec<Value>| {
        events
            .iter()
            .filter(|event| {
                event["objectRef"]["namespace"] == f.namespace.as_str()
                    && event["userAgent"]
                        .as_str()
                        .is_some_and(|agent| !agent.contains("kube-controller-manager"))
                    && !matches!(event["verb"].as_str(), Some("get" | "list" | "watch"))
            })
            .count()
    };
    let cluster = e2e::cluster().await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = writes(cluster.audit_events().await?);
    let report = f.engine.sync(&f.set, all(), &f.options).await?;
    assert_eq!(
        report.count(ResourceAction::Unchanged),
        3,
        "{:?}",
        report.results
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = writes(cluster.audit_events().await?);
    assert_eq!(after - before, 0, "a no-op sync wrote");

    let report = f
        .engine
        .sync(&f.set, manifests([config_map("a", "2")]), &f.options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    assert_eq!(report.count(ResourceAction::Updated), 1);
    assert_eq!(report.count(ResourceAction::Pruned), 2);
    assert_eq!(f.engine.inventory(&f.set).await?.len(), 1);
    let left = cluster
        .kubectl(&["-n", &f.namespace, "get", "cm,deploy", "-o", "name"])
        .await?;
    assert!(
        left.contains("configmap/a")
            && !left.contains("configmap/b")
            && !left.contains("deployment"),
        "{left}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_render_prunes_only_when_allowed() -> Result<()> {
    let f = fixture("empty").await?;
    f.engine
        .sync(&f.set, manifests([config_map("a", "1")]), &f.options)
        .await?;
    let error = f
        .engine
        .sync(&f.set, ManifestSet::new(), &f.options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(f.engine.inventory(&f.set).await?.len(), 1);
    let options = EngineOptions {
        allow_empty: true,
        ..f.options.clone()
    };
    let report = f.engine.sync(&f.set, ManifestSet::new(), &options).await?;
    assert_eq!(report.count(ResourceAction::Pruned), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_application_that_claims_an_object_is_refused() -> Result<()> {
    let f = fixture("first").await?;
    let second = ApplySet::new("second", &f.namespace)?;
    f.engine
        .sync(&f.set, manifests([config_map("a", "1")]), &f.options)
        .await?;
    for options in [
        f.options.clone(),
        EngineOptions {
            force_conflicts: true,
            ..f.options.clone()
        },
        EngineOptions {
            replace: true,
            ..f.options.clone()
        },
    ] {
        let message = match f
            .engine
            .sync(&second, manifests([config_map("a", "2")]), &options)
            .await
        {
            Ok(report) => report.failure.expect("the second must be refused"),
            Err(error) => error.to_string(),
        };
        assert!(message.contains("first"), "{message}");
    }
    let cluster = e2e::cluster().await?;
    let data = cluster
        .kubectl(&[
            "-n",
            &f.namespace,
            "get",
            "cm",
            "a",
            "-o",
            "jsonpath={.data.k}",
        ])
        .await?;
    assert_eq!(data, "1");
    let options = EngineOptions {
        adopt: true,
        force_conflicts: true,
        ..f.options.clone()
    };
    let report = f
        .engine
        .sync(&second, manifests([config_map("a", "2")]), &options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    // The first one lost the label: it must not prune what is the second's now.
    f.engine
        .sync(&f.set, manifests([config_map("other", "1")]), &f.options)
        .await?;
    let data = cluster
        .kubectl(&[
            "-n",
            &f.namespace,
            "get",
            "cm",
            "a",
            "-o",
            "jsonpath={.data.k}",
        ])
        .await?;
    assert_eq!(data, "2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_names_the_manager_unless_forced() -> Result<()> {
    let f = fixture("conflict").await?;
    let cluster = e2e::cluster().await?;
    let all = || manifests([config_map("a", "1")]);
    f.engine.sync(&f.set, all(), &f.options).await?;
    cluster
        .kubectl(&[
            "-n",
            &f.namespace,
            "patch",
            "cm",
            "a",
            "--type=merge",
            "-p",
            r#"{"data":{"k":"behind"}}"#,
            "--field-manager=somebody",
        ])
        .await?;
    let report = f.engine.sync(&f.set, all(), &f.options).await?;
    let failure = report.failure.expect("the conflict must be told");
    assert!(
        failure.contains("somebody") && failure.contains(".data.k"),
        "{failure}"
    );
    let options = EngineOptions {
        force_conflicts: true,
        ..f.options.clone()
    };
    let report = f.engine.sync(&f.set, all(), &options).await?;
    assert_eq!(
        report.count(ResourceAction::Updated),
        1,
        "{:?}",
        report.results
    );
    let data = cluster
        .kubectl(&[
            "-n",
            &f.namespace,
            "get",
            "cm",
            "a",
            "-o",
            "jsonpath={.data.k}",
        ])
        .await?;
    assert_eq!(data, "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_and_kinds_are_refused_by_name() -> Result<()> {
    let f = fixture("unknown").await?;
    let mut object = config_map("a", "1");
    object["dta"] = json!({"x": "y"});
    let report = f
        .engine
        .sync(&f.set, manifests([object]), &f.options)
        .await?;
    let failure = report.failure.expect("an unknown field is an error");
    assert!(
        failure.contains("dta") && failure.contains("ConfigMap"),
        "{failure}"
    );

    let widget =
        json!({"apiVersion": "nowhere.example/v1", "kind": "Widget", "metadata": {"name": "w"}});
    let error = f
        .engine
        .sync(
            &f.set,
            manifests([config_map("b", "1"), widget]),
            &f.options,
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("nowhere.example/v1"), "{error}");
    // Nothing was applied: the plan comes before the deed.
    let left = e2e::cluster()
        .await?
        .kubectl(&["-n", &f.namespace, "get", "cm", "-o", "name"])
        .await?;
    assert!(!left.contains("configmap/b"), "{left}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crd_and_its_objects_come_together() -> Result<()> {
    let f = fixture("crd").await?;
    let group = format!("{}.example.com", f.namespace);
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                    "properties": {"size": {"type": "integer"}}}}}}}],
        },
    });
    let widget = json!({"apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}});
    let all = || manifests([widget.clone(), crd.clone()]);
    let options = EngineOptions {
        wait: Some(WaitOptions {
            timeout: Duration::from_secs(120),
            fail_fast: true,
        }),
        ..f.options.clone()
    };
    let report = f.engine.sync(&f.set, all(), &options).await?;
    assert!(report.is_success(), "{:?}", report.failure);
    assert_eq!(report.count(ResourceAction::Created), 2);
    let report = f.engine.sync(&f.set, all(), &options).await?;
    assert!(report.is_success(), "{:?}", report.failure);
    assert_eq!(report.changed, 0, "{:?}", report.results);
    // Both go; the CRD takes its objects along whatever the order.
    let options = EngineOptions {
        allow_empty: true,
        ..options
    };
    let report = f.engine.delete(&f.set, &options).await?;
    assert!(report.is_success(), "{:?}", report.failure);
    assert!(!f.engine.inventory(&f.set).await?.exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_controllers_label_is_never_pruned() -> Result<()> {
    let f = fixture("slices").await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let own = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "mine"},
        "addressType": "IPv4", "endpoints": [], "ports": [],
    });
    f.engine
        .sync(
            &f.set,
            manifests([service.clone(), own.clone()]),
            &f.options,
        )
        .await?;
    let cluster = e2e::cluster().await?;
    let slices = || async {
        let names = cluster
            .kubectl(&[
                "-n",
                &f.namespace,
                "get",
                "endpointslices",
                "-l",
                &f.set.selector(),
                "-o",
                "name",
            ])
            .await?;
        anyhow::Ok(names.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    for _ in 0..100 {
        if slices().await?.len() >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        slices().await?.len(),
        2,
        "the controller copies the Service's labels"
    );
    let plan = f
        .engine
        .plan(
            &f.set,
            manifests([service.clone(), own]),
            &f.options,
            PlanOptions::default(),
        )
        .await?;
    assert_eq!(plan.strangers.len(), 1, "{:?}", plan.strangers);
    assert_eq!(plan.count(PlanAction::Prune), 0);
    let report = f
        .engine
        .sync(&f.set, manifests([service]), &f.options)
        .await?;
    assert_eq!(report.count(ResourceAction::Pruned), 1);
    let left = slices().await?;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!left[0].ends_with("/mine"), "{left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn protected_objects_stay_and_stay_in_the_inventory() -> Result<()> {
    let f = fixture("protect").await?;
    let protected = |name: &str, key: &str, value: &str| {
        let mut object = config_map(name, "1");
        object["metadata"]["annotations"] = json!({ key: value });
        object
    };
    let all = manifests([
        config_map("keep", "1"),
        protected("a", "argocd.argoproj.io/sync-options", "Prune=false"),
        protected("b", "cli-utils.sigs.k8s.io/on-remove", "keep"),
        protected("c", "helm.sh/resource-policy", "keep"),
    ]);
    f.engine.sync(&f.set, all, &f.options).await?;
    let report = f
        .engine
        .sync(&f.set, manifests([config_map("keep", "1")]), &f.options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    assert_eq!(
        report.count(ResourceAction::PruneSkipped),
        3,
        "{:?}",
        report.results
    );
    assert_eq!(f.engine.inventory(&f.set).await?.len(), 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selective_sync_touches_only_what_it_names() -> Result<()> {
    let f = fixture("selective").await?;
    f.engine
        .sync(
            &f.set,
            manifests([
                config_map("a", "1"),
                config_map("b", "1"),
                config_map("c", "1"),
            ]),
            &f.options,
        )
        .await?;
    let options = EngineOptions {
        resources: vec![SyncResource {
            kind: "ConfigMap".into(),
            name: "a".into(),
            ..SyncResource::default()
        }],
        ..f.options.clone()
    };
    let report = f
        .engine
        .sync(
            &f.set,
            manifests([config_map("a", "2"), config_map("b", "2")]),
            &options,
        )
        .await?;
    assert_eq!(report.changed, 1, "{:?}", report.results);
    assert_eq!(f.engine.inventory(&f.set).await?.len(), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_made_when_asked_and_named_when_missing() -> Result<()> {
    let f = fixture("create-ns").await?;
    let name = format!("{}-new", f.namespace);
    let set = ApplySet::new("app", &name)?;
    let options = EngineOptions {
        namespace: name.clone(),
        ..f.options.clone()
    };
    let message = match f
        .engine
        .sync(&set, manifests([config_map("a", "1")]), &options)
        .await
    {
        Ok(report) => report.failure.expect("the namespace is missing"),
        Err(error) => format!("{error:#}"),
    };
    assert!(message.contains(&name), "{message}");
    let options = EngineOptions {
        create_namespace: Some(ManagedNamespaceMetadata {
            labels: [("team".to_owned(), "x".to_owned())].into(),
            ..ManagedNamespaceMetadata::default()
        }),
        ..options
    };
    let report = f
        .engine
        .sync(&set, manifests([config_map("a", "1")]), &options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    // A namespace among the manifests comes before the inventory in it.
    let other = format!("{}-own", f.namespace);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}});
    let set = ApplySet::new("own", &other)?;
    let options = EngineOptions {
        namespace: other.clone(),
        ..f.options.clone()
    };
    let report = f
        .engine
        .sync(&set, manifests([config_map("a", "1"), namespace]), &options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_being_deleted_is_named() -> Result<()> {
    let f = fixture("terminating").await?;
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("terminating-target").await?;
    cluster
        .kubectl(&["-n", namespace.name(), "create", "configmap", "held"])
        .await?;
    cluster
        .kubectl(&[
            "-n",
            namespace.name(),
            "patch",
            "cm",
            "held",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":["example.com/hold"]}}"#,
        ])
        .await?;
    namespace.delete().await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut object = config_map("a", "1");
    object["metadata"]["namespace"] = json!(namespace.name());
    let report = f
        .engine
        .sync(&f.set, manifests([object]), &f.options)
        .await?;
    let failure = report.failure.expect("nothing can be made in it");
    assert!(
        failure.contains("is being deleted") && failure.contains(namespace.name()),
        "{failure}"
    );
    cluster
        .kubectl(&[
            "-n",
            namespace.name(),
            "patch",
            "cm",
            "held",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
        ])
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_would_be_refused_is_not_begun() -> Result<()> {
    let f = fixture("validate").await?;
    let bad = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "Bad_Name"}});
    let options = EngineOptions {
        validate: true,
        ..f.options.clone()
    };
    let report = f
        .engine
        .sync(&f.set, manifests([config_map("a", "1"), bad]), &options)
        .await?;
    let failure = report.failure.expect("one object is invalid");
    assert!(failure.contains("Bad_Name"), "{failure}");
    let left = e2e::cluster()
        .await?
        .kubectl(&["-n", &f.namespace, "get", "cm", "-o", "name"])
        .await?;
    assert!(!left.contains("configmap/a\n"), "{left}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_need_only_the_rights_of_the_application() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("rbac").await?.name().to_owned();
    cluster
        .kubectl(&[
            "-n",
            &namespace,
            "create",
            "rolebinding",
            "edit",
            "--clusterrole=edit",
            "--user=alice",
        ])
        .await?;
    // The authoriser learns of a new binding from a watch.
    let may = [
        "-n",
        &namespace,
        "auth",
        "can-i",
        "create",
        "deployments.apps",
    ];
    until("alice may", &[&may[..], &["--as=alice"]].concat()).await?;
    let client = cluster.client_as("alice").await?;
    let f = fixture_for(Arc::new(KubeCluster::new(client)), "rbac", namespace)?;
    let report = f
        .engine
        .sync(
            &f.set,
            manifests([config_map("a", "1"), deployment("web", "x")]),
            &f.options,
        )
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    let report = f
        .engine
        .sync(&f.set, manifests([config_map("a", "1")]), &f.options)
        .await?;
    assert_eq!(
        report.count(ResourceAction::Pruned),
        1,
        "{:?}",
        report.results
    );
    // A kind that the application has no right to.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": f.namespace}, "rules": []});
    let message = match f
        .engine
        .sync(&f.set, manifests([config_map("a", "1"), role]), &f.options)
        .await
    {
        Ok(report) => report.failure.expect("forbidden"),
        Err(error) => error.to_string(),
    };
    assert!(
        message.contains("clusterroles") || message.contains("ClusterRole"),
        "{message}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_by_dry_run_agrees_with_the_digests() -> Result<()> {
    let f = fixture("verify").await?;
    let all = || manifests([config_map("a", "1"), deployment("web", "x:1")]);
    f.engine.sync(&f.set, all(), &f.options).await?;
    // What a controller writes between the reading and the dry run would be a difference.
    until_it_has_its_revision(&f.namespace, "web").await?;
    let options = EngineOptions {
        verify: Verify::DryRun,
        ..f.options.clone()
    };
    let plan = f
        .engine
        .plan(&f.set, all(), &options, PlanOptions::default())
        .await?;
    assert_eq!(plan.count(PlanAction::Unchanged), 2, "{plan}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_field_is_recreated_only_when_asked() -> Result<()> {
    let f = fixture("immutable").await?;
    let service = |ip: Value| {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "immutable": true,
            "stringData": {"k": "v"},
        });
        object["stringData"]["k"] = ip;
        object
    };
    f.engine
        .sync(
            &f.set,
            manifests([service(json!("canary-one"))]),
            &f.options,
        )
        .await?;
    let report = f
        .engine
        .sync(
            &f.set,
            manifests([service(json!("canary-two"))]),
            &f.options,
        )
        .await?;
    let failure = report.failure.expect("it is immutable");
    assert!(
        failure.contains("immutable") && !failure.contains("canary"),
        "{failure}"
    );
    let options = EngineOptions {
        recreate: true,
        ..f.options.clone()
    };
    let report = f
        .engine
        .sync(&f.set, manifests([service(json!("canary-two"))]), &options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_discovery_does_not_name_keeps_its_entries_until_it_is_removed() -> Result<()> {
    let f = fixture("away").await?;
    let cluster = e2e::cluster().await?;
    let group = format!("{}.example.org", f.namespace);
    let crd = format!("things.{group}");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": crd},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    // Another application's: only the thing is ours.
    let other = ApplySet::new("away-crd", &f.namespace)?;
    let waiting = EngineOptions {
        wait: Some(WaitOptions::default()),
        ..f.options.clone()
    };
    let report = f
        .engine
        .sync(&other, manifests([definition]), &waiting)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    // Discovery names a kind a moment after it is established.
    let gvk = GroupVersionKind::new(&*group, "v1", "Thing");
    let served = async {
        while f.engine.cluster().resolve(&gvk).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            f.engine.cluster().invalidate();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), served)
        .await
        .context("the thing's kind is not served")?;
    let thing =
        json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "t"}});
    let report = f
        .engine
        .sync(&f.set, manifests([config_map("a", "1"), thing]), &f.options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);

    let one = || manifests([config_map("a", "1")]);
    let id = gitops_core::manifest::ObjectId::new(&group, "Thing", &f.namespace, "t");
    // The reason that the plan gives, once it is `wanted`; the inventory must hold the thing as long as there is one.
    let reason = async |wanted: &str| -> Result<()> {
        for _ in 0..100 {
            f.engine.cluster().invalidate();
            let plan = f
                .engine
                .plan(&f.set, one(), &f.options, PlanOptions::default())
                .await?;
            let step = plan.steps().iter().find(|step| step.id == id);
            let told = step.map_or("", |step| step.reason.as_str());
            if (wanted.is_empty() && step.is_none())
                || (!wanted.is_empty() && told.contains(wanted))
            {
                f.engine.sync(&f.set, one(), &f.options).await?;
                let kept = f.engine.inventory(&f.set).await?.get(&id).is_some();
                assert_eq!(kept, !wanted.is_empty(), "{told}");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::bail!("the plan never said {wanted:?}")
    };
    let serve = |served: bool| {
        format!(r#"[{{"op": "replace", "path": "/spec/versions/0/served", "value": {served}}}]"#)
    };
    cluster
        .kubectl(&["patch", "crd", &crd, "--type=json", "-p", &serve(false)])
        .await?;
    reason(&format!("CRD {crd} declares it")).await?;

    // An extension server that is down, in the CRD's place.
    cluster.kubectl(&["delete", "crd", &crd]).await?;
    // The CRD's own APIService is to go first: what is applied over it would go with it.
    let gone = format!("apiservice/v1.{group}");
    cluster
        .kubectl(&["wait", "--for=delete", "--timeout=60s", &gone])
        .await?;
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1.{group}")},
        "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
            "insecureSkipTLSVerify": true, "service": {"namespace": f.namespace, "name": "nobody"}},
    });
    let report = f
        .engine
        .sync(&other, manifests([service]), &f.options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    reason("is not available").await?;

    let report = f.engine.delete(&other, &f.options).await?;
    assert!(report.is_success(), "{:?}", report.failure);
    reason("").await?;
    Ok(())
}
