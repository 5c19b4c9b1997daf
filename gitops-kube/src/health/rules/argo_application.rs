//! Argo CD's Application and ApplicationSet.
//!
//! Facts: gitops-engine and Argo CD have had no rule for Application since Argo CD 1.8; the documentation's own for app-of-apps hands on
//! `status.health`. Strict does so, and is Progressing while an operation runs or the newest source was not compared yet. ApplicationSet: Argo CD 3.2
//! (`resource_customizations/argoproj.io/ApplicationSet`). kstatus has no rule for either.

use gitops_core::application::{Health, HealthStatus};

use super::super::view::{Checked, Truth, View, find};
use super::super::{degraded, healthy, progressing};
use super::Builtin;

pub(super) static APPLICATION: Builtin = Builtin {
    kinds: &[("argoproj.io", "Application")],
    strict: application,
    kstatus: None,
};

pub(super) static APPLICATION_SET: Builtin = Builtin {
    kinds: &[("argoproj.io", "ApplicationSet")],
    strict: application_set,
    kstatus: None,
};

fn application(view: &View<'_>) -> Checked {
    let message = view.text_or_empty("status.health.message")?;
    // An operation that was asked for but not taken up yet, or one that runs.
    if view.inner("operation")?.is_some()
        || matches!(
            view.text("status.operationState.phase")?,
            Some("Running" | "Terminating")
        )
    {
        let says = view.text_or_empty("status.operationState.message")?;
        return Ok(progressing(if says.is_empty() {
            "an operation runs".to_owned()
        } else {
            format!("an operation runs: {says}")
        }));
    }
    Ok(match view.text_or_empty("status.health.status")? {
        "" => progressing("Argo CD has not assessed it yet"),
        status => Health::new(named(status), message),
    })
}

/// A status by Argo CD's name of it.
pub(super) fn named(status: &str) -> HealthStatus {
    match status {
        "Healthy" => HealthStatus::Healthy,
        "Suspended" => HealthStatus::Suspended,
        "Progressing" => HealthStatus::Progressing,
        "Missing" => HealthStatus::Missing,
        "Degraded" => HealthStatus::Degraded,
        _ => HealthStatus::Unknown,
    }
}

fn application_set(view: &View<'_>) -> Checked {
    let conditions = view.conditions()?;
    let is = |kind: &str, truth| conditions.iter().find(|c| c.is(kind, truth));
    if let Some(condition) =
        is("ErrorOccurred", Truth::True).or_else(|| is("ResourcesUpToDate", Truth::False))
    {
        return Ok(degraded(condition.says()));
    }
    if let Some(condition) = is("RolloutProgressing", Truth::True) {
        return Ok(progressing(condition.says()));
    }
    Ok(match find(&conditions, "ResourcesUpToDate") {
        Some(condition) if condition.truth == Truth::True => healthy(condition.message),
        _ => progressing("its applications are not generated yet"),
    })
}
