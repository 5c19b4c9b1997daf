//! Lists of Argo CD's applications.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::applications::{NAMESPACE, count, new};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use gitops_argocd::rest::{ApplicationQuery, ArgoCd, Config};
use gitops_argocd::types::lean;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::clock;

/// Bytes to statuses.
pub(crate) fn decode(file: &Path, rounds: usize) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let counts = count(&lean::statuses(&bytes)?);
    let ms = clock::rounds(rounds, || {
        black_box(lean::statuses(black_box(&bytes))?);
        Ok(())
    })?;
    println!(
        "{}",
        json!({"ms": ms, "bytes": bytes.len(), "counts": counts, "peak_mb": clock::peak_mb()?})
    );
    Ok(())
}

#[derive(Args)]
pub(crate) struct List {
    /// The server. The token is in the environment, as `ARGOCD_AUTH_TOKEN`.
    #[arg(long)]
    url: String,
    /// How often.
    #[arg(long)]
    rounds: usize,
    /// Have the server leave out what a summary does not need.
    #[arg(long)]
    projected: bool,
}

/// From the request to the statuses: the time of one call, and the processor time of this process for it.
pub(crate) fn list(arguments: &List) -> Result<()> {
    let token = std::env::var("ARGOCD_AUTH_TOKEN").context("ARGOCD_AUTH_TOKEN")?;
    let argocd = ArgoCd::new(Config::new(&arguments.url).token(token))?;
    let runtime = Runtime::new()?;
    let query = ApplicationQuery::default();
    let call = || {
        runtime.block_on(async {
            if arguments.projected {
                argocd.list_summaries(&query).await
            } else {
                argocd.list_statuses(&query).await
            }
        })
    };
    let counts = count(&call()?);
    let mut cpu = Duration::ZERO;
    let ms = clock::rounds(arguments.rounds, || {
        let before = clock::cpu();
        black_box(call()?);
        cpu += clock::cpu().saturating_sub(before);
        Ok(())
    })?;
    // One more than the rounds: the warm-up is among them.
    let calls = arguments.rounds + 1;
    println!(
        "{}",
        json!({"ms": ms, "cpu_ms": clock::ms(cpu) / calls as f64, "counts": counts})
    );
    Ok(())
}

#[derive(Args)]
pub(crate) struct Create {
    /// The cluster.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many.
    #[arg(long)]
    count: usize,
    /// How many requests are under way at once.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
}

/// Writes the applications to the Kubernetes API.
pub(crate) fn create(arguments: &Create) -> Result<()> {
    Runtime::new()?.block_on(async {
        let kubeconfig = Kubeconfig::read_from(&arguments.kubeconfig)?;
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application");
        let resource = ApiResource::from_gvk(&kind);
        let client = Client::try_from(config)?;
        let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &resource);
        let made: usize = futures::stream::iter(0..arguments.count)
            .map(|i| {
                let api = api.clone();
                async move {
                    let application: DynamicObject = serde_json::from_value(new(i))?;
                    api.create(&PostParams::default(), &application).await?;
                    anyhow::Ok(1)
                }
            })
            .buffer_unordered(arguments.concurrency)
            .try_fold(0, async |sum, one| Ok(sum + one))
            .await?;
        ensure!(
            made == arguments.count,
            "{made} of {} were made",
            arguments.count
        );
        anyhow::Ok(())
    })
}
