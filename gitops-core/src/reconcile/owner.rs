//! Which of several replicas takes care of an application.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::application::AppRef;
use crate::source::RevisionEvent;

/// The right to take care of an application, until it is lost. Clones are the same right.
#[derive(Clone, Debug, Default)]
pub struct Tenure {
    lost: CancellationToken,
    deadline: Option<watch::Receiver<Instant>>,
}

impl Tenure {
    /// A right that is lost when `lost` is cancelled.
    pub fn until(lost: CancellationToken) -> Self {
        Self {
            lost,
            deadline: None,
        }
    }

    /// A right that is lost when `lost` is cancelled, or when the time that `deadline` says has come: whoever renews the right puts it off. A process that was stopped and goes
    /// on knows by the clock that its right is lost, before any task of its own could have said so.
    pub fn renewed(lost: CancellationToken, deadline: watch::Receiver<Instant>) -> Self {
        Self {
            lost,
            deadline: Some(deadline),
        }
    }

    /// Whether it still holds.
    pub fn is_valid(&self) -> bool {
        let in_time = |deadline: &watch::Receiver<Instant>| Instant::now() < *deadline.borrow();
        !self.lost.is_cancelled() && self.deadline.as_ref().is_none_or(in_time)
    }

    /// Ends when it is lost: whatever is being done for the application must stop now.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let Self { lost, deadline } = self.clone();
        async move {
            let Some(mut deadline) = deadline else {
                return lost.cancelled().await;
            };
            loop {
                let until = *deadline.borrow_and_update();
                tokio::select! {
                    () = lost.cancelled() => return,
                    () = sleep_until(until) => {
                        if *deadline.borrow() <= Instant::now() {
                            return;
                        }
                    }
                    // Without anybody who puts it off it comes.
                    Ok(()) = deadline.changed() => {}
                }
            }
        }
    }
}

/// Divides applications among the replicas of a program. `gitops_kube::lease` does it with Leases.
///
/// # Contract
/// - At any time at most one replica has a valid [`Tenure`] of an application. A replica that can no longer prove that it has one loses it *before* another can
///   have it, by a [`margin`](Self::margin) in which what it was doing can stop.
/// - An application whose owner is gone has another within the lease time.
/// - `changes` says at least once, after every change, that something changed.
#[async_trait]
pub trait Ownership: Send + Sync {
    /// The right to take care of `app`, if this replica has it now. Does not wait.
    fn tenure(&self, app: &AppRef) -> Option<Tenure>;

    /// An item now, and whenever what this replica owns has changed.
    fn changes(&self) -> BoxStream<'static, ()>;

    /// The time between one replica's losing an application and another's getting it; `None`, also unless it is overridden, when there is no other.
    fn margin(&self) -> Option<Duration> {
        None
    }

    /// Who takes care of `app` now, for people; `None`, also unless it is overridden, when that is not known.
    fn owner(&self, app: &AppRef) -> Option<String> {
        let _ = app;
        None
    }

    /// Tells the other replicas of `event`, which concerns applications of theirs. Does not wait. It is a hint: it may be lost, then they find the news at their interval.
    /// Unless it is overridden, nobody is told.
    fn hand_on(&self, event: &RevisionEvent) {
        let _ = event;
    }

    /// What other replicas handed on from now on; nothing unless it is overridden.
    fn handed_on(&self) -> BoxStream<'static, RevisionEvent> {
        stream::pending().boxed()
    }

    /// Gives up everything, so that others need not wait until it expires; for when nothing is being done any more. For the applications in `unfinished` something may still
    /// be done: what belongs to them is not given to others, and expires.
    async fn resign(&self, unfinished: &[AppRef]);
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
    fn margin(&self) -> Option<Duration> {
        (**self).margin()
    }
    fn owner(&self, app: &AppRef) -> Option<String> {
        (**self).owner(app)
    }
    fn hand_on(&self, event: &RevisionEvent) {
        (**self).hand_on(event);
    }
    fn handed_on(&self) -> BoxStream<'static, RevisionEvent> {
        (**self).handed_on()
    }
    async fn resign(&self, unfinished: &[AppRef]) {
        (**self).resign(unfinished).await;
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

    async fn resign(&self, _: &[AppRef]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_right_ends_at_its_deadline_unless_that_is_put_off() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let (renew, deadline) = watch::channel(after(8));
        let tenure = Tenure::renewed(CancellationToken::new(), deadline);
        let lost = tokio::spawn(tenure.lost());
        tokio::time::sleep_until(after(5)).await;
        renew.send_replace(after(13));
        tokio::time::sleep_until(after(12)).await;
        assert!(tenure.is_valid() && !lost.is_finished());
        lost.await.unwrap();
        assert!(!tenure.is_valid());
        assert_eq!(begun.elapsed().as_secs(), 13);
        // Who renews it is gone: it ends all the same.
        let (renew, deadline) = watch::channel(after(20));
        drop(renew);
        Tenure::renewed(CancellationToken::new(), deadline)
            .lost()
            .await;
        assert_eq!(begun.elapsed().as_secs(), 20);
    }

    /// The process was stopped: the clock went on, and no task has run since.
    #[tokio::test(start_paused = true)]
    async fn a_right_is_known_to_be_over_before_anybody_says_so() {
        let (_renew, deadline) = watch::channel(Instant::now() + Duration::from_secs(8));
        let tenure = Tenure::renewed(CancellationToken::new(), deadline);
        assert!(tenure.is_valid());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!tenure.is_valid());
    }
}
