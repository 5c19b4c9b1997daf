//! Lists of objects, of which one that cannot be read does not hide the others.

use gitops_core::error::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::extra::null_is_default;

/// What the API server answers to a list.
#[derive(Clone, Debug)]
pub struct List<T> {
    /// The version from which a watch goes on.
    pub resource_version: String,
    /// Where the next page begins; empty on the last.
    pub continue_token: String,
    /// The objects.
    pub items: Vec<T>,
    /// Those that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why, without any value of it.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Raw<T> {
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: Metadata,
    // Without it, it is no list, but an object or a `Status`.
    #[serde(deserialize_with = "null_is_default")]
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    #[serde(deserialize_with = "null_is_default")]
    resource_version: String,
    #[serde(rename = "continue", deserialize_with = "null_is_default")]
    continue_token: String,
}

impl<T> Raw<T> {
    fn with<U>(self, items: Vec<U>, unreadable: Vec<Unreadable>) -> List<U> {
        List {
            resource_version: self.metadata.resource_version,
            continue_token: self.metadata.continue_token,
            items,
            unreadable,
        }
    }
}

/// Reads a list as the Kubernetes API answers it, of full types or [lean](super::lean) ones. Only a list with an object that cannot be read is gone through twice.
///
/// # Errors
/// `Integrity` for what is no list.
pub fn read_list<T: DeserializeOwned>(json: &[u8]) -> Result<List<T>> {
    if let Ok(mut list) = serde_json::from_slice::<Raw<T>>(json) {
        let items = std::mem::take(&mut list.items);
        return Ok(list.with(items, Vec::new()));
    }
    let mut list: Raw<Value> = serde_json::from_slice(json)
        .map_err(|error| Error::integrity(format!("no list: {}", without_values(&error))))?;
    let (mut items, mut unreadable) = (Vec::new(), Vec::new());
    for item in std::mem::take(&mut list.items) {
        let text = |pointer| {
            let text = item.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        match serde_json::from_value(item) {
            Ok(item) => items.push(item),
            Err(error) => unreadable.push(Unreadable {
                namespace,
                name,
                reason: without_values(&error),
            }),
        }
    }
    Ok(list.with(items, unreadable))
}

/// What serde says, without the value that it says it of: that may be a secret.
pub(crate) fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    for what in ["invalid type", "invalid value", "invalid length"] {
        let Some(rest) = text.strip_prefix(what) else {
            continue;
        };
        // The value may hold the word itself; what is expected comes last, and is ours.
        return match rest.rfind(", expected ") {
            Some(at) => format!("{what}{}", &rest[at..]),
            None => what.to_owned(),
        };
    }
    match text.starts_with("unknown ") {
        true => "an unknown word".to_owned(),
        false => text,
    }
}
