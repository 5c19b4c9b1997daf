//! What kustomize printed, as objects: with variables put in, and with what the controller adds before it applies them.

use gitops_core::manifest::{Object, yaml};
use gitops_core::{Error, Result};
use serde_json::{Number, Value};

use super::envsubst;
use super::variables::Variables;
use crate::types::{Kustomization, annotation};

/// One document of the output.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) text: String,
    /// Where it stands in the output, for positions: from 0, and from 1.
    pub(super) index: usize,
    pub(super) line: usize,
}

/// The documents of kustomize's output, which it parts by lines of `---`; no other line begins with these.
pub(super) fn documents(output: &str) -> Vec<Document> {
    let mut documents: Vec<Document> = Vec::new();
    let mut current = Document {
        text: String::new(),
        index: 0,
        line: 1,
    };
    for (at, line) in output.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" {
            let next = Document {
                text: String::new(),
                index: current.index + 1,
                line: at + 2,
            };
            documents.push(std::mem::replace(&mut current, next));
        } else {
            current.text.push_str(line);
        }
    }
    documents.push(current);
    documents.retain(|document| !document.text.trim().is_empty());
    documents
}

/// What a label or annotation of the document says.
fn says(value: &Value, key: &str, wanted: &str) -> bool {
    ["labels", "annotations"]
        .iter()
        .any(|field| value["metadata"][field][key] == wanted)
}

/// Whether variables are not to be substituted in a document.
pub(super) fn substitution_disabled(value: &Value) -> bool {
    says(value, annotation::SUBSTITUTE, "disabled")
}

/// What names a document in messages, before and after substitution.
pub(super) fn named(value: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let metadata = &value["metadata"];
    let name = text(&metadata["name"]);
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{} {namespace}/{name}", text(&value["kind"])),
        None => format!("{} {name}", text(&value["kind"])),
    }
}

/// Puts variables in. The text is kustomize's own: what stands in quotes there is a text afterwards, and what does not is whatever the
/// value makes of it; `replicas: ${n}` becomes a number, and so does `"${n}"` in the source, for which kustomize needs no quotes.
pub(super) fn substitute(
    document: &mut Document,
    value: &Value,
    variables: &Variables,
    strict: bool,
) -> Result<()> {
    document.text = envsubst::substitute(&document.text, variables, strict)
        .map_err(|error| error.context(format!("post build of {}", named(value))))?;
    Ok(())
}

/// The objects of a document: one, or those of a list.
pub(super) fn read(document: &Document, file: &str) -> Result<Vec<Object>> {
    let objects = yaml::parse(file, document.text.as_bytes())?;
    objects
        .into_iter()
        .map(|object| {
            let mut origin = object.origin().cloned().unwrap_or_default();
            origin.document = document.index;
            origin.line += document.line - 1;
            Object::new(object.into_value(), Some(origin))
        })
        .collect()
}

/// [`read`] of a document with variables put in. The parser's own words may quote a value, so they are left out.
pub(super) fn read_substituted(document: &Document, before: &Value) -> Result<Vec<Object>> {
    const FILE: &str = "substituted";
    let objects = read(document, FILE).map_err(|error| {
        let line: Option<usize> = error
            .message()
            .strip_prefix(FILE)
            .and_then(|rest| rest.strip_prefix(':')?.split(':').next()?.parse().ok());
        let at = line.map_or(String::new(), |line| format!(" (line {line} of it)"));
        Error::invalid(format!(
            "post build of {}: with variables put in, it is no manifest{at}",
            named(before)
        ))
    })?;
    objects
        .into_iter()
        .map(|object| {
            let origin = object.origin().cloned();
            Object::new(through_floats(object.into_value()), origin)
        })
        .collect()
}

/// Numbers as they are after Go's `encoding/json` read them into an interface: all of them floats on the way.
fn through_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(through_float(number)),
        Value::Array(items) => items.into_iter().map(through_floats).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, through_floats(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

fn through_float(number: Number) -> Number {
    const I64: f64 = 9_223_372_036_854_775_808.0;
    let Some(float) = number.as_f64() else {
        return number;
    };
    if float.fract() != 0.0 {
        return number;
    }
    // Both casts are of whole numbers within bounds.
    if (-I64..I64).contains(&float) {
        Number::from(float as i64)
    } else if (0.0..I64 * 2.0).contains(&float) {
        Number::from(float as u64)
    } else {
        number
    }
}

/// Whether the controller would drop it before applying: a kustomization of kustomize's own.
pub(super) fn is_kustomization(object: &Object) -> bool {
    object.kind() == "Kustomization" && object.group() == "kustomize.config.k8s.io"
}

/// What is added before an object is applied: the labels of its owner, then common labels and annotations, which win; what only the
/// server may say is taken out.
pub(super) fn applied(object: &mut Object, owner: &Kustomization) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    object.set_label(annotation::KUSTOMIZATION_NAME, text(&owner.metadata.name));
    object.set_label(
        annotation::KUSTOMIZATION_NAMESPACE,
        text(&owner.metadata.namespace),
    );
    if let Some(common) = &owner.spec.common_metadata {
        for (key, value) in common.labels.iter().flatten() {
            object.set_label(key, value);
        }
        for (key, value) in common.annotations.iter().flatten() {
            object.set_annotation(key, value);
        }
    }
    object.metadata_mut().remove("creationTimestamp");
    let definition =
        object.kind() == "CustomResourceDefinition" && object.group() == "apiextensions.k8s.io";
    if !definition {
        object.value_mut().remove("status");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OUTPUT: &str = "apiVersion: v1\ndata:\n  a: ${n}\n  b: \"1\"\n  c: |\n    ---\n    ${t}\nkind: ConfigMap\nmetadata:\n  name: one\n---\n\
                          apiVersion: v1\nkind: Namespace\nmetadata:\n  name: two\n";

    #[test]
    fn documents_are_kustomizes() {
        let documents = documents(OUTPUT);
        assert_eq!(documents.len(), 2);
        assert_eq!((documents[1].index, documents[1].line), (1, 12));
        let origin = read(&documents[1], "x").unwrap()[0]
            .origin()
            .unwrap()
            .to_string();
        assert_eq!(origin, "x:12:1");
        assert!(super::documents("").is_empty());
    }

    #[test]
    fn what_a_value_is_decides_what_it_becomes() {
        let mut document = documents(OUTPUT).remove(0);
        let value = yaml::parse_value("x", document.text.as_bytes()).unwrap();
        let variables = Variables::from_iter([("n", "3"), ("t", "yes")]);
        substitute(&mut document, &value, &variables, true).unwrap();
        let object = read_substituted(&document, &value).unwrap().remove(0);
        assert_eq!(
            object.value()["data"],
            json!({"a": 3, "b": "1", "c": "---\nyes\n"})
        );
    }

    #[test]
    fn a_value_that_breaks_the_text_is_not_quoted() {
        let mut document = documents(OUTPUT).remove(0);
        let value = yaml::parse_value("x", document.text.as_bytes()).unwrap();
        for bad in [
            "canary: canary: x",
            "[canary",
            "*canary",
            "\"canary",
            "{canary: 1, canary: 2}",
        ] {
            let mut document = document.clone();
            let variables = Variables::from_iter([("n", bad)]);
            substitute(&mut document, &value, &variables, false).unwrap();
            let error = read_substituted(&document, &value).unwrap_err();
            let text = format!("{error:#} {error:?}");
            assert!(
                !text.contains("canary") && text.contains("ConfigMap one"),
                "{text}"
            );
        }
        document.text = document.text.replace("${n}", "${n");
        let error = substitute(&mut document, &value, &Variables::new(), true).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("post build of ConfigMap one: line 3"),
            "{error}"
        );
    }

    #[test]
    fn numbers_pass_through_floats() {
        for (number, wanted) in [
            ("9007199254740993", "9007199254740992"),
            ("1.0", "1"),
            ("0.5", "0.5"),
            ("-0.0", "0"),
            ("1e6", "1000000"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            let value: Value = serde_json::from_str(number).unwrap();
            let wanted: Value = serde_json::from_str(wanted).unwrap();
            match through_floats(json!([value])) {
                Value::Array(items) if number.starts_with('1') && number.len() == 20 => {
                    assert!(items[0].is_number());
                }
                given => assert_eq!(given, json!([wanted]), "{number}"),
            }
        }
    }
}
