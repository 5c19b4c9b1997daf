//! The examples that are about Argo CD, as a user runs them.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{ArgoCd, Repository};
use reqwest::Method;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::support::{PATIENCE, deployment, unique};

/// The folder of the examples, built once, with the features that the tests are built with.
async fn examples() -> Result<&'static Path> {
    static FOLDER: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        let build = Command::from(e2e::cargo())
            .args(["build", "--quiet", "--workspace"])
            .arg("--features=e2e/e2e,gitops/argocd")
            .args(["--example=argocd_sync", "--example=argocd_fleet"])
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(1800), build)
            .await
            .context("the examples are not built")??;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // Beside `deps`, where this test is.
        let own = std::env::current_exe()?;
        let folder = own.ancestors().nth(2).context("no folder")?;
        anyhow::Ok(folder.join("examples"))
    };
    FOLDER.get_or_try_init(build).await.map(PathBuf::as_path)
}

struct Ran {
    output: Output,
    text: String,
}

async fn run(argocd: &ArgoCd, program: &Path, args: &[&str]) -> Result<Ran> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = tempfile::tempdir()?;
    let run = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", path)
        .env("HOME", home.path())
        .env("ARGOCD_SERVER", format!("127.0.0.1:{}", argocd.port))
        .env("ARGOCD_AUTH_TOKEN", &argocd.robot.token)
        .env("ARGOCD_OPTS", "--plaintext")
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(240), run)
        .await
        .context("the example does not end")??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    println!(
        "$ {} {}\n{text}{errors}",
        program.file_name().unwrap_or_default().display(),
        args.join(" ")
    );
    for shown in [&text, &*errors] {
        ensure!(!shown.contains(&argocd.robot.token), "the token is shown");
    }
    Ok(Ran { output, text })
}

/// A repository that everybody may read, with an overlay for each of two stages; and its commit.
async fn shop() -> Result<(Repository, String)> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("shop").await?;
    let path = format!("/repos/{}/{}", repository.owner, repository.name);
    gitea
        .api(Method::PATCH, &path, Some(&json!({"private": false})))
        .await?;
    let web = deployment("web");
    let overlay = |replicas: u32| {
        format!("resources: [../../base]\nreplicas:\n- name: web\n  count: {replicas}\n")
    };
    let (dev, prod) = (overlay(1), overlay(2));
    let files = [
        ("base/kustomization.yaml", "resources: [web.json]\n"),
        ("base/web.json", &*web),
        ("overlays/dev/kustomization.yaml", &*dev),
        ("overlays/prod/kustomization.yaml", &*prod),
    ];
    let revision = gitea.commit(&repository, "first", &files).await?;
    Ok((repository, revision))
}

async fn replicas(argocd: &ArgoCd, namespace: &str) -> Result<String> {
    let args = [
        "get",
        "deployment",
        "web",
        "--namespace",
        namespace,
        "--output=jsonpath={.spec.replicas}",
    ];
    argocd.cluster.kubectl(&args).await
}

async fn is_there(argocd: &ArgoCd, kind: &str, name: &str) -> bool {
    let args = [
        "get",
        kind,
        name,
        "--namespace",
        &argocd.namespace,
        "--output=name",
    ];
    argocd.cluster.kubectl(&args).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_synced_by_the_example() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let program = examples().await?.join("argocd_sync");
    let (repository, revision) = shop().await?;
    let name = unique("example");
    let args = [
        &*name,
        &*repository.http_url,
        "overlays/dev",
        "--revision",
        "main",
        "--to",
        &*name,
    ];

    let ran = run(argocd, &program, &args).await?;
    assert!(ran.output.status.success());
    let mut parts = vec![
        "Argo CD v3.2".to_owned(),
        format!("application {name} created"),
        "Deployment".to_owned(),
        format!("Synced and Healthy at {revision}"),
    ];
    if !matches!(
        argocd.node.as_ref().map(|node| &node.kind),
        Some(e2e::NodeKind::Kwok { .. })
    ) {
        parts.push("hello from web".to_owned());
    }
    for part in parts {
        assert!(ran.text.contains(&part), "{part:?} is missing");
    }
    assert_eq!(replicas(argocd, &name).await?, "1");

    // Once more: nothing to change; and at the end it is deleted with what it deployed.
    let ran = run(argocd, &program, &[&args[..], &["--delete"]].concat()).await?;
    assert!(ran.output.status.success());
    for part in ["is as asked for", "Synced and Healthy", "is being deleted"] {
        assert!(ran.text.contains(part), "{part:?} is missing");
    }
    tokio::time::timeout(PATIENCE, async {
        while is_there(argocd, "application", &name).await || replicas(argocd, &name).await.is_ok()
        {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await
    .context("something is left")?;

    // What cannot be synced is said, and the exit code tells.
    let args = [
        &*name,
        &*repository.http_url,
        "nothing/there",
        "--revision",
        "main",
        "--to",
        &*name,
    ];
    let ran = run(argocd, &program, &args).await?;
    assert!(!ran.output.status.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_synced_by_the_example() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let program = examples().await?.join("argocd_fleet");
    let (repository, revision) = shop().await?;
    let name = unique("fleet");
    let args = [
        &*repository.http_url,
        "--revision",
        "main",
        "--name",
        &*name,
    ];

    // Shown only: nothing is made.
    let ran = run(argocd, &program, &args).await?;
    assert!(ran.output.status.success());
    let lines: Vec<Vec<_>> = ran
        .text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let (dev, prod) = (format!("{name}-dev"), format!("{name}-prod"));
    assert_eq!(
        lines,
        [
            [&*dev, "overlays/dev", "->", &*dev],
            [&*prod, "overlays/prod", "->", &*prod],
        ]
    );
    assert!(!is_there(argocd, "applicationset", &name).await);
    assert!(!is_there(argocd, "application", &dev).await);

    let ran = run(argocd, &program, &[&args[..], &["--apply"]].concat()).await?;
    assert!(ran.output.status.success());
    assert!(is_there(argocd, "applicationset", &name).await);
    for (app, wanted) in [(&dev, "1"), (&prod, "2")] {
        let part = format!("{app}: Succeeded at {revision}");
        assert!(ran.text.contains(&part), "{part:?} is missing");
        assert!(is_there(argocd, "application", app).await);
        assert_eq!(replicas(argocd, app).await?, wanted);
    }

    let nothing = [&args[..], &["--directories", "nothing/*"]].concat();
    let ran = run(argocd, &program, &nothing).await?;
    assert!(!ran.output.status.success());
    Ok(())
}
