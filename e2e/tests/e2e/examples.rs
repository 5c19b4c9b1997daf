//! The examples, as a user runs them.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use gitops_core::audit;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::place::config_map;

const SECRET: &str = "a secret of the hook";

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::from(e2e::cargo());
    command
        .args([arguments[0], "--quiet", "--package", "gitops", "--example"])
        .args(&arguments[1..])
        .kill_on_drop(true);
    command
}

async fn ended(mut command: Command) -> Result<Output> {
    let output = tokio::time::timeout(Duration::from_secs(1800), command.output());
    let output = output.await.context("the example did not end")??;
    println!("{}", String::from_utf8_lossy(&output.stdout));
    ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

/// That the lines are among those printed, in this order.
fn prints(output: &Output, parts: &[&str]) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    for part in parts {
        ensure!(
            lines.any(|line| line.contains(part)),
            "{part:?} is missing, or not in its place:\n{text}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_rule_decides_and_validates() -> Result<()> {
    let output = ended(cargo(&["run", "custom_rule", "--features", "cron,images"])).await?;
    prints(
        &output,
        &[
            "The strategy",
            "no sync  at night, nothing new",
            "is deployed",
            "no sync  at night, only the README changed",
            "none of 1 changed files is in /prod",
            "sync     at night, the cluster drifted",
            "out-of-sync: the live state is not the desired one",
            "no sync  at noon, a new image",
            "no window is open",
            "sync     at noon, a new image, approved by ann",
            "is approved by ann",
            "sync     at night, a new image",
            "no sync  at night, a new image, an incident",
            "no-incident: an incident is open",
            "The validators",
            "the commit that updates nginx:",
            "shop: 0 errors, 0 warnings",
            "a careless commit:",
        ],
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, careless) = text.split_once("a careless commit:").context("no commit")?;
    for code in [
        "[plain-text-secret]",
        "[invalid-name]",
        "[namespace-outside-destination]",
        "[image-denied]",
        "[image-not-pinned]",
        "[no-owner]",
    ] {
        ensure!(careless.contains(code), "{code} is missing: {careless}");
    }
    ensure!(!text.contains("hunter2"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_notifier_pages_and_outlives_one_that_is_silent() -> Result<()> {
    let output = ended(cargo(&["run", "custom_notifier"])).await?;
    prints(
        &output,
        &[
            "a good commit",
            "pager     shop: sync Succeeded",
            "broadcast ",
            "a commit that cannot be applied",
            "pager     shop: sync Error: apps/settings.yaml:1:1: the cluster does not serve v1, Kind=Nonsense",
            "failed    1 notifiers were not reached: silent: ",
            "broadcast ",
        ],
    )
}

/// The reconciler, and what it printed.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?).lines();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                println!("{line}");
                let mut lines = kept.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(line);
            }
        });
        Ok(Self { child, lines })
    }

    fn count(&self, text: &str) -> usize {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until so many lines say it.
    async fn until(&self, count: usize, text: &str, seconds: u64) -> Result<Duration> {
        let begun = Instant::now();
        while self.count(text) < count {
            ensure!(
                begun.elapsed().as_secs() < seconds,
                "{text:?} was printed {} times in {seconds} s",
                self.count(text)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(begun.elapsed())
    }
}

/// The value of a metric whose labels include these.
fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let hit = rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label));
        hit.then(|| rest.rsplit(' ').next()?.parse().ok()).flatten()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reconciler_follows_giteas_hook_and_leaves_metrics_and_an_audit_log() -> Result<()> {
    let features = ["--features", "reconcile,metrics,webhook"];
    let build = ["build", "reconciler", features[0], features[1]];
    ended(cargo(&build)).await?;
    // Beside the tests' own program.
    let program: PathBuf = std::env::current_exe()?
        .ancestors()
        .nth(2)
        .context("no target directory")?
        .join("examples/reconciler");

    let gitea = e2e::gitea().await?;
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("example").await?.name().to_owned();
    let repository = gitea.repository("example").await?;
    let api = format!("/repos/{}/{}", repository.owner, repository.name);
    // The example has no credentials.
    let public = json!({"private": false});
    gitea.api(Method::PATCH, &api, Some(&public)).await?;
    let push = async |value: &str| {
        let text = config_map("settings", value);
        let files = [("prod/a.yaml", text.as_str())];
        gitea
            .commit(&repository, "Change the settings", &files)
            .await
    };
    push("1").await?;

    let dir = tempfile::tempdir()?;
    let log = dir.path().join("audit.jsonl");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command
            .args(["--namespace", &namespace])
            .args(arguments)
            .env("KUBECONFIG", cluster.kubeconfig())
            .env("XDG_CACHE_HOME", dir.path())
            .env("NO_PROXY", "127.0.0.1")
            .env("WEBHOOK_SECRET", SECRET);
        command
    };
    let add = [
        "add",
        "shop",
        &repository.http_url,
        "prod",
        "--to",
        &namespace,
    ];
    let added = ended(command(&add)).await?;
    prints(&added, &["shop changed: true"])?;

    let (hooks, metrics) = (e2e::ports::free_port()?, e2e::ports::free_port()?);
    // Nothing is to be lost here, on a busy machine either.
    let mut run = command(&["run", "--identity", "solo", "--lease-seconds", "30"]);
    // No look at the repository finds the push in time.
    run.args(["--poll-seconds", "3600"])
        .args(["--webhooks", &format!("127.0.0.1:{hooks}")])
        .args(["--metrics", &format!("127.0.0.1:{metrics}")])
        .arg("--audit")
        .arg(&log);
    let mut running = Running::start(run)?;
    running.until(1, "solo shop: sync Succeeded", 120).await?;

    // Gitea tells of a push, and the sync follows.
    let url = format!("http://127.0.0.1:{hooks}/webhooks/gitea");
    let hook = json!({
        "type": "gitea", "active": true, "events": ["push"],
        "config": {"url": url, "content_type": "json", "secret": SECRET},
    });
    gitea
        .api(Method::POST, &format!("{api}/hooks"), Some(&hook))
        .await?;
    let second = push("2").await?;
    let took = running.until(2, "solo shop: sync Succeeded", 90).await?;
    println!("synced {:.1} s after the push", took.as_secs_f64());
    let get = [
        "-n",
        &namespace,
        "get",
        "configmap",
        "settings",
        "-o",
        "jsonpath={.data.v}",
    ];
    assert_eq!(cluster.kubectl(&get).await?, "2");
    assert_eq!(running.count(&format!("shop: new revision {second}")), 1);

    // Somebody else tells of one.
    let client = reqwest::Client::builder().no_proxy().build()?;
    let forged = client
        .post(&url)
        .header("x-gitea-event", "push")
        .header("x-gitea-delivery", "00000000-0000-0000-0000-000000000000")
        .header("x-gitea-signature", "0".repeat(64))
        .header("content-type", "application/json")
        .body(
            json!({"ref": "refs/heads/main", "repository": {"clone_url": repository.http_url}})
                .to_string(),
        )
        .send();
    assert_eq!(forged.await?.status(), StatusCode::UNAUTHORIZED);

    // The line was printed a moment before the look ended.
    let look = async {
        loop {
            let scraped = client.get(format!("http://127.0.0.1:{metrics}/metrics"));
            let scraped = scraped.send().await?.error_for_status()?.text().await?;
            let looks = metric(&scraped, "gitops_reconciler_looks_total", &["\"synced\""]);
            if looks == Some(2.0) {
                return anyhow::Ok(scraped);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let scraped = tokio::time::timeout(Duration::from_secs(60), look).await;
    let scraped = scraped.context("no two looks ended in a sync")??;
    let of = |name: &str, labels: &[&str]| {
        let value = metric(&scraped, name, labels);
        println!("{name} {labels:?}: {value:?}");
        value.unwrap_or_default()
    };
    assert_eq!(of("gitops_syncs_total", &["outcome=\"succeeded\""]), 2.0);
    assert_eq!(
        of("gitops_sync_duration_seconds_count", &["succeeded"]),
        2.0
    );
    assert_eq!(of("gitops_syncs_running", &[]), 0.0);
    assert_eq!(of("gitops_reconciler_applications", &[]), 1.0);
    let hooked = |result: &str| {
        let label = format!("result=\"{result}\"");
        of("gitops_webhooks_total", &["provider=\"gitea\"", &label])
    };
    // The first push may be told as well, when Gitea comes to it late.
    ensure!(hooked("accepted") >= 1.0, "{scraped}");
    assert_eq!(hooked("unauthenticated"), 1.0);

    // Asked to end, it does, and its log is whole.
    let id = running.child.id().context("it ended by itself")?;
    let terminate = Command::new("kill")
        .args(["-TERM", &id.to_string()])
        .status();
    ensure!(terminate.await?.success(), "kill failed");
    let end = tokio::time::timeout(Duration::from_secs(60), running.child.wait());
    let end = end.await.context("it did not end")??;
    ensure!(end.success(), "{end}");
    running.until(1, "solo ends", 30).await?;
    let held = [
        "-n",
        &namespace,
        "get",
        "leases",
        "-o",
        "jsonpath={.items[*].spec.holderIdentity}",
    ];
    let held = cluster.kubectl(&held).await?;
    ensure!(!held.contains("solo"), "{held}");

    let proof = audit::verify(&log, None)?;
    println!(
        "{} audit records, verified: {:?}",
        proof.records, proof.head
    );
    ensure!(proof.records == 4 && !proof.torn, "{proof:?}");
    let text = tokio::fs::read_to_string(&log).await?;
    let records: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<serde_json::Result<_>>()?;
    let outcomes: Vec<_> = records.iter().map(|record| &record["outcome"]).collect();
    assert_eq!(
        outcomes,
        ["requested", "succeeded", "requested", "succeeded"]
    );
    assert_eq!(records[3]["to"], json!([second]));
    assert_eq!(records[3]["app"]["name"], "shop");
    assert_eq!(records[3]["actor"]["name"], "solo", "{}", records[3]);
    let changed = &records[3]["changed"];
    assert_eq!(changed[0]["name"], "settings", "{changed}");
    // Tampering is found.
    let other = text.replace("\"succeeded\"", "\"failed\"");
    tokio::fs::write(&log, other).await?;
    let error = audit::verify(&log, None)
        .err()
        .context("tampering passed")?;
    assert_eq!(error.kind(), gitops_core::ErrorKind::Integrity, "{error}");
    Ok(())
}
