//! Which field manager owns which field, from `managedFields`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::manifest::Object;

/// The owners of an object's fields. FieldsV1 (Kubernetes, `sigs.k8s.io/structured-merge-diff/v6/fieldpath/serialize.go`): `f:NAME` is a field,
/// `k:KEYS` a list entry by its keys, `v:VALUE` one by its value, `i:INDEX` one by its index, `.` the node itself.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    by_pointer: BTreeMap<String, String>,
}

impl Owners {
    /// The owners of `object`'s fields. Where several managers own one, the last one that wrote it is named.
    pub fn of(object: &Object) -> Self {
        let mut owners = Self::default();
        let entries = object
            .pointer("/metadata/managedFields")
            .and_then(Value::as_array);
        let mut entries: Vec<&Value> = entries.into_iter().flatten().collect();
        entries.sort_by_key(|entry| {
            entry
                .get("time")
                .and_then(Value::as_str)
                .unwrap_or_default()
        });
        for entry in entries {
            let manager = entry
                .get("manager")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if let Some(fields) = entry.get("fieldsV1").and_then(Value::as_object) {
                owners.walk(
                    &mut String::new(),
                    fields,
                    Some(&Value::Object(object.value().clone())),
                    manager,
                );
            }
        }
        owners
    }

    /// The manager that owns the field at `pointer`: the field itself, or the nearest one above it that is owned as a whole.
    pub fn owner(&self, pointer: &str) -> Option<&str> {
        let mut at = pointer;
        loop {
            if let Some(manager) = self.by_pointer.get(at) {
                return Some(manager);
            }
            at = &at[..at.rfind('/')?];
        }
    }

    /// Every field that is owned as a whole, as a JSON pointer, and its manager.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_pointer
            .iter()
            .map(|(pointer, manager)| (pointer.as_str(), manager.as_str()))
    }

    fn walk(
        &mut self,
        pointer: &mut String,
        fields: &Map<String, Value>,
        live: Option<&Value>,
        manager: &str,
    ) {
        for (key, below) in fields {
            let Some(below) = below.as_object() else {
                continue;
            };
            let Some((step, child)) = step(key, live) else {
                continue;
            };
            let length = pointer.len();
            if let Some(step) = step {
                pointer.push('/');
                pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
            }
            // Only leaves: whoever owns a map's existence need not own what others put into it.
            if below.is_empty()
                && !pointer.is_empty()
                && (key != "." || !live.is_some_and(Value::is_object))
            {
                self.by_pointer.insert(pointer.clone(), manager.to_owned());
            }
            self.walk(pointer, below, child, manager);
            pointer.truncate(length);
        }
    }
}

/// One step down: the pointer's next part (`None` for `.`), and the value there.
fn step<'v>(key: &str, live: Option<&'v Value>) -> Option<(Option<String>, Option<&'v Value>)> {
    if key == "." {
        return Some((None, live));
    }
    let (kind, rest) = key.split_once(':')?;
    let list = live.and_then(Value::as_array);
    let index = match kind {
        "f" => return Some((Some(rest.to_owned()), live.and_then(|live| live.get(rest)))),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
            list?.iter().position(|item| {
                keys.iter()
                    .all(|(name, value)| item.get(name) == Some(value))
            })
        }
        "v" => {
            let value: Value = serde_json::from_str(rest).ok()?;
            list?.iter().position(|item| *item == value)
        }
        "i" => rest.parse().ok(),
        _ => None,
    }?;
    Some((
        Some(index.to_string()),
        list.and_then(|list| list.get(index)),
    ))
}
