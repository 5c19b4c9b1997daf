//! Deploys from Git through Flux and shows how it goes: a GitRepository and a Kustomization are made or changed, with progress until they are ready, then a table of states and the tree of what is
//! deployed. Objects of the same names that something else made are left alone.
//!
//! ```text
//! cargo run --example flux_deploy --features flux -- podinfo https://github.com/stefanprodan/podinfo --path kustomize --branch master --to podinfo
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use console::style;
use gitops::core::ErrorKind;
use gitops::core::backend::{ApplicationStore as _, DeleteOptions};
use gitops::flux::convert::APPLICATION;
use gitops::flux::manager::Change;
use gitops::flux::reconcile::{Update, WaitOptions};
use gitops::flux::types::{
    GitRepository, GitRepositoryRef, Kustomization, LocalObjectReference, ObjectReference,
};
use gitops::flux::{FluxBackend, FluxKind, FluxManager, FluxOptions, FluxRef, FluxResource};
use indicatif::{ProgressBar, ProgressStyle};

/// Deploy from Git through Flux.
#[derive(Parser)]
struct Cli {
    /// The name of the source and the Kustomization.
    name: String,
    /// The Git repository.
    url: String,
    /// The path in it.
    #[arg(long, default_value = ".")]
    path: String,
    /// The branch.
    #[arg(long, default_value = "main")]
    branch: String,
    /// The Secret with the repository's credentials, in the same namespace.
    #[arg(long)]
    secret: Option<String>,
    /// The namespace of Flux's objects.
    #[arg(long, default_value = "flux-system")]
    namespace: String,
    /// The namespace to deploy to; as the manifests say when it is not given.
    #[arg(long)]
    to: Option<String>,
    /// How long the source, and then what is deployed, may take to become ready, in seconds.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Delete at the end what this example made, now or in an earlier run.
    #[arg(long)]
    delete: bool,
}

/// Waits, and says for what.
async fn wait(manager: &FluxManager, object: &FluxRef, timeout: Duration) -> Result<()> {
    let spinner = ProgressBar::new_spinner().with_message(format!("{object}"));
    spinner.set_style(ProgressStyle::with_template("  {spinner} {msg}")?);
    spinner.enable_steady_tick(Duration::from_millis(120));
    let (shown, name) = (spinner.clone(), object.clone());
    let options = WaitOptions::within(timeout).progress(move |update| {
        if let Update::Pending { message, .. } = update {
            shown.set_message(format!("{name}: {message}"));
        }
    });
    let reconciled = manager.wait(object, &options).await;
    spinner.finish_and_clear();
    match reconciled {
        Ok(reconciled) => {
            println!("  {} {object}: {}", style("✔").green(), reconciled.message);
            Ok(())
        }
        Err(error) => {
            println!("  {} {object}", style("✗").red());
            bail!("{error:#}")
        }
    }
}

/// Refuses what is there and does not say that it was made for this application: it would be changed, and with `--delete` deleted.
async fn is_free<K: FluxResource>(
    manager: &FluxManager,
    namespace: &str,
    name: &str,
) -> Result<()> {
    match manager.get::<K>(namespace, name).await {
        Ok(found) => {
            let annotations = found.meta().annotations.as_ref();
            let of = annotations.and_then(|all| all.get(APPLICATION));
            if of.map(String::as_str) != Some(name) {
                bail!(
                    "{} is there already, and was not made here: take another name",
                    FluxRef::of(&found)
                );
            }
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn told<K: FluxResource>(object: &K, change: Change) {
    let what = match change {
        Change::Created => "created",
        Change::Updated => "changed",
        Change::Unchanged => "is as asked for",
    };
    println!("{} {what}", FluxRef::of(object));
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let connected = FluxManager::connect().await?;
    let options = FluxOptions {
        namespace: cli.namespace.clone(),
        ..FluxOptions::default()
    };
    let manager = FluxManager::with_options(connected.client().clone(), options);

    is_free::<GitRepository>(&manager, &cli.namespace, &cli.name).await?;
    is_free::<Kustomization>(&manager, &cli.namespace, &cli.name).await?;
    // So is known what was made for the application; the backend deletes it together with the application, unless others use it by then.
    let made_for = BTreeMap::from([(APPLICATION.to_owned(), cli.name.clone())]);

    let mut source = GitRepository::new(&*cli.name).in_namespace(&*cli.namespace);
    source.metadata.annotations = Some(made_for.clone());
    source.spec.url = cli.url;
    source.spec.interval = Some(Duration::from_secs(60).into());
    source.spec.git_ref = Some(GitRepositoryRef {
        branch: Some(cli.branch),
        ..GitRepositoryRef::default()
    });
    source.spec.secret_ref = cli.secret.map(LocalObjectReference::new);
    let applied = manager.create_git_repository(&source).await?;
    told(&applied.object, applied.change);

    let mut app = Kustomization::new(&*cli.name)
        .in_namespace(&*cli.namespace)
        .source(ObjectReference::new("GitRepository", &*cli.name))
        .path(cli.path)
        .prune(true)
        .wait(true)
        .interval(Duration::from_secs(600))
        .timeout(Duration::from_secs(cli.timeout));
    app.spec.retry_interval = Some(Duration::from_secs(5).into());
    app.spec.target_namespace = cli.to;
    app.metadata.annotations = Some(made_for);
    let applied = manager.create_kustomization(&app).await?;
    told(&applied.object, applied.change);

    let timeout = Duration::from_secs(cli.timeout);
    let named = FluxRef::new(FluxKind::Kustomization, &*cli.namespace, &*cli.name);
    wait(&manager, &FluxRef::of(&source), timeout).await?;
    wait(&manager, &named, timeout).await?;

    // Any backend's eyes see it too: as an application.
    let backend = FluxBackend::new(manager.clone());
    println!(
        "\n{:<24} {:<10} {:<12} REVISION",
        "APPLICATION", "SYNC", "HEALTH"
    );
    let name = gitops::core::application::AppRef::new(&*cli.name);
    let stored = backend.get(&name).await?;
    if let Some(status) = &stored.status {
        println!(
            "{:<24} {:<10} {:<12} {}",
            stored.app.name,
            status.sync,
            status.health.status,
            status.revisions.join(", ")
        );
    }
    println!("\n{}", manager.tree(&named, &Default::default()).await?);

    if cli.delete {
        backend.delete(&name, &DeleteOptions::default()).await?;
        println!("{named} is being deleted, with what it deployed");
    }
    Ok(())
}
