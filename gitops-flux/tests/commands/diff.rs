use gitops_core::manifest::ObjectId;
use gitops_flux::diff::{DiffAction, DiffEntry, DiffReport, diff};
use gitops_flux::types::{Inventory, InventoryEntry, Kustomization};
use gitops_kube::cluster::{InMemoryCluster, Verb};
use serde_json::{Value, json};

use super::{config_map, namespace, object, put};

fn labels() -> Value {
    json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "f"})
}

fn id(kind: &str, name: &str) -> ObjectId {
    ObjectId::new("", kind, "f", name)
}

fn kustomization(prune: bool, had: &[ObjectId]) -> Kustomization {
    let mut kustomization = Kustomization::new("apps").in_namespace("f");
    kustomization.spec.prune = Some(prune);
    let inventory = Inventory {
        entries: had.iter().map(|id| InventoryEntry::new(id, "v1")).collect(),
        ..Inventory::default()
    };
    kustomization.status.get_or_insert_default().inventory = Some(inventory);
    kustomization
}

fn secret(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "f", "name": "secret", "labels": labels()}, "stringData": data})
}

#[tokio::test]
async fn everything_that_would_happen_is_told_and_nothing_happens() {
    let cluster = InMemoryCluster::new();
    namespace(&cluster, "f").await;
    for name in [
        "same",
        "changed",
        "disabled",
        "present",
        "stale",
        "protected",
    ] {
        put(&cluster, config_map("f", name, labels())).await;
    }
    put(&cluster, config_map("f", "foreign", json!({}))).await;
    put(&cluster, secret(json!({"a": "canary-1"}))).await;
    let mut protected = config_map("f", "protected", labels());
    protected["metadata"]["annotations"] = json!({"kustomize.toolkit.fluxcd.io/prune": "Disabled"});
    put(&cluster, protected).await;

    let mut changed = config_map("f", "changed", labels());
    changed["data"]["a"] = json!("2");
    let mut disabled = config_map("f", "disabled", json!({}));
    disabled["metadata"]["annotations"] =
        json!({"kustomize.toolkit.fluxcd.io/reconcile": "disabled"});
    let mut present = config_map("f", "present", json!({}));
    present["data"] = json!({"b": "2"});
    present["metadata"]["annotations"] = json!({"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"});
    let built = [
        config_map("f", "same", json!({})),
        changed,
        config_map("f", "new", json!({})),
        disabled,
        present,
        secret(json!({"a": "canary-2"})),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fresh"}}),
        config_map("fresh", "inside", json!({})),
        config_map("nowhere", "lost", json!({})),
    ]
    .map(object);
    let had: Vec<ObjectId> = ["same", "stale", "protected", "foreign", "gone"]
        .iter()
        .map(|name| id("ConfigMap", name))
        .collect();
    cluster.reset_requests();
    let report = diff(&cluster, &kustomization(true, &had), built.clone())
        .await
        .unwrap();
    let rows: Vec<(String, DiffAction)> = report
        .entries
        .iter()
        .map(|entry| (entry.id.name.clone(), entry.action))
        .collect();
    let expected = [
        ("same", DiffAction::Unchanged),
        ("changed", DiffAction::Changed),
        ("new", DiffAction::Created),
        ("disabled", DiffAction::Skipped),
        ("present", DiffAction::Skipped),
        ("secret", DiffAction::Changed),
        ("fresh", DiffAction::Created),
        ("inside", DiffAction::Created),
        ("lost", DiffAction::Failed),
        ("stale", DiffAction::Deleted),
        ("protected", DiffAction::Kept),
        ("foreign", DiffAction::Kept),
    ];
    assert_eq!(
        rows,
        expected.map(|(name, action)| (name.to_owned(), action))
    );
    assert_eq!(report.exit_code(), 2);
    let text = report.to_string();
    assert!(text.contains("► ConfigMap/f/changed drifted\n"), "{text}");
    assert!(
        text.contains("-  a: \"1\"") && text.contains("+  a: \"2\""),
        "{text}"
    );
    assert!(text.contains("► ConfigMap/f/stale deleted\n"), "{text}");
    assert!(
        !text.contains("canary") && !format!("{report:?}").contains("canary"),
        "{text}"
    );
    assert_eq!(cluster.requests().writes(), 0);
    assert_eq!(cluster.requests().count(Verb::Delete), 0);

    let kept = diff(&cluster, &kustomization(false, &had), built[..1].to_vec())
        .await
        .unwrap();
    assert_eq!(kept.of(DiffAction::Kept).count(), 3);
    assert_eq!(kept.exit_code(), 0);
    let twice = [built[0].clone(), built[0].clone()];
    assert!(
        diff(&cluster, &kustomization(false, &[]), twice)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn what_cannot_be_read_of_the_inventory_is_told() {
    let cluster = InMemoryCluster::new();
    namespace(&cluster, "f").await;
    put(&cluster, config_map("f", "stale", labels())).await;
    let mut broken = kustomization(true, &[id("ConfigMap", "stale")]);
    let inventory = broken.status.as_mut().unwrap().inventory.as_mut().unwrap();
    inventory.entries.push(InventoryEntry {
        id: "broken\u{1b}[2J".into(),
        version: "v1".into(),
    });
    let report = diff(&cluster, &broken, []).await.unwrap();
    assert_eq!(report.entries.len(), 1);
    assert_eq!(report.unreadable, ["broken\u{1b}[2J"]);
    assert_eq!(report.exit_code(), 2);
    let text = report.to_string();
    assert!(text.contains("ConfigMap/f/stale deleted"), "{text}");
    assert!(
        text.contains("\"broken\\u{1b}[2J\" cannot be read"),
        "{text}"
    );
}

#[tokio::test]
async fn reasons_reach_no_terminal_raw() {
    let mut entry = DiffEntry {
        id: id("ConfigMap", "a"),
        action: DiffAction::Failed,
        reason: Some("line\nnext\u{1b}[2J".into()),
        diff: None,
    };
    let told = |entry: &DiffEntry| {
        DiffReport {
            entries: vec![entry.clone()],
            ..DiffReport::default()
        }
        .to_string()
    };
    assert_eq!(
        told(&entry),
        "► ConfigMap/f/a failed: line next\\u{1b}[2J\n"
    );
    entry.reason = None;
    assert_eq!(told(&entry), "► ConfigMap/f/a failed\n");
}

#[tokio::test]
async fn encrypted_secrets_are_compared_by_their_keys() {
    let cluster = InMemoryCluster::new();
    namespace(&cluster, "f").await;
    put(&cluster, secret(json!({"a": "x", "b": "y"}))).await;
    let mask = |keys: &[&str]| {
        let data: serde_json::Map<String, Value> = keys
            .iter()
            .map(|key| ((*key).to_owned(), json!("KipTT1BTKio=")))
            .collect();
        let mut value = secret(json!({}));
        value.as_object_mut().unwrap().remove("stringData");
        value["data"] = Value::Object(data);
        object(value)
    };
    let report = diff(&cluster, &kustomization(true, &[]), [mask(&["a", "b"])])
        .await
        .unwrap();
    assert_eq!(report.entries[0].action, DiffAction::Unchanged);
    let report = diff(
        &cluster,
        &kustomization(true, &[]),
        [mask(&["a", "b", "c"])],
    )
    .await
    .unwrap();
    assert_eq!(report.entries[0].action, DiffAction::Changed);
}
