//! Strategic merge patches of applications (apimachinery 0.34, `pkg/util/strategicpatch`).

use gitops_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Helm's values as an object: of no type that Argo CD knows.
pub(super) const VALUES_OBJECT: &str = "valuesObject";

/// What is being merged.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Root,
    Metadata,
    Fields,
    /// Below `valuesObject`.
    Untyped,
}

impl At {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Root, "metadata") => Self::Metadata,
            (Self::Untyped, _) | (_, VALUES_OBJECT) => Self::Untyped,
            _ => Self::Fields,
        }
    }
}

/// Merges a patch into an object.
pub(super) fn merge(original: &mut Map<String, Value>, patch: Map<String, Value>) -> Result<()> {
    merge_at(original, patch, At::Root)
}

fn merge_at(
    original: &mut Map<String, Value>,
    mut patch: Map<String, Value>,
    at: At,
) -> Result<()> {
    match patch.remove(DIRECTIVE) {
        None => {}
        Some(Value::String(directive)) if directive == "replace" => {
            *original = patch;
            return Ok(());
        }
        Some(Value::String(directive)) if directive == "delete" => {
            original.clear();
            return Ok(());
        }
        Some(_) => return Err(Error::invalid("$patch must be replace or delete here")),
    }
    retain_keys(original, &mut patch)?;
    for (key, value) in patch {
        if key.starts_with(ELEMENT_ORDER) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the directive {key} is not read here"),
            ));
        }
        let (key, deletes) = match key.strip_prefix(DELETE_FROM_LIST) {
            Some(list) => (list.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        match (original.get_mut(&key), value) {
            (Some(Value::Object(_)), Value::Object(_))
            | (Some(Value::Array(_)), Value::Array(_))
                if at == At::Untyped =>
            {
                // Go: "unable to find api field in struct RawExtension".
                return Err(Error::invalid(format!(
                    "Argo CD cannot merge {key:?} within {VALUES_OBJECT}: the template has it too"
                )));
            }
            (Some(Value::Object(inner)), Value::Object(value)) => {
                merge_at(inner, value, at.below(&key))?;
            }
            (Some(Value::Array(list)), Value::Array(value)) => {
                if deletes {
                    list.retain(|item| !value.contains(item));
                } else if at == At::Metadata && key == "finalizers" {
                    *list = put_together(list, &value);
                } else {
                    *list = value;
                }
            }
            (Some(_) | None, _) if deletes => {}
            (_, mut value) => {
                discard_nulls(&mut value);
                match without_directives(value) {
                    Some(value) => original.insert(key, value),
                    None => original.remove(&key),
                };
            }
        }
    }
    Ok(())
}

/// `$retainKeys`: what it does not name goes.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<()> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(keys) = keys else {
        return Err(Error::invalid("$retainKeys must be a list"));
    };
    let retained = |key: &str| keys.iter().any(|item| item.as_str() == Some(key));
    let stray = patch.iter().find(|(key, value)| {
        !value.is_null()
            && !key.starts_with(DELETE_FROM_LIST)
            && !key.starts_with(ELEMENT_ORDER)
            && !retained(key)
    });
    if let Some((key, _)) = stray {
        return Err(Error::invalid(format!(
            "$retainKeys does not name {key}, which the patch sets"
        )));
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// Both lists' texts, each once: the patch's in its order, the original's others before the first of the patch's that came after them.
fn put_together(original: &[Value], patch: &[Value]) -> Vec<Value> {
    let mut others: Vec<&Value> = Vec::new();
    for item in original {
        if !patch.contains(item) && !others.contains(&item) {
            others.push(item);
        }
    }
    let place = |item: &Value| original.iter().position(|other| other == item);
    let mut others = others.into_iter().peekable();
    let mut all: Vec<Value> = Vec::new();
    for item in patch {
        if all.contains(item) {
            continue;
        }
        let before = |other: &&Value| place(item).is_some_and(|at| place(other) < Some(at));
        while let Some(other) = others.next_if(before) {
            all.push(other.clone());
        }
        all.push(item.clone());
    }
    all.extend(others.cloned());
    all
}

/// As `discardNullValuesFromPatch`.
fn discard_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        _ => {}
    }
}

/// As `removeDirectives`: what holds a `$patch` is nothing.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter()
                .filter_map(|(key, value)| Some((key, without_directives(value)?)))
                .collect(),
        )),
        Value::Array(items) => Some(Value::Array(
            items.into_iter().filter_map(without_directives).collect(),
        )),
        scalar => Some(scalar),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is merged into what.
    fn patched(original: Value, patch: Value) -> Result<Value> {
        let (Value::Object(mut original), Value::Object(patch)) = (original, patch) else {
            unreachable!()
        };
        merge(&mut original, patch).map(|()| Value::Object(original))
    }

    #[test]
    fn merging() {
        for (original, patch, merged) in [
            (
                json!({"a": 1}),
                json!({"b": {"c": null, "d": [null, {"e": null}]}}),
                json!({"a": 1, "b": {"d": [null, {}]}}),
            ),
            (
                json!({"a": {"b": 1, "c": 2}}),
                json!({"a": {"b": null, "d": 3}}),
                json!({"a": {"c": 2, "d": 3}}),
            ),
            (json!({"a": 1}), json!({"a": null, "b": null}), json!({})),
            (
                json!({"a": [1, 2]}),
                json!({"a": [3, null]}),
                json!({"a": [3, null]}),
            ),
            (
                json!({"a": [1]}),
                json!({"a": {"b": {"$patch": "delete"}, "c": 1}}),
                json!({"a": {"c": 1}}),
            ),
            (
                json!({"a": [1]}),
                json!({"a": {"$patch": "delete"}}),
                json!({}),
            ),
            (
                json!({"a": {"b": 1}}),
                json!({"a": {"$patch": "replace", "c": null}}),
                json!({"a": {"c": null}}),
            ),
            (
                json!({"a": {"b": 1}}),
                json!({"a": {"$patch": "delete", "c": 1}}),
                json!({"a": {}}),
            ),
            (
                json!({"a": {"b": 1, "c": 1}}),
                json!({"a": {"$retainKeys": ["c", "d"], "d": 1}}),
                json!({"a": {"c": 1, "d": 1}}),
            ),
            (
                json!({"l": [1, 2, 1]}),
                json!({"$deleteFromPrimitiveList/l": [1]}),
                json!({"l": [2]}),
            ),
            (
                json!({}),
                json!({"$deleteFromPrimitiveList/l": [1]}),
                json!({}),
            ),
            // Lists of this name are joined in the metadata only.
            (
                json!({"finalizers": ["a"]}),
                json!({"finalizers": ["b"]}),
                json!({"finalizers": ["b"]}),
            ),
            (
                json!({"metadata": {"finalizers": ["a"]}}),
                json!({"metadata": {"finalizers": ["b"]}}),
                json!({"metadata": {"finalizers": ["b", "a"]}}),
            ),
            (
                json!({"valuesObject": {"a": {"b": 1}, "c": [1], "d": 1}}),
                json!({"valuesObject": {"a": [1], "c": {"x": 1}, "d": 2, "e": {"f": 1}}}),
                json!({"valuesObject": {"a": [1], "c": {"x": 1}, "d": 2, "e": {"f": 1}}}),
            ),
        ] {
            assert_eq!(
                patched(original.clone(), patch.clone()).unwrap(),
                merged,
                "{original} {patch}"
            );
        }
    }

    #[test]
    fn refused() {
        for (original, patch) in [
            (json!({}), json!({"$patch": "merge"})),
            (json!({}), json!({"$patch": 1})),
            (json!({}), json!({"$retainKeys": "a"})),
            (json!({}), json!({"$retainKeys": ["a"], "b": 1})),
            (json!({}), json!({"$setElementOrder/l": [1]})),
            (
                json!({"valuesObject": {"a": {}}}),
                json!({"valuesObject": {"a": {}}}),
            ),
            (
                json!({"valuesObject": {"a": []}}),
                json!({"valuesObject": {"a": []}}),
            ),
        ] {
            assert!(
                patched(original.clone(), patch.clone()).is_err(),
                "{original} {patch}"
            );
        }
    }

    #[test]
    fn finalizers() {
        for (original, patch, all) in [
            ("a", "", "a"),
            ("", "a", "a"),
            ("a", "a", "a"),
            ("a", "b", "ba"),
            ("abc", "b", "abc"),
            ("abc", "xb", "xabc"),
            ("abc", "bx", "abxc"),
            ("abc", "ca", "bca"),
            ("aab", "cc", "cab"),
        ] {
            let list = |text: &str| text.chars().map(|c| json!(c)).collect::<Vec<_>>();
            assert_eq!(
                put_together(&list(original), &list(patch)),
                list(all),
                "{original} {patch}"
            );
        }
    }
}
