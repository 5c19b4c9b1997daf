//! A cluster in memory, for tests and first steps.
//!
//! [`InMemoryCluster`] answers as an API server does, as far as an apply engine can tell. It is a declared subset:
//!
//! | it does | it does not |
//! | --- | --- |
//! | built-in kinds with their list keys, types and the defaults that matter; custom kinds by their definitions' schemas | admission webhooks and policies, quotas, RBAC, CEL rules, conversion webhooks |
//! | server-side apply with field owners, conflicts and removal; create, replace, merge and JSON patch; dry-run | strategic merge patch |
//! | label and field selectors, pages, watches, resource versions, preconditions | protobuf, tables, subresources other than status |
//! | finalizers, propagation, garbage collection, namespaces that go with their content | graceful termination of pods |
//! | workloads that get their pods and become ready, images that cannot be pulled | scheduling, networking, containers |
//!
//! The rules are those of Kubernetes 1.34 (apiserver, structured-merge-diff 6, kube-controller-manager); each module names its own. Types of
//! built-in kinds are those of the Kubernetes version that k8s-openapi is built for.
//!
//! No task runs in the background: its controllers do what is due before every request, and before a watch tells something. Time is
//! tokio's, so paused time works; [`advance`](InMemoryCluster::advance) moves this cluster's clock alone.
//!
//! ```
//! use gitops_core::manifest::{GroupVersionKind, Object};
//! use gitops_kube::cluster::{Cluster, InMemoryCluster, WriteParams};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> gitops_core::Result<()> {
//! let cluster = InMemoryCluster::new();
//! let kind = cluster.resolve(&GroupVersionKind::new("", "v1", "ConfigMap")).await?;
//! let object = Object::new(serde_json::json!({
//!     "apiVersion": "v1", "kind": "ConfigMap",
//!     "metadata": {"name": "settings", "namespace": "default"},
//!     "data": {"colour": "green"},
//! }), None)?;
//! let params = WriteParams { field_manager: "example".into(), ..WriteParams::default() };
//! let stored = cluster.apply(&kind, &object, &params).await?;
//! assert!(!stored.uid().is_empty());
//! # Ok(())
//! # }
//! ```

mod controllers;
mod defaults;
mod delete;
mod faults;
mod fields;
mod fieldset;
mod identity;
mod kinds;
mod managed;
mod merge;
mod messages;
mod openapi;
mod read;
mod schema;
mod secrets;
mod selector;
mod state;
mod validate;
mod write;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gitops_core::manifest::{GroupKind, GroupVersionKind, Object, ObjectId};
use gitops_core::{Error, Result};
use serde_json::Value;

pub use self::faults::{Fault, FaultAnswer, Requests, Verb};
use self::faults::{Faults, Pass};
use self::kinds::Kind;
use self::read::lock;
use self::state::State;
use self::write::Context;
use super::{
    ApiKind, Cluster, DeleteParams, FieldValidation, ListParams, ObjectKey, ObjectList, Patch,
    WatchEvent, WriteParams,
};

/// How an [`InMemoryCluster`] behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InMemoryOptions {
    /// From a pod's creation until it is ready (of a Job: until it has succeeded).
    pub ready_after: Duration,
    /// From a change until the controllers look at it. Status lags behind for so long.
    pub controller_delay: Duration,
    /// Images that cannot be pulled: their pods wait in `ImagePullBackOff`.
    pub unpullable: Vec<String>,
    /// Whether Services of type LoadBalancer and Ingresses get an address.
    pub load_balancers: bool,
    /// How many nodes there are (a DaemonSet has a pod on each).
    pub nodes: usize,
    /// Every request takes so long.
    pub latency: Duration,
    /// How many changes are remembered for watches and continue tokens.
    pub history: usize,
}

impl Default for InMemoryOptions {
    fn default() -> Self {
        Self {
            ready_after: Duration::from_millis(50),
            controller_delay: Duration::ZERO,
            unpullable: Vec::new(),
            load_balancers: true,
            nodes: 1,
            latency: Duration::ZERO,
            history: 10_000,
        }
    }
}

/// A cluster in memory: see the [module](self). Clones share it.
#[derive(Clone)]
pub struct InMemoryCluster {
    state: Arc<Mutex<State>>,
    faults: Arc<Faults>,
}

impl fmt::Debug for InMemoryCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryCluster").finish_non_exhaustive()
    }
}

impl Default for InMemoryCluster {
    fn default() -> Self {
        Self::new()
    }
}

impl InMemoryCluster {
    /// A cluster as a new one is: with the namespaces `default`, `kube-system`, `kube-public` and `kube-node-lease`, and one node.
    pub fn new() -> Self {
        Self::with_options(InMemoryOptions::default())
    }

    /// A cluster with other options.
    pub fn with_options(options: InMemoryOptions) -> Self {
        let faults = Arc::new(Faults::new(options.latency));
        let mut state = State::new(options);
        controllers::boot(&mut state);
        Self {
            state: Arc::new(Mutex::new(state)),
            faults,
        }
    }

    /// Answers requests that match with an error, until the fault is used up. Earlier faults come first.
    pub fn fail_next(&self, fault: Fault) {
        self.faults.add(fault);
    }

    /// Refuses lists and watches of a kind in all namespaces at once, as for an account that has rights in single namespaces only.
    pub fn forbid_cluster_wide(&self, kind: &GroupKind) {
        self.faults.forbid_cluster_wide(kind.clone());
    }

    /// Forgets all faults and forbidden kinds.
    pub fn clear_faults(&self) {
        self.faults.clear();
    }

    /// How many requests there were since the last [`reset_requests`](Self::reset_requests).
    pub fn requests(&self) -> Requests {
        self.faults.requests()
    }

    /// Counts from zero again.
    pub fn reset_requests(&self) {
        self.faults.reset_requests();
    }

    /// Makes every request take so long.
    pub fn set_latency(&self, latency: Duration) {
        self.faults.set_latency(latency);
    }

    /// Moves the cluster's clock on: what is due by then is done.
    pub fn advance(&self, by: Duration) {
        let mut state = lock(&self.state);
        state.skip(by);
        state.advance();
    }

    /// Forgets the history, as etcd's compaction does: continue tokens are too old (`Conflict`), and watches that lag behind tell all again.
    pub fn compact(&self) {
        lock(&self.state).compact();
    }

    /// Writes an object's `status`, as its controller would.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` when the kind has no status subresource.
    pub fn set_status(&self, key: ObjectKey<'_>, status: Value) -> Result<()> {
        let mut state = lock(&self.state);
        state.advance();
        let kind = kind(&state, &key.kind.gvk)?;
        if !kind.status {
            return Err(Error::invalid(format!(
                "{} has no status subresource",
                kind.api.group_kind()
            )));
        }
        let id = id(&kind, key.namespace, key.name)?;
        let Some(live) = state.get(&id).cloned() else {
            return Err(messages::not_found(&kind, &id.name));
        };
        let mut new = identity::served(&kind, &live);
        new["status"] = status;
        let context = Context::controller("status");
        write::replace(&mut state, &kind, &id, new, context).map(|_| ())
    }

    async fn pass(
        &self,
        verb: Verb,
        kind: &ApiKind,
        namespace: &str,
        name: &str,
        dry_run: bool,
    ) -> Result<Pass> {
        self.faults
            .pass(verb, &kind.group_kind(), namespace, name, dry_run)
            .await
    }

    async fn write(
        &self,
        verb: Verb,
        key: ObjectKey<'_>,
        params: &WriteParams,
        write: impl FnOnce(&mut State, &Kind, &ObjectId, Context<'_>) -> Result<Arc<Value>> + Send,
        body: Option<&Object>,
    ) -> Result<Object> {
        let pass = self
            .pass(verb, key.kind, key.namespace, key.name, params.dry_run)
            .await?;
        let result = {
            let mut state = lock(&self.state);
            state.advance();
            let kind = kind(&state, &key.kind.gvk)?;
            let id = match body {
                Some(body) => identity::identity(&kind, &body.to_value(), key.namespace, key.name)?,
                None => id(&kind, key.namespace, key.name)?,
            };
            let context = Context {
                manager: &params.field_manager,
                dry_run: params.dry_run,
                force: params.force,
                validation: params.validation.unwrap_or(FieldValidation::Warn),
                subresource: "",
            };
            write(&mut state, &kind, &id, context).and_then(|value| read::object(&kind, &value))
        };
        pass.answer(result).await
    }
}

/// The kind as it is served now.
fn kind(state: &State, gvk: &GroupVersionKind) -> Result<Kind> {
    state
        .kinds
        .get(gvk)
        .cloned()
        .ok_or_else(|| Error::not_found("the server could not find the requested resource"))
}

fn id(kind: &Kind, namespace: &str, name: &str) -> Result<ObjectId> {
    let gvk = &kind.api.gvk;
    let namespace = if kind.api.is_namespaced() {
        namespace
    } else {
        ""
    };
    if name.is_empty() || (kind.api.is_namespaced() && namespace.is_empty()) {
        return Err(Error::invalid(format!(
            "{} needs a name, and a namespace if it is namespaced",
            kind.api.group_kind()
        )));
    }
    identity::path_segment(namespace)?;
    identity::path_segment(name)?;
    Ok(ObjectId::new(
        gvk.group.as_str(),
        gvk.kind.as_str(),
        namespace,
        name,
    ))
}

fn key<'a>(kind: &'a ApiKind, object: &'a Object) -> ObjectKey<'a> {
    ObjectKey {
        kind,
        namespace: if kind.is_namespaced() {
            object.namespace()
        } else {
            ""
        },
        name: object.name(),
    }
}

#[async_trait]
impl Cluster for InMemoryCluster {
    async fn resolve(&self, gvk: &GroupVersionKind) -> Result<ApiKind> {
        let pass = self
            .faults
            .pass(Verb::Discover, &gvk.group_kind(), "", "", false)
            .await?;
        let result = {
            let mut state = lock(&self.state);
            state.advance();
            state.kinds.get(gvk).map(|kind| kind.api.clone())
        };
        let result =
            result.ok_or_else(|| Error::not_found(format!("the cluster does not serve {gvk}")));
        pass.answer(result).await
    }

    async fn resolve_any(&self, kind: &GroupKind) -> Result<ApiKind> {
        let pass = self
            .faults
            .pass(Verb::Discover, kind, "", "", false)
            .await?;
        let result = {
            let mut state = lock(&self.state);
            state.advance();
            state.kinds.preferred(kind).map(|kind| kind.api.clone())
        };
        let result =
            result.ok_or_else(|| Error::not_found(format!("the cluster does not serve {kind}")));
        pass.answer(result).await
    }

    fn invalidate(&self) {}

    async fn get(&self, key: ObjectKey<'_>) -> Result<Option<Object>> {
        let pass = self
            .pass(Verb::Get, key.kind, key.namespace, key.name, false)
            .await?;
        let result = {
            let mut state = lock(&self.state);
            state.advance();
            match kind(&state, &key.kind.gvk) {
                Ok(kind) => {
                    let id = id(&kind, key.namespace, key.name)?;
                    state
                        .get(&id)
                        .map(|value| read::object(&kind, value))
                        .transpose()
                }
                // A kind that is not served answers 404 as well.
                Err(_) => Ok(None),
            }
        };
        pass.answer(result).await
    }

    async fn list(&self, kind: &ApiKind, params: &ListParams) -> Result<ObjectList> {
        let namespace = params.namespace.as_deref().unwrap_or_default();
        let pass = self.pass(Verb::List, kind, namespace, "", false).await?;
        let result = {
            let mut state = lock(&self.state);
            state.advance();
            self::kind(&state, &kind.gvk).and_then(|kind| read::list(&state, &kind, params))
        };
        pass.answer(result).await
    }

    async fn create(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        let create = |state: &mut State, kind: &Kind, id: &ObjectId, context: Context<'_>| {
            write::create(state, kind, id, object.to_value(), context)
        };
        self.write(
            Verb::Create,
            key(kind, object),
            params,
            create,
            Some(object),
        )
        .await
    }

    async fn apply(&self, kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Object> {
        let apply = |state: &mut State, kind: &Kind, id: &ObjectId, context: Context<'_>| {
            write::apply(state, kind, id, object.to_value(), context)
        };
        self.write(Verb::Apply, key(kind, object), params, apply, Some(object))
            .await
    }

    async fn replace(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        let replace = |state: &mut State, kind: &Kind, id: &ObjectId, context: Context<'_>| {
            write::replace(state, kind, id, object.to_value(), context)
        };
        self.write(
            Verb::Replace,
            key(kind, object),
            params,
            replace,
            Some(object),
        )
        .await
    }

    async fn patch(
        &self,
        key: ObjectKey<'_>,
        patch: &Patch,
        params: &WriteParams,
    ) -> Result<Object> {
        let write = |state: &mut State, kind: &Kind, id: &ObjectId, context: Context<'_>| {
            write::patch(state, kind, id, patch, context)
        };
        self.write(Verb::Patch, key, params, write, None).await
    }

    async fn delete(&self, key: ObjectKey<'_>, params: &DeleteParams) -> Result<()> {
        let pass = self
            .pass(
                Verb::Delete,
                key.kind,
                key.namespace,
                key.name,
                params.dry_run,
            )
            .await?;
        let result = {
            let mut state = lock(&self.state);
            state.advance();
            let kind = kind(&state, &key.kind.gvk)?;
            let id = id(&kind, key.namespace, key.name)?;
            delete::delete(&mut state, &kind, &id, params)
        };
        pass.answer(result).await
    }

    fn watch(&self, kind: &ApiKind, params: ListParams) -> BoxStream<'static, Result<WatchEvent>> {
        read::watch(
            self.state.clone(),
            self.faults.clone(),
            kind.gvk.clone(),
            params,
        )
    }
}
