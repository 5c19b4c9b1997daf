//! Helm parameters (`--set` and `--set-string`) as values.
//!
//! Helm parses them with a language of its own (helm 3.18, `pkg/strvals`). Those of its forms that mean one place and one value are turned into values here; lists,
//! indexes, several in one, and `null`, which removes what the chart says, are refused rather than read in another way.

use gitops_core::application::HelmParameter;
use gitops_core::{Error, Result};
use serde_json::{Map, Value};

/// The parts of a name: separated by dots, with `\` before a dot that separates nothing.
fn parts(field: &str, name: &str) -> Result<Vec<String>> {
    let refused = |why: &str| Error::invalid(format!("{field}: {why}; say it in the values"));
    let mut parts = vec![String::new()];
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) => parts
                    .last_mut()
                    .map(|part| part.push(escaped))
                    .unwrap_or_default(),
                None => return Err(refused("its name ends in a backslash")),
            },
            '.' => parts.push(String::new()),
            '[' | ']' => return Err(refused("an index of a list is not supported")),
            ',' | '=' | '{' | '}' => {
                return Err(refused(&format!("a {c:?} in its name is not supported")));
            }
            c => parts
                .last_mut()
                .map(|part| part.push(c))
                .unwrap_or_default(),
        }
    }
    if parts.iter().any(String::is_empty) {
        return Err(refused("a part of its name is empty"));
    }
    if parts.len() > 30 {
        return Err(refused("its name has more than 30 parts"));
    }
    Ok(parts)
}

/// The value as helm types it: `true`, `false` and whole numbers without a leading zero are what they look like, all else is a text.
fn typed(field: &str, parameter: &HelmParameter) -> Result<Value> {
    let text = &parameter.value;
    let refused = |why: &str| Error::invalid(format!("{field}: {why}; say it in the values"));
    if text.starts_with('{') {
        return Err(refused("a list is not supported"));
    }
    if text.contains('\\') {
        return Err(refused("a backslash in a value is not supported"));
    }
    if parameter.force_string {
        return Ok(Value::String(text.clone()));
    }
    Ok(match text.as_str() {
        text if text.eq_ignore_ascii_case("null") => return Err(refused("null is not supported")),
        text if text.eq_ignore_ascii_case("true") => Value::Bool(true),
        text if text.eq_ignore_ascii_case("false") => Value::Bool(false),
        "0" => Value::from(0),
        text if text.starts_with('0') => Value::String(text.to_owned()),
        text => match text.parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::String(text.to_owned()),
        },
    })
}

/// Sets each parameter in `values`: those of `--set` in their order, then those of `--set-string`, as helm does; a later one wins.
///
/// # Errors
/// `InvalidInput`, naming the parameter and never its value, for what would not mean what helm makes of it.
pub(crate) fn apply(
    field: &str,
    parameters: &[HelmParameter],
    values: &mut Map<String, Value>,
) -> Result<()> {
    let all = || parameters.iter().enumerate();
    let texts = all().filter(|(_, parameter)| parameter.force_string);
    for (n, parameter) in all()
        .filter(|(_, parameter)| !parameter.force_string)
        .chain(texts)
    {
        let field = format!("{field}[{n}] ({:?})", parameter.name);
        let mut parts = parts(&field, &parameter.name)?;
        let value = typed(&field, parameter)?;
        let Some(last) = parts.pop() else { continue };
        let mut place = &mut *values;
        for part in parts {
            let inner = place
                .entry(part)
                .or_insert_with(|| Value::Object(Map::new()));
            if inner.is_null() {
                *inner = Value::Object(Map::new());
            }
            place = inner
                .as_object_mut()
                .ok_or_else(|| Error::invalid(format!("{field}: the values have no map there")))?;
        }
        place.insert(last, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parameter(name: &str, value: &str, force_string: bool) -> HelmParameter {
        HelmParameter {
            name: name.into(),
            value: value.into(),
            force_string,
        }
    }

    #[test]
    fn values_are_typed_as_helm_types_them() {
        let parameters = [
            parameter("image.tag", "1.2", false),
            parameter("replicas", "3", false),
            parameter("on", "true", false),
            parameter("off", "FALSE", false),
            parameter("octal", "0644", false),
            parameter("zero", "0", false),
            parameter("minus", "-4", false),
            parameter("plus", "+4", false),
            parameter("float", "1e3", false),
            parameter("text", "3", true),
            parameter("a\\.b/c", "a,b=c", false),
            parameter("image.pull", "", false),
        ];
        let mut values = json!({"image": {"name": "x", "tag": "0"}})
            .as_object()
            .unwrap()
            .clone();
        apply("p", &parameters, &mut values).unwrap();
        assert_eq!(
            Value::Object(values),
            json!({
                "image": {"name": "x", "tag": "1.2", "pull": ""}, "replicas": 3, "on": true, "off": false, "octal": "0644", "zero": 0, "minus": -4,
                "plus": 4, "float": "1e3", "text": "3", "a.b/c": "a,b=c",
            })
        );
    }

    #[test]
    fn what_would_mean_something_else_is_refused_without_the_value() {
        for (name, value) in [
            ("a[0]", "canary"),
            ("a.", "canary"),
            ("", "canary"),
            ("a=b", "canary"),
            ("a", "{canary}"),
            ("a", "canary\\,"),
            ("a", "null"),
            ("text.inner", "canary"),
            ("a\\", "canary"),
        ] {
            let mut values = json!({"text": "x"}).as_object().unwrap().clone();
            let error = apply("p", &[parameter(name, value, false)], &mut values).unwrap_err();
            assert_eq!(error.kind(), gitops_core::ErrorKind::InvalidInput, "{name}");
            assert!(!error.to_string().contains("canary"), "{error}");
            assert!(error.to_string().contains("p[0]"), "{error}");
        }
    }
}
