//! StatefulSet.
//!
//! Facts: kubectl's `rollout status` and gitops-engine 0.7.1 (`pkg/health/health_statefulset.go`); kstatus' `stsConditions`.
//! Strict counts available replicas where the controller reports them (Kubernetes ≥ 1.22) and pods too many; kstatus calls an OnDelete set
//! Current without looking, strict wants its pods to be ready (which revision they run is up to whoever deletes them).

use super::super::generic::unobserved_workload;
use super::super::view::{Checked, View};
use super::super::{healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("apps", "StatefulSet")],
    strict,
    kstatus: Some(kstatus),
};

fn strict(view: &View<'_>) -> Checked {
    if let Some(health) = unobserved_workload(view)? {
        return Ok(health);
    }
    let wanted = view.count("spec.replicas")?.unwrap_or(1);
    let all = view.count_or_zero("status.replicas")?;
    let ready = view.count_or_zero("status.readyReplicas")?;
    if ready < wanted {
        return Ok(progressing(format!("{ready} of {wanted} pods are ready")));
    }
    if let Some(available) = view.count("status.availableReplicas")?
        && available < wanted
    {
        return Ok(progressing(format!(
            "{available} of {wanted} pods are available"
        )));
    }
    if all > wanted {
        return Ok(progressing(format!(
            "{} pods too many are still there",
            all - wanted
        )));
    }
    let current = view.text_or_empty("status.currentRevision")?;
    let update = view.text_or_empty("status.updateRevision")?;
    let updated = view.count_or_zero("status.updatedReplicas")?;
    if view.text("spec.updateStrategy.type")? == Some("OnDelete") {
        return Ok(healthy(if current == update {
            format!("{ready} pods are ready")
        } else {
            format!(
                "{ready} pods are ready, {updated} at revision {update}; the others change when they are deleted"
            )
        }));
    }
    let partition = view
        .count("spec.updateStrategy.rollingUpdate.partition")?
        .unwrap_or(0);
    if current != update {
        // Pods below the partition stay at the old revision on purpose.
        let due = wanted.saturating_sub(partition).max(0);
        if updated < due || partition == 0 {
            return Ok(progressing(format!(
                "{updated} of {due} pods are at revision {update}"
            )));
        }
    }
    Ok(healthy(format!("{ready} pods are ready")))
}

fn kstatus(view: &View<'_>) -> Checked {
    if view.text("spec.updateStrategy.type")? == Some("OnDelete") {
        return Ok(healthy("the update strategy is OnDelete"));
    }
    let wanted = view.count("spec.replicas")?.unwrap_or(1);
    let all = view.count_or_zero("status.replicas")?;
    let ready = view.count_or_zero("status.readyReplicas")?;
    let current = view.count_or_zero("status.currentReplicas")?;
    let updated = view.count_or_zero("status.updatedReplicas")?;
    if wanted > all {
        return Ok(progressing(format!("{all} of {wanted} pods are there")));
    }
    if wanted > ready {
        return Ok(progressing(format!("{ready} of {wanted} pods are ready")));
    }
    if all > wanted {
        return Ok(progressing(format!(
            "{} pods too many are still there",
            all - wanted
        )));
    }
    if let Some(partition) = view.count("spec.updateStrategy.rollingUpdate.partition")? {
        let due = wanted.saturating_sub(partition);
        return Ok(if updated < due {
            progressing(format!("{updated} of {due} pods are updated"))
        } else {
            healthy(format!("{updated} pods are updated"))
        });
    }
    if wanted > current {
        return Ok(progressing(format!(
            "{current} of {wanted} pods are current"
        )));
    }
    if view.text_or_empty("status.currentRevision")?
        != view.text_or_empty("status.updateRevision")?
    {
        return Ok(progressing("the update is not finished"));
    }
    Ok(healthy(format!("{all} pods are ready")))
}
