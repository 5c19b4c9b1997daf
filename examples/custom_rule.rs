//! When is an application synced, and is what it would deploy fit to be? Rules and validators of the SDK's own and of ours, over a real Git repository; no cluster.
//!
//! ```text
//! cargo run --example custom_rule --features cron,images
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use console::style;
use gitops::core::application::{Application, ApplicationStatus, HistoryEntry, Source, SyncStatus};
use gitops::core::manifest::ManifestSet;
use gitops::core::manifest::render::{RenderRequest, Renderer, Renderers};
use gitops::core::rule::{
    Approval, Approvals, Decision, ManualApproval, Metadata, OutOfSync, PathsChanged,
    RevisionChanged, SyncContext, SyncRule, SyncStrategy, SyncWindow, SyncWindows, all, any, not,
    rule_fn,
};
use gitops::core::validate::{
    self, AllowedImages, AllowedRepositories, Finding, InsideDestination, NoPlainTextSecrets,
    Validator, Validators, WellFormed,
};
use gitops::git::{CommitOptions, Edits, Repository, RepositoryOptions};

/// A rule of our own: no deployments while an incident is open. A real one would ask PagerDuty or a status page.
struct NoIncident {
    open: Arc<AtomicBool>,
}

#[async_trait]
impl SyncRule for NoIncident {
    fn name(&self) -> &str {
        "no-incident"
    }

    async fn evaluate(&self, _: &SyncContext<'_>) -> gitops::core::Result<Decision> {
        Ok(match self.open.load(Ordering::Relaxed) {
            true => Decision::no("an incident is open"),
            false => Decision::yes("no incident is open"),
        })
    }
}

/// A validator of our own: every workload says which team owns it.
struct HasOwner;

#[async_trait]
impl Validator for HasOwner {
    fn name(&self) -> &str {
        "has-owner"
    }

    async fn validate(
        &self,
        _: &Application,
        context: &validate::Context<'_>,
    ) -> gitops::core::Result<Vec<Finding>> {
        let objects = context.manifests.into_iter().flatten();
        let workloads = objects.filter(|object| object.kind() == "Deployment");
        Ok(workloads
            .filter(|object| object.label("team").is_none())
            .map(|object| {
                let finding =
                    Finding::warning("no-owner", "nobody owns it: the label team is missing");
                finding.about(object).at("/metadata/labels")
            })
            .collect())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let url = make_repository(&dir.path().join("config.git"))?;
    let options = RepositoryOptions::default().cache_dir(dir.path().join("cache"));
    let repository = Repository::open(&url, options).await?;
    let edits = Edits::new()
        .put("prod/web.yaml", WEB)
        .put("README.md", "What we run.\n");
    let first = commit(&repository, "Add the shop", edits).await?;
    let edits = Edits::new().put("README.md", "What we run, and why.\n");
    let docs = commit(&repository, "Explain the shop", edits).await?;
    let edits = Edits::new().put("prod/web.yaml", WEB.replace("1.27", "1.28"));
    let update = commit(&repository, "Update nginx", edits).await?;

    let mut app = Application::new("shop")
        .source(Source::git(&url).path("prod").revision("main"))
        .in_namespace("shop");
    app.labels.insert("tier".into(), "prod".into());

    println!("{}", style("The strategy").bold().underlined());
    let incident = Arc::new(AtomicBool::new(false));
    let approvals = Approvals::new();
    let night = SyncWindow::allow("0 22 * * *", Duration::from_secs(6 * 3600))?
        .time_zone("Europe/Berlin")?;
    let gate = all([
        Box::new(NoIncident {
            open: incident.clone(),
        }) as _,
        // At night, or at any time when somebody approved.
        Box::new(
            any([
                Box::new(SyncWindows::new([night])) as _,
                Box::new(ManualApproval::new(approvals.clone())) as _,
                Box::new(not(Metadata::label("tier").is("prod"))) as _,
            ])
            .named("moment"),
        ) as _,
    ])
    .named("gate");
    let something_to_do = any([
        Box::new(
            all([
                Box::new(RevisionChanged::default()) as _,
                Box::new(PathsChanged::default()) as _,
            ])
            .named("new-files"),
        ) as _,
        Box::new(OutOfSync) as _,
        Box::new(rule_fn("asked-for", |context| {
            Ok(match context.manual {
                true => Decision::yes("somebody asked for it"),
                false => Decision::no("nobody asked for it"),
            })
        })) as _,
    ])
    .named("work");
    let strategy =
        SyncStrategy::new().rule(all([Box::new(gate) as _, Box::new(something_to_do) as _]));
    println!(
        "sync when there is something to do, no incident is open, and it is night in Berlin or somebody approved\n"
    );

    let deployed = ApplicationStatus {
        sync: SyncStatus::Synced,
        history: vec![HistoryEntry {
            revisions: vec![first.clone()],
            ..HistoryEntry::default()
        }],
        ..ApplicationStatus::default()
    };
    let drifted = ApplicationStatus {
        sync: SyncStatus::OutOfSync,
        ..deployed.clone()
    };
    let (noon, midnight) = ("2026-11-24T11:00:00Z", "2026-11-24T23:00:00Z");
    let cases = [
        (
            "at night, nothing new",
            midnight,
            &first,
            &deployed,
            "",
            false,
        ),
        (
            "at night, only the README changed",
            midnight,
            &docs,
            &deployed,
            "",
            false,
        ),
        (
            "at night, the cluster drifted",
            midnight,
            &first,
            &drifted,
            "",
            true,
        ),
        ("at noon, a new image", noon, &update, &deployed, "", false),
        (
            "at noon, a new image, approved by ann",
            noon,
            &update,
            &deployed,
            "approve",
            true,
        ),
        (
            "at night, a new image",
            midnight,
            &update,
            &deployed,
            "",
            true,
        ),
        (
            "at night, a new image, an incident",
            midnight,
            &update,
            &deployed,
            "incident",
            false,
        ),
    ];
    for (title, now, revision, status, what, expected) in cases {
        incident.store(what == "incident", Ordering::Relaxed);
        let now = now.parse()?;
        if what == "approve" {
            let mut approval =
                Approval::new("shop", revision.as_str(), "ann").comment("tested on staging");
            approval.at = now;
            approvals.approve(approval.expires_after(Duration::from_secs(3600)))?;
        }
        // What a reconciler does: it asks Git what changed since the last sync.
        let changes = repository.changed_paths(Some(&first), revision, "").await?;
        let paths: Vec<String> = changes.into_iter().map(|change| change.path).collect();
        let revisions = [revision.clone()];
        let mut context = SyncContext::new(&app);
        context.status = Some(status);
        context.revisions = &revisions;
        context.changed_paths = Some(&paths);
        context.now = now;
        let verdict = strategy.should_sync(&context).await?;
        let answer = match verdict.sync {
            true => style("sync   ").green().bold(),
            false => style("no sync").yellow().bold(),
        };
        println!(
            "{answer}  {}\n         {}",
            style(title).bold(),
            style(&verdict.reason).dim()
        );
        if verdict.sync != expected {
            bail!("{title}: expected {expected}");
        }
    }

    println!("\n{}", style("The validators").bold().underlined());
    let validators = Validators::new()
        .validator(WellFormed)
        .validator(AllowedRepositories::new([url.as_str()])?)
        .validator(NoPlainTextSecrets::new())
        .validator(InsideDestination::new())
        .validator(AllowedImages::new().registries(["docker.io/library/*"])?)
        .validator(HasOwner);
    let manifests = render(&repository, &app, &update).await?;
    let report = validators
        .validate(&app, &validate::Context::with_manifests(&manifests))
        .await;
    println!("the commit that updates nginx:\n{report}\n");
    if !report.is_valid() {
        bail!("the commit is not valid");
    }
    let edits = Edits::new().put("prod/careless.yaml", CARELESS);
    let careless = commit(&repository, "Add a cache, quickly", edits).await?;
    let manifests = render(&repository, &app, &careless).await?;
    let report = validators
        .validate(&app, &validate::Context::with_manifests(&manifests))
        .await;
    println!("a careless commit:\n{report}");
    if report.is_valid() {
        bail!("the careless commit is valid");
    }
    Ok(())
}

async fn render(repository: &Repository, app: &Application, commit: &str) -> Result<ManifestSet> {
    let source = app.sources.first().context("no source")?.clone();
    let request = RenderRequest {
        tree: repository.tree(commit, "").await?,
        path: source.path.clone().unwrap_or_default(),
        source,
        app_name: app.name.clone(),
        namespace: app.destination.namespace.clone(),
        ..RenderRequest::default()
    };
    Ok(Renderers::default().render(&request).await?)
}

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

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels:
    team: shop
spec:
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
        - name: web
          image: nginx:1.27
";

const CARELESS: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: cache
spec:
  template:
    spec:
      containers:
        - name: cache
          image: quay.io/somebody/redis
---
apiVersion: v1
kind: Secret
metadata:
  name: cache
stringData:
  password: hunter2
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: Cache_Settings
  namespace: kube-system
";
