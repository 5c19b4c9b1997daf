//! Waiting until objects are healthy, or gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use gitops_core::application::{Health, HealthStatus};
use gitops_core::backend::EventKind;
use gitops_core::manifest::{GroupVersionKind, Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result};

use super::applyset::ApplySet;
use super::execute::summary;
use super::plan::Step;
use super::progress::Progress;
use crate::cluster::{ApiKind, Cluster, ListParams, ObjectKey};
use crate::health::{HealthRules, pods};

const FIRST_POLL: Duration = Duration::from_millis(100);
const SLOWEST_POLL: Duration = Duration::from_secs(2);
/// Up to so many objects are read one by one; above, their kinds are listed.
const ONE_BY_ONE: usize = 8;

pub(super) struct Waiter<'a> {
    pub(super) cluster: &'a dyn Cluster,
    pub(super) health: &'a HealthRules,
    pub(super) set: &'a ApplySet,
    pub(super) progress: &'a dyn Progress,
}

impl Waiter<'_> {
    /// Waits until all `members`, whose last known health is given, are healthy, and gives the health of each.
    ///
    /// Suspended counts as arrived: it waits on purpose.
    ///
    /// # Errors
    /// `Timeout`, or `Failed` when something is degraded and `fail_fast` is on; both name the objects and what holds them up.
    pub(super) async fn wait(
        &self,
        steps: &[Step],
        members: &[(ObjectId, Health)],
        timeout: Duration,
        fail_fast: bool,
    ) -> Result<HashMap<ObjectId, Health>> {
        let mut states: HashMap<ObjectId, Health> = members.iter().cloned().collect();
        let kinds: HashMap<&ObjectId, (&ApiKind, bool)> = steps
            .iter()
            .map(|step| (&step.id, (&step.kind, step.options.ignore_health)))
            .collect();
        let mut pending: BTreeSet<ObjectId> = members
            .iter()
            .filter(|(id, health)| {
                !arrived(health) && kinds.get(id).is_some_and(|(_, ignore)| !ignore)
            })
            .map(|(id, _)| id.clone())
            .collect();
        let deadline = tokio::time::Instant::now() + timeout;
        let mut pause = FIRST_POLL;
        while !pending.is_empty() {
            tokio::time::sleep_until((tokio::time::Instant::now() + pause).min(deadline)).await;
            pause = (pause * 3 / 2).min(SLOWEST_POLL);
            let seen = self.poll(&pending, &kinds).await?;
            for id in pending.clone() {
                let health = match seen.get(&id) {
                    Some(object) => self.assess(object).await?,
                    None => Health::new(HealthStatus::Missing, "it is not there"),
                };
                if states.get(&id) != Some(&health) {
                    self.progress.event(EventKind::HealthChanged {
                        id: id.clone(),
                        health: health.clone(),
                    });
                }
                if arrived(&health) {
                    pending.remove(&id);
                }
                states.insert(id, health);
            }
            let degraded = pending.iter().any(|id| {
                states
                    .get(id)
                    .is_some_and(|health| health.status == HealthStatus::Degraded)
            });
            if fail_fast && degraded {
                return Err(Error::failed(self.tell(
                    "are not healthy",
                    &pending,
                    &states,
                )));
            }
            if !pending.is_empty() && tokio::time::Instant::now() >= deadline {
                return Err(Error::timeout(self.tell(
                    &format!("were not healthy within {timeout:?}"),
                    &pending,
                    &states,
                )));
            }
        }
        Ok(states)
    }

    /// Waits until the live objects of `steps` are gone, and gives what is still there when the time is up. They are looked at once at least.
    pub(super) async fn until_gone(
        &self,
        steps: &[&Step],
        timeout: Duration,
    ) -> Result<BTreeMap<ObjectId, Object>> {
        let kinds: HashMap<&ObjectId, (&ApiKind, bool)> = steps
            .iter()
            .map(|step| (&step.id, (&step.kind, false)))
            .collect();
        let uids: HashMap<&ObjectId, &str> = steps
            .iter()
            .filter_map(|step| Some((&step.id, step.live.as_ref()?.uid.as_str())))
            .collect();
        let mut pending: BTreeSet<ObjectId> = steps.iter().map(|step| step.id.clone()).collect();
        let deadline = tokio::time::Instant::now() + timeout;
        let mut pause = FIRST_POLL;
        loop {
            let left: BTreeMap<ObjectId, Object> = self
                .poll(&pending, &kinds)
                .await?
                .into_iter()
                // One with another UID is somebody else's.
                .filter(|(id, object)| {
                    pending.contains(id) && uids.get(id).is_some_and(|uid| object.uid() == *uid)
                })
                .collect();
            if left.is_empty() || tokio::time::Instant::now() >= deadline {
                return Ok(left);
            }
            pending = left.into_keys().collect();
            tokio::time::sleep_until((tokio::time::Instant::now() + pause).min(deadline)).await;
            pause = (pause * 3 / 2).min(SLOWEST_POLL);
        }
    }

    fn tell(
        &self,
        what: &str,
        pending: &BTreeSet<ObjectId>,
        states: &HashMap<ObjectId, Health>,
    ) -> String {
        let mut rows: Vec<(HealthStatus, String)> = pending
            .iter()
            .filter_map(|id| {
                let health = states.get(id)?;
                let mut row = format!("{id} is {}", health.status);
                if !health.message.is_empty() {
                    row.push_str(": ");
                    row.push_str(&health.message);
                }
                Some((health.status, row))
            })
            .collect();
        // The worst first: it is what holds the others up.
        rows.sort_by(|a, b| b.cmp(a));
        let rows: Vec<String> = rows.into_iter().map(|(_, row)| row).collect();
        summary(what, &rows)
    }

    async fn poll(
        &self,
        pending: &BTreeSet<ObjectId>,
        kinds: &HashMap<&ObjectId, (&ApiKind, bool)>,
    ) -> Result<HashMap<ObjectId, Object>> {
        let mut seen = HashMap::new();
        if pending.len() <= ONE_BY_ONE {
            for id in pending {
                let Some((kind, _)) = kinds.get(id) else {
                    continue;
                };
                let key = ObjectKey {
                    kind,
                    namespace: &id.namespace,
                    name: &id.name,
                };
                if let Some(object) = self.cluster.get(key).await? {
                    seen.insert(id.clone(), object);
                }
            }
            return Ok(seen);
        }
        let mut lists: BTreeMap<GroupVersionKind, (&ApiKind, BTreeSet<&str>)> = BTreeMap::new();
        for id in pending {
            if let Some((kind, _)) = kinds.get(id) {
                let (_, namespaces) = lists
                    .entry(kind.gvk.clone())
                    .or_insert_with(|| (kind, BTreeSet::new()));
                namespaces.insert(&id.namespace);
            }
        }
        for (kind, namespaces) in lists.into_values() {
            let found = match self.list(kind, None).await {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    let mut found = Vec::new();
                    for namespace in namespaces {
                        found.extend(self.list(kind, Some(namespace)).await?);
                    }
                    found
                }
                other => other?,
            };
            seen.extend(found.into_iter().map(|object| (object.id(), object)));
        }
        Ok(seen)
    }

    async fn list(&self, kind: &ApiKind, namespace: Option<&str>) -> Result<Vec<Object>> {
        let params = ListParams {
            namespace: namespace.map(str::to_owned),
            labels: Some(self.set.selector()),
            ..ListParams::default()
        };
        match self.cluster.list(kind, &params).await {
            Ok(list) => Ok(list.items),
            // Its CRD is gone, and the objects with it.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The health of `object`; of a workload that is not healthy, what its pods say.
    async fn assess(&self, object: &Object) -> Result<Health> {
        let health = self.health.assess(object);
        if arrived(&health) {
            return Ok(health);
        }
        let Some(selector) = pods::selector(object) else {
            return Ok(health);
        };
        let kind = ApiKind {
            gvk: GroupVersionKind::new("", "v1", "Pod"),
            plural: "pods".into(),
            scope: crate::cluster::Scope::Namespaced,
            verbs: Vec::new(),
        };
        let params = ListParams {
            namespace: Some(object.namespace().to_owned()),
            labels: Some(selector),
            ..ListParams::default()
        };
        match self.cluster.list(&kind, &params).await {
            Ok(pods) => Ok(pods::explain(object, &pods.items).unwrap_or(health)),
            // Reading pods is a courtesy: without the right to, the workload's own word has to do.
            Err(_) => Ok(health),
        }
    }
}

fn arrived(health: &Health) -> bool {
    matches!(
        health.status,
        HealthStatus::Healthy | HealthStatus::Suspended
    )
}
