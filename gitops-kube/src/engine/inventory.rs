//! The inventory: what an application applied, kept in the cluster next to its ApplySet's parent.
//!
//! It is written before anything is applied and keeps what could not be pruned (the rule of cli-utils; kustomize-controller#1664
//! shows what happens otherwise). ConfigMaps hold it, split long before the API server's limit of 1 MiB.

use std::collections::{BTreeMap, HashMap};

use gitops_core::manifest::{Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result, ResultExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::applyset::{
    APPLICATION_ANNOTATION, ApplySet, ID_LABEL, Membership, TOOLING, TOOLING_ANNOTATION,
    check_parent,
};
use crate::cluster::{ApiKind, Cluster, DeleteParams, ListParams, ObjectKey, WriteParams};

/// On the parent and on each shard: the set that the inventory belongs to.
pub const INVENTORY_LABEL: &str = "gitops-rs.dev/inventory";
/// On each shard: the layout that it belongs to; a higher one is newer.
const LAYOUT_ANNOTATION: &str = "gitops-rs.dev/inventory-layout";
const DATA_KEY: &str = "objects";
/// A shard is split when it would pass this size, in bytes.
const SHARD_BYTES: usize = 512 * 1024;

/// What is known of one object that the application applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryEntry {
    /// Which object.
    #[serde(flatten)]
    pub id: ObjectId,
    /// The API version that it was applied in.
    pub version: String,
    /// Its UID; empty when it was about to be applied and the answer was never recorded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The digest of the desired form that was applied.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub desired: String,
    /// The digest of the live form right after it was applied.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub live: String,
}

/// The inventory of one application, as read, with what is needed to write it back.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    entries: BTreeMap<ObjectId, InventoryEntry>,
    parent: Option<Object>,
    shards: Vec<Shard>,
    layout: u64,
}

#[derive(Clone, Debug)]
struct Shard {
    name: String,
    layout: u64,
    uid: String,
    resource_version: String,
    data: String,
}

impl Shard {
    fn of(object: &Object, layout: u64, data: String) -> Self {
        Self {
            name: object.name().to_owned(),
            layout,
            uid: object.uid().to_owned(),
            resource_version: object.resource_version().to_owned(),
            data,
        }
    }
}

impl Inventory {
    /// Reads the inventory of `set`, with one request.
    ///
    /// # Errors
    /// `Conflict` when the parent belongs to another tool or application; `Integrity` when a shard cannot be read: guessing what an
    /// application owns is how objects get lost.
    pub async fn read(cluster: &dyn Cluster, set: &ApplySet) -> Result<Self> {
        let kind = ApiKind::config_map();
        let params = ListParams {
            namespace: Some(set.namespace().to_owned()),
            labels: Some(format!("{INVENTORY_LABEL}={}", set.id())),
            ..ListParams::default()
        };
        let found = cluster.list(&kind, &params).await.context(|| {
            format!(
                "read the inventory of ApplySet {}/{}",
                set.namespace(),
                set.parent_name()
            )
        })?;
        let mut inventory = Self::default();
        for object in found.items {
            if object.name() == set.parent_name() {
                check_parent(set, &object)?;
                inventory.parent = Some(object);
                continue;
            }
            inventory.take_shard(object)?;
        }
        if inventory.parent.is_none() {
            // A parent without our label is somebody else's ConfigMap, or a set that another tool manages.
            let key = ObjectKey {
                kind: &kind,
                namespace: set.namespace(),
                name: set.parent_name(),
            };
            if let Some(parent) = cluster.get(key).await? {
                check_parent(set, &parent)?;
                inventory.parent = Some(parent);
            }
        }
        Ok(inventory)
    }

    fn take_shard(&mut self, object: Object) -> Result<()> {
        let layout = object
            .annotation(LAYOUT_ANNOTATION)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let data = object
            .pointer("/data/objects")
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned();
        for line in data.lines() {
            let entry: InventoryEntry = serde_json::from_str(line).map_err(|error| {
                Error::integrity(format!(
                    "inventory ConfigMap {}/{} is damaged",
                    object.namespace(),
                    object.name()
                ))
                .with_source(error)
            })?;
            // After a write that was cut short two layouts are there; the newer one knows better.
            if layout >= self.layout || !self.entries.contains_key(&entry.id) {
                self.entries.insert(entry.id.clone(), entry);
            }
        }
        self.layout = self.layout.max(layout);
        self.shards.push(Shard::of(&object, layout, data));
        Ok(())
    }

    /// Whether the set was ever written.
    pub fn exists(&self) -> bool {
        self.parent.is_some()
    }

    /// The entry of `id`.
    pub fn get(&self, id: &ObjectId) -> Option<&InventoryEntry> {
        self.entries.get(id)
    }

    /// All entries, ordered by identity.
    pub fn iter(&self) -> impl Iterator<Item = &InventoryEntry> {
        self.entries.values()
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds or replaces an entry.
    pub fn insert(&mut self, entry: InventoryEntry) {
        self.entries.insert(entry.id.clone(), entry);
    }

    /// Removes an entry.
    pub fn remove(&mut self, id: &ObjectId) {
        self.entries.remove(id);
    }

    /// Writes what differs from what was read: the parent first when kinds or namespaces are new, then the shards. Without a
    /// difference nothing is sent.
    ///
    /// # Errors
    /// `Conflict` when somebody else wrote it meanwhile.
    pub async fn write(&mut self, cluster: &dyn Cluster, set: &ApplySet) -> Result<()> {
        self.write_parent(cluster, set).await?;
        let count = self.shard_count();
        let reshard = self.shards.iter().any(|shard| shard.layout != self.layout)
            || self.shards.len() != count
            || self.shards.is_empty();
        let layout = if reshard {
            self.layout + 1
        } else {
            self.layout
        };
        let mut contents = vec![String::new(); count];
        for entry in self.entries.values() {
            let line = serde_json::to_string(entry).map_err(|error| {
                Error::internal("cannot serialise an inventory entry").with_source(error)
            })?;
            let content = &mut contents[shard_of(&entry.id, count)];
            content.push_str(&line);
            content.push('\n');
        }
        let mut known: HashMap<String, Shard> = self
            .shards
            .iter()
            .map(|shard| (shard.name.clone(), shard.clone()))
            .collect();
        let mut written = Vec::with_capacity(count);
        for (index, data) in contents.into_iter().enumerate() {
            let name = format!("{}-inventory-{layout}-{index}", set.parent_name());
            written.push(match known.remove(&name) {
                Some(shard) if shard.data == data => shard,
                known => {
                    let version = known.as_ref().map(|shard| &*shard.resource_version);
                    let object = shard_object(set, &name, layout, &data, version)?;
                    let stored = put(cluster, set, &object, known.is_some()).await?;
                    Shard::of(&stored, layout, data)
                }
            });
        }
        // The new layout is whole: the old one may go.
        for old in known.values() {
            delete_one(cluster, set, &old.name, &old.uid, &old.resource_version).await?;
        }
        self.shards = written;
        self.layout = layout;
        Ok(())
    }

    /// Deletes the parent and all shards, once nothing is left in it.
    ///
    /// # Errors
    /// `Conflict` while entries are left, and when somebody else wrote it meanwhile: then what they wrote is still there.
    pub async fn delete(&mut self, cluster: &dyn Cluster, set: &ApplySet) -> Result<()> {
        if !self.entries.is_empty() {
            return Err(Error::conflict(format!(
                "the inventory of ApplySet {}/{} still has {} objects",
                set.namespace(),
                set.parent_name(),
                self.entries.len()
            )));
        }
        self.forget_shards(cluster, set).await?;
        // Another writer may have moved the entries to shards of another layout, which we never read.
        let now = Self::read(cluster, set).await?;
        if !now.shards.is_empty() {
            return Err(written_meanwhile(set, &now.shards[0].name));
        }
        if let Some(parent) = self.parent.take() {
            delete_one(
                cluster,
                set,
                parent.name(),
                parent.uid(),
                parent.resource_version(),
            )
            .await?;
        }
        Ok(())
    }

    /// Deletes the shards as they were read, and leaves the parent.
    ///
    /// # Errors
    /// `Conflict` when somebody else wrote one meanwhile; it stays.
    pub(super) async fn forget_shards(
        &mut self,
        cluster: &dyn Cluster,
        set: &ApplySet,
    ) -> Result<()> {
        for shard in &self.shards {
            delete_one(
                cluster,
                set,
                &shard.name,
                &shard.uid,
                &shard.resource_version,
            )
            .await?;
        }
        self.shards.clear();
        Ok(())
    }

    fn membership(&self) -> Membership {
        Membership {
            kinds: self.entries.keys().map(ObjectId::group_kind).collect(),
            namespaces: self
                .entries
                .keys()
                .filter(|id| !id.namespace.is_empty())
                .map(|id| id.namespace.clone())
                .collect(),
        }
    }

    async fn write_parent(&mut self, cluster: &dyn Cluster, set: &ApplySet) -> Result<()> {
        let wanted = self.membership();
        if let Some(parent) = &self.parent {
            let labelled = parent.label(INVENTORY_LABEL) == Some(set.id());
            let named = parent.annotation(APPLICATION_ANNOTATION).is_some();
            if labelled && named && Membership::read(parent) == without(&wanted, set) {
                return Ok(());
            }
        }
        let exists = self.parent.is_some();
        let mut parent = match self.parent.take() {
            Some(parent) => parent,
            None => config_map_object(set.parent_name(), set.namespace())?,
        };
        parent.set_label(ID_LABEL, set.id());
        parent.set_label(INVENTORY_LABEL, set.id());
        parent.set_annotation(TOOLING_ANNOTATION, TOOLING);
        parent.set_annotation(APPLICATION_ANNOTATION, set.application().to_string());
        wanted.write(set, &mut parent);
        parent.metadata_mut().remove("managedFields");
        let stored = put(cluster, set, &parent, exists).await?;
        self.parent = Some(stored);
        Ok(())
    }

    /// A power of two, so that growing moves entries as rarely as can be.
    fn shard_count(&self) -> usize {
        let bytes: usize = self
            .entries
            .keys()
            .map(|id| 230 + id.group.len() + id.kind.len() + id.namespace.len() + id.name.len())
            .sum();
        bytes.div_ceil(SHARD_BYTES).max(1).next_power_of_two()
    }
}

fn without(wanted: &Membership, set: &ApplySet) -> Membership {
    let mut wanted = wanted.clone();
    wanted.namespaces.remove(set.namespace());
    wanted
}

fn shard_of(id: &ObjectId, count: usize) -> usize {
    let digest = Sha256::digest(id.to_string());
    usize::from(u16::from_be_bytes([digest[0], digest[1]])) % count
}

fn shard_object(
    set: &ApplySet,
    name: &str,
    layout: u64,
    data: &str,
    version: Option<&str>,
) -> Result<Object> {
    let mut object = config_map_object(name, set.namespace())?;
    object.set_label(INVENTORY_LABEL, set.id());
    object.set_annotation(LAYOUT_ANNOTATION, layout.to_string());
    object
        .value_mut()
        .insert("data".into(), json!({ DATA_KEY: data }));
    if let Some(version) = version {
        object
            .metadata_mut()
            .insert("resourceVersion".into(), version.into());
    }
    Ok(object)
}

fn config_map_object(name: &str, namespace: &str) -> Result<Object> {
    Object::new(
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": namespace },
        }),
        None,
    )
}

async fn put(
    cluster: &dyn Cluster,
    set: &ApplySet,
    object: &Object,
    exists: bool,
) -> Result<Object> {
    let kind = ApiKind::config_map();
    let params = WriteParams {
        field_manager: "gitops-inventory".into(),
        ..WriteParams::default()
    };
    let result = if exists {
        cluster.replace(&kind, object, &params).await
    } else {
        cluster.create(&kind, object, &params).await
    };
    let error = match result {
        Ok(stored) => return Ok(stored),
        Err(error) => error,
    };
    if !matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) {
        return Err(error.context(format!(
            "write inventory ConfigMap {}/{}",
            set.namespace(),
            object.name()
        )));
    }
    // The answer to an earlier try may have been lost after the server had stored it.
    let key = ObjectKey {
        kind: &kind,
        namespace: set.namespace(),
        name: object.name(),
    };
    if let Some(stored) = cluster.get(key).await?
        && stored.value().get("data") == object.value().get("data")
        && annotations(&stored) == annotations(object)
    {
        return Ok(stored);
    }
    Err(written_meanwhile(set, object.name()).with_source(error))
}

fn annotations(object: &Object) -> Option<&serde_json::Value> {
    object.metadata()?.get("annotations")
}

/// Deletes a ConfigMap only as it was read: another writer's must not be lost.
async fn delete_one(
    cluster: &dyn Cluster,
    set: &ApplySet,
    name: &str,
    uid: &str,
    resource_version: &str,
) -> Result<()> {
    let kind = ApiKind::config_map();
    let key = ObjectKey {
        kind: &kind,
        namespace: set.namespace(),
        name,
    };
    let params = DeleteParams {
        uid: Some(uid.to_owned()),
        resource_version: Some(resource_version.to_owned()),
        ..DeleteParams::default()
    };
    match cluster.delete(key, &params).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::Conflict => {
            Err(written_meanwhile(set, name).with_source(error))
        }
        Err(error) => Err(error.context(format!("delete ConfigMap {}/{name}", set.namespace()))),
    }
}

fn written_meanwhile(set: &ApplySet, name: &str) -> Error {
    Error::conflict(format!(
        "inventory ConfigMap {}/{name} was written by somebody else meanwhile",
        set.namespace()
    ))
}
