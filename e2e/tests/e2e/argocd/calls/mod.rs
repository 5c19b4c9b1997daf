//! The calls that are about anything but single applications: what they do is read back by other means, the command `argocd` and `kubectl`.

mod accounts;
mod clusters;
mod fleets;
mod projects;
mod repositories;
mod secrets;
mod server;

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use e2e::ArgoCd;
use gitops_argocd::rest::{ArgoCd as Client, Config};
use gitops_core::error::ErrorKind;
use serde_json::Value;

use super::support::PATIENCE;

pub(super) fn with_token(argocd: &ArgoCd, token: &str) -> Result<Client> {
    e2e::init();
    Ok(Client::new(Config::new(&*argocd.url).token(token))?)
}

/// What the command prints as JSON.
pub(super) async fn told(argocd: &ArgoCd, args: &[&str]) -> Result<Value> {
    let args = [args, &["-o", "json"]].concat();
    let text = argocd.run_cli(&args).await?;
    serde_json::from_str(&text).with_context(|| format!("{args:?}: {text}"))
}

/// One object in Argo CD's namespace, as `kubectl` reads it.
pub(super) async fn object(argocd: &ArgoCd, kind: &str, name: &str) -> Result<Value> {
    let args = [
        "get",
        kind,
        name,
        "--namespace",
        &argocd.namespace,
        "--output=json",
    ];
    Ok(serde_json::from_str(&argocd.cluster.kubectl(&args).await?)?)
}

/// The Secrets of a type, with their data decoded.
pub(super) async fn secrets(argocd: &ArgoCd, kind: &str) -> Result<Vec<Value>> {
    let selector = format!("--selector=argocd.argoproj.io/secret-type={kind}");
    let args = [
        "get",
        "secrets",
        "--namespace",
        &argocd.namespace,
        &selector,
        "--output=json",
    ];
    let mut list: Value = serde_json::from_str(&argocd.cluster.kubectl(&args).await?)?;
    let items = list["items"].as_array_mut().context("no list")?;
    for item in items.iter_mut() {
        for value in item["data"]
            .as_object_mut()
            .into_iter()
            .flat_map(|data| data.values_mut())
        {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(value.as_str().unwrap_or_default())?;
            *value = String::from_utf8_lossy(&bytes).into_owned().into();
        }
    }
    Ok(std::mem::take(items))
}

pub(super) async fn secret_with(
    argocd: &ArgoCd,
    kind: &str,
    key: &str,
    value: &str,
) -> Result<Option<Value>> {
    Ok(secrets(argocd, kind)
        .await?
        .into_iter()
        .find(|secret| secret["data"][key] == value))
}

/// Waits for something that comes about by itself.
pub(super) async fn until<F: Future<Output = Result<bool>>>(
    what: &str,
    check: impl Fn() -> F,
) -> Result<()> {
    tokio::time::timeout(PATIENCE, async {
        while !check().await? {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    })
    .await
    .with_context(|| what.to_owned())?
}

#[track_caller]
pub(super) fn refused<T: Debug>(result: gitops_core::Result<T>, kind: ErrorKind) {
    let error = result.expect_err("not refused");
    assert_eq!(error.kind(), kind, "{error}");
}
