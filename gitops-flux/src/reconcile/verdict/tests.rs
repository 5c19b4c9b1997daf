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

#[test]
fn kustomizations() {
    let failing = |reason: &str, message: &str, generation: i64| {
        conditions(&[
            (
                "Reconciling",
                "True",
                "ProgressingWithRetry",
                generation,
                "Detecting drift for revision new with a timeout of 1m0s",
            ),
            ("Ready", "False", reason, generation, message),
        ])
    };
    let ready = |generation: i64| {
        conditions(&[(
            "Ready",
            "True",
            "ReconciliationSucceeded",
            generation,
            "Applied revision: x",
        )])
    };
    let not_taken = "pending Controller its controller has not taken it up yet";
    let rows: Vec<(&str, i64, Value, Option<&str>, &str)> = vec![
        (
            "nothing yet",
            1,
            json!({"observedGeneration": -1}),
            None,
            not_taken,
        ),
        (
            // The first run adds the finalizer, and begins again.
            "handled, but no conditions",
            1,
            json!({"observedGeneration": -1, "lastHandledReconcileAt": TOKEN}),
            None,
            not_taken,
        ),
        (
            "an old Ready",
            1,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": OLDER, "lastAppliedRevision": "new", "conditions": ready(1)}),
            Some("new"),
            not_taken,
        ),
        (
            "a new Ready whose token is still to come",
            1,
            json!({"observedGeneration": 1, "conditions": ready(1)}),
            None,
            not_taken,
        ),
        (
            "done",
            1,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "lastAppliedRevision": "new", "conditions": ready(1)}),
            Some("new"),
            "done new",
        ),
        (
            "Ready, but for the generation before",
            2,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "lastAppliedRevision": "new", "conditions": ready(1)}),
            Some("new"),
            not_taken,
        ),
        (
            "the conditions are there, the status not",
            2,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "lastAppliedRevision": "new", "conditions": ready(2)}),
            Some("new"),
            "pending Run generation 2 is not observed yet",
        ),
        (
            "the cache had the revision before",
            1,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "lastAppliedRevision": "old", "conditions": ready(1)}),
            Some("new"),
            "pending Revision it is at old of its source, which is at new",
        ),
        (
            "it failed, and did not observe its generation",
            2,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "lastAttemptedRevision": "new",
                   "conditions": failing("BuildFailed", "no such field", 2)}),
            Some("new"),
            "failed Failed BuildFailed",
        ),
        (
            "an old failure",
            1,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": OLDER, "lastAttemptedRevision": "new",
                   "conditions": failing("BuildFailed", "no such field", 1)}),
            Some("new"),
            not_taken,
        ),
        (
            "it failed for the generation before",
            2,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "conditions": failing("BuildFailed", "no such field", 1)}),
            None,
            not_taken,
        ),
        (
            "it failed on the revision before",
            1,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "lastAttemptedRevision": "old",
                   "conditions": failing("BuildFailed", "no such field", 1)}),
            Some("newest"),
            "doubtful BuildFailed",
        ),
        (
            // The revision is noted after the path is found.
            "the path is missing in the new revision",
            1,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "lastAttemptedRevision": "old",
                   "conditions": failing("ArtifactFailed", "kustomization path not found: stat /tmp/x: no such file or directory", 1)}),
            Some("new"),
            "failed Failed ArtifactFailed",
        ),
        (
            "the source has no artifact",
            1,
            json!({"lastHandledReconcileAt": TOKEN, "conditions": failing("ArtifactFailed", "Source artifact not found, retrying in 30s", 1)}),
            None,
            "pending Source Source artifact not found, retrying in 30s",
        ),
        (
            "there is no source",
            1,
            json!({"lastHandledReconcileAt": TOKEN,
                   "conditions": failing("ArtifactFailed", "gitrepositories.source.toolkit.fluxcd.io \"x\" not found", 1)}),
            None,
            "pending Source gitrepositories.source.toolkit.fluxcd.io \"x\" not found",
        ),
        (
            "a dependency is not ready",
            1,
            json!({"lastHandledReconcileAt": TOKEN, "conditions": failing("DependencyNotReady", "dependency 'a/b' is not ready", 1)}),
            Some("new"),
            "pending Dependency dependency 'a/b' is not ready",
        ),
        (
            "health checks run",
            1,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": OLDER, "conditions": conditions(&[
                ("Reconciling", "True", "Progressing", 1, "Running health checks for revision new with a timeout of 1m0s"),
                ("Ready", "Unknown", "Progressing", 1, "Reconciliation in progress"),
            ])}),
            None,
            "pending Run Running health checks for revision new with a timeout of 1m0s",
        ),
        (
            "health checks of the generation before run",
            2,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": OLDER, "conditions": conditions(&[
                ("Reconciling", "True", "Progressing", 1, "Running health checks for revision new with a timeout of 1m0s"),
                ("Ready", "Unknown", "Progressing", 1, "Reconciliation in progress"),
            ])}),
            None,
            "pending Run Running health checks for revision new with a timeout of 1m0s",
        ),
        (
            "handled, and running again",
            1,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "conditions": conditions(&[
                ("Reconciling", "True", "Progressing", 1, "Building manifests"),
                ("Ready", "Unknown", "Progressing", 1, "Reconciliation in progress"),
            ])}),
            None,
            "pending Run Building manifests",
        ),
        (
            "stalled",
            1,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "conditions": conditions(&[
                ("Stalled", "True", "InvalidCELExpression", 1, "x"), ("Ready", "False", "InvalidCELExpression", 1, "x"),
            ])}),
            None,
            "failed Stalled InvalidCELExpression",
        ),
        (
            "stalled before the spec changed",
            2,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "conditions": conditions(&[
                ("Stalled", "True", "InvalidCELExpression", 1, "x"), ("Ready", "False", "InvalidCELExpression", 1, "x"),
            ])}),
            None,
            not_taken,
        ),
        (
            "stalled before the request",
            1,
            json!({"observedGeneration": 1, "lastHandledReconcileAt": OLDER, "conditions": conditions(&[
                ("Stalled", "True", "InvalidCELExpression", 1, "x"),
            ])}),
            None,
            not_taken,
        ),
    ];
    for (what, generation, status, revision, wanted) in rows {
        let found = judge(
            &object("Kustomization", generation, status),
            &asked(revision),
        );
        assert_eq!(found, wanted, "{what}");
    }
}

#[test]
fn without_a_request_the_newest_generation_counts() {
    let plain = Expectation::default();
    let rows: Vec<(&str, i64, Value, &str)> = vec![
        (
            "ready",
            1,
            json!({"observedGeneration": 1, "lastAppliedRevision": "a", "conditions": conditions(&[("Ready", "True", "x", 1, "")])}),
            "done a",
        ),
        (
            "failing",
            1,
            json!({"observedGeneration": -1, "conditions": conditions(&[
                ("Reconciling", "True", "ProgressingWithRetry", 1, ""), ("Ready", "False", "BuildFailed", 1, ""),
            ])}),
            "failed Failed BuildFailed",
        ),
        (
            "failed before, and at it again",
            1,
            json!({"observedGeneration": -1, "conditions": conditions(&[
                ("Reconciling", "True", "Progressing", 1, "Fulfilling prerequisites"), ("Ready", "False", "UpgradeFailed", 1, ""),
            ])}),
            "doubtful UpgradeFailed",
        ),
        (
            "no word yet about the new generation",
            3,
            json!({"observedGeneration": 2, "conditions": conditions(&[("Ready", "True", "x", 2, "")])}),
            "pending Controller its controller has not taken it up yet",
        ),
        (
            "an older controller does not say which generation",
            3,
            json!({"observedGeneration": 3, "conditions": [{"type": "Ready", "status": "True"}]}),
            "done",
        ),
        (
            "nor here, and it is the one before",
            3,
            json!({"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}]}),
            "pending Controller its controller has not taken it up yet",
        ),
    ];
    for (what, generation, status, wanted) in rows {
        assert_eq!(
            judge(&object("Kustomization", generation, status), &plain),
            wanted,
            "{what}"
        );
    }
}

#[test]
fn other_kinds() {
    let handled = |rows: &[(&str, &str, &str, i64, &str)], more: Value| {
        let mut status = json!({"observedGeneration": 1, "lastHandledReconcileAt": TOKEN, "conditions": conditions(rows)});
        for (name, value) in more.as_object().into_iter().flatten() {
            status[name] = value.clone();
        }
        status
    };
    let ready = [("Ready", "True", "Succeeded", 1, "")];
    let rows: Vec<(&str, &str, Value, Option<&str>, &str)> = vec![
        (
            "a source",
            "GitRepository",
            handled(&ready, json!({"artifact": {"revision": "main@sha1:a"}})),
            None,
            "done main@sha1:a",
        ),
        (
            "wrong credentials",
            "GitRepository",
            handled(
                &[
                    ("Reconciling", "True", "ProgressingWithRetry", 1, ""),
                    ("FetchFailed", "True", "AuthenticationFailed", 1, ""),
                    (
                        "Ready",
                        "False",
                        "AuthenticationFailed",
                        1,
                        "authentication required",
                    ),
                ],
                json!({"observedGeneration": -1}),
            ),
            None,
            "failed Failed AuthenticationFailed",
        ),
        (
            "a source at work",
            "GitRepository",
            handled(
                &[("Ready", "False", "Progressing", 1, "new generation 0 -> 1")],
                json!({"observedGeneration": -1}),
            ),
            None,
            "pending Run new generation 0 -> 1",
        ),
        (
            "a chart of the revision before",
            "HelmChart",
            handled(
                &ready,
                json!({"artifact": {"revision": "1.0.0"}, "observedSourceArtifactRevision": "old"}),
            ),
            Some("new"),
            "pending Revision it is at old of its source, which is at new",
        ),
        (
            "a chart",
            "HelmChart",
            handled(
                &ready,
                json!({"artifact": {"revision": "1.0.0"}, "observedSourceArtifactRevision": "new"}),
            ),
            Some("new"),
            "done 1.0.0",
        ),
        (
            "a chart whose source has nothing yet",
            "HelmChart",
            handled(
                &[(
                    "Ready",
                    "False",
                    "NoSourceArtifact",
                    1,
                    "no artifact available",
                )],
                json!({}),
            ),
            None,
            "pending Source no artifact available",
        ),
        (
            "a release",
            "HelmRelease",
            handled(
                &ready,
                json!({"lastAttemptedRevision": "1.0.0", "history": [{"chartVersion": "1.0.0"}]}),
            ),
            Some("1.0.0"),
            "done 1.0.0",
        ),
        (
            "a release of a chart from a registry",
            "HelmRelease",
            handled(
                &ready,
                json!({"lastAttemptedRevision": "1.0.0+abc", "lastAttemptedRevisionDigest": "sha256:abc",
                                   "history": [{"chartVersion": "1.0.0+abc"}]}),
            ),
            Some("1.0.0@sha256:abc"),
            "done 1.0.0+abc",
        ),
        (
            "a release of another chart from a registry",
            "HelmRelease",
            handled(
                &ready,
                json!({"lastAttemptedRevision": "1.0.0+abc", "lastAttemptedRevisionDigest": "sha256:abc"}),
            ),
            Some("1.0.0@sha256:def"),
            "pending Revision it is at sha256:abc of its source, which is at 1.0.0@sha256:def",
        ),
        (
            "a release that failed and will be tried again",
            "HelmRelease",
            handled(
                &[
                    ("Reconciling", "True", "ProgressingWithRetry", 1, ""),
                    ("Ready", "False", "InstallFailed", 1, "timed out"),
                ],
                json!({"observedGeneration": -1}),
            ),
            None,
            "failed Failed InstallFailed",
        ),
        (
            "a release out of tries",
            "HelmRelease",
            handled(
                &[
                    ("Stalled", "True", "RetriesExceeded", 1, ""),
                    ("Ready", "False", "UpgradeFailed", 1, ""),
                ],
                json!({}),
            ),
            None,
            "failed Stalled RetriesExceeded",
        ),
        (
            "a release whose chart is not there",
            "HelmRelease",
            handled(
                &[
                    (
                        "Reconciling",
                        "True",
                        "Progressing",
                        1,
                        "Fulfilling prerequisites",
                    ),
                    (
                        "Ready",
                        "False",
                        "SourceNotReady",
                        1,
                        "HelmChart 'a/b' is not ready",
                    ),
                ],
                json!({}),
            ),
            None,
            "pending Source HelmChart 'a/b' is not ready",
        ),
        ("nobody reconciles it", "Alert", json!(null), None, "done"),
        ("nor a provider", "Provider", json!({}), None, "done"),
        (
            "nor this",
            "ExternalArtifact",
            json!({"artifact": {"revision": "1"}}),
            None,
            "done 1",
        ),
        (
            "a receiver",
            "Receiver",
            handled(&ready, json!({})),
            None,
            "done",
        ),
        (
            "an image policy",
            "ImagePolicy",
            handled(&ready, json!({"latestRef": {"name": "x", "tag": "1.2"}})),
            None,
            "done 1.2",
        ),
    ];
    for (what, kind, status, revision, wanted) in rows {
        assert_eq!(
            judge(&object(kind, 1, status), &asked(revision)),
            wanted,
            "{what}"
        );
    }
}

#[test]
fn a_pointer_to_a_registry_is_never_reconciled() {
    let mut repository = object("HelmRepository", 1, json!({}));
    repository["spec"]["type"] = json!("oci");
    assert_eq!(judge(&repository, &asked(None)), "done");
    repository["spec"]["type"] = json!("default");
    assert!(judge(&repository, &asked(None)).starts_with("pending Controller"));
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
