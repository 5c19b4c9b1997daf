//! Telling a kind that was removed from one that is only away for now.
//!
//! Discovery leaves out what it cannot reach: the kinds of an API server behind an `APIService` that is down, and those of a CRD that is not
//! established or is being deleted. Their objects are still stored. A kind is known to be removed only when no CRD declares it and no
//! `APIService` that is down serves its group (Kubernetes 1.34, API aggregation and CustomResourceDefinitions).

use std::collections::{BTreeMap, BTreeSet};

use gitops_core::manifest::{GroupKind, Object};
use gitops_core::{ErrorKind, Result, ResultExt};
use serde_json::Value;

use crate::cluster::{Cluster, ListParams};

/// CRDs are large: few at a time.
const PAGE: u32 = 50;

/// Why objects of these kinds, which discovery does not name, may still be there. A kind that is known to be removed is left out.
pub(super) async fn doubts(
    cluster: &dyn Cluster,
    missing: BTreeSet<GroupKind>,
) -> Result<BTreeMap<GroupKind, String>> {
    let mut doubts = BTreeMap::new();
    if missing.is_empty() {
        return Ok(doubts);
    }
    let crds = GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition");
    let services = GroupKind::new("apiregistration.k8s.io", "APIService");
    let declared = list(cluster, &crds, |crd| {
        let text = |pointer| crd.pointer(pointer).and_then(Value::as_str);
        let kind = GroupKind::new(text("/spec/group")?, text("/spec/names/kind")?);
        Some((kind, crd.name().to_owned()))
    })
    .await?;
    let down = list(cluster, &services, |service| {
        // Without a service the API server serves the group itself.
        service
            .pointer("/spec/service")
            .filter(|at| !at.is_null())?;
        let group = service.pointer("/spec/group").and_then(Value::as_str)?;
        (!is_available(service)).then(|| (group.to_owned(), service.name().to_owned()))
    })
    .await?;
    for kind in missing {
        let doubt = match (&declared, &down) {
            (Some(declared), _) if declared.contains_key(&kind) => {
                format!("the cluster does not serve its kind now, but CRD {} declares it", declared[&kind])
            }
            (_, Some(down)) if down.contains_key(&*kind.group) => {
                format!("the cluster does not serve its kind now: APIService {} is not available", down[&*kind.group])
            }
            (Some(_), Some(_)) => continue,
            _ => "the cluster does not serve its kind now, and whether it was removed cannot be told: listing CRDs or APIServices is forbidden".to_owned(),
        };
        doubts.insert(kind, doubt);
    }
    Ok(doubts)
}

fn is_available(service: &Object) -> bool {
    service
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition["type"] == "Available" && condition["status"] == "True")
        })
}

/// What `pick` takes of all objects of `kind`; `None` when reading them is forbidden.
async fn list<K: Ord>(
    cluster: &dyn Cluster,
    kind: &GroupKind,
    pick: impl Fn(&Object) -> Option<(K, String)> + Send + Sync,
) -> Result<Option<BTreeMap<K, String>>> {
    let served = match cluster.resolve_any(kind).await {
        Ok(served) => served,
        // A server without them has no such objects.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(BTreeMap::new())),
        Err(error) => return Err(error.context(format!("find out about {kind}"))),
    };
    let mut params = ListParams {
        limit: Some(PAGE),
        ..ListParams::default()
    };
    let mut found = BTreeMap::new();
    loop {
        let page = match cluster.list(&served, &params).await {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
            page => page.context(|| format!("list {kind}"))?,
        };
        found.extend(page.items.iter().filter_map(&pick));
        match page.continue_token {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(Some(found)),
        }
    }
}
