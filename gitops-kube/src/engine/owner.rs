//! Who owns what on a live object, by its `managedFields` and owner references.

use gitops_core::manifest::Object;
use gitops_core::{Error, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Whether `manager` owns label `key`.
pub(super) fn owns_label(object: &Object, manager: &str, key: &str) -> bool {
    label_owners(object, key).any(|owner| owner == manager)
}

/// Some manager that owns label `key`.
pub(super) fn label_owner<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    label_owners(object, key).next()
}

fn label_owners<'a>(object: &'a Object, key: &str) -> impl Iterator<Item = &'a str> {
    let field = format!("f:{key}");
    managed_fields(object).iter().filter_map(move |entry| {
        entry
            .get("fieldsV1")?
            .get("f:metadata")?
            .get("f:labels")?
            .get(&field)?;
        entry.get("manager")?.as_str()
    })
}

/// Whether every entry of `managedFields` is `manager`'s: nobody else ever wrote the object.
pub(super) fn only_manager(object: &Object, manager: &str) -> bool {
    managed_fields(object)
        .iter()
        .filter(|entry| entry.get("subresource").is_none())
        .all(|entry| entry.get("manager").and_then(Value::as_str) == Some(manager))
}

/// Whether `manager` owns any field of the object, its subresources left out.
pub(super) fn manages(object: &Object, manager: &str) -> bool {
    managers(object).any(|one| one == manager)
}

/// Refuses to delete an object that `manager` never wrote.
///
/// # Errors
/// `Conflict`, naming who did write it.
pub(super) fn check_deletable(object: &Object, manager: &str) -> Result<()> {
    if manages(object, manager) {
        return Ok(());
    }
    let other = managers(object)
        .next()
        .unwrap_or("an unknown field manager");
    Err(Error::conflict(format!(
        "{} is there already and is not ours to delete: it belongs to field manager {other:?}",
        object.id()
    )))
}

fn managers(object: &Object) -> impl Iterator<Item = &str> {
    managed_fields(object)
        .iter()
        .filter(|entry| entry.get("subresource").is_none())
        .filter_map(|entry| entry.get("manager")?.as_str())
}

/// Whether `manager` applied the object when it was made and not again since: its entry is as old as the object, to a second (the server stamps the
/// two one after the other). An object that was taken over, or restored from a backup, is older or younger than the entry.
pub(super) fn made(object: &Object, manager: &str) -> bool {
    let Some(created) = object
        .pointer("/metadata/creationTimestamp")
        .and_then(Value::as_str)
    else {
        return false;
    };
    managed_fields(object)
        .iter()
        .filter(|entry| {
            entry.get("manager").and_then(Value::as_str) == Some(manager)
                && entry.get("operation").and_then(Value::as_str) == Some("Apply")
        })
        .filter_map(|entry| entry.get("time")?.as_str())
        .any(|time| time == created || near(time, created))
}

fn near(one: &str, other: &str) -> bool {
    match (one.parse::<Timestamp>(), other.parse::<Timestamp>()) {
        (Ok(one), Ok(other)) => one.duration_since(other).abs() <= SignedDuration::from_secs(1),
        _ => false,
    }
}

/// Whether a controller owns the object.
pub(super) fn has_controller(object: &Object) -> bool {
    object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .is_some_and(|owners| {
            owners
                .iter()
                .any(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
        })
}

fn managed_fields(object: &Object) -> &[Value] {
    object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
