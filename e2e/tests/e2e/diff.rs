//! What an apply would change, told without a server: the same verdicts as gitops-engine's.

use anyhow::Result;
use gitops_core::manifest::Object;
use gitops_core::manifest::diff::changed_fields;
use serde_json::{Value, json};

fn pod_template(container: Value) -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}})
}

fn deployment(container: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "template": pod_template(container)}})
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": data})
}

fn secret(field: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "type": "Opaque", field: data})
}

fn custom(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": "n"}, "spec": spec})
}

/// As `kubectl apply` leaves it.
fn applied(live: Value, last: &Value) -> Value {
    let mut live = live;
    live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
        json!(last.to_string());
    live
}

fn pairs() -> Vec<(&'static str, Value, Value)> {
    let container = json!({"name": "c", "image": "x:1"});
    let with = |key: &str, value: Value| {
        let mut container = container.clone();
        container[key] = value;
        deployment(container)
    };
    let map = config_map(json!({"a": "1"}));
    let two = config_map(json!({"a": "1", "b": "1"}));
    vec![
        ("the same", map.clone(), map.clone()),
        ("another value", map.clone(), config_map(json!({"a": "2"}))),
        ("a key more in Git", map.clone(), two.clone()),
        ("a key more in the cluster", two.clone(), map.clone()),
        (
            "a key that was applied and is no longer in Git",
            applied(two.clone(), &two),
            map.clone(),
        ),
        (
            "a label of somebody else",
            {
                let mut live = map.clone();
                live["metadata"]["labels"] = json!({"by": "hand"});
                live
            },
            map.clone(),
        ),
        (
            "another label",
            {
                let mut live = map.clone();
                live["metadata"]["labels"] = json!({"l": "1"});
                live
            },
            {
                let mut target = map.clone();
                target["metadata"]["labels"] = json!({"l": "2"});
                target
            },
        ),
        (
            "stringData",
            secret("data", json!({"p": "aHVudGVyMg=="})),
            secret("stringData", json!({"p": "hunter2"})),
        ),
        (
            "stringData that differs",
            secret("data", json!({"p": "aHVudGVyMg=="})),
            secret("stringData", json!({"p": "other"})),
        ),
        (
            "data of a Secret that differs",
            secret("data", json!({"p": "aHVudGVyMg=="})),
            secret("data", json!({"p": "b3RoZXI="})),
        ),
        (
            "quantities",
            with(
                "resources",
                json!({"requests": {"cpu": "500m", "memory": "1Gi"}}),
            ),
            with(
                "resources",
                json!({"requests": {"cpu": "0.5", "memory": "1024Mi"}}),
            ),
        ),
        (
            "a quantity that differs",
            with("resources", json!({"requests": {"cpu": "500m"}})),
            with("resources", json!({"requests": {"cpu": "0.6"}})),
        ),
        (
            "defaults in the cluster",
            with("imagePullPolicy", json!("IfNotPresent")),
            deployment(container.clone()),
        ),
        (
            "a port's default protocol",
            with("ports", json!([{"containerPort": 80, "protocol": "TCP"}])),
            with("ports", json!([{"containerPort": 80}])),
        ),
        (
            "another image",
            deployment(json!({"name": "c", "image": "x:2"})),
            deployment(container.clone()),
        ),
        (
            "an added variable",
            with(
                "env",
                json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
            ),
            with("env", json!([{"name": "A", "value": "1"}])),
        ),
        (
            "another variable",
            with("env", json!([{"name": "A", "value": "1"}])),
            with("env", json!([{"name": "A", "value": "2"}])),
        ),
        (
            "arguments in another order",
            with("args", json!(["1", "2"])),
            with("args", json!(["2", "1"])),
        ),
        (
            "an argument more",
            with("args", json!(["1", "2"])),
            with("args", json!(["1"])),
        ),
        (
            "a custom kind, the same",
            custom(json!({"size": 1, "list": [1, 2]})),
            custom(json!({"size": 1, "list": [1, 2]})),
        ),
        (
            "a custom kind, defaulted",
            custom(json!({"size": 1, "mode": "auto"})),
            custom(json!({"size": 1})),
        ),
        (
            "a custom kind, another number",
            custom(json!({"size": 1})),
            custom(json!({"size": 2})),
        ),
        (
            "a custom kind, a text for a number",
            custom(json!({"size": 1})),
            custom(json!({"size": "1"})),
        ),
        (
            "a custom kind, a list that is longer",
            custom(json!({"list": [1, 2, 3]})),
            custom(json!({"list": [1, 2]})),
        ),
        (
            "a status",
            {
                let mut live = custom(json!({"size": 1}));
                live["status"] = json!({"ready": true});
                live
            },
            custom(json!({"size": 1})),
        ),
    ]
}

#[test]
fn our_verdicts_are_gitops_engines() -> Result<()> {
    let pairs = pairs();
    let theirs = e2e::peers::diff(&pairs)?;
    let mut wrong = Vec::new();
    for ((name, live, target), theirs) in pairs.iter().zip(&theirs) {
        let changed = changed_fields(
            &Object::new(live.clone(), None)?,
            &Object::new(target.clone(), None)?,
        );
        if changed.is_empty() == *theirs {
            wrong.push(format!(
                "{name}: ours {changed:?}, theirs modified: {theirs}"
            ));
        }
    }
    let modified = theirs.iter().filter(|modified| **modified).count();
    println!(
        "{} pairs judged alike, {modified} of them modified",
        pairs.len() - wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
