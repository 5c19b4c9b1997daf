//! cert-manager's Certificate, CertificateRequest, Issuer and ClusterIssuer.
//!
//! Facts: Argo CD 3.2 (`resource_customizations/cert-manager.io`): issuing goes before all else, then Ready. kstatus reads Ready alone, where
//! False is InProgress. Strict: an object without conditions is Progressing, and a Ready condition of an older generation does not count.

use super::super::view::{Checked, Condition, Truth, View, find};
use super::super::{degraded, healthy, progressing};
use super::Builtin;

pub(super) static CERTIFICATE: Builtin = Builtin {
    kinds: &[("cert-manager.io", "Certificate")],
    strict: certificate,
    kstatus: None,
};

pub(super) static ISSUER: Builtin = Builtin {
    kinds: &[
        ("cert-manager.io", "Issuer"),
        ("cert-manager.io", "ClusterIssuer"),
        ("cert-manager.io", "CertificateRequest"),
    ],
    strict: issuer,
    kstatus: None,
};

fn certificate(view: &View<'_>) -> Checked {
    let conditions = view.conditions()?;
    match find(&conditions, "Issuing") {
        Some(condition) if condition.truth == Truth::True => Ok(progressing(condition.says())),
        _ => ready(view, &conditions),
    }
}

fn issuer(view: &View<'_>) -> Checked {
    ready(view, &view.conditions()?)
}

fn ready(view: &View<'_>, conditions: &[Condition<'_>]) -> Checked {
    let Some(condition) = find(conditions, "Ready") else {
        return Ok(progressing("cert-manager has not seen it yet"));
    };
    if let (Some(generation), Some(observed)) = (
        view.int("metadata.generation")?,
        condition.observed_generation,
    ) && observed < generation
    {
        return Ok(progressing(format!(
            "the Ready condition is not about generation {generation} yet"
        )));
    }
    Ok(match condition.truth {
        Truth::True => healthy(condition.message),
        // A request that waits for its approval or its issuer.
        Truth::False if condition.reason == "Pending" => progressing(condition.says()),
        Truth::False => degraded(condition.says()),
        Truth::Unknown => progressing(condition.says()),
    })
}
