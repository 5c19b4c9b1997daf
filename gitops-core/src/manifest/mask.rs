//! Secrets, made fit to be shown.
//!
//! Values are replaced by a mark; equal values get equal marks and different ones different marks, so that a change is seen without its
//! content (Flux shows `*** (before)` and `*** (after)`; gitops-engine one more `+` per value).

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::object::Object;

/// kubectl's copy of what it applied: it holds a Secret's values too.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Gives marks to values, the same mark to the same value. One mask serves all forms of one object (live, desired, predicted).
#[derive(Default)]
pub struct Mask {
    marks: HashMap<String, String>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

impl Mask {
    /// A mask that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The object, fit to be shown: of a Secret, `data` and `stringData` are masked (a `stringData` value and its base64 form in `data` get
    /// the same mark), and kubectl's copy is left out. Other kinds lose kubectl's copy too: it may hold what they no longer do.
    pub fn apply(&mut self, object: &Object) -> Value {
        let mut value = object.to_value();
        if let Some(annotations) = value
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.remove(LAST_APPLIED);
        }
        if object.kind() == "Secret" && object.group().is_empty() {
            for (field, encoded) in [("data", true), ("stringData", false)] {
                match value.get_mut(field) {
                    Some(Value::Object(entries)) => self.entries(entries, encoded),
                    Some(Value::Null) | None => {}
                    Some(other) => *other = Value::String("***".into()),
                }
            }
        }
        value
    }

    fn entries(&mut self, entries: &mut Map<String, Value>, encoded: bool) {
        for value in entries.values_mut() {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let plain = if encoded {
                decode(&text)
            } else {
                text.into_bytes()
            };
            let key = plain
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>();
            let next = self.marks.len() + 1;
            let mark = self
                .marks
                .entry(key)
                .or_insert_with(|| format!("*** ({next})"));
            *value = Value::String(mark.clone());
        }
    }
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .unwrap_or_else(|_| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_told_apart_and_not_told() {
        let secret = |data: Value, string_data: Value| {
            let value = json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "s", "annotations": {LAST_APPLIED: "{\"data\":{\"a\":\"Y2FuYXJ5\"}}"}},
                "data": data, "stringData": string_data,
            });
            Object::new(value, None).unwrap()
        };
        let mut mask = Mask::new();
        let one = mask.apply(&secret(json!({"a": "Y2FuYXJ5", "b": "Yg=="}), json!(null)));
        let two = mask.apply(&secret(json!({}), json!({"a": "canary", "c": "other"})));
        assert_eq!(one["data"]["a"], two["stringData"]["a"]);
        assert_ne!(one["data"]["a"], one["data"]["b"]);
        assert_ne!(two["stringData"]["a"], two["stringData"]["c"]);
        for shown in [one.to_string(), two.to_string()] {
            assert!(
                !shown.contains("canary") && !shown.contains("Y2FuYXJ5"),
                "{shown}"
            );
        }
        let odd = mask.apply(&secret(json!("canary"), json!(["canary"])));
        assert!(!odd.to_string().contains("canary"), "{odd}");
    }
}
