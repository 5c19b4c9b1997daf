//! Namespace.
//!
//! Facts: Kubernetes 1.34 API, `NamespacePhase`: Active or Terminating. Neither gitops-engine nor kstatus has a rule. Strict: a namespace that is
//! going away takes nothing new, so it is Progressing, with what keeps it.

use gitops_core::application::{Health, HealthStatus};

use super::super::view::{Checked, Truth, View};
use super::super::{healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("", "Namespace")],
    strict,
    kstatus: None,
};

fn strict(view: &View<'_>) -> Checked {
    Ok(match view.text_or_empty("status.phase")? {
        "Active" | "" => healthy(""),
        "Terminating" => {
            let kept: Vec<String> = view
                .conditions()?
                .iter()
                .filter(|c| c.truth == Truth::True)
                .map(|c| c.says())
                .collect();
            progressing(if kept.is_empty() {
                "it is being deleted".to_owned()
            } else {
                format!("it is being deleted: {}", kept.join("; "))
            })
        }
        _ => Health::new(HealthStatus::Unknown, "its phase is none that is known"),
    })
}
