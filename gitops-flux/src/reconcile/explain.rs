//! What holds an object up: which of the objects that it applied are not ready and why, which dependency, which source.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures::{StreamExt as _, stream};
use gitops_core::application::{Health, HealthStatus};
use gitops_core::manifest::{GroupVersionKind, Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::{ApiKind, Cluster as _, ListParams, ObjectKey};
use gitops_kube::health::pods;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::options::said;
use super::state::{State, Truth, text};
use super::verdict::{Expectation, Verdict, verdict};
use super::{dependencies_of, source_of};
use crate::FluxKind;
use crate::manager::{FluxManager, FluxRef};
use crate::types::InventoryEntry;
use crate::view::line;

/// Up to so many objects of a kind are read one by one; above, they are listed by their owner's labels.
const ONE_BY_ONE: usize = 3;
/// So many requests run at once.
const AT_ONCE: usize = 8;
/// `Display` names so many objects; the rest is counted.
const NAMED: usize = 5;
/// Pods of a workload that are looked at.
const PODS: u32 = 100;
/// Kinds that are well once they are there: of them no more is read than that they are. An empty kind means all of the group.
const BARE: [(&str, &str); 4] = [
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "ServiceAccount"),
    ("rbac.authorization.k8s.io", ""),
];

/// What holds an object up. `Display` gives it on one line.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The objects that it applied, or whose health it checks, that are not healthy; the worst first.
    pub objects: Vec<NotReady>,
    /// How many objects were looked at.
    pub looked_at: usize,
    /// What it depends on that is not ready, and why; only where it says that it waits for that.
    pub dependencies: Vec<(FluxRef, String)>,
    /// Its source, and what is wrong with it; only where it says that it waits for that.
    pub source: Option<(FluxRef, String)>,
    /// What could not be looked at, and why.
    pub unread: Vec<String>,
}

/// An object that is not healthy.
#[derive(Clone, Debug, PartialEq)]
pub struct NotReady {
    /// Which one.
    pub id: ObjectId,
    /// How it is. Where a workload's pods say why, the message is theirs.
    pub health: Health,
}

impl Explanation {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
            && self.dependencies.is_empty()
            && self.source.is_none()
            && self.unread.is_empty()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        for (object, why) in self.source.iter().chain(&self.dependencies) {
            parts.push(format!("{object} is not ready: {why}"));
        }
        for not_ready in self.objects.iter().take(NAMED) {
            let mut part = format!("{} is {}", not_ready.id, not_ready.health.status);
            if !not_ready.health.message.is_empty() {
                part.push_str(&format!(": {}", line(&not_ready.health.message)));
            }
            parts.push(part);
        }
        if self.objects.len() > NAMED {
            parts.push(format!(
                "and {} more objects are not healthy",
                self.objects.len() - NAMED
            ));
        }
        parts.extend(self.unread.iter().take(NAMED).cloned());
        f.write_str(&parts.join("; "))
    }
}

impl FluxManager {
    /// Says what holds an object up. It looks at the live objects of a Kustomization's inventory and health checks (one list per kind, with more than a few of it), or at the workloads of a
    /// HelmRelease; at pods where they explain their workload; and, where the object waits for them, at its dependencies and its source. It changes nothing.
    ///
    /// Of ConfigMaps, Secrets, ServiceAccounts and RBAC, which are well once they are there, it asks for metadata only, and goes without where it may not read them; unless
    /// [`with_health`](Self::with_health) has a rule for them. What else cannot be read, for want of rights for example, is told in the answer.
    ///
    /// # Errors
    /// Those of reading the object itself.
    pub async fn explain(&self, object: &FluxRef) -> Result<Explanation> {
        let object = self.resolve(object);
        let value = self.get_value(&object).await?;
        let mut explanation = Explanation::default();
        self.explain_into(&object, &value, &mut explanation).await;
        Ok(explanation)
    }

    /// Adds to an explanation what is found out. Dropping the future leaves what was found until then.
    pub(super) async fn explain_into(
        &self,
        object: &FluxRef,
        value: &Value,
        explanation: &mut Explanation,
    ) {
        let state = State::of(value);
        let ready = state.condition("Ready");
        let reason = ready
            .filter(|ready| ready.status == Truth::False)
            .map_or("", |ready| ready.reason.as_str());
        match reason {
            "DependencyNotReady" => {
                explanation.dependencies = self.unready_dependencies(object.kind, value).await;
            }
            "ArtifactFailed" | "SourceNotReady" | "NoSourceArtifact" | "SourceUnavailable" => {
                explanation.source = self.unready_source(value).await;
            }
            // What is live is of another revision than the one that failed.
            "BuildFailed" => {}
            _ => self.look_at_objects(object, value, explanation).await,
        }
    }

    async fn unready_dependencies(&self, kind: FluxKind, value: &Value) -> Vec<(FluxRef, String)> {
        let mut unready = Vec::new();
        for dependency in dependencies_of(kind, value) {
            if let Some(why) = self.why_unready(&dependency).await {
                unready.push((dependency, why));
            }
        }
        unready
    }

    async fn unready_source(&self, value: &Value) -> Option<(FluxRef, String)> {
        let source = source_of(value)?;
        let why = self.why_unready(&source).await?;
        Some((source, why))
    }

    async fn why_unready(&self, object: &FluxRef) -> Option<String> {
        let value = match self.find_value(object).await {
            Ok(Some(value)) => value,
            Ok(None) => return Some("it does not exist".to_owned()),
            Err(error) => return Some(format!("it cannot be read: {error}")),
        };
        match verdict(&State::of(&value), &Expectation::default()) {
            Verdict::Done { .. } => None,
            Verdict::Pending {
                reason, message, ..
            } => Some(said(&reason, &message)),
            Verdict::Doubtful(failure) | Verdict::Failed(failure) => {
                Some(said(&failure.reason, &failure.message))
            }
        }
    }

    async fn look_at_objects(
        &self,
        object: &FluxRef,
        value: &Value,
        explanation: &mut Explanation,
    ) {
        let targets = match object.kind {
            FluxKind::Kustomization | FluxKind::HelmRelease
                if value["spec"]["kubeConfig"].is_object() =>
            {
                explanation
                    .unread
                    .push("its objects are in another cluster (spec.kubeConfig)".to_owned());
                return;
            }
            FluxKind::Kustomization => targets(object, value, &mut explanation.unread),
            FluxKind::HelmRelease => workloads(object, value),
            _ => return,
        };
        let permits = Semaphore::new(AT_ONCE);
        // Collected first, so that the whole can be sent to another thread.
        let looks: Vec<_> = targets
            .iter()
            .map(|target| self.look(target, &permits))
            .collect();
        let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some(look) = looks.next().await {
            explanation.looked_at += look.looked_at;
            explanation.objects.extend(look.unready);
            explanation.objects.sort_by(|a, b| {
                let key = |one: &NotReady| (std::cmp::Reverse(one.health.status), one.id.clone());
                key(a).cmp(&key(b))
            });
            explanation.unread.extend(look.unread);
        }
    }

    /// The objects of one kind.
    async fn look(&self, target: &Target, permits: &Semaphore) -> Look {
        let mut look = Look::default();
        let unread = |error: &Error| {
            let why = line(&error.to_string());
            Some(format!("{} cannot be read: {why}", target.gvk.kind))
        };
        let kind = match self.cluster.resolve(&target.gvk).await {
            Ok(kind) => kind,
            Err(error) => {
                look.unread = unread(&error);
                return look;
            }
        };
        let kind = &kind;
        let bare = self.is_bare(kind);
        // Whoever may not read those misses nothing that could say why.
        let matters = |error: &Error| !bare || error.kind() != ErrorKind::PermissionDenied;
        let mut live: BTreeMap<ObjectId, Object> = BTreeMap::new();
        if target.ids.is_empty() || target.ids.len() > ONE_BY_ONE {
            let listed = self.labelled(kind, target, bare, permits, &mut live).await;
            if let Err(error) = listed {
                look.unread = unread(&error).filter(|_| matters(&error));
                return look;
            }
        }
        let reads: Vec<_> = target
            .ids
            .iter()
            .filter(|id| !live.contains_key(id))
            .map(|id| async move {
                let _permit = permits.acquire().await;
                (id, self.read_one(kind, id, bare).await)
            })
            .collect();
        let mut reads = stream::iter(reads).buffer_unordered(AT_ONCE);
        while let Some((id, read)) = reads.next().await {
            match read {
                Ok(Some(object)) => {
                    live.insert(id.clone(), object);
                }
                Ok(None) => {
                    look.looked_at += 1;
                    look.unready.push(NotReady {
                        id: id.clone(),
                        health: Health::new(HealthStatus::Missing, "it is not there"),
                    });
                }
                Err(error) if matters(&error) => look.unread = unread(&error),
                Err(_) => {}
            }
        }
        look.looked_at += live.len();
        for object in live.values() {
            let mut health = self.health.assess(object);
            if matches!(
                health.status,
                HealthStatus::Healthy | HealthStatus::Suspended
            ) {
                continue;
            }
            if let Some(theirs) = self.ask_pods(object).await {
                health = theirs;
            }
            look.unready.push(NotReady {
                id: object.id(),
                health,
            });
        }
        look
    }

    /// Whether an object of this kind is well once it is there.
    fn is_bare(&self, kind: &ApiKind) -> bool {
        let own = kind.group_kind();
        !self.health.has_rule(&own)
            && BARE
                .iter()
                .any(|(group, kind)| *group == own.group && (kind.is_empty() || *kind == own.kind))
    }

    /// Reads an object; a bare one without its content.
    async fn read_one(&self, kind: &ApiKind, id: &ObjectId, bare: bool) -> Result<Option<Object>> {
        if !bare {
            let key = ObjectKey {
                kind,
                namespace: &id.namespace,
                name: &id.name,
            };
            return self.cluster.get(key).await;
        }
        let params = ListParams {
            namespace: Some(id.namespace.clone()),
            fields: Some(format!("metadata.name={}", id.name)),
            metadata_only: true,
            ..ListParams::default()
        };
        let found = self.cluster.list(kind, &params).await?.items;
        Ok(found.into_iter().find(|object| object.id() == *id))
    }

    /// Lists the objects with the owner's labels, a page at a time; those that nobody asked about are dropped.
    async fn labelled(
        &self,
        kind: &ApiKind,
        target: &Target,
        bare: bool,
        permits: &Semaphore,
        live: &mut BTreeMap<ObjectId, Object>,
    ) -> Result<()> {
        let namespaces: BTreeSet<&str> = target
            .ids
            .iter()
            .map(|id| id.namespace.as_str())
            .chain(target.namespace.as_deref())
            .collect();
        let mut params = ListParams {
            namespace: match namespaces.first() {
                Some(only) if namespaces.len() == 1 && !only.is_empty() => Some((*only).to_owned()),
                _ => None,
            },
            labels: Some(target.labels.clone()),
            limit: Some(500),
            metadata_only: bare,
            ..ListParams::default()
        };
        loop {
            let page = {
                let _permit = permits.acquire().await;
                self.cluster.list(kind, &params).await?
            };
            for object in page.items {
                let id = object.id();
                if target.ids.is_empty() || target.ids.contains(&id) {
                    live.insert(id, object);
                }
            }
            match page.continue_token {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(()),
            }
        }
    }

    /// What a workload's pods say of it.
    async fn ask_pods(&self, workload: &Object) -> Option<Health> {
        let selector = pods::selector(workload)?;
        let kind = self
            .cluster
            .resolve(&GroupVersionKind::new("", "v1", "Pod"))
            .await
            .ok()?;
        let params = ListParams {
            namespace: Some(workload.namespace().to_owned()),
            labels: Some(selector),
            limit: Some(PODS),
            ..ListParams::default()
        };
        let found = self.cluster.list(&kind, &params).await.ok()?;
        pods::explain(workload, &found.items)
    }
}

/// What was seen of one kind.
#[derive(Default)]
struct Look {
    looked_at: usize,
    unready: Vec<NotReady>,
    unread: Option<String>,
}

/// Objects of one kind to look at.
struct Target {
    gvk: GroupVersionKind,
    /// Which; empty means all with the labels.
    ids: BTreeSet<ObjectId>,
    /// The owner's labels.
    labels: String,
    /// Where they are, when they are not named.
    namespace: Option<String>,
}

/// What a Kustomization applied and what it checks.
fn targets(object: &FluxRef, value: &Value, unread: &mut Vec<String>) -> Vec<Target> {
    let labels = owner("kustomize.toolkit.fluxcd.io", object);
    let mut kinds: BTreeMap<(String, String, String), BTreeSet<ObjectId>> = BTreeMap::new();
    let mut add = |id: ObjectId, version: &str| {
        let key = (id.group.clone(), version.to_owned(), id.kind.clone());
        kinds.entry(key).or_default().insert(id);
    };
    let entries = value.pointer("/status/inventory/entries");
    for entry in entries.and_then(Value::as_array).into_iter().flatten() {
        let entry = InventoryEntry {
            id: text(entry, "/id").unwrap_or_default(),
            version: text(entry, "/v").unwrap_or_default(),
        };
        match entry.object_id() {
            Ok(id) => add(id, &entry.version),
            Err(error) => unread.push(line(&error.to_string())),
        }
    }
    let checks = value.pointer("/spec/healthChecks");
    for check in checks.and_then(Value::as_array).into_iter().flatten() {
        let api_version = text(check, "/apiVersion").unwrap_or_default();
        let gvk = GroupVersionKind::from_api_version(
            &api_version,
            &text(check, "/kind").unwrap_or_default(),
        );
        let Some(name) = text(check, "/name") else {
            continue;
        };
        let namespace = text(check, "/namespace").unwrap_or_default();
        add(
            ObjectId::new(&*gvk.group, &*gvk.kind, namespace, name),
            &gvk.version,
        );
    }
    kinds
        .into_iter()
        .map(|((group, version, kind), ids)| Target {
            gvk: GroupVersionKind::new(group, version, kind),
            ids,
            labels: labels.clone(),
            namespace: None,
        })
        .collect()
}

/// The workloads of a HelmRelease, which keeps no inventory (helm-controller 1.4): it labels what it applies.
fn workloads(object: &FluxRef, value: &Value) -> Vec<Target> {
    let namespace =
        text(value, "/spec/targetNamespace").unwrap_or_else(|| object.namespace.clone());
    [
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("batch", "Job"),
    ]
    .into_iter()
    .map(|(group, kind)| Target {
        gvk: GroupVersionKind::new(group, "v1", kind),
        ids: BTreeSet::new(),
        labels: owner("helm.toolkit.fluxcd.io", object),
        namespace: Some(namespace.clone()),
    })
    .collect()
}

fn owner(group: &str, object: &FluxRef) -> String {
    format!(
        "{group}/name={},{group}/namespace={}",
        object.name, object.namespace
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_are_the_inventory_and_the_health_checks() {
        let object = FluxRef::new(FluxKind::Kustomization, "flux-system", "app");
        let value = json!({
            "spec": {"healthChecks": [
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "b", "namespace": "default"},
                {"apiVersion": "v1", "kind": "Pod"},
            ]},
            "status": {"inventory": {"entries": [
                {"id": "default_a_apps_Deployment", "v": "v1"},
                {"id": "_app__reader_rbac.authorization.k8s.io_ClusterRole", "v": "v1"},
                {"id": "broken", "v": "v1"}, 7,
            ]}},
        });
        let mut unread = Vec::new();
        let found: Vec<String> = targets(&object, &value, &mut unread)
            .iter()
            .map(|target| {
                let ids: Vec<String> = target.ids.iter().map(ObjectId::to_string).collect();
                format!("{}: {}", target.gvk.api_version(), ids.join(", "))
            })
            .collect();
        assert_eq!(
            found,
            [
                "apps/v1: Deployment.apps default/a, Deployment.apps default/b",
                "rbac.authorization.k8s.io/v1: ClusterRole.rbac.authorization.k8s.io app:reader",
            ]
        );
        assert_eq!(unread.len(), 2, "{unread:?}");
    }

    #[test]
    fn an_explanation_is_one_line_and_counts_the_rest() {
        let mut explanation = Explanation::default();
        assert!(explanation.is_empty());
        for index in 0..7 {
            explanation.objects.push(NotReady {
                id: ObjectId::new("apps", "Deployment", "default", format!("web-{index}")),
                health: Health::new(HealthStatus::Degraded, "no\nimage"),
            });
        }
        let told = explanation.to_string();
        assert!(
            told.starts_with("Deployment.apps default/web-0 is Degraded: no image; "),
            "{told}"
        );
        assert!(
            told.ends_with("and 2 more objects are not healthy"),
            "{told}"
        );
    }
}
