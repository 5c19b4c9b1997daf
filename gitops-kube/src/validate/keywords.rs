//! Kubernetes' own keywords of schemas.

use std::collections::HashSet;

use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Value};

type AnyKeyword = Box<dyn for<'i> Keyword<'i>>;

/// `x-kubernetes-list-type`: the items of a set are distinct, those of a map have distinct keys. A server-side apply refuses others.
pub(super) struct ListType {
    /// The keys of a map; `None` for a set.
    keys: Option<Vec<String>>,
    checked: bool,
}

impl ListType {
    pub(super) fn compile<'a>(
        parent: &'a Map<String, Value>,
        value: &'a Value,
        _: Location,
    ) -> Result<AnyKeyword, ValidationError<'a>> {
        let keys = parent
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_array)
            .map(|keys| keys.iter().filter_map(Value::as_str).map(str::to_owned));
        let kind = value.as_str();
        Ok(Box::new(Self {
            checked: matches!(kind, Some("set" | "map")),
            keys: keys.filter(|_| kind == Some("map")).map(Iterator::collect),
        }))
    }

    /// The first item that repeats another one.
    fn duplicate(&self, instance: &Value) -> Option<usize> {
        let items = instance.as_array().filter(|_| self.checked)?;
        let mut seen = HashSet::new();
        items.iter().position(|item| {
            let identity = match &self.keys {
                Some(keys) => {
                    let parts = keys.iter().map(|key| item.get(key).cloned());
                    Value::Array(parts.map(Option::unwrap_or_default).collect())
                }
                None => item.clone(),
            };
            !seen.insert(identity.to_string())
        })
    }
}

impl<'i> Keyword<'i> for ListType {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match self.duplicate(instance) {
            None => Ok(()),
            Some(at) => Err(ValidationError::custom(match &self.keys {
                Some(keys) => format!("item {at} has the {} of another one", keys.join(" and ")),
                None => format!("item {at} repeats another one"),
            })),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        self.duplicate(instance).is_none()
    }
}
