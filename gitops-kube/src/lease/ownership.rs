//! Who holds which shard.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use gitops_core::Result;
use gitops_core::application::AppRef;
use gitops_core::reconcile::{Ownership, Tenure};
use gitops_core::source::RevisionEvent;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::LeaseOptions;
use super::shared::{Shared, lock};
use crate::cluster::Cluster;

/// How many pieces of news may wait for a slow listener.
const HANDED_ON: usize = 256;

/// Takes part in dividing applications by Leases, until it is dropped (then its Leases expire) or [resigns](Ownership::resign).
pub struct LeaseOwnership {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl fmt::Debug for LeaseOwnership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseOwnership")
            .field("options", &self.shared.options)
            .field("shards", &self.shards())
            .finish_non_exhaustive()
    }
}

impl LeaseOwnership {
    /// Takes part from now on, on the tokio runtime that this is called on.
    ///
    /// # Errors
    /// `InvalidInput` for options that do not fit together.
    pub fn start(cluster: Arc<dyn Cluster>, options: LeaseOptions) -> Result<Self> {
        options.check()?;
        let shared = Arc::new(Shared {
            cluster,
            options,
            held: Mutex::default(),
            changes: watch::Sender::new(()),
            holders: Mutex::default(),
            news: Mutex::default(),
            handed_on: broadcast::Sender::new(HANDED_ON),
        });
        let tasks = [
            tokio::spawn(keep(Arc::clone(&shared))),
            tokio::spawn(guard(Arc::clone(&shared))),
        ];
        Ok(Self {
            shared,
            tasks: Mutex::new(tasks.into_iter().map(AbortOnDropHandle::new).collect()),
        })
    }

    /// The shards that are this replica's now.
    pub fn shards(&self) -> Vec<u32> {
        let now = Instant::now();
        let held = self.shared.held();
        let valid = held.iter().filter(|(_, held)| held.is_valid(now));
        let mut shards: Vec<u32> = valid.map(|(shard, _)| *shard).collect();
        shards.sort_unstable();
        shards
    }
}

impl Drop for LeaseOwnership {
    fn drop(&mut self) {
        // Whoever still holds a tenure must not go on.
        self.shared.lose_all();
    }
}

#[async_trait]
impl Ownership for LeaseOwnership {
    fn tenure(&self, app: &AppRef) -> Option<Tenure> {
        let held = self.shared.held();
        let held = held.get(&self.shared.options.shard_of(app))?;
        held.is_valid(Instant::now())
            .then(|| Tenure::renewed(held.lost.clone(), held.until.subscribe()))
    }

    fn margin(&self) -> Option<Duration> {
        Some(self.shared.options.margin())
    }

    fn owner(&self, app: &AppRef) -> Option<String> {
        let shard = self.shared.options.shard_of(app);
        lock(&self.shared.holders).get(&shard).cloned()
    }

    fn hand_on(&self, event: &RevisionEvent) {
        lock(&self.shared.news).add(event);
    }

    fn handed_on(&self) -> BoxStream<'static, RevisionEvent> {
        let receiver = self.shared.handed_on.subscribe();
        stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) => return Some((event, receiver)),
                    // Hints may be lost.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        let mut receiver = self.shared.changes.subscribe();
        receiver.mark_changed();
        stream::unfold(receiver, |mut receiver| async move {
            receiver.changed().await.ok().map(|()| ((), receiver))
        })
        .boxed()
    }

    /// Waits for the API server for no longer than the renew deadline.
    async fn resign(&self, unfinished: &[AppRef]) {
        drop(std::mem::take(&mut *lock(&self.tasks)));
        self.shared.lose_all();
        let limit = self.shared.options.renew_deadline;
        let keep = unfinished
            .iter()
            .map(|app| self.shared.shard_name(self.shared.options.shard_of(app)))
            .collect();
        if !matches!(timeout(limit, self.shared.let_go(&keep)).await, Ok(Ok(()))) {
            tracing::warn!("not every Lease could be given back; they expire");
        }
    }
}

/// Looks at the Leases, and writes those that are to be written, again and again.
async fn keep(shared: Arc<Shared>) {
    let mut seen = HashMap::new();
    loop {
        let begun = Instant::now();
        let period = shared.options.retry_period;
        // A server that hangs must not keep it from trying again before the deadline.
        let limit = (shared.options.renew_deadline / 2).max(period);
        match timeout(limit, shared.round(&mut seen)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                sleep(period / 20).await;
                continue;
            }
            Ok(Err(error)) => tracing::warn!(%error, "cannot read the Leases"),
            Err(_) => tracing::warn!(?limit, "the API server did not answer in time"),
        }
        let jitter = 0.2 * fastrand::f64();
        let regular = begun + period.mul_f64(1.0 + jitter);
        let now = Instant::now();
        let expiry = seen.values().filter_map(|seen| seen.expiry(now)).min();
        sleep_until(expiry.map_or(regular, |expiry| regular.min(expiry))).await;
    }
}

/// Declares lost what was not written in time.
async fn guard(shared: Arc<Shared>) {
    let step =
        (shared.options.margin() / 20).clamp(Duration::from_millis(1), Duration::from_millis(100));
    loop {
        sleep(step).await;
        let now = Instant::now();
        let mut changed = false;
        shared.held().retain(|shard, held| {
            if now < *held.until.borrow() {
                return true;
            }
            if !held.lost.is_cancelled() {
                tracing::warn!(shard, "a Lease could not be renewed in time and is lost");
                held.lost.cancel();
                changed = true;
            }
            false
        });
        if changed {
            shared.changes.send_replace(());
        }
    }
}
