//! Deployment.
//!
//! Facts: kubectl's `rollout status` and gitops-engine 0.7.1 (`pkg/health/health_deployment.go`); kstatus' `deploymentConditions`.
//! Strict differs from gitops-engine: absent `spec.replicas` means 1, ready replicas count too, and a Deployment that its controller has not
//! seen is Progressing. It differs from kstatus: paused is Suspended, and the conditions are read for failures only — the
//! counts of an observed generation are enough.

use super::super::generic::unobserved_workload;
use super::super::view::{Checked, Truth, View, find};
use super::super::{degraded, healthy, progressing, suspended};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("apps", "Deployment"), ("extensions", "Deployment")],
    strict,
    kstatus: Some(kstatus),
};

fn strict(view: &View<'_>) -> Checked {
    if view.flag("spec.paused")? {
        return Ok(suspended("the rollout is paused"));
    }
    if let Some(health) = unobserved_workload(view)? {
        return Ok(health);
    }
    let conditions = view.conditions()?;
    if let Some(condition) = find(&conditions, "Progressing")
        && condition.reason == "ProgressDeadlineExceeded"
    {
        return Ok(degraded(condition.says()));
    }
    let wanted = view.count("spec.replicas")?.unwrap_or(1);
    let all = view.count_or_zero("status.replicas")?;
    let updated = view.count_or_zero("status.updatedReplicas")?;
    let available = view.count_or_zero("status.availableReplicas")?;
    let ready = view.count_or_zero("status.readyReplicas")?;
    let message = if updated < wanted {
        format!("{updated} of {wanted} replicas are updated")
    } else if all > updated {
        format!("{} old replicas are still there", all - updated)
    } else if updated > wanted {
        format!("{} replicas too many are still there", updated - wanted)
    } else if available < updated {
        format!("{available} of {updated} updated replicas are available")
    } else if ready < wanted {
        format!("{ready} of {wanted} replicas are ready")
    } else {
        return Ok(healthy(format!("{available} replicas are available")));
    };
    // Pods that cannot even be made (quota, admission) never show up as pods: the reason is here only.
    Ok(progressing(match find(&conditions, "ReplicaFailure") {
        Some(failure) if failure.truth == Truth::True => format!("{message}: {}", failure.says()),
        _ => message,
    }))
}

fn kstatus(view: &View<'_>) -> Checked {
    // Without a deadline (or with the greatest one) the controller keeps no Progressing condition.
    let mut rolled_out = matches!(
        view.int("spec.progressDeadlineSeconds")?,
        None | Some(2_147_483_647)
    );
    let mut minimum = false;
    for condition in view.conditions()? {
        match condition.kind {
            "Progressing" if condition.reason == "ProgressDeadlineExceeded" => {
                return Ok(degraded(condition.says()));
            }
            "Progressing" => {
                rolled_out |=
                    condition.truth == Truth::True && condition.reason == "NewReplicaSetAvailable";
            }
            "Available" => minimum |= condition.truth == Truth::True,
            _ => {}
        }
    }
    let wanted = view.count("spec.replicas")?.unwrap_or(1);
    let all = view.count_or_zero("status.replicas")?;
    let updated = view.count_or_zero("status.updatedReplicas")?;
    let ready = view.count_or_zero("status.readyReplicas")?;
    let available = view.count_or_zero("status.availableReplicas")?;
    Ok(if wanted > all {
        progressing(format!("{all} of {wanted} replicas are there"))
    } else if wanted > updated {
        progressing(format!("{updated} of {wanted} replicas are updated"))
    } else if all > wanted {
        progressing(format!("{} old replicas are still there", all - wanted))
    } else if updated > available {
        progressing(format!(
            "{available} of {updated} updated replicas are available"
        ))
    } else if wanted > ready {
        progressing(format!("{ready} of {wanted} replicas are ready"))
    } else if !rolled_out {
        progressing("the new ReplicaSet is not available yet")
    } else if !minimum {
        progressing("the Available condition is not True")
    } else {
        healthy(format!("{available} replicas are available"))
    })
}
