use serde_json::json;

use super::*;

#[test]
fn sources() {
    let ready = [("Ready", "True", "Succeeded", 1, "")];
    let rows: Vec<Row> = vec![
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
            "an artifact of somebody else",
            "ExternalArtifact",
            json!({"artifact": {"revision": "1"}}),
            None,
            "done 1",
        ),
        (
            "an artifact that nobody has put there yet",
            "ExternalArtifact",
            json!({}),
            None,
            "pending Source it has no artifact",
        ),
        (
            "whoever makes it has failed",
            "ExternalArtifact",
            json!({"artifact": {"revision": "1"}, "conditions": conditions(&[("Ready", "False", "BuildFailed", 1, "no such file")])}),
            None,
            "failed Failed BuildFailed",
        ),
        (
            "and is at it again",
            "ExternalArtifact",
            json!({"conditions": conditions(&[("Ready", "False", "Progressing", 1, "building")])}),
            None,
            "pending Run building",
        ),
        (
            "it failed for the generation before",
            "ExternalArtifact",
            json!({"artifact": {"revision": "1"}, "conditions": conditions(&[("Ready", "False", "BuildFailed", 0, "no such file")]), "observedGeneration": 0}),
            None,
            "done 1",
        ),
    ];
    hold(rows);
}

#[test]
fn a_pointer_to_a_registry_is_never_reconciled() {
    let mut repository = object("HelmRepository", 1, json!({}));
    repository["spec"]["type"] = json!("oci");
    assert_eq!(judge(&repository, &asked(None)), "done");
    repository["spec"]["type"] = json!("default");
    assert!(judge(&repository, &asked(None)).starts_with("pending Controller"));
}
