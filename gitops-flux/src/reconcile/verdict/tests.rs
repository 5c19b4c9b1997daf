mod kustomizations;
mod others;
mod releases;
mod sources;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const TOKEN: &str = "2025-01-02T03:04:05.1Z";
const OLDER: &str = "2025-01-01T00:00:00Z";

/// A condition as `type status reason generation message`.
fn conditions(rows: &[(&str, &str, &str, i64, &str)]) -> Value {
    rows.iter()
        .map(|(kind, status, reason, generation, message)| {
            json!({
                "type": kind, "status": status, "reason": reason,
                "observedGeneration": generation, "message": message,
                "lastTransitionTime": "2025-01-02T03:04:05Z",
            })
        })
        .collect()
}

fn object(kind: &str, generation: i64, status: Value) -> Value {
    json!({
        "kind": kind,
        "metadata": {"name": "app", "generation": generation, "annotations": {"reconcile.fluxcd.io/requestedAt": TOKEN}},
        "spec": {},
        "status": status,
    })
}

fn asked(revision: Option<&str>) -> Expectation {
    Expectation {
        token: Some(TOKEN.into()),
        revision: revision.map(str::to_owned),
    }
}

/// The verdict in one line.
fn judge(object: &Value, expected: &Expectation) -> String {
    match verdict(&State::of(object), expected) {
        Verdict::Done { revision, .. } => format!("done {}", revision.unwrap_or_default()),
        Verdict::Pending {
            waiting, message, ..
        } => format!("pending {waiting:?} {message}"),
        Verdict::Doubtful(failure) => format!("doubtful {}", failure.reason),
        Verdict::Failed(failure) => format!("failed {:?} {}", failure.cause, failure.reason),
    }
    .trim()
    .to_owned()
}

/// What it is, the kind, the status, the revision that is expected, and the verdict.
type Row = (
    &'static str,
    &'static str,
    Value,
    Option<&'static str>,
    &'static str,
);

fn hold(rows: Vec<Row>) {
    for (what, kind, status, revision, wanted) in rows {
        assert_eq!(
            judge(&object(kind, 1, status), &asked(revision)),
            wanted,
            "{what}"
        );
    }
}

/// A status whose request is handled, with conditions and more.
fn handled(rows: &[(&str, &str, &str, i64, &str)], more: Value) -> Value {
    let mut status = json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "conditions": conditions(rows)});
    for (name, value) in more.as_object().into_iter().flatten() {
        status[name] = value.clone();
    }
    status
}

#[test]
fn suspended_and_deleted_objects_are_never_done() {
    let status = json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN,
                        "conditions": conditions(&[("Ready", "True", "Succeeded", 1, "")])});
    let mut object = object("GitRepository", 1, status);
    assert_eq!(judge(&object, &asked(None)), "done");
    object["spec"]["suspend"] = json!(true);
    assert_eq!(judge(&object, &asked(None)), "failed Suspended Suspended");
    object["metadata"]["deletionTimestamp"] = json!("2025-01-02T03:04:05Z");
    assert_eq!(judge(&object, &asked(None)), "failed Deleted");
}

#[test]
fn a_later_request_answers_for_an_earlier_one() {
    let later = "2025-01-02T03:04:06Z";
    let mut object = object(
        "GitRepository",
        1,
        json!({
            "observedGeneration": 1, "lastHandledReconcileAt": later,
            "conditions": conditions(&[("Ready", "True", "Succeeded", 1, "")]),
        }),
    );
    // Somebody else's request was handled before ours was made: the clocks say nothing.
    assert!(judge(&object, &asked(None)).starts_with("pending Controller"));
    object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"] = json!(later);
    assert_eq!(judge(&object, &asked(None)), "done");
    // The later one took its place, and is not handled yet.
    object["status"]["lastHandledReconcileAt"] = json!(OLDER);
    assert!(judge(&object, &asked(None)).starts_with("pending Controller"));
}

fn any_condition() -> impl Strategy<Value = Value> {
    (
        prop_oneof![Just("Ready"), Just("Reconciling"), Just("Stalled"), Just("Other")],
        prop_oneof![Just("True"), Just("False"), Just("Unknown"), Just("")],
        prop_oneof![Just("Progressing"), Just("ProgressingWithRetry"), Just("DependencyNotReady"), Just("BuildFailed"), Just("")],
        0..4i64,
    )
        .prop_map(|(kind, status, reason, generation)| {
            json!({"type": kind, "status": status, "reason": reason, "observedGeneration": generation})
        })
}

proptest! {
    /// Whatever the status is: done only with the token handled, Ready for this generation, and the revision.
    #[test]
    fn done_means_done(
        conditions in prop::collection::vec(any_condition(), 0..4),
        observed in prop::option::of(-1..4i64),
        handled in prop::option::of(prop_oneof![Just(TOKEN), Just(OLDER)]),
        applied in prop::option::of(prop_oneof![Just("old"), Just("new")]),
        suspended in any::<bool>(),
    ) {
        let mut object = object("Kustomization", 2, json!({"conditions": conditions}));
        object["spec"]["suspend"] = json!(suspended);
        for (name, value) in [
            ("observedGeneration", json!(observed)),
            ("lastHandledReconcileAt", json!(handled)),
            ("lastAppliedRevision", json!(applied)),
        ] {
            object["status"][name] = value;
        }
        let state = State::of(&object);
        if let Verdict::Done { revision, .. } = verdict(&state, &asked(Some("new"))) {
            prop_assert_eq!(handled, Some(TOKEN));
            prop_assert_eq!(revision.as_deref(), Some("new"));
            prop_assert!(!suspended);
            prop_assert!(state.is_true("Ready"));
            prop_assert!(observed.is_none_or(|observed| observed == 2));
            prop_assert!(state.condition("Ready").is_some_and(|ready| state.is_current(ready)));
        }
    }
}
