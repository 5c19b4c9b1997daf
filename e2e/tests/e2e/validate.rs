//! Validators against the real API server: its schemas, kept in a file, judge as its own strict dry run does.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gitops_core::application::Application;
use gitops_core::manifest::{ManifestSet, Object};
use gitops_core::validate::Validator;
use gitops_core::validate::{Context, Finding, Validators};
use gitops_kube::cluster::KubeCluster;
use gitops_kube::validate::{DryRunValidator, SchemaValidator, Schemas};
use serde_json::{Value, json};

fn set(values: impl IntoIterator<Item = Value>) -> Result<ManifestSet> {
    let objects: Vec<Object> = values
        .into_iter()
        .map(|value| Object::new(value, None))
        .collect::<gitops_core::Result<_>>()?;
    Ok(ManifestSet::from_objects(objects)?)
}

fn short(findings: &[Finding]) -> Vec<String> {
    let mut short: Vec<_> = findings
        .iter()
        .map(|f| format!("{} {}", f.code, f.pointer.as_deref().unwrap_or_default()))
        .collect();
    short.sort();
    short
}

/// A Deployment, changed at a pointer.
fn deployment(name: &str, pointer: &str, to: Value) -> Value {
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "creationTimestamp": null},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "x"}},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [
                {"name": "a", "image": "x:1", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"port": "http"}}, "env": [{"name": "A", "value": "1"}]},
                {"name": "b", "image": "x:2"}]}},
        },
        "status": {},
    });
    let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) if to.is_null() => drop(map.remove(key)),
        Some(Value::Object(map)) => drop(map.insert(key.to_owned(), to)),
        Some(Value::Array(items)) => items.push(to),
        _ => {}
    }
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_read_kept_and_judge_as_the_server_does() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("validate").await?;
    let kube = KubeCluster::new(cluster.client().await?);
    let fetched = Schemas::fetch(&kube).await?;
    ensure!(
        fetched.server_version() == e2e::KUBERNETES_VERSION,
        "{fetched:?}"
    );

    // Every kind's schema compiles; what is kept is what was read.
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("schemas.json");
    fetched.save(&file).await?;
    eprintln!(
        "{} kinds, {} KiB",
        fetched.kinds().count(),
        std::fs::metadata(&file)?.len() / 1024
    );
    let kept = Schemas::load(&file).await?;
    ensure!(fetched.kinds().eq(kept.kinds()) && fetched.to_json()? == kept.to_json()?);
    let offline = SchemaValidator::new(kept.clone());
    let app = Application::new("shop").in_namespace(namespace.name());
    for gvk in kept.kinds() {
        let object =
            json!({"apiVersion": gvk.api_version(), "kind": gvk.kind, "metadata": {"name": "x"}});
        let manifests = set([object])?;
        let answer = offline
            .validate(&app, &Context::with_manifests(&manifests))
            .await;
        answer.with_context(|| gvk.to_string())?;
    }

    // (pointer, value, what the schema finds, whether the server refuses it)
    let container = "/spec/template/spec/containers/0";
    let rows: Vec<(String, Value, &str)> = vec![
        ("/none".into(), Value::Null, ""),
        (
            "/spec/replica".into(),
            json!(1),
            "unknown-field /spec/replica",
        ),
        (
            format!("{container}/imag"),
            json!("x"),
            "unknown-field /spec/template/spec/containers/0/imag",
        ),
        (
            "/metadata/label".into(),
            json!({}),
            "unknown-field /metadata/label",
        ),
        (
            "/spec/replicas".into(),
            json!("1"),
            "schema-violation /spec/replicas",
        ),
        (
            "/spec/replicas".into(),
            json!(4_294_967_296_u64),
            "schema-violation /spec/replicas",
        ),
        (
            "/spec/selector".into(),
            Value::Null,
            "missing-field /spec/selector",
        ),
        (
            "/spec/template".into(),
            Value::Null,
            "missing-field /spec/template",
        ),
        (
            "/spec/template/spec/containers".into(),
            Value::Null,
            "missing-field /spec/template/spec/containers",
        ),
        (
            format!("{container}/name"),
            Value::Null,
            "missing-field /spec/template/spec/containers/0/name",
        ),
        (
            format!("{container}/livenessProbe"),
            json!({"httpGet": {"port": true}}),
            "schema-violation /spec/template/spec/containers/0/livenessProbe/httpGet/port",
        ),
        (
            format!("{container}/ports"),
            json!([{"containerPort": "80"}]),
            "schema-violation /spec/template/spec/containers/0/ports/0/containerPort",
        ),
        (
            "/spec/template/spec/containers/2".into(),
            json!({"name": "a", "image": "x:3"}),
            "schema-violation /spec/template/spec/containers",
        ),
        (
            format!("{container}/env"),
            json!([{"name": "A", "value": 1}]),
            "schema-violation /spec/template/spec/containers/0/env/0/value",
        ),
        (
            format!("{container}/resources"),
            json!({"limits": {"cpu": true}}),
            "schema-violation /spec/template/spec/containers/0/resources/limits/cpu",
        ),
    ];
    let server = DryRunValidator::new(&kube);
    let mut wrong = Vec::new();
    for (at, (pointer, to, expected)) in rows.into_iter().enumerate() {
        let manifests = set([deployment(&format!("d{at}"), &pointer, to.clone())])?;
        let context = Context::with_manifests(&manifests);
        let found = offline.validate(&app, &context).await?;
        if short(&found).join("\n") != expected {
            wrong.push(format!("{pointer} {to}: {found:#?}"));
        }
        let refused = server.validate(&app, &context).await?;
        // A server-side apply cuts such a number to 32 bits, without a word (API server 1.34): here the schema sees more.
        let cut = to == json!(4_294_967_296_u64);
        if refused.is_empty() != (expected.is_empty() || cut) {
            wrong.push(format!("{pointer} {to}: the server says {refused:#?}"));
        }
        // Both name the same field that is in no schema.
        if expected.starts_with("unknown-field") && short(&refused) != short(&found) {
            wrong.push(format!("{pointer}: the server says {refused:#?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_itself_made_fits_its_schemas() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let kube = KubeCluster::new(cluster.client().await?);
    let validator = SchemaValidator::new(Schemas::fetch(&kube).await?);
    let mut seen = 0;
    for kinds in [
        "clusterroles,clusterrolebindings,namespaces,flowschemas,prioritylevelconfigurations,priorityclasses",
        "configmaps,services,endpointslices,serviceaccounts,apiservices -A",
    ] {
        let arguments: Vec<&str> = ["get", "-o", "json"]
            .into_iter()
            .chain(kinds.split(' '))
            .collect();
        let list: Value = serde_json::from_str(&cluster.kubectl(&arguments).await?)?;
        for item in list["items"].as_array().context("no items")? {
            let manifests = set([item.clone()])?;
            let found = validator
                .validate(&Application::new("a"), &Context::with_manifests(&manifests))
                .await?;
            ensure!(found.is_empty(), "{found:#?}");
            seen += 1;
        }
    }
    ensure!(seen > 50, "only {seen} objects");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_answers_become_findings() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("dryrun").await?;
    let kube = KubeCluster::new(cluster.client().await?);
    let app = Application::new("shop").in_namespace(namespace.name());
    let config_map = |name: &str, namespace: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "kubernetes.io/tls", "stringData": {"tls.crt": "hunter2"}});
    let bad = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 0}, {"port": 80, "protocol": "X"}]}});
    let manifests = set([
        config_map("fine", namespace.name()),
        config_map("Bad_Name", namespace.name()),
        config_map("elsewhere", "there-is-no-such-namespace"),
        secret,
        bad,
        json!({"apiVersion": "example.com/v1", "kind": "Unheard", "metadata": {"name": "u"}}),
    ])?;
    let context = Context::with_manifests(&manifests);
    let validators = Validators::new().validator(DryRunValidator::new(kube.clone()));
    let report = validators.validate(&app, &context).await;
    ensure!(report.failures.is_empty(), "{report}");
    eprintln!("{report}");
    ensure!(!report.to_string().contains("hunter2"), "{report}");
    let found = short(&report.findings);
    for expected in [
        "invalid-field /metadata/name",
        "invalid-field /metadata/namespace",
        "invalid-field /spec/ports/0/port",
        "invalid-field /spec/ports/1/protocol",
        "unknown-kind /apiVersion",
    ] {
        ensure!(found.iter().any(|f| f == expected), "{expected}: {report}");
    }
    let on = |name: &str| {
        report
            .findings
            .iter()
            .filter(|f| f.object.as_ref().is_some_and(|id| id.name == name))
            .count()
    };
    ensure!(on("fine") == 0 && on("s") > 2, "{report}");
    // Nothing was stored.
    let left = cluster
        .kubectl(&[
            "-n",
            namespace.name(),
            "get",
            "configmap",
            "fine",
            "--ignore-not-found",
            "-o",
            "name",
        ])
        .await?;
    ensure!(left.is_empty(), "{left}");

    // An immutable field, which only the server knows of.
    cluster
        .kubectl(&[
            "-n",
            namespace.name(),
            "create",
            "configmap",
            "fixed",
            "--from-literal=a=b",
        ])
        .await?;
    cluster
        .kubectl(&[
            "-n",
            namespace.name(),
            "patch",
            "configmap",
            "fixed",
            "-p",
            r#"{"immutable":true}"#,
        ])
        .await?;
    let manifests = set([
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fixed"}, "data": {"a": "c"}}),
    ])?;
    let report = validators
        .validate(&app, &Context::with_manifests(&manifests))
        .await;
    ensure!(
        short(&report.findings) == ["invalid-field /data"],
        "{report}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn admission_is_a_finding_and_missing_rights_are_an_error() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("admission").await?;
    let app = Application::new("shop").in_namespace(namespace.name());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "x:1"}]}});
    let manifests = set([pod])?;
    let context = Context::with_manifests(&manifests);

    // Pod security admission.
    cluster
        .kubectl(&[
            "label",
            "namespace",
            namespace.name(),
            "pod-security.kubernetes.io/enforce=restricted",
        ])
        .await?;
    let validator = DryRunValidator::new(KubeCluster::new(cluster.client().await?));
    let mut found = validator.validate(&app, &context).await?;
    for _ in 0..300 {
        if !found.is_empty() {
            break;
        }
        // The admission plugin reads namespaces from a watch.
        tokio::time::sleep(Duration::from_millis(100)).await;
        found = validator.validate(&app, &context).await?;
    }
    ensure!(short(&found) == ["admission-denied "], "{found:#?}");
    ensure!(found[0].message.contains("restricted"), "{found:#?}");

    // Who may not apply has found nothing out.
    let nobody = DryRunValidator::new(KubeCluster::new(cluster.client_as("alice").await?));
    match nobody.validate(&app, &context).await {
        Err(error) => ensure!(
            error.kind() == gitops_core::ErrorKind::PermissionDenied,
            "{error}"
        ),
        Ok(found) => anyhow::bail!("{found:#?}"),
    }
    Ok(())
}
