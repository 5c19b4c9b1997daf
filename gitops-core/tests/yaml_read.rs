//! Reading YAML and JSON.

use gitops_core::manifest::yaml::{parse, parse_value, parse_values};
use serde_json::json;

#[test]
fn documents_become_objects_with_their_places() {
    let text = "# web\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n  replicas: 0_2\n---\n# nothing\n--- # next\n\n  apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: c\n";
    let objects = parse("deploy/web.yaml", text.as_bytes()).unwrap();
    let places: Vec<_> = objects
        .iter()
        .map(|object| format!("{} {}", object.id(), object.origin().unwrap()))
        .collect();
    assert_eq!(
        places,
        [
            "Deployment.apps shop/web deploy/web.yaml:2:1",
            "ConfigMap c deploy/web.yaml:11:3"
        ]
    );
    assert_eq!(objects[0].pointer("/spec/replicas"), Some(&json!(2)));
    assert_eq!(objects[1].origin().unwrap().document, 1);
}

#[test]
fn json_values_follow_one_another() {
    let values = parse_values("a.json", b"{\"a\": 1}\n{\"b\": 1.0}{\"c\": 1e3}").unwrap();
    let values: Vec<_> = values.into_iter().map(|document| document.value).collect();
    assert_eq!(
        values,
        [json!({"a": 1}), json!({"b": 1}), json!({"c": 1000})]
    );
    assert_eq!(parse_value("a", b"{a: yes}").unwrap(), json!({"a": true}));
    assert_eq!(
        parse_value("a", b"{\"a\": yes}").unwrap(),
        json!({"a": true})
    );
    assert_eq!(parse_value("a", b"").unwrap(), json!(null));
}
