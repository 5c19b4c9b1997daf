//! What an object says about its own reconciliation.

use serde_json::Value;

use super::token;
use crate::view::line;

/// What an object of Flux says about its own reconciliation, read from whatever the API server sent: a field of another type than Flux gives it counts as absent, so that an object
/// that cannot be read whole can still be judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// The kind, as the object names it.
    pub kind: String,
    /// The UID.
    pub uid: String,
    /// The generation of the spec.
    pub generation: i64,
    /// The object is being deleted.
    pub deleting: bool,
    /// `spec.suspend`.
    pub suspended: bool,
    /// No controller reconciles it: Alert, Provider, ExternalArtifact, and a HelmRepository of type `oci`.
    pub passive: bool,
    /// The token that is asked for at the moment.
    pub requested: Option<String>,
    /// The token that was last handled.
    pub handled: Option<String>,
    /// `status.observedGeneration`. A Kustomization or source that fails does not advance it.
    pub observed_generation: Option<i64>,
    /// The conditions.
    pub conditions: Vec<StateCondition>,
    /// The revision that the object offers: of its artifact (sources), or that it applied (Kustomization), or the chart version that it released (HelmRelease).
    pub revision: Option<String>,
    /// The revision of its source that the last run worked on.
    pub attempted: Option<String>,
}

/// A condition, as far as a verdict needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateCondition {
    /// `Ready`, `Reconciling`, `Stalled`, …
    pub kind: String,
    /// True, False, or neither.
    pub status: Truth,
    /// The reason in one word.
    pub reason: String,
    /// The message, made fit for one line: control characters are escaped.
    pub message: String,
    /// The generation that it is about.
    pub observed_generation: Option<i64>,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truth {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`, or anything else.
    #[default]
    Unknown,
}

impl State {
    /// Reads it.
    pub fn of(object: &Value) -> Self {
        let kind = text(object, "/kind").unwrap_or_default();
        let conditions: Vec<StateCondition> = object
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .map(|all| all.iter().map(condition).collect())
            .unwrap_or_default();
        let status = |name: &str| text(object, &format!("/status/{name}"));
        let annotations = object.pointer("/metadata/annotations");
        let mut state = Self {
            uid: text(object, "/metadata/uid").unwrap_or_default(),
            generation: number(object, "/metadata/generation").unwrap_or_default(),
            deleting: text(object, "/metadata/deletionTimestamp").is_some(),
            suspended: object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true),
            passive: is_passive(object),
            requested: annotations
                .and_then(|all| all.get(token::REQUESTED_AT)?.as_str())
                .map(str::to_owned),
            handled: status("lastHandledReconcileAt"),
            // The CRDs' default is -1: nothing observed yet.
            observed_generation: number(object, "/status/observedGeneration"),
            conditions,
            revision: text(object, "/status/artifact/revision"),
            attempted: None,
            kind,
        };
        match state.kind.as_str() {
            "Kustomization" => {
                state.revision = status("lastAppliedRevision");
                state.attempted = status("lastAttemptedRevision");
            }
            "HelmRelease" => {
                state.revision = text(object, "/status/history/0/chartVersion");
                // With a chart of an OCIRepository, the digest says which; the version may stay.
                state.attempted = status("lastAttemptedRevisionDigest")
                    .or_else(|| status("lastAttemptedRevision"));
            }
            "HelmChart" => state.attempted = status("observedSourceArtifactRevision"),
            "ImagePolicy" => {
                state.revision = text(object, "/status/latestRef/tag");
            }
            "ImageUpdateAutomation" => state.revision = status("lastPushCommit"),
            _ => {}
        }
        state
    }

    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&StateCondition> {
        self.conditions.iter().find(|one| one.kind == kind)
    }

    /// Whether a condition of this type is True.
    pub fn is_true(&self, kind: &str) -> bool {
        self.condition(kind)
            .is_some_and(|condition| condition.status == Truth::True)
    }

    /// Whether a condition is about the newest generation. One that does not say is about the generation that the status has observed (older controllers).
    pub(crate) fn is_current(&self, condition: &StateCondition) -> bool {
        let about = condition
            .observed_generation
            .filter(|generation| *generation != 0)
            .or(self.observed_generation);
        about.is_none_or(|generation| generation == self.generation)
    }

    /// Whether a run says of itself that it is under way. Between the tries of something that fails the reason is `ProgressingWithRetry`.
    pub(crate) fn is_running(&self) -> bool {
        self.condition("Reconciling").is_some_and(|condition| {
            condition.status == Truth::True && condition.reason == "Progressing"
        })
    }
}

fn condition(value: &Value) -> StateCondition {
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    StateCondition {
        kind: field("type").to_owned(),
        status: match field("status") {
            "True" => Truth::True,
            "False" => Truth::False,
            _ => Truth::Unknown,
        },
        reason: line(field("reason")),
        message: line(field("message")),
        observed_generation: value.get("observedGeneration").and_then(Value::as_i64),
    }
}

fn is_passive(object: &Value) -> bool {
    match text(object, "/kind").as_deref() {
        Some("Alert" | "Provider" | "ExternalArtifact") => true,
        Some("HelmRepository") => text(object, "/spec/type").as_deref() == Some("oci"),
        _ => false,
    }
}

pub(crate) fn text(object: &Value, pointer: &str) -> Option<String> {
    let text = object.pointer(pointer)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer)?.as_i64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_types_count_as_absent() {
        let state = State::of(&json!({
            "kind": "Kustomization",
            "metadata": {"generation": "2", "annotations": []},
            "spec": {"suspend": "yes"},
            "status": {"conditions": {"Ready": true}, "lastAppliedRevision": 7, "observedGeneration": null},
        }));
        assert_eq!(
            state,
            State {
                kind: "Kustomization".into(),
                ..State::default()
            }
        );
        assert_eq!(State::of(&json!(null)), State::default());
        assert_eq!(
            State::of(&json!({"status": {"conditions": [1, null, {}]}}))
                .conditions
                .len(),
            3
        );
    }

    #[test]
    fn revisions_are_read_where_each_kind_keeps_them() {
        let read = |kind: &str, status: Value| {
            let state = State::of(&json!({"kind": kind, "status": status}));
            (state.revision, state.attempted)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            read(
                "GitRepository",
                json!({"artifact": {"revision": "main@sha1:a"}})
            ),
            (some("main@sha1:a"), None)
        );
        assert_eq!(
            read(
                "Kustomization",
                json!({"lastAppliedRevision": "a", "lastAttemptedRevision": "b"})
            ),
            (some("a"), some("b"))
        );
        assert_eq!(
            read(
                "HelmRelease",
                json!({"history": [{"chartVersion": "1.2.3"}, {"chartVersion": "1.2.2"}], "lastAttemptedRevision": "1.2.4"})
            ),
            (some("1.2.3"), some("1.2.4"))
        );
        assert_eq!(
            read(
                "HelmChart",
                json!({"artifact": {"revision": "1.2.3"}, "observedSourceArtifactRevision": "sha256:x"})
            ),
            (some("1.2.3"), some("sha256:x"))
        );
    }
}
