//! What a newer server sends.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Fields that these types do not know, kept as they came. `Debug` prints their names only: what they hold nobody here can know.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Extra(pub Map<String, Value>);

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Deref for Extra {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Extra {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// For `Debug`: what may be secret is not printed, only that it is there, and its keys.
pub(crate) struct Hidden<'a>(Option<Vec<&'a str>>);

impl<'a> Hidden<'a> {
    pub(crate) fn of(text: &Option<String>) -> Self {
        Self(text.as_ref().map(|_| Vec::new()))
    }

    pub(crate) fn keys<V>(map: &'a Option<BTreeMap<String, V>>) -> Self {
        Self(
            map.as_ref()
                .map(|map| map.keys().map(String::as_str).collect()),
        )
    }
}

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("None"),
            Some(keys) if keys.is_empty() => f.write_str("…"),
            Some(keys) => f.debug_set().entries(keys).finish(),
        }
    }
}

/// For `Debug`: metadata without the values of annotations, among which is a copy of the whole object when `kubectl apply` made it.
pub(crate) struct DebugMeta<'a>(pub(crate) &'a ObjectMeta);

impl fmt::Debug for DebugMeta<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meta = self.0;
        f.debug_struct("ObjectMeta")
            .field("name", &meta.name)
            .field("namespace", &meta.namespace)
            .field("labels", &meta.labels)
            .field("annotations", &Hidden::keys(&meta.annotations))
            .field("finalizers", &meta.finalizers)
            .field("generation", &meta.generation)
            .field("resource_version", &meta.resource_version)
            .field("uid", &meta.uid)
            .finish_non_exhaustive()
    }
}

/// `null` is read as what is not there, as Go reads it; it writes it for empty lists.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
