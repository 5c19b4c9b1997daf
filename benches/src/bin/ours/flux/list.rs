//! Lists of Kustomizations.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::kustomizations::{Row, count};
use clap::Args;
use gitops_flux::manager::ListOptions;
use gitops_flux::types::{Kustomization, lean, read_list};
use gitops_flux::{FluxKind, FluxManager, FluxOptions};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::clock;

/// Bytes to statuses, or to whole objects.
pub(crate) fn decode(file: &Path, rounds: usize, whole: bool) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    match whole {
        true => decode_as::<Kustomization>(&bytes, rounds),
        false => decode_as::<lean::Object>(&bytes, rounds),
    }
}

fn decode_as<T: DeserializeOwned>(bytes: &[u8], rounds: usize) -> Result<()>
where
    for<'a> Row<'a>: From<&'a T>,
{
    let counts = count(read_list::<T>(bytes)?.items.iter().map(Row::from));
    let ms = clock::rounds(rounds, || {
        black_box(read_list::<T>(black_box(bytes))?);
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
    /// The cluster.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How often.
    #[arg(long)]
    rounds: usize,
    /// Objects per request.
    #[arg(long, default_value_t = FluxOptions::default().page)]
    page: u32,
    /// Whole objects, in place of statuses.
    #[arg(long)]
    whole: bool,
}

/// From the request to the statuses of all namespaces: the time of one call, and the processor time of this process for it.
pub(crate) fn list(arguments: &List) -> Result<()> {
    let runtime = Runtime::new()?;
    let options = FluxOptions {
        page: arguments.page,
        ..FluxOptions::default()
    };
    let manager = runtime.block_on(super::manager(&arguments.kubeconfig, options))?;
    match arguments.whole {
        true => list_as::<Kustomization>(&runtime, &manager, arguments.rounds),
        false => list_as::<lean::Object>(&runtime, &manager, arguments.rounds),
    }
}

fn list_as<T: DeserializeOwned>(
    runtime: &Runtime,
    manager: &FluxManager,
    rounds: usize,
) -> Result<()>
where
    for<'a> Row<'a>: From<&'a T>,
{
    let options = ListOptions::everywhere();
    let call = || -> Result<Vec<T>> {
        let list = runtime.block_on(manager.list_as(FluxKind::Kustomization, &options))?;
        ensure!(
            list.unreadable.is_empty(),
            "unreadable: {:?}",
            list.unreadable
        );
        Ok(list.items)
    };
    let counts = count(call()?.iter().map(Row::from));
    let mut cpu = Duration::ZERO;
    let ms = clock::rounds(rounds, || {
        let before = clock::cpu();
        black_box(call()?);
        cpu += clock::cpu().saturating_sub(before);
        Ok(())
    })?;
    // One more than the rounds: the warm-up is among them.
    let calls = rounds + 1;
    println!(
        "{}",
        json!({"ms": ms, "cpu_ms": clock::ms(cpu) / calls as f64, "counts": counts})
    );
    Ok(())
}
