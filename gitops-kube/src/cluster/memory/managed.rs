//! Who owns which field: `metadata.managedFields`, server-side apply, and what other writes do to it
//! (structured-merge-diff, `merge/update.go`; apimachinery, `managedfields/internal`).

use std::collections::BTreeMap;

use gitops_core::{Error, Result};
use serde_json::{Value, json};

use super::fieldset::FieldSet;
use super::kinds::Kind;
use super::merge;

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    apply: bool,
    api_version: String,
    subresource: String,
    time: String,
    set: FieldSet,
}

impl Entry {
    fn is(&self, writer: &Writer<'_>, apply: bool, kind: &Kind) -> bool {
        self.manager == writer.manager
            && self.apply == apply
            && self.subresource == writer.subresource
            && self.api_version == kind.api.gvk.api_version()
    }
}

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer<'a> {
    pub(super) manager: &'a str,
    /// `status`, or empty.
    pub(super) subresource: &'a str,
    pub(super) now: &'a str,
}

/// What `config` makes of `live`, with `managedFields`.
///
/// # Errors
/// `Conflict` naming the managers and fields, unless `force`; `InvalidInput` for lists that break their keys.
pub(super) fn apply(
    kind: &Kind,
    live: Option<&Value>,
    config: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value> {
    let empty = json!({});
    let before = live.unwrap_or(&empty);
    let mut mine = merge::fields(&kind.schema, config, "")?;
    strip(&mut mine, kind, writer.subresource);
    let mut entries = read(before);
    if entries.is_empty() && live.is_some() {
        entries.extend(before_first_apply(kind, before, writer));
    }
    let at = entries
        .iter()
        .position(|entry| entry.is(&writer, true, kind));
    let last = at.map(|at| entries.remove(at));

    let mut merged = merge::merge(&kind.schema, before, config);
    if let Some(last) = &last {
        let mut managed = mine.clone();
        for entry in &entries {
            managed.add(&entry.set);
        }
        merged = merge::prune(&kind.schema, &merged, &last.set, &managed);
    }
    drop_nulls(&mut merged);

    let changes = merge::compare(&kind.schema, kind.openapi.is_none(), before, &merged);
    let mut conflicts = Vec::new();
    for entry in &mut entries {
        let taken = entry.set.intersection(&changes.changed);
        if !taken.is_empty() {
            if force {
                entry.set = entry.set.difference(&taken);
            } else {
                conflicts.push((describe(entry), taken.paths()));
            }
        }
        entry.set = entry.set.difference(&changes.removed);
    }
    if !conflicts.is_empty() {
        return Err(conflict(conflicts));
    }
    let unchanged = last.as_ref().filter(|last| last.set == mine);
    entries.push(Entry {
        manager: writer.manager.to_owned(),
        apply: true,
        api_version: kind.api.gvk.api_version(),
        subresource: writer.subresource.to_owned(),
        time: unchanged.map_or(writer.now, |last| &last.time).to_owned(),
        set: mine,
    });
    write(&mut merged, entries);
    Ok(merged)
}

/// `new` with the `managedFields` of `live` after any other write than an apply.
pub(super) fn update(kind: &Kind, live: Option<&Value>, new: &mut Value, writer: Writer<'_>) {
    let empty = json!({});
    let before = live.unwrap_or(&empty);
    let mut entries = read(before);
    // Whoever writes an object that nobody tracks yet leaves it so; an apply begins the tracking.
    if entries.is_empty() && live.is_some() {
        write(new, entries);
        return;
    }
    let changes = merge::compare(&kind.schema, kind.openapi.is_none(), before, new);
    let mut changed = changes.changed;
    strip(&mut changed, kind, writer.subresource);
    let at = entries
        .iter()
        .position(|entry| entry.is(&writer, false, kind));
    let mut mine = at.map(|at| entries.remove(at));
    for entry in &mut entries {
        entry.set = entry.set.difference(&changed).difference(&changes.removed);
    }
    let mut set = mine
        .as_ref()
        .map(|entry| entry.set.clone())
        .unwrap_or_default();
    set.add(&changed);
    let set = set.difference(&changes.removed);
    match &mut mine {
        Some(entry) => {
            if entry.set != set || !changed.is_empty() {
                entry.time = writer.now.to_owned();
            }
            entry.set = set;
            entries.extend(mine);
        }
        None => entries.push(Entry {
            manager: writer.manager.to_owned(),
            apply: false,
            api_version: kind.api.gvk.api_version(),
            subresource: writer.subresource.to_owned(),
            time: writer.now.to_owned(),
            set,
        }),
    }
    write(new, entries);
}

/// What was there before the first apply belongs to a manager of its own.
fn before_first_apply(kind: &Kind, live: &Value, writer: Writer<'_>) -> Option<Entry> {
    let mut set = merge::compare(&kind.schema, kind.openapi.is_none(), &json!({}), live).changed;
    strip(&mut set, kind, "");
    (!set.is_empty()).then(|| Entry {
        manager: "before-first-apply".into(),
        apply: false,
        api_version: kind.api.gvk.api_version(),
        subresource: String::new(),
        time: writer.now.to_owned(),
        set,
    })
}

/// Removes `null`s: typed objects have none, and an applied `null` asks for the default.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The fields that nobody manages.
fn strip(set: &mut FieldSet, kind: &Kind, subresource: &str) {
    for field in ["f:apiVersion", "f:kind"] {
        set.children.remove(field);
    }
    if kind.status && subresource.is_empty() {
        set.children.remove("f:status");
    }
    set.member = false;
    if let Some(metadata) = set.children.get_mut("f:metadata") {
        metadata.member = false;
        for field in [
            "f:name",
            "f:namespace",
            "f:creationTimestamp",
            "f:selfLink",
            "f:uid",
            "f:generation",
            "f:managedFields",
            "f:resourceVersion",
            "f:deletionTimestamp",
            "f:deletionGracePeriodSeconds",
        ] {
            metadata.children.remove(field);
        }
    }
    set.children.retain(|_, child| !child.is_empty());
}

fn read(object: &Value) -> Vec<Entry> {
    let entries = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            Entry {
                manager: text("manager"),
                apply: entry["operation"] == "Apply",
                api_version: text("apiVersion"),
                subresource: text("subresource"),
                time: text("time"),
                set: FieldSet::from_json(&entry["fieldsV1"]),
            }
        })
        .collect()
}

fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.set.is_empty());
    entries.sort_by(|a, b| {
        (!a.apply, &a.time, &a.manager, &a.subresource).cmp(&(
            !b.apply,
            &b.time,
            &b.manager,
            &b.subresource,
        ))
    });
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|entry| {
            let mut value = json!({
                "manager": entry.manager,
                "operation": if entry.apply { "Apply" } else { "Update" },
                "apiVersion": entry.api_version,
                "time": entry.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": entry.set.to_json(),
            });
            if !entry.subresource.is_empty() {
                value["subresource"] = entry.subresource.into();
            }
            value
        })
        .collect();
    if entries.is_empty() {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
    } else {
        object["metadata"]["managedFields"] = entries.into();
    }
}

/// apimachinery, `managedfields/internal/conflict.go`.
fn describe(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if !entry.apply {
        text.push_str(&format!(" using {}", entry.api_version));
    }
    text
}

fn conflict(conflicts: Vec<(String, Vec<String>)>) -> Error {
    let mut managers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (who, fields) in conflicts {
        managers.entry(who).or_default().extend(fields);
    }
    let count: usize = managers.values().map(Vec::len).sum();
    if count == 1
        && let Some((who, fields)) = managers.first_key_value()
    {
        return Error::conflict(format!(
            "Apply failed with 1 conflict: conflict with {who}: {}",
            fields.concat()
        ));
    }
    let parts: Vec<String> = managers
        .iter()
        .map(|(who, fields)| format!("conflicts with {who}:\n- {}", fields.join("\n- ")))
        .collect();
    Error::conflict(format!(
        "Apply failed with {count} conflicts: {}",
        parts.join("\n")
    ))
}
