use gitops_core::ErrorKind;
use gitops_flux::types::{HelmRelease, Kustomization, lean, read_list};
use gitops_flux::{FluxKind, FluxResource};
use serde_json::{Value, json};

fn list(items: &[Value]) -> Vec<u8> {
    let list = json!({
        "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "7", "continue": "next"}, "items": items,
    });
    serde_json::to_vec(&list).unwrap()
}

fn kustomization(name: &str) -> Value {
    json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {
            "name": name, "namespace": "ns", "generation": 2, "annotations": {"reconcile.fluxcd.io/requestedAt": "now"},
            "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {"f:path": {}}}}],
        },
        "spec": {"interval": "1m", "prune": true, "suspend": true, "sourceRef": {"kind": "GitRepository", "name": "repo"}},
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "Applied revision: main@sha1:1",
                "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 2}],
            "inventory": {"entries": [{"id": "ns_a_apps_Deployment", "v": "v1"}]},
            "lastAppliedRevision": "main@sha1:1", "lastAttemptedRevision": "main@sha1:2", "observedGeneration": 2, "lastHandledReconcileAt": "now",
        },
    })
}

#[test]
fn a_lean_object_says_what_the_full_one_says() {
    let document = kustomization("a");
    let full: Kustomization = serde_json::from_value(document.clone()).unwrap();
    let lean = read_list::<lean::Object>(&list(&[document])).unwrap();
    assert_eq!(
        (lean.resource_version.as_str(), lean.continue_token.as_str()),
        ("7", "next")
    );
    let lean = &lean.items[0];
    assert_eq!(lean.id(FluxKind::Kustomization), full.id());
    assert_eq!(Some(lean.spec.suspend), full.suspended());
    assert_eq!(lean.status.observed_generation, full.observed_generation());
    assert_eq!(
        lean.status.last_handled_reconcile_at.as_deref(),
        full.last_handled_reconcile_at()
    );
    assert_eq!(lean.requested_at(), Some("now"));
    assert_eq!(lean.revision(), full.last_applied_revision());
    let ready = lean.ready().unwrap().clone();
    assert_eq!(Some(&ready.into()), full.ready());
    let (source, expected) = (
        lean.source_ref().unwrap(),
        full.resolved_source_ref().unwrap(),
    );
    assert_eq!(
        (source.kind, source.name, Some(source.namespace)),
        (expected.kind, expected.name, expected.namespace)
    );
}

#[test]
fn charts_of_releases_and_of_charts_are_told_apart() {
    let release = json!({"metadata": {"name": "r", "namespace": "ns"}, "spec": {"chart": {"metadata": {"labels": {}}, "spec": {
        "chart": "podinfo", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}}, "values": {"deep": [1, {"x": null}]}},
        "status": {"conditions": null}});
    let chart = json!({"metadata": {"name": "c", "namespace": "ns"}, "spec": {"chart": "podinfo", "sourceRef": {"kind": "GitRepository", "name": "repo"}}});
    let none = json!({"metadata": {"name": "n", "namespace": "ns"}, "spec": null, "status": null});
    let read = read_list::<lean::Object>(&list(&[release, chart, none])).unwrap();
    assert!(read.unreadable.is_empty());
    let sources: Vec<_> = read.items.iter().map(|item| item.source_ref()).collect();
    let kinds: Vec<_> = sources
        .iter()
        .map(|source| source.as_ref().map(|source| source.kind.as_str()))
        .collect();
    assert_eq!(kinds, [Some("HelmRepository"), Some("GitRepository"), None]);
}

#[test]
fn one_unreadable_object_does_not_hide_the_others() {
    let mut broken = kustomization("broken");
    broken["spec"]["postBuild"] = json!({"substitute": {"PASSWORD": 12345678}});
    let answer = list(&[kustomization("a"), broken, kustomization("b")]);
    let read = read_list::<Kustomization>(&answer).unwrap();
    let names: Vec<_> = read.items.iter().map(|item| item.id().name).collect();
    assert_eq!(names, ["a", "b"]);
    let unreadable = &read.unreadable[0];
    assert_eq!(
        (unreadable.namespace.as_str(), unreadable.name.as_str()),
        ("ns", "broken")
    );
    assert!(
        unreadable.reason.contains("expected a string"),
        "{unreadable:?}"
    );
    assert!(!unreadable.reason.contains("12345678"), "{unreadable:?}");
    // Its status can still be read.
    assert_eq!(read_list::<lean::Object>(&answer).unwrap().items.len(), 3);
}

#[test]
fn what_is_no_list_is_an_error() {
    for text in [
        "",
        "[]",
        "{}",
        "7",
        "{\"items\": 7}",
        "{\"items\": [",
        "null",
        "{\"kind\": \"Status\", \"code\": 403}",
    ] {
        let error = read_list::<HelmRelease>(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{text}");
    }
    let empty = read_list::<HelmRelease>(b"{\"items\": null}").unwrap();
    assert!(empty.items.is_empty() && empty.unreadable.is_empty());
}
