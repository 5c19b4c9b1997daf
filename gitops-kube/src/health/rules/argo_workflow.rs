//! Argo Workflows' Workflow and CronWorkflow.
//!
//! Facts: gitops-engine 0.7.1 (`pkg/health/health_argo.go`); Argo CD 3.2 (`resource_customizations/argoproj.io/CronWorkflow`). Strict adds
//! Suspended for a Workflow or CronWorkflow that is told to wait. kstatus has no rule.

use gitops_core::application::{Health, HealthStatus};

use super::super::view::{Checked, Truth, View};
use super::super::{degraded, healthy, progressing, suspended};
use super::Builtin;

pub(super) static WORKFLOW: Builtin = Builtin {
    kinds: &[("argoproj.io", "Workflow")],
    strict: workflow,
    kstatus: None,
};

pub(super) static CRON_WORKFLOW: Builtin = Builtin {
    kinds: &[("argoproj.io", "CronWorkflow")],
    strict: cron_workflow,
    kstatus: None,
};

fn workflow(view: &View<'_>) -> Checked {
    let message = view.text_or_empty("status.message")?;
    Ok(match view.text_or_empty("status.phase")? {
        "Succeeded" => healthy(message),
        "Failed" | "Error" => degraded(message),
        "" | "Pending" | "Running" if view.flag("spec.suspend")? => {
            suspended("the Workflow is suspended")
        }
        "" | "Pending" | "Running" => progressing(message),
        _ => Health::new(HealthStatus::Unknown, message),
    })
}

fn cron_workflow(view: &View<'_>) -> Checked {
    for condition in view.conditions()? {
        if condition.is("SpecError", Truth::True) || condition.is("SubmissionError", Truth::True) {
            return Ok(degraded(condition.says()));
        }
    }
    Ok(if view.flag("spec.suspend")? {
        suspended("the CronWorkflow is suspended")
    } else {
        healthy("")
    })
}
