//! Every sync rule that ships, decided by what a real repository and a real cluster say.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use futures::channel::oneshot;
use gitops_core::application::{
    AppRef, Application, ApplicationStatus, Automated, HealthStatus, OperationPhase, SyncStatus,
};
use gitops_core::backend::{ApplicationStore, SyncOptions, Syncer, SyncerExt};
use gitops_core::reconcile::{Reconciler, ReconcilerOptions};
use gitops_core::rule::{
    Approval, Approvals, AutomatedPolicy, Decision, GENERATE_PATHS, HealthAtLeast, ManualApproval,
    Metadata, MinimumInterval, OutOfSync, PathsChanged, RevisionChanged, SyncContext, SyncRule,
    SyncStrategy, SyncWindow, SyncWindows, all, any, async_rule_fn, not, rule_fn,
};
use gitops_core::source::Sources;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use crate::place::{Place, config_map};

const HOUR: Duration = Duration::from_secs(3600);

/// What a reconciler knows of an application when it asks its rules.
struct Known {
    app: Application,
    status: ApplicationStatus,
    revisions: Vec<String>,
    changed: Option<Vec<String>>,
}

impl Known {
    /// Reads all of it now: the stored application, its state, and what the repository says.
    async fn read(place: &Place, app: &AppRef) -> Result<Self> {
        let app = place.backend.get(app).await?.app;
        let status = place.backend.status(&app.app_ref()).await?;
        let revisions = place.sources.resolve(&app).await?;
        let changed = match status.history.last() {
            Some(last) => {
                place
                    .sources
                    .changed_paths(&app, &last.revisions, &revisions)
                    .await?
            }
            None => None,
        };
        Ok(Self {
            app,
            status,
            revisions,
            changed,
        })
    }

    fn context(&self) -> SyncContext<'_> {
        let mut context = SyncContext::new(&self.app);
        context.status = Some(&self.status);
        context.revisions = &self.revisions;
        context.changed_paths = self.changed.as_deref();
        context
    }

    async fn yes(&self, rule: &dyn SyncRule, why: &str) -> Result<()> {
        says(rule, &self.context(), true, why).await
    }

    async fn no(&self, rule: &dyn SyncRule, why: &str) -> Result<()> {
        says(rule, &self.context(), false, why).await
    }
}

async fn says(rule: &dyn SyncRule, context: &SyncContext<'_>, sync: bool, why: &str) -> Result<()> {
    let decision = rule.evaluate(context).await?;
    println!(
        "{:<22} {:<4} {}",
        rule.name(),
        if decision.sync { "yes" } else { "no" },
        decision.reason
    );
    ensure!(
        decision.sync == sync && decision.reason.contains(why),
        "{} about {}: {decision:?}, not {sync} because of {why:?}",
        rule.name(),
        context.app.name
    );
    Ok(())
}

/// A rule that keeps what it decided: about whom, in which state, and what.
struct Recorded<R> {
    rule: R,
    decisions: Arc<Mutex<Vec<(String, SyncStatus, Decision)>>>,
}

#[async_trait]
impl<R: SyncRule> SyncRule for Recorded<R> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    async fn evaluate(&self, context: &SyncContext<'_>) -> gitops_core::Result<Decision> {
        let decision = self.rule.evaluate(context).await?;
        let sync = context.known_status("recorded")?.sync;
        let entry = (context.app.name.clone(), sync, decision.clone());
        let mut decisions = self
            .decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        decisions.push(entry);
        Ok(decision)
    }
}

async fn value(place: &Place, name: &str) -> Result<String> {
    place
        .kubectl(&["get", "configmap", name, "-o", "jsonpath={.data.v}"])
        .await
}

/// Asks again until the answer is `true`.
async fn until(
    seconds: u64,
    what: &str,
    mut asks: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let answered = async {
        while !asks().await? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(seconds), answered)
        .await
        .with_context(|| format!("not within {seconds} s: {what}"))?
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_paths_drift_and_policy_decide_by_git_and_the_cluster() -> Result<()> {
    let place = Place::new("rules").await?;
    let first = place
        .commit(&[
            ("apps/healed/a.yaml", &config_map("healed", "1")),
            ("apps/left/a.yaml", &config_map("left", "1")),
            ("docs/readme.md", "1\n"),
        ])
        .await?;
    let healing = Automated::default().self_heal(true);
    let healed = place.put(&place.app("healed").automated(healing)).await?;
    let left = place
        .put(&place.app("left").automated(Automated::default()))
        .await?;
    let policy = AutomatedPolicy::default();
    let revision = RevisionChanged::default();
    let paths = PathsChanged::default();

    println!("-- nothing is deployed");
    let known = Known::read(&place, &left).await?;
    assert_eq!(known.revisions, [first.as_str()]);
    known.yes(&revision, "is the first revision").await?;
    known.yes(&paths, "not known which files").await?;
    known.yes(&OutOfSync, "").await?;
    known.yes(&policy, "is the first revision").await?;
    known.yes(&MinimumInterval(HOUR), "no sync yet").await?;
    known.yes(&HealthAtLeast(HealthStatus::Missing), "").await?;
    let progressing = HealthAtLeast(HealthStatus::Progressing);
    known.no(&progressing, "Missing, not Progressing").await?;
    place.backend.suspend(&left).await?;
    let suspended = Known::read(&place, &left).await?;
    suspended.no(&policy, "suspended").await?;
    place.backend.resume(&left).await?;

    println!("-- deployed");
    for app in [&healed, &left] {
        let outcome = place.sync(app).await?;
        ensure!(outcome.is_success(), "{}", outcome.message);
    }
    let known = Known::read(&place, &left).await?;
    known.no(&revision, "is deployed").await?;
    known.no(&paths, "no file changed").await?;
    known.no(&OutOfSync, "is the desired one").await?;
    known.no(&policy, "is the desired one").await?;
    known.yes(&HealthAtLeast(HealthStatus::Healthy), "").await?;
    known.no(&MinimumInterval(HOUR), "the next may be").await?;
    let mut context = known.context();
    context.now += 2 * HOUR;
    says(&MinimumInterval(HOUR), &context, true, "7").await?;
    let mut context = known.context();
    context.manual = true;
    says(&policy, &context, true, "somebody asked").await?;

    println!("-- a commit beside the application");
    let docs = place.commit(&[("docs/readme.md", "2\n")]).await?;
    let mut known = Known::read(&place, &left).await?;
    let (from, to) = (&first[..7], &docs[..7]);
    known
        .yes(&revision, &format!("from {from} to {to}"))
        .await?;
    known.no(&paths, "none of 1 changed files").await?;
    known
        .yes(&paths.only_annotated(true), "every change counts")
        .await?;
    known.no(&OutOfSync, "").await?;
    known.no(&policy, "is the desired one").await?;
    known.yes(&not(paths), "none of 1").await?;
    known.no(&not(revision), "the revision changed").await?;
    let boxes = || [Box::new(revision) as _, Box::new(paths) as _];
    known.no(&all(boxes()), "paths-changed: none of 1").await?;
    known.yes(&any(boxes()), "revision-changed: ").await?;
    known.no(&all([]), "there are no rules").await?;
    known.no(&any([]), "there are no rules").await?;
    let annotation = ".;/docs".to_owned();
    known
        .app
        .annotations
        .insert(GENERATE_PATHS.into(), annotation);
    known.yes(&paths, "/docs/readme.md changed").await?;

    println!("-- a commit of the application");
    place
        .commit(&[("apps/left/a.yaml", &config_map("left", "2"))])
        .await?;
    let known = Known::read(&place, &left).await?;
    known.yes(&revision, "the revision changed").await?;
    known.yes(&paths, "/apps/left/a.yaml changed").await?;
    known.yes(&all(boxes()), "/apps/left/a.yaml").await?;
    known.no(&not(paths), "/apps/left/a.yaml").await?;
    known.yes(&OutOfSync, "").await?;
    known.yes(&policy, "the revision changed").await?;
    known.no(&any([Box::new(not(OutOfSync)) as _]), "").await?;
    // The other application is made of other files.
    let known = Known::read(&place, &healed).await?;
    known.no(&paths, "none of 2 changed files").await?;

    println!("-- somebody changes what is deployed");
    for app in [&healed, &left] {
        place.sync(app).await?;
        let patch = [
            "patch",
            "configmap",
            &app.name,
            "-p",
            r#"{"data":{"v":"x"}}"#,
        ];
        place.kubectl(&patch).await?;
    }
    let known = Known::read(&place, &left).await?;
    known.yes(&OutOfSync, "").await?;
    known.no(&revision, "is deployed").await?;
    known.no(&policy, "self-healing is off").await?;
    let known = Known::read(&place, &healed).await?;
    known.yes(&policy, "is not the desired one").await?;

    heals(&place, &policy).await
}

/// A reconciler with the policy for a rule heals what is to be healed, and leaves the rest.
async fn heals(place: &Place, policy: &AutomatedPolicy) -> Result<()> {
    let decisions = Arc::default();
    let recorded = Recorded {
        rule: *policy,
        decisions: Arc::clone(&decisions),
    };
    let reconciler = Reconciler::new(place.backend.clone())
        .sources(place.sources.clone())
        .strategy(SyncStrategy::new().rule(recorded))
        .options(ReconcilerOptions {
            interval: HOUR,
            ..ReconcilerOptions::default()
        });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(reconciler.run(async {
        let _ = stopped.await;
    }));
    let heal = async || Ok(value(place, "healed").await? == "1");
    until(90, "the first drift is healed", heal).await?;
    // Drift that comes while it runs is found by the watch.
    place.kubectl(&["delete", "configmap", "healed"]).await?;
    let heal = async || Ok(value(place, "healed").await.is_ok_and(|value| value == "1"));
    until(90, "the second drift is healed", heal).await?;
    let seen = async || {
        let decisions = decisions.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(decisions.iter().any(|(app, sync, decision)| {
            app == "left" && *sync == SyncStatus::OutOfSync && !decision.sync
        }))
    };
    until(90, "the other one is looked at", seen).await?;
    assert_eq!(value(place, "left").await?, "x");
    let _ = stop.send(());
    tokio::time::timeout(Duration::from_secs(90), running).await???;
    let healed = place.backend.status(&"healed".into()).await?;
    let last = healed.operation.context("no operation")?;
    assert_eq!(last.initiated_by, "gitops-reconciler");
    Ok(())
}

/// A Deployment without pods: no node has this label.
fn deployment(name: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  {more}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
         spec: {{nodeSelector: {{no.such: node}}, containers: [{{name: c, image: example.org/c:1}}]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn running_failed_and_unhealthy_syncs_decide_by_their_statuses() -> Result<()> {
    let place = Place::new("rules-states").await?;
    let bad =
        "apiVersion: v1\nkind: Service\nmetadata: {name: broken}\nspec: {ports: [{port: 0}]}\n";
    let unknown = "apiVersion: example.com/v1\nkind: Unheard\nmetadata: {name: unknown}\n";
    place
        .commit(&[
            ("apps/slow/a.yaml", &deployment("slow", "replicas: 1")),
            (
                "apps/late/a.yaml",
                &deployment("late", "progressDeadlineSeconds: 1"),
            ),
            ("apps/paused/a.yaml", &deployment("paused", "paused: true")),
            ("apps/broken/a.yaml", bad),
            ("apps/unknown/a.yaml", unknown),
        ])
        .await?;
    let put = async |name: &str| {
        let app = place.app(name).automated(Automated::default());
        place.put(&app).await
    };
    let policy = AutomatedPolicy::default();
    let revision = RevisionChanged::default();

    println!("-- a sync runs");
    let slow = put("slow").await?;
    let operation = place.backend.sync(&slow, &SyncOptions::default()).await?;
    let waits = place
        .backend
        .wait_for(&slow, Duration::from_secs(90), |status| {
            status.health.status == HealthStatus::Progressing
                && (status.operation.iter())
                    .any(|o| !o.phase.is_terminal() && !o.revisions.is_empty())
        });
    waits.await?;
    let known = Known::read(&place, &slow).await?;
    known.no(&revision, "is being synced").await?;
    known.no(&policy, "a sync is running").await?;
    known
        .no(&MinimumInterval(Duration::ZERO), "a sync is running")
        .await?;
    known
        .yes(&HealthAtLeast(HealthStatus::Progressing), "")
        .await?;
    known
        .no(&HealthAtLeast(HealthStatus::Suspended), "Progressing, not")
        .await?;
    place.backend.terminate(&operation).await?;
    let ends = place.backend.wait(&operation);
    let outcome = tokio::time::timeout(Duration::from_secs(90), ends).await??;
    ensure!(!outcome.is_success(), "{outcome:?}");
    let known = Known::read(&place, &slow).await?;
    known.no(&MinimumInterval(HOUR), "the next may be").await?;
    known
        .yes(&MinimumInterval(Duration::ZERO), "the last sync was")
        .await?;

    println!("-- a sync failed");
    let broken = put("broken").await?;
    let outcome = place.sync(&broken).await?;
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
    let known = Known::read(&place, &broken).await?;
    known.yes(&OutOfSync, "").await?;
    known.no(&revision, "failed already").await?;
    let again = RevisionChanged { retry_failed: true };
    known.yes(&again, "is the first revision").await?;
    known.no(&policy, "failed already").await?;
    known
        .yes(&AutomatedPolicy { retry_failed: true }, "first revision")
        .await?;
    known.no(&MinimumInterval(HOUR), "").await?;

    println!("-- nobody knows its state");
    let unknown = put("unknown").await?;
    let outcome = place.sync(&unknown).await?;
    ensure!(!outcome.is_success(), "{outcome:?}");
    let known = Known::read(&place, &unknown).await?;
    known.no(&OutOfSync, "not known").await?;
    known
        .no(&HealthAtLeast(HealthStatus::Degraded), "Unknown")
        .await?;
    known
        .yes(&HealthAtLeast(HealthStatus::Unknown), "Unknown")
        .await?;

    println!("-- a rollout failed");
    let late = put("late").await?;
    let outcome = place.sync(&late).await?;
    ensure!(!outcome.is_success(), "{outcome:?}");
    let known = Known::read(&place, &late).await?;
    known
        .yes(&HealthAtLeast(HealthStatus::Degraded), "Degraded")
        .await?;
    known
        .no(&HealthAtLeast(HealthStatus::Missing), "Degraded")
        .await?;

    println!("-- a rollout is paused");
    let paused = put("paused").await?;
    place.sync(&paused).await?;
    let known = Known::read(&place, &paused).await?;
    known
        .yes(&HealthAtLeast(HealthStatus::Suspended), "Suspended")
        .await?;
    known
        .no(&HealthAtLeast(HealthStatus::Healthy), "Suspended")
        .await
}

/// A window in UTC that opened half an hour ago and is open for an hour.
fn opened_now(
    now: Timestamp,
    of: impl Fn(&str, Duration) -> gitops_core::Result<SyncWindow>,
) -> Result<SyncWindow> {
    Ok(of(&half_an_hour_ago(now, "UTC")?, HOUR)?)
}

/// The cron expression of half an hour ago, on the wall clock of a zone.
fn half_an_hour_ago(now: Timestamp, zone: &str) -> Result<String> {
    let at = (now - HOUR / 2).to_zoned_datetime(TimeZone::get(zone)?);
    Ok(format!("{} {} * * *", at.minute(), at.hour()))
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_approvals_metadata_and_closures_decide_about_a_stored_application() -> Result<()> {
    let place = Place::new("rules-gates").await?;
    let first = place
        .commit(&[("apps/shop/a.yaml", &config_map("shop", "1"))])
        .await?;
    let mut app = place.app("shop");
    app.labels.insert("tier".into(), "prod".into());
    app.annotations
        .insert("example.com/pause".into(), "until monday".into());
    let shop = place.put(&app).await?;
    place.sync(&shop).await?;
    let known = Known::read(&place, &shop).await?;

    println!("-- metadata");
    known.yes(&Metadata::label("tier").is("prod"), "").await?;
    let canary = Metadata::label("tier").is_one_of(["canary", "test"]);
    known.no(&canary, "is not canary or test").await?;
    known.no(&Metadata::label("team"), "is not there").await?;
    let pause = Metadata::annotation("example.com/pause");
    known.yes(&pause.clone().is_there(), "is there").await?;
    known.no(&pause.is("never"), "is not never").await?;
    known.no(&Metadata::annotation("tier"), "not there").await?;

    println!("-- windows");
    let context = known.context();
    let now = context.now;
    let mut later = context;
    later.now = now + HOUR;
    let open = SyncWindows::new([opened_now(now, SyncWindow::allow)?]);
    says(&open, &context, true, "is open").await?;
    says(&open, &later, false, "the next opens at").await?;
    let shut = open.window(opened_now(now, SyncWindow::deny)?);
    says(&shut, &context, false, "deny").await?;
    let mut manual = context;
    manual.manual = true;
    says(&shut, &manual, false, "deny").await?;
    let lenient = opened_now(now, SyncWindow::deny)?.manual_sync(true);
    let lenient = SyncWindows::default().window(lenient);
    says(&lenient, &manual, true, "lets manual syncs pass").await?;
    // The wall clock is the zone's.
    let tokyo = |cron: &str| SyncWindow::allow(cron, HOUR)?.time_zone("Asia/Tokyo");
    let there = SyncWindows::new([tokyo(&half_an_hour_ago(now, "Asia/Tokyo")?)?]);
    says(&there, &context, true, "Asia/Tokyo").await?;
    let here = SyncWindows::new([tokyo(&half_an_hour_ago(now, "UTC")?)?]);
    says(&here, &context, false, "no window is open").await?;
    // Windows about others.
    let deny = || opened_now(now, SyncWindow::deny);
    for (window, sync) in [
        (deny()?.applications(["blog-*"])?, true),
        (deny()?.applications(["sh?p"])?, false),
        (deny()?.namespaces([&*place.namespace])?, false),
        (deny()?.clusters(["in-cluster"])?, false),
        (
            deny()?
                .clusters(["in-cluster"])?
                .namespaces(["prod"])?
                .all_must_match(true),
            true,
        ),
    ] {
        says(&SyncWindows::new([window]), &context, sync, "").await?;
    }

    println!("-- approvals");
    let second = place
        .commit(&[("apps/shop/a.yaml", &config_map("shop", "2"))])
        .await?;
    let known = Known::read(&place, &shop).await?;
    let approvals = Approvals::new();
    let one = ManualApproval::new(approvals.clone());
    let two = ManualApproval::new(approvals.clone())
        .needed(2)
        .approvers(["ann", "ben"]);
    known.no(&one, "0 of 1 approvals").await?;
    approvals.approve(Approval::new("shop", &first, "ann"))?;
    known.no(&one, "0 of 1 approvals").await?;
    approvals.approve(Approval::new("shop", &second, "eve"))?;
    known.yes(&one, "is approved by eve").await?;
    known.no(&two, "0 of 2").await?;
    approvals.approve(Approval::new("shop", &second, "ann").expires_after(HOUR))?;
    approvals.approve(Approval::new("shop", &second, "ben"))?;
    known.yes(&two, "is approved by ann, ben").await?;
    let mut later = known.context();
    later.now += 2 * HOUR;
    says(&two, &later, false, "1 of 2").await?;
    ensure!(
        approvals.withdraw(&shop, &second, "ben"),
        "nothing to withdraw"
    );
    known.no(&two, "1 of 2").await?;

    println!("-- closures");
    let busy = rule_fn("few-resources", |context| {
        let resources = context.known_status("few-resources")?.resources.len();
        Ok(match resources {
            0..2 => Decision::yes(format!("it has {resources}")),
            _ => Decision::no(format!("it has {resources}")),
        })
    });
    known.yes(&busy, "it has 1").await?;
    known.no(&not(busy.clone()), "it has 1").await?;
    // One that asks the API server whether deployments are frozen.
    let cluster = e2e::cluster().await?;
    let freeze = |client: kube::Client| {
        let maps: Api<ConfigMap> = Api::namespaced(client, &place.namespace);
        async_rule_fn("freeze", move |_| {
            let maps = maps.clone();
            Box::pin(async move {
                let asked = maps.get_opt("freeze").await.map_err(|error| {
                    gitops_core::Error::unavailable("nobody knows").with_source(error)
                })?;
                Ok(match asked {
                    None => Decision::yes("nothing is frozen"),
                    Some(_) => Decision::no("deployments are frozen"),
                })
            })
        })
    };
    let rule = freeze(cluster.client().await?);
    known.yes(&rule, "nothing is frozen").await?;
    place.kubectl(&["create", "configmap", "freeze"]).await?;
    known.no(&rule, "deployments are frozen").await?;

    println!("-- a strategy");
    let mut strategy = SyncStrategy::new();
    strategy.add_rule(rule).add_rule(OutOfSync);
    let context = known.context();
    let verdict = strategy.should_sync(&context).await?;
    println!("{verdict}");
    ensure!(
        verdict.sync && verdict.rule.as_deref() == Some("out-of-sync"),
        "{verdict}"
    );
    assert_eq!(verdict.answers.len(), 2);
    // Who may not look has not said no.
    let blind = freeze(cluster.client_as("dave").await?);
    let strategy = SyncStrategy::new().rule(blind).rule(OutOfSync);
    let error = strategy.should_sync(&context).await.err();
    let error = error.context("an error counted as an answer")?;
    println!("{error}");
    ensure!(
        error.to_string().contains("rule freeze about shop"),
        "{error}"
    );
    Ok(())
}
