//! What the engine needs of a cluster, and no more.
//!
//! [`Cluster`] is narrow on purpose: it exists for the engine and its tests. Programs that want to talk to Kubernetes use
//! [`kube::Client`](::kube::Client).

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod kube;
pub mod memory;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gitops_core::Result;
use gitops_core::manifest::{GroupKind, GroupVersionKind, Object};

pub use self::kube::{
    ClusterOptions, KubeCluster, from_answer, from_kube, from_watch, install_crypto_provider,
    path_segment, watch_backoff,
};
pub use self::memory::{Fault, FaultAnswer, InMemoryCluster, InMemoryOptions, Requests, Verb};

/// Whether objects of a kind live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In the cluster as a whole.
    Cluster,
    /// In a namespace.
    Namespaced,
}

/// A kind as the API server serves it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApiKind {
    /// Group, version and kind.
    pub gvk: GroupVersionKind,
    /// The plural in URLs.
    pub plural: String,
    /// Its scope.
    pub scope: Scope,
    /// The verbs that the server offers (`list`, `patch`, …).
    pub verbs: Vec<String>,
}

impl ApiKind {
    /// ConfigMaps: every API server serves them, so that no discovery is needed.
    pub(crate) fn config_map() -> Self {
        Self {
            gvk: GroupVersionKind::new("", "v1", "ConfigMap"),
            plural: "configmaps".into(),
            scope: Scope::Namespaced,
            verbs: Vec::new(),
        }
    }

    /// Whether its objects live in namespaces.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Without the version.
    pub fn group_kind(&self) -> GroupKind {
        self.gvk.group_kind()
    }
}

/// Names one object of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectKey<'a> {
    /// The kind.
    pub kind: &'a ApiKind,
    /// The namespace; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
}

impl fmt::Display for ObjectKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.group_kind())?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(self.name)
    }
}

/// Which objects to list or watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListParams {
    /// Only this namespace; `None` means all.
    pub namespace: Option<String>,
    /// A label selector in Kubernetes' syntax (equality- and set-based).
    pub labels: Option<String>,
    /// A field selector (`metadata.name=x`, `metadata.namespace=x`).
    pub fields: Option<String>,
    /// At most this many objects; the answer says where to go on. A cluster may answer with more.
    pub limit: Option<u32>,
    /// Where to go on: [`ObjectList::continue_token`] of the page before.
    pub continue_token: Option<String>,
    /// Of each object only `apiVersion`, `kind` and `metadata`, for lists. A cluster may answer with more.
    pub metadata_only: bool,
}

/// What a list found.
#[derive(Clone, Debug, Default)]
pub struct ObjectList {
    /// The objects. Their `apiVersion` and `kind` are filled in (the API server leaves them out of lists).
    pub items: Vec<Object>,
    /// The list's resource version, to watch from.
    pub resource_version: String,
    /// Where the next page begins; `None` when this was the last one. A token that grew too old gives `Conflict` (the API
    /// server's 410 Gone): begin again.
    pub continue_token: Option<String>,
}

/// How to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteParams {
    /// The field manager; required for [`Cluster::apply`].
    pub field_manager: String,
    /// The server goes through all but storing it (admission webhooks included).
    pub dry_run: bool,
    /// Take over fields that other managers own (apply only).
    pub force: bool,
    /// How the server treats unknown and duplicate fields; `None` means the server's default (`Warn`).
    pub validation: Option<FieldValidation>,
}

/// The API server's `fieldValidation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// Dropped silently.
    Ignore,
    /// Dropped with a warning.
    Warn,
    /// Refused.
    Strict,
}

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteParams {
    /// Only the object with this UID, else `Conflict`.
    pub uid: Option<String>,
    /// Only the object at this resource version, else `Conflict`.
    pub resource_version: Option<String>,
    /// How dependents go; `None` means the kind's default.
    pub propagation: Option<gitops_core::backend::Propagation>,
    /// The server goes through all but deleting it.
    pub dry_run: bool,
}

/// A patch other than an apply.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// JSON patch (RFC 6902).
    Json(serde_json::Value),
    /// JSON merge patch (RFC 7386).
    Merge(serde_json::Value),
}

/// A change of an object.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// It was there at the start, or was made.
    Added(Object),
    /// It was changed, or made: a cluster need not tell these apart.
    Modified(Object),
    /// It was deleted: its last state.
    Deleted(Object),
    /// All objects that were there at the start have been told.
    Synced,
}

/// A cluster, as far as the engine needs one.
///
/// # Contract
/// - Every call has a deadline of its own and answers `Timeout` when that passes; dropping a future cancels the request (which
///   the server may have carried out).
/// - Nothing is retried here: errors that may pass are `is_retryable` and carry the server's `retry_after`.
/// - Errors: `NotFound` for a kind that is not served or an object that is not there, `AlreadyExists`, `Conflict` for stale versions,
///   preconditions and field managers (naming managers and fields), `InvalidInput` for what the server calls invalid or does
///   not know (unknown fields too), `PermissionDenied`, `Unauthenticated`, `RateLimited`, `Unavailable`.
/// - Objects come back as the server has them, `managedFields` included.
/// - `resolve` may answer from a cache; after [`invalidate`](Self::invalidate) it asks again.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// The kind as the server serves it.
    ///
    /// # Errors
    /// `NotFound` when the server does not serve it.
    async fn resolve(&self, gvk: &GroupVersionKind) -> Result<ApiKind>;

    /// The kind in the version that the server prefers.
    ///
    /// # Errors
    /// `NotFound` when the server does not serve it.
    async fn resolve_any(&self, kind: &GroupKind) -> Result<ApiKind>;

    /// Forgets what [`resolve`](Self::resolve) learnt.
    fn invalidate(&self);

    /// The object, or `None` when it is not there.
    ///
    /// # Errors
    /// Whatever the server answers but "not found".
    async fn get(&self, key: ObjectKey<'_>) -> Result<Option<Object>>;

    /// The objects that match.
    ///
    /// # Errors
    /// `PermissionDenied`, `NotFound` for a kind that is not served.
    async fn list(&self, kind: &ApiKind, params: &ListParams) -> Result<ObjectList>;

    /// Makes the object.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidInput`.
    async fn create(&self, kind: &ApiKind, object: &Object, params: &WriteParams)
    -> Result<Object>;

    /// Server-side apply (makes it when it is not there).
    ///
    /// # Errors
    /// `Conflict` with another field manager unless forced; `InvalidInput`.
    async fn apply(&self, kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Object>;

    /// Replaces the object (PUT); with `metadata.resourceVersion` only that version.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `InvalidInput`.
    async fn replace(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object>;

    /// Patches the object.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `InvalidInput`.
    async fn patch(
        &self,
        key: ObjectKey<'_>,
        patch: &Patch,
        params: &WriteParams,
    ) -> Result<Object>;

    /// Deletes the object. `Ok` means that the deletion is accepted: with finalizers the object may stay for a while.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when a precondition fails.
    async fn delete(&self, key: ObjectKey<'_>, params: &DeleteParams) -> Result<()>;

    /// Watches the objects that match: first each that is there, then [`WatchEvent::Synced`], then changes. After a gap all are told
    /// again. It ends only when it is dropped; errors are told and it goes on.
    fn watch(&self, kind: &ApiKind, params: ListParams) -> BoxStream<'static, Result<WatchEvent>>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Cluster + ?Sized> Cluster for $wrapper {
            async fn resolve(&self, gvk: &GroupVersionKind) -> Result<ApiKind> {
                (**self).resolve(gvk).await
            }
            async fn resolve_any(&self, kind: &GroupKind) -> Result<ApiKind> {
                (**self).resolve_any(kind).await
            }
            fn invalidate(&self) {
                (**self).invalidate();
            }
            async fn get(&self, key: ObjectKey<'_>) -> Result<Option<Object>> {
                (**self).get(key).await
            }
            async fn list(&self, kind: &ApiKind, params: &ListParams) -> Result<ObjectList> {
                (**self).list(kind, params).await
            }
            async fn create(&self, kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Object> {
                (**self).create(kind, object, params).await
            }
            async fn apply(&self, kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Object> {
                (**self).apply(kind, object, params).await
            }
            async fn replace(&self, kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Object> {
                (**self).replace(kind, object, params).await
            }
            async fn patch(&self, key: ObjectKey<'_>, patch: &Patch, params: &WriteParams) -> Result<Object> {
                (**self).patch(key, patch, params).await
            }
            async fn delete(&self, key: ObjectKey<'_>, params: &DeleteParams) -> Result<()> {
                (**self).delete(key, params).await
            }
            fn watch(&self, kind: &ApiKind, params: ListParams) -> BoxStream<'static, Result<WatchEvent>> {
                (**self).watch(kind, params)
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);
