//! One object, and what names it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// An API group and a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupKind {
    /// The group; empty is the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
}

impl GroupKind {
    /// `kind` of `group`.
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
        }
    }
}

impl fmt::Display for GroupKind {
    /// kubectl's form: `Deployment.apps`, `Pod`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// An API group, version and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupVersionKind {
    /// The group; empty is the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
}

impl GroupVersionKind {
    /// `kind` of `group/version`.
    pub fn new(
        group: impl Into<String>,
        version: impl Into<String>,
        kind: impl Into<String>,
    ) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        }
    }

    /// From `apiVersion` and `kind`.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::new(group, version, kind)
    }

    /// `group/version`, or the version alone for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Without the version.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(&*self.group, &*self.kind)
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.api_version(), self.kind)
    }
}

/// What names an object in a cluster: group, kind, namespace and name. The version is not part of it: the same object is
/// served in several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId {
    /// The API group; empty is the core group.
    #[serde(default)]
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace; empty for cluster-scoped objects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectId {
    /// An identity from its parts; an empty `namespace` means cluster-scoped.
    pub fn new(
        group: impl Into<String>,
        kind: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The group and kind.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(&*self.group, &*self.kind)
    }
}

impl fmt::Display for ObjectId {
    /// `Deployment.apps shop/web`, `Namespace shop`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        f.write_str(" ")?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// Where an object stands in its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The file, relative to the source's root, with `/`.
    pub file: Arc<str>,
    /// The document in the file, from 0.
    pub document: usize,
    /// The line where the object begins, from 1; 0 when it is not known.
    pub line: usize,
    /// The column where it begins, from 1; 0 when it is not known.
    pub column: usize,
}

impl fmt::Display for Origin {
    /// `deploy/web.yaml:12:1`, as compilers write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        Ok(())
    }
}

/// A Kubernetes object of any kind: a JSON object with `apiVersion`, `kind` and `metadata.name`.
///
/// `Debug` prints its identity only: what a Secret holds must not appear in a log by accident.
#[derive(Clone, PartialEq)]
pub struct Object {
    value: Map<String, Value>,
    origin: Option<Box<Origin>>,
}

impl Object {
    /// Checks and wraps a value.
    ///
    /// # Errors
    /// `InvalidInput` when it is not an object, when `apiVersion`, `kind` or `metadata.name` is missing or not a text, or when a
    /// label or annotation is not a text; the message names `origin` when there is one.
    pub fn new(value: Value, origin: Option<Origin>) -> Result<Self> {
        let fault = match check(&value) {
            Ok(()) => None,
            Err((_, message)) => Some(message),
        };
        match (value, fault) {
            (Value::Object(value), None) => Ok(Self {
                value,
                origin: origin.map(Box::new),
            }),
            (_, fault) => {
                let message = fault.unwrap_or_default();
                Err(Error::invalid(match origin {
                    Some(origin) => format!("{origin}: {message}"),
                    None => message,
                }))
            }
        }
    }

    /// The object as JSON.
    pub fn value(&self) -> &Map<String, Value> {
        &self.value
    }

    /// The object as JSON, to be changed. Whoever removes what [`Object::new`] demands gets empty texts from the accessors.
    pub fn value_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.value
    }

    /// The object as a JSON value.
    pub fn into_value(self) -> Value {
        Value::Object(self.value)
    }

    /// The object as a JSON value, copied.
    pub fn to_value(&self) -> Value {
        Value::Object(self.value.clone())
    }

    /// Where it stands in its source.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        self.str_field("apiVersion")
    }

    /// The API group; empty is the core group.
    pub fn group(&self) -> &str {
        self.api_version()
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// The API version without its group.
    pub fn version(&self) -> &str {
        let api_version = self.api_version();
        api_version
            .split_once('/')
            .map_or(api_version, |(_, version)| version)
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        self.str_field("kind")
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::from_api_version(self.api_version(), self.kind())
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata_str("name")
    }

    /// `metadata.namespace`; empty when there is none.
    pub fn namespace(&self) -> &str {
        self.metadata_str("namespace")
    }

    /// `metadata.uid`; empty when there is none.
    pub fn uid(&self) -> &str {
        self.metadata_str("uid")
    }

    /// `metadata.resourceVersion`; empty when there is none.
    pub fn resource_version(&self) -> &str {
        self.metadata_str("resourceVersion")
    }

    /// Whether it is being deleted.
    pub fn is_terminating(&self) -> bool {
        !self.metadata_str("deletionTimestamp").is_empty()
    }

    /// Its identity.
    pub fn id(&self) -> ObjectId {
        ObjectId::new(self.group(), self.kind(), self.namespace(), self.name())
    }

    /// `metadata`.
    pub fn metadata(&self) -> Option<&Map<String, Value>> {
        self.value.get("metadata").and_then(Value::as_object)
    }

    /// `metadata`, to be changed; made when it is not there.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        object_entry(&mut self.value, "metadata")
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata()?.get("labels")?.get(key)?.as_str()
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata()?.get("annotations")?.get(key)?.as_str()
    }

    /// Sets `metadata.namespace`; an empty one is removed.
    pub fn set_namespace(&mut self, namespace: &str) {
        if namespace.is_empty() {
            self.metadata_mut().remove("namespace");
        } else {
            self.metadata_mut()
                .insert("namespace".into(), namespace.into());
        }
    }

    /// Sets a label.
    pub fn set_label(&mut self, key: &str, value: impl Into<String>) {
        object_entry(self.metadata_mut(), "labels").insert(key.into(), Value::String(value.into()));
    }

    /// Sets an annotation.
    pub fn set_annotation(&mut self, key: &str, value: impl Into<String>) {
        object_entry(self.metadata_mut(), "annotations")
            .insert(key.into(), Value::String(value.into()));
    }

    /// The value at a JSON pointer (RFC 6901).
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        let (first, rest) = match pointer.strip_prefix('/')?.find('/') {
            Some(at) => (&pointer[1..=at], &pointer[at + 1..]),
            None => (&pointer[1..], ""),
        };
        self.value
            .get(&first.replace("~1", "/").replace("~0", "~"))?
            .pointer(rest)
    }

    fn str_field(&self, field: &str) -> &str {
        self.value
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn metadata_str(&self, field: &str) -> &str {
        self.metadata()
            .and_then(|metadata| metadata.get(field))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({}", self.id())?;
        if let Some(origin) = &self.origin {
            write!(f, " at {origin}")?;
        }
        f.write_str(")")
    }
}

impl Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

fn object_entry<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let entry = map.entry(key).or_insert(Value::Null);
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    match entry {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object above"),
    }
}

/// What [`Object::new`] demands; else the path of the field that is wrong, and why.
pub(crate) fn check(value: &Value) -> Result<(), (Vec<String>, String)> {
    let wrong = |path: &[&str], message: String| {
        Err((
            path.iter().map(|part| (*part).to_owned()).collect(),
            message,
        ))
    };
    let Value::Object(map) = value else {
        let message = format!("expected an object, found {}", type_name(value));
        return wrong(&[], message);
    };
    for field in ["apiVersion", "kind"] {
        match map.get(field) {
            Some(Value::String(text)) if !text.is_empty() => {}
            Some(Value::String(_) | Value::Null) | None => {
                return wrong(&[field], format!("{field} is missing"));
            }
            Some(other) => {
                let message = format!("{field} must be a string, not {}", type_name(other));
                return wrong(&[field], message);
            }
        }
    }
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default();
    let metadata = match map.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        Some(Value::Null) | None => {
            return wrong(&["metadata"], format!("{kind}: metadata.name is missing"));
        }
        Some(other) => {
            let found = type_name(other);
            let message = format!("{kind}: metadata must be an object, not {found}");
            return wrong(&["metadata"], message);
        }
    };
    for field in ["name", "namespace"] {
        match metadata.get(field) {
            Some(Value::String(text)) if field == "namespace" || !text.is_empty() => {}
            Some(Value::String(_) | Value::Null) | None if field == "name" => {
                let message = format!("{kind}: metadata.name is missing");
                return wrong(&["metadata", "name"], message);
            }
            Some(Value::Null) | None => {}
            Some(other) => {
                let found = type_name(other);
                let message = format!("{kind}: metadata.{field} must be a string, not {found}");
                return wrong(&["metadata", field], message);
            }
        }
    }
    for field in ["labels", "annotations"] {
        match metadata.get(field) {
            Some(Value::Null) | None => {}
            Some(Value::Object(entries)) => {
                for (key, value) in entries {
                    if !value.is_string() {
                        let message = format!(
                            "{kind}: metadata.{field}[{key:?}] must be a string, not {}",
                            type_name(value)
                        );
                        return wrong(&["metadata", field, key], message);
                    }
                }
            }
            Some(other) => {
                let found = type_name(other);
                let message = format!("{kind}: metadata.{field} must be an object, not {found}");
                return wrong(&["metadata", field], message);
            }
        }
    }
    Ok(())
}

/// The JSON type of a value, in words for messages.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_name_needs_is_checked() {
        let ok = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}});
        let object = Object::new(ok, None).unwrap();
        assert_eq!(object.id().to_string(), "Deployment.apps shop/web");
        assert_eq!(object.version(), "v1");
        assert_eq!(object.pointer("/metadata/name"), Some(&json!("web")));
        for (bad, says) in [
            (json!([]), "expected an object, found a list"),
            (json!({"kind": "X"}), "apiVersion is missing"),
            (json!({"apiVersion": "v1"}), "kind is missing"),
            (
                json!({"apiVersion": "v1", "kind": "X"}),
                "metadata.name is missing",
            ),
            (
                json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": 1}}),
                "must be a string",
            ),
            (
                json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a", "labels": {"b": true}}}),
                "labels[\"b\"] must be a string, not a boolean",
            ),
        ] {
            let error = Object::new(
                bad,
                Some(Origin {
                    file: "a.yaml".into(),
                    document: 0,
                    line: 3,
                    column: 1,
                }),
            )
            .unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.to_string().starts_with("a.yaml:3:1: "), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_content() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "canary"}});
        let shown = format!("{:?}", Object::new(secret, None).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }
}
