//! What a `Kustomization` has applied.

use std::fmt;

use gitops_core::error::Error;
use gitops_core::manifest::ObjectId;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::extra::{Extra, null_is_default};

/// `status.inventory`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Inventory {
    /// The objects, as they were written; [`ids`](Self::ids) reads them.
    #[serde(deserialize_with = "null_is_default")]
    pub entries: Vec<InventoryEntry>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An object of an inventory. It has no `extra`: there are thousands of them, and nobody but the controller writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct InventoryEntry {
    /// `<namespace>_<name>_<group>_<kind>`.
    pub id: String,
    /// The API version, without the group.
    #[serde(rename = "v")]
    pub version: String,
}

impl<'de> Deserialize<'de> for InventoryEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

/// A map only: what serde derives would take a list too.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = InventoryEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry of an inventory")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InventoryEntry, A::Error> {
        let mut entry = InventoryEntry::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "id" => entry.id = map.next_value()?,
                "v" => entry.version = map.next_value()?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(entry)
    }
}

/// Kinds whose names may have a `:`, which an entry has as `__`.
fn is_rbac(group: &str, kind: &str) -> bool {
    group == "rbac.authorization.k8s.io"
        && matches!(
            kind,
            "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding"
        )
}

impl InventoryEntry {
    /// The entry of an object, as `ObjMetadata.String` of cli-utils writes it.
    pub fn new(id: &ObjectId, version: impl Into<String>) -> Self {
        let name = match is_rbac(&id.group, &id.kind) {
            true => id.name.replace(':', "__"),
            false => id.name.clone(),
        };
        Self {
            id: format!("{}_{name}_{}_{}", id.namespace, id.group, id.kind),
            version: version.into(),
        }
    }

    /// The object, as `ParseObjMetadata` of cli-utils reads it.
    ///
    /// # Errors
    /// `Integrity` for what has not four parts.
    pub fn object_id(&self) -> Result<ObjectId, Error> {
        let broken = || Error::integrity(format!("no entry of an inventory: {:?}", self.id));
        let (namespace, rest) = self.id.split_once('_').ok_or_else(broken)?;
        let (rest, kind) = rest.rsplit_once('_').ok_or_else(broken)?;
        let (name, group) = rest.rsplit_once('_').ok_or_else(broken)?;
        let name = name.replace("__", ":");
        if name.contains('_') {
            return Err(broken());
        }
        Ok(ObjectId::new(group, kind, namespace, name))
    }

    /// Group and version.
    ///
    /// # Errors
    /// Those of [`object_id`](Self::object_id).
    pub fn api_version(&self) -> Result<String, Error> {
        let group = self.object_id()?.group;
        Ok(match group.is_empty() {
            true => self.version.clone(),
            false => format!("{group}/{}", self.version),
        })
    }
}

impl Inventory {
    /// The objects with their API versions, in the order of the inventory; one that cannot be read does not hide the others.
    pub fn ids(&self) -> impl Iterator<Item = Result<(ObjectId, &str), Error>> {
        self.entries
            .iter()
            .map(|entry| entry.object_id().map(|id| (id, entry.version.as_str())))
    }
}
