//! Ingress.
//!
//! Facts: gitops-engine 0.7.1 (`pkg/health/health_ingress.go`): it needs an address. kstatus has no rule and calls it Current. A controller that
//! never publishes an address needs a rule of the user's own for this kind.

use super::super::view::{Checked, View};
use super::super::{healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("networking.k8s.io", "Ingress"), ("extensions", "Ingress")],
    strict,
    kstatus: None,
};

fn strict(view: &View<'_>) -> Checked {
    Ok(if view.items("status.loadBalancer.ingress")?.is_empty() {
        progressing("it has no address yet")
    } else {
        healthy("")
    })
}
