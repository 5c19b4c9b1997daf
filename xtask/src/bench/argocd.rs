//! Lists of Argo CD's applications: read from bytes, and asked of a running server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::{ArgoCdOptions, ArgoCdServer};
use serde_json::Value;
use tokio::process::Command;

use super::measure::{Settings, alternate, json, reported, run};
use super::report::Outcome;

/// How many applications: a large installation.
const APPLICATIONS: usize = 2000;

/// Inside one run: the programs take the median of these themselves.
const INNER: &str = "3";

/// The statuses of so many may hold this much.
const MEMORY_MB: f64 = 40.0;

/// By then the server knows what was written to the Kubernetes API.
const DEADLINE: Duration = Duration::from_secs(120);

/// A running Argo CD with the applications in it. No controller runs: nothing changes what is read.
pub(super) struct Server {
    server: ArgoCdServer,
}

impl Server {
    pub(super) async fn start(settings: &Settings) -> Result<Self> {
        let options = ArgoCdOptions {
            node: false,
            controller: false,
            applicationset_controller: false,
            ..ArgoCdOptions::default()
        };
        let server = ArgoCdServer::start(&settings.session, &options).await?;
        let mut command = settings.ours("applications-create");
        command
            .arg("--kubeconfig")
            .arg(server.argocd().cluster.kubeconfig())
            .args(["--count", &APPLICATIONS.to_string()])
            .args(["--concurrency", &settings.concurrency.to_string()]);
        run(command).await?;
        let server = Self { server };
        server.wait(settings).await?;
        Ok(server)
    }

    /// The server answers from its cache, which follows the Kubernetes API: waits until all are in it.
    async fn wait(&self, settings: &Settings) -> Result<()> {
        let begun = Instant::now();
        loop {
            let answer = json(self.job(settings, true, true)).await?;
            let found = &answer["counts"]["applications"];
            if *found == APPLICATIONS {
                return Ok(());
            }
            if begun.elapsed() > DEADLINE {
                bail!("Argo CD knows {found} of {APPLICATIONS} applications");
            }
        }
    }

    fn job(&self, settings: &Settings, ours: bool, projected: bool) -> Command {
        let mut command = if ours {
            settings.ours("argocd-list")
        } else {
            settings.peer("argocd-list")
        };
        let argocd = self.server.argocd();
        command
            // Everybody on the machine can read the arguments of a process.
            .env("ARGOCD_AUTH_TOKEN", &argocd.robot.token)
            .args(["--url", &argocd.url, "--rounds", INNER]);
        if projected {
            command.arg("--projected");
        }
        command
    }
}

/// The cases without a server.
pub(super) async fn run_local(name: &str, settings: &Settings) -> Result<Outcome> {
    let file = settings.data.join("applications.json");
    let mut command = settings.ours("applications");
    command
        .arg(&file)
        .args(["--count", &APPLICATIONS.to_string()]);
    run(command).await?;
    let job = |ours: bool| {
        let mut command = if ours {
            settings.ours("argocd-decode")
        } else {
            settings.peer("argocd-decode")
        };
        command.arg(&file).arg(INNER);
        command
    };
    match name {
        "argocd-decode" => {
            let (_, ours) = reported(job(true)).await?;
            let (_, theirs) = reported(job(false)).await?;
            compare(&ours, &theirs, true)?;
            let medians = alternate(
                settings.rounds,
                async |_| reported(job(true)).await.map(|(ms, _)| ms),
                async |_| reported(job(false)).await.map(|(ms, _)| ms),
            )
            .await?;
            let megabytes = ours["bytes"].as_f64().context("no `bytes`")? / 1e6;
            Ok(Outcome::of(
                format!(
                    "encoding/json into Argo CD's v1alpha1.ApplicationList, {APPLICATIONS} applications, {megabytes:.1} MB"
                ),
                medians,
            ))
        }
        "argocd-memory" => {
            let (ms, decoded) = reported(job(true)).await?;
            let mut command = Command::new(settings.programs.ours.with_file_name("memory"));
            command.arg("--applications").arg(&file);
            let answer = json(command).await?;
            if answer["statuses"] != APPLICATIONS {
                bail!("{} statuses instead of {APPLICATIONS}", answer["statuses"]);
            }
            let held = answer["bytes"].as_f64().context("no `bytes`")? * APPLICATIONS as f64 / 1e6;
            let peak = decoded["peak_mb"].as_f64().context("no `peak_mb`")?;
            Ok(Outcome {
                name: String::new(),
                ours_ms: ms,
                peer: format!(
                    "a limit of {MEMORY_MB} MB held by {APPLICATIONS} statuses once they are read; the program's peak, with the answer: {peak:.0} MB"
                ),
                peer_ms: None,
                ratio: MEMORY_MB / held,
                wanted: 0.0,
                ours_mb: Some(held),
            })
        }
        other => bail!("unknown case {other}"),
    }
}

/// The cases that ask a server.
pub(super) async fn run_list(name: &str, settings: &Settings, server: &Server) -> Result<Outcome> {
    let (projected, figure) = match name {
        "argocd-list" => (false, "ms"),
        "argocd-list-cpu" => (false, "cpu_ms"),
        "argocd-list-projected" => (true, "ms"),
        "argocd-list-projected-cpu" => (true, "cpu_ms"),
        other => bail!("unknown case {other}"),
    };
    let side = async |ours: bool| json(server.job(settings, ours, projected)).await;
    compare(&side(true).await?, &side(false).await?, !projected)?;
    let measured = async |ours: bool| {
        side(ours).await?[figure]
            .as_f64()
            .with_context(|| format!("no `{figure}` in the answer"))
    };
    let medians = alternate(
        settings.rounds,
        async |_| measured(true).await,
        async |_| measured(false).await,
    )
    .await?;
    let what = match figure {
        "ms" => "",
        _ => "the client's processor time: ",
    };
    Ok(Outcome::of(
        format!(
            "{what}net/http and encoding/json into Argo CD's types, {APPLICATIONS} applications"
        ),
        medians,
    ))
}

/// Both sides have read the same, and all of it.
fn compare(ours: &Value, theirs: &Value, whole: bool) -> Result<()> {
    let (ours, theirs) = (&ours["counts"], &theirs["counts"]);
    if ours != theirs {
        bail!("ours read {ours}, the peer {theirs}");
    }
    let at_least = |name: &str, least: usize| -> Result<()> {
        match ours[name].as_u64() {
            Some(found) if found >= least as u64 => Ok(()),
            _ => bail!("{name}: less than {least} in {ours}"),
        }
    };
    if ours["applications"] != APPLICATIONS {
        bail!("not {APPLICATIONS} applications: {ours}");
    }
    for name in ["synced", "healthy"] {
        at_least(name, APPLICATIONS / 2)?;
    }
    at_least("ended", APPLICATIONS)?;
    at_least("resources", APPLICATIONS * 20)?;
    if whole {
        at_least("history", APPLICATIONS * 10)?;
        at_least("conditions", APPLICATIONS)?;
    }
    Ok(())
}
