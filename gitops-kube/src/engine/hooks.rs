//! Hooks: objects that run at a point of a sync, as Argo CD defines them (argo-cd 3.2, `docs/user-guide/sync-waves.md` and
//! gitops-engine's `pkg/sync/hook`).

use std::ops::RangeInclusive;
use std::time::Duration;

use gitops_core::application::{Health, HealthStatus};
use gitops_core::backend::{EventKind, Propagation, ResourceAction, ResourceResult};
use gitops_core::manifest::Object;
use gitops_core::manifest::order::{HookDeletePolicy, Phase};
use gitops_core::{Error, ErrorKind, Result, ResultExt};

use super::apply::wait_gone;
use super::cancel::unless_cancelled;
use super::execute::{Executor, Report};
use super::owner;
use super::plan::{Plan, Step};
use crate::cluster::{DeleteParams, ObjectKey};

/// How long a hook may run when nothing else is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Runs the hooks of `phase` and of these waves in the order of their waves, each to its end.
pub(super) async fn run(
    executor: &Executor<'_>,
    plan: &Plan,
    phase: Phase,
    waves: RangeInclusive<i64>,
    report: &mut Report,
) -> Result<()> {
    // A selective sync runs no hooks (Argo CD).
    if !executor.options.resources.is_empty() {
        return Ok(());
    }
    let mut hooks: Vec<&Step> = plan
        .hooks
        .iter()
        .filter(|step| step.options.hooks.contains(&phase) && waves.contains(&step.options.wave))
        .collect();
    hooks.sort_by_key(|step| step.options.wave);
    for step in hooks {
        executor.check_cancelled()?;
        let result = one(executor, step).await;
        let (phase_name, message) = match &result {
            Ok(()) => ("Succeeded", String::new()),
            Err(error) => ("Failed", error.to_string()),
        };
        executor.progress.event(EventKind::Hook {
            id: step.id.clone(),
            phase: phase_name.into(),
            message: message.clone(),
        });
        let policies = &step.options.hook_delete;
        let delete = match &result {
            Ok(()) => policies.contains(&HookDeletePolicy::HookSucceeded),
            Err(_) => policies.contains(&HookDeletePolicy::HookFailed),
        };
        if delete {
            remove(executor, step).await?;
        }
        report.results.push(ResourceResult {
            id: step.id.clone(),
            action: if result.is_ok() {
                ResourceAction::Created
            } else {
                ResourceAction::Failed
            },
            message,
            health: None,
        });
        result.context(|| format!("{phase:?} hook {}", step.id))?;
    }
    Ok(())
}

async fn one(executor: &Executor<'_>, step: &Step) -> Result<()> {
    let policies = &step.options.hook_delete;
    // BeforeHookCreation is the default.
    let before = policies.is_empty() || policies.contains(&HookDeletePolicy::BeforeHookCreation);
    if let Some(live) = executor.cluster.get(key(step)).await? {
        // Also what is to stay must be ours: an apply would join somebody else's object, and a later policy delete it.
        owner::check_deletable(&live, executor.set.manager())?;
        if before || live.is_terminating() {
            delete(executor, step, &live).await?;
        }
    }
    executor.progress.event(EventKind::Hook {
        id: step.id.clone(),
        phase: "Running".into(),
        message: String::new(),
    });
    executor.applier().apply(step).await?;
    unless_cancelled(
        executor.cancel,
        "for a hook to end",
        until_ended(executor, step),
    )
    .await
}

async fn until_ended(executor: &Executor<'_>, step: &Step) -> Result<()> {
    let timeout = executor
        .options
        .wait
        .map_or(DEFAULT_TIMEOUT, |wait| wait.timeout);
    let deadline = tokio::time::Instant::now() + timeout;
    let mut pause = Duration::from_millis(100);
    loop {
        let object = executor.cluster.get(key(step)).await?;
        let health = match &object {
            Some(object) => executor.health.assess(object),
            None => return Err(Error::failed("it was deleted while it ran")),
        };
        if let Some(result) = ended(step, &health) {
            return result;
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(Error::timeout(format!(
                "still {} after {timeout:?}: {}",
                health.status, health.message
            )));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(2));
    }
}

fn ended(_step: &Step, health: &Health) -> Option<Result<()>> {
    match health.status {
        HealthStatus::Healthy => Some(Ok(())),
        HealthStatus::Degraded => Some(Err(Error::failed(health.message.clone()))),
        _ => None,
    }
}

/// Deletes the hook, if it is there and is ours, and waits until it is gone.
async fn remove(executor: &Executor<'_>, step: &Step) -> Result<()> {
    let Some(live) = executor.cluster.get(key(step)).await? else {
        return Ok(());
    };
    owner::check_deletable(&live, executor.set.manager())?;
    delete(executor, step, &live).await
}

async fn delete(executor: &Executor<'_>, step: &Step, live: &Object) -> Result<()> {
    let params = DeleteParams {
        uid: Some(live.uid().to_owned()),
        propagation: Some(Propagation::Background),
        ..DeleteParams::default()
    };
    if !live.is_terminating() {
        match executor.cluster.delete(key(step), &params).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    wait_gone(
        executor.cluster,
        key(step),
        Some(live.uid()),
        executor.cancel,
    )
    .await
}

fn key(step: &Step) -> ObjectKey<'_> {
    ObjectKey {
        kind: &step.kind,
        namespace: &step.id.namespace,
        name: &step.id.name,
    }
}
