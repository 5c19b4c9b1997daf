//! `cargo xtask bench`: gitops-rs against the Go libraries that do the same work.
//!
//! For each case both sides run in turns on the same input, on the same servers, with the same concurrency; what counts is the
//! median. Each side checks that it did the work that was asked for: a run that did less fails instead of being fast.

mod argocd;
mod cluster;
mod flux;
mod git;
mod helpers;
mod local;
mod measure;
mod report;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use e2e::Session;
use e2e::components::{component, workspace_dir};
use e2e::session::target_dir;

use self::measure::{Programs, Settings};
use self::report::Outcome;

/// What to measure, and how.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only cases whose name contains one of these.
    case: Vec<String>,
    /// Runs of each side, after one to warm up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many objects, besides ten namespaces.
    #[arg(long, default_value_t = 1000)]
    objects: usize,
    /// Concurrent requests of each side; 16 is our default, and where the peer is at its best on two cores.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Where to write the results; `bench.json` in the target directory when not given.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Fail when a case misses its mark.
    #[arg(long)]
    strict: bool,
}

/// A case's name, and the ratio that it should reach.
struct Case {
    name: &'static str,
    wanted: f64,
}

const CASES: &[Case] = &[
    Case::new("yaml-parse", 1.5),
    Case::new("yaml-parse-growth", 1.0),
    Case::new("diff", 10.0),
    Case::new("diff-growth", 1.0),
    Case::new("git-read-cold", 1.2),
    Case::new("git-read-update", 5.0),
    Case::new("apply-create", 2.5),
    Case::new("apply-create-validated", 1.3),
    Case::new("apply-noop", 8.0),
    Case::new("apply-change", 5.0),
    Case::new("apply-create-growth", 1.0),
    Case::new("apply-noop-growth", 1.0),
    Case::new("plan-growth", 1.0),
    Case::new("plan-memory", 1.0),
    Case::new("cache-read", 1.0),
    Case::new("cache-read-one-core", 1.0),
    Case::new("limiter", 1.0),
    Case::new("sync-all", 1.0),
    Case::new("status-memory", 1.0),
    Case::new("argocd-decode", 3.0),
    Case::new("argocd-memory", 1.0),
    Case::new("argocd-list", 1.0),
    Case::new("argocd-list-cpu", 2.0),
    Case::new("argocd-list-projected", 1.0),
    Case::new("argocd-list-projected-cpu", 2.0),
    Case::new("flux-decode", 3.0),
    Case::new("flux-decode-whole", 1.0),
    Case::new("flux-list", 1.0),
    Case::new("flux-list-cpu", 2.0),
    Case::new("flux-list-whole", 1.0),
    Case::new("flux-list-whole-cpu", 1.0),
    Case::new("flux-reconcile", 1.0),
    Case::new("flux-reconcile-source", 1.0),
    Case::new("flux-trace", 1.0),
];

impl Case {
    const fn new(name: &'static str, wanted: f64) -> Self {
        Self { name, wanted }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|case| {
            arguments.case.is_empty() || arguments.case.iter().any(|part| case.name.contains(part))
        })
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        bail!("no such case; there are {}", names.join(", "));
    }
    if arguments.rounds == 0 {
        bail!("--rounds must be at least 1");
    }
    let programs = build(&chosen)?;
    let session = Session::create()?;
    eprintln!("bench: logs in {}", session.logs().display());
    let (_, data) = session.data("bench")?;
    let settings = Settings {
        programs,
        session,
        data,
        rounds: arguments.rounds,
        objects: arguments.objects,
        concurrency: arguments.concurrency,
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let outcomes = runtime.block_on(async {
        tokio::select! {
            outcomes = measure_all(&settings, &chosen) => outcomes,
            name = crate::e2e_tests::interrupted() => bail!("{}", name?),
        }
    })?;
    let output = arguments
        .output
        .clone()
        .unwrap_or_else(|| target_dir().join("bench.json"));
    report::write(&output, &outcomes)?;
    report::print(&outcomes);
    eprintln!("bench: results in {}", output.display());
    if arguments.strict && outcomes.iter().any(|outcome| !outcome.is_reached()) {
        bail!("a case missed its mark");
    }
    Ok(())
}

async fn measure_all(settings: &Settings, cases: &[&Case]) -> Result<Vec<Outcome>> {
    // Started when a case first needs it.
    let mut forge = None;
    let mut argocd = None;
    let mut kustomizations = None;
    let mut reconciled = None;
    let mut outcomes = Vec::new();
    for case in cases {
        eprintln!("bench: {}", case.name);
        let outcome = match case.name {
            "yaml-parse" => local::yaml_parse(settings).await,
            "yaml-parse-growth" => local::yaml_parse_growth(settings).await,
            "diff" => local::diff(settings).await,
            "diff-growth" => local::diff_growth(settings).await,
            "git-read-cold" | "git-read-update" => {
                let forge = match &forge {
                    Some(forge) => forge,
                    None => forge.insert(git::Forge::start(settings).await?),
                };
                git::run_case(case.name, settings, forge).await
            }
            "cache-read" | "cache-read-one-core" | "limiter" | "sync-all" | "status-memory" => {
                helpers::run(case.name, settings).await
            }
            "argocd-decode" | "argocd-memory" => argocd::run_local(case.name, settings).await,
            name if name.starts_with("argocd-list") => {
                let server = match &argocd {
                    Some(server) => server,
                    None => argocd.insert(argocd::Server::start(settings).await?),
                };
                argocd::run_list(name, settings, server).await
            }
            "flux-decode" | "flux-decode-whole" => flux::run_decode(case.name, settings).await,
            "flux-trace" => flux::run_trace(settings).await,
            name if name.starts_with("flux-list") => {
                let server = match &kustomizations {
                    Some(server) => server,
                    None => kustomizations.insert(flux::ListServer::start(settings).await?),
                };
                flux::run_list(name, settings, server).await
            }
            name if name.starts_with("flux-reconcile") => {
                let server = match &reconciled {
                    Some(server) => server,
                    None => reconciled.insert(flux::ReconcileServer::start(settings).await?),
                };
                server.run_case(name, settings).await
            }
            name => cluster::run(name, settings).await,
        };
        let mut outcome = outcome.with_context(|| case.name)?;
        outcome.name = case.name.to_owned();
        outcome.wanted = case.wanted;
        eprintln!("bench: {outcome}");
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Builds both sides, and the servers that the cases need.
fn build(cases: &[&Case]) -> Result<Programs> {
    let mut servers = Vec::new();
    for (prefixes, names) in [
        (&["git-"][..], &["gitea"][..]),
        (&["apply-", "plan-"], &["etcd", "kube-apiserver"]),
        (
            &["argocd-list"],
            &[
                "argocd",
                "etcd",
                "helm",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubectl",
                "kustomize",
            ],
        ),
        (
            &["flux-list", "flux-trace"],
            &["controller-gen", "etcd", "kube-apiserver", "kubectl"],
        ),
        (
            &["flux-reconcile"],
            &[
                "controller-gen",
                "etcd",
                "gitea",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubectl",
                "kustomize-controller",
                "source-controller",
            ],
        ),
    ] {
        if cases
            .iter()
            .any(|case| prefixes.iter().any(|prefix| case.name.starts_with(prefix)))
        {
            for name in names {
                servers.push(component(name)?);
            }
        }
    }
    e2e::go::build(&servers, |line| eprintln!("{line}"))?;
    eprintln!("bench: building the Go peers");
    let peers = e2e::peers::build()?;
    eprintln!("bench: building ours");
    let status = Command::new(env!("CARGO"))
        .current_dir(workspace_dir())
        .args(["build", "--release", "--package=benches", "--bins"])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the benchmark program does not compile");
    }
    let ours = target_dir().join("release").join("ours");
    must_exist(&ours)?;
    Ok(Programs { ours, peers })
}

fn must_exist(path: &Path) -> Result<()> {
    if !path.is_file() {
        bail!("{} was not built", path.display());
    }
    Ok(())
}
