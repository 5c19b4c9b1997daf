//! Meeting transient failures of single requests.

use std::future::Future;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use futures::stream::BoxStream;
use gitops_core::manifest::{GroupKind, GroupVersionKind, Object};
use gitops_core::{Error, Result};
use tracing::debug;

use super::options::RetryOptions;
use crate::cluster::{
    ApiKind, Cluster, DeleteParams, ListParams, ObjectKey, ObjectList, Patch, WatchEvent,
    WriteParams,
};

/// Runs `request` until it succeeds, fails for good, or the time is up. What the server says of when to come back is honoured.
pub(super) async fn retry<T, F, Fut>(options: &RetryOptions, request: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    request
        .retry(
            ExponentialBuilder::default()
                .with_jitter()
                .with_min_delay(options.min_delay)
                .with_max_delay(options.max_delay)
                .with_total_delay(Some(options.total))
                .without_max_times(),
        )
        .when(Error::is_retryable)
        .adjust(|error: &Error, delay| {
            delay.map(|delay| error.retry_after().map_or(delay, |after| after.max(delay)))
        })
        .notify(|error: &Error, delay| debug!(%error, ?delay, "trying again"))
        .await
}

/// A cluster whose requests are tried again.
///
/// The server may have carried out a try whose answer was lost: who creates takes `AlreadyExists`, and who deletes `NotFound`, as such an
/// answer if the object is as it should be.
pub(super) struct Retrying<C> {
    cluster: C,
    options: RetryOptions,
}

impl<C: Cluster> Retrying<C> {
    pub(super) fn new(cluster: C, options: RetryOptions) -> Self {
        Self { cluster, options }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<C: Cluster> Cluster for Retrying<C> {
    async fn resolve(&self, gvk: &GroupVersionKind) -> Result<ApiKind> {
        retry(&self.options, || self.cluster.resolve(gvk)).await
    }

    async fn resolve_any(&self, kind: &GroupKind) -> Result<ApiKind> {
        retry(&self.options, || self.cluster.resolve_any(kind)).await
    }

    fn invalidate(&self) {
        self.cluster.invalidate();
    }

    async fn get(&self, key: ObjectKey<'_>) -> Result<Option<Object>> {
        retry(&self.options, || self.cluster.get(key)).await
    }

    async fn list(&self, kind: &ApiKind, params: &ListParams) -> Result<ObjectList> {
        retry(&self.options, || self.cluster.list(kind, params)).await
    }

    async fn create(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        retry(&self.options, || self.cluster.create(kind, object, params)).await
    }

    async fn apply(&self, kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Object> {
        retry(&self.options, || self.cluster.apply(kind, object, params)).await
    }

    async fn replace(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        retry(&self.options, || self.cluster.replace(kind, object, params)).await
    }

    async fn patch(
        &self,
        key: ObjectKey<'_>,
        patch: &Patch,
        params: &WriteParams,
    ) -> Result<Object> {
        retry(&self.options, || self.cluster.patch(key, patch, params)).await
    }

    async fn delete(&self, key: ObjectKey<'_>, params: &DeleteParams) -> Result<()> {
        retry(&self.options, || self.cluster.delete(key, params)).await
    }

    fn watch(&self, kind: &ApiKind, params: ListParams) -> BoxStream<'static, Result<WatchEvent>> {
        self.cluster.watch(kind, params)
    }
}
