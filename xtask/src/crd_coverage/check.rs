//! Whether the properties of a schema are typed.

use serde_json::{Value, json};

use super::Kind;

#[derive(Debug, Default)]
pub(super) struct Report {
    /// How many properties the schema has.
    properties: usize,
    /// How many more the nested generators have: their form is in Argo CD's Go types, the schema takes any.
    nested: usize,
    /// What is not typed, and why.
    pub(super) missing: Vec<String>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.properties + self.nested;
        write!(f, "{} properties", self.properties)?;
        if self.nested > 0 {
            write!(f, " and {} of nested generators", self.nested)?;
        }
        write!(f, ", {} typed", all - self.missing.len())?;
        for line in &self.missing {
            write!(f, "\n  missing {line}")?;
        }
        Ok(())
    }
}

pub(super) fn check(schema: &Value, kind: &Kind) -> Report {
    let mut properties = Vec::new();
    let generators = schema.pointer("/properties/spec/properties/generators/items/properties");
    let walk = Walk {
        generators,
        nested: false,
    };
    walk.collect(schema, &mut Vec::new(), &mut properties);
    let mut report = Report::default();
    for property in &properties {
        match property.nested {
            true => report.nested += 1,
            false => report.properties += 1,
        }
        if let Err(why) = property.check(kind) {
            let path = shown(&property.path);
            report.missing.push(format!("{path}: {why}"));
        }
    }
    report
}

/// One step from a schema to a schema below it.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Item,
    Entry,
}

/// The key of a sample in a map.
const ENTRY: &str = "example.org/key";

fn shown(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Item => text.push_str("[]"),
            Step::Entry => text.push_str(".*"),
        }
    }
    text
}

struct Property<'a> {
    path: Vec<Step>,
    schema: &'a Value,
    /// Below a nested generator.
    nested: bool,
    /// It has a form, although the schema takes any.
    is_object: bool,
}

struct Walk<'a> {
    /// The forms of generators.
    generators: Option<&'a Value>,
    nested: bool,
}

impl<'a> Walk<'a> {
    fn collect(&self, schema: &'a Value, path: &mut Vec<Step>, found: &mut Vec<Property<'a>>) {
        let properties = schema["properties"].as_object();
        for (name, below) in properties.into_iter().flatten() {
            // `matrix` and `merge` inside of each other.
            let generator = (is_any(below) && matches!(name.as_str(), "matrix" | "merge"))
                .then_some(self.generators)
                .flatten()
                .map(|generators| &generators[name]);
            // A third level there is not.
            if generator.is_some() && self.nested {
                continue;
            }
            path.push(Step::Key(name.clone()));
            found.push(Property {
                path: path.clone(),
                schema: below,
                nested: self.nested,
                is_object: generator.is_some(),
            });
            match generator {
                None => self.collect(below, path, found),
                Some(generator) => {
                    let nested = Walk {
                        generators: self.generators,
                        nested: true,
                    };
                    // Nested ones have no template.
                    for (name, below) in generator["properties"].as_object().into_iter().flatten() {
                        if name != "template" {
                            path.push(Step::Key(name.clone()));
                            found.push(Property {
                                path: path.clone(),
                                schema: below,
                                nested: true,
                                is_object: false,
                            });
                            nested.collect(below, path, found);
                            path.pop();
                        }
                    }
                }
            }
            path.pop();
        }
        for (key, step) in [("items", Step::Item), ("additionalProperties", Step::Entry)] {
            if schema[key].is_object() {
                path.push(step);
                self.collect(&schema[key], path, found);
                path.pop();
            }
        }
    }
}

impl Property<'_> {
    fn check(&self, kind: &Kind) -> Result<(), String> {
        let round_trip = kind.round_trip;
        let (samples, wrong) = match self.is_object {
            true => (vec![json!({})], others(&["object"])),
            false => (samples(self.schema)?, wrong(self.schema)),
        };
        let free = kind
            .free
            .iter()
            .find(|(path, _)| *path == shown(&self.path));
        if wrong.is_empty() && free.is_none() {
            return Err("the schema takes anything, so this cannot tell".to_owned());
        }
        for sample in samples {
            let back = round_trip(document(&self.path, sample.clone()))
                .map_err(|error| format!("{sample} is refused: {error}"))?;
            match at(&back, &self.path) {
                Some(back) if holds(back, &sample) => {}
                Some(back) => return Err(format!("{sample} comes back as {back}")),
                None => return Err(format!("{sample} does not come back")),
            }
            if free.is_some_and(|(_, is_typed)| !is_typed(document(&self.path, sample.clone()))) {
                return Err("it has no field".to_owned());
            }
        }
        for sample in wrong {
            if round_trip(document(&self.path, sample.clone())).is_ok() {
                return Err(format!("{sample} is not refused"));
            }
        }
        Ok(())
    }
}

fn document(path: &[Step], value: Value) -> Value {
    path.iter().rev().fold(value, |value, step| match step {
        Step::Key(key) => json!({key: value}),
        Step::Item => json!([value]),
        Step::Entry => json!({ENTRY: value}),
    })
}

fn at<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Item => value.get(0),
        Step::Entry => value.get(ENTRY),
    })
}

/// Whether everything of `sample` is in `value`; objects may have more: required fields, empty.
fn holds(value: &Value, sample: &Value) -> bool {
    match (value, sample) {
        (Value::Object(value), Value::Object(sample)) => sample
            .iter()
            .all(|(key, sample)| value.get(key).is_some_and(|value| holds(value, sample))),
        (Value::Array(value), Value::Array(sample)) => {
            value.len() == sample.len()
                && value
                    .iter()
                    .zip(sample)
                    .all(|(value, sample)| holds(value, sample))
        }
        _ => value == sample,
    }
}

/// Whether the schema takes anything.
fn is_any(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true && schema["type"].is_null()
}

fn is_int_or_string(schema: &Value) -> bool {
    schema["x-kubernetes-int-or-string"] == true
}

/// Values that fit the schema.
fn samples(schema: &Value) -> Result<Vec<Value>, String> {
    if is_int_or_string(schema) {
        return Ok(vec![json!(7), json!("25%")]);
    }
    if is_any(schema) {
        return Ok(vec![json!({"any": [1, "two", {"three": true}]})]);
    }
    Ok(match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("date-time")) => vec![json!("2025-01-02T03:04:05Z")],
        (Some("string"), None) => match schema["enum"].as_array() {
            Some(values) => values.clone(),
            None => vec![json!("text"), json!("")],
        },
        (Some("boolean"), None) => vec![json!(true), json!(false)],
        (Some("integer"), Some("int64")) => vec![json!(7), json!(0), json!(-7), json!(i64::MAX)],
        (Some("integer"), None) => vec![json!(7), json!(0), json!(-7)],
        (Some("array"), None) => {
            let items = samples(&schema["items"])?;
            vec![json!([]), Value::Array(items)]
        }
        (Some("object"), None) if schema["additionalProperties"].is_object() => {
            let entries = samples(&schema["additionalProperties"])?.into_iter();
            let entries = entries.map(|entry| json!({ENTRY: entry}));
            std::iter::once(json!({})).chain(entries).collect()
        }
        (Some("object"), None) if schema["x-kubernetes-preserve-unknown-fields"] == true => {
            vec![json!({}), json!({"any": [1, "two", {"three": true}]})]
        }
        (Some("object"), None) if schema["properties"].is_object() => vec![json!({})],
        _ => return Err(format!("a form that this does not know: {schema}")),
    })
}

/// Values that do not fit the schema.
fn wrong(schema: &Value) -> Vec<Value> {
    if is_int_or_string(schema) {
        return others(&["integer", "string"]);
    }
    if is_any(schema) {
        return Vec::new();
    }
    let kind = schema["type"].as_str().unwrap_or_default();
    let mut wrong = others(&[kind]);
    match kind {
        "string" if schema["format"] == "date-time" => wrong.push(json!("text")),
        // What the items or entries must not be, the whole must not hold.
        "array" => wrong.extend(
            self::wrong(&schema["items"])
                .into_iter()
                .map(|v| json!([v])),
        ),
        "object" if schema["additionalProperties"].is_object() => {
            let entries = self::wrong(&schema["additionalProperties"]).into_iter();
            wrong.extend(entries.map(|entry| json!({ENTRY: entry})));
        }
        _ => {}
    }
    wrong
}

/// A value of every JSON type but these.
fn others(kinds: &[&str]) -> Vec<Value> {
    [
        ("string", json!("text")),
        ("boolean", json!(true)),
        ("integer", json!(7)),
        ("number", json!(1.5)),
        ("array", json!([])),
        ("object", json!({})),
    ]
    .into_iter()
    .filter(|(kind, _)| !kinds.contains(kind))
    .map(|(_, value)| value)
    .collect()
}

#[cfg(test)]
mod tests {
    use gitops_argocd::types::Application;
    use gitops_flux::types::HelmRelease;

    use super::super::{Free, has_values};
    use super::*;

    fn missing(spec: Value) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec},
        }});
        check(&schema, &Kind::of::<Application>("Application", "v1alpha1")).missing
    }

    #[test]
    fn what_is_typed_is_found() {
        let found = missing(json!({
            "project": {"type": "string"},
            "revisionHistoryLimit": {"type": "integer", "format": "int64"},
            "sources": {"type": "array", "items": {"type": "object", "properties": {
                "helm": {"type": "object", "properties": {
                    "valuesObject": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "skipCrds": {"type": "boolean"},
                }},
                "kustomize": {"type": "object", "properties": {
                    "commonLabels": {"type": "object", "additionalProperties": {"type": "string"}},
                }},
            }}},
        }));
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn what_is_not_typed_is_found() {
        // What is not there lands in `extra`, at any depth; and a type that is not the schema's refuses its values.
        let cases = [
            (json!({"newer": {"type": "boolean"}}), ".spec.newer: "),
            (
                json!({"newer": {"type": "object", "properties": {"below": {"type": "string"}}}}),
                ".spec.newer: ",
            ),
            (
                json!({"sources": {"type": "array", "items": {"type": "object", "properties": {"newer": {"type": "string"}}}}}),
                ".spec.sources[].newer: ",
            ),
            (
                json!({"newer": {"x-kubernetes-preserve-unknown-fields": true}}),
                ".spec.newer: the schema takes anything",
            ),
            (
                json!({"project": {"type": "boolean"}}),
                ".spec.project: true is refused",
            ),
            (
                json!({"source": {"type": "object", "properties": {"helm": {"type": "object", "properties": {
                    "valuesObject": {"type": "object", "additionalProperties": {"type": "string"}},
                }}}}}),
                ".spec.source.helm.valuesObject: {\"example.org/key\":true} is not refused",
            ),
        ];
        for (spec, expected) in cases {
            let found = missing(spec);
            assert!(
                found.first().is_some_and(|line| line.starts_with(expected)),
                "{expected} in {found:?}"
            );
        }
    }

    const FREE: &[Free] = &[(".spec.values", has_values), (".spec.newer", has_values)];

    #[test]
    fn what_takes_anything_must_have_a_field() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "values": {"x-kubernetes-preserve-unknown-fields": true},
            "newer": {"x-kubernetes-preserve-unknown-fields": true},
        }}}});
        let mut kind = Kind::of::<HelmRelease>("HelmRelease", "v2");
        kind.free = FREE;
        let missing = check(&schema, &kind).missing;
        assert_eq!(missing, [".spec.newer: it has no field"]);
    }
}
