//! The example that is about Flux, as a user runs it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Flux;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::support::{LOGIN, apply, config_map, deployment, find, git_repository, login};

/// The example, built once, with the features that the tests are built with.
async fn example() -> Result<&'static Path> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        let build = Command::from(e2e::cargo())
            .args(["build", "--quiet", "--workspace"])
            .arg("--features=e2e/e2e,gitops/flux")
            .arg("--example=flux_deploy")
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(1200), build)
            .await
            .context("the example is not built")??;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // Beside `deps`, where this test is.
        let own = std::env::current_exe()?;
        let folder = own.ancestors().nth(2).context("no folder")?;
        anyhow::Ok(folder.join("examples/flux_deploy"))
    };
    PROGRAM.get_or_try_init(build).await.map(PathBuf::as_path)
}

async fn run(flux: &Flux, args: &[&str]) -> Result<(bool, String)> {
    let home = tempfile::tempdir()?;
    let run = Command::new(example().await?)
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("KUBECONFIG", flux.cluster.kubeconfig())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(240), run)
        .await
        .context("the example does not end")??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!(
        "$ flux_deploy {}\n{text}{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((output.status.success(), text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_deployed_by_the_example() -> Result<()> {
    let (flux, gitea) = (e2e::flux().await?, e2e::gitea().await?);
    let namespace = flux.cluster.namespace("example").await?;
    let (client, name) = (namespace.client(), namespace.name());
    apply(&client, &login(name, gitea)).await?;
    let repository = gitea.repository(name).await?;
    let (map, web) = (config_map("map", "1"), deployment("web"));
    let files = [("prod/map.yaml", &*map), ("prod/web.yaml", &*web)];
    let revision = gitea.commit(&repository, "first", &files).await?;
    let place = ["--namespace", name, "--to", name, "--secret", LOGIN];
    let args = [
        &["shop", &*repository.http_url, "--path", "./prod"],
        &place[..],
    ]
    .concat();

    let (ended_well, text) = run(flux, &args).await?;
    assert!(ended_well);
    let wanted = [
        format!("GitRepository {name}/shop created"),
        format!("Kustomization {name}/shop created"),
        format!("Applied revision: main@sha1:{revision}"),
        "Healthy".to_owned(),
        revision.clone(),
        format!("ConfigMap/{name}/map"),
        format!("Deployment/{name}/web"),
    ];
    for part in &wanted {
        assert!(text.contains(part), "{part:?} is missing");
    }

    // Once more: nothing to change; and at the end it is deleted with what it deployed.
    let (ended_well, text) = run(flux, &[&args[..], &["--delete"]].concat()).await?;
    assert!(ended_well);
    assert!(text.contains("is as asked for") && text.contains("is being deleted"));
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map", "namespace": name}});
    tokio::time::timeout(Duration::from_secs(60), async {
        while find(&client, &map).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    })
    .await
    .context("something is left")??;

    // What others made under the name is neither changed nor deleted.
    let theirs = git_repository(name, "theirs", &repository);
    apply(&client, &theirs).await?;
    let generation = async || {
        let found = find(&client, &theirs).await?.context("it is gone")?;
        anyhow::Ok(found.metadata.generation)
    };
    let before = generation().await?;
    let args = [
        &[
            "theirs",
            &*repository.http_url,
            "--path",
            "./prod",
            "--delete",
        ],
        &place[..],
    ]
    .concat();
    let (ended_well, text) = run(flux, &args).await?;
    assert!(!ended_well && text.is_empty(), "{text}");
    assert_eq!(generation().await?, before);

    // What cannot be deployed is said at once, and the exit code tells.
    let args = [
        &["wrong", &*repository.http_url, "--path", "./nothing"],
        &place[..],
    ]
    .concat();
    let (ended_well, text) = run(flux, &args).await?;
    assert!(!ended_well);
    assert!(text.contains("✗"), "{text}");
    Ok(())
}
