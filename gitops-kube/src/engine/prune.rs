//! Deleting what Git no longer names: last, in reverse order, and never on doubt.
//!
//! A group begins when the objects of the one before are gone, not when their deletion was accepted (Argo CD prunes wave by wave in the same
//! way). What is not gone stays in the inventory, so that a later sync looks at it again.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use gitops_core::backend::{EventKind, ResourceAction, ResourceResult};
use gitops_core::manifest::order::kind_rank;
use gitops_core::manifest::{Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result};

use super::cancel::unless_cancelled;
use super::concurrent;
use super::execute::{Executor, Report, summary};
use super::plan::{Plan, PlanAction, Step};
use crate::cluster::{DeleteParams, ObjectKey};

/// Prunes, and takes what is gone out of the inventory, also when it fails or is cancelled on the way.
pub(super) async fn run(
    executor: &Executor<'_>,
    plan: &mut Plan,
    report: &mut Report,
) -> Result<()> {
    let mut gone = BTreeSet::new();
    let mut result = Ok(());
    for group in groups(&plan.steps) {
        result = prune_group(executor, group, report, &mut gone).await;
        // What stands below waits for what stands above it to be deleted.
        if result.is_err() {
            break;
        }
    }
    for step in plan
        .steps
        .iter()
        .filter(|step| step.action == PlanAction::Keep)
    {
        report.results.push(ResourceResult {
            id: step.id.clone(),
            action: ResourceAction::PruneSkipped,
            message: step.reason.clone(),
            health: None,
        });
    }
    for id in &gone {
        plan.inventory.remove(id);
    }
    plan.steps.retain(|step| !gone.contains(&step.id));
    result
}

/// What became of one deletion.
enum Deletion {
    /// It is not there (any more).
    Gone,
    /// The server accepted it just now.
    Accepted,
    /// It was accepted earlier.
    Pending,
}

async fn prune_group(
    executor: &Executor<'_>,
    group: Vec<&Step>,
    report: &mut Report,
    gone: &mut BTreeSet<ObjectId>,
) -> Result<()> {
    let work = group
        .into_iter()
        .map(|step| delete_one(executor, step).boxed())
        .collect();
    let deleted = concurrent::run(executor.options.concurrency, work).await;
    let mut outcomes: Vec<(&Step, ResourceAction, String)> = Vec::new();
    let mut failures = Vec::new();
    let mut going = Vec::new();
    let mut cancelled = None;
    for (step, result) in deleted {
        match result {
            Ok(Deletion::Gone) => {
                gone.insert(step.id.clone());
                report.changed += 1;
                outcomes.push((step, ResourceAction::Pruned, step.reason.clone()));
            }
            Ok(Deletion::Accepted) => {
                report.changed += 1;
                going.push(step);
            }
            Ok(Deletion::Pending) => going.push(step),
            Err(error) if error.kind() == ErrorKind::Cancelled => cancelled = Some(error),
            // It was made again by somebody else between the list and now: not ours to delete.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                outcomes.push((step, ResourceAction::PruneSkipped, error.to_string()));
            }
            Err(error) => {
                failures.push(format!("{}: {error}", step.id));
                outcomes.push((step, ResourceAction::Failed, error.to_string()));
            }
        }
    }
    if let Some(error) = cancelled {
        return Err(error);
    }
    let only_late = failures.is_empty();
    let left = match left_over(executor, &going).await {
        Ok(left) => Some(left),
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        // Nobody asked to know: the next plan looks.
        Err(_) if executor.options.wait.is_none() => None,
        Err(error) => {
            failures.push(format!("whether objects are gone is not known: {error}"));
            None
        }
    };
    for step in going {
        let still_there = left.as_ref().map(|left| left.get(&step.id));
        let outcome = match (still_there, &executor.options.wait) {
            (None, _) => (step, ResourceAction::Pruned, step.reason.clone()),
            (Some(None), _) => {
                gone.insert(step.id.clone());
                (step, ResourceAction::Pruned, step.reason.clone())
            }
            (Some(Some(object)), None) => {
                let message = format!("{}; it is {}", step.reason, still(object));
                (step, ResourceAction::Pruned, message)
            }
            (Some(Some(object)), Some(wait)) => {
                let message = format!("after {:?} it is {}", wait.timeout, still(object));
                failures.push(format!("{}: {message}", step.id));
                (step, ResourceAction::Failed, message)
            }
        };
        outcomes.push(outcome);
    }
    for (step, action, message) in outcomes {
        executor.progress.event(EventKind::Resource {
            id: step.id.clone(),
            action,
            message: message.clone(),
        });
        report.results.push(ResourceResult {
            id: step.id.clone(),
            action,
            message,
            health: None,
        });
    }
    if failures.is_empty() {
        return Ok(());
    }
    let text = summary("could not be pruned", &failures);
    Err(if only_late && left.is_some() {
        Error::timeout(text)
    } else {
        Error::failed(text)
    })
}

/// What is still there of `going` once the time is up. Without a wait it is looked at once.
async fn left_over(executor: &Executor<'_>, going: &[&Step]) -> Result<BTreeMap<ObjectId, Object>> {
    let timeout = executor.options.wait.map(|wait| wait.timeout);
    let waiter = executor.waiter();
    let wait = waiter.until_gone(going, timeout.unwrap_or_default());
    unless_cancelled(executor.cancel, "until objects are gone", wait).await
}

fn still(object: &Object) -> String {
    let finalizers: Vec<&str> = object
        .pointer("/metadata/finalizers")
        .and_then(|value| value.as_array())
        .into_iter()
        .flatten()
        .filter_map(|finalizer| finalizer.as_str())
        .collect();
    match finalizers.as_slice() {
        [] => "still being deleted".to_owned(),
        held => format!("still being deleted: finalizers {}", held.join(", ")),
    }
}

async fn delete_one<'s>(executor: &Executor<'_>, step: &'s Step) -> (&'s Step, Result<Deletion>) {
    (step, delete(executor, step).await)
}

async fn delete(executor: &Executor<'_>, step: &Step) -> Result<Deletion> {
    executor.check_cancelled()?;
    let Some(live) = &step.live else {
        return Ok(Deletion::Gone);
    };
    if live.terminating {
        return Ok(Deletion::Pending);
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
        Ok(()) => Ok(Deletion::Accepted),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Deletion::Gone),
        Err(error) => Err(error),
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
