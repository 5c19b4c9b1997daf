//! The kinds as the cluster serves them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gitops_core::manifest::digest::desired_digest;
use gitops_core::manifest::order::ObjectOptions;
use gitops_core::manifest::{GroupKind, GroupVersionKind, ManifestSet, Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result};

use super::{PlanAction, Planner, Step};
use crate::cluster::{ApiKind, Scope};
use crate::engine::applyset::PART_OF_LABEL;
use crate::engine::inventory::{Inventory, InventoryEntry};
use crate::engine::removed;

impl Planner<'_> {
    /// Finds the kinds, sets namespaces and the label, and refuses two objects that turn out to be one.
    pub(super) async fn resolve(&self, manifests: ManifestSet) -> Result<(Vec<Step>, Vec<Step>)> {
        let declared = declared_kinds(&manifests);
        let gvks: BTreeSet<GroupVersionKind> = manifests.iter().map(Object::gvk).collect();
        let mut kinds: HashMap<GroupVersionKind, (ApiKind, bool)> = HashMap::new();
        for gvk in gvks {
            let kind = match self.cluster.resolve(&gvk).await {
                Ok(kind) => (kind, false),
                Err(error) if error.kind() == ErrorKind::NotFound => match declared.get(&gvk) {
                    Some(kind) => (kind.clone(), true),
                    None => {
                        let place = manifests
                            .iter()
                            .find(|object| object.gvk() == gvk)
                            .and_then(|object| object.origin().map(|origin| format!("{origin}: ")))
                            .unwrap_or_default();
                        return Err(Error::invalid(format!(
                            "{place}the cluster does not serve {gvk}, and no CRD of the same manifests does"
                        ))
                        .with_source(error));
                    }
                },
                Err(error) => return Err(error.context(format!("find out about {gvk}"))),
            };
            kinds.insert(gvk, kind);
        }
        let mut seen: HashMap<ObjectId, String> = HashMap::with_capacity(manifests.len());
        let mut steps = Vec::with_capacity(manifests.len());
        let mut hooks = Vec::new();
        for (mut object, options) in manifests.into_ordered()? {
            let Some((kind, deferred)) = kinds.get(&object.gvk()).cloned() else {
                continue;
            };
            match kind.scope {
                Scope::Cluster => object.set_namespace(""),
                Scope::Namespaced if object.namespace().is_empty() => {
                    let namespace = match self.options.namespace.as_str() {
                        "" => "default",
                        namespace => namespace,
                    };
                    object.set_namespace(namespace);
                }
                Scope::Namespaced => {}
            }
            let place = object.origin().map(ToString::to_string).unwrap_or_default();
            let id = object.id();
            if let Some(other) = seen.insert(id.clone(), place.clone()) {
                return Err(Error::invalid(format!(
                    "{id} appears twice: at {other} and at {place}"
                )));
            }
            let hook = options.is_hook();
            if !hook {
                object.set_label(PART_OF_LABEL, self.set.id());
            }
            let step = Step {
                digest: desired_digest(&object),
                id,
                action: PlanAction::Create,
                reason: String::new(),
                desired: Some(object),
                options,
                kind,
                deferred,
                live: None,
            };
            if hook {
                hooks.push(step)
            } else {
                steps.push(step)
            }
        }
        Ok((steps, hooks))
    }

    /// What the inventory has and the manifests do not name, with its kind as served now.
    pub(super) async fn gone(&self, steps: &[Step], inventory: &Inventory) -> Result<Vec<Step>> {
        let wanted: BTreeSet<&ObjectId> = steps.iter().map(|step| &step.id).collect();
        let mut kinds: BTreeMap<GroupKind, Option<ApiKind>> = BTreeMap::new();
        let entries = || inventory.iter().filter(|entry| !wanted.contains(&entry.id));
        for entry in entries() {
            let group_kind = entry.id.group_kind();
            if !kinds.contains_key(&group_kind) {
                let gvk =
                    GroupVersionKind::new(&*group_kind.group, &*entry.version, &*group_kind.kind);
                let found = match self.cluster.resolve(&gvk).await {
                    Ok(kind) => Some(kind),
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        match self.cluster.resolve_any(&group_kind).await {
                            Ok(kind) => Some(kind),
                            Err(error) if error.kind() == ErrorKind::NotFound => None,
                            Err(error) => return Err(error),
                        }
                    }
                    Err(error) => return Err(error),
                };
                kinds.insert(group_kind.clone(), found);
            }
        }
        let missing = kinds
            .iter()
            .filter(|(_, kind)| kind.is_none())
            .map(|(group_kind, _)| group_kind.clone())
            .collect();
        let doubts = removed::doubts(self.cluster, missing).await?;
        let mut gone = Vec::new();
        for entry in entries() {
            let group_kind = entry.id.group_kind();
            let (kind, deferred, reason) = match (kinds.get(&group_kind), doubts.get(&group_kind)) {
                (Some(Some(kind)), _) => (kind.clone(), false, String::new()),
                (_, Some(doubt)) => (unserved(entry), true, doubt.clone()),
                // A kind that was removed has no objects left; its entries go when the inventory is written next.
                _ => continue,
            };
            gone.push(Step {
                id: entry.id.clone(),
                action: PlanAction::Keep,
                reason,
                desired: None,
                options: ObjectOptions::default(),
                kind,
                deferred,
                digest: String::new(),
                live: None,
            });
        }
        Ok(gone)
    }
}

/// The kind of an entry as far as it is known while the cluster does not serve it.
fn unserved(entry: &InventoryEntry) -> ApiKind {
    ApiKind {
        gvk: GroupVersionKind::new(&*entry.id.group, &*entry.version, &*entry.id.kind),
        plural: String::new(),
        scope: match entry.id.namespace.as_str() {
            "" => Scope::Cluster,
            _ => Scope::Namespaced,
        },
        verbs: Vec::new(),
    }
}

/// The kinds that CRDs among the manifests will serve.
fn declared_kinds(manifests: &ManifestSet) -> HashMap<GroupVersionKind, ApiKind> {
    let mut kinds = HashMap::new();
    for object in manifests
        .iter()
        .filter(|object| object.kind() == "CustomResourceDefinition")
    {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
        };
        let (group, kind, plural) = (
            text("/spec/group"),
            text("/spec/names/kind"),
            text("/spec/names/plural"),
        );
        let scope = match text("/spec/scope") {
            "Namespaced" => Scope::Namespaced,
            _ => Scope::Cluster,
        };
        let versions = object
            .pointer("/spec/versions")
            .and_then(|value| value.as_array());
        for version in versions
            .into_iter()
            .flatten()
            .filter_map(|version| version.get("name")?.as_str())
        {
            let gvk = GroupVersionKind::new(group, version, kind);
            kinds.insert(
                gvk.clone(),
                ApiKind {
                    gvk,
                    plural: plural.to_owned(),
                    scope,
                    verbs: Vec::new(),
                },
            );
        }
    }
    kinds
}
