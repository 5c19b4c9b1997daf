//! Who holds which shard.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use gitops_core::application::AppRef;
use gitops_core::reconcile::{Ownership, Tenure};
use gitops_core::{ErrorKind, Result};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::LeaseOptions;
use super::record::{LABEL, Record, kind, write};
use crate::cluster::{Cluster, DeleteParams, ListParams, ObjectKey, WriteParams};

/// How many Leases are written at once.
const AT_ONCE: usize = 8;

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

struct Shared {
    cluster: Arc<dyn Cluster>,
    options: LeaseOptions,
    held: Mutex<HashMap<u32, Held>>,
    changes: watch::Sender<()>,
}

/// A shard that is this replica's.
#[derive(Debug)]
struct Held {
    lost: CancellationToken,
    /// Without another write, it is lost then.
    until: Instant,
    /// It is to be given back, at this time.
    leaving: Option<Instant>,
}

/// What a look at the Leases saw, and since when.
#[derive(Debug)]
struct Seen {
    record: Record,
    since: Instant,
}

impl Seen {
    /// Whether somebody holds it.
    fn is_held(&self, now: Instant) -> bool {
        self.expiry(now).is_some()
    }

    /// When it runs out, of one that somebody holds.
    fn expiry(&self, now: Instant) -> Option<Instant> {
        let expiry = self.since + self.record.duration;
        (!self.record.holder.is_empty() && now < expiry).then_some(expiry)
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
            .then(|| Tenure::until(held.lost.clone()))
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
    async fn resign(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        drop(tasks);
        self.shared.lose_all();
        let limit = self.shared.options.renew_deadline;
        if !matches!(timeout(limit, self.shared.let_go()).await, Ok(Ok(()))) {
            tracing::warn!("not every Lease could be given back; they expire");
        }
    }
}

impl Held {
    fn is_valid(&self, now: Instant) -> bool {
        now < self.until && !self.lost.is_cancelled()
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
            Ok(Ok(())) => {}
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
            if now < held.until {
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

impl Shared {
    fn held(&self) -> MutexGuard<'_, HashMap<u32, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard_name(&self, shard: u32) -> String {
        format!("{}-shard-{shard}", self.options.name)
    }

    fn member_name(&self) -> String {
        // Identities may hold what names may not.
        let digest = Sha256::digest(&self.options.identity);
        let short: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{}-member-{short}", self.options.name)
    }

    async fn list(&self) -> Result<Vec<Record>> {
        let mut params = ListParams {
            namespace: Some(self.options.namespace.clone()),
            labels: Some(format!("{LABEL}={}", self.options.name)),
            ..ListParams::default()
        };
        let mut records = Vec::new();
        loop {
            let page = self.cluster.list(&kind(), &params).await?;
            records.extend(page.items.iter().map(Record::read));
            match page.continue_token {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(records),
            }
        }
    }

    /// Writes a Lease in place of `before`.
    async fn put(
        &self,
        name: &str,
        before: Option<&Record>,
        holder: &str,
        duration: Duration,
    ) -> Result<()> {
        let place = (
            self.options.namespace.as_str(),
            self.options.name.as_str(),
            name,
        );
        let object = write(place, before, holder, duration)?;
        let params = WriteParams {
            field_manager: "gitops-rs".into(),
            ..WriteParams::default()
        };
        match before {
            Some(_) => self.cluster.replace(&kind(), &object, &params).await?,
            None => self.cluster.create(&kind(), &object, &params).await?,
        };
        Ok(())
    }

    async fn round(&self, seen: &mut HashMap<String, Seen>) -> Result<()> {
        let listed = self.list().await?;
        let now = Instant::now();
        let mut old = std::mem::take(seen);
        for record in listed {
            // What did not change is as old as it was.
            let since = match old.remove(&record.name) {
                Some(old) if old.record == record => old.since,
                _ => now,
            };
            seen.insert(record.name.clone(), Seen { record, since });
        }
        self.drop_stolen(seen);
        let me = self.member_name();
        let before = seen.get(&me).map(|seen| &seen.record);
        let duration = self.options.written();
        self.put(&me, before, &self.options.identity, duration)
            .await?;
        let quota = self.quota(seen, &me, now);
        self.leave_surplus(quota, now);
        let jobs: Vec<_> = self.jobs(seen, quota, now);
        let jobs = stream::iter(jobs.into_iter().map(|job| self.write_shard(job)));
        jobs.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        self.clean(seen, now).await;
        Ok(())
    }

    /// What others hold now is not this replica's, whatever it believed.
    fn drop_stolen(&self, seen: &HashMap<String, Seen>) {
        let mut changed = false;
        self.held().retain(|shard, held| {
            let record = seen.get(&self.shard_name(*shard)).map(|seen| &seen.record);
            if record.is_some_and(|record| record.holder == self.options.identity) {
                return true;
            }
            tracing::warn!(shard, "somebody else changed the Lease");
            held.lost.cancel();
            changed = true;
            false
        });
        if changed {
            self.changes.send_replace(());
        }
    }

    /// How many shards a replica may hold.
    fn quota(&self, seen: &HashMap<String, Seen>, me: &str, now: Instant) -> usize {
        let prefix = format!("{}-member-", self.options.name);
        let others = seen.values().filter(|seen| {
            let name = &seen.record.name;
            name.starts_with(&prefix) && name != me && seen.is_held(now)
        });
        (self.options.shards as usize).div_ceil(others.count() + 1)
    }

    /// Declares lost what is too much; it is let go when the work on it had time to stop.
    fn leave_surplus(&self, quota: usize, now: Instant) {
        let mut held = self.held();
        let mut staying: Vec<u32> = held
            .iter()
            .filter(|(_, held)| held.leaving.is_none())
            .map(|(shard, _)| *shard)
            .collect();
        staying.sort_unstable();
        let surplus: Vec<u32> = staying.into_iter().skip(quota).collect();
        for shard in &surplus {
            if let Some(held) = held.get_mut(shard) {
                held.lost.cancel();
                held.leaving = Some(now + self.options.margin());
            }
        }
        drop(held);
        if !surplus.is_empty() {
            tracing::info!(shards = ?surplus, "giving shards to other replicas");
            self.changes.send_replace(());
        }
    }

    /// Which Leases are to be written.
    fn jobs(&self, seen: &HashMap<String, Seen>, quota: usize, now: Instant) -> Vec<Job> {
        let held = self.held();
        let staying = held.values().filter(|held| held.leaving.is_none()).count();
        let mut wanted = quota.saturating_sub(staying);
        let mut jobs = Vec::new();
        // Replicas begin at different shards, so that they do not all want the same.
        let start = self.options.shard_of(&AppRef::new(&*self.options.identity));
        for shard in (0..self.options.shards).map(|n| (n + start) % self.options.shards) {
            let seen = seen.get(&self.shard_name(shard));
            let before = seen.map(|seen| seen.record.clone());
            let what = match held.get(&shard) {
                Some(held) => match held.leaving {
                    Some(at) if now >= at => What::LetGo,
                    _ => What::Renew,
                },
                // One that bears this replica's name is of a write whose answer was lost.
                None if wanted > 0
                    && !seen.is_some_and(|seen| {
                        seen.is_held(now) && seen.record.holder != self.options.identity
                    }) =>
                {
                    wanted -= 1;
                    What::Take
                }
                None => continue,
            };
            jobs.push(Job {
                shard,
                before,
                what,
            });
        }
        jobs
    }

    async fn write_shard(&self, job: Job) {
        let Job {
            shard,
            before,
            what,
        } = job;
        let name = self.shard_name(shard);
        // Counted from before the write: others count from after it.
        let begun = Instant::now();
        let (holder, duration) = match what {
            What::LetGo => ("", Duration::from_secs(1)),
            What::Take | What::Renew => (self.options.identity.as_str(), self.options.written()),
        };
        let written = self.put(&name, before.as_ref(), holder, duration).await;
        let until = begun + self.options.renew_deadline;
        let mut held = self.held();
        match (written, what) {
            (Ok(()), What::Renew) => {
                if let Some(held) = held.get_mut(&shard) {
                    held.until = until;
                }
            }
            (Ok(()), What::Take) => {
                let taken = Held {
                    lost: CancellationToken::new(),
                    until,
                    leaving: None,
                };
                held.insert(shard, taken);
                drop(held);
                tracing::info!(shard, "took a shard");
                self.changes.send_replace(());
            }
            (Ok(()), What::LetGo) => {
                held.remove(&shard);
            }
            // Another was faster: the next look tells.
            (Err(error), _)
                if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) =>
            {
                tracing::debug!(shard, %error, "the Lease was written by somebody else");
            }
            (Err(error), _) => tracing::warn!(shard, %error, "cannot write a Lease"),
        }
    }

    /// Deletes what dead replicas left behind.
    async fn clean(&self, seen: &HashMap<String, Seen>, now: Instant) {
        let prefix = format!("{}-member-", self.options.name);
        let dead = seen.values().filter(|seen| {
            seen.record.name.starts_with(&prefix)
                && now.duration_since(seen.since)
                    > 10 * seen.record.duration.max(self.options.lease_duration)
        });
        for seen in dead {
            self.delete(&seen.record).await;
        }
    }

    async fn delete(&self, record: &Record) {
        let kind = kind();
        let key = ObjectKey {
            kind: &kind,
            namespace: &self.options.namespace,
            name: &record.name,
        };
        let params = DeleteParams {
            uid: Some(record.uid.clone()),
            resource_version: Some(record.version.clone()),
            ..DeleteParams::default()
        };
        if let Err(error) = self.cluster.delete(key, &params).await {
            tracing::debug!(name = record.name, %error, "cannot delete a Lease");
        }
    }

    fn lose_all(&self) {
        for held in self.held().values() {
            held.lost.cancel();
        }
        self.changes.send_replace(());
    }

    /// Gives back every Lease that is this replica's.
    async fn let_go(&self) -> Result<()> {
        let me = self.member_name();
        for record in self.list().await? {
            if record.holder != self.options.identity {
                continue;
            }
            if record.name == me {
                self.delete(&record).await;
            } else {
                let second = Duration::from_secs(1);
                self.put(&record.name, Some(&record), "", second).await?;
            }
        }
        self.held().clear();
        Ok(())
    }
}

/// A Lease that is to be written.
#[derive(Debug)]
struct Job {
    shard: u32,
    before: Option<Record>,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Take,
    Renew,
    LetGo,
}
