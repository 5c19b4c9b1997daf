//! Job.
//!
//! Facts: gitops-engine 0.7.1 (`pkg/health/health_job.go`); kstatus' `jobConditions`, which calls a Job Current as soon as it started.
//! Strict differs from gitops-engine: a condition counts only while it is True, so that a Job that was resumed (Suspended is False) is
//! Progressing, not Healthy, and one that is bound to fail (FailureTarget) is Degraded before its last pods ended.

use super::super::view::{Checked, Truth, View};
use super::super::{degraded, healthy, progressing, suspended};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("batch", "Job")],
    strict,
    kstatus: Some(kstatus),
};

fn strict(view: &View<'_>) -> Checked {
    let conditions = view.conditions()?;
    let is_true = |kind: &str| conditions.iter().find(|c| c.is(kind, Truth::True));
    if let Some(condition) = is_true("Failed").or_else(|| is_true("FailureTarget")) {
        return Ok(degraded(condition.says()));
    }
    if let Some(condition) = is_true("Complete") {
        return Ok(healthy(condition.message));
    }
    if view.flag("spec.suspend")? || is_true("Suspended").is_some() {
        return Ok(suspended("the Job is suspended"));
    }
    Ok(progressing(counts(view)?))
}

fn kstatus(view: &View<'_>) -> Checked {
    for condition in view.conditions()? {
        if condition.is("Complete", Truth::True) {
            return Ok(healthy(condition.message));
        }
        if condition.is("Failed", Truth::True) {
            return Ok(degraded(condition.says()));
        }
    }
    Ok(if view.text_or_empty("status.startTime")?.is_empty() {
        progressing("it has not started")
    } else {
        healthy(counts(view)?)
    })
}

fn counts(view: &View<'_>) -> Checked<String> {
    let completions = view
        .count("spec.completions")?
        .or(view.count("spec.parallelism")?)
        .unwrap_or(1);
    let succeeded = view.count_or_zero("status.succeeded")?;
    let active = view.count_or_zero("status.active")?;
    let failed = view.count_or_zero("status.failed")?;
    Ok(format!(
        "{succeeded} of {completions} pods completed, {active} run, {failed} failed"
    ))
}
