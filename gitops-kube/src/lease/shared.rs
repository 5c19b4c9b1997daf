//! One look at the Leases, and what follows from it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use gitops_core::application::AppRef;
use gitops_core::source::RevisionEvent;
use gitops_core::{ErrorKind, Result};
use sha2::{Digest, Sha256};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::LeaseOptions;
use super::news::News;
use super::record::{LABEL, Record, Says, kind, write};
use crate::cluster::{Cluster, DeleteParams, ListParams, ObjectKey, WriteParams};

/// How many Leases are written at once.
const AT_ONCE: usize = 8;

/// What the tasks share.
pub(super) struct Shared {
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) options: LeaseOptions,
    pub(super) held: Mutex<HashMap<u32, Held>>,
    pub(super) changes: watch::Sender<()>,
    /// Who holds which shard, as it was seen last.
    pub(super) holders: Mutex<HashMap<u32, String>>,
    pub(super) news: Mutex<News>,
    pub(super) handed_on: broadcast::Sender<RevisionEvent>,
}

/// A shard that is this replica's.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lost: CancellationToken,
    /// Without another write, it is lost then.
    pub(super) until: watch::Sender<Instant>,
    /// It is to be given back, at this time.
    pub(super) leaving: Option<Instant>,
}

/// What a look at the Leases saw, and since when.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) record: Record,
    pub(super) since: Instant,
}

impl Seen {
    /// Whether somebody holds it.
    fn is_held(&self, now: Instant) -> bool {
        self.expiry(now).is_some()
    }

    /// When it runs out, of one that somebody holds.
    pub(super) fn expiry(&self, now: Instant) -> Option<Instant> {
        let expiry = self.since + self.record.duration;
        (!self.record.holder.is_empty() && now < expiry).then_some(expiry)
    }
}

impl Held {
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        now < *self.until.borrow() && !self.lost.is_cancelled()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn held(&self) -> MutexGuard<'_, HashMap<u32, Held>> {
        lock(&self.held)
    }

    pub(super) fn shard_name(&self, shard: u32) -> String {
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
        news: Option<&str>,
    ) -> Result<()> {
        let place = (
            self.options.namespace.as_str(),
            self.options.name.as_str(),
            name,
        );
        let says = Says {
            holder,
            duration,
            shards: self.options.shards,
            news,
        };
        let object = write(place, before, &says)?;
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

    /// One look, and what follows from it; says whether it was a whole one. A replica takes nothing before it has looked after the others could know of it: of two that divide differently
    /// one at least sees the other.
    pub(super) async fn round(&self, seen: &mut HashMap<String, Seen>) -> Result<bool> {
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
        self.hear(seen, now);
        let me = self.member_name();
        let before = seen.get(&me).map(|seen| &seen.record);
        let known = before.is_some_and(|before| before.shards == Some(self.options.shards));
        let duration = self.options.written();
        let news = lock(&self.news).text(self.options.lease_duration);
        let identity = &self.options.identity;
        self.put(&me, before, identity, duration, news.as_deref())
            .await?;
        if !known {
            return Ok(false);
        }
        let quota = self.quota(seen, &me, now);
        self.leave_surplus(quota, now);
        let jobs: Vec<_> = self.jobs(seen, quota, now);
        let jobs = stream::iter(jobs.into_iter().map(|job| self.write_shard(job)));
        jobs.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        self.clean(seen, now).await;
        Ok(true)
    }

    /// Learns who holds what, and what the others hand on.
    fn hear(&self, seen: &HashMap<String, Seen>, now: Instant) {
        let held = |shard| {
            let seen = seen.get(&self.shard_name(shard))?;
            seen.is_held(now)
                .then(|| (shard, seen.record.holder.clone()))
        };
        *lock(&self.holders) = (0..self.options.shards).filter_map(held).collect();
        let mut news = lock(&self.news);
        let others = seen.values().map(|seen| &seen.record);
        let others = others.filter(|record| record.holder != self.options.identity);
        for record in others.filter(|record| !record.news.is_empty()) {
            for event in news.hear(&record.name, &record.news) {
                // Nobody listening is fine.
                let _ = self.handed_on.send(event);
            }
        }
        news.keep(|name| seen.contains_key(name));
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

    /// How many shards this replica may hold.
    fn quota(&self, seen: &HashMap<String, Seen>, me: &str, now: Instant) -> usize {
        let differing = |seen: &&Seen| {
            let shards = seen.record.shards;
            seen.is_held(now) && shards.is_some_and(|shards| shards != self.options.shards)
        };
        if let Some(other) = seen.values().find(differing) {
            tracing::error!(
                mine = self.options.shards,
                other = other.record.shards,
                replica = other.record.holder,
                "replicas divide the applications into different numbers of shards: this one owns nothing until all agree"
            );
            return 0;
        }
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
        let written = self
            .put(&name, before.as_ref(), holder, duration, None)
            .await;
        let until = begun + self.options.renew_deadline;
        let mut held = self.held();
        match (written, what) {
            (Ok(()), What::Renew) => {
                if let Some(held) = held.get_mut(&shard) {
                    held.until.send_replace(until);
                }
            }
            (Ok(()), What::Take) => {
                let taken = Held {
                    lost: CancellationToken::new(),
                    until: watch::Sender::new(until),
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

    pub(super) fn lose_all(&self) {
        for held in self.held().values() {
            held.lost.cancel();
        }
        self.changes.send_replace(());
    }

    /// Gives back every Lease that is this replica's, but for those to `keep`.
    pub(super) async fn let_go(&self, keep: &HashSet<String>) -> Result<()> {
        let me = self.member_name();
        for record in self.list().await? {
            if record.holder != self.options.identity || keep.contains(&record.name) {
                continue;
            }
            if record.name == me {
                self.delete(&record).await;
            } else {
                let second = Duration::from_secs(1);
                self.put(&record.name, Some(&record), "", second, None)
                    .await?;
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
