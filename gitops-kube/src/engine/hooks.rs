//! Hooks: objects that run at a point of a sync, as Argo CD defines them (argo-cd 3.2, `docs/user-guide/sync-waves.md` and
//! gitops-engine's `pkg/sync/hook`).

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use gitops_core::application::{Health, HealthStatus};
use gitops_core::backend::{EventKind, Propagation, ResourceAction, ResourceResult};
use gitops_core::manifest::order::{HookDeletePolicy, Phase};
use gitops_core::manifest::{GroupVersionKind, Object};
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
        let (step, result) = match served(executor, step, phase).await {
            Ok(step) => {
                let result = one(executor, &step).await;
                (step, result)
            }
            Err(error) => (Cow::Borrowed(step), Err(error)),
        };
        let step = &*step;
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
        if delete
            && let Err(error) = remove(executor, step).await
            && result.is_ok()
        {
            return Err(error);
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

/// The hook with its kind as it is served now: its CRD may have come with the same manifests, in an earlier phase or wave.
async fn served<'s>(
    executor: &Executor<'_>,
    step: &'s Step,
    phase: Phase,
) -> Result<Cow<'s, Step>> {
    if !step.deferred {
        return Ok(Cow::Borrowed(step));
    }
    let gvk = &step.kind.gvk;
    let kind = if phase == Phase::SyncFail {
        // Whether its CRD was applied before the sync failed is anybody's guess: nothing to wait for.
        executor.cluster.invalidate();
        executor.cluster.resolve(gvk).await
    } else {
        executor.until_served(gvk).await
    };
    Ok(Cow::Owned(Step {
        kind: kind.context(|| format!("find out about {gvk}"))?,
        deferred: false,
        ..step.clone()
    }))
}

/// Refuses hooks whose kind cannot be served in time: their CRD, of the same manifests, is applied only later.
///
/// # Errors
/// `InvalidInput`, naming the hook.
pub(super) fn check_kinds(hooks: &[Step], steps: &[Step]) -> Result<()> {
    for hook in hooks.iter().filter(|hook| hook.deferred) {
        let declares = |crd: &&Step| {
            crd.desired
                .as_ref()
                .is_some_and(|crd| declares(crd, &hook.kind.gvk))
        };
        let by_hooks = hooks.iter().filter(declares).flat_map(|crd| {
            let phases = crd.options.hooks.iter();
            phases.map(|phase| (*phase, crd.options.wave))
        });
        let by_steps = steps.iter().filter(declares);
        let by_steps = by_steps.map(|crd| (Phase::Sync, crd.options.wave));
        // In one wave CRDs come first.
        let Some(first) = by_hooks.chain(by_steps).min() else {
            continue;
        };
        let early = hook.options.hooks.iter().find(|phase| {
            matches!(phase, Phase::PreSync | Phase::Sync | Phase::PostSync)
                && (**phase, hook.options.wave) < first
        });
        if let Some(phase) = early {
            let place = hook
                .desired
                .as_ref()
                .and_then(Object::origin)
                .map(|origin| format!("{origin}: "))
                .unwrap_or_default();
            return Err(Error::invalid(format!(
                "{place}{phase:?} hook {} (wave {}) comes before the CRD of its kind, which is applied in phase {:?} (wave {}): make the CRD an earlier hook, or the hook a later one",
                hook.id, hook.options.wave, first.0, first.1
            )));
        }
    }
    Ok(())
}

fn declares(crd: &Object, kind: &GroupVersionKind) -> bool {
    let is = |pointer: &str, text: &str| {
        crd.pointer(pointer).and_then(|value| value.as_str()) == Some(text)
    };
    crd.kind() == "CustomResourceDefinition"
        && is("/spec/group", &kind.group)
        && is("/spec/names/kind", &kind.kind)
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
