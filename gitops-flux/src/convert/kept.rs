//! What Flux has no field for, kept in an annotation.
//!
//! An application that is read from Flux's objects alone may differ from the one that was put: in what Flux has no field for, and in what can be written in two ways.
//! Each difference is kept with a digest of what the objects said at that place. Where they say something else by now, somebody changed them, and they are right.

use gitops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The most bytes that are kept with one application. Kubernetes takes 256 KiB of annotations for one object, and there are others.
pub(crate) const LIMIT: usize = 64 * 1024;

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Where: a JSON pointer (RFC 6901).
    at: String,
    /// The digest of what the objects say there; none when they say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    was: Option<String>,
    /// What the application says there; none when it says nothing.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    is: Option<Value>,
}

/// `null` is a value here, and not its absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn digest(value: &Value) -> String {
    // Maps are ordered by their keys, so that equal values are equal texts.
    let hash = Sha256::digest(value.to_string().as_bytes());
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn collect(at: &str, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<Kept>) {
    match (from, to) {
        (Some(from), Some(to)) if from == to => {}
        (Some(Value::Object(from)), Some(Value::Object(to))) => {
            let keys: std::collections::BTreeSet<_> = from.keys().chain(to.keys()).collect();
            for key in keys {
                collect(
                    &format!("{at}/{}", escape(key)),
                    from.get(key),
                    to.get(key),
                    found,
                );
            }
        }
        (Some(Value::Array(from)), Some(Value::Array(to))) if from.len() == to.len() => {
            for (n, (from, to)) in from.iter().zip(to).enumerate() {
                collect(&format!("{at}/{n}"), Some(from), Some(to), found);
            }
        }
        (None, None) => {}
        (from, to) => found.push(Kept {
            at: at.to_owned(),
            was: from.map(digest),
            is: to.cloned(),
        }),
    }
}

/// The annotation's value for an application that the objects alone would show as `from`; none when they say it all.
///
/// # Errors
/// `InvalidInput` when there is more than [`LIMIT`] bytes to keep, naming the largest.
pub(crate) fn difference(from: &Value, to: &Value) -> Result<Option<String>> {
    let mut found = Vec::new();
    collect("", Some(from), Some(to), &mut found);
    if found.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_string(&found)
        .map_err(|error| Error::internal("an application is no JSON").with_source(error))?;
    if text.len() > LIMIT {
        let largest = found
            .iter()
            .max_by_key(|kept| kept.is.as_ref().map_or(0, |value| value.to_string().len()))
            .map_or("", |kept| kept.at.as_str());
        return Err(Error::invalid(format!(
            "what Flux has no field for takes {} bytes, more than {LIMIT}; most of it is {largest}",
            text.len()
        )));
    }
    Ok(Some(text))
}

/// Puts what was kept into what the objects say.
///
/// # Errors
/// `Integrity` when the annotation cannot be read.
pub(crate) fn restore(annotation: &str, into: &mut Value) -> Result<()> {
    let kept: Vec<Kept> = serde_json::from_str(annotation).map_err(|error| {
        Error::integrity("what is kept with the application cannot be read").with_source(error)
    })?;
    for one in kept {
        if into.pointer(&one.at).map(digest) == one.was {
            set(into, &one.at, one.is);
        }
    }
    Ok(())
}

/// Sets or removes what is at `pointer`, if the place that it is in is there.
fn set(value: &mut Value, pointer: &str, to: Option<Value>) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        if let Some(to) = to {
            *value = to;
        }
        return;
    };
    let key = key.replace("~1", "/").replace("~0", "~");
    match (value.pointer_mut(parent), to) {
        (Some(Value::Object(map)), Some(to)) => {
            map.insert(key, to);
        }
        (Some(Value::Object(map)), None) => {
            map.remove(&key);
        }
        (Some(Value::Array(items)), Some(to)) => {
            if let Some(item) = key.parse::<usize>().ok().and_then(|n| items.get_mut(n)) {
                *item = to;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_kept_comes_back() {
        let from = json!({"a": 1, "list": [{"x": 1}, {"y": 2}], "gone": true, "o": {"k/~": "v"}});
        let to = json!({"a": null, "list": [{"x": 1, "new": []}, {"y": "2"}], "o": {"k/~": ["v"]}, "more": {"deep": {}}});
        let kept = difference(&from, &to).unwrap().unwrap();
        let mut seen = from.clone();
        restore(&kept, &mut seen).unwrap();
        assert_eq!(seen, to);
        assert_eq!(difference(&to, &to).unwrap(), None);
    }

    #[test]
    fn what_somebody_changed_since_is_right() {
        let from = json!({"sources": [{"targetRevision": "HEAD", "path": "."}]});
        let to = json!({"sources": [{"path": "./"}], "info": 1});
        let kept = difference(&from, &to).unwrap().unwrap();
        let mut changed = json!({"sources": [{"targetRevision": "dev", "path": "."}]});
        restore(&kept, &mut changed).unwrap();
        assert_eq!(
            changed,
            json!({"sources": [{"targetRevision": "dev", "path": "./"}], "info": 1})
        );
        // A place that is gone is no reason to fail.
        let mut changed = json!({"sources": []});
        restore(&kept, &mut changed).unwrap();
        assert_eq!(changed, json!({"sources": [], "info": 1}));
    }

    #[test]
    fn it_is_bounded_and_checked() {
        let big = json!({"a": "x".repeat(LIMIT), "b": 1});
        let error = difference(&json!({}), &big).unwrap_err();
        assert!(error.to_string().contains("/a"), "{error}");
        let error = restore("{", &mut json!({})).unwrap_err();
        assert_eq!(error.kind(), gitops_core::ErrorKind::Integrity);
    }
}
