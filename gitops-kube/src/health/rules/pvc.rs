//! PersistentVolumeClaim.
//!
//! Facts: gitops-engine 0.7.1 (`pkg/health/health_pvc.go`); kstatus' `pvcConditions`, which calls everything but Bound InProgress, Lost too.
//! Strict: Lost is Degraded; a claim without a phase is Progressing. A claim that waits for its first pod (`WaitForFirstConsumer`) is Pending and
//! thus Progressing everywhere: sync its pod in the same wave.

use gitops_core::application::{Health, HealthStatus};

use super::super::view::{Checked, View};
use super::super::{degraded, healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("", "PersistentVolumeClaim")],
    strict,
    kstatus: Some(kstatus),
};

fn strict(view: &View<'_>) -> Checked {
    Ok(match view.text_or_empty("status.phase")? {
        "Bound" => healthy(""),
        "Lost" => degraded("its volume is lost"),
        "Pending" | "" => progressing("it is not bound to a volume yet"),
        _ => Health::new(HealthStatus::Unknown, "its phase is none that is known"),
    })
}

fn kstatus(view: &View<'_>) -> Checked {
    Ok(match view.text_or_empty("status.phase")? {
        "Bound" => healthy(""),
        _ => progressing("it is not bound to a volume"),
    })
}
