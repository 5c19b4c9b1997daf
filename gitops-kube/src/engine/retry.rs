//! Meeting transient failures of single requests.

use std::future::Future;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use futures::stream::BoxStream;
use gitops_core::manifest::{GroupKind, GroupVersionKind, Object};
use gitops_core::{Error, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::options::RetryOptions;
use crate::cluster::{
    ApiKind, Cluster, DeleteParams, ListParams, ObjectKey, ObjectList, Patch, WatchEvent,
    WriteParams,
};

/// Runs `request` until it succeeds, fails for good, or the time is up. What the server says of when to come back is honoured: when that is later than a try may
/// begin, its error comes back at once. Cancelling `cancel` ends a pause with `Cancelled`; a try under way goes on to its end.
pub(super) async fn retry<T, F, Fut>(
    options: &RetryOptions,
    cancel: Option<&CancellationToken>,
    mut request: F,
) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let started = Instant::now();
    let mut tries = 0;
    let one = || {
        tries += 1;
        let over = tries > 1 && cancel.is_some_and(CancellationToken::is_cancelled);
        let request = (!over).then(&mut request);
        async {
            match request {
                Some(request) => request.await,
                None => Err(Error::cancelled(
                    "the sync was terminated between two tries",
                )),
            }
        }
    };
    let ended = cancel.cloned();
    let pause = move |delay| {
        let ended = ended.clone();
        async move {
            let sleep = tokio::time::sleep(delay);
            match ended {
                Some(ended) => drop(ended.run_until_cancelled(sleep).await),
                None => sleep.await,
            }
        }
    };
    one.retry(
        ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(options.min_delay)
            .with_max_delay(options.max_delay)
            .without_max_times(),
    )
    .sleep(pause)
    .when(Error::is_retryable)
    .adjust(|error: &Error, delay| {
        let pause = error.retry_after().unwrap_or_default().max(delay?);
        (started.elapsed().saturating_add(pause) <= options.total).then_some(pause)
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
    cancel: Option<CancellationToken>,
}

impl<C: Cluster> Retrying<C> {
    pub(super) fn new(cluster: C, options: RetryOptions) -> Self {
        Self {
            cluster,
            options,
            cancel: None,
        }
    }

    /// Begins no further try once `cancel` is cancelled.
    #[must_use]
    pub(super) fn until(mut self, cancel: &CancellationToken) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<C: Cluster> Cluster for Retrying<C> {
    async fn resolve(&self, gvk: &GroupVersionKind) -> Result<ApiKind> {
        retry(&self.options, self.cancel.as_ref(), || {
            self.cluster.resolve(gvk)
        })
        .await
    }

    async fn resolve_any(&self, kind: &GroupKind) -> Result<ApiKind> {
        retry(&self.options, self.cancel.as_ref(), || {
            self.cluster.resolve_any(kind)
        })
        .await
    }

    fn invalidate(&self) {
        self.cluster.invalidate();
    }

    async fn get(&self, key: ObjectKey<'_>) -> Result<Option<Object>> {
        retry(&self.options, self.cancel.as_ref(), || {
            self.cluster.get(key)
        })
        .await
    }

    async fn list(&self, kind: &ApiKind, params: &ListParams) -> Result<ObjectList> {
        retry(&self.options, self.cancel.as_ref(), || {
            self.cluster.list(kind, params)
        })
        .await
    }

    async fn create(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        retry(&self.options, self.cancel.as_ref(), || {
            self.cluster.create(kind, object, params)
        })
        .await
    }

    async fn apply(&self, kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Object> {
        retry(&self.options, self.cancel.as_ref(), || {
            self.cluster.apply(kind, object, params)
        })
        .await
    }

    async fn replace(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        retry(&self.options, self.cancel.as_ref(), || {
            self.cluster.replace(kind, object, params)
        })
        .await
    }

    async fn patch(
        &self,
        key: ObjectKey<'_>,
        patch: &Patch,
        params: &WriteParams,
    ) -> Result<Object> {
        retry(&self.options, self.cancel.as_ref(), || {
            self.cluster.patch(key, patch, params)
        })
        .await
    }

    async fn delete(&self, key: ObjectKey<'_>, params: &DeleteParams) -> Result<()> {
        retry(&self.options, self.cancel.as_ref(), || {
            self.cluster.delete(key, params)
        })
        .await
    }

    fn watch(&self, kind: &ApiKind, params: ListParams) -> BoxStream<'static, Result<WatchEvent>> {
        self.cluster.watch(kind, params)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    /// Fails for ever; gives back the last error, the number of tries and the time that they took together.
    async fn fail(after: Option<Duration>, takes: Duration) -> (Error, u32, Duration) {
        let (tries, started) = (Cell::new(0), Instant::now());
        let options = RetryOptions {
            min_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            total: Duration::from_secs(30),
        };
        let error = retry(&options, None, || async {
            tries.set(tries.get() + 1);
            tokio::time::sleep(takes).await;
            let error = Error::unavailable("not now");
            Err::<(), _>(match after {
                Some(after) => error.with_retry_after(after),
                None => error,
            })
        })
        .await
        .unwrap_err();
        (error, tries.get(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_to_come_back_too_late_is_told_at_once() {
        let after = Duration::from_secs(3600);
        let (error, tries, took) = fail(Some(after), Duration::ZERO).await;
        assert_eq!(
            (error.retry_after(), tries, took),
            (Some(after), 1, Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_try_begins_after_the_total_whatever_is_waited_for() {
        let second = Duration::from_secs(1);
        for (after, takes) in [
            (None, Duration::ZERO),
            (Some(12 * second), Duration::ZERO),
            (None, 8 * second),
            (Some(12 * second), 8 * second),
        ] {
            let (error, tries, took) = fail(after, takes).await;
            assert_eq!(error.retry_after(), after);
            assert!(tries > 1, "{after:?} {takes:?}: {tries} tries");
            assert!(took <= 30 * second + takes, "{after:?} {takes:?}: {took:?}");
        }
    }
}
