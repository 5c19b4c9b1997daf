//! What typed documents of other systems share: fields that nobody here knows, and `Debug` that prints no secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Fields that a type does not know, kept as they came, for `#[serde(flatten)]`. `Debug` prints their names only: what they hold nobody here can know.
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
pub struct Hidden<'a>(Option<Vec<&'a str>>);

impl<'a> Hidden<'a> {
    /// Whether there is a value.
    pub fn of<T>(value: &Option<T>) -> Self {
        Self(value.as_ref().map(|_| Vec::new()))
    }

    /// The keys of a map.
    pub fn keys<V>(map: &'a Option<BTreeMap<String, V>>) -> Self {
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

/// `null` is read as what is not there, as Go reads it; it writes it for empty lists. For `#[serde(deserialize_with)]`.
///
/// # Errors
/// Those of `T`.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
