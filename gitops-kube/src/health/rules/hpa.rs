//! HorizontalPodAutoscaler, in all its versions (v1 keeps its conditions in an annotation).
//!
//! Facts: gitops-engine 0.7.1 (`pkg/health/health_hpa.go`), which takes the first condition that says anything, so that AbleToScale hides
//! whatever follows it. Strict reads them all: one that lacks metrics is Progressing until they come. kstatus has no rule and calls it Current.

use serde_json::Value;

use super::super::generic::unobserved;
use super::super::view::{Checked, Condition, Truth, View, find};
use super::super::{degraded, healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("autoscaling", "HorizontalPodAutoscaler")],
    strict,
    kstatus: None,
};

const ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// Conditions that will not get better by waiting.
const FAILURES: &[(&str, &str)] = &[
    ("AbleToScale", "FailedGetScale"),
    ("AbleToScale", "FailedUpdateScale"),
    ("ScalingActive", "InvalidSelector"),
    ("ScalingActive", "InvalidMetricSourceType"),
];

fn strict(view: &View<'_>) -> Checked {
    if let Some(health) = unobserved(view)? {
        return Ok(health);
    }
    // An object read through v1 has them here only.
    let annotation = match view.inner("metadata.annotations")? {
        Some(annotations) => match annotations.field(ANNOTATION) {
            None => None,
            Some(value) => match value.as_str().map(serde_json::from_str::<Value>) {
                Some(Ok(conditions)) => Some(conditions),
                _ => return Err(annotations.wrong(ANNOTATION, "a JSON list", value)),
            },
        },
        None => None,
    };
    match &annotation {
        Some(Value::Array(conditions)) => {
            let conditions = View::list_items(ANNOTATION, conditions)?
                .iter()
                .map(Condition::read)
                .collect::<Checked<Vec<_>>>()?;
            judge(&conditions)
        }
        Some(Value::Null) | None => judge(&view.conditions()?),
        Some(other) => Err(view.wrong(ANNOTATION, "a JSON list", other)),
    }
}

fn judge(conditions: &[Condition<'_>]) -> Checked {
    if let Some(failure) = conditions
        .iter()
        .find(|c| FAILURES.contains(&(c.kind, c.reason)))
    {
        return Ok(degraded(failure.says()));
    }
    let Some(able) = find(conditions, "AbleToScale") else {
        return Ok(progressing("the autoscaler has not judged it yet"));
    };
    if able.truth != Truth::True {
        return Ok(progressing(able.says()));
    }
    Ok(match find(conditions, "ScalingActive") {
        // A target scaled to zero is switched off on purpose.
        Some(active) if active.truth == Truth::False && active.reason != "ScalingDisabled" => {
            progressing(active.says())
        }
        _ => healthy(able.message),
    })
}
