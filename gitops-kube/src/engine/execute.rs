//! Carrying a plan out: stage by stage, each checked before the next begins, pruning last.

use std::collections::{BTreeSet, HashMap};

use futures::FutureExt;
use gitops_core::application::{Health, HealthStatus};
use gitops_core::backend::{EventKind, ResourceAction, ResourceResult};
use gitops_core::manifest::order::{Phase, kind_rank};
use gitops_core::manifest::{GroupVersionKind, Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result, ResultExt};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::apply::Applier;
use super::applyset::ApplySet;
use super::cancel::unless_cancelled;
use super::inventory::InventoryEntry;
use super::options::EngineOptions;
use super::plan::{Plan, PlanAction, Step};
use super::progress::Progress;
use super::prune;
use super::wait::Waiter;
use super::{concurrent, hooks};
use crate::cluster::{ApiKind, Cluster, WriteParams};
use crate::health::HealthRules;

/// What came of a plan.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Each object, in the order in which they were dealt with.
    pub results: Vec<ResourceResult>,
    /// Why it failed, for people; `None` when all went well.
    pub failure: Option<String>,
    /// Writes that changed something in the cluster, the inventory's left out.
    pub changed: usize,
    /// It was cancelled: what is not among the results was not begun. [`failure`](Self::failure) says so too.
    pub cancelled: bool,
}

impl Report {
    /// Whether all went well.
    pub fn is_success(&self) -> bool {
        self.failure.is_none()
    }

    /// How many objects met `action`.
    pub fn count(&self, action: ResourceAction) -> usize {
        self.results
            .iter()
            .filter(|result| result.action == action)
            .count()
    }
}

pub(super) struct Executor<'a> {
    pub(super) cluster: &'a dyn Cluster,
    /// The same cluster, for recording what was done: that goes on when the sync is cancelled.
    pub(super) recorder: &'a dyn Cluster,
    pub(super) health: &'a HealthRules,
    pub(super) set: &'a ApplySet,
    pub(super) options: &'a EngineOptions,
    pub(super) progress: &'a dyn Progress,
    pub(super) cancel: &'a CancellationToken,
}

/// What one apply left behind.
pub(super) struct Applied {
    pub(super) action: ResourceAction,
    pub(super) uid: String,
    pub(super) live_digest: String,
    pub(super) health: Health,
}

impl Executor<'_> {
    /// # Errors
    /// When nothing was begun, since the inventory could not be written; all else is told in the report.
    pub(super) async fn run(&self, mut plan: Plan) -> Result<Report> {
        let mut report = Report::default();
        if let Err(error) = self.check_cancelled() {
            report.cancelled = true;
            report.failure = Some(error.to_string());
            return Ok(report);
        }
        self.progress.event(EventKind::Planned {
            create: plan.count(PlanAction::Create),
            update: plan.count(PlanAction::Update),
            prune: plan.count(PlanAction::Prune),
            unchanged: plan.count(PlanAction::Unchanged),
        });
        self.prepare(&mut plan).await?;
        if let Err(error) = self.phases(&mut plan, &mut report).await {
            report.cancelled = error.kind() == ErrorKind::Cancelled;
            report.failure = Some(error.to_string());
            if !report.cancelled
                && let Err(error) = self.hooks(&plan, Phase::SyncFail, &mut report).await
            {
                warn!(%error, "a SyncFail hook failed");
                report.cancelled = error.kind() == ErrorKind::Cancelled;
            }
        }
        // What was done stays told, also when it cannot be recorded; the next sync finds out by looking.
        if let Err(error) = self.save(&mut plan).await {
            let unsaved = format!("the inventory could not be written: {error}");
            report.failure = Some(match report.failure {
                Some(failure) => format!("{failure}; and {unsaved}"),
                None => unsaved,
            });
        }
        Ok(report)
    }

    async fn phases(&self, plan: &mut Plan, report: &mut Report) -> Result<()> {
        self.hooks(plan, Phase::PreSync, report).await?;
        self.stages(plan, report).await?;
        self.prune(plan, report).await?;
        self.hooks(plan, Phase::PostSync, report).await
    }

    /// The inventory names everything before any of it is applied.
    async fn prepare(&self, plan: &mut Plan) -> Result<()> {
        if let Some(metadata) = &self.options.create_namespace {
            self.create_namespace(metadata).await?;
        }
        let inventory = &mut plan.inventory;
        let mut dirty = false;
        for step in &plan.steps {
            let apply = matches!(step.action, PlanAction::Create | PlanAction::Update);
            if apply && inventory.get(&step.id).is_none() {
                inventory.insert(InventoryEntry {
                    id: step.id.clone(),
                    version: step.kind.gvk.version.clone(),
                    uid: String::new(),
                    desired: String::new(),
                    live: String::new(),
                });
                dirty = true;
            }
        }
        if !dirty {
            return Ok(());
        }
        // The inventory's own namespace may be among the manifests: then it comes first.
        if !inventory.exists() {
            let own = plan.steps.iter().find(|step| {
                step.id.kind == "Namespace"
                    && step.id.group.is_empty()
                    && step.id.name == self.set.namespace()
            });
            if let Some(step) = own
                && step.action == PlanAction::Create
            {
                self.applier()
                    .apply(step)
                    .await
                    .context(|| format!("apply {}", step.id))?;
            }
        }
        plan.inventory.write(self.cluster, self.set).await
    }

    async fn create_namespace(
        &self,
        metadata: &gitops_core::application::ManagedNamespaceMetadata,
    ) -> Result<()> {
        let name = self.options.namespace.as_str();
        if name.is_empty() {
            return Err(Error::invalid(
                "no namespace is named that could be created",
            ));
        }
        let kind = self
            .cluster
            .resolve(&gitops_core::manifest::GroupVersionKind::new(
                "",
                "v1",
                "Namespace",
            ))
            .await?;
        let key = crate::cluster::ObjectKey {
            kind: &kind,
            namespace: "",
            name,
        };
        let there = self.cluster.get(key).await?;
        if there.is_some() && metadata.labels.is_empty() && metadata.annotations.is_empty() {
            return Ok(());
        }
        let mut object = Object::new(
            serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            None,
        )?;
        for (key, value) in &metadata.labels {
            object.set_label(key, value);
        }
        for (key, value) in &metadata.annotations {
            object.set_annotation(key, value);
        }
        let params = WriteParams {
            field_manager: self.set.manager().to_owned(),
            ..WriteParams::default()
        };
        self.cluster
            .apply(&kind, &object, &params)
            .await
            .context(|| format!("create namespace {name}"))?;
        Ok(())
    }

    /// Applies wave after wave; in a wave, kind after kind.
    async fn stages(&self, plan: &mut Plan, report: &mut Report) -> Result<()> {
        let stages = stages(&plan.steps);
        let of = stages.len();
        let last_wave = stages.last().map(|stage| stage.wave);
        let mut wave_members: Vec<(ObjectId, Health)> = Vec::new();
        let mut all: Vec<(ObjectId, Health)> = Vec::new();
        let mut hooked = i64::MIN;
        for (index, stage) in stages.iter().enumerate() {
            self.check_cancelled()?;
            self.progress.event(EventKind::StageStarted {
                stage: index + 1,
                of,
                objects: stage.steps.len(),
            });
            // Also those of waves in between, which have no other object. Namespaces and CRDs come before the hooks of their wave.
            if hooked < stage.wave {
                let earlier = hooked..=stage.wave - 1;
                hooks::run(self, plan, Phase::Sync, earlier, report).await?;
                hooked = stage.wave;
            }
            if hooked == stage.wave && !stage.is_ground {
                let own = hooked..=stage.wave;
                hooks::run(self, plan, Phase::Sync, own, report).await?;
                hooked = stage.wave.saturating_add(1);
            }
            self.resolve_deferred(plan, stage).await?;
            let applied = self.stage(plan, stage, report).await?;
            if stage.is_crds {
                self.establish(plan, stage).await?;
            }
            wave_members.extend(applied);
            let wave_ends = stages
                .get(index + 1)
                .is_none_or(|next| next.wave != stage.wave);
            if wave_ends {
                if Some(stage.wave) != last_wave && self.options.wait.is_some() {
                    self.wait(plan, &wave_members, report).await?;
                }
                all.append(&mut wave_members);
            }
        }
        if self.options.wait.is_some() {
            self.wait(plan, &all, report).await?;
        }
        hooks::run(self, plan, Phase::Sync, hooked..=i64::MAX, report).await
    }

    /// Applies one stage, all of it even when some fails; then says what failed.
    async fn stage(
        &self,
        plan: &mut Plan,
        stage: &Stage,
        report: &mut Report,
    ) -> Result<Vec<(ObjectId, Health)>> {
        if self.options.validate {
            self.validate(plan, stage).await?;
        }
        let applier = self.applier();
        let work = stage
            .steps
            .iter()
            .map(|&at| self.stage_one(&applier, at, &plan.steps[at]).boxed())
            .collect();
        let mut done = concurrent::run(self.options.concurrency, work).await;
        done.sort_by_key(|(at, _)| *at);
        let mut failures = Vec::new();
        let mut cancelled = None;
        let mut members = Vec::new();
        for (at, result) in done {
            let step = &plan.steps[at];
            let (action, message) = match result {
                Ok(Some(applied)) => {
                    plan.inventory.insert(InventoryEntry {
                        id: step.id.clone(),
                        version: step.kind.gvk.version.clone(),
                        uid: applied.uid,
                        desired: step.digest.clone(),
                        live: applied.live_digest,
                    });
                    if applied.action != ResourceAction::Unchanged {
                        report.changed += 1;
                    }
                    members.push((step.id.clone(), applied.health));
                    (applied.action, step.reason.clone())
                }
                Ok(None) if step.action == PlanAction::Unchanged => {
                    let health = step
                        .live
                        .as_ref()
                        .map(|live| live.health.clone())
                        .unwrap_or_default();
                    members.push((step.id.clone(), health));
                    (ResourceAction::Unchanged, String::new())
                }
                Ok(None) => (ResourceAction::Skipped, step.reason.clone()),
                // It was not begun, or is not known to have ended; others of the stage were and did.
                Err(error) if error.kind() == ErrorKind::Cancelled => {
                    cancelled = Some(error);
                    continue;
                }
                Err(error) => {
                    let place = step
                        .desired
                        .as_ref()
                        .and_then(Object::origin)
                        .map(|origin| format!(" (from {origin})"))
                        .unwrap_or_default();
                    let message = format!("{}{place}: {error}", step.id);
                    failures.push(message.clone());
                    self.progress.event(EventKind::Resource {
                        id: step.id.clone(),
                        action: ResourceAction::Failed,
                        message: error.to_string(),
                    });
                    (ResourceAction::Failed, error.to_string())
                }
            };
            report.results.push(ResourceResult {
                id: step.id.clone(),
                action,
                message,
                health: None,
            });
        }
        match cancelled {
            Some(error) if failures.is_empty() => Err(error),
            Some(error) => Err(error.context(summary("could not be applied", &failures))),
            None if failures.is_empty() => Ok(members),
            None => Err(Error::failed(summary("could not be applied", &failures))),
        }
    }

    async fn stage_one(
        &self,
        applier: &Applier<'_>,
        at: usize,
        step: &Step,
    ) -> (usize, Result<Option<Applied>>) {
        let result = match step.action {
            _ if self.cancel.is_cancelled() => Err(Error::cancelled("the sync was terminated")),
            PlanAction::Create | PlanAction::Update => applier.apply(step).await.map(Some),
            _ => Ok(None),
        };
        if let Ok(Some(applied)) = &result {
            self.progress.event(EventKind::Resource {
                id: step.id.clone(),
                action: applied.action,
                message: String::new(),
            });
        }
        (at, result)
    }

    /// Dry-runs a stage: none of it is applied when any of it would be refused.
    async fn validate(&self, plan: &Plan, stage: &Stage) -> Result<()> {
        let applier = self.applier();
        let work = stage
            .steps
            .iter()
            .map(|&at| &plan.steps[at])
            .filter(|step| {
                matches!(step.action, PlanAction::Create | PlanAction::Update)
                    && step.options.validates()
            })
            .map(|step| validate_one(&applier, step).boxed())
            .collect();
        let failures: Vec<String> = concurrent::run(self.options.concurrency, work)
            .await
            .into_iter()
            .flatten()
            .collect();
        if failures.is_empty() {
            return Ok(());
        }
        Err(Error::failed(summary(
            "were refused by the dry-run; nothing of the stage was applied",
            &failures,
        )))
    }

    /// Waits until the stage's CRDs are established, and forgets what was known of kinds.
    async fn establish(&self, plan: &Plan, stage: &Stage) -> Result<()> {
        let crds: Vec<(ObjectId, Health)> = stage
            .steps
            .iter()
            .map(|&at| &plan.steps[at])
            .filter(|step| matches!(step.action, PlanAction::Create | PlanAction::Update))
            .map(|step| (step.id.clone(), Health::new(HealthStatus::Progressing, "")))
            .collect();
        if crds.is_empty() {
            return Ok(());
        }
        let waiter = self.waiter();
        let established = waiter.wait(&plan.steps, &crds, self.options.crd_timeout, true);
        unless_cancelled(self.cancel, "for CRDs to be established", established)
            .await
            .context(|| "wait until the CRDs are established")?;
        self.cluster.invalidate();
        Ok(())
    }

    /// Kinds that came with a CRD are served now.
    async fn resolve_deferred(&self, plan: &mut Plan, stage: &Stage) -> Result<()> {
        for &at in &stage.steps {
            // What nothing is done with needs no kind.
            let sent = matches!(
                plan.steps[at].action,
                PlanAction::Create | PlanAction::Update
            );
            if !plan.steps[at].deferred || !sent {
                continue;
            }
            let gvk = plan.steps[at].kind.gvk.clone();
            let kind = self
                .until_served(&gvk)
                .await
                .context(|| format!("find out about {gvk}"))?;
            for step in plan.steps.iter_mut().filter(|step| step.kind.gvk == gvk) {
                step.kind = kind.clone();
                step.deferred = false;
            }
        }
        Ok(())
    }

    /// The kind, once the server serves it: the discovery document follows the CRD's condition by a moment.
    pub(super) async fn until_served(&self, gvk: &GroupVersionKind) -> Result<ApiKind> {
        let retry = super::options::RetryOptions {
            total: self.options.crd_timeout,
            ..self.options.retry
        };
        let served = super::retry::retry(&retry, None, || async {
            self.cluster.resolve(gvk).await.map_err(|error| {
                let missing = error.kind() == ErrorKind::NotFound;
                self.cluster.invalidate();
                error.with_retryable(missing)
            })
        });
        unless_cancelled(self.cancel, "for a CRD's kind to be served", served).await
    }

    async fn wait(
        &self,
        plan: &Plan,
        members: &[(ObjectId, Health)],
        report: &mut Report,
    ) -> Result<()> {
        let Some(wait) = self.options.wait else {
            return Ok(());
        };
        let waiter = self.waiter();
        let waited = waiter.wait(&plan.steps, members, wait.timeout, wait.fail_fast);
        let (states, result) = match unless_cancelled(self.cancel, "for health", waited).await {
            Ok(states) => (states, Ok(())),
            Err(error) => (HashMap::new(), Err(error)),
        };
        for result in &mut report.results {
            if let Some(health) = states.get(&result.id) {
                result.health = Some(health.clone());
            }
        }
        result
    }

    async fn prune(&self, plan: &mut Plan, report: &mut Report) -> Result<()> {
        self.check_cancelled()?;
        prune::run(self, plan, report).await
    }

    async fn hooks(&self, plan: &Plan, phase: Phase, report: &mut Report) -> Result<()> {
        hooks::run(self, plan, phase, i64::MIN..=i64::MAX, report).await
    }

    /// Writes what was learnt. What is gone for good leaves the inventory; what could not be pruned stays.
    async fn save(&self, plan: &mut Plan) -> Result<()> {
        let known: BTreeSet<ObjectId> = plan.steps.iter().map(|step| step.id.clone()).collect();
        let gone: Vec<ObjectId> = plan
            .inventory
            .iter()
            .filter(|entry| !known.contains(&entry.id))
            .map(|entry| entry.id.clone())
            .collect();
        for id in &gone {
            debug!(%id, "is gone and leaves the inventory");
            plan.inventory.remove(id);
        }
        if !plan.inventory.exists() && plan.inventory.is_empty() {
            return Ok(());
        }
        let inventory = &mut plan.inventory;
        // The answer may be lost although the write was done: a second try would then meet its own version.
        inventory.write(self.recorder, self.set).await
    }

    pub(super) fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::cancelled("the sync was terminated"));
        }
        Ok(())
    }

    pub(super) fn applier(&self) -> Applier<'_> {
        Applier {
            cluster: self.cluster,
            health: self.health,
            set: self.set,
            options: self.options,
            cancel: self.cancel,
        }
    }

    pub(super) fn waiter(&self) -> Waiter<'_> {
        Waiter {
            cluster: self.cluster,
            health: self.health,
            set: self.set,
            progress: self.progress,
        }
    }
}

async fn validate_one(applier: &Applier<'_>, step: &Step) -> Option<String> {
    let error = applier.dry_run(step).await.err()?;
    Some(format!("{}: {error}", step.id))
}

/// Objects that may be applied at the same time.
#[derive(Debug)]
struct Stage {
    wave: i64,
    is_crds: bool,
    /// Namespaces or CRDs: what others stand on.
    is_ground: bool,
    steps: Vec<usize>,
}

/// Splits the ordered steps where the wave or the kind's rank changes.
fn stages(steps: &[Step]) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut last = None;
    for (at, step) in steps.iter().enumerate() {
        if step.desired.is_none() {
            continue;
        }
        let key = (step.options.wave, kind_rank(&step.id.group, &step.id.kind));
        match stages.last_mut() {
            Some(stage) if last == Some(key) => stage.steps.push(at),
            _ => stages.push(Stage {
                wave: step.options.wave,
                is_crds: step.id.kind == "CustomResourceDefinition",
                is_ground: matches!(
                    step.id.kind.as_str(),
                    "CustomResourceDefinition" | "Namespace"
                ),
                steps: vec![at],
            }),
        }
        last = Some(key);
    }
    stages
}

/// The first failures, and how many there are.
pub(super) fn summary(what: &str, failures: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = format!("{} objects {what}: ", failures.len());
    if failures.len() == 1 {
        text = String::new();
    }
    text.push_str(&failures[..failures.len().min(SHOWN)].join("; "));
    if failures.len() > SHOWN {
        text.push_str(&format!("; and {} more", failures.len() - SHOWN));
    }
    text
}
