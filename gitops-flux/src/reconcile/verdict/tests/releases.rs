use serde_json::json;

use super::*;

#[test]
fn releases() {
    let ready = [("Ready", "True", "Succeeded", 1, "")];
    let rows: Vec<Row> = vec![
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
    ];
    hold(rows);
}
