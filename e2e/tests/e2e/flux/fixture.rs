//! The fixture itself: what Flux deploys is there, its command answers, and its controllers can be killed.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::flux::{Chart, ChartRepository, generate_definitions, push_artifact, push_chart};
use e2e::{Flux, FluxController, FluxOptions, Gitea, Repository, TestNamespace};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::support::{
    apply, config_map, deployment, find, git_repository, kustomization, login, ready, request,
    until,
};

fn condition<'a>(object: &'a DynamicObject, name: &str) -> Option<&'a Value> {
    let conditions = object.data["status"]["conditions"].as_array()?;
    conditions.iter().find(|found| found["type"] == name)
}

fn revision(object: &DynamicObject) -> &str {
    object.data["status"]["artifact"]["revision"]
        .as_str()
        .unwrap_or_default()
}

async fn repository(
    flux: &Flux,
    gitea: &Gitea,
    name: &str,
    files: &[(&str, &str)],
) -> Result<(TestNamespace, Repository, String)> {
    let repository = gitea.repository(name).await?;
    let commit = gitea.commit(&repository, "first", files).await?;
    let namespace = flux.cluster.namespace(name).await?;
    apply(&namespace.client(), &login(namespace.name(), gitea)).await?;
    Ok((namespace, repository, commit))
}

fn map_in(namespace: &TestNamespace, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace.name()}})
}

#[tokio::test(flavor = "multi_thread")]
async fn kustomization_of_a_git_repository() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let (map, app) = (config_map("map", "1"), deployment("app"));
    let files = [("map.yaml", &*map), ("app.yaml", &*app)];
    let (namespace, repository, commit) = repository(flux, gitea, "flux-git", &files).await?;
    let (client, name) = (namespace.client(), namespace.name());

    let source = ready(&client, &git_repository(name, "source", &repository)).await?;
    assert_eq!(revision(&source), format!("main@sha1:{commit}"));
    let url = source.data["status"]["artifact"]["url"].as_str();
    let url = url.context("the artifact has no URL")?;
    let path = url.strip_prefix(&flux.storage_url);
    let path = path.with_context(|| format!("{url} is not at {}", flux.storage_url))?;
    let archive = flux.storage_dir.join(path.trim_start_matches('/'));
    let served = reqwest::get(url).await?.bytes().await?;
    assert_eq!(served, tokio::fs::read(archive).await?);

    let object = kustomization(name, "app", "GitRepository", "source");
    let applied = ready(&client, &object).await?;
    let status = &applied.data["status"];
    assert_eq!(
        status["lastAppliedRevision"],
        format!("main@sha1:{commit}"),
        "{status}"
    );
    let mut entries: Vec<_> = status["inventory"]["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["id"].as_str())
        .collect();
    entries.sort_unstable();
    let expected = [
        format!("{name}_app_apps_Deployment"),
        format!("{name}_map__ConfigMap"),
    ];
    assert_eq!(entries, expected);
    let map = find(&client, &map_in(&namespace, "map")).await?;
    assert_eq!(map.context("no map")?.data["data"]["value"], "1");

    let listed = flux
        .cli(&["get", "kustomizations", "--namespace", name])
        .await?;
    assert!(listed.contains("Applied revision: main@sha1:"), "{listed}");
    let tree = ["tree", "kustomization", "app", "--namespace", name];
    let tree = flux.cli(&tree).await?;
    assert!(tree.contains(&format!("ConfigMap/{name}/map")), "{tree}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kustomization_of_an_artifact() -> Result<()> {
    let (flux, registry) = (e2e::flux().await?, e2e::registry().await?);
    let namespace = flux.cluster.namespace("flux-oci").await?;
    let (client, name) = (namespace.client(), namespace.name());
    let map = config_map("map", "from the registry");
    let files = [("map.yaml", &*map)];
    let revised = "main@sha1:5a4f4a0ee4ee26ce1ad1b3a4a6ac5c1ef4b1b0b3";
    let digest = push_artifact(registry, name, "latest", revised, &files).await?;
    let source = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "OCIRepository",
        "metadata": {"name": "source", "namespace": name},
        "spec": {
            "interval": "1h",
            "insecure": true,
            "url": format!("oci://{}/{name}", registry.host),
            "ref": {"tag": "latest"},
        },
    });
    let source = ready(&client, &source).await?;
    assert_eq!(revision(&source), format!("latest@{digest}"));
    let annotations = &source.data["status"]["artifact"]["metadata"];
    assert_eq!(
        annotations["org.opencontainers.image.revision"], revised,
        "{annotations}"
    );
    let object = kustomization(name, "app", "OCIRepository", "source");
    ready(&client, &object).await?;
    let map = find(&client, &map_in(&namespace, "map")).await?;
    assert_eq!(
        map.context("no map")?.data["data"]["value"],
        "from the registry"
    );
    Ok(())
}

fn chart() -> Chart {
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "{{ .Release.Name }}-map"},
        "data": {"value": "{{ .Values.value }}"},
    });
    let mut app: Value = serde_json::from_str(&deployment("app")).unwrap();
    app["metadata"]["name"] = json!("{{ .Release.Name }}-app");
    Chart::new("speaker", "1.2.3")
        .values("value: by default\n")
        .file("templates/map.yaml", &map.to_string())
        .file("templates/app.yaml", &app.to_string())
}

fn release(namespace: &str, repository: &str) -> Value {
    json!({
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": repository, "namespace": namespace},
        "spec": {
            "interval": "1h",
            "chart": {"spec": {
                "chart": "speaker",
                "version": "1.x",
                "sourceRef": {"kind": "HelmRepository", "name": repository},
            }},
            "values": {"value": format!("from {repository}")},
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_of_helm_repositories() -> Result<()> {
    let (flux, registry) = (e2e::flux().await?, e2e::registry().await?);
    let namespace = flux.cluster.namespace("flux-helm").await?;
    let (client, name) = (namespace.client(), namespace.name());
    let charts = ChartRepository::start(Some(("reader", "secret"))).await?;
    charts.add(&chart()).await?;
    let pushed = push_chart(registry, name, &chart()).await?;

    let repository = |name: &str, spec: Value| {
        json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "HelmRepository",
            "metadata": {"name": name, "namespace": namespace.name()},
            "spec": spec,
        })
    };
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "reader", "namespace": name},
        "stringData": {"username": "reader", "password": "wrong"},
    });
    apply(&client, &secret).await?;
    let spec = json!({"interval": "1h", "url": charts.url, "secretRef": {"name": "reader"}});
    let http = repository("http", spec);
    apply(&client, &http).await?;
    let refused = until(&client, &http, |found| {
        condition(found, "Ready").is_some_and(|ready| ready["status"] == "False")
    })
    .await?;
    let reason = condition(&refused, "Ready").context("no condition")?;
    assert!(reason["message"].to_string().contains("401"), "{reason}");

    let mut secret = secret;
    secret["stringData"]["password"] = json!("secret");
    apply(&client, &secret).await?;
    request(&client, &http, "now").await?;
    ready(&client, &http).await?;
    let spec = json!({"interval": "1h", "type": "oci", "insecure": true, "url": pushed});
    apply(&client, &repository("oci", spec)).await?;

    for repository in ["http", "oci"] {
        let released = ready(&client, &release(name, repository)).await?;
        let history = &released.data["status"]["history"][0];
        assert_eq!(history["status"], "deployed", "{history}");
        assert_eq!(history["chartVersion"], "1.2.3", "{history}");
        let map = find(&client, &map_in(&namespace, &format!("{repository}-map"))).await?;
        assert_eq!(
            map.context("no map")?.data["data"]["value"],
            format!("from {repository}")
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_served() -> Result<()> {
    let flux = e2e::flux().await?;
    let served = flux
        .cluster
        .kubectl(&[
            "get",
            "crds",
            "--selector=app.kubernetes.io/part-of=flux",
            "--output=jsonpath={range .items[*]}{.spec.names.kind} {end}",
        ])
        .await?;
    let mut served: Vec<_> = served.split_whitespace().collect();
    served.sort_unstable();
    let kinds = [
        "Alert",
        "Bucket",
        "ExternalArtifact",
        "GitRepository",
        "HelmChart",
        "HelmRelease",
        "HelmRepository",
        "ImagePolicy",
        "ImageRepository",
        "ImageUpdateAutomation",
        "Kustomization",
        "OCIRepository",
        "Provider",
        "Receiver",
    ];
    assert_eq!(served, kinds);

    // The generated definitions have rules, not only names.
    let namespace = flux.cluster.namespace("flux-kinds").await?;
    let receiver = |kind: &str| {
        json!({
            "apiVersion": "notification.toolkit.fluxcd.io/v1",
            "kind": "Receiver",
            "metadata": {"name": "receiver", "namespace": namespace.name()},
            "spec": {
                "type": kind,
                "secretRef": {"name": "token"},
                "resources": [{"kind": "GitRepository", "name": "source"}],
            },
        })
    };
    let client = namespace.client();
    let made = apply(&client, &receiver("generic")).await?;
    assert_eq!(made.data["spec"]["interval"], "10m", "{:?}", made.data);
    let refused = apply(&client, &receiver("pigeon")).await.unwrap_err();
    assert!(format!("{refused:#}").contains("pigeon"), "{refused:#}");
    Ok(())
}

/// Of the notification and image controllers only the types can be had. That definitions made of types are the released ones shows where there are both.
#[test]
fn generated_definitions_are_those_of_the_releases() -> Result<()> {
    let module = "github.com/fluxcd/source-controller";
    let dir = tempfile::tempdir()?;
    let types = format!("{module}/api");
    generate_definitions(&e2e::testenv_dir(), &[&types], dir.path())?;
    let released = e2e::module_dir(module)?.join("config/crd/bases");
    let mut compared = 0;
    for entry in std::fs::read_dir(released)? {
        let released = entry?.path();
        let generated = dir.path().join(released.file_name().context("no name")?);
        assert_eq!(
            std::fs::read_to_string(generated)?,
            std::fs::read_to_string(&released)?,
            "{}",
            released.display()
        );
        compared += 1;
    }
    assert_eq!(compared, 6);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn command_builds_compares_and_traces() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let map = config_map("map", "${who:=nobody}");
    let files = [("map.yaml", &*map)];
    let (namespace, repository, commit) = repository(flux, gitea, "flux-judge", &files).await?;
    let (client, name) = (namespace.client(), namespace.name());
    ready(&client, &git_repository(name, "source", &repository)).await?;
    let mut object = kustomization(name, "app", "GitRepository", "source");
    object["spec"]["postBuild"] = json!({"substitute": {"who": "somebody"}});
    ready(&client, &object).await?;

    let dir = tempfile::tempdir()?;
    let path = format!("--path={}", dir.path().display());
    let namespace = format!("--namespace={name}");
    let call = |verb| [verb, "kustomization", "app", &*namespace, &*path];
    tokio::fs::write(dir.path().join("map.yaml"), &map).await?;
    let built = flux.cli(&call("build")).await?;
    assert!(built.contains("value: somebody"), "{built}");
    let same = flux.cli_output(&call("diff")).await?;
    let said = String::from_utf8_lossy(&same.stderr);
    assert_eq!(same.status.code(), Some(0), "{said}");
    let other = config_map("map", "else");
    tokio::fs::write(dir.path().join("map.yaml"), other).await?;
    let differs = flux.cli_output(&call("diff")).await?;
    let said = String::from_utf8_lossy(&differs.stdout);
    assert_eq!(differs.status.code(), Some(1), "{said}");
    assert!(
        said.contains("- somebody") && said.contains("+ else"),
        "{said}"
    );

    let traced = flux.cli(&["trace", "configmap", "map", &namespace]).await?;
    for part in ["Kustomization:", "app", "GitRepository:", &commit] {
        assert!(traced.contains(part), "{part} is not in {traced}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn command_tells_its_version_and_fails_as_it_should() -> Result<()> {
    let flux = e2e::flux().await?;
    let version = flux.cli(&["version", "--client"]).await?;
    assert!(version.contains("v2.7.5"), "{version}");
    let missing = flux
        .cli_output(&["get", "kustomization", "none", "--namespace", "default"])
        .await?;
    assert!(!missing.status.success());
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(said.contains("not found"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_controllers_come_back() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let selector = "--watch-label-selector=sharding.fluxcd.io/key=shard1";
    let mut server = e2e::private_flux(&FluxOptions {
        namespace: "gitops".to_owned(),
        controllers: vec![FluxController::Source],
        args: vec![(FluxController::Source, selector.to_owned())],
        ..FluxOptions::default()
    })
    .await?;
    let flux = server.flux().clone();
    let first = config_map("map", "1");
    let files = [("map.yaml", &*first)];
    let (namespace, repository, _) = repository(&flux, gitea, "flux-killed", &files).await?;
    let (client, name) = (namespace.client(), namespace.name());
    let other = git_repository(name, "other", &repository);
    apply(&client, &other).await?;
    let mut source = git_repository(name, "source", &repository);
    source["metadata"]["labels"] = json!({"sharding.fluxcd.io/key": "shard1"});
    let before = ready(&client, &source).await?;
    let url = before.data["status"]["artifact"]["url"].as_str();
    let url = url.context("the artifact has no URL")?;
    // It is another shard's.
    let other = find(&client, &other).await?.context("no source")?;
    assert_eq!(other.data["status"]["artifact"], Value::Null);
    let object = kustomization(name, "app", "GitRepository", "source");
    apply(&client, &object).await?;

    server.kill_controller(FluxController::Source);
    assert!(
        reqwest::get(url).await.is_err(),
        "a killed controller answered"
    );
    let files = [("map.yaml", &*config_map("map", "2"))];
    let second = gitea.commit(&repository, "second", &files).await?;
    request(&client, &source, "killed").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let found = find(&client, &source).await?.context("no source")?;
    assert_eq!(revision(&found), revision(&before));
    server.start_controller(FluxController::Source).await?;
    let handled = |token: &'static str| {
        move |found: &DynamicObject| found.data["status"]["lastHandledReconcileAt"] == token
    };
    until(&client, &source, handled("killed")).await?;
    let wanted = format!("main@sha1:{second}");
    until(&client, &source, |found| revision(found) == wanted).await?;

    server.suspend_controller(FluxController::Source);
    request(&client, &source, "suspended").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let found = find(&client, &source).await?.context("no source")?;
    assert!(
        !handled("suspended")(&found),
        "a suspended controller works"
    );
    server.resume_controller(FluxController::Source);
    until(&client, &source, handled("suspended")).await?;

    // It was not started until now.
    let found = find(&client, &object).await?.context("no Kustomization")?;
    assert_eq!(found.data["status"]["conditions"], Value::Null);
    server.start_controller(FluxController::Kustomize).await?;
    ready(&client, &object).await?;
    let map = find(&client, &map_in(&namespace, "map")).await?;
    assert_eq!(map.context("no map")?.data["data"]["value"], "2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_without_definitions() -> Result<()> {
    let mut server = e2e::private_flux(&FluxOptions {
        definitions: false,
        controllers: Vec::new(),
        ..FluxOptions::default()
    })
    .await?;
    let cluster = &server.flux().cluster;
    let refused = cluster.kubectl(&["get", "kustomizations"]).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("doesn't have a resource type"),
        "{refused}"
    );
    for controller in FluxController::ALL {
        let ended = server.start_controller(controller).await.unwrap_err();
        let ended = ended.to_string();
        assert!(ended.contains(" ended with "), "{ended}");
    }
    Ok(())
}
