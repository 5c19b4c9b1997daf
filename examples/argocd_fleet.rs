//! Many applications from one description: an application set for the overlays of a repository, shown before it is made, then all of its applications synced at once.
//!
//! Each directory `overlays/*` of the repository becomes an application that deploys it to a namespace of its name.
//!
//! ```text
//! cargo run --example argocd_fleet --features argocd -- https://git.example.com/org/shop            # shows what would be
//! cargo run --example argocd_fleet --features argocd -- https://git.example.com/org/shop --apply    # makes it and syncs it
//! ```

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use futures::StreamExt;
use gitops::argocd::ArgoCdBackend;
use gitops::argocd::generate::{GitSetSources, generate};
use gitops::argocd::rest::{ArgoCd, Config};
use gitops::argocd::types::convert::IN_CLUSTER;
use gitops::argocd::types::set::Generator;
use gitops::argocd::types::{Application, ApplicationSet, Destination, Source};
use gitops::core::application::AppRef;
use gitops::core::backend::{SyncOptions, Syncer, SyncerExt};
use gitops::git::{GitClient, RepositoryOptions};
use indicatif::{ProgressBar, ProgressStyle};

/// Deploy every overlay of a repository.
#[derive(Parser)]
struct Cli {
    /// The Git repository.
    repo: String,
    /// The revision.
    #[arg(long, default_value = "HEAD")]
    revision: String,
    /// The directories that become applications.
    #[arg(long, default_value = "overlays/*")]
    directories: String,
    /// The set's name; its applications begin with it.
    #[arg(long, default_value = "shop")]
    name: String,
    /// Make the set, and sync its applications.
    #[arg(long)]
    apply: bool,
    /// How many syncs run at once.
    #[arg(long, default_value_t = 8)]
    at_once: usize,
}

fn set(cli: &Cli) -> ApplicationSet {
    // What stands in double braces, the generator fills in.
    let template = Application::new(format!("{}-{{{{path.basename}}}}", cli.name))
        .source(
            Source::git(&*cli.repo)
                .target_revision(&*cli.revision)
                .path("{{path}}"),
        )
        .destination(
            Destination::server(IN_CLUSTER)
                .namespace(format!("{}-{{{{path.basename}}}}", cli.name)),
        )
        .sync_option("CreateNamespace=true");
    ApplicationSet::new(&*cli.name)
        .generator(Generator::git_directories(
            &*cli.repo,
            &*cli.revision,
            [&*cli.directories],
        ))
        .template(template)
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let set = set(&cli);

    // What the set would generate is computed here, from the repository: nobody has to be asked, and nothing is made yet.
    let cache = tempfile::tempdir()?;
    let git = GitClient::new(RepositoryOptions::default().cache_dir(cache.path()))?;
    let apps = generate(&set, &GitSetSources::new(git)).await?;
    for app in &apps {
        let source = app.spec.source.as_ref();
        println!(
            "{:<24} {:<24} -> {}",
            app.name(),
            source
                .and_then(|source| source.path.as_deref())
                .unwrap_or_default(),
            app.spec
                .destination
                .namespace
                .as_deref()
                .unwrap_or_default(),
        );
    }
    if apps.is_empty() {
        bail!("no directory {} at {}", cli.directories, cli.revision);
    }
    if !cli.apply {
        return Ok(());
    }

    let argocd = ArgoCd::new(Config::from_env()?)?;
    argocd.create_application_set(&set, true, false).await?;
    let backend = ArgoCdBackend::new(argocd);
    let names: Vec<AppRef> = apps.iter().map(|app| AppRef::new(app.name())).collect();
    // The application set's controller makes them.
    for app in &names {
        let there = async {
            while backend.status(app).await.is_err() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(60), there)
            .await
            .is_err()
        {
            bail!(
                "application {app} was not made within a minute: does the application set controller run?"
            );
        }
    }

    let bar = ProgressBar::new(names.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    let mut failed = 0;
    let mut results = backend.sync_all(names, SyncOptions::default(), cli.at_once);
    while let Some((app, result)) = results.next().await {
        let line = match result {
            Ok(outcome) if outcome.is_success() => format!(
                "{app}: {} at {}",
                outcome.phase,
                outcome.revisions.join(", ")
            ),
            Ok(outcome) => {
                failed += 1;
                format!("{app}: {}: {}", outcome.phase, outcome.message)
            }
            Err(error) => {
                failed += 1;
                format!("{app}: {error:#}")
            }
        };
        bar.suspend(|| println!("{line}"));
        bar.inc(1);
    }
    bar.finish_and_clear();
    if failed > 0 {
        bail!("{failed} syncs failed");
    }
    Ok(())
}
