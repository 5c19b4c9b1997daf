//! How often a trace of hundreds of objects asks the API server, by the API server's own audit log.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use e2e::ADMIN;
use serde_json::Value;

use super::plane;
use crate::bench::measure::{Settings, reported, run};
use crate::bench::report::Outcome;

/// How many objects: 500 with the usual number.
fn objects(settings: &Settings) -> usize {
    settings.objects / 2
}

/// Requests as the audit log has them: by kind, LISTs and GETs; and those that are about no object.
#[derive(Default)]
struct Requests {
    lists: BTreeMap<String, usize>,
    gets: BTreeMap<String, usize>,
    discovery: usize,
}

impl Requests {
    fn of<'a>(events: impl Iterator<Item = &'a Value>) -> Self {
        let mut requests = Self::default();
        for event in events.filter(|event| event["user"]["username"] == ADMIN) {
            let Some(resource) = event["objectRef"]["resource"].as_str() else {
                requests.discovery += 1;
                continue;
            };
            let group = event["objectRef"]["apiGroup"].as_str().unwrap_or_default();
            let kind = format!("{resource}.{group}");
            let counted = match event["verb"].as_str() {
                Some("list") => &mut requests.lists,
                _ => &mut requests.gets,
            };
            *counted.entry(kind).or_default() += 1;
        }
        requests
    }
}

pub(in crate::bench) async fn run_case(settings: &Settings) -> Result<Outcome> {
    // A server of its own: what others ask would be counted.
    let plane = plane(settings, true).await?;
    let cluster = plane.cluster();
    let count = objects(settings);
    let job = |name: &str| {
        let mut command = settings.ours(name);
        command
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .args(["--objects", &count.to_string()]);
        command
    };
    run(job("flux-trace-create")).await?;
    let mut times = Vec::new();
    let mut last = Requests::default();
    let mut kinds = 0;
    for _ in 0..settings.rounds {
        let before = cluster.audit_events().await?.len();
        let (ms, answer) = reported(job("flux-trace")).await?;
        for figure in ["objects", "managed", "sources"] {
            if answer[figure] != count {
                bail!("not {count} {figure}: {answer}");
            }
        }
        // Those that a controller of Kubernetes would have made.
        if answer["through"].as_u64().is_none_or(|found| found == 0) {
            bail!("nothing was traced through its owner: {answer}");
        }
        kinds = answer["kinds"].as_array().context("no `kinds`")?.len();
        last = Requests::of(cluster.audit_events().await?.iter().skip(before));
        if last.lists.is_empty() {
            bail!("the audit log has no LIST");
        }
        eprintln!(
            "bench:   {ms:.1} ms; LISTs {:?}, GETs {:?}",
            last.lists, last.gets
        );
        times.push(ms);
    }
    let most = last.lists.values().copied().max().unwrap_or_default();
    let (lists, gets): (usize, usize) = (last.lists.values().sum(), last.gets.values().sum());
    Ok(Outcome {
        name: String::new(),
        ours_ms: super::median(times),
        peer: format!(
            "a limit of one request per kind, {count} objects: {kinds} kinds, {lists} LISTs (at most {most} of a kind), {gets} GETs; {} of discovery",
            last.discovery
        ),
        peer_ms: None,
        // GETs in place of LISTs would be no better.
        ratio: (kinds as f64 / (lists + gets) as f64).min(1.0 / most as f64),
        wanted: 0.0,
        ours_mb: None,
    })
}
