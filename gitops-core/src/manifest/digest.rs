//! Digests by which it is told whether an object needs a request.
//!
//! An object needs none when its desired digest is the recorded one and the digest of its live form is the one recorded after the last
//! apply. The live digest covers everything except `status`, `metadata.resourceVersion`, `metadata.generation` and
//! `metadata.managedFields`; of the latter it covers our own manager's entry, without its time: another manager that takes over a field of
//! ours changes that entry even when it leaves the value alone.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::object::Object;

/// The digest of an object's desired form: all of it, whatever the order of its keys.
pub fn desired_digest(object: &Object) -> String {
    let mut hasher = Hasher::default();
    hasher.map(object.value().iter());
    hasher.finish()
}

/// The digest of any value, whatever the order of its keys.
pub(crate) fn value_digest(value: &Value) -> String {
    let mut hasher = Hasher::default();
    hasher.map([(&String::new(), value)].into_iter());
    hasher.finish()
}

/// The digest of an object's live form, as seen by field manager `manager`.
pub fn live_digest(object: &Object, manager: &str) -> String {
    let mut hasher = Hasher::default();
    hasher.map(
        object
            .value()
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "status" | "metadata")),
    );
    let empty = Map::new();
    let metadata = object.metadata().unwrap_or(&empty);
    hasher.map(metadata.iter().filter(|(key, _)| {
        !matches!(
            key.as_str(),
            "resourceVersion" | "generation" | "managedFields"
        )
    }));
    let entries = metadata.get("managedFields").and_then(Value::as_array);
    for entry in entries.into_iter().flatten().filter_map(Value::as_object) {
        if entry.get("manager").and_then(Value::as_str) == Some(manager) {
            hasher.map(entry.iter().filter(|(key, _)| *key != "time"));
        }
    }
    hasher.finish()
}

/// Feeds JSON to SHA-256 without building a text. Map keys come sorted: `serde_json` keeps them so.
#[derive(Default)]
struct Hasher(Sha256);

impl Hasher {
    fn map<'a>(&mut self, entries: impl Iterator<Item = (&'a String, &'a Value)>) {
        let mut writer = io::BufWriter::with_capacity(4096, Sink(&mut self.0));
        // Writing to a hash cannot fail.
        let _ = write_map(&mut writer, entries);
        let _ = io::Write::flush(&mut writer);
    }

    fn finish(self) -> String {
        // 128 bits are plenty against accidents and half the inventory's size.
        STANDARD_NO_PAD.encode(&self.0.finalize()[..16])
    }
}

fn write_map<'a, W: io::Write>(
    writer: &mut W,
    entries: impl Iterator<Item = (&'a String, &'a Value)>,
) -> io::Result<()> {
    writer.write_all(b"{")?;
    for (key, value) in entries {
        serde_json::to_writer(&mut *writer, key)?;
        writer.write_all(b":")?;
        serde_json::to_writer(&mut *writer, value)?;
        writer.write_all(b",")?;
    }
    writer.write_all(b"}")
}

struct Sink<'a>(&'a mut Sha256);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn live(change: impl FnOnce(&mut Value)) -> String {
        let mut value = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "a", "namespace": "b", "uid": "u", "resourceVersion": "1", "generation": 1,
                "managedFields": [
                    {"manager": "ours", "time": "t1", "fieldsV1": {"f:data": {"f:x": {}}}},
                    {"manager": "theirs", "time": "t1", "fieldsV1": {"f:data": {"f:y": {}}}},
                ],
            },
            "data": {"x": "1"},
            "status": {"a": 1},
        });
        change(&mut value);
        live_digest(&Object::new(value, None).unwrap(), "ours")
    }

    #[test]
    fn what_the_server_counts_does_not_count() {
        let base = live(|_| {});
        assert_eq!(base, live(|v| v["status"] = json!({"a": 2})));
        assert_eq!(
            base,
            live(|v| v["metadata"]["resourceVersion"] = json!("2"))
        );
        assert_eq!(base, live(|v| v["metadata"]["generation"] = json!(2)));
        assert_eq!(
            base,
            live(|v| v["metadata"]["managedFields"][0]["time"] = json!("t2"))
        );
        assert_eq!(
            base,
            live(|v| v["metadata"]["managedFields"][1]["fieldsV1"] = json!({}))
        );
    }

    #[test]
    fn what_somebody_changed_counts() {
        let base = live(|_| {});
        assert_ne!(base, live(|v| v["data"]["x"] = json!("2")));
        assert_ne!(base, live(|v| v["data"]["z"] = json!("")));
        assert_ne!(base, live(|v| v["metadata"]["uid"] = json!("w")));
        assert_ne!(base, live(|v| v["metadata"]["labels"] = json!({"a": "b"})));
        assert_ne!(
            base,
            live(|v| v["metadata"]["managedFields"][0]["fieldsV1"] = json!({}))
        );
        assert_ne!(
            base,
            live(|v| v["metadata"]["deletionTimestamp"] = json!("now"))
        );
    }

    #[test]
    fn order_of_keys_does_not_count_and_order_of_lists_does() {
        let digest = |value| desired_digest(&Object::new(value, None).unwrap());
        let one = digest(
            json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "l": [1, 2]}),
        );
        let two = digest(
            json!({"l": [1, 2], "metadata": {"name": "a"}, "kind": "X", "apiVersion": "v1"}),
        );
        let three = digest(
            json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "l": [2, 1]}),
        );
        assert_eq!(one, two);
        assert_ne!(one, three);
    }
}
