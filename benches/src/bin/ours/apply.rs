//! The engine on a real cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use gitops_core::backend::ResourceAction;
use gitops_core::manifest::{ManifestSet, yaml};
use gitops_kube::cluster::{ClusterOptions, KubeCluster};
use gitops_kube::engine::{ApplySet, Engine, EngineOptions, PlanAction, PlanOptions};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::clock;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The cluster.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// A file of many documents.
    #[arg(long)]
    manifests: PathBuf,
    /// How many requests are under way at once.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// The name of the set.
    #[arg(long, default_value = "bench")]
    owner: String,
    /// Fail when the outcome is another.
    #[arg(long)]
    expect: Option<Expect>,
    /// Dry-run every stage before any of it is applied.
    #[arg(long)]
    validated: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Expect {
    Create,
    Noop,
    Change,
}

/// Everything from the bytes of the manifests to the last answer of the API server: reading, discovery, inventory, plan, requests.
/// As the peer's staged apply, it does not wait for the health of the last stage.
pub(crate) fn apply(arguments: &Arguments) -> Result<()> {
    let bytes = arguments.read()?;
    let (ms, objects, created, changed, unchanged) = Runtime::new()?.block_on(async {
        let config = arguments.config().await?;
        let start = Instant::now();
        let manifests = arguments.parse(&bytes)?;
        let objects = manifests.len();
        let engine = engine(config)?;
        let report = engine
            .sync(&arguments.set()?, manifests, &arguments.options())
            .await?;
        let ms = clock::ms(start.elapsed());
        ensure!(
            report.is_success(),
            "{}",
            report.failure.unwrap_or_default()
        );
        let count = |action| report.count(action);
        anyhow::Ok((
            ms,
            objects,
            count(ResourceAction::Created),
            count(ResourceAction::Updated),
            count(ResourceAction::Unchanged),
        ))
    })?;
    arguments.check(objects, created, changed, unchanged)?;
    println!(
        "{}",
        json!({
            "ms": ms, "objects": objects, "peak_mb": clock::peak_mb()?,
            "actions": {"created": created, "configured": changed, "unchanged": unchanged},
        })
    );
    Ok(())
}

/// Everything from the bytes of the manifests to the plan.
pub(crate) fn plan(arguments: &Arguments) -> Result<()> {
    let bytes = arguments.read()?;
    let (ms, objects, plan) = Runtime::new()?.block_on(async {
        let config = arguments.config().await?;
        let start = Instant::now();
        let manifests = arguments.parse(&bytes)?;
        let objects = manifests.len();
        let plan = engine(config)?
            .plan(
                &arguments.set()?,
                manifests,
                &arguments.options(),
                PlanOptions::default(),
            )
            .await?;
        anyhow::Ok((clock::ms(start.elapsed()), objects, plan))
    })?;
    let (created, changed, unchanged) = (
        plan.count(PlanAction::Create),
        plan.count(PlanAction::Update),
        plan.count(PlanAction::Unchanged),
    );
    arguments.check(objects, created, changed, unchanged)?;
    println!(
        "{}",
        json!({"ms": ms, "objects": objects, "peak_mb": clock::peak_mb()?})
    );
    Ok(())
}

fn engine(config: Config) -> Result<Engine> {
    let cluster = KubeCluster::from_config(config, ClusterOptions::default())?;
    Ok(Engine::new(Arc::new(cluster)))
}

impl Arguments {
    fn read(&self) -> Result<Vec<u8>> {
        std::fs::read(&self.manifests).with_context(|| self.manifests.display().to_string())
    }

    async fn config(&self) -> Result<Config> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    fn parse(&self, bytes: &[u8]) -> Result<ManifestSet> {
        let objects = yaml::parse(&self.manifests.display().to_string(), bytes)?;
        Ok(ManifestSet::from_objects(objects)?)
    }

    fn set(&self) -> Result<ApplySet> {
        Ok(ApplySet::new(&self.owner, "default")?)
    }

    fn options(&self) -> EngineOptions {
        EngineOptions {
            namespace: "default".to_owned(),
            prune: true,
            validate: self.validated,
            concurrency: self.concurrency,
            wait: None,
            ..EngineOptions::default()
        }
    }

    /// Refuses to report a time for work that was not the work asked for.
    fn check(
        &self,
        objects: usize,
        created: usize,
        changed: usize,
        unchanged: usize,
    ) -> Result<()> {
        let ok = match self.expect {
            None => true,
            Some(Expect::Create) => created == objects,
            Some(Expect::Noop) => unchanged == objects,
            Some(Expect::Change) => changed > 0 && changed + unchanged == objects,
        };
        ensure!(
            ok,
            "of {objects} objects, {created} were created, {changed} changed, {unchanged} unchanged"
        );
        Ok(())
    }
}
