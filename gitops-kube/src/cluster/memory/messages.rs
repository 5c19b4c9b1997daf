//! The texts of the API server's errors (apimachinery, `pkg/api/errors`, `pkg/util/validation/field`).

use gitops_core::Error;

use super::kinds::Kind;

/// `deployments.apps "web"`.
pub(super) fn quoted(kind: &Kind, name: &str) -> String {
    let gvk = &kind.api.gvk;
    if gvk.group.is_empty() {
        format!("{} {name:?}", kind.api.plural)
    } else {
        format!("{}.{} {name:?}", kind.api.plural, gvk.group)
    }
}

pub(super) fn not_found(kind: &Kind, name: &str) -> Error {
    Error::not_found(format!("{} not found", quoted(kind, name)))
}

/// The beginning of every 409 about a version or precondition.
pub(super) fn modified(kind: &Kind, name: &str) -> String {
    format!("Operation cannot be fulfilled on {}", quoted(kind, name))
}

/// `Deployment.apps "web" is invalid: …`.
pub(super) fn invalid(kind: &Kind, name: &str, problems: &[String]) -> Error {
    let gvk = &kind.api.gvk;
    let dot = if gvk.group.is_empty() { "" } else { "." };
    let problems = match problems {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Error::invalid(format!(
        "{}{dot}{} {name:?} is invalid: {problems}",
        gvk.kind, gvk.group
    ))
}
