//! Custom resources against their definition's `openAPIV3Schema` (apiextensions-apiserver, `pkg/apiserver/schema`): unknown fields are
//! found, defaults set, values checked. CEL rules, patterns and formats are not checked.

use gitops_core::Result;
use serde_json::Value;

use super::fields::{Part, Path, display};
use super::kinds::Kind;
use super::messages;
use super::state::text;

/// How far a value is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// An applied configuration: types only; the rest may be there already.
    Types,
    /// A whole object, which gets its defaults as well.
    All,
}

/// Checks `value`, and collects the fields that the schema does not know.
///
/// # Errors
/// `InvalidInput` naming every value that does not fit.
pub(super) fn conform(
    kind: &Kind,
    schema: &Value,
    check: Check,
    value: &mut Value,
    unknown: &mut Vec<Path>,
) -> Result<()> {
    let mut walker = Walker {
        check,
        unknown,
        problems: Vec::new(),
    };
    walker.walk(schema, value, &mut Vec::new());
    let problems = walker.problems;
    if problems.is_empty() {
        return Ok(());
    }
    let name = text(value, "/metadata/name").to_owned();
    Err(messages::invalid(kind, &name, &problems))
}

struct Walker<'a> {
    check: Check,
    unknown: &'a mut Vec<Path>,
    problems: Vec<String>,
}

impl Walker<'_> {
    fn walk(&mut self, schema: &Value, value: &mut Value, path: &mut Path) {
        let problem = |path: &Path, problem: String| format!("{}: {problem}", display(path));
        let free = schema["x-kubernetes-preserve-unknown-fields"] == true;
        let expected = if schema["x-kubernetes-int-or-string"] == true {
            "int-or-string"
        } else {
            schema["type"].as_str().unwrap_or_default()
        };
        let fits = match expected {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "number" => value.is_number(),
            "int-or-string" => value.is_string() || value.is_i64() || value.is_u64(),
            _ => true,
        };
        if !fits {
            let found = match value {
                Value::Null if schema["nullable"] == true => return,
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_f64() => "number",
                Value::Number(_) => "integer",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            self.problems.push(problem(
                path,
                format!(
                    "Invalid value: {found:?}: {} in body must be of type {expected}: {found:?}",
                    display(path)
                ),
            ));
            return;
        }
        let all = self.check == Check::All;
        if let Some(allowed) = schema["enum"].as_array()
            && all
            && !allowed.contains(value)
        {
            let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
            self.problems.push(problem(
                path,
                format!(
                    "Unsupported value: {value}: supported values: {}",
                    allowed.join(", ")
                ),
            ));
        }
        for wrong in bounds(schema, value).into_iter().filter(|_| all) {
            self.problems
                .push(problem(path, format!("Invalid value: {wrong}")));
        }
        match value {
            Value::Object(map) => {
                let root = path.is_empty();
                let embedded = schema["x-kubernetes-embedded-resource"] == true;
                let properties = schema["properties"].as_object();
                if let Some(properties) = properties.filter(|_| all) {
                    for (name, property) in properties {
                        if let Some(default) = property.get("default")
                            && map.get(name).is_none_or(Value::is_null)
                        {
                            map.insert(name.clone(), default.clone());
                        }
                    }
                }
                for required in schema["required"]
                    .as_array()
                    .filter(|_| all)
                    .into_iter()
                    .flatten()
                {
                    let Some(name) = required.as_str() else {
                        continue;
                    };
                    if map.get(name).is_none_or(Value::is_null) {
                        path.push(Part::Field(name.to_owned()));
                        self.problems
                            .push(problem(path, "Required value".to_owned()));
                        path.pop();
                    }
                }
                for (name, value) in map.iter_mut() {
                    if (root || embedded)
                        && matches!(name.as_str(), "apiVersion" | "kind" | "metadata")
                    {
                        continue;
                    }
                    path.push(Part::Field(name.clone()));
                    let property = properties.and_then(|properties| properties.get(name));
                    match (property, &schema["additionalProperties"]) {
                        // An applied null asks for the default.
                        (Some(_), _) if value.is_null() => {}
                        (Some(property), _) => self.walk(property, value, path),
                        (None, Value::Object(_)) => {
                            self.walk(&schema["additionalProperties"], value, path);
                        }
                        (None, Value::Bool(true)) => {}
                        (None, _) if free => {}
                        (None, _) => self.unknown.push(path.clone()),
                    }
                    path.pop();
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push(Part::Index(index));
                    self.walk(&schema["items"], item, path);
                    path.pop();
                }
            }
            _ => {}
        }
    }
}

fn bounds(schema: &Value, value: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let limit = |name: &str| schema[name].as_f64();
    let mut check = |size: f64, least: Option<f64>, most: Option<f64>, what: &str| {
        if let Some(least) = least.filter(|least| size < *least) {
            wrong.push(format!("{size}: {what} should be at least {least}"));
        }
        if let Some(most) = most.filter(|most| size > *most) {
            wrong.push(format!("{size}: {what} should be at most {most}"));
        }
    };
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                check(number, limit("minimum"), limit("maximum"), "the value");
            }
        }
        Value::String(text) => {
            let length = text.chars().count() as f64;
            check(length, limit("minLength"), limit("maxLength"), "the length");
        }
        Value::Array(items) => {
            let length = items.len() as f64;
            check(
                length,
                limit("minItems"),
                limit("maxItems"),
                "the number of items",
            );
        }
        Value::Object(map) => {
            let length = map.len() as f64;
            check(
                length,
                limit("minProperties"),
                limit("maxProperties"),
                "the number of fields",
            );
        }
        _ => {}
    }
    wrong
}
