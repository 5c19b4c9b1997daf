use serde_json::{Value, json};

use super::*;

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
