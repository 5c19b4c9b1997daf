//! CustomResourceDefinition.
//!
//! Facts: kstatus' `crdConditions`; Argo CD 3.2 (`resource_customizations/apiextensions.k8s.io/CustomResourceDefinition`). Strict wants its names
//! accepted, its schema structural, and the kind served (Established); until then it is Progressing, where Argo CD says Degraded.

use super::super::view::{Checked, Truth, View, find};
use super::super::{degraded, healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("apiextensions.k8s.io", "CustomResourceDefinition")],
    strict,
    kstatus: Some(kstatus),
};

fn strict(view: &View<'_>) -> Checked {
    let conditions = view.conditions()?;
    if let Some(condition) = conditions
        .iter()
        .find(|c| c.is("NamesAccepted", Truth::False) || c.is("NonStructuralSchema", Truth::True))
    {
        return Ok(degraded(condition.says()));
    }
    if let Some(condition) = conditions.iter().find(|c| c.is("Terminating", Truth::True)) {
        return Ok(progressing(condition.says()));
    }
    Ok(match find(&conditions, "Established") {
        Some(condition) if condition.truth == Truth::True => healthy(condition.message),
        Some(condition)
            if condition.truth == Truth::False
                && !matches!(condition.reason, "Installing" | "NotAccepted") =>
        {
            degraded(condition.says())
        }
        _ => progressing("the API server does not serve it yet"),
    })
}

fn kstatus(view: &View<'_>) -> Checked {
    for condition in view.conditions()? {
        if condition.is("NamesAccepted", Truth::False) {
            return Ok(degraded(condition.says()));
        }
        if condition.is("Established", Truth::False) && condition.reason != "Installing" {
            return Ok(degraded(condition.says()));
        }
        if condition.is("Established", Truth::True) {
            return Ok(healthy(condition.message));
        }
    }
    Ok(progressing("the API server does not serve it yet"))
}
