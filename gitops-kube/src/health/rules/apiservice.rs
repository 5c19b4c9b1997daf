//! APIService.
//!
//! Facts: gitops-engine 0.7.1 (`pkg/health/health_apiservice.go`). kstatus has no rule and calls it Current.

use super::super::view::{Checked, Truth, View, find};
use super::super::{healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("apiregistration.k8s.io", "APIService")],
    strict,
    kstatus: None,
};

fn strict(view: &View<'_>) -> Checked {
    let conditions = view.conditions()?;
    Ok(match find(&conditions, "Available") {
        Some(condition) if condition.truth == Truth::True => healthy(condition.says()),
        Some(condition) => progressing(condition.says()),
        None => progressing("the aggregator has not seen it yet"),
    })
}
