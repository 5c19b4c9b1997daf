//! Tekton's PipelineRun, TaskRun and CustomRun.
//!
//! Facts: Tekton Pipelines 1.10 (`docs/pipelineruns.md`, `docs/taskruns.md`): one condition, Succeeded, which is Unknown while it runs; a
//! PipelineRun whose `spec.status` is PipelineRunPending waits on purpose. kstatus has no rule, and, as there is no Ready condition, calls every run Current.

use super::super::view::{Checked, Truth, View, find};
use super::super::{degraded, healthy, progressing, suspended};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[
        ("tekton.dev", "PipelineRun"),
        ("tekton.dev", "TaskRun"),
        ("tekton.dev", "CustomRun"),
    ],
    strict,
    kstatus: None,
};

fn strict(view: &View<'_>) -> Checked {
    let conditions = view.conditions()?;
    let succeeded = find(&conditions, "Succeeded");
    Ok(match succeeded.map(|c| (c.truth, c)) {
        Some((Truth::True, condition)) => healthy(condition.message),
        Some((Truth::False, condition)) => degraded(condition.says()),
        _ if view.text("spec.status")? == Some("PipelineRunPending") => {
            suspended("the run is pending until it is released")
        }
        Some((Truth::Unknown, condition)) => progressing(condition.says()),
        None => progressing("its controller has not seen it yet"),
    })
}
