//! Deploys an application through Argo CD and shows how it goes: made or changed, synced with live progress, its state, its pods' logs.
//!
//! ```text
//! export ARGOCD_SERVER=argocd.example.com ARGOCD_AUTH_TOKEN=…     # or: argocd login
//! cargo run --example argocd_sync --features argocd -- guestbook https://github.com/argoproj/argocd-example-apps guestbook --to guestbook
//! cargo run --example argocd_sync --features argocd -- --port-forward guestbook …     # no address, no token: through your kubeconfig
//! ```

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use console::style;
use futures::StreamExt;
use gitops::argocd::rest::{ArgoCd, Config, LogQuery};
use gitops::argocd::{ArgoCDManager, ArgoCdBackend};
use gitops::core::application::{Application, Source};
use gitops::core::backend::{EventKind, Severity, SyncOptions, Syncer, SyncerExt};
use gitops::kube::cluster::KubeCluster;

/// Deploy an application through Argo CD.
#[derive(Parser)]
struct Cli {
    /// Reach Argo CD through the current kubeconfig context, as its administrator.
    #[arg(long)]
    port_forward: bool,
    /// The application's name.
    name: String,
    /// The Git repository.
    repo: String,
    /// The path in it.
    path: String,
    /// The revision.
    #[arg(long, default_value = "HEAD")]
    revision: String,
    /// The namespace to deploy to; it is made.
    #[arg(long, default_value = "default")]
    to: String,
    /// How long the application may take to become healthy, in seconds.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Delete the application, with what it deployed, at the end.
    #[arg(long)]
    delete: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let argocd = if cli.port_forward {
        let cluster = KubeCluster::connect().await?;
        ArgoCd::port_forward(cluster.client().clone()).await?
    } else {
        ArgoCd::new(Config::from_env()?)?
    };
    println!("Argo CD {}", argocd.version().await?.version);

    let manager = ArgoCDManager::new(ArgoCdBackend::new(argocd.clone()));
    let app = Application::new(&*cli.name)
        .source(
            Source::git(&*cli.repo)
                .path(&*cli.path)
                .revision(&*cli.revision),
        )
        .in_namespace(&*cli.to)
        .sync_option("CreateNamespace=true");
    let put = manager.create_application(&app).await?;
    println!(
        "application {} {}",
        cli.name,
        match (put.created, put.changed) {
            (true, _) => "created",
            (false, true) => "changed",
            (false, false) => "is as asked for",
        }
    );

    let backend = manager.backend();
    let app = app.app_ref();
    let operation = backend
        .sync(
            &app,
            &SyncOptions {
                prune: Some(true),
                ..SyncOptions::default()
            },
        )
        .await?;
    let mut events = backend.events(&operation);
    while let Some(event) = events.next().await {
        let event = event?;
        let line = event.kind.text();
        match event.severity {
            Severity::Info => println!("  {line}"),
            Severity::Warning => println!("  {}", style(line).yellow()),
            Severity::Error => println!("  {}", style(line).red()),
        }
        if let EventKind::SyncFinished { outcome } = &event.kind
            && !outcome.is_success()
        {
            bail!("the sync failed: {}", outcome.message);
        }
    }

    let status = backend
        .wait_until_healthy(&app, Duration::from_secs(cli.timeout))
        .await
        .context("it does not become healthy")?;
    println!(
        "{} and {} at {}",
        status.sync,
        status.health.status,
        status.revisions.join(", ")
    );
    for resource in &status.resources {
        let health = resource
            .health
            .as_ref()
            .map(|health| health.status.to_string());
        println!(
            "  {} {} {}",
            resource.id,
            resource.sync,
            health.unwrap_or_default()
        );
    }

    let query = LogQuery {
        tail_lines: Some(5),
        ..LogQuery::default()
    };
    let mut logs = argocd.logs(&app, &query).await?;
    while let Some(entry) = logs.next().await {
        let entry = entry?;
        println!("  {} {}", style(&entry.pod_name).dim(), entry.content);
    }

    if cli.delete {
        use gitops::core::backend::{ApplicationStore, DeleteOptions};
        backend.delete(&app, &DeleteOptions::default()).await?;
        println!("application {} is being deleted", cli.name);
    }
    Ok(())
}
