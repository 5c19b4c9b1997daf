//! What is desired, what is live, and how they differ.

use std::collections::HashMap;

use gitops_core::application::{
    Application, ApplicationStatus, Condition, Health, HealthStatus, ResourceStatus, SyncStatus,
};
use gitops_core::backend::{
    ResourceAction, ResourceResult, ResourceState, SyncOptions, SyncOutcome,
};
use gitops_core::manifest::ObjectId;
use gitops_core::manifest::diff::ObjectDiff;
use gitops_core::manifest::ignore::IgnoreRules;
use gitops_core::{ErrorKind, Result};
use jiff::Timestamp;

use super::backend::Inner;
use super::operation::engine_options;
use crate::cluster::WriteParams;
use crate::engine::{ApplySet, EngineOptions, Plan, PlanAction, PlanOptions, Report, Step, Verify};

/// Why one resource is out of sync.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Which resource.
    pub id: ObjectId,
    /// What a sync would do with it.
    pub action: PlanAction,
    /// Why, in one sentence.
    pub reason: String,
    /// The fields that differ, with the managers that own them live. Secrets are masked.
    pub diff: ObjectDiff,
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.id)?;
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

/// The state of `app`, rendered and compared now.
pub(super) async fn read(inner: &Inner, app: &Application) -> Result<ApplicationStatus> {
    let app_ref = app.app_ref();
    let mut status = inner.statuses.status(&app_ref).await?.unwrap_or_default();
    status
        .conditions
        .retain(|condition| condition.kind != "ComparisonError");
    status.observed_at = Some(Timestamp::now());
    if let Some(running) = inner.running(&app_ref) {
        status.operation = Some(running.status());
    }
    match compare(inner, app, &[], false).await {
        Ok((revisions, plan)) => {
            status.revisions = revisions;
            status.resources = plan.steps().iter().filter_map(resource).collect();
            status.sync = if status
                .resources
                .iter()
                .all(|resource| resource.sync == SyncStatus::Synced)
            {
                SyncStatus::Synced
            } else {
                SyncStatus::OutOfSync
            };
            status.health = worst(&status.resources);
        }
        Err(error) => {
            status.sync = SyncStatus::Unknown;
            status.conditions.push(Condition {
                kind: "ComparisonError".into(),
                message: format!("{error:#}"),
                last_transition_time: status.observed_at,
            });
        }
    }
    Ok(status)
}

async fn compare(
    inner: &Inner,
    app: &Application,
    revisions: &[String],
    keep_live: bool,
) -> Result<(Vec<String>, Plan)> {
    let rendered = inner.sources.render(app, revisions).await?;
    let set = ApplySet::of(app)?;
    let options = EngineOptions {
        // Looking changes nothing, so it may look as if everything were allowed.
        prune: true,
        allow_empty: true,
        force_conflicts: true,
        adopt: true,
        verify: Verify::Confirm,
        ..engine_options(inner, app, &SyncOptions::default())?
    };
    let plan = PlanOptions {
        keep_live,
        look_up: true,
        ..PlanOptions::default()
    };
    let plan = inner
        .engine
        .plan(&set, rendered.manifests, &options, plan)
        .await?;
    Ok((rendered.revisions, plan))
}

fn resource(step: &Step) -> Option<ResourceStatus> {
    let pruned = step.desired().is_none();
    let sync = match step.action {
        PlanAction::Unchanged => SyncStatus::Synced,
        PlanAction::Skip | PlanAction::Create | PlanAction::Update | PlanAction::Prune => {
            SyncStatus::OutOfSync
        }
        // What is protected from pruning on purpose does not make an application out of sync.
        PlanAction::Keep => SyncStatus::Synced,
    };
    let health = match step.live_health() {
        Some(health) => health.clone(),
        None if pruned => return None,
        None => Health::new(HealthStatus::Missing, ""),
    };
    Some(ResourceStatus {
        id: step.id.clone(),
        version: step.version().to_owned(),
        sync,
        health: Some(health),
        hook: false,
        requires_pruning: pruned,
        sync_wave: step.wave(),
    })
}

/// Why each resource that is out of sync is.
pub(super) async fn explain(inner: &Inner, app: &Application) -> Result<Vec<Explanation>> {
    let (_, plan) = compare(inner, app, &[], true).await?;
    let set = ApplySet::of(app)?;
    let rules = IgnoreRules::new(&app.ignore_differences)?;
    let mut explanations = Vec::new();
    for step in plan.steps() {
        if !matches!(
            step.action,
            PlanAction::Create | PlanAction::Update | PlanAction::Prune
        ) {
            continue;
        }
        let predicted = predict(inner, &set, &rules, step).await?;
        let after = predicted.as_ref().or(step.desired());
        explanations.push(Explanation {
            id: step.id.clone(),
            action: step.action,
            reason: step.reason.clone(),
            diff: ObjectDiff::between(step.live(), after),
        });
    }
    Ok(explanations)
}

/// What the server would make of it. Without the right to ask, the desired form has to do.
async fn predict(
    inner: &Inner,
    set: &ApplySet,
    rules: &IgnoreRules,
    step: &Step,
) -> Result<Option<gitops_core::manifest::Object>> {
    let (Some(desired), Some(live)) = (step.desired(), step.live()) else {
        return Ok(None);
    };
    let params = WriteParams {
        field_manager: set.manager().to_owned(),
        dry_run: true,
        force: true,
        ..WriteParams::default()
    };
    match inner
        .engine
        .cluster()
        .apply(step.kind(), desired, &params)
        .await
    {
        // What is ignored is shown as if it stayed: it is no difference.
        Ok(predicted) => Ok(Some(rules.respect(&predicted, live))),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::NotFound
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Desired and live pairs.
pub(super) async fn state(
    inner: &Inner,
    app: &Application,
    revisions: &[String],
) -> Result<Vec<ResourceState>> {
    let (_, plan) = compare(inner, app, revisions, true).await?;
    let set = ApplySet::of(app)?;
    let rules = IgnoreRules::new(&app.ignore_differences)?;
    let mut states = Vec::new();
    for step in plan.steps() {
        let predicted = match step.action {
            PlanAction::Update => predict(inner, &set, &rules, step).await?,
            PlanAction::Unchanged => step.live().cloned(),
            _ => None,
        };
        states.push(ResourceState {
            id: step.id.clone(),
            desired: step.desired().cloned(),
            live: step.live().cloned(),
            predicted,
            hook: false,
        });
    }
    Ok(states)
}

/// What a dry run of a sync reports.
pub(super) fn report_of(plan: &Plan) -> Report {
    let mut report = Report::default();
    report
        .results
        .extend(plan.steps().iter().map(|step| ResourceResult {
            id: step.id.clone(),
            action: match step.action {
                PlanAction::Create => ResourceAction::Created,
                PlanAction::Update => ResourceAction::Updated,
                PlanAction::Unchanged => ResourceAction::Unchanged,
                PlanAction::Prune => ResourceAction::Pruned,
                PlanAction::Keep => ResourceAction::PruneSkipped,
                PlanAction::Skip => ResourceAction::Skipped,
            },
            message: step.reason.clone(),
            health: None,
        }));
    report
}

/// The resources after a sync. What it left alone is as it was known before.
pub(super) fn resources_of(
    outcome: &SyncOutcome,
    before: &[ResourceStatus],
) -> Vec<ResourceStatus> {
    let before: HashMap<&ObjectId, &ResourceStatus> = before
        .iter()
        .map(|resource| (&resource.id, resource))
        .collect();
    let of = |result: &ResourceResult| {
        let known = before.get(&result.id).copied();
        let (sync, requires_pruning) = match result.action {
            ResourceAction::Created | ResourceAction::Updated | ResourceAction::Unchanged => {
                (SyncStatus::Synced, false)
            }
            ResourceAction::PruneSkipped => (SyncStatus::OutOfSync, true),
            ResourceAction::Skipped => return known.cloned(),
            _ => (SyncStatus::OutOfSync, false),
        };
        Some(ResourceStatus {
            id: result.id.clone(),
            version: known.map(|known| known.version.clone()).unwrap_or_default(),
            sync,
            health: result
                .health
                .clone()
                .or_else(|| known.and_then(|known| known.health.clone())),
            hook: false,
            requires_pruning,
            sync_wave: known.map_or(0, |known| known.sync_wave),
        })
    };
    outcome
        .resources
        .iter()
        .filter(|result| result.action != ResourceAction::Pruned)
        .filter_map(of)
        .collect()
}

/// The worst health among resources; healthy when there are none.
pub(super) fn worst(resources: &[ResourceStatus]) -> Health {
    resources
        .iter()
        .filter_map(|resource| resource.health.clone())
        .max_by_key(|health| health.status)
        .unwrap_or_else(Health::healthy)
}
