//! What structured-merge-diff does to values: the fields of a value, merge, removal, comparison.

use std::collections::{BTreeMap, HashMap, HashSet};

use gitops_core::{Error, Result};
use serde_json::{Map, Value};

use super::fieldset::FieldSet;
use super::schema::{Schema, Shape};

/// The path element of a list's item, when the list is one with keys or a set.
fn element(schema: &Schema, item: &Value) -> Option<String> {
    match &schema.shape {
        Shape::Keys(keys) => {
            let mut found = BTreeMap::new();
            for (key, default) in keys {
                match item.get(key).filter(|value| !value.is_null()) {
                    Some(value) => found.insert(key.as_str(), value),
                    None => found.insert(key.as_str(), default.as_ref()?),
                };
            }
            Some(format!("k:{}", serde_json::to_string(&found).ok()?))
        }
        Shape::Set => Some(format!("v:{item}")),
        Shape::Plain | Shape::Atomic => None,
    }
}

/// The elements of a list, or `None` when it is one leaf: an atomic list, or one whose items do not fit the schema.
fn elements(schema: &Schema, items: &[Value]) -> Option<Vec<String>> {
    if !matches!(schema.shape, Shape::Keys(_) | Shape::Set) {
        return None;
    }
    let elements: Vec<String> = items
        .iter()
        .map(|item| element(schema, item))
        .collect::<Option<_>>()?;
    let distinct: HashSet<&String> = elements.iter().collect();
    (distinct.len() == elements.len()).then_some(elements)
}

/// The fields of an applied configuration.
///
/// # Errors
/// `InvalidInput` for an item without its keys, or two items with the same.
pub(super) fn fields(schema: &Schema, value: &Value, path: &str) -> Result<FieldSet> {
    let mut set = FieldSet::default();
    match value {
        Value::Object(map) if schema.shape != Shape::Atomic => {
            set.member = map.is_empty();
            for (name, value) in map {
                let mut child = fields(schema.field(name), value, &format!("{path}.{name}"))?;
                child.member |= schema.is_entry(name);
                set.children.insert(format!("f:{name}"), child);
            }
        }
        Value::Array(items) if matches!(schema.shape, Shape::Keys(_) | Shape::Set) => {
            for (index, item) in items.iter().enumerate() {
                let element = element(schema, item).ok_or_else(|| {
                    Error::invalid(format!(
                        "{path}: element {index}: associative list with keys has an element that omits a key field"
                    ))
                })?;
                let mut child = match item {
                    Value::Object(_) => fields(schema.item(), item, path)?,
                    _ => FieldSet::default(),
                };
                child.member = true;
                if set.children.insert(element.clone(), child).is_some() {
                    return Err(Error::invalid(format!(
                        "{path}: duplicate entries for key {element}"
                    )));
                }
            }
        }
        _ => set.member = true,
    }
    Ok(set)
}

/// `live` with what `config` says on top.
pub(super) fn merge(schema: &Schema, live: &Value, config: &Value) -> Value {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) if schema.shape != Shape::Atomic => {
            let mut merged = live.clone();
            for (name, value) in config {
                let value = match live.get(name) {
                    Some(before) => merge(schema.field(name), before, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Value::Array(live), Value::Array(config)) => {
            match (elements(schema, live), elements(schema, config)) {
                (Some(left), Some(right)) => {
                    Value::Array(merge_lists(schema, live, &left, config, &right))
                }
                _ => Value::Array(config.clone()),
            }
        }
        _ => config.clone(),
    }
}

/// The order is that of structured-merge-diff (`typed/merge.go`): the applied list's, with the items that only the live one has left
/// where they stand.
fn merge_lists(
    schema: &Schema,
    live: &[Value],
    left: &[String],
    config: &[Value],
    right: &[String],
) -> Vec<Value> {
    let left_at: HashMap<&String, &Value> = left.iter().zip(live).collect();
    let right_at: HashMap<&String, &Value> = right.iter().zip(config).collect();
    let mut shared = right
        .iter()
        .filter(|element| left_at.contains_key(element))
        .peekable();
    let mut done: HashSet<&String> = HashSet::new();
    let mut merged = Vec::new();
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            if left[l] == right[r] {
                done.insert(&left[l]);
                merged.push(merge(schema.item(), &live[l], &config[r]));
                l += 1;
                r += 1;
                shared.next();
                continue;
            }
            if right_at.contains_key(&left[l])
                && shared.peek().is_some_and(|next| **next != left[l])
            {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            if !right_at.contains_key(&left[l]) {
                merged.push(live[l].clone());
                l += 1;
                continue;
            }
            if done.contains(&left[l]) {
                l += 1;
                continue;
            }
        }
        if r < right.len() {
            done.insert(&right[r]);
            merged.push(match left_at.get(&right[r]) {
                Some(before) => merge(schema.item(), before, &config[r]),
                None => config[r].clone(),
            });
            if shared.peek().is_some_and(|next| **next == right[r]) {
                shared.next();
            }
            r += 1;
        } else {
            // Only shared items are left over that the applied list has told already.
            l += 1;
        }
    }
    merged
}

/// The fields of a stored value; lists that break their keys count as one field.
fn fields_of(schema: &Schema, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match value {
        Value::Object(map) if schema.shape != Shape::Atomic => {
            set.member = map.is_empty();
            for (name, value) in map {
                let mut child = fields_of(schema.field(name), value);
                child.member |= schema.is_entry(name);
                set.children.insert(format!("f:{name}"), child);
            }
        }
        Value::Array(items) => match elements(schema, items) {
            Some(elements) => {
                for (element, item) in elements.into_iter().zip(items) {
                    let mut child = match item {
                        Value::Object(_) => fields_of(schema.item(), item),
                        _ => FieldSet::default(),
                    };
                    child.member = true;
                    set.children.insert(element, child);
                }
            }
            None => set.member = true,
        },
        _ => set.member = true,
    }
    set
}

/// Makes every named field a member that has members below it (`EnsureNamedFieldsAreMembers`); list items and entries of maps are not.
fn with_named(schema: &Schema, set: &FieldSet) -> FieldSet {
    let mut named = FieldSet {
        member: set.member,
        children: BTreeMap::new(),
    };
    for (element, child) in &set.children {
        let mut child = match element.strip_prefix("f:") {
            Some(name) => {
                let mut below = with_named(schema.field(name), child);
                below.member |= !schema.is_entry(name) && !child.is_empty();
                below
            }
            None => with_named(schema.item(), child),
        };
        child.member |= set.children[element].member;
        named.children.insert(element.clone(), child);
    }
    named
}

/// Removes from `merged` what the manager applied last time (`last`) and what neither it nor anybody else (`managed`, all of them with the new
/// configuration) owns now: `prune`, `addBackOwnedItems` and `addBackDanglingItems` of `merge/update.go`.
pub(super) fn prune(schema: &Schema, merged: &Value, last: &FieldSet, managed: &FieldSet) -> Value {
    let last = with_named(schema, last);
    let all = with_named(schema, &fields_of(schema, merged));
    let pruned = without(schema, merged, &last);
    let mut keep = with_named(schema, &fields_of(schema, &pruned));
    keep.add(&with_named(schema, managed));
    let pruned = without(schema, merged, &all.difference(&keep));
    let kept = with_named(schema, &fields_of(schema, &pruned));
    without(schema, merged, &all.difference(&kept).intersection(&last))
}

/// The value without the members of `gone`; a map or list that nothing is left of stays, empty (`typed/remove.go`).
fn without(schema: &Schema, value: &Value, gone: &FieldSet) -> Value {
    match value {
        Value::Object(map) if schema.shape != Shape::Atomic => {
            let mut left = Map::new();
            for (name, value) in map {
                let value = match gone.children.get(&format!("f:{name}")) {
                    Some(gone) if gone.member => continue,
                    Some(gone) => without(schema.field(name), value, gone),
                    None => value.clone(),
                };
                left.insert(name.clone(), value);
            }
            Value::Object(left)
        }
        Value::Array(items) => {
            let Some(elements) = elements(schema, items) else {
                return value.clone();
            };
            let mut left = Vec::new();
            for (element, item) in elements.iter().zip(items) {
                left.push(match gone.children.get(element) {
                    Some(gone) if gone.member => continue,
                    Some(gone) => without(schema.item(), item, gone),
                    None => item.clone(),
                });
            }
            Value::Array(left)
        }
        // What is removed whole is removed by whatever holds it.
        other => other.clone(),
    }
}

/// What a write changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Added or modified fields.
    pub(super) changed: FieldSet,
    /// Removed fields, with all that was below them.
    pub(super) removed: FieldSet,
}

/// What differs between two values. A `typed` object is one of a built-in kind: some of its structs are always there.
pub(super) fn compare(schema: &Schema, typed: bool, old: &Value, new: &Value) -> Changes {
    let mut changes = Changes::default();
    walk(
        schema,
        typed,
        old,
        new,
        &mut changes.changed,
        &mut changes.removed,
    );
    changes
}

fn walk(
    schema: &Schema,
    always: bool,
    old: &Value,
    new: &Value,
    changed: &mut FieldSet,
    removed: &mut FieldSet,
) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) if schema.shape != Shape::Atomic => {
            for (name, value) in present(before) {
                let element = format!("f:{name}");
                match after.get(name).filter(|value| !value.is_null()) {
                    None => added(schema.field(name), false, value, removed.child(element)),
                    Some(now) => walk(
                        schema.field(name),
                        always && ALWAYS_THERE.contains(&name.as_str()),
                        value,
                        now,
                        changed.child(element.clone()),
                        removed.child(element),
                    ),
                }
            }
            for (name, value) in present(after) {
                if before.get(name).is_none_or(Value::is_null) {
                    added(
                        schema.field(name),
                        always && ALWAYS_THERE.contains(&name.as_str()),
                        value,
                        changed.child(format!("f:{name}")),
                    );
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            match (elements(schema, before), elements(schema, after)) {
                (Some(left), Some(right)) => {
                    let at: HashMap<&String, &Value> = right.iter().zip(after).collect();
                    for (element, value) in left.iter().zip(before) {
                        match at.get(element) {
                            None => {
                                let removed = removed.child(element.clone());
                                added(schema.item(), false, value, removed);
                                removed.member = true;
                            }
                            Some(now) => walk(
                                schema.item(),
                                false,
                                value,
                                now,
                                changed.child(element.clone()),
                                removed.child(element.clone()),
                            ),
                        }
                    }
                    let known: HashSet<&String> = left.iter().collect();
                    for (element, value) in right.iter().zip(after) {
                        if !known.contains(element) {
                            added(schema.item(), false, value, changed.child(element.clone()));
                        }
                    }
                }
                _ => changed.member |= before != after,
            }
        }
        _ => changed.member |= old != new,
    }
}

fn present(map: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    map.iter().filter(|(_, value)| !value.is_null())
}

/// Structs and lists of the Go types that are there in an empty object of a built-in kind already (they have no `omitempty`, or are no
/// pointers), wherever all that is above them is: the server never counts them as added themselves.
const ALWAYS_THERE: [&str; 12] = [
    "metadata",
    "spec",
    "status",
    "template",
    "jobTemplate",
    "strategy",
    "updateStrategy",
    "containers",
    "resources",
    "scaleTargetRef",
    "loadBalancer",
    "names",
];

/// All the fields of a value that is only there on one side.
fn added(schema: &Schema, always: bool, value: &Value, set: &mut FieldSet) {
    match value {
        Value::Object(map) if schema.shape != Shape::Atomic => {
            set.member = map.is_empty() || !always;
            for (name, value) in present(map) {
                added(
                    schema.field(name),
                    always && ALWAYS_THERE.contains(&name.as_str()),
                    value,
                    set.child(format!("f:{name}")),
                );
            }
        }
        Value::Array(items) => match elements(schema, items) {
            Some(elements) => {
                set.member = !always;
                for (element, item) in elements.into_iter().zip(items) {
                    let child = set.child(element);
                    if item.is_object() {
                        added(schema.item(), false, item, child);
                    }
                    child.member = true;
                }
            }
            None => set.member = true,
        },
        _ => set.member = true,
    }
}
