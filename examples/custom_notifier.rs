//! Who hears of a sync? A notifier of our own beside those of the SDK, over a real Git repository and the in-memory cluster.
//!
//! ```text
//! cargo run --example custom_notifier
//! ```

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use console::style;
use futures::StreamExt as _;
use gitops::core::application::{AppRef, Application, Source};
use gitops::core::backend::{
    ApplicationStore, EventKind, PutMode, Severity, SyncEvent, SyncOptions, Syncer,
};
use gitops::core::manifest::render::Renderers;
use gitops::core::notify::{BroadcastNotifier, EventFilter, Notifier, NotifierOptions, Notifiers};
use gitops::core::store::MemoryStore;
use gitops::git::{CommitOptions, Edits, GitClient, Repository, RepositoryOptions};
use gitops::kube::cluster::InMemoryCluster;
use gitops::kube::direct::{DirectBackend, DirectOptions, GitSources};
use gitops::kube::engine::Engine;

/// A notifier of our own. A real one would call a pager; this one speaks to the terminal.
struct Pager;

#[async_trait]
impl Notifier for Pager {
    fn name(&self) -> &str {
        "pager"
    }

    async fn notify(&self, event: &SyncEvent) -> gitops::core::Result<()> {
        let text = format!("{}: {}", event.app, event.kind.text());
        println!(
            "  pager     {}",
            match event.severity {
                Severity::Info => style(text).green(),
                Severity::Warning => style(text).yellow(),
                Severity::Error => style(text).red(),
            }
        );
        Ok(())
    }
}

/// Somebody whose server never answers.
struct Silent;

#[async_trait]
impl Notifier for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    async fn notify(&self, _: &SyncEvent) -> gitops::core::Result<()> {
        std::future::pending().await
    }
}

const GOOD: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: default}
data: {mode: blue}
";

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let origin = dir.path().join("config.git");
    git2::Repository::init_opts(
        &origin,
        git2::RepositoryInitOptions::new()
            .bare(true)
            .initial_head("main"),
    )?;
    let url = origin
        .to_str()
        .context("a path that is not UTF-8")?
        .to_owned();
    commit(&url, "Add the settings", GOOD).await?;

    let engine = Engine::new(Arc::new(InMemoryCluster::new()));
    let git = GitClient::new(RepositoryOptions::default())?;
    let sources = GitSources::new(git, Renderers::default());
    let backend = DirectBackend::new(
        engine,
        Arc::new(sources),
        Arc::new(MemoryStore::new()),
        DirectOptions::default(),
    );
    let app = Application::new("shop")
        .source(Source::git(&*url).path("apps"))
        .in_namespace("default");
    backend.put(&app, PutMode::Create).await?;

    let broadcast = BroadcastNotifier::new(64);
    let mut listener = broadcast.subscribe();
    let mut notifiers = Notifiers::new(NotifierOptions {
        time_limit: Duration::from_secs(2),
        retries: 0,
        ..NotifierOptions::default()
    });
    notifiers
        .add_notifier(broadcast)
        .add_filtered(Pager, EventFilter::all().kinds(["syncFinished", "hook"]))
        .add_filtered(Silent, EventFilter::all().severity(Severity::Error));

    for (title, text) in [
        ("a good commit", None),
        (
            "a commit that cannot be applied",
            Some("apiVersion: v1\nkind: Nonsense\nmetadata: {name: x}\n"),
        ),
    ] {
        println!("{}", style(title).bold());
        if let Some(text) = text {
            commit(&url, title, text).await?;
        }
        let mut events = backend.events();
        backend
            .sync(&AppRef::new("shop"), &SyncOptions::default())
            .await?;
        while let Some(event) = events.next().await {
            let last = matches!(event.kind, EventKind::SyncFinished { .. });
            if let Err(failures) = notifiers.notify_sync(&event).await {
                println!("  failed    {failures}");
            }
            if last {
                break;
            }
        }
        let mut heard = 0;
        while listener.try_recv().is_ok() {
            heard += 1;
        }
        println!("  broadcast {heard} events");
    }
    Ok(())
}

async fn commit(url: &str, message: &str, text: &str) -> Result<()> {
    let repository = Repository::open(url, RepositoryOptions::default()).await?;
    let options = CommitOptions::new("Example", "example@example.com", message).branch("main");
    repository
        .commit(&options, |_| async {
            Ok(Edits::new().put("apps/settings.yaml", text))
        })
        .await?;
    Ok(())
}
