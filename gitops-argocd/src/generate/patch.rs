//! `templatePatch`: a strategic merge patch of an application.

use gitops_core::manifest::yaml;
use gitops_core::{Error, Result};
use serde_json::{Map, Value};

use super::go::numbers_through_float;
use super::strategic::{self, VALUES_OBJECT};
use crate::types::Application;

/// Merges a filled patch into an application, as `applyTemplatePatch` of Argo CD 3.2 (`applicationset/controllers/template/patch.go`) with
/// `strategicpatch` of apimachinery 0.34: mappings merge, null deletes, lists are replaced, but for `metadata.finalizers`, which are put together. The project
/// stays what it was.
///
/// A text that begins with `{` is JSON, any other is YAML.
pub(super) fn apply(application: &Application, patch: &str) -> Result<Application> {
    let Some(mut patch) = parse(patch)? else {
        return Ok(application.clone());
    };
    for value in patch.values_mut() {
        numbers_through_float(value);
    }
    check(&patch)?;
    let internal = |error| Error::internal("an application is no object").with_source(error);
    let Value::Object(mut merged) = serde_json::to_value(application).map_err(internal)? else {
        return Err(Error::internal("an application is no object"));
    };
    strategic::merge(&mut merged, patch)?;
    let mut merged = Value::Object(merged);
    drop_nulls(&mut merged);
    let mut patched: Application = serde_json::from_value(merged)
        .map_err(|_| Error::invalid("what it makes is no application"))?;
    patched.spec.project.clone_from(&application.spec.project);
    Ok(patched)
}

fn parse(patch: &str) -> Result<Option<Map<String, Value>>> {
    let value = if patch.trim_start().starts_with('{') {
        serde_json::from_str(patch).map_err(|error| {
            Error::invalid(format!(
                "it begins with {{ and is not JSON (line {}, column {})",
                error.line(),
                error.column()
            ))
        })?
    } else {
        // The first document, as in sigs.k8s.io/yaml.
        let mut documents = yaml::parse_values("templatePatch", patch.as_bytes())?.into_iter();
        documents
            .next()
            .map_or(Value::Null, |document| document.value)
    };
    match value {
        Value::Null => Ok(None),
        Value::Object(patch) => Ok(Some(patch)),
        _ => Err(Error::invalid("it is not a mapping")),
    }
}

/// Refuses a patch whose values are not of the types of an application's fields, and says which field it is.
fn check(patch: &Map<String, Value>) -> Result<()> {
    let fits = |patch: Map<String, Value>| {
        let mut patch = Value::Object(patch);
        drop_nulls(&mut patch);
        serde_json::from_value::<Application>(patch).is_ok()
    };
    if fits(patch.clone()) {
        return Ok(());
    }
    let one = |key: &str, value: &Value| Map::from_iter([(key.to_owned(), value.clone())]);
    for (key, value) in patch {
        for (inner, value) in value.as_object().into_iter().flatten() {
            if !fits(one(key, &Value::Object(one(inner, value)))) {
                return Err(Error::invalid(format!(
                    "the value of /{key}/{inner} is of a type that an application does not have there"
                )));
            }
        }
        if !fits(one(key, value)) {
            return Err(Error::invalid(format!(
                "the value of /{key} is of a type that an application does not have there"
            )));
        }
    }
    Err(Error::invalid("it does not fit an application"))
}

/// Go reads null as what is not there, but not within Helm's values, which are of no type.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            for (key, value) in map {
                if key != VALUES_OBJECT {
                    drop_nulls(value);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use gitops_core::ErrorKind;

    use super::*;

    #[test]
    fn texts() {
        let application = Application::new("a").project("p");
        for (patch, same) in [
            ("", true),
            ("# nothing", true),
            ("null", true),
            ("{}", true),
            ("spec: {project: other}", true),
            ("a: b\n---\nspec: {info: []}", false),
            (" {\"metadata\": {\"labels\": {\"a\": \"b\"}}}", false),
        ] {
            let patched = apply(&application, patch).unwrap();
            assert_eq!(patched == application, same, "{patch:?}");
        }
        for patch in [
            "text",
            "[]",
            "1",
            "{a: b}",
            "{",
            "a: [",
            "metadata: text",
            "spec: []",
            "spec: {source: text}",
            "{\"spec\": 1}",
            "metadata: {labels: {a: 1}}",
        ] {
            let error = apply(&application, patch).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{patch:?}");
        }
    }
}
