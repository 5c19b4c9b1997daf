//! Hooks of kinds that come with the same manifests.

use gitops_core::ErrorKind;
use serde_json::{Value, json};

use crate::engine::{fixture, manifests};
use crate::{config_map, get};

fn annotated(mut value: Value, hook: Option<&str>, wave: i64) -> Value {
    let mut annotations = json!({"argocd.argoproj.io/sync-wave": wave.to_string()});
    if let Some(hook) = hook {
        annotations["argocd.argoproj.io/hook"] = hook.into();
    }
    value["metadata"]["annotations"] = annotations;
    value
}

fn widget(hook: &str, wave: i64) -> Value {
    let widget = json!({"apiVersion": "shop.example.org/v1", "kind": "Widget",
        "metadata": {"name": "w", "namespace": "default"}, "spec": {"size": 3}});
    annotated(widget, Some(hook), wave)
}

#[tokio::test(start_paused = true)]
async fn a_hook_may_be_of_a_kind_that_comes_before_it() {
    for (hook, wave, crd_hook, crd_wave) in [
        ("Sync", 0, None, 0),
        ("Sync", 2, None, -1),
        ("PostSync", -1, None, 3),
        ("PreSync", 0, Some("PreSync"), 0),
        ("PreSync", 1, Some("PreSync"), 0),
        ("Sync", -5, Some("PreSync"), 0),
        ("SyncFail", 0, None, 0),
    ] {
        let (cluster, engine, set, options) = fixture();
        let all = manifests([
            config_map("a", json!({})),
            widget(hook, wave),
            annotated(crate::api::widgets(), crd_hook, crd_wave),
        ]);
        let report = engine.sync(&set, all, &options).await.unwrap();
        assert!(report.is_success(), "{hook} {wave}: {:?}", report.failure);
        let made = get(&cluster, "shop.example.org/v1", "Widget", "w").await;
        assert_eq!(made.is_some(), hook != "SyncFail", "{hook} {wave}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_before_the_crd_of_its_kind_is_refused_before_anything_is_done() {
    for (hook, wave, crd_hook, crd_wave) in [
        ("PreSync", 0, None, 0),
        ("PreSync,PostSync", 0, None, 0),
        ("Sync", 0, None, 1),
        ("PreSync", 0, Some("PreSync"), 1),
        ("PreSync", 5, Some("Sync"), 0),
    ] {
        let (cluster, engine, set, options) = fixture();
        let all = manifests([
            config_map("a", json!({})),
            widget(hook, wave),
            annotated(crate::api::widgets(), crd_hook, crd_wave),
        ]);
        cluster.reset_requests();
        let error = engine.sync(&set, all, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(
            error
                .to_string()
                .contains("comes before the CRD of its kind"),
            "{error}"
        );
        assert_eq!(cluster.requests().writes(), 0, "{hook} {wave}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sync_fail_hook_waits_for_no_crd_that_never_came() {
    let (_, engine, set, options) = fixture();
    let bad = annotated(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "bad", "namespace": "default"}, "spec": {}}),
        None,
        -1,
    );
    let all = manifests([bad, widget("SyncFail", 0), crate::api::widgets()]);
    let begun = tokio::time::Instant::now();
    let report = engine.sync(&set, all, &options).await.unwrap();
    assert!(report.failure.is_some());
    assert!(begun.elapsed().as_secs() < 5);
}
