//! PodDisruptionBudget.
//!
//! Facts: Argo CD 3.2 (`resource_customizations/policy/PodDisruptionBudget`): a budget that allows no disruption now is as it should be
//! (InsufficientPods), one that cannot be computed is Degraded. kstatus calls every budget Current.

use super::super::generic::unobserved_workload;
use super::super::view::{Checked, Truth, View, find};
use super::super::{degraded, healthy};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("policy", "PodDisruptionBudget")],
    strict,
    kstatus: Some(kstatus),
};

fn strict(view: &View<'_>) -> Checked {
    if let Some(health) = unobserved_workload(view)? {
        return Ok(health);
    }
    let conditions = view.conditions()?;
    Ok(match find(&conditions, "DisruptionAllowed") {
        Some(condition)
            if condition.truth != Truth::True && condition.reason != "InsufficientPods" =>
        {
            degraded(condition.says())
        }
        Some(condition) => healthy(condition.reason),
        None => healthy(""),
    })
}

fn kstatus(_: &View<'_>) -> Checked {
    Ok(healthy(""))
}
