//! The harness itself: every fixture answers, and faults can be made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{ControlPlaneOptions, GiteaOptions, NodeKind, Repository};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{ListParams, LogParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn apiserver_reports_the_pinned_version() -> Result<()> {
    let client = e2e::cluster().await?.client().await?;
    assert_eq!(
        client.apiserver_version().await?.git_version,
        e2e::KUBERNETES_VERSION
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_have_no_rights_of_their_own() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let client = cluster.client_as("alice").await?;
    let refused = Api::<ConfigMap>::all(client)
        .list(&ListParams::default())
        .await;
    let Err(kube::Error::Api(status)) = refused else {
        panic!("not refused: {refused:?}")
    };
    assert_eq!(status.code, 403);
    assert!(status.message.contains("alice"), "{}", status.message);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_log_tells_who_did_what() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("audit").await?;
    let events = cluster.audit_events().await?;
    let made = |e: &&serde_json::Value| {
        e["verb"] == "create"
            && e["objectRef"]["resource"] == "namespaces"
            && e["objectRef"]["name"] == namespace.name()
    };
    let event = events
        .iter()
        .find(made)
        .context("the audit log does not have the namespace")?;
    assert_eq!(event["user"]["username"], e2e::ADMIN);
    assert_eq!(event["responseStatus"]["code"], 201);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_apiserver_comes_back_with_its_data() -> Result<()> {
    let mut plane = e2e::private_control_plane(&ControlPlaneOptions::default()).await?;
    let client = plane.cluster().client().await?;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "kept"}, "data": {"a": "b"}}))?;
    maps.create(&PostParams::default(), &map).await?;

    plane.kill_apiserver();
    assert!(maps.get("kept").await.is_err(), "a killed server answered");
    plane.start_apiserver().await?;

    let kept = maps.get("kept").await?;
    assert_eq!(kept.data.unwrap_or_default()["a"], "b");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_apiserver_does_not_answer() -> Result<()> {
    let plane = e2e::private_control_plane(&ControlPlaneOptions::default()).await?;
    let client = plane.cluster().client().await?;
    plane.suspend_apiserver();
    let second = std::time::Duration::from_secs(1);
    let answer = tokio::time::timeout(second, client.apiserver_version()).await;
    assert!(answer.is_err(), "a suspended server answered");
    plane.resume_apiserver();
    client.apiserver_version().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deployment_becomes_available_and_speaks() -> Result<()> {
    let node = e2e::node().await?;
    let namespace = e2e::cluster().await?.namespace("deployment").await?;
    let deployments: Api<Deployment> = Api::namespaced(namespace.client(), namespace.name());
    let labels = json!({"app": "speaker"});
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "speaker"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "speaker",
                        "image": e2e::BUSYBOX,
                        "imagePullPolicy": "Never",
                        "command": ["sh", "-c", "echo version $(cat /etc/version); touch /tmp/ready; sleep 3600"],
                        "readinessProbe": {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1},
                    }],
                },
            },
        },
    }))?;
    deployments
        .create(&PostParams::default(), &deployment)
        .await?;
    let available = await_condition(
        deployments,
        "speaker",
        conditions::is_deployment_completed(),
    );
    tokio::time::timeout(Duration::from_secs(180), available)
        .await
        .context("not available in three minutes")??;

    let pods: Api<Pod> = Api::namespaced(namespace.client(), namespace.name());
    let pod = pods
        .list(&ListParams::default().labels("app=speaker"))
        .await?
        .items
        .remove(0);
    if let NodeKind::Kwok { reason } = &node.kind {
        eprintln!("no logs to compare, nothing runs: {reason}");
        return Ok(());
    }
    let name = pod.metadata.name.context("a pod without a name")?;
    assert_eq!(
        pods.logs(&name, &LogParams::default()).await?,
        "version 1\n"
    );
    let cluster = e2e::cluster().await?;
    let exec = [
        "exec",
        "--namespace",
        namespace.name(),
        &name,
        "--",
        "cat",
        "/etc/version",
    ];
    assert_eq!(cluster.kubectl(&exec).await?, "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gitea_takes_a_push_over_http() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("http").await?;
    let dir = tempfile::tempdir()?;
    let url = gitea.url_with_password(&repository);
    push_and_clone(dir.path(), &url, &repository, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn gitea_takes_a_push_over_ssh() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("ssh").await?;
    let dir = tempfile::tempdir()?;
    let key = make_key(dir.path()).await?;
    gitea
        .add_ssh_key(&tokio::fs::read_to_string(key.with_extension("pub")).await?)
        .await?;
    let ssh = gitea.ssh_command(&key);
    push_and_clone(dir.path(), &repository.ssh_url, &repository, &ssh).await
}

#[tokio::test(flavor = "multi_thread")]
async fn gitea_refuses_what_it_should() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("refusals").await?;
    let first = gitea.commit(&repository, "first", &[("a", "1")]).await?;
    let second = gitea
        .commit(&repository, "second", &[("a", "2"), ("b/c", "3")])
        .await?;
    assert_ne!(first, second);

    let dir = tempfile::tempdir()?;
    let clone = dir.path().join("clone");
    // Without credentials the repository is not even there.
    let anonymous = git(
        dir.path(),
        "",
        &["clone", "-q", &repository.http_url, "anonymous"],
    )
    .await;
    assert!(anonymous.is_err());
    git(
        dir.path(),
        "",
        &[
            "clone",
            "-q",
            &gitea.url_with_password(&repository),
            "clone",
        ],
    )
    .await?;
    assert_eq!(tokio::fs::read_to_string(clone.join("b/c")).await?, "3");

    gitea
        .protect_branch(&repository, "main", &json!({"enable_push": false}))
        .await?;
    git(
        &clone,
        "",
        &["commit", "-q", "--allow-empty", "-m", "third"],
    )
    .await?;
    let refused = git(&clone, "", &["push", "-q", "origin", "HEAD:main"]).await;
    let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("protected branch"), "{message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_gitea_comes_back_with_its_data() -> Result<()> {
    let mut server = e2e::private_gitea(&GiteaOptions::default()).await?;
    let gitea = server.gitea().clone();
    let repository = gitea.repository("kept").await?;
    gitea.commit(&repository, "first", &[("a", "1")]).await?;
    server.kill();
    assert!(
        gitea.token(&["read:repository"]).await.is_err(),
        "a killed server answered"
    );
    server.start_again().await?;
    let path = format!("/repos/{}/{}/contents/a", repository.owner, repository.name);
    let file = gitea.api(reqwest::Method::GET, &path, None).await?;
    assert_eq!(file["size"], 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gitea_serves_https_to_those_who_trust_it() -> Result<()> {
    let server = e2e::private_gitea(&GiteaOptions { https: true }).await?;
    let gitea = server.gitea();
    let repository = gitea.repository("tls").await?;
    gitea.commit(&repository, "first", &[("a", "1")]).await?;
    let dir = tempfile::tempdir()?;
    let url = gitea.url_with_password(&repository);
    let refused = git(dir.path(), "", &["clone", "-q", &url, "distrusted"]).await;
    let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("certificate"), "{message}");
    let ca = gitea.ca.as_deref().context("no certificate")?;
    let trust = format!("http.sslCAInfo={}", ca.display());
    git(
        dir.path(),
        "",
        &["-c", &trust, "clone", "-q", &url, "trusted"],
    )
    .await?;
    assert!(dir.path().join("trusted/a").is_file());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_ssh_host_key_is_noticed() -> Result<()> {
    let mut server = e2e::private_gitea(&GiteaOptions::default()).await?;
    let gitea = server.gitea().clone();
    let repository = gitea.repository("impostor").await?;
    gitea.commit(&repository, "first", &[("a", "1")]).await?;
    let dir = tempfile::tempdir()?;
    let key = make_key(dir.path()).await?;
    let public = tokio::fs::read_to_string(key.with_extension("pub")).await?;
    gitea.add_deploy_key(&repository, &public, true).await?;
    let ssh = gitea.ssh_command(&key);
    git(
        dir.path(),
        &ssh,
        &["clone", "-q", &repository.ssh_url, "before"],
    )
    .await?;
    server.change_host_key().await?;
    let refused = git(
        dir.path(),
        &ssh,
        &["clone", "-q", &repository.ssh_url, "after"],
    )
    .await;
    let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        message.contains("HOST IDENTIFICATION HAS CHANGED"),
        "{message}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_answers() -> Result<()> {
    let redis = e2e::redis().await?;
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"+PONG\r\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_keeps_a_blob() -> Result<()> {
    let registry = e2e::registry().await?;
    e2e::init();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let uploads = format!("http://{}/v2/harness/blobs/uploads/", registry.host);
    let begun = client.post(uploads).send().await?.error_for_status()?;
    let location = begun
        .headers()
        .get("location")
        .context("no location")?
        .to_str()?
        .to_owned();
    // The digest of "content".
    let digest = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    let put = client
        .put(format!("{location}&digest={digest}"))
        .body("content");
    put.send().await?.error_for_status()?;
    let url = format!("http://{}/v2/harness/blobs/{digest}", registry.host);
    assert_eq!(
        client
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?,
        "content"
    );
    Ok(())
}

#[test]
fn go_modules_have_their_manifests() -> Result<()> {
    let dir = e2e::module_dir("github.com/argoproj/argo-cd/v3")?;
    ensure!(
        dir.join("manifests/install.yaml").is_file(),
        "no manifests/install.yaml in {}",
        dir.display()
    );
    Ok(())
}

async fn make_key(dir: &Path) -> Result<PathBuf> {
    let key = dir.join("key");
    let mut keygen = Command::new(e2e::system_program("ssh-keygen")?);
    e2e::run(
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key),
    )
    .await?;
    Ok(key)
}

async fn push_and_clone(dir: &Path, url: &str, repository: &Repository, ssh: &str) -> Result<()> {
    let source = dir.join("source");
    git(dir, ssh, &["init", "-q", "-b", "main", "source"]).await?;
    tokio::fs::write(source.join("file"), "content").await?;
    git(&source, ssh, &["add", "file"]).await?;
    git(&source, ssh, &["commit", "-q", "-m", "first"]).await?;
    git(&source, ssh, &["push", "-q", url, "main"]).await?;
    git(dir, ssh, &["clone", "-q", url, &repository.name]).await?;
    assert_eq!(
        tokio::fs::read_to_string(dir.join(&repository.name).join("file")).await?,
        "content"
    );
    Ok(())
}

async fn git(dir: &Path, ssh: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(e2e::system_program("git")?);
    command
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        // It would win over the test's own `http.sslCAInfo`.
        .env_remove("GIT_SSL_CAINFO")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
        .args(args);
    if !ssh.is_empty() {
        command.env("GIT_SSH_COMMAND", ssh);
    }
    e2e::run(&mut command).await
}
