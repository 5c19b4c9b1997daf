//! The cases without servers: YAML and diff.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::measure::{Medians, Settings, alternate, json, median, reported, run};
use super::report::Outcome;

/// Inside one run: the programs take the median of these themselves.
const INNER: &str = "5";

/// At most this many times the time for ten times the objects.
const GROWTH: f64 = 11.0;

pub(super) async fn yaml_parse(settings: &Settings) -> Result<Outcome> {
    let file = settings.corpus(settings.objects, "bench", 0).await?;
    let side = async |ours: bool| {
        let (ms, answer) = reported(job(settings, ours, "yaml-parse", &file)).await?;
        let objects = answer["objects"].as_u64().context("no `objects`")?;
        Ok((ms, objects))
    };
    let (_, ours) = side(true).await?;
    let (_, theirs) = side(false).await?;
    if ours != theirs {
        bail!("ours read {ours} objects, the peer {theirs}");
    }
    let medians = alternate(
        settings.rounds,
        async |_| side(true).await.map(|(ms, _)| ms),
        async |_| side(false).await.map(|(ms, _)| ms),
    )
    .await?;
    Ok(Outcome::of("sigs.k8s.io/yaml", medians))
}

pub(super) async fn yaml_parse_growth(settings: &Settings) -> Result<Outcome> {
    let small = settings.corpus(settings.objects, "bench", 0).await?;
    let large = settings.corpus(settings.objects * 10, "bench", 0).await?;
    growth(settings, "yaml-parse", &small, &large).await
}

pub(super) async fn diff(settings: &Settings) -> Result<Outcome> {
    let file = pairs(settings, settings.objects).await?;
    let expected = expected(&file)?;
    for ours in [true, false] {
        let answer = json(job(settings, ours, "diff", &file)).await?;
        compare(
            if ours { "ours" } else { "the peer" },
            &expected,
            &verdicts(&answer["verdicts"])?,
        )?;
    }
    let medians = alternate(
        settings.rounds,
        async |_| {
            reported(job(settings, true, "diff", &file))
                .await
                .map(|(ms, _)| ms)
        },
        async |_| {
            reported(job(settings, false, "diff", &file))
                .await
                .map(|(ms, _)| ms)
        },
    )
    .await?;
    Ok(Outcome::of("gitops-engine pkg/diff", medians))
}

pub(super) async fn diff_growth(settings: &Settings) -> Result<Outcome> {
    let small = pairs(settings, settings.objects).await?;
    let large = pairs(settings, settings.objects * 10).await?;
    growth(settings, "diff", &small, &large).await
}

/// Ours on ten times the objects, against what linear growth (and a tenth) allows.
async fn growth(settings: &Settings, name: &str, small: &Path, large: &Path) -> Result<Outcome> {
    let mut times = (Vec::new(), Vec::new());
    for round in 0..=settings.rounds {
        let (a, _) = reported(job(settings, true, name, small)).await?;
        let (b, _) = reported(job(settings, true, name, large)).await?;
        if round > 0 {
            times.0.push(a);
            times.1.push(b);
        }
    }
    Ok(grown(settings, median(times.0), median(times.1)))
}

/// The outcome of a growth: the "peer" is [`GROWTH`] times our time for a tenth of the objects.
pub(super) fn grown(settings: &Settings, small: f64, large: f64) -> Outcome {
    Outcome::of(
        format!(
            "{GROWTH} × ours on {} objects, ours on {}",
            settings.objects,
            settings.objects * 10
        ),
        Medians {
            ours: large,
            peer: small * GROWTH,
        },
    )
}

fn job(settings: &Settings, ours: bool, name: &str, file: &Path) -> tokio::process::Command {
    let mut command = if ours {
        settings.ours(name)
    } else {
        settings.peer(name)
    };
    command.arg(file).arg(INNER);
    command
}

async fn pairs(settings: &Settings, count: usize) -> Result<PathBuf> {
    let file = settings.data.join(format!("pairs-{count}.json"));
    let mut command = settings.ours("pairs");
    command.arg(&file).args(["--count", &count.to_string()]);
    run(command).await?;
    Ok(file)
}

type Verdicts = BTreeMap<String, bool>;

fn expected(file: &Path) -> Result<Verdicts> {
    let text = std::fs::read(file).with_context(|| file.display().to_string())?;
    verdicts(&serde_json::from_slice(&text)?)
}

fn verdicts(list: &Value) -> Result<Verdicts> {
    list.as_array()
        .context("no verdicts")?
        .iter()
        .map(|line| {
            let name = line["name"].as_str().context("a verdict without a name")?;
            let modified = line["modified"]
                .as_bool()
                .context("a verdict without `modified`")?;
            Ok((name.to_owned(), modified))
        })
        .collect()
}

fn compare(who: &str, expected: &Verdicts, found: &Verdicts) -> Result<()> {
    let wrong: Vec<&str> = expected
        .iter()
        .filter(|(name, modified)| found.get(*name) != Some(modified))
        .map(|(name, _)| name.as_str())
        .collect();
    if expected.len() != found.len() || !wrong.is_empty() {
        bail!(
            "{who} came to another verdict on {} of {} pairs: {}",
            wrong.len(),
            expected.len(),
            wrong[..wrong.len().min(13)].join(", ")
        );
    }
    Ok(())
}
