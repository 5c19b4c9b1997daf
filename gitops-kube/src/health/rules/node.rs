//! Node.
//!
//! Facts: Kubernetes 1.34 API, node conditions. Neither gitops-engine nor kstatus has a rule of its own (kstatus reads Ready). Strict: cordoned is
//! Suspended; a node whose kubelet stopped to report (Ready is Unknown) is Degraded.

use super::super::view::{Checked, Truth, View, find};
use super::super::{degraded, healthy, progressing, suspended};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("", "Node")],
    strict,
    kstatus: None,
};

fn strict(view: &View<'_>) -> Checked {
    let conditions = view.conditions()?;
    Ok(match find(&conditions, "Ready") {
        None => progressing("its kubelet has not reported yet"),
        Some(condition) if condition.truth == Truth::False => progressing(condition.says()),
        Some(condition) if condition.truth == Truth::Unknown => degraded(condition.says()),
        Some(_) if view.flag("spec.unschedulable")? => suspended("it is cordoned"),
        Some(_) => healthy(""),
    })
}
