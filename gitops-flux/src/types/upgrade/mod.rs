//! Documents of earlier versions, read as today's.
//!
//! What fields became of each other is written after Flux's API types of both versions and the changelogs of its controllers:
//!
//! | kind | from | field | becomes |
//! | --- | --- | --- | --- |
//! | `GitRepository` | `v1beta1`, `v1beta2` | `spec.gitImplementation` | nothing: without effect since source-controller 0.33 |
//! | `GitRepository`, `Bucket`, `HelmChart` | `v1beta1`, `v1beta2` | `spec.accessFrom` | nothing: it never had an effect |
//! | `GitRepository` | `v1beta1`, `v1beta2` | `spec.verify.mode: head` | `HEAD` |
//! | `HelmChart`, `HelmRelease` | all | `valuesFile` | the first of `valuesFiles` |
//! | `Kustomization` | `v1beta1`, `v1beta2` | `spec.validation` | nothing: the API server always validates |
//! | `Kustomization`, post renderers of a `HelmRelease` | all | `patchesStrategicMerge` | the first of `patches` |
//! | `Kustomization`, post renderers of a `HelmRelease` | all | `patchesJson6902` | the last of `patches` |
//! | sources | `v1beta1`, `v1beta2` | `checksum` of an artifact | `digest` |
//! | `Alert`, `Provider` | `v1beta1`, `v1beta2` | `status` | nothing: they have none |
//! | `ImagePolicy` | `v1beta1` | `status.latestImage` | `status.latestRef` |
//!
//! Each change is told, so that nothing goes in silence, and what has no equal today is an error that names the field: an `ImageUpdateAutomation` whose message uses
//! `.Updated`, which the controller no longer has. All else stays as it is, and so does what no version knows.

mod rules;

use std::fmt;

use gitops_core::error::{Error, Result};
use serde_json::Value;

use super::list::without_values;
use crate::kind::{FluxKind, FluxResource};

/// A document of today's version.
#[derive(Clone, Debug, PartialEq)]
pub struct Upgraded<T> {
    /// The document.
    pub object: T,
    /// Group and version that it had.
    pub from: String,
    /// What was changed besides; none for a document that was of today's version.
    pub changes: Vec<Change>,
}

/// What was changed of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field that was there, such as `spec.valuesFile`.
    pub field: String,
    /// The field that has it now; `None` for what has no effect any more.
    pub to: Option<String>,
    /// Why.
    pub why: &'static str,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Some(to) => write!(f, "{} became {to}: {}", self.field, self.why),
            None => write!(f, "{} is left out: {}", self.field, self.why),
        }
    }
}

/// Earlier versions that are read.
fn earlier(kind: FluxKind) -> &'static [&'static str] {
    match kind {
        FluxKind::ExternalArtifact => &[],
        FluxKind::OCIRepository => &["v1beta2"],
        FluxKind::HelmRelease => &["v2beta1", "v2beta2"],
        _ => &["v1beta1", "v1beta2"],
    }
}

/// Makes a document of Flux one of today's version. Values are looked at only where a field has changed.
///
/// # Errors
/// `InvalidInput` for what is no document of Flux, and for a field that has no equal today, which it names; `Unsupported` for a version that is not known, such as the alpha
/// versions.
pub fn upgrade(mut document: Value) -> Result<Upgraded<Value>> {
    let text = |key: &str| {
        document
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let from = text("apiVersion").to_owned();
    let (group, version) = from.split_once('/').unwrap_or_default();
    let kind = FluxKind::of(group, text("kind")).ok_or_else(|| {
        Error::invalid(format!("no kind of Flux: {:?} of {from:?}", text("kind")))
    })?;
    let mut changes = Vec::new();
    if version != kind.version() {
        if !earlier(kind).contains(&version) {
            let operation = format!("{kind} of version {version:?}");
            return Err(Error::unsupported(&operation, "the upgrade"));
        }
        rules::apply(kind, version, &mut document, &mut changes).map_err(|error| {
            let name = document.pointer("/metadata/name").and_then(Value::as_str);
            error.context(format!("upgrade {kind} {}", name.unwrap_or_default()))
        })?;
        if let Some(api_version) = document.get_mut("apiVersion") {
            *api_version = kind.api_version().into();
        }
    }
    Ok(Upgraded {
        object: document,
        from,
        changes,
    })
}

/// Reads a document of Flux, of today's version or an earlier one.
///
/// ```
/// use gitops_flux::types::{GitRepository, upgrade};
///
/// let old = serde_json::json!({
///     "apiVersion": "source.toolkit.fluxcd.io/v1beta2",
///     "kind": "GitRepository",
///     "metadata": {"name": "podinfo"},
///     "spec": {"url": "https://github.com/stefanprodan/podinfo", "interval": "1m", "gitImplementation": "libgit2"},
/// });
/// let read = upgrade::read::<GitRepository>(old).unwrap();
/// assert_eq!(read.object.api_version, "source.toolkit.fluxcd.io/v1");
/// assert_eq!(read.changes[0].field, "spec.gitImplementation");
/// ```
///
/// # Errors
/// Those of [`upgrade`]; `InvalidInput` for a document of another kind, or with a value of a wrong type, which the error does not print.
pub fn read<K: FluxResource>(document: Value) -> Result<Upgraded<K>> {
    let upgraded = upgrade(document)?;
    let kind = upgraded.object.get("kind").and_then(Value::as_str);
    if kind != Some(K::KIND.kind()) {
        let kind = kind.unwrap_or_default();
        return Err(Error::invalid(format!("{kind} is no {}", K::KIND)));
    }
    let object = serde_json::from_value(upgraded.object)
        .map_err(|error| Error::invalid(format!("no {}: {}", K::KIND, without_values(&error))))?;
    Ok(Upgraded {
        object,
        from: upgraded.from,
        changes: upgraded.changes,
    })
}
