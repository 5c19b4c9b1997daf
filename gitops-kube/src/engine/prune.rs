//! Deleting what Git no longer names: last, in reverse order, and never on doubt.

use futures::FutureExt;
use gitops_core::backend::{EventKind, ResourceAction, ResourceResult};
use gitops_core::manifest::order::kind_rank;
use gitops_core::{Error, ErrorKind, Result};

use super::concurrent;
use super::execute::{Executor, Report, summary};
use super::plan::{Plan, PlanAction, Step};
use crate::cluster::{DeleteParams, ObjectKey};

pub(super) async fn run(
    executor: &Executor<'_>,
    plan: &mut Plan,
    report: &mut Report,
) -> Result<()> {
    let mut failures = Vec::new();
    let mut results = Vec::new();
    let mut pruned = Vec::new();
    for group in groups(&plan.steps) {
        let work = group
            .into_iter()
            .map(|step| delete_one(executor, step).boxed())
            .collect();
        let deleted = concurrent::run(executor.options.concurrency, work).await;
        for (step, result) in deleted {
            let (action, message) = match result {
                Ok(()) => {
                    pruned.push(step.id.clone());
                    report.changed += 1;
                    (ResourceAction::Pruned, step.reason.clone())
                }
                // It was made again by somebody else between the list and now: not ours to delete.
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    (ResourceAction::PruneSkipped, error.to_string())
                }
                Err(error) => {
                    failures.push(format!("{}: {error}", step.id));
                    (ResourceAction::Failed, error.to_string())
                }
            };
            executor.progress.event(EventKind::Resource {
                id: step.id.clone(),
                action,
                message: message.clone(),
            });
            results.push(ResourceResult {
                id: step.id.clone(),
                action,
                message,
                health: None,
            });
        }
        // What stands below waits for what stands above it to be deleted.
        if !failures.is_empty() {
            break;
        }
    }
    for step in plan
        .steps
        .iter()
        .filter(|step| step.action == PlanAction::Keep)
    {
        results.push(ResourceResult {
            id: step.id.clone(),
            action: ResourceAction::PruneSkipped,
            message: step.reason.clone(),
            health: None,
        });
    }
    report.results.append(&mut results);
    for id in &pruned {
        plan.inventory.remove(id);
    }
    plan.steps.retain(|step| !pruned.contains(&step.id));
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::failed(summary("could not be pruned", &failures)))
    }
}

async fn delete_one<'s>(executor: &Executor<'_>, step: &'s Step) -> (&'s Step, Result<()>) {
    (step, delete(executor, step).await)
}

async fn delete(executor: &Executor<'_>, step: &Step) -> Result<()> {
    let Some(live) = &step.live else {
        return Ok(());
    };
    if live.terminating {
        return Ok(());
    }
    let params = DeleteParams {
        uid: Some(live.uid.clone()),
        propagation: Some(executor.options.propagation),
        ..DeleteParams::default()
    };
    let key = ObjectKey {
        kind: &step.kind,
        namespace: &step.id.namespace,
        name: &step.id.name,
    };
    match executor.cluster.delete(key, &params).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What may be deleted at the same time: one wave and one rank each, in the order of the steps.
fn groups(steps: &[Step]) -> Vec<Vec<&Step>> {
    let mut groups: Vec<Vec<&Step>> = Vec::new();
    let mut last = None;
    for step in steps.iter().filter(|step| step.action == PlanAction::Prune) {
        let key = (step.options.wave, kind_rank(&step.id.group, &step.id.kind));
        match groups.last_mut() {
            Some(group) if last == Some(key) => group.push(step),
            _ => groups.push(vec![step]),
        }
        last = Some(key);
    }
    groups
}
