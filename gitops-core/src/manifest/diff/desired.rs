//! What an apply would change, told without a server: for backends that cannot ask for a dry run, and for looking at thousands of objects.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::quantity;
use super::{SERVER_FIELDS, list_keys};
use crate::manifest::Object;

/// kubectl's and Argo CD's copy of what they applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The maps whose values are quantities (core/v1, `ResourceList` and its users).
const QUANTITIES: [&str; 9] = [
    "requests",
    "limits",
    "hard",
    "capacity",
    "overhead",
    "default",
    "defaultRequest",
    "max",
    "min",
];

/// The fields of `live` that an apply of `desired` would change, as JSON pointers (into `desired`, or into `live` for what would be removed).
///
/// As in Argo CD's comparison (gitops-engine `pkg/diff`, three-way), a field that only `live` has does not count: it is a default, or somebody else's. It does count when
/// the copy of the last apply that `live` carries had it: then it was removed on purpose. Quantities are compared by what they are worth, Secrets' `stringData` with `data`, items of built-in
/// kinds' lists by their keys and in their order. `status`, and what the server keeps for itself, do not count.
///
/// It knows no webhooks and no schemas of custom kinds: a server-side dry run is exact, where one can be had.
pub fn changed_fields(live: &Object, desired: &Object) -> Vec<String> {
    let last = live
        .annotation(LAST_APPLIED)
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut walk = Walk {
        builtin: is_builtin(desired.group()),
        pointer: String::new(),
        changed: Vec::new(),
    };
    let folded = folded_secret(desired);
    let desired_map = folded.as_ref().unwrap_or(desired.value());
    for (key, value) in desired_map {
        match key.as_str() {
            "status" | "apiVersion" | "kind" => {}
            "metadata" => walk.metadata(live, value, last.as_ref()),
            _ => {
                let last = last.as_ref().and_then(|last| last.get(key));
                walk.field(key, live.value().get(key), value, last, false);
            }
        }
    }
    if let Some(Value::Object(last)) = &last {
        let special = |key: &str| {
            matches!(
                key,
                "status" | "apiVersion" | "kind" | "metadata" | "stringData"
            )
        };
        for key in last.keys().filter(|key| !special(key)) {
            if !desired_map.contains_key(key) && live.value().contains_key(key) {
                walk.at(key, |walk| walk.push());
            }
        }
    }
    walk.changed
}

/// Kinds whose lists have the keys that we know.
fn is_builtin(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// A Secret with `stringData` as the server stores it.
fn folded_secret(desired: &Object) -> Option<Map<String, Value>> {
    use base64::Engine as _;
    if desired.kind() != "Secret" || !desired.group().is_empty() {
        return None;
    }
    let Some(Value::Object(plain)) = desired.value().get("stringData") else {
        return None;
    };
    let mut folded = desired.value().clone();
    folded.remove("stringData");
    let data = folded
        .entry("data")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(data) = data {
        for (key, value) in plain {
            let text = value.as_str().unwrap_or_default();
            let encoded = base64::engine::general_purpose::STANDARD.encode(text);
            data.insert(key.clone(), Value::String(encoded));
        }
    }
    Some(folded)
}

struct Walk {
    builtin: bool,
    pointer: String,
    changed: Vec<String>,
}

impl Walk {
    fn push(&mut self) {
        self.changed.push(self.pointer.clone());
    }

    fn at(&mut self, key: &str, look: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        self.pointer.push('/');
        if key.contains(['~', '/']) {
            self.pointer
                .push_str(&key.replace('~', "~0").replace('/', "~1"));
        } else {
            self.pointer.push_str(key);
        }
        look(self);
        self.pointer.truncate(length);
    }

    fn metadata(&mut self, live: &Object, desired: &Value, last: Option<&Value>) {
        let Value::Object(desired) = desired else {
            return;
        };
        let live = live.metadata();
        let last = last.and_then(|last| last.get("metadata"));
        self.at("metadata", |walk| {
            for (key, value) in desired {
                if SERVER_FIELDS.contains(&key.as_str())
                    || matches!(key.as_str(), "name" | "namespace")
                {
                    continue;
                }
                let live = live.and_then(|live| live.get(key));
                walk.field(key, live, value, last.and_then(|last| last.get(key)), false);
            }
            let gone = ["labels", "annotations"]
                .into_iter()
                .filter(|key| !desired.contains_key(*key));
            for key in gone {
                let (Some(Value::Object(last)), Some(live)) = (
                    last.and_then(|last| last.get(key)),
                    live.and_then(|live| live.get(key)),
                ) else {
                    continue;
                };
                for name in last.keys().filter(|name| live.get(name.as_str()).is_some()) {
                    walk.at(key, |walk| walk.at(name, Self::push));
                }
            }
        });
    }

    fn field(
        &mut self,
        key: &str,
        live: Option<&Value>,
        desired: &Value,
        last: Option<&Value>,
        quantities: bool,
    ) {
        let quantities = quantities
            || (self.builtin && QUANTITIES.contains(&key))
            || matches!(key, "sizeLimit" | "storage" | "divisor");
        self.at(key, |walk| walk.value(live, desired, last, quantities));
    }

    fn value(
        &mut self,
        live: Option<&Value>,
        desired: &Value,
        last: Option<&Value>,
        quantities: bool,
    ) {
        let Some(live) = live.filter(|live| !live.is_null()) else {
            // The server leaves out what is empty at the top and in metadata (`data: {}`).
            let shallow = self.pointer.matches('/').count() <= 2;
            let empty = match desired {
                Value::Null => true,
                Value::Object(map) => shallow && map.is_empty(),
                Value::Array(items) => shallow && items.is_empty(),
                _ => false,
            };
            if !empty {
                self.push();
            }
            return;
        };
        match (live, desired) {
            (Value::Object(live), Value::Object(desired)) => {
                self.map(live, desired, last, quantities)
            }
            (Value::Array(live), Value::Array(desired)) => self.list(live, desired, last),
            _ if same(live, desired, quantities) => {}
            _ => self.push(),
        }
    }

    fn map(
        &mut self,
        live: &Map<String, Value>,
        desired: &Map<String, Value>,
        last: Option<&Value>,
        quantities: bool,
    ) {
        for (key, value) in desired {
            let last = last.and_then(|last| last.get(key));
            self.field(key, live.get(key), value, last, quantities);
        }
        if let Some(Value::Object(last)) = last {
            for key in last.keys() {
                if !desired.contains_key(key) && live.get(key).is_some_and(|live| !live.is_null()) {
                    self.at(key, Self::push);
                }
            }
        }
    }

    fn list(&mut self, live: &[Value], desired: &[Value], last: Option<&Value>) {
        let last: &[Value] = last.and_then(Value::as_array).map_or(&[], Vec::as_slice);
        let keyed = self
            .builtin
            .then(|| list_keys(&[live, desired, last]))
            .flatten();
        let Some([live_keys, desired_keys, last_keys]) = keyed else {
            return self.items(live, desired, last);
        };
        let by_key: HashMap<&str, usize> = live_keys
            .iter()
            .enumerate()
            .map(|(at, key)| (key.as_str(), at))
            .collect();
        let mut before = None;
        for (at, (item, key)) in desired.iter().zip(&desired_keys).enumerate() {
            let found = by_key.get(key.as_str()).copied();
            if found.is_some() && found < before {
                // An apply restores the order that it names.
                return self.push();
            }
            before = found.or(before);
            let last = last_keys
                .iter()
                .position(|last| last == key)
                .map(|at| &last[at]);
            self.at(&at.to_string(), |walk| {
                walk.value(found.map(|at| &live[at]), item, last, false)
            });
        }
        for key in last_keys.iter().filter(|key| !desired_keys.contains(key)) {
            if let Some(at) = by_key.get(key.as_str()) {
                self.at(&at.to_string(), Self::push);
            }
        }
    }

    /// A list without keys is one value; its items may have been defaulted.
    fn items(&mut self, live: &[Value], desired: &[Value], last: &[Value]) {
        if live.len() != desired.len() {
            return self.push();
        }
        for (at, (live, desired)) in live.iter().zip(desired).enumerate() {
            self.at(&at.to_string(), |walk| {
                walk.value(Some(live), desired, last.get(at), false)
            });
        }
    }
}

fn same(live: &Value, desired: &Value, quantities: bool) -> bool {
    match (live, desired) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
        }
        _ if live == desired => true,
        (Value::String(_) | Value::Number(_), Value::String(_) | Value::Number(_))
            if quantities =>
        {
            let value = |value: &Value| match value {
                Value::String(text) => quantity::value(text),
                other => quantity::value(&other.to_string()),
            };
            value(live).is_some_and(|live| Some(live) == value(desired))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object::new(value, None).unwrap()
    }

    fn changed(live: Value, desired: Value) -> Vec<String> {
        changed_fields(&object(live), &object(desired))
    }

    fn pod(spec: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    }

    #[test]
    fn what_others_added_does_not_count() {
        let live = pod(json!({"dnsPolicy": "ClusterFirst", "containers": [
            {"name": "sidecar", "image": "s"}, {"name": "c", "image": "x", "ports": [{"containerPort": 80, "protocol": "TCP"}], "resources": {"limits": {"cpu": "1"}}}]}));
        let desired = pod(
            json!({"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1000m"}}}]}),
        );
        assert!(changed(live.clone(), desired).is_empty());
        let other = pod(
            json!({"containers": [{"name": "c", "image": "y", "resources": {"limits": {"cpu": 2}}}]}),
        );
        assert_eq!(
            changed(live, other),
            [
                "/spec/containers/0/image",
                "/spec/containers/0/resources/limits/cpu"
            ]
        );
    }

    #[test]
    fn what_was_applied_and_is_no_longer_named_counts() {
        let with = |annotation: Option<&str>| {
            let mut value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": {"l": "1", "m": "1"}}, "data": {"a": "1", "b": "1"}});
            if let Some(annotation) = annotation {
                value["metadata"]["annotations"] = json!({LAST_APPLIED: annotation});
            }
            value
        };
        let desired = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
        assert!(changed(with(None), desired.clone()).is_empty());
        let last = r#"{"metadata": {"labels": {"l": "1"}}, "data": {"a": "1", "b": "1"}}"#;
        assert_eq!(
            changed(with(Some(last)), desired),
            ["/data/b", "/metadata/labels/l"]
        );
    }

    #[test]
    fn lists_of_custom_kinds_are_one_value() {
        let thing = |items: Value| json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"items": items}});
        let live = thing(json!([{"name": "a", "defaulted": 1}, {"name": "b"}]));
        assert!(changed(live.clone(), thing(json!([{"name": "a"}, {"name": "b"}]))).is_empty());
        assert_eq!(
            changed(live, thing(json!([{"name": "a"}]))),
            ["/spec/items"]
        );
    }

    #[test]
    fn string_data_is_data() {
        let live = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "dg=="}});
        let desired = |text: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": text}});
        assert!(changed(live.clone(), desired("v")).is_empty());
        assert_eq!(changed(live, desired("w")), ["/data/k"]);
    }

    #[test]
    fn order_counts() {
        let containers = |names: &[&str]| {
            pod(
                json!({"containers": names.iter().map(|name| json!({"name": name, "image": "x"})).collect::<Vec<_>>()}),
            )
        };
        assert_eq!(
            changed(containers(&["b", "a"]), containers(&["a", "b"])),
            ["/spec/containers"]
        );
        assert!(changed(containers(&["a", "x", "b"]), containers(&["a", "b"])).is_empty());
        let args = |args: Value| pod(json!({"containers": [{"name": "c", "args": args}]}));
        assert_eq!(
            changed(args(json!(["1", "2"])), args(json!(["2", "1"]))).len(),
            2
        );
    }

    #[test]
    fn empty_is_nothing_only_where_the_server_leaves_it_out() {
        let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "annotations": {}, "creationTimestamp": null}, "data": data});
        let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "creationTimestamp": "2026-01-01T00:00:00Z"}});
        assert!(changed(live.clone(), map(json!({}))).is_empty());
        assert_eq!(changed(live, map(json!({"a": "1"}))), ["/data"]);
        let volumes = |volume: Value| pod(json!({"containers": [], "volumes": [volume]}));
        assert_eq!(
            changed(
                volumes(json!({"name": "v", "hostPath": {"path": "/"}})),
                volumes(json!({"name": "v", "emptyDir": {}}))
            ),
            ["/spec/volumes/0/emptyDir"]
        );
    }
}
