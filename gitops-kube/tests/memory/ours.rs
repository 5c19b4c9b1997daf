//! Nothing is deleted that somebody else made.

use gitops_kube::cluster::{Cluster, InMemoryCluster, ObjectKey};
use gitops_kube::engine::EngineOptions;
use serde_json::{Value, json};

use crate::engine::{fixture, manifests};
use crate::{config_map, get, kind, object, try_apply};

fn hook(name: &str, policy: Option<&str>) -> Value {
    let mut value = config_map(name, json!({"k": "hook"}));
    value["metadata"]["annotations"] = json!({"argocd.argoproj.io/hook": "PreSync"});
    if let Some(policy) = policy {
        value["metadata"]["annotations"]["argocd.argoproj.io/hook-delete-policy"] = policy.into();
    }
    value
}

async fn uid(cluster: &InMemoryCluster, name: &str) -> String {
    let object = get(cluster, "v1", "ConfigMap", name).await;
    object
        .map(|object| object.uid().to_owned())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_hook_takes_no_other_managers_place() {
    let (cluster, engine, set, options) = fixture();
    let theirs = config_map("settings", json!({"theirs": "1"}));
    try_apply(&cluster, "somebody", theirs).await.unwrap();
    let before = uid(&cluster, "settings").await;
    for policy in [None, Some("BeforeHookCreation"), Some("HookSucceeded")] {
        let all = manifests([hook("settings", policy), config_map("a", json!({}))]);
        let report = engine.sync(&set, all, &options).await.unwrap();
        let failure = report.failure.expect("a failure");
        assert!(
            failure.contains("belongs to field manager \"somebody\""),
            "{failure}"
        );
        let live = get(&cluster, "v1", "ConfigMap", "settings").await.unwrap();
        assert_eq!(live.uid(), before);
        assert_eq!(live.pointer("/data"), Some(&json!({"theirs": "1"})));
    }
}

#[tokio::test]
async fn our_own_hook_is_made_again_and_deleted_as_its_policy_says() {
    let (cluster, engine, set, options) = fixture();
    let all = |policy| manifests([hook("hook", policy), config_map("a", json!({}))]);
    let mut last = String::new();
    for _ in 0..2 {
        let report = engine.sync(&set, all(None), &options).await.unwrap();
        assert!(report.is_success(), "{:?}", report.failure);
        let now = uid(&cluster, "hook").await;
        assert!(!now.is_empty() && now != last);
        last = now;
    }
    let report = engine
        .sync(&set, all(Some("HookSucceeded")), &options)
        .await
        .unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    assert_eq!(uid(&cluster, "hook").await, "");
}

#[tokio::test]
async fn what_somebody_else_made_is_not_recreated() {
    let (cluster, engine, set, options) = fixture();
    let secret = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"},
            "immutable": true, "stringData": {"k": value}})
    };
    let theirs = object(secret("theirs"));
    let secrets = kind(&cluster, "v1", "Secret").await;
    let made = cluster
        .create(&secrets, &theirs, &crate::as_manager("somebody"))
        .await
        .unwrap();
    let force = EngineOptions {
        recreate: true,
        force_conflicts: true,
        ..options.clone()
    };
    let report = engine
        .sync(&set, manifests([secret("ours")]), &force)
        .await
        .unwrap();
    let failure = report.failure.expect("a failure");
    assert!(
        failure.contains("belongs to field manager \"somebody\""),
        "{failure}"
    );
    let key = ObjectKey {
        kind: &secrets,
        namespace: "default",
        name: "s",
    };
    let live = cluster.get(key).await.unwrap().unwrap();
    assert_eq!(live.uid(), made.uid());

    // Taken over on purpose.
    let adopt = EngineOptions {
        adopt: true,
        ..force.clone()
    };
    let report = engine
        .sync(&set, manifests([secret("ours")]), &adopt)
        .await
        .unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
    // And our own may be made again without.
    let report = engine
        .sync(&set, manifests([secret("again")]), &force)
        .await
        .unwrap();
    assert!(report.is_success(), "{:?}", report.failure);
}
