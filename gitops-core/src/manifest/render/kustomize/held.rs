//! What kustomizations hold that no message may.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::redact::Masker;
use crate::manifest::{Tree, yaml};

/// What messages must not hold: the values of patches and generators, and of Secrets.
pub(super) fn masker(tree: &Tree, dirs: &BTreeSet<String>, held: &[Value]) -> Masker {
    let mut masker = Masker::default();
    for held in held {
        hold(&mut masker, held);
    }
    for dir in dirs {
        for (_, entry) in tree.below(dir) {
            let Some(bytes) = entry
                .bytes()
                .filter(|bytes| bytes.windows(6).any(|window| window == b"Secret"))
            else {
                continue;
            };
            for document in yaml::parse_values("", bytes).unwrap_or_default() {
                for field in ["data", "stringData"] {
                    if let Some(values) = document.value.get(field) {
                        masker.add_value(values);
                    }
                }
            }
        }
    }
    masker
}

/// The values of a text that is YAML, of `KEY=VALUE` lines, or of an object that holds such texts.
fn hold(masker: &mut Masker, value: &Value) {
    match value {
        Value::String(text) => {
            match yaml::parse_values("", text.as_bytes()) {
                Ok(documents) => {
                    for document in documents {
                        hold_document(masker, &document.value);
                    }
                }
                Err(_) => masker.add(text),
            }
            for (_, value) in text.lines().filter_map(|line| line.split_once('=')) {
                masker.add(value.trim().trim_matches(['"', '\'']));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| hold(masker, item)),
        Value::Object(map) => {
            for (key, item) in map {
                // They name objects and files, which a message needs.
                if !matches!(key.as_str(), "path" | "target" | "options") {
                    hold(masker, item);
                }
            }
        }
        other => masker.add_value(other),
    }
}

/// The values of a patch or an object, but not what says where they belong, which a message needs.
fn hold_document(masker: &mut Masker, value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| hold_document(masker, item)),
        // An operation of a JSON patch.
        Value::Object(map) if map.contains_key("op") => {
            if let Some(value) = map.get("value") {
                masker.add_value(value);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("apiVersion" | "kind", Value::String(_)) => {}
                    ("metadata", Value::Object(metadata)) => metadata
                        .iter()
                        .filter(|(key, _)| !matches!(key.as_str(), "name" | "namespace"))
                        .for_each(|(_, value)| masker.add_value(value)),
                    (_, value) => masker.add_value(value),
                }
            }
        }
        other => masker.add_value(other),
    }
}
