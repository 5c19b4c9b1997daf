//! Edits of a value.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The parts of a JSON pointer.
pub(super) fn path(pointer: &str) -> Result<Vec<String>> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let Some(parts) = pointer.strip_prefix('/') else {
        return Err(Error::invalid(format!(
            "JSON pointer {pointer:?} must begin with /"
        )));
    };
    Ok(parts
        .split('/')
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect())
}

fn nowhere(path: &[String]) -> Error {
    Error::invalid(format!("nothing is at /{}", path.join("/")))
}

/// The value at a path; missing mappings on the way are made.
fn enter<'v>(value: &'v mut Value, path: &[String]) -> Result<&'v mut Value> {
    let mut at = value;
    for (depth, part) in path.iter().enumerate() {
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        at = match at {
            Value::Object(map) => map.entry(part.as_str()).or_insert(Value::Null),
            Value::Array(items) => part
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index))
                .ok_or_else(|| nowhere(&path[..=depth]))?,
            _ => return Err(nowhere(&path[..=depth])),
        };
    }
    Ok(at)
}

pub(super) fn set(document: &mut Value, path: &[String], value: Value) -> Result<()> {
    *enter(document, path)? = value;
    Ok(())
}

pub(super) fn append(document: &mut Value, path: &[String], value: Value) -> Result<()> {
    match enter(document, path)? {
        Value::Array(items) => items.push(value),
        empty @ Value::Null => *empty = Value::Array(vec![value]),
        _ => {
            return Err(Error::invalid(format!("/{} is not a list", path.join("/"))));
        }
    }
    Ok(())
}

/// Removes what is at a path.
pub(super) fn remove(document: &mut Value, path: &[String]) -> Result<()> {
    let Some((last, parents)) = path.split_last() else {
        return Err(Error::invalid(
            "a whole document is removed with RemoveDocument",
        ));
    };
    let mut at = &mut *document;
    for part in parents {
        at = match at {
            Value::Object(map) => map.get_mut(part),
            Value::Array(items) => part.parse::<usize>().ok().and_then(|at| items.get_mut(at)),
            _ => None,
        }
        .ok_or_else(|| nowhere(path))?;
    }
    match at {
        Value::Object(map) => map.remove(last).map(drop),
        Value::Array(items) => last
            .parse::<usize>()
            .ok()
            .filter(|index| *index < items.len())
            .map(|index| drop(items.remove(index))),
        _ => None,
    }
    .ok_or_else(|| nowhere(path))
}
