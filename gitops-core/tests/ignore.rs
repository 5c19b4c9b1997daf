//! Differences that do not count, as Argo CD has them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use gitops_core::ErrorKind;
use gitops_core::application::IgnoreDifference;
use gitops_core::manifest::Object;
use gitops_core::manifest::ignore::IgnoreRules;
use serde_json::{Value, json};

fn deployment(replicas: u64, images: &[(&str, &str)]) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .map(|(name, image)| json!({"name": name, "image": image}))
        .collect();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "prod", "annotations": {"a/b": "1", "c~d": "2"}},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}},
    })
}

fn object(value: Value) -> Object {
    Object::new(value, None).unwrap()
}

fn rule(change: impl FnOnce(&mut IgnoreDifference)) -> IgnoreDifference {
    let mut rule = IgnoreDifference {
        group: "apps".into(),
        kind: "Deployment".into(),
        ..IgnoreDifference::default()
    };
    change(&mut rule);
    rule
}

fn pointers(list: &[&str]) -> IgnoreDifference {
    rule(|rule| rule.json_pointers = list.iter().map(|&text| text.into()).collect())
}

fn stripped(rule: IgnoreDifference, value: Value) -> Value {
    let rules = IgnoreRules::new([&rule]).unwrap();
    serde_json::to_value(rules.strip(&object(value), None)).unwrap()
}

#[test]
fn pointers_take_fields_and_entries_away() {
    let value = deployment(3, &[("a", "a:1"), ("b", "b:1"), ("c", "c:1")]);
    let left = stripped(
        pointers(&[
            "/spec/replicas",
            "/metadata/annotations/a~1b",
            "/metadata/annotations/c~0d",
            "/spec/template/spec/containers/0",
            "/spec/template/spec/containers/1/image",
            "/spec/nothing/there",
        ]),
        value,
    );
    assert_eq!(left["spec"].get("replicas"), None);
    assert_eq!(left["metadata"]["annotations"], json!({}));
    assert_eq!(
        left["spec"]["template"]["spec"]["containers"],
        json!([{"name": "b"}, {"name": "c", "image": "c:1"}])
    );
}

#[test]
fn rules_match_by_group_kind_name_and_namespace() {
    for (change, matches) in [
        (rule(|_| {}), true),
        (rule(|rule| rule.group = "*".into()), true),
        (rule(|rule| rule.kind = "Deploy*".into()), true),
        (rule(|rule| rule.group = String::new()), false),
        (rule(|rule| rule.kind = "StatefulSet".into()), false),
        (rule(|rule| rule.name = "web".into()), true),
        (rule(|rule| rule.name = "we".into()), false),
        (rule(|rule| rule.namespace = "prod".into()), true),
        (rule(|rule| rule.namespace = "dev".into()), false),
    ] {
        let rules = IgnoreRules::new([&change]).unwrap();
        let id = object(deployment(1, &[])).id();
        assert_eq!(rules.concern(&id), matches, "{change:?}");
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    for bad in ["", "spec/replicas"] {
        let error = IgnoreRules::new([&pointers(&[bad])]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}");
    }
}

#[test]
fn respected_fields_are_as_they_are_live() {
    let desired = deployment(1, &[("web", "web:2")]);
    let live = deployment(7, &[("web", "web:1")]);
    let rules = IgnoreRules::new([&pointers(&["/spec/replicas", "/spec/paused"])]).unwrap();
    let applied = rules.respect(&object(desired), &object(live));
    assert_eq!(applied.pointer("/spec/replicas"), Some(&json!(7)));
    assert_eq!(applied.pointer("/spec/paused"), None);
    assert_eq!(
        applied.pointer("/spec/template/spec/containers/0/image"),
        Some(&json!("web:2"))
    );
}

#[test]
fn fields_of_managers_are_ignored() {
    let mut live = deployment(5, &[("web", "web:1"), ("side", "side:9")]);
    live["metadata"]["managedFields"] = json!([
        {"manager": "hpa", "operation": "Update", "time": "2026-01-01T00:00:00Z",
         "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "ours", "operation": "Apply", "time": "2026-01-01T00:00:00Z",
         "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}}},
        {"manager": "mesh", "operation": "Update", "time": "2026-01-01T00:00:00Z",
         "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"side\"}": {"f:image": {}}}}}}}},
    ]);
    let live = object(live);
    let rule = rule(|rule| rule.managed_fields_managers = vec!["hpa".into(), "mesh".into()]);
    let rules = IgnoreRules::new([&rule]).unwrap();
    let left = rules.strip(&live, Some(&live));
    assert_eq!(left.pointer("/spec/replicas"), None);
    assert_eq!(
        left.pointer("/spec/template/spec/containers"),
        Some(&json!([{"name": "web", "image": "web:1"}, {"name": "side"}]))
    );
    let desired = object(deployment(1, &[("web", "web:2")]));
    let applied = rules.respect(&desired, &live);
    assert_eq!(applied.pointer("/spec/replicas"), Some(&json!(5)));
}

#[cfg(feature = "jq")]
mod jq {
    use super::*;

    fn jq(text: &str) -> IgnoreDifference {
        rule(|rule| rule.jq_path_expressions = vec![text.into()])
    }

    #[test]
    fn expressions_take_what_they_select() {
        for (expression, left) in [
            (
                ".spec.replicas",
                json!({"template": {"spec": {"containers": [
                {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}]}}}),
            ),
            (
                ".spec.template.spec.containers[] | select(.name == \"a\" or (.image | startswith(\"c:\")))",
                json!({"replicas": 3, "template": {"spec": {"containers": [{"name": "b", "image": "b:1"}]}}}),
            ),
            (
                ".spec.template.spec.containers[]?.image # of all",
                json!({"replicas": 3, "template": {"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}}}),
            ),
            (
                ".spec.nothing.there[]?",
                json!({"replicas": 3, "template": {"spec": {"containers": [
                {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}]}}}),
            ),
        ] {
            let value = deployment(3, &[("a", "a:1"), ("b", "b:1"), ("c", "c:1")]);
            assert_eq!(
                stripped(jq(expression), value)["spec"],
                left,
                "{expression}"
            );
        }
    }

    #[test]
    fn selected_entries_are_respected_wherever_they_stand() {
        let desired = object(deployment(1, &[("web", "web:2"), ("side", "side:1")]));
        let live = object(deployment(1, &[("side", "side:9"), ("web", "web:1")]));
        let rule = jq(".spec.template.spec.containers[] | select(.name == \"side\") | .image");
        let applied = IgnoreRules::new([&rule]).unwrap().respect(&desired, &live);
        assert_eq!(
            applied.pointer("/spec/template/spec/containers"),
            Some(&json!([{"name": "web", "image": "web:2"}, {"name": "side", "image": "side:9"}]))
        );
    }

    #[test]
    fn what_may_not_end_is_refused() {
        for bad in [
            ".spec.[",
            "def f: f; f",
            "repeat(.)",
            "recurse(.; true)",
            ".spec | until(false; .)",
            "[range(infinite)]",
            ".spec = 1",
            "env.HOME",
            "\"\\(repeat(1))\"",
            "reduce .[] as $x (0; .)",
            "input",
            ".spec.template.spec.containers[1:]",
        ] {
            let error = IgnoreRules::new([&jq(bad)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
            assert!(error.to_string().contains("jq"), "{error}");
        }
    }
}
