//! The fixture itself: what Argo CD deploys runs, its command answers, and its components can be killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{ArgoCd, ArgoCdOptions, Gitea, GiteaOptions, NodeKind};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::PATIENCE;

const IN_CLUSTER: &str = "https://kubernetes.default.svc";

/// One request; the answer's status, and its body where that is JSON.
async fn call(
    argocd: &ArgoCd,
    token: Option<&str>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Value)> {
    e2e::init();
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()?;
    let mut request = client.request(method, format!("{}{path}", argocd.url));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await?;
    let status = response.status();
    let text = response.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(json!(text))))
}

async fn as_robot(
    argocd: &ArgoCd,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value> {
    let token = Some(argocd.robot.token.as_str());
    let (status, answer) = call(argocd, token, method.clone(), path, body).await?;
    ensure!(status.is_success(), "{method} {path}: {status}: {answer}");
    Ok(answer)
}

/// Lets Argo CD have a repository with these files; returns its URL.
async fn repository(
    argocd: &ArgoCd,
    gitea: &Gitea,
    name: &str,
    files: &[(&str, &str)],
) -> Result<String> {
    let repository = gitea.repository(name).await?;
    gitea.commit(&repository, "first", files).await?;
    let credentials = json!({
        "repo": repository.http_url,
        "username": gitea.user,
        "password": gitea.password,
    });
    as_robot(
        argocd,
        Method::POST,
        "/api/v1/repositories",
        Some(&credentials),
    )
    .await?;
    Ok(repository.http_url)
}

fn application(argocd: &ArgoCd, name: &str, url: &str) -> Value {
    json!({
        "metadata": {
            "name": name,
            "namespace": argocd.namespace,
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
        },
        "spec": {
            "project": "default",
            "source": {"repoURL": url, "path": ".", "targetRevision": "main"},
            "destination": {"server": IN_CLUSTER, "namespace": name},
            "syncPolicy": {"automated": {}, "syncOptions": ["CreateNamespace=true"]},
        },
    })
}

/// Waits for an Application to be in sync and healthy.
async fn healthy(argocd: &ArgoCd, name: &str) -> Result<Value> {
    let path = format!("/api/v1/applications/{name}");
    let started = Instant::now();
    loop {
        let app = as_robot(argocd, Method::GET, &path, None).await?;
        let status = &app["status"];
        if status["sync"]["status"] == "Synced" && status["health"]["status"] == "Healthy" {
            println!("{name}: healthy in {:.1?}", started.elapsed());
            return Ok(app);
        }
        if started.elapsed() > PATIENCE {
            bail!("{name} did not become healthy: {status}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn log_in(argocd: &ArgoCd, name: &str, password: &str) -> Result<String> {
    let login = json!({"username": name, "password": password});
    let (status, answer) =
        call(argocd, None, Method::POST, "/api/v1/session", Some(&login)).await?;
    ensure!(status.is_success(), "{status}: {answer}");
    Ok(answer["token"].as_str().context("no token")?.to_owned())
}

fn speaker() -> String {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "speaker"},
        "spec": {
            "selector": {"matchLabels": {"app": "speaker"}},
            "template": {
                "metadata": {"labels": {"app": "speaker"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "speaker",
                        "image": e2e::BUSYBOX,
                        "imagePullPolicy": "Never",
                        "command": ["sh", "-c", "echo version $(cat /etc/version); sleep 3600"],
                    }],
                },
            },
        },
    })
    .to_string()
}

fn hook(phase: &str) -> String {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "hook", "annotations": {"argocd.argoproj.io/hook": phase}},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "hook",
                "image": e2e::BUSYBOX,
                "imagePullPolicy": "Never",
                "command": ["true"],
            }],
        }}},
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn application_from_gitea_runs() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let files = [
        ("speaker.json", &*speaker()),
        ("before.json", &*hook("PreSync")),
    ];
    let gitea = e2e::gitea().await?;
    let url = repository(argocd, gitea, "argocd-fixture", &files).await?;
    let name = "fixture";
    let app = application(argocd, name, &url);
    as_robot(argocd, Method::POST, "/api/v1/applications", Some(&app)).await?;
    let app = healthy(argocd, name).await?;
    let results = app["status"]["operationState"]["syncResult"]["resources"]
        .as_array()
        .context("no results")?;
    let job = results
        .iter()
        .find(|result| result["kind"] == "Job")
        .context("the hook did not run")?;
    assert_eq!(job["hookPhase"], "Succeeded", "{job}");

    let get = [
        "get",
        "pods",
        "--namespace",
        name,
        "--selector=app=speaker",
        "--output=jsonpath={.items[*].metadata.name} {.items[*].status.phase}",
    ];
    let pods = argocd.cluster.kubectl(&get).await?;
    let (pod, phase) = pods.split_once(' ').context("no pod")?;
    assert_eq!(phase, "Running", "{pods}");

    let tree = format!("/api/v1/applications/{name}/resource-tree");
    let tree = as_robot(argocd, Method::GET, &tree, None).await?;
    assert!(tree.to_string().contains(pod), "{tree}");

    // What Argo CD itself says of it, by its own command.
    let told = argocd.run_cli(&["app", "get", name, "-o", "json"]).await?;
    let told: Value = serde_json::from_str(&told)?;
    assert_eq!(told["status"]["health"]["status"], "Healthy");
    if let Some(NodeKind::Kwok { reason }) = argocd.node.as_ref().map(|node| &node.kind) {
        eprintln!("no logs to read, nothing runs: {reason}");
        return Ok(());
    }
    let logs = argocd.run_cli(&["app", "logs", name]).await?;
    assert!(logs.contains("version 1"), "{logs}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_have_their_rights() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let version = argocd.run_cli(&["version", "-o", "json"]).await?;
    let version: Value = serde_json::from_str(&version)?;
    assert_eq!(version["server"]["Version"], version["client"]["Version"]);

    let path = "/api/v1/projects/default";
    for (token, expected) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some(argocd.guest.token.as_str()), StatusCode::FORBIDDEN),
        (Some(argocd.robot.token.as_str()), StatusCode::OK),
    ] {
        let (status, answer) = call(argocd, token, Method::GET, path, None).await?;
        assert_eq!(status, expected, "{answer}");
    }
    for (name, password) in [
        ("admin", &argocd.admin_password),
        ("robot", &argocd.robot.password),
        ("guest", &argocd.guest.password),
    ] {
        log_in(argocd, name, password).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn repository_over_ssh_is_trusted() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("argocd-ssh").await?;
    gitea.commit(&repository, "first", &[("a", "1")]).await?;
    let dir = tempfile::tempdir()?;
    let key = dir.path().join("key");
    let mut keygen = tokio::process::Command::new(e2e::system_program("ssh-keygen")?);
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key);
    e2e::run(&mut keygen).await?;
    let public = tokio::fs::read_to_string(key.with_extension("pub")).await?;
    gitea.add_deploy_key(&repository, &public, true).await?;
    let credentials = json!({
        "repo": repository.ssh_url,
        "sshPrivateKey": tokio::fs::read_to_string(&key).await?,
    });
    let path = "/api/v1/repositories";
    as_robot(argocd, Method::POST, path, Some(&credentials)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn application_and_set_in_a_namespace_of_a_team() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-set}\n";
    let gitea = e2e::gitea().await?;
    let url = repository(argocd, gitea, "argocd-team", &[("map.yaml", map)]).await?;
    let team = argocd.cluster.namespace("team").await?;
    let project = json!({"project": {
        "metadata": {"name": team.name()},
        "spec": {
            "sourceNamespaces": [team.name()],
            "sourceRepos": [url],
            "destinations": [{"server": "*", "namespace": team.name()}],
        },
    }});
    as_robot(argocd, Method::POST, "/api/v1/projects", Some(&project)).await?;
    let set = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": "team", "namespace": team.name()},
        "spec": {
            "goTemplate": true,
            "generators": [{"git": {"repoURL": url, "revision": "main", "files": [{"path": "map.yaml"}]}}],
            "template": {
                "metadata": {"name": "team-{{ .metadata.name }}"},
                "spec": {
                    "project": team.name(),
                    "source": {"repoURL": url, "path": ".", "targetRevision": "main"},
                    "destination": {"server": IN_CLUSTER, "namespace": team.name()},
                    "syncPolicy": {"automated": {}},
                },
            },
        },
    });
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("set.json");
    tokio::fs::write(&file, set.to_string()).await?;
    let file = file.to_string_lossy();
    let generated = argocd
        .run_cli(&["appset", "generate", &file, "-o", "json"])
        .await?;
    assert!(generated.contains("team-from-set"), "{generated}");

    argocd
        .cluster
        .kubectl(&["apply", "--filename", &file])
        .await?;
    let get = [
        "get",
        "configmap",
        "from-set",
        "--namespace",
        team.name(),
        "--output=name",
    ];
    let started = Instant::now();
    while argocd.cluster.kubectl(&get).await.is_err() {
        ensure!(
            started.elapsed() < PATIENCE,
            "the set's application deployed nothing"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_components_come_back() -> Result<()> {
    let forge = e2e::private_gitea(&GiteaOptions { https: true }).await?;
    let gitea = forge.gitea();
    let mut server = e2e::private_argocd(&ArgoCdOptions {
        namespace: "gitops".to_owned(),
        node: false,
        applicationset_controller: false,
        session_duration: Some(Duration::from_secs(5)),
        gitea: Some(gitea.clone()),
        ..ArgoCdOptions::default()
    })
    .await?;
    let argocd = server.argocd().clone();
    let session = log_in(&argocd, "robot", &argocd.robot.password).await?;
    let logged_in = Instant::now();
    let path = "/api/v1/projects/default";

    server.kill_server();
    assert!(
        as_robot(&argocd, Method::GET, path, None).await.is_err(),
        "a killed server answered"
    );
    server.start_server().await?;
    as_robot(&argocd, Method::GET, path, None).await?;
    let rest = Duration::from_secs(7).saturating_sub(logged_in.elapsed());
    tokio::time::sleep(rest).await;
    let (status, answer) = call(&argocd, Some(&session), Method::GET, path, None).await?;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");

    server.kill_repo_server();
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late}\n";
    let created = repository(&argocd, gitea, "argocd-killed", &[("map.yaml", map)]).await;
    assert!(created.is_err(), "a killed repository server answered");
    server.start_repo_server().await?;
    let url = repository(&argocd, gitea, "argocd-killed", &[("map.yaml", map)]).await?;

    server.stop_controller();
    let app = application(&argocd, "late", &url);
    as_robot(&argocd, Method::POST, "/api/v1/applications", Some(&app)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let app = as_robot(&argocd, Method::GET, "/api/v1/applications/late", None).await?;
    assert_eq!(app["status"]["reconciledAt"], Value::Null, "{app}");
    server.start_controller().await?;
    healthy(&argocd, "late").await?;
    Ok(())
}
