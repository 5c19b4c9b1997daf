//! DaemonSet.
//!
//! Facts: kubectl's `rollout status` and gitops-engine 0.7.1 (`pkg/health/health_daemonset.go`); kstatus' `daemonsetConditions`.
//! Strict differs from gitops-engine with OnDelete: the pods need not be new, but they must be available. kstatus makes no
//! exception for OnDelete at all.

use super::super::generic::unobserved_workload;
use super::super::view::{Checked, View};
use super::super::{healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("apps", "DaemonSet"), ("extensions", "DaemonSet")],
    strict,
    kstatus: Some(kstatus),
};

fn strict(view: &View<'_>) -> Checked {
    if let Some(health) = unobserved_workload(view)? {
        return Ok(health);
    }
    let on_delete = view.text("spec.updateStrategy.type")? == Some("OnDelete");
    counts(view, on_delete)
}

fn kstatus(view: &View<'_>) -> Checked {
    if view.int("metadata.generation")?.is_none() {
        return Ok(progressing("metadata.generation is missing"));
    }
    if view.int("status.observedGeneration")?.is_none() {
        return Ok(progressing("status.observedGeneration is missing"));
    }
    counts(view, false)
}

fn counts(view: &View<'_>, on_delete: bool) -> Checked {
    let Some(wanted) = view.count("status.desiredNumberScheduled")? else {
        return Ok(progressing("its nodes are not counted yet"));
    };
    let current = view.count_or_zero("status.currentNumberScheduled")?;
    let updated = view.count_or_zero("status.updatedNumberScheduled")?;
    let available = view.count_or_zero("status.numberAvailable")?;
    let ready = view.count_or_zero("status.numberReady")?;
    Ok(if current < wanted {
        progressing(format!("{current} of {wanted} nodes have a pod"))
    } else if updated < wanted && !on_delete {
        progressing(format!("{updated} of {wanted} pods are updated"))
    } else if available < wanted {
        progressing(format!("{available} of {wanted} pods are available"))
    } else if ready < wanted {
        progressing(format!("{ready} of {wanted} pods are ready"))
    } else if wanted == 0 {
        healthy("no node wants a pod of it")
    } else if updated < wanted {
        healthy(format!(
            "{available} pods are available, {updated} updated; the others change when they are deleted"
        ))
    } else {
        healthy(format!("{available} pods are available"))
    })
}
