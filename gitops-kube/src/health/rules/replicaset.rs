//! ReplicaSet and ReplicationController.
//!
//! Facts: gitops-engine 0.7.1 (`pkg/health/health_replicaset.go`); kstatus' `replicasetConditions`, which calls a ReplicaFailure InProgress and
//! has no rule for a ReplicationController. Strict treats both kinds alike and wants pods too many to be gone.

use super::super::generic::unobserved_workload;
use super::super::view::{Checked, Truth, View};
use super::super::{degraded, healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[
        ("apps", "ReplicaSet"),
        ("extensions", "ReplicaSet"),
        ("", "ReplicationController"),
    ],
    strict,
    kstatus: Some(kstatus),
};

fn strict(view: &View<'_>) -> Checked {
    if let Some(health) = unobserved_workload(view)? {
        return Ok(health);
    }
    for condition in view.conditions()? {
        if condition.is("ReplicaFailure", Truth::True) {
            return Ok(degraded(condition.says()));
        }
    }
    counts(view)
}

fn kstatus(view: &View<'_>) -> Checked {
    if view.text("kind")? == Some("ReplicationController") {
        return Ok(super::super::generic::ready(view)?.unwrap_or_else(|| healthy("")));
    }
    for condition in view.conditions()? {
        if condition.is("ReplicaFailure", Truth::True) {
            return Ok(progressing(condition.says()));
        }
    }
    let wanted = view.count("spec.replicas")?.unwrap_or(1);
    let labelled = view.count_or_zero("status.fullyLabeledReplicas")?;
    if wanted > labelled {
        return Ok(progressing(format!(
            "{labelled} of {wanted} replicas have the template's labels"
        )));
    }
    counts(view)
}

fn counts(view: &View<'_>) -> Checked {
    let wanted = view.count("spec.replicas")?.unwrap_or(1);
    let all = view.count_or_zero("status.replicas")?;
    let available = view.count_or_zero("status.availableReplicas")?;
    let ready = view.count_or_zero("status.readyReplicas")?;
    Ok(if available < wanted {
        progressing(format!("{available} of {wanted} replicas are available"))
    } else if ready < wanted {
        progressing(format!("{ready} of {wanted} replicas are ready"))
    } else if all > wanted {
        progressing(format!(
            "{} replicas too many are still there",
            all - wanted
        ))
    } else {
        healthy(format!("{available} replicas are available"))
    })
}
