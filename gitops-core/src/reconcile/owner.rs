//! Which of several replicas takes care of an application.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio_util::sync::CancellationToken;

use crate::application::AppRef;

/// The right to take care of an application, until it is lost. Clones are the same right.
#[derive(Clone, Debug, Default)]
pub struct Tenure {
    lost: CancellationToken,
}

impl Tenure {
    /// A right that is lost when `lost` is cancelled.
    pub fn until(lost: CancellationToken) -> Self {
        Self { lost }
    }

    /// Whether it still holds.
    pub fn is_valid(&self) -> bool {
        !self.lost.is_cancelled()
    }

    /// Ends when it is lost: whatever is being done for the application must stop now.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        self.lost.clone().cancelled_owned()
    }
}

/// Divides applications among the replicas of a program. `gitops_kube::lease` does it with Leases.
///
/// # Contract
/// - At any time at most one replica has a valid [`Tenure`] of an application. A replica that can no longer prove that it has one loses it *before* another can
///   have it, by a margin in which what it was doing can stop.
/// - An application whose owner is gone has another within the lease time.
/// - `changes` says at least once, after every change, that something changed.
#[async_trait]
pub trait Ownership: Send + Sync {
    /// The right to take care of `app`, if this replica has it now. Does not wait.
    fn tenure(&self, app: &AppRef) -> Option<Tenure>;

    /// An item now, and whenever what this replica owns has changed.
    fn changes(&self) -> BoxStream<'static, ()>;

    /// Gives up everything, so that others need not wait until it expires; for when nothing is being done any more.
    async fn resign(&self);
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Ownership + ?Sized> Ownership for Arc<T> {
    fn tenure(&self, app: &AppRef) -> Option<Tenure> {
        (**self).tenure(app)
    }
    fn changes(&self) -> BoxStream<'static, ()> {
        (**self).changes()
    }
    async fn resign(&self) {
        (**self).resign().await;
    }
}

/// The only replica owns everything, always.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

#[async_trait]
impl Ownership for Everything {
    fn tenure(&self, _: &AppRef) -> Option<Tenure> {
        Some(Tenure::default())
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        stream::once(async {}).chain(stream::pending()).boxed()
    }

    async fn resign(&self) {}
}
