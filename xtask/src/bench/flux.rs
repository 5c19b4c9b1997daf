//! Flux: lists of Kustomizations, what a reconcile takes that is not the controllers', and how often a trace asks.

mod reconcile;
mod trace;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use e2e::{ControlPlane, ControlPlaneOptions};
use serde_json::Value;
use tokio::process::Command;

use super::measure::{Settings, alternate, json, median, reported, run};
use super::report::Outcome;

pub(super) use self::reconcile::Server as ReconcileServer;
pub(super) use self::trace::run_case as run_trace;

/// Inside one run: the programs take the median of these themselves.
const INNER: &str = "3";

/// Objects per request of a list, on both sides: our default. The peer's is to ask for all at once, which its job does without `--page`.
const PAGE: &str = "500";

/// How many Kustomizations: 2,000 with the usual number of objects.
fn kustomizations(settings: &Settings) -> usize {
    settings.objects * 2
}

/// An API server with Flux's definitions, and nobody who acts on them: nothing changes what is read, and nobody else asks.
async fn plane(settings: &Settings, audit: bool) -> Result<ControlPlane> {
    let options = ControlPlaneOptions {
        no_audit: !audit,
        ..ControlPlaneOptions::default()
    };
    let plane = ControlPlane::start(&settings.session, &options).await?;
    let files: Vec<PathBuf> = tokio::task::spawn_blocking(e2e::flux::definitions)
        .await
        .context("reading the definitions was interrupted")??;
    let files: Vec<String> = files
        .iter()
        .map(|file| format!("--filename={}", file.display()))
        .collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    for verb in [
        &["apply", "--server-side"][..],
        &["wait", "--for=condition=Established", "--timeout=60s"],
    ] {
        plane.cluster().kubectl(&[verb, &files].concat()).await?;
    }
    Ok(plane)
}

/// The Kustomizations, written to an API server.
pub(super) struct ListServer {
    plane: ControlPlane,
}

impl ListServer {
    pub(super) async fn start(settings: &Settings) -> Result<Self> {
        let plane = plane(settings, false).await?;
        let mut command = settings.ours("kustomizations-create");
        command
            .arg("--kubeconfig")
            .arg(plane.cluster().kubeconfig())
            .args(["--count", &kustomizations(settings).to_string()])
            .args(["--concurrency", &settings.concurrency.to_string()]);
        run(command).await?;
        Ok(Self { plane })
    }

    fn job(&self, settings: &Settings, ours: bool, whole: bool) -> Command {
        let mut command = match ours {
            true => settings.ours("flux-list"),
            false => settings.peer("flux-list"),
        };
        command
            .arg("--kubeconfig")
            .arg(self.plane.cluster().kubeconfig())
            .args(["--rounds", INNER, "--page", PAGE]);
        if ours && whole {
            command.arg("--whole");
        }
        command
    }
}

/// The cases that list from an API server.
pub(super) async fn run_list(
    name: &str,
    settings: &Settings,
    server: &ListServer,
) -> Result<Outcome> {
    let (whole, figure) = match name {
        "flux-list" => (false, "ms"),
        "flux-list-cpu" => (false, "cpu_ms"),
        "flux-list-whole" => (true, "ms"),
        "flux-list-whole-cpu" => (true, "cpu_ms"),
        other => bail!("unknown case {other}"),
    };
    let side = async |ours: bool| json(server.job(settings, ours, whole)).await;
    compare(settings, &side(true).await?, &side(false).await?, whole)?;
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
    let read = match whole {
        true => "whole objects",
        false => "statuses",
    };
    Ok(Outcome::of(
        format!(
            "{what}controller-runtime's client.List into kustomize-controller's KustomizationList, ours into {read}; {} objects, both {PAGE} a page, uncompressed",
            kustomizations(settings)
        ),
        medians,
    ))
}

/// The cases without a server: from the bytes of a list.
pub(super) async fn run_decode(name: &str, settings: &Settings) -> Result<Outcome> {
    let whole = match name {
        "flux-decode" => false,
        "flux-decode-whole" => true,
        other => bail!("unknown case {other}"),
    };
    let file = settings.data.join("kustomizations.json");
    let count = kustomizations(settings);
    let mut command = settings.ours("kustomizations");
    command.arg(&file).args(["--count", &count.to_string()]);
    run(command).await?;
    let job = |ours: bool| {
        let mut command = match ours {
            true => settings.ours("flux-decode"),
            false => settings.peer("flux-decode"),
        };
        command.arg(&file).arg(INNER);
        if ours && whole {
            command.arg("--whole");
        }
        command
    };
    let (_, ours) = reported(job(true)).await?;
    let (_, theirs) = reported(job(false)).await?;
    compare(settings, &ours, &theirs, whole)?;
    let medians = alternate(
        settings.rounds,
        async |_| reported(job(true)).await.map(|(ms, _)| ms),
        async |_| reported(job(false)).await.map(|(ms, _)| ms),
    )
    .await?;
    let megabytes = ours["bytes"].as_f64().context("no `bytes`")? / 1e6;
    let read = match whole {
        true => "whole objects",
        false => "statuses",
    };
    Ok(Outcome::of(
        format!(
            "encoding/json into kustomize-controller's KustomizationList, ours into {read}; {count} objects, {megabytes:.1} MB"
        ),
        medians,
    ))
}

/// Both sides have read the same, and all of it. Statuses have no inventory.
fn compare(settings: &Settings, ours: &Value, theirs: &Value, whole: bool) -> Result<()> {
    let (mut ours, theirs) = (ours["counts"].clone(), &theirs["counts"]);
    if !whole {
        ours["entries"] = theirs["entries"].clone();
    }
    if ours != *theirs {
        bail!("ours read {ours}, the peer {theirs}");
    }
    let count = kustomizations(settings);
    let at_least = |name: &str, least: usize| match ours[name].as_u64() {
        Some(found) if found >= least as u64 => Ok(()),
        _ => bail!("{name}: less than {least} in {ours}"),
    };
    if ours["kustomizations"] != count {
        bail!("not {count} Kustomizations: {ours}");
    }
    if ours["checksum"].as_str().is_none_or(|sum| sum.len() != 64) {
        bail!("no checksum: {ours}");
    }
    at_least("ready", count / 2)?;
    at_least("failed", count / 50)?;
    at_least("conditions", count * 2)?;
    at_least("entries", count * 20)
}
