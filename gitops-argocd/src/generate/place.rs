//! Where in a set something stands.

use std::fmt;

/// A JSON pointer into the `ApplicationSet`.
#[derive(Clone, Debug)]
pub(super) struct Place(String);

impl Place {
    /// One of `spec.generators`.
    pub(super) fn generator(index: usize) -> Self {
        Self("/spec/generators".to_owned()).index(index)
    }

    /// A field of it. The names used here need no escaping.
    pub(super) fn field(&self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0))
    }

    /// An item of it.
    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }

    /// One of its `generators`.
    pub(super) fn nested(&self, index: usize) -> Self {
        self.field("generators").index(index)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
