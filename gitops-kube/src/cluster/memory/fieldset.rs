//! Sets of fields in the form of `fieldsV1` (structured-merge-diff, `fieldpath`): `f:name`, `k:{"name":"x"}`, `v:"x"`, `i:0`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of field paths, as a tree. The keys are the path elements as `fieldsV1` writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FieldSet {
    /// Whether the path that leads here is in the set.
    pub(super) member: bool,
    pub(super) children: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    pub(super) fn leaf() -> Self {
        Self {
            member: true,
            children: BTreeMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    pub(super) fn child(&mut self, element: String) -> &mut Self {
        self.children.entry(element).or_default()
    }

    /// Adds all of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        self.member |= other.member;
        for (element, child) in &other.children {
            self.child(element.clone()).add(child);
        }
    }

    /// Without the exact paths in `other`.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.combine(Some(other), &|mine, theirs| mine && !theirs)
    }

    /// The paths in both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.combine(Some(other), &|mine, theirs| mine && theirs)
    }

    fn combine(&self, other: Option<&Self>, keep: &dyn Fn(bool, bool) -> bool) -> Self {
        let mut set = Self {
            member: keep(self.member, other.is_some_and(|set| set.member)),
            children: BTreeMap::new(),
        };
        for (element, child) in &self.children {
            let theirs = other.and_then(|set| set.children.get(element));
            let child = child.combine(theirs, keep);
            if !child.is_empty() {
                set.children.insert(element.clone(), child);
            }
        }
        set
    }

    /// The members as paths for messages: `.spec.containers[name="web"].image`. Those of one level come before those further down, as in
    /// structured-merge-diff.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, path: &str, paths: &mut Vec<String>) {
        for (element, child) in &self.children {
            if child.member {
                paths.push(format!("{path}{}", display(element)));
            }
        }
        for (element, child) in &self.children {
            child.collect_paths(&format!("{path}{}", display(element)), paths);
        }
    }

    /// As `fieldsV1`.
    pub(super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (element, child) in &self.children {
            if !child.is_empty() {
                map.insert(element.clone(), child.to_json());
            }
        }
        Value::Object(map)
    }

    /// From `fieldsV1`.
    pub(super) fn from_json(value: &Value) -> Self {
        let mut set = Self::default();
        if let Value::Object(map) = value {
            for (element, child) in map {
                if element == "." {
                    set.member = true;
                } else if child.as_object().is_some_and(Map::is_empty) {
                    set.children.insert(element.clone(), Self::leaf());
                } else {
                    set.children.insert(element.clone(), Self::from_json(child));
                }
            }
        }
        set
    }
}

fn display(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("i", index)) => format!("[{index}]"),
        Some(("k", keys)) => match serde_json::from_str::<BTreeMap<String, Value>>(keys) {
            Ok(keys) => {
                let keys: Vec<_> = keys
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                format!("[{}]", keys.join(","))
            }
            Err(_) => format!("[{keys}]"),
        },
        _ => element.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_v1_is_read_and_written() {
        let fields = json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}, "f:finalizers": {"v:\"x\"": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}
        });
        let set = FieldSet::from_json(&fields);
        assert_eq!(set.to_json(), fields);
        assert_eq!(
            set.paths(),
            [
                ".metadata.labels",
                ".metadata.finalizers[=\"x\"]",
                ".metadata.labels.a",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].port",
            ]
        );
    }

    #[test]
    fn differences_and_intersections_go_by_path() {
        let set = FieldSet::from_json(&json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        let gone = FieldSet::from_json(&json!({"f:a": {}}));
        assert_eq!(
            set.difference(&gone).to_json(),
            json!({"f:a": {"f:b": {}}, "f:c": {}})
        );
        assert_eq!(set.intersection(&gone).to_json(), json!({"f:a": {}}));
    }
}
