//! Field names as Go reads them.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// A value with all field names in lower case: Go's `encoding/json`, which kustomize and helm read their files with, takes `Resources` and
/// `reſources` for `resources`, so that a look for `resources` alone would miss them.
///
/// # Errors
/// `InvalidInput`, naming `file`, for two names that become one.
pub(super) fn fold(file: &str, value: Value) -> Result<Value> {
    Ok(match value {
        Value::Object(map) => {
            let mut folded = Map::new();
            for (key, value) in map {
                let value = fold(file, value)?;
                if folded.insert(fold_name(&key), value).is_some() {
                    return Err(Error::invalid(format!(
                        "{file}: {key:?} is there twice, in upper and lower case"
                    )));
                }
            }
            Value::Object(folded)
        }
        Value::Array(items) => items
            .into_iter()
            .map(|item| fold(file, item))
            .collect::<Result<_>>()
            .map(Value::Array)?,
        other => other,
    })
}

/// The simple folding of Go's `encoding/json`: ASCII, and the two other characters that fold to it.
fn fold_name(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_folded_and_values_are_not() {
        let folded = fold("k", json!({"Re\u{17f}ources": [{"\u{212a}EY": "Value"}]})).unwrap();
        assert_eq!(folded, json!({"resources": [{"key": "Value"}]}));
        let error = fold("k", json!({"resources": [], "Resources": []})).unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
    }
}
