//! External Secrets' ExternalSecret and its stores, and Sealed Secrets' SealedSecret.
//!
//! Facts: Argo CD 3.2 (`resource_customizations/external-secrets.io`, `bitnami.com/SealedSecret`): the condition Ready (for a
//! SealedSecret: Synced), where False is Degraded. kstatus reads Ready alone, where False is InProgress.

use super::super::generic::unobserved;
use super::super::view::{Checked, Truth, View, find};
use super::super::{degraded, healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[
        ("external-secrets.io", "ExternalSecret"),
        ("external-secrets.io", "ClusterExternalSecret"),
        ("external-secrets.io", "PushSecret"),
        ("external-secrets.io", "SecretStore"),
        ("external-secrets.io", "ClusterSecretStore"),
        ("bitnami.com", "SealedSecret"),
    ],
    strict,
    kstatus: None,
};

fn strict(view: &View<'_>) -> Checked {
    if let Some(health) = unobserved(view)? {
        return Ok(health);
    }
    let conditions = view.conditions()?;
    let decisive = match view.text("kind")? {
        Some("SealedSecret") => "Synced",
        _ => "Ready",
    };
    Ok(match find(&conditions, decisive) {
        Some(condition) => match condition.truth {
            Truth::True => healthy(condition.message),
            Truth::False => degraded(condition.says()),
            Truth::Unknown => progressing(condition.says()),
        },
        None => progressing("its controller has not seen it yet"),
    })
}
