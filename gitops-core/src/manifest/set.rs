//! Objects with distinct identities.

use std::collections::HashMap;

use super::object::{Object, ObjectId};
use super::order::{self, ObjectOptions};
use crate::error::{Error, Result};

/// Objects with distinct identities, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub struct ManifestSet {
    objects: Vec<Object>,
    index: HashMap<ObjectId, usize>,
}

impl ManifestSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A set of `objects`.
    ///
    /// # Errors
    /// `InvalidInput` when two have one identity, naming both places.
    pub fn from_objects(objects: impl IntoIterator<Item = Object>) -> Result<Self> {
        let mut set = Self::new();
        for object in objects {
            set.insert(object)?;
        }
        Ok(set)
    }

    /// Adds an object.
    ///
    /// # Errors
    /// `InvalidInput` when its identity is taken, naming both places.
    pub fn insert(&mut self, object: Object) -> Result<()> {
        let id = object.id();
        if let Some(&at) = self.index.get(&id) {
            let place = |object: &Object| {
                object
                    .origin()
                    .map(|origin| format!(" at {origin}"))
                    .unwrap_or_default()
            };
            return Err(Error::invalid(format!(
                "{id} appears twice:{} and{}",
                place(&self.objects[at]),
                place(&object)
            )));
        }
        self.index.insert(id, self.objects.len());
        self.objects.push(object);
        Ok(())
    }

    /// The object with this identity.
    pub fn get(&self, id: &ObjectId) -> Option<&Object> {
        self.index.get(id).map(|&at| &self.objects[at])
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The objects.
    pub fn iter(&self) -> std::slice::Iter<'_, Object> {
        self.objects.iter()
    }

    /// The objects, taken out in the order in which they are applied: by wave, kind, namespace and name.
    ///
    /// # Errors
    /// `InvalidInput` for annotations that make no sense, as [`ObjectOptions::of`].
    pub fn into_ordered(self) -> Result<Vec<(Object, ObjectOptions)>> {
        let mut rows = Vec::with_capacity(self.objects.len());
        for object in self.objects {
            let options = ObjectOptions::of(&object)?;
            rows.push((object.id(), object, options));
        }
        order::sort_for_apply(&mut rows, |(id, _, options)| (id, options));
        Ok(rows
            .into_iter()
            .map(|(_, object, options)| (object, options))
            .collect())
    }

    /// The objects, taken out.
    pub fn into_objects(self) -> Vec<Object> {
        self.objects
    }
}

impl<'a> IntoIterator for &'a ManifestSet {
    type Item = &'a Object;
    type IntoIter = std::slice::Iter<'a, Object>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for ManifestSet {
    type Item = Object;
    type IntoIter = std::vec::IntoIter<Object>;

    fn into_iter(self) -> Self::IntoIter {
        self.objects.into_iter()
    }
}
