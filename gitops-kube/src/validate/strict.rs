//! OpenAPI v3 documents of an API server as JSON schemas that are as strict as the server.

use serde_json::{Map, Value, json};

/// Names of schemas that Go types were made into; all other schemas come from custom resource definitions.
const FROM_GO: [&str; 4] = [
    "io.k8s.api.",
    "io.k8s.apimachinery.",
    "io.k8s.apiextensions-apiserver.",
    "io.k8s.kube-aggregator.",
];

/// Formats that are checked; the server knows more for custom resources (apiextensions, `supportedVersionedFormats`), which a dry run tells.
const FORMATS: [&str; 4] = ["byte", "date-time", "ipv4", "ipv6"];

/// Keywords that say nothing about what is valid.
const PROSE: [&str; 10] = [
    "description",
    "title",
    "default",
    "example",
    "externalDocs",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-group-version-kind",
    "x-kubernetes-validations",
    "x-kubernetes-map-type",
];

/// The named schema in strict form.
pub(super) fn named(name: &str, schema: &Value) -> Value {
    let go = FROM_GO.iter().any(|prefix| name.starts_with(prefix));
    structural(schema, go)
}

/// The schema of a version of a custom resource definition in strict form, with what every object has.
pub(super) fn custom_resource(schema: &Value) -> Value {
    let mut strict = structural(schema, false);
    if let Some(map) = strict.as_object_mut() {
        add_object_fields(map);
    }
    strict
}

/// A part of the schema that describes a value (not one inside `allOf`, `anyOf`, `oneOf` or `not`, which only judge it): here unknown fields are found.
fn structural(schema: &Value, go: bool) -> Value {
    let Value::Object(source) = schema else {
        return schema.clone();
    };
    let mut strict = judging(source, Some(go));
    let flag = |name: &str| source.get(name) == Some(&Value::Bool(true));
    if flag("x-kubernetes-embedded-resource") {
        add_object_fields(&mut strict);
    }
    let named = strict
        .get("properties")
        .and_then(Value::as_object)
        .is_some_and(|properties| !properties.is_empty());
    // Go types without fields (RawExtension, FieldsV1) hold anything; an object of a custom resource without fields holds nothing.
    let closed = named || (!go && source.get("type") == Some(&Value::from("object")));
    if closed
        && !source.contains_key("additionalProperties")
        && !flag("x-kubernetes-preserve-unknown-fields")
    {
        strict.insert("additionalProperties".into(), false.into());
    }
    Value::Object(strict)
}

/// What every object has.
fn add_object_fields(map: &mut Map<String, Value>) {
    let properties = map
        .entry("properties")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(properties) = properties.as_object_mut() {
        properties
            .entry("apiVersion")
            .or_insert_with(|| json!({"type": "string"}));
        properties
            .entry("kind")
            .or_insert_with(|| json!({"type": "string"}));
        // Custom resource definitions may only narrow the name here; the rest of it is the server's.
        properties.insert("metadata".into(), json!({"type": "object"}));
    }
}

/// One schema in the words of JSON schema (draft 4, on which OpenAPI 3.0 stands); `go` is `None` inside of parts that only judge.
fn judging(source: &Map<String, Value>, go: Option<bool>) -> Map<String, Value> {
    let inner = |part: &Value| match (part, go) {
        (part, Some(go)) => structural(part, go),
        (part, None) => only_judging(part),
    };
    let mut strict = Map::new();
    for (key, value) in source {
        let value = match (key.as_str(), value) {
            (key, _) if PROSE.contains(&key) => continue,
            ("format" | "nullable", _) => continue,
            // Draft 4 demands that a list of required fields has one.
            ("required", Value::Array(names)) if names.is_empty() => continue,
            ("properties", Value::Object(properties)) => properties
                .iter()
                .map(|(name, schema)| (name.clone(), inner(schema)))
                .collect::<Map<_, _>>()
                .into(),
            ("items" | "additionalProperties", Value::Object(_)) => inner(value),
            ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                parts.iter().map(only_judging).collect::<Vec<_>>().into()
            }
            ("not", _) => only_judging(value),
            _ => value.clone(),
        };
        strict.insert(key.clone(), value);
    }
    match source.get("format").and_then(Value::as_str) {
        Some("int32") => {
            strict.entry("minimum").or_insert_with(|| i32::MIN.into());
            strict.entry("maximum").or_insert_with(|| i32::MAX.into());
        }
        Some(format) if FORMATS.contains(&format) => {
            strict.insert("format".into(), format.into());
        }
        _ => {}
    }
    if source.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        strict.insert("type".into(), json!(["integer", "string"]));
        // That says the same again (apiextensions, structural schemas).
        if strict.get("anyOf") == Some(&json!([{"type": "integer"}, {"type": "string"}])) {
            strict.remove("anyOf");
        }
    }
    strict
}

/// A part that judges a value which another part describes.
fn only_judging(part: &Value) -> Value {
    match part {
        Value::Object(map) => Value::Object(judging(map, None)),
        other => other.clone(),
    }
}

/// The names of the schemas that `schema` refers to.
pub(super) fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref")
                && let Some(name) = reference.strip_prefix("#/components/schemas/")
            {
                found.push(name.to_owned());
            }
            map.values().for_each(|part| references(part, found));
        }
        Value::Array(parts) => parts.iter().for_each(|part| references(part, found)),
        _ => {}
    }
}
