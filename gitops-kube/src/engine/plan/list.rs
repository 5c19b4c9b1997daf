//! Reading what lives in the cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::FutureExt;
use gitops_core::manifest::{GroupVersionKind, Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result, ResultExt};

use super::live::Live;
use super::{Planner, Step};
use crate::cluster::{ApiKind, ListParams, ObjectKey};
use crate::engine::applyset::PART_OF_LABEL;
use crate::engine::inventory::Inventory;
use crate::engine::{concurrent, owner};

/// Lists are read in pages of this many objects, so that memory does not grow with the cluster.
const PAGE: u32 = 250;
impl Planner<'_> {
    /// One labelled LIST per kind, all at once; per namespace where the cluster-wide one is forbidden.
    pub(super) async fn list(
        &self,
        steps: &[Step],
        gone: &[Step],
        inventory: &Inventory,
    ) -> Result<HashMap<ObjectId, Live>> {
        let mut wanted: BTreeMap<GroupVersionKind, (ApiKind, BTreeSet<String>)> = BTreeMap::new();
        // A set that was never written has no members: nothing to look for, unless an inventory was lost, and then apply takes them over.
        if !inventory.exists() {
            return Ok(HashMap::new());
        }
        for step in steps.iter().chain(gone).filter(|step| !step.deferred) {
            let (_, namespaces) = wanted
                .entry(step.kind.gvk.clone())
                .or_insert_with(|| (step.kind.clone(), BTreeSet::new()));
            namespaces.insert(step.id.namespace.clone());
        }
        let lists = wanted
            .into_values()
            .map(|(kind, namespaces)| self.list_kind(kind, namespaces, inventory).boxed())
            .collect();
        let mut all = HashMap::new();
        for found in concurrent::run(self.options.concurrency, lists).await {
            all.extend(found?);
        }
        Ok(all)
    }

    async fn list_kind(
        &self,
        kind: ApiKind,
        mut namespaces: BTreeSet<String>,
        inventory: &Inventory,
    ) -> Result<Vec<(ObjectId, Live)>> {
        match self.pages(&kind, None).await {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && kind.is_namespaced() => {
                let known = inventory
                    .iter()
                    .filter(|entry| entry.id.group_kind() == kind.group_kind());
                namespaces.extend(known.map(|entry| entry.id.namespace.clone()));
                let mut live = Vec::new();
                for namespace in &namespaces {
                    live.extend(self.pages(&kind, Some(namespace)).await?);
                }
                Ok(live)
            }
            other => other,
        }
    }

    async fn pages(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
    ) -> Result<Vec<(ObjectId, Live)>> {
        let mut params = ListParams {
            namespace: namespace.map(str::to_owned),
            labels: Some(self.set.selector()),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut live = Vec::new();
        let mut restarts = 0;
        loop {
            let page = self.cluster.list(kind, &params).await;
            let page = match page {
                // The continue token grew too old: begin again.
                Err(error)
                    if error.kind() == ErrorKind::Conflict
                        && params.continue_token.is_some()
                        && restarts < 3 =>
                {
                    restarts += 1;
                    params.continue_token = None;
                    live.clear();
                    continue;
                }
                other => other.context(|| match namespace {
                    Some(namespace) => {
                        format!("list {} in namespace {namespace}", kind.group_kind())
                    }
                    None => format!("list {}", kind.group_kind()),
                })?,
            };
            live.extend(
                page.items
                    .into_iter()
                    .map(|object| (object.id(), self.live(object))),
            );
            match page.continue_token {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(live),
            }
        }
    }

    /// Reads one by one what no labelled list found.
    pub(super) async fn look_up(
        &self,
        steps: &mut [Step],
        wanted: impl Fn(&ObjectId) -> bool,
    ) -> Result<()> {
        let missing = steps
            .iter_mut()
            .filter(|step| step.live.is_none() && !step.deferred && wanted(&step.id))
            .map(|step| self.look_up_one(step).boxed())
            .collect();
        concurrent::run(self.options.concurrency, missing)
            .await
            .into_iter()
            .collect()
    }

    /// What the plan keeps of `object`: the object itself only where it is needed.
    fn live(&self, object: Object) -> Live {
        let keep = self.plan.keep_live || self.concerned(&object.id());
        Live::of(object, self.set, self.health, keep)
    }

    /// Whether some of what differs in the object of this identity is ignored.
    pub(super) fn concerned(&self, id: &ObjectId) -> bool {
        !self.ignore.is_empty() && self.ignore.concern(id)
    }

    async fn look_up_one(&self, step: &mut Step) -> Result<()> {
        let key = ObjectKey {
            kind: &step.kind,
            namespace: &step.id.namespace,
            name: &step.id.name,
        };
        let Some(object) = self.cluster.get(key).await? else {
            return Ok(());
        };
        if let Some(other) = object.label(PART_OF_LABEL)
            && other != self.set.id()
            && !self.options.adopt
        {
            return Err(claimed(&step.id, &object, other));
        }
        step.live = Some(self.live(object));
        Ok(())
    }
}

/// The error for an object that another ApplySet claims.
pub(in crate::engine) fn claimed(id: &ObjectId, object: &Object, other: &str) -> Error {
    let manager = owner::label_owner(object, PART_OF_LABEL).unwrap_or("an unknown field manager");
    Error::conflict(format!(
        "{id} belongs to another application already: ApplySet {other}, field manager {manager:?}"
    ))
}
