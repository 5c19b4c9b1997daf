//! Validators of schemas and dry runs, as far as they need no server; the rest is held against a real one in the end-to-end tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::FutureExt;
use gitops_core::application::Application;
use gitops_core::manifest::{ManifestSet, Object};
use gitops_core::validate::{Context, Finding, Validator};
use gitops_core::{ErrorKind, Result};
use gitops_kube::cluster::{Fault, FaultAnswer, InMemoryCluster, KubeCluster};
use gitops_kube::validate::{DryRunValidator, SchemaValidator, Schemas};
use proptest::prelude::*;
use serde_json::{Value, json};

fn set(values: impl IntoIterator<Item = Value>) -> ManifestSet {
    let objects = values
        .into_iter()
        .map(|value| Object::new(value, None).unwrap());
    ManifestSet::from_objects(objects).unwrap()
}

fn short(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| {
            format!(
                "{} {}",
                finding.code,
                finding.pointer.as_deref().unwrap_or_default()
            )
        })
        .collect()
}

#[tokio::test]
async fn a_kind_that_goes_while_the_schemas_are_read_is_left_out() {
    let service = tower::service_fn(|request: http::Request<kube::client::Body>| {
        let document = |path: &str| json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
        let gvk = json!([{"group": "", "version": "v1", "kind": "ConfigMap"}]);
        let schema = json!({"type": "object", "x-kubernetes-group-version-kind": gvk});
        let (status, body) = match request.uri().path() {
            "/openapi/v3" => {
                let paths = ["api/v1", "apis/gone.example.com/v1"];
                let paths = paths.map(|path| (path.to_owned(), document(path)));
                let paths: serde_json::Map<_, _> = paths.into_iter().collect();
                (200, json!({"paths": paths}))
            }
            "/openapi/v3/api/v1" => (200, json!({"components": {"schemas": {"map": schema}}})),
            "/version" => (200, json!({"gitVersion": "v1.34.0"})),
            _ => (
                404,
                json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}),
            ),
        };
        let body = kube::client::Body::from(body.to_string().into_bytes());
        let answer = http::Response::builder().status(status).body(body).unwrap();
        std::future::ready(Ok::<_, std::convert::Infallible>(answer))
    });
    let cluster = KubeCluster::new(kube::Client::new(service, "default"));
    let schemas = Schemas::fetch(&cluster).await.unwrap();
    let kinds: Vec<_> = schemas.kinds().map(|gvk| gvk.kind).collect();
    assert_eq!(kinds, ["ConfigMap"]);
}

fn empty() -> Schemas {
    Schemas::from_json(br#"{"format":1,"serverVersion":"","documents":{}}"#).unwrap()
}

fn definition(spec: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]},
    })
}

/// What is found in a Thing with `spec`, besides that nothing is known of definitions here.
fn check(schema: &Value, spec: &Value) -> Vec<Finding> {
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "labels": {"a": "b"}}, "spec": spec});
    let manifests = set([definition(schema), thing]);
    let validator = SchemaValidator::new(empty());
    let context = Context::with_manifests(&manifests);
    let app = Application::new("a");
    let answer = validator.validate(&app, &context);
    let findings = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(answer)
        .unwrap();
    findings
        .into_iter()
        .filter(|f| f.object.as_ref().is_some_and(|id| id.kind == "Thing"))
        .collect()
}

#[test]
fn custom_resources_by_their_definitions() {
    let schema = json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "format": "int32", "minimum": 1},
        "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}}},
        "nothing": {"type": "object"},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id", "kind"], "items": {"type": "object", "required": ["id"],
            "properties": {"id": {"type": "string"}, "kind": {"type": "string"}}}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "colour": {"type": "string", "enum": ["red", "green"]},
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "at": {"type": "string", "format": "date-time"},
        "either": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "maybe": {"type": "string", "nullable": true},
        "excluded": {"type": "integer", "minimum": 0, "exclusiveMinimum": true},
    }});
    let table: &[(Value, &[&str])] = &[
        (json!({"size": 1}), &[]),
        (json!({}), &["missing-field /spec/size"]),
        (json!({"size": 0}), &["schema-violation /spec/size"]),
        (json!({"size": 1.5}), &["schema-violation /spec/size"]),
        (json!({"size": "1"}), &["schema-violation /spec/size"]),
        (
            json!({"size": 4_294_967_296_u64}),
            &["schema-violation /spec/size"],
        ),
        (
            json!({"size": 1, "sise": 1, "a/b": 1}),
            &["unknown-field /spec/a~1b", "unknown-field /spec/sise"],
        ),
        (json!({"size": 1, "port": "http"}), &[]),
        (json!({"size": 1, "port": 80}), &[]),
        (
            json!({"size": 1, "port": true}),
            &["schema-violation /spec/port"],
        ),
        (json!({"size": 1, "free": {"x": {"y": 1}}}), &[]),
        (
            json!({"size": 1, "free": {"known": {"b": 1}}}),
            &["unknown-field /spec/free/known/b"],
        ),
        (
            json!({"size": 1, "nothing": {"x": 1}}),
            &["unknown-field /spec/nothing/x"],
        ),
        (json!({"size": 1, "map": {"x": "y"}}), &[]),
        (
            json!({"size": 1, "map": {"x": 1}}),
            &["schema-violation /spec/map/x"],
        ),
        (
            json!({"size": 1, "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"x": 1}}}),
            &[],
        ),
        (
            json!({"size": 1, "template": {"data": 1}}),
            &["unknown-field /spec/template/data"],
        ),
        (
            json!({"size": 1, "parts": [{"id": "a"}, {"id": "a", "kind": "x"}, {"id": "b"}]}),
            &[],
        ),
        (
            json!({"size": 1, "parts": [{"id": "a"}, {"id": "a"}]}),
            &["schema-violation /spec/parts"],
        ),
        (
            json!({"size": 1, "parts": [{}]}),
            &["missing-field /spec/parts/0/id"],
        ),
        (json!({"size": 1, "tags": ["a", "b"]}), &[]),
        (
            json!({"size": 1, "tags": ["a", "a"]}),
            &["schema-violation /spec/tags"],
        ),
        (
            json!({"size": 1, "tags": [null]}),
            &["schema-violation /spec/tags/0"],
        ),
        (
            json!({"size": 1, "colour": "blue"}),
            &["schema-violation /spec/colour"],
        ),
        (json!({"size": 1, "name": "abc"}), &[]),
        (
            json!({"size": 1, "name": "ABC"}),
            &["schema-violation /spec/name"],
        ),
        (
            json!({"size": 1, "name": "abcdef"}),
            &["schema-violation /spec/name"],
        ),
        (json!({"size": 1, "at": "2026-01-01T00:00:00Z"}), &[]),
        (
            json!({"size": 1, "at": "yesterday"}),
            &["schema-violation /spec/at"],
        ),
        (json!({"size": 1, "either": {"a": "x"}}), &[]),
        (
            json!({"size": 1, "either": {"a": "x", "b": "x"}}),
            &["schema-violation /spec/either"],
        ),
        (
            json!({"size": 1, "maybe": null, "name": null, "template": null, "unknown": null}),
            &[],
        ),
        (
            json!({"size": 1, "excluded": 0}),
            &["schema-violation /spec/excluded"],
        ),
        (json!([]), &["schema-violation /spec"]),
    ];
    for (spec, expected) in table {
        let mut found = short(&check(&schema, spec));
        found.sort();
        assert_eq!(found, *expected, "{spec}");
    }
    let findings = check(
        &schema,
        &json!({"size": 1, "parts": [{"id": "a", "x": 1}], "name": "HUNTER2"}),
    );
    let texts: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let field = "error: Thing.example.com t /spec/parts/0/x: unknown field \"spec.parts[0].x\" [unknown-field]";
    assert!(texts.iter().any(|text| text == field), "{texts:?}");
    assert!(!texts.concat().contains("HUNTER2"), "{texts:?}");
}

#[test]
fn a_schema_that_cannot_be_used_is_an_error_and_files_are_checked() {
    let manifests = set([
        definition(&json!({"type": "string", "pattern": "("})),
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}}),
    ]);
    let validator = SchemaValidator::new(empty());
    let context = Context::with_manifests(&manifests);
    let app = Application::new("a");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let error = runtime
        .block_on(validator.validate(&app, &context))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for bad in [
        &b""[..],
        b"{}",
        b"[]",
        br#"{"format":2,"serverVersion":"","documents":{}}"#,
    ] {
        assert_eq!(
            Schemas::from_json(bad).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("schemas.json");
    let error = runtime.block_on(Schemas::load(&path)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    runtime.block_on(empty().save(&path)).unwrap();
    runtime.block_on(Schemas::load(&path)).unwrap();
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "temporary files are left"
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z~/]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c~/]{1,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Every finding points to a field that is there, or to one that is missing from an object that is there; and nothing panics.
    #[test]
    fn findings_point_into_the_object(spec in any_json()) {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "properties": {"b": {"type": "string"}}}},
            "b": {"type": "object", "additionalProperties": {"type": "integer"}}}});
        for finding in check(&schema, &spec) {
            let pointer = finding.pointer.unwrap();
            let object = json!({"spec": spec});
            let parent = pointer.rsplit_once('/').unwrap().0;
            match finding.code.as_str() {
                "missing-field" => prop_assert!(object.pointer(parent).unwrap().is_object()),
                _ => prop_assert!(object.pointer(&pointer).is_some(), "{}", pointer),
            }
        }
    }
}

fn dry_run(
    cluster: &InMemoryCluster,
    app: &Application,
    objects: Vec<Value>,
) -> Result<Vec<Finding>> {
    let manifests = set(objects);
    let context = Context::with_manifests(&manifests);
    let validator = DryRunValidator::new(cluster);
    let answer = validator.validate(app, &context);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(answer)
}

#[test]
fn a_dry_run_finds_what_the_server_refuses() {
    let cluster = InMemoryCluster::new();
    let app = Application::new("a").in_namespace("default");
    let config_map = |namespace: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let widget =
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}});
    let found = |objects: Vec<Value>| short(&dry_run(&cluster, &app, objects).unwrap());
    assert!(found(vec![config_map("default")]).is_empty());
    assert_eq!(found(vec![widget.clone()]), ["unknown-kind /apiVersion"]);
    assert_eq!(
        found(vec![definition(&json!({"type": "object"})), widget]),
        ["not-checked "]
    );
    assert_eq!(
        found(vec![deployment]),
        ["invalid-field /spec/template/metadata/labels"]
    );
    assert_eq!(
        found(vec![config_map("missing")]),
        ["invalid-field /metadata/namespace"]
    );
    assert_eq!(found(vec![namespace, config_map("new")]), ["not-checked "]);
    let mut creates = Application::new("a")
        .in_namespace("missing")
        .sync_option("CreateNamespace=true");
    creates.destination.namespace = "missing".into();
    let findings = dry_run(&cluster, &creates, vec![config_map("missing")]).unwrap();
    assert_eq!(short(&findings), ["not-checked "]);
    // Without manifests there is nothing to ask.
    let validator = DryRunValidator::new(&cluster);
    let answer = validator.validate(&app, &Context::default()).now_or_never();
    assert!(answer.unwrap().unwrap().is_empty());
}

#[test]
fn a_server_that_does_not_answer_found_nothing_out() {
    let cluster = InMemoryCluster::new();
    cluster.fail_next(Fault::new(FaultAnswer::Unavailable(None)));
    let app = Application::new("a").in_namespace("default");
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    let error = dry_run(&cluster, &app, vec![config_map]).unwrap_err();
    assert!(
        error.to_string().contains("dry run of ConfigMap c"),
        "{error}"
    );
}
