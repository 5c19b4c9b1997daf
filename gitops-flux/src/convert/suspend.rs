//! Whether a workload is suspended, by whom, and what is noted while an operation runs.

use gitops_core::Result;
use gitops_core::application::Application;
use serde_json::{Value, json};

use super::{KEPT, MANUAL, OPERATION, PAUSED, Parts, SUSPENDED, SYNC, Workload};
use super::{is_manual, running, to_keep};

/// Whether it is suspended only because it is being put, or because a put has died half-way.
pub(crate) fn is_paused(workload: &Workload) -> bool {
    let generation = workload.metadata().generation;
    let noted = workload
        .annotation(PAUSED)
        .and_then(|text| text.parse().ok());
    workload.is_suspended() && noted.is_some() && noted == generation
}

/// Whether somebody has suspended it. For what is synced only when asked this says nothing.
pub(super) fn read(workload: &Workload) -> bool {
    let suspended = workload.is_suspended() && !is_paused(workload);
    match running(workload.metadata()) {
        // While an operation runs nothing is suspended, whatever it is otherwise.
        Some(_) => workload.annotation(SYNC) == Some(SUSPENDED) || suspended,
        None => suspended,
    }
}

/// Suspends or resumes as the application says. While an operation runs it is only noted: the operation writes it at its end.
pub(super) fn write(workload: &mut Workload, app: &Application) {
    if is_paused(workload) {
        workload.set_suspended(false);
    }
    let wanted = is_manual(app) || app.suspended;
    let record = running(workload.metadata());
    match &record {
        None if workload.is_suspended() != wanted => workload.set_suspended(wanted),
        Some(_) if !wanted => workload.set_suspended(false),
        _ => {}
    }
    let prune = !is_manual(app)
        && app
            .sync_policy
            .automated
            .is_some_and(|automated| automated.prune);
    let is_helm = workload.is_helm();
    let annotations = workload.metadata_mut().annotations.get_or_insert_default();
    annotations.remove(PAUSED);
    match (is_manual(app), app.suspended && record.is_some()) {
        (true, _) => annotations.insert(SYNC.to_owned(), MANUAL.to_owned()),
        (false, true) => annotations.insert(SYNC.to_owned(), SUSPENDED.to_owned()),
        (false, false) => annotations.remove(SYNC),
    };
    if let Some(mut record) = record {
        let before = record.clone();
        if !is_helm {
            record["before"]["prune"] = json!(prune);
        }
        if record != before {
            annotations.insert(OPERATION.to_owned(), record.to_string());
        }
    }
}

/// The change of the workload that suspends or resumes it as the application says, and nothing else.
///
/// # Errors
/// `InvalidInput` when there is too much to keep.
pub(crate) fn suspension(app: &Application, parts: &Parts) -> Result<Value> {
    let mut made = parts.clone();
    write(&mut made.workload, app);
    let kept = to_keep(app, &made)?;
    let mut annotations = json!({});
    for name in [SYNC, PAUSED, OPERATION] {
        let now = made.workload.annotation(name);
        if parts.workload.annotation(name) != now {
            annotations[name] = json!(now);
        }
    }
    if parts.workload.annotation(KEPT) != kept.as_deref() {
        annotations[KEPT] = json!(kept);
    }
    let mut patch = json!({"metadata": {"annotations": annotations}});
    if parts.workload.is_suspended() != made.workload.is_suspended() {
        patch["spec"]["suspend"] = match made.workload.is_suspended() {
            true => json!(true),
            false => Value::Null,
        };
    }
    Ok(patch)
}
