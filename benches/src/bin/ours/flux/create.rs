//! Objects written straight to the API server, as applier and controller write them.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use benches::kustomizations as corpus;
use clap::Args;
use futures::{Stream, StreamExt, TryStreamExt};
use gitops_flux::FluxKind;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

#[derive(Args)]
pub(crate) struct Create {
    /// The cluster. It has the definitions, and no controller.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many.
    #[arg(long)]
    count: usize,
    /// How many are made at once.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
}

/// Writes Kustomizations: what a parent applies, then the finalizer and the status, so that the fields have the owners that they have in life.
pub(crate) fn create(arguments: &Create) -> Result<()> {
    Runtime::new()?.block_on(async {
        let client = super::cluster(&arguments.kubeconfig)
            .await?
            .client()
            .clone();
        namespaces(&client).await?;
        let kind = FluxKind::Kustomization.api_resource();
        let making = futures::stream::iter(0..arguments.count)
            .map(|i| {
                let api: Api<DynamicObject> =
                    Api::namespaced_with(client.clone(), &corpus::namespace(i), &kind);
                async move {
                    let name = corpus::name(i);
                    let applier = PatchParams::apply(corpus::APPLIER);
                    api.patch(&name, &applier, &Patch::Apply(corpus::applied(i)))
                        .await?;
                    let controller = PatchParams {
                        field_manager: Some(corpus::CONTROLLER.to_owned()),
                        ..PatchParams::default()
                    };
                    api.patch(&name, &controller, &Patch::Merge(corpus::finalized()))
                        .await?;
                    let status = json!({"status": corpus::status(i)});
                    api.patch_status(&name, &controller, &Patch::Merge(status))
                        .await?;
                    anyhow::Ok(())
                }
            })
            .buffer_unordered(arguments.concurrency);
        let made = counted(making).await?;
        ensure!(
            made == arguments.count,
            "{made} of {} were made",
            arguments.count
        );
        anyhow::Ok(())
    })
}

/// How many there were.
pub(super) async fn counted(making: impl Stream<Item = Result<()>>) -> Result<usize> {
    making
        .try_fold(0, async |sum, ()| anyhow::Ok(sum + 1))
        .await
}

/// The namespaces of the corpus, and the one that Flux is in.
pub(super) async fn namespaces(client: &Client) -> Result<()> {
    let own = std::iter::once("flux-system".to_owned());
    for name in own.chain((0..corpus::NAMESPACES).map(corpus::namespace)) {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        apply(client, &namespace).await?;
    }
    Ok(())
}

/// Applies an object, and its status where it has one; as the API server has it then.
pub(super) async fn apply(client: &Client, object: &Value) -> Result<DynamicObject> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let version = text("/apiVersion").context("no apiVersion")?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = text("/kind").context("no kind")?;
    let kind = match FluxKind::of(group, kind) {
        Some(kind) => kind.api_resource(),
        // The plurals of Kubernetes' own kinds that are made here are regular.
        None => ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)),
    };
    let name = text("/metadata/name").context("no name")?;
    let api: Api<DynamicObject> = match text("/metadata/namespace") {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    };
    let applied = api
        .patch(
            name,
            &PatchParams::apply(corpus::APPLIER),
            &Patch::Apply(object),
        )
        .await
        .with_context(|| format!("cannot apply {} {name}", kind.kind))?;
    if let Some(status) = object.get("status") {
        let status = json!({"status": status});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .with_context(|| format!("cannot write the status of {} {name}", kind.kind))?;
    }
    Ok(applied)
}
