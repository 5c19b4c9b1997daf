//! Argo Rollouts' Rollout.
//!
//! Facts: Argo CD 3.2 (`resource_customizations/argoproj.io/Rollout`): since Rollouts 1.0 the controller writes phase and message into the status.
//! Rollouts older than that (2021) are judged by their conditions and counts only as far as Degraded and Progressing go. kstatus has no rule.
//! `status.observedGeneration` is a text here.

use gitops_core::application::{Health, HealthStatus};
use serde_json::Value;

use super::super::view::{Checked, View};
use super::super::{degraded, progressing, suspended};
use super::Builtin;
use super::argo_application::named;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("argoproj.io", "Rollout")],
    strict,
    kstatus: None,
};

fn strict(view: &View<'_>) -> Checked {
    if let Some(generation) = view.int("metadata.generation")? {
        let observed = number(view, "status.observedGeneration")?;
        if observed.is_none_or(|observed| observed < generation) {
            return Ok(progressing(format!(
                "generation {generation} is not observed yet"
            )));
        }
    }
    if view.inner("spec.workloadRef")?.is_some()
        && let Some(annotations) = view.inner("metadata.annotations")?
        && let Some(wanted) = annotations
            .field("rollout.argoproj.io/workload-generation")
            .and_then(Value::as_str)
        && number(view, "status.workloadObservedGeneration")?.map(|n| n.to_string())
            != Some(wanted.to_owned())
    {
        return Ok(progressing(
            "the workload's newest generation is not observed yet",
        ));
    }
    let message = view.text_or_empty("status.message")?;
    match view.text_or_empty("status.phase")? {
        "" => {}
        "Paused" => return Ok(suspended(message)),
        phase => return Ok(Health::new(named(phase), message)),
    }
    for condition in view.conditions()? {
        if condition.kind == "InvalidSpec"
            || (condition.kind == "Progressing"
                && matches!(
                    condition.reason,
                    "RolloutAborted" | "ProgressDeadlineExceeded"
                ))
        {
            return Ok(degraded(condition.says()));
        }
    }
    if view.inner("status")?.is_none() {
        return Ok(progressing("its controller has not seen it yet"));
    }
    Ok(Health::new(
        HealthStatus::Unknown,
        "it has no status.phase: Argo Rollouts is older than 1.0",
    ))
}

/// A number, or a text that holds one.
fn number(view: &View<'_>, path: &str) -> Checked<Option<i64>> {
    match view.get(path)? {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(value) => match value
            .as_i64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
        {
            Some(number) => Ok(Some(number)),
            None => Err(view.wrong(path, "a number, or a text that holds one", value)),
        },
    }
}
