//! A Git repository becomes a cluster's state: synced, changed, drifted, repaired, pruned.
//!
//! ```text
//! cargo run --example quickstart                # on a cluster in memory
//! cargo run --example quickstart -- --cluster   # on the current kubeconfig context, in a namespace that it makes and removes
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Parser;
use console::style;
use futures::StreamExt;
use futures::stream::BoxStream;
use gitops::core::application::{AppRef, Application, Automated, Source};
use gitops::core::backend::{
    ApplicationStore, DeleteOptions, EventKind, Initiator, PutMode, ResourceAction, SyncEvent,
    SyncOptions, SyncerExt,
};
use gitops::core::manifest::diff::Color;
use gitops::core::manifest::render::Renderers;
use gitops::core::manifest::{GroupVersionKind, ObjectId};
use gitops::core::store::MemoryStore;
use gitops::git::{
    CommitOptions, Edits, GitClient, GitWatcher, Repository, RepositoryOptions, Revision,
    WatchOptions,
};
use gitops::kube::cluster::{
    Cluster, DeleteParams, InMemoryCluster, KubeCluster, ObjectKey, Patch, WriteParams,
};
use gitops::kube::direct::{DirectBackend, DirectOptions, GitSources};
use gitops::kube::engine::Engine;
use serde_json::json;

/// Watch a Git repository being synced, drifting, repaired and pruned.
#[derive(Parser)]
struct Args {
    /// Use the current kubeconfig context instead of a cluster in memory.
    #[arg(long)]
    cluster: bool,
    /// The image of the example's pods; it must have `sleep`.
    #[arg(
        long,
        default_value = "registry.k8s.io/e2e-test-images/busybox:1.36.1-1"
    )]
    image: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let cluster: Arc<dyn Cluster> = match args.cluster {
        true => Arc::new(
            KubeCluster::connect()
                .await
                .context("no cluster: is there a kubeconfig?")?,
        ),
        false => Arc::new(InMemoryCluster::new()),
    };
    let place = if args.cluster {
        "the current kubeconfig context"
    } else {
        "memory"
    };
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let namespace = format!("gitops-quickstart-{}", since_epoch.as_secs() % 1_000_000);
    println!(
        "Cluster: {}, namespace {}",
        style(place).bold(),
        style(&namespace).bold()
    );

    let result = tokio::select! {
        result = story(cluster.clone(), &namespace, &args.image) => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    // Whatever happened, nothing stays behind.
    let kind = cluster
        .resolve(&GroupVersionKind::from_api_version("v1", "Namespace"))
        .await?;
    let key = ObjectKey {
        kind: &kind,
        namespace: "",
        name: &namespace,
    };
    match cluster.delete(key, &DeleteParams::default()).await {
        Err(error) if error.kind() != gitops::core::ErrorKind::NotFound => {
            eprintln!("namespace {namespace} stays: {error}")
        }
        _ => {}
    }
    result
}

async fn story(cluster: Arc<dyn Cluster>, namespace: &str, image: &str) -> Result<()> {
    // 1. A repository, as a team would have it on a forge.
    heading(1, "A Git repository");
    let dir = tempfile::tempdir()?;
    let url = make_repository(&dir.path().join("config.git"))?;
    let git = GitClient::new(RepositoryOptions::default().cache_dir(dir.path().join("cache")))?;
    let repository = git.repository(&url).await?;
    let first = Edits::new()
        .put("dev/config.yaml", config_map("dev", "Hello from dev"))
        .put("dev/web.yaml", web("dev", 1, image))
        .put("prod/config.yaml", config_map("prod", "Hello from prod"))
        .put("prod/web.yaml", web("prod", 2, image))
        .put("prod/banner.yaml", BANNER);
    let commit = commit(&repository, "Add the web server for dev and prod", first).await?;
    println!(
        "{url}\n  dev/   a ConfigMap, a Deployment, a Service\n  prod/  the same and a banner, with two replicas"
    );

    // 2. The SDK: applications in a store, a backend that syncs them, a watcher that looks for new commits.
    heading(2, "The first sync");
    let backend = DirectBackend::new(
        Engine::new(cluster.clone()),
        Arc::new(GitSources::new(git, Renderers::default())),
        Arc::new(MemoryStore::default()),
        DirectOptions::default(),
    );
    let mut apps = Vec::new();
    for environment in ["dev", "prod"] {
        let app = Application::new(environment)
            .source(Source::git(&url).path(environment).revision("main"))
            .in_namespace(namespace)
            .automated(Automated::default().prune(true).self_heal(true))
            .sync_option("CreateNamespace=true");
        backend.put(&app, PutMode::Create).await?;
        apps.push(app.app_ref());
    }
    let mut events = backend.events();
    // The watcher tells the commit that is there now, too: the first sync needs no extra call.
    let follower = tokio::spawn(follow(repository.clone(), backend.clone(), apps.clone()));
    until_synced(&mut events, &commit, &apps).await?;
    let prod = backend
        .wait_until_healthy(&apps[1], Duration::from_secs(60))
        .await?;
    println!(
        "prod is {} and {}",
        style(prod.sync).green(),
        style(prod.health.status).green()
    );

    // 3. A commit is all it takes.
    heading(3, "A commit: prod gets a third replica");
    let scaled = Edits::new().put("prod/web.yaml", web("prod", 3, image));
    let commit_2 = commit_edits(&repository, "Scale prod to three", scaled).await?;
    until_synced(&mut events, &commit_2, &apps).await?;

    // 4. Somebody changes the cluster and not the repository.
    heading(4, "A change behind Git's back");
    let deployments = cluster
        .resolve(&GroupVersionKind::from_api_version("apps/v1", "Deployment"))
        .await?;
    let hotfix = WriteParams {
        field_manager: "hotfix-by-hand".into(),
        ..WriteParams::default()
    };
    let key = ObjectKey {
        kind: &deployments,
        namespace,
        name: "web-prod",
    };
    cluster
        .patch(
            key,
            &Patch::Merge(json!({"spec": {"replicas": 7}})),
            &hotfix,
        )
        .await?;
    println!("$ kubectl scale deployment web-prod --replicas=7");
    let drift = backend.explain(&apps[1]).await?;
    if drift.is_empty() {
        bail!("the drift was not seen");
    }
    for one in &drift {
        println!("{} {one}", style("drift").yellow().bold());
        print!("{}", one.diff.text(Color::Auto));
    }
    let repair = backend
        .sync_and_wait(&apps[1], &SyncOptions::default())
        .await?;
    if !repair.is_success() {
        bail!("the repair failed: {}", repair.message);
    }
    until_synced(&mut events, &commit_2, &apps[1..]).await?;
    let now = cluster.get(key).await?.context("the Deployment is gone")?;
    println!(
        "repaired: replicas is {} again",
        now.pointer("/spec/replicas").context("no replicas")?
    );

    // 5. What is removed from Git is removed from the cluster.
    heading(5, "A file is removed: its object is pruned");
    let removed = Edits::new().delete("prod/banner.yaml");
    let commit_3 = commit_edits(&repository, "Remove the banner", removed).await?;
    until_synced(&mut events, &commit_3, &apps).await?;
    let maps = cluster
        .resolve(&GroupVersionKind::from_api_version("v1", "ConfigMap"))
        .await?;
    let banner = ObjectKey {
        kind: &maps,
        namespace,
        name: "banner",
    };
    if cluster.get(banner).await?.is_some() {
        bail!("the banner is still there");
    }
    println!("the banner is gone, the rest of prod stays");

    heading(6, "Cleaning up");
    follower.abort();
    for app in &apps {
        backend.delete(app, &DeleteOptions::default()).await?;
        println!("application {app} and what it deployed: deleted");
    }
    Ok(())
}

/// Syncs every application to each new commit, as it appears.
async fn follow(repository: Repository, backend: DirectBackend, apps: Vec<AppRef>) -> Result<()> {
    let watcher = GitWatcher::new(WatchOptions {
        interval: Duration::from_millis(500),
        ..WatchOptions::default()
    });
    let mut revisions = watcher.watch(&repository, Revision::parse("main")?);
    while let Some(revision) = revisions.next().await {
        let commit = match revision {
            Ok(revision) => revision.commit,
            Err(error) => {
                eprintln!("cannot look for commits: {error}");
                continue;
            }
        };
        println!(
            "{} commit {}",
            style("detected").magenta().bold(),
            &commit[..8]
        );
        let options = SyncOptions {
            revisions: vec![commit],
            initiator: Initiator {
                name: "quickstart".into(),
                automated: true,
            },
            ..SyncOptions::default()
        };
        let mut results = backend.sync_all(apps.clone(), options, apps.len());
        while let Some((app, result)) = results.next().await {
            if let Err(error) = result {
                eprintln!("{app} was not synced: {error}");
            }
        }
    }
    Ok(())
}

/// Prints events until each of `apps` was synced to `commit`.
async fn until_synced(
    events: &mut BoxStream<'static, SyncEvent>,
    commit: &str,
    apps: &[AppRef],
) -> Result<()> {
    let mut waiting: Vec<&AppRef> = apps.iter().collect();
    while !waiting.is_empty() {
        let next = tokio::time::timeout(Duration::from_secs(180), events.next()).await;
        let event = next
            .context("nothing happened for three minutes")?
            .context("the backend is gone")?;
        let app = style(format!("{:<5}", event.app.name)).blue();
        match &event.kind {
            EventKind::Rendered { objects, revisions } => {
                println!("{app} {objects} objects at {}", &revisions[0][..8])
            }
            EventKind::Planned {
                create,
                update,
                prune,
                unchanged,
            } => {
                println!(
                    "{app} plan: create {create}, update {update}, prune {prune}, leave {unchanged}"
                );
            }
            EventKind::Resource { id, action, .. } if *action != ResourceAction::Unchanged => {
                print_resource(&app, id, *action)
            }
            EventKind::HealthChanged { id, health } => {
                println!(
                    "{app} {id} is {} {}",
                    style(health.status).cyan(),
                    style(&health.message).dim()
                );
            }
            EventKind::Retrying { message, .. } => println!("{app} trying again: {message}"),
            EventKind::SyncFinished { outcome } if !outcome.is_success() => {
                bail!("{}: {}", event.app, outcome.message)
            }
            EventKind::SyncFinished { outcome } => {
                println!("{app} {}", style("synced").green().bold());
                if outcome.revisions.iter().any(|revision| revision == commit) {
                    waiting.retain(|app| **app != event.app);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn print_resource(app: &dyn std::fmt::Display, id: &ObjectId, action: ResourceAction) {
    let action = match action {
        ResourceAction::Created => style("created").green(),
        ResourceAction::Updated => style("updated").yellow(),
        ResourceAction::Pruned => style("pruned").red(),
        _ => style("left alone").dim(),
    };
    println!("{app} {action} {id}");
}

fn heading(number: usize, text: &str) {
    println!(
        "\n{}",
        style(format!("{number}. {text}")).bold().underlined()
    );
}

/// An empty repository, as `git init --bare` makes it.
fn make_repository(path: &Path) -> Result<String> {
    let mut options = git2::RepositoryInitOptions::new();
    options.bare(true).initial_head("main");
    git2::Repository::init_opts(path, &options)?;
    Ok(format!("file://{}", path.display()))
}

async fn commit(repository: &Repository, message: &str, edits: Edits) -> Result<String> {
    let options = CommitOptions::new("Dana Developer", "dana@example.com", message).branch("main");
    let outcome = repository
        .commit(&options, |_| async { Ok(edits.clone()) })
        .await?;
    let commit = outcome.commit().context("there was nothing to commit")?;
    Ok(commit.to_owned())
}

async fn commit_edits(repository: &Repository, message: &str, edits: Edits) -> Result<String> {
    println!(
        "{} {message}: {}",
        style("$ git commit -m").dim(),
        edits.paths().join(", ")
    );
    commit(repository, message, edits).await
}

const BANNER: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: banner
data:
  text: Opening soon
";

fn config_map(environment: &str, greeting: &str) -> String {
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata:
  name: greeting-{environment}
data:
  greeting: {greeting}
"
    )
}

fn web(environment: &str, replicas: u32, image: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: web-{environment}
spec:
  selector: {{app: web-{environment}}}
  ports:
    - name: http
      port: 80
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-{environment}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: web-{environment}}}
  template:
    metadata:
      labels: {{app: web-{environment}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: {image}
          imagePullPolicy: IfNotPresent
          command: [sleep, infinity]
          envFrom:
            - configMapRef: {{name: greeting-{environment}}}
"
    )
}
