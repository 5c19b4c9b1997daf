//! The quickstart, as a user runs it, on the real API server and node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_runs_on_a_real_cluster_and_leaves_nothing() -> Result<()> {
    e2e::node().await?;
    let cluster = e2e::cluster().await?;
    let started = Instant::now();
    let run = Command::from(e2e::cargo())
        .args([
            "run",
            "--quiet",
            "--package",
            "gitops",
            "--example",
            "quickstart",
            "--",
        ])
        .args(["--cluster", "--image", e2e::BUSYBOX])
        .env("KUBECONFIG", cluster.kubeconfig())
        .kill_on_drop(true)
        .output();
    // It is built first, perhaps after other tests' examples.
    let output = tokio::time::timeout(Duration::from_secs(1800), run)
        .await
        .context("the quickstart did not end")??;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}\nit took {:.1} s", started.elapsed().as_secs_f64());
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in [
        "prod is Synced and Healthy",
        "detected commit",
        "hotfix-by-hand",
        "replicas is 3 again",
        "the banner is gone",
    ] {
        assert!(text.contains(part), "{part:?} is missing");
    }
    let namespaces = cluster
        .kubectl(&[
            "get",
            "namespaces",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name} {.status.phase}{\"\\n\"}{end}",
        ])
        .await?;
    let left: Vec<_> = namespaces
        .lines()
        .filter(|line| line.starts_with("gitops-quickstart-") && !line.ends_with("Terminating"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}
