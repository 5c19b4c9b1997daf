//! Service.
//!
//! Facts: gitops-engine 0.7.1 (`pkg/health/health_service.go`): a LoadBalancer needs an address. kstatus' `serviceConditions` is content
//! with a cluster address, which says nothing about the load balancer.

use super::super::view::{Checked, View};
use super::super::{healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("", "Service")],
    strict,
    kstatus: Some(kstatus),
};

fn strict(view: &View<'_>) -> Checked {
    Ok(
        if is_load_balancer(view)? && view.items("status.loadBalancer.ingress")?.is_empty() {
            progressing("its load balancer has no address yet")
        } else {
            healthy("")
        },
    )
}

fn kstatus(view: &View<'_>) -> Checked {
    Ok(
        if is_load_balancer(view)? && view.text_or_empty("spec.clusterIP")?.is_empty() {
            progressing("it has no cluster address yet")
        } else {
            healthy("")
        },
    )
}

fn is_load_balancer(view: &View<'_>) -> Checked<bool> {
    Ok(view.text("spec.type")? == Some("LoadBalancer"))
}
