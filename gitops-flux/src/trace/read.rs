//! Objects, read with few requests and kept without what nobody asks for: many of a kind by one list, a few one by one.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use gitops_core::manifest::{GroupKind, Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::{ApiKind, Cluster, ListParams, ObjectKey};

use super::Stage;
use crate::kind::FluxKind;
use crate::view;

/// So many objects of a kind are read one by one; more by a list.
const FEW: usize = 4;
/// How many are read at once.
const AT_ONCE: usize = 8;
/// Objects per page of a list.
const PAGE: u32 = 1_000;
/// How often a list begins again when its next page is no longer to be had.
const AGAIN: usize = 3;

pub(super) struct Reader<'a> {
    cluster: &'a dyn Cluster,
    kinds: BTreeMap<GroupKind, ApiKind>,
    listed: BTreeSet<GroupKind>,
    objects: BTreeMap<ObjectId, Option<Object>>,
    failed: BTreeMap<ObjectId, (ErrorKind, String)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(cluster: &'a dyn Cluster) -> Self {
        Self {
            cluster,
            kinds: BTreeMap::new(),
            listed: BTreeSet::new(),
            objects: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// Reads what is not known yet.
    pub(super) async fn read(&mut self, ids: impl IntoIterator<Item = ObjectId>) {
        let mut wanted: BTreeMap<GroupKind, BTreeSet<ObjectId>> = BTreeMap::new();
        for id in ids {
            if !self.objects.contains_key(&id) && !self.failed.contains_key(&id) {
                wanted.entry(id.group_kind()).or_default().insert(id);
            }
        }
        for (group_kind, ids) in wanted {
            match self.kind(&group_kind).await {
                Ok(kind) => self.read_kind(&kind, ids).await,
                Err(error) => {
                    for id in ids {
                        self.fail(id, &error);
                    }
                }
            }
        }
    }

    async fn kind(&mut self, wanted: &GroupKind) -> Result<ApiKind> {
        if let Some(kind) = self.kinds.get(wanted) {
            return Ok(kind.clone());
        }
        let kind = match FluxKind::of(&wanted.group, &wanted.kind) {
            Some(kind) => view::served(kind),
            None => self.cluster.resolve_any(wanted).await?,
        };
        self.kinds.insert(wanted.clone(), kind.clone());
        Ok(kind)
    }

    async fn read_kind(&mut self, kind: &ApiKind, ids: BTreeSet<ObjectId>) {
        // An owner may be cluster-scoped, which the reference does not tell.
        let real = |id: &ObjectId| ObjectId {
            namespace: if kind.is_namespaced() {
                id.namespace.clone()
            } else {
                String::new()
            },
            ..id.clone()
        };
        if ids.len() > FEW && self.listed.insert(kind.group_kind()) {
            let wanted: BTreeSet<ObjectId> = ids.iter().map(real).collect();
            match list(self.cluster, kind, &wanted).await {
                Ok(found) => {
                    for id in ids {
                        let object = found.get(&real(&id)).cloned();
                        self.objects.insert(id, object);
                    }
                    return;
                }
                // Who may not list may perhaps get.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => {
                    for id in ids {
                        self.fail(id, &error);
                    }
                    return;
                }
            }
        }
        let cluster = self.cluster;
        let mut answers = futures::stream::iter(ids)
            .map(|id| {
                let real = real(&id);
                async move {
                    let key = ObjectKey {
                        kind,
                        namespace: &real.namespace,
                        name: &real.name,
                    };
                    let answer = cluster.get(key).await;
                    (id, answer)
                }
            })
            .buffer_unordered(AT_ONCE);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(object) => {
                    self.objects.insert(id, object);
                }
                Err(error) => {
                    self.failed.insert(id, (error.kind(), error.to_string()));
                }
            }
        }
    }

    fn fail(&mut self, id: ObjectId, error: &Error) {
        self.failed.insert(id, (error.kind(), error.to_string()));
    }

    /// What was read of an object.
    pub(super) fn get(&self, id: &ObjectId) -> Result<Option<&Object>> {
        if let Some((kind, message)) = self.failed.get(id) {
            return Err(Error::new(*kind, message.clone()));
        }
        Ok(self.objects.get(id).and_then(Option::as_ref))
    }

    pub(super) fn stage(&self, id: &ObjectId) -> Stage {
        match self.get(id) {
            Ok(Some(object)) => Stage::of(object),
            Ok(None) => Stage::absent(id.clone(), "it does not exist"),
            Err(error) => Stage::absent(id.clone(), error.to_string()),
        }
    }
}

/// The wanted objects of a kind by one list, a page at a time: what is not wanted goes with its page. Of what is not Flux's, labels and owners are all that counts.
async fn list(
    cluster: &dyn Cluster,
    kind: &ApiKind,
    wanted: &BTreeSet<ObjectId>,
) -> Result<BTreeMap<ObjectId, Object>> {
    let mut namespaces: BTreeSet<&str> = wanted.iter().map(|id| id.namespace.as_str()).collect();
    let one = namespaces.pop_first().filter(|_| namespaces.is_empty());
    let mut params = ListParams {
        namespace: one
            .filter(|namespace| !namespace.is_empty())
            .map(str::to_owned),
        limit: Some(PAGE),
        metadata_only: !kind.gvk.group.ends_with(".toolkit.fluxcd.io"),
        ..ListParams::default()
    };
    let mut found = BTreeMap::new();
    let mut again = 0;
    loop {
        let page = match cluster.list(kind, &params).await {
            Ok(page) => page,
            Err(error)
                if error.kind() == ErrorKind::Conflict
                    && params.continue_token.is_some()
                    && again < AGAIN =>
            {
                params.continue_token = None;
                again += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        for object in page.items {
            let id = object.id();
            if wanted.contains(&id) {
                found.insert(id, object);
            }
        }
        match page.continue_token {
            Some(token) if found.len() < wanted.len() => params.continue_token = Some(token),
            _ => return Ok(found),
        }
    }
}
