//! What a team runs: applications kept in ConfigMaps, synced when their repositories move or their live state drifts, by as many replicas as there are.
//!
//! ```text
//! kubectl create namespace gitops
//! cargo run --example reconciler --features reconcile,metrics,webhook -- --namespace gitops add shop https://git.example.com/org/config deploy/prod --to shop
//! cargo run --example reconciler --features reconcile,metrics,webhook -- --namespace gitops run --metrics 127.0.0.1:9090 --webhooks 127.0.0.1:8080
//! ```
//!
//! Start `run` several times: the replicas share the applications by Leases. End one with Ctrl-C, or kill it, and the others go on with what was its own. A webhook may go to any of them: it
//! hands the news on to the owner.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use clap::{Args, Parser, Subcommand};
use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use gitops::core::SecretString;
use gitops::core::application::{Application, Automated, Source};
use gitops::core::audit::{AuditLog, FileOptions, FileSink};
use gitops::core::backend::{ApplicationStore, EventKind, ListOptions, PutMode, SyncEvent};
use gitops::core::limit::{LimitOptions, SyncLimiter};
use gitops::core::manifest::render::Renderers;
use gitops::core::metrics::MeteredBackend;
use gitops::core::notify::{Notifier, Notifiers};
use gitops::core::reconcile::{Reconciler, ReconcilerOptions};
use gitops::core::source::RevisionEvent;
use gitops::core::validate::{NoPlainTextSecrets, Validators, WellFormed};
use gitops::core::webhook::{Provider, WebhookReceiver, webhook_events};
use gitops::git::{GitClient, GitWatcher, RepositoryOptions, Revision, WatchOptions};
use gitops::kube::cluster::{Cluster, KubeCluster};
use gitops::kube::direct::{DirectBackend, DirectOptions, GitSources};
use gitops::kube::engine::Engine;
use gitops::kube::lease::{LeaseOptions, LeaseOwnership};
use gitops::kube::store::ConfigMapStore;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;

/// Keep applications in sync with their repositories.
#[derive(Parser)]
struct Cli {
    /// Where applications and Leases are kept.
    #[arg(long, default_value = "gitops")]
    namespace: String,
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Add an application, or change it.
    Add {
        /// Its name.
        name: String,
        /// The repository.
        repo: String,
        /// The path in it.
        path: String,
        /// The branch, tag or range.
        #[arg(long, default_value = "main")]
        revision: String,
        /// The namespace that it is deployed to.
        #[arg(long, default_value = "default")]
        to: String,
    },
    /// Run one replica, until Ctrl-C or SIGTERM.
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// Who this replica is; the host's name and a random number unless set.
    #[arg(long)]
    identity: Option<String>,
    /// Serve metrics for Prometheus here.
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// Receive webhooks of Gitea here, at `/webhooks/gitea`; their secret is in the variable `WEBHOOK_SECRET`.
    #[arg(long)]
    webhooks: Option<SocketAddr>,
    /// Append an audit log to this file.
    #[arg(long)]
    audit: Option<PathBuf>,
    /// How many seconds a Lease holds; it is renewed every fifth of that.
    #[arg(long, default_value_t = 15)]
    lease_seconds: u64,
    /// How many seconds lie between two looks at a repository.
    #[arg(long, default_value_t = 30)]
    poll_seconds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let cluster = KubeCluster::connect()
        .await
        .context("no cluster: is there a kubeconfig?")?;
    let cluster: Arc<dyn Cluster> = Arc::new(cluster);
    let store = Arc::new(ConfigMapStore::new(cluster.clone(), &cli.namespace));
    match cli.job {
        Job::Add {
            name,
            repo,
            path,
            revision,
            to,
        } => {
            let app = Application::new(name)
                .source(Source::git(repo).path(path).revision(revision))
                .in_namespace(to)
                .automated(Automated::default().prune(true).self_heal(true));
            let outcome = store.put(&app, PutMode::Upsert).await?;
            println!("{} changed: {}", app.app_ref(), outcome.changed);
            Ok(())
        }
        Job::Run(run) => reconcile(cluster, store, &cli.namespace, run).await,
    }
}

async fn reconcile(
    cluster: Arc<dyn Cluster>,
    store: Arc<ConfigMapStore>,
    namespace: &str,
    run: Run,
) -> Result<()> {
    if let Some(address) = run.metrics {
        let exporter = PrometheusBuilder::new().with_http_listener(address);
        exporter.install().context("cannot serve metrics")?;
    }
    let lease = Duration::from_secs(run.lease_seconds.max(3));
    let mut leases = LeaseOptions {
        namespace: namespace.into(),
        lease_duration: lease,
        renew_deadline: lease / 2,
        retry_period: lease / 5,
        ..LeaseOptions::default()
    };
    if let Some(identity) = run.identity {
        leases.identity = identity;
    }
    let identity = leases.identity.clone();
    // What is terminated must have ended before another replica begins.
    let terminate_grace = leases.margin().mul_f64(0.75);

    let git = GitClient::new(RepositoryOptions::default())?;
    let sources = Arc::new(GitSources::new(git.clone(), Renderers::default()));
    let hooks = match run.webhooks {
        Some(address) => webhooks(address).await?,
        None => stream::empty().boxed(),
    };
    let revisions = watch(&git, &store, run.poll_seconds, hooks).await?;
    let backend = DirectBackend::new(
        Engine::new(cluster.clone()),
        sources.clone(),
        store,
        DirectOptions {
            // The reconciler looks at what this replica owns; the others look at theirs.
            refresh: Duration::ZERO,
            ..DirectOptions::default()
        },
    );
    let mut notifiers = Notifiers::default();
    notifiers.add_notifier(Print(identity.clone()));
    let validators = Validators::new()
        .validator(WellFormed)
        .validator(NoPlainTextSecrets::default());
    let limiter = SyncLimiter::new(LimitOptions {
        max: 4,
        ..LimitOptions::default()
    });
    let mut reconciler = Reconciler::new(MeteredBackend::new(backend.clone()))
        .sources(sources)
        .validators(validators)
        .limiter(limiter)
        .notifiers(notifiers)
        .events(backend.events())
        .revisions(revisions)
        .ownership(LeaseOwnership::start(cluster, leases)?)
        .options(ReconcilerOptions {
            name: identity.clone(),
            terminate_grace,
            ..ReconcilerOptions::default()
        });
    if let Some(path) = run.audit {
        let sink = FileSink::open(path, FileOptions::default())?;
        reconciler = reconciler.audit(Arc::new(AuditLog::new().with_sink(Arc::new(sink))));
    }
    println!("{identity} runs");
    let stop = async {
        asked_to_end().await;
        println!("{identity} ends");
    };
    reconciler.run(stop).await?;
    Ok(())
}

/// Ctrl-C, or the SIGTERM that Kubernetes sends to a pod. Without a handler, either ends the program at once.
async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// New commits of what the applications are made of; those of applications that come later are found at the reconciler's interval.
async fn watch(
    git: &GitClient,
    store: &ConfigMapStore,
    seconds: u64,
    webhooks: BoxStream<'static, RevisionEvent>,
) -> Result<BoxStream<'static, RevisionEvent>> {
    let watcher = GitWatcher::new(WatchOptions {
        interval: Duration::from_secs(seconds.max(1)),
        ..WatchOptions::default()
    });
    let mut watched = BTreeSet::new();
    for stored in store.list(&ListOptions::default()).await? {
        for source in stored.app.sources {
            watched.insert((source.repo_url, source.target_revision.unwrap_or_default()));
        }
    }
    let mut all = SelectAll::new();
    for (url, revision) in watched {
        let repository = git.repository(&url).await?;
        // What goes wrong, the watcher has logged; it looks again.
        all.push(watcher.watch(&repository, Revision::parse(&revision)?));
    }
    Ok(watcher.with_webhooks(all, webhooks))
}

/// What Gitea tells, at once; what it cannot tell, because this program is not there, the watcher finds.
async fn webhooks(address: SocketAddr) -> Result<BoxStream<'static, RevisionEvent>> {
    let secret = std::env::var("WEBHOOK_SECRET").context("WEBHOOK_SECRET is not set")?;
    let (sink, events) = webhook_events(256);
    let receiver = WebhookReceiver::new(Provider::Gitea, [SecretString::from(secret)])?;
    let router = axum::Router::new().route_service("/webhooks/gitea", receiver.service(sink));
    let listener = TcpListener::bind(address)
        .await
        .context("cannot listen for webhooks")?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(events.boxed())
}

/// Prints what matters to people.
struct Print(String);

#[async_trait]
impl Notifier for Print {
    fn name(&self) -> &str {
        "print"
    }

    async fn notify(&self, event: &SyncEvent) -> gitops::core::Result<()> {
        match event.kind {
            EventKind::RevisionDetected { .. }
            | EventKind::SyncRefused { .. }
            | EventKind::SyncStarted
            | EventKind::SyncFinished { .. }
            | EventKind::StatusChanged { .. } => {
                println!(
                    "{} {} {}: {}",
                    event.at,
                    self.0,
                    event.app,
                    event.kind.text()
                );
            }
            _ => {}
        }
        Ok(())
    }
}
