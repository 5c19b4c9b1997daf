//! The cases that apply to a real API server.
//!
//! etcd and an API server without controllers: what is measured is the library and its requests, not who else is busy.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use e2e::{ControlPlane, ControlPlaneOptions};
use tokio::process::Command;

use super::local::grown;
use super::measure::{Settings, alternate, median, reported};
use super::report::Outcome;

const PEER: &str = "github.com/fluxcd/pkg/ssa, staged";

/// A plan of ten thousand objects must fit into this.
const MEMORY_MB: f64 = 200.0;

/// What a run is expected to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Create,
    Noop,
    Change,
}

impl Expect {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Noop => "noop",
            Self::Change => "change",
        }
    }
}

pub(super) async fn run(name: &str, settings: &Settings) -> Result<Outcome> {
    // Every case has an API server without the objects of the others, as a user would start it.
    let options = ControlPlaneOptions {
        no_audit: true,
        ..ControlPlaneOptions::default()
    };
    let server = ControlPlane::start(&settings.session, &options).await?;
    let kubeconfig = server.cluster().kubeconfig();
    let cases = Cases {
        settings,
        kubeconfig: &kubeconfig,
    };
    match name {
        "apply-create" => cases.create(false).await,
        "apply-create-validated" => cases.create(true).await,
        "apply-noop" => cases.noop().await,
        "apply-change" => cases.change().await,
        "apply-create-growth" => cases.create_growth().await,
        "apply-noop-growth" => cases.noop_growth("apply").await,
        "plan-growth" => cases.noop_growth("plan").await,
        "plan-memory" => cases.plan_memory().await,
        other => bail!("unknown case {other}"),
    }
}

struct Cases<'a> {
    settings: &'a Settings,
    kubeconfig: &'a Path,
}

impl Cases<'_> {
    /// Each run creates a set of its own, in namespaces of its own.
    async fn create(&self, validated: bool) -> Result<Outcome> {
        let medians = alternate(
            self.settings.rounds,
            async |round| {
                let file = self
                    .corpus(self.settings.objects, &format!("o{round}"), 0)
                    .await?;
                let mut command = self.ours("apply", &file, &format!("o{round}"), Expect::Create);
                if validated {
                    command.arg("--validated");
                }
                reported(command).await.map(|(ms, _)| ms)
            },
            async |round| {
                let file = self
                    .corpus(self.settings.objects, &format!("p{round}"), 0)
                    .await?;
                reported(self.peer(&file, &format!("p{round}"), Expect::Create))
                    .await
                    .map(|(ms, _)| ms)
            },
        )
        .await?;
        Ok(Outcome::of(PEER, medians))
    }

    async fn noop(&self) -> Result<Outcome> {
        let (ours, peer) = self.both().await?;
        let medians = alternate(
            self.settings.rounds,
            async |_| {
                reported(self.ours("apply", &ours, "ours", Expect::Noop))
                    .await
                    .map(|(ms, _)| ms)
            },
            async |_| {
                reported(self.peer(&peer, "peer", Expect::Noop))
                    .await
                    .map(|(ms, _)| ms)
            },
        )
        .await?;
        Ok(Outcome::of(PEER, medians))
    }

    /// Each round brings another revision, which changes one object in a hundred.
    async fn change(&self) -> Result<Outcome> {
        self.both().await?;
        let objects = self.settings.objects;
        let medians = alternate(
            self.settings.rounds,
            async |round| {
                let file = self.corpus(objects, "ours", round + 1).await?;
                reported(self.ours("apply", &file, "ours", Expect::Change))
                    .await
                    .map(|(ms, _)| ms)
            },
            async |round| {
                let file = self.corpus(objects, "peer", round + 1).await?;
                reported(self.peer(&file, "peer", Expect::Change))
                    .await
                    .map(|(ms, _)| ms)
            },
        )
        .await?;
        Ok(Outcome::of(PEER, medians))
    }

    async fn create_growth(&self) -> Result<Outcome> {
        let mut times = (Vec::new(), Vec::new());
        // Ten thousand objects a run: three runs tell enough.
        for round in 0..=self.settings.rounds.min(3) {
            for (factor, letter) in [(1, 's'), (10, 'l')] {
                let prefix = format!("{letter}{round}");
                let file = self
                    .corpus(self.settings.objects * factor, &prefix, 0)
                    .await?;
                let (ms, _) = reported(self.ours("apply", &file, &prefix, Expect::Create)).await?;
                match (round, factor) {
                    (0, _) => {}
                    (_, 1) => times.0.push(ms),
                    _ => times.1.push(ms),
                }
            }
        }
        Ok(grown(self.settings, median(times.0), median(times.1)))
    }

    async fn noop_growth(&self, job: &str) -> Result<Outcome> {
        let mut files = Vec::new();
        for (factor, prefix) in [(1, "small"), (10, "large")] {
            let file = self
                .corpus(self.settings.objects * factor, prefix, 0)
                .await?;
            reported(self.ours("apply", &file, prefix, Expect::Create)).await?;
            files.push((file, prefix));
        }
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..=self.settings.rounds {
            for (i, (file, prefix)) in files.iter().enumerate() {
                let (ms, _) = reported(self.ours(job, file, prefix, Expect::Noop)).await?;
                if round > 0 {
                    times[i].push(ms);
                }
            }
        }
        let [small, large] = times;
        Ok(grown(self.settings, median(small), median(large)))
    }

    /// The peak memory of a plan, of objects that are not there and of objects that are.
    async fn plan_memory(&self) -> Result<Outcome> {
        let objects = self.settings.objects * 10;
        let file = self.corpus(objects, "large", 0).await?;
        let (_, fresh) = reported(self.ours("plan", &file, "large", Expect::Create)).await?;
        reported(self.ours("apply", &file, "large", Expect::Create)).await?;
        let (ms, there) = reported(self.ours("plan", &file, "large", Expect::Noop)).await?;
        let mb = |answer: &serde_json::Value| {
            answer["peak_mb"]
                .as_f64()
                .context("no `peak_mb` in the answer")
        };
        let peak = mb(&fresh)?.max(mb(&there)?);
        Ok(Outcome {
            name: String::new(),
            ours_ms: ms,
            peer: format!("a limit of {MEMORY_MB} MB, {objects} objects"),
            peer_ms: None,
            ratio: MEMORY_MB / peak,
            wanted: 0.0,
            ours_mb: Some(peak),
        })
    }

    /// Both sides' sets, created; each side's own manifests.
    async fn both(&self) -> Result<(PathBuf, PathBuf)> {
        let ours = self.corpus(self.settings.objects, "ours", 0).await?;
        let peer = self.corpus(self.settings.objects, "peer", 0).await?;
        reported(self.ours("apply", &ours, "ours", Expect::Create)).await?;
        reported(self.peer(&peer, "peer", Expect::Create)).await?;
        Ok((ours, peer))
    }

    async fn corpus(&self, objects: usize, prefix: &str, revision: usize) -> Result<PathBuf> {
        self.settings.corpus(objects, prefix, revision).await
    }

    fn ours(&self, job: &str, manifests: &Path, owner: &str, expect: Expect) -> Command {
        let mut command = self.settings.ours(job);
        self.arguments(&mut command, manifests, owner, expect);
        command
    }

    fn peer(&self, manifests: &Path, owner: &str, expect: Expect) -> Command {
        let mut command = self.settings.peer("apply");
        self.arguments(&mut command, manifests, owner, expect);
        command
    }

    fn arguments(&self, command: &mut Command, manifests: &Path, owner: &str, expect: Expect) {
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig)
            .arg("--manifests")
            .arg(manifests)
            .args(["--concurrency", &self.settings.concurrency.to_string()])
            .args(["--owner", owner, "--expect", expect.name()]);
    }
}
