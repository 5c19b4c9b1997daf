//! New revisions of many repositories, as streams.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use gitops_core::application::{Source, SourceKind};
use gitops_core::source::{RevisionEvent, same_repository};
use gitops_core::{Error, Result};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::repository::Repository;
use crate::revision::Revision;
use crate::transport::RemoteRefs;
use crate::url::RepoUrl;

/// How often a [`GitWatcher`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchOptions {
    /// The time between two looks at a repository (one minute unless set).
    pub interval: Duration,
    /// The share of the interval by which each pause is made longer at random (0.1 unless set), so that many watchers do not look at once. Never shorter: a server
    /// that named a time is not asked before it.
    pub jitter: f64,
    /// After errors the pause doubles, up to this (ten minutes unless set); a server's `Retry-After` counts when it is longer.
    pub max_backoff: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            jitter: 0.1,
            max_backoff: Duration::from_secs(600),
        }
    }
}

/// A revision that was not there at the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewRevision {
    /// The repository.
    pub url: RepoUrl,
    /// What is watched.
    pub revision: Revision,
    /// The commit it means now.
    pub commit: String,
    /// The reference that leads there.
    pub reference: Option<String>,
    /// The commit that the item before told; `None` for the first.
    pub previous: Option<String>,
}

impl From<NewRevision> for RevisionEvent {
    fn from(new: NewRevision) -> Self {
        Self {
            kind: SourceKind::Git,
            urls: vec![new.url.to_string()],
            // `HEAD` names no branch.
            reference: new.reference.filter(|name| name.starts_with("refs/")),
            revision: Some(new.commit),
            previous: new.previous,
            teller: "watch".into(),
            ..Self::default()
        }
    }
}

/// Whoever never wants to look again may say so; clocks do not count for ever.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Watches revisions of repositories by listing their references; nothing is fetched. Clones share everything.
///
/// However many streams watch a [`Repository`] (its clones count as one), it is looked at once per interval.
#[derive(Clone, Debug)]
pub struct GitWatcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: WatchOptions,
    paused: watch::Sender<bool>,
    groups: Mutex<HashMap<usize, Group>>,
}

/// The watchers of one repository.
#[derive(Debug)]
struct Group {
    url: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    subscribers: Mutex<Vec<Subscriber>>,
    wake: Notify,
    poked: AtomicBool,
}

#[derive(Debug)]
struct Subscriber {
    revision: Revision,
    last: Option<String>,
    /// Was told nothing yet.
    fresh: bool,
    items: mpsc::Sender<Result<NewRevision>>,
}

/// One stream's end; dropping it stops the looking when it was the last.
struct Listening {
    items: mpsc::Receiver<Result<NewRevision>>,
    state: Arc<State>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.items.close();
        self.state.wake.notify_one();
    }
}

impl Default for GitWatcher {
    fn default() -> Self {
        Self::new(WatchOptions::default())
    }
}

impl GitWatcher {
    /// A watcher that looks at nothing yet.
    pub fn new(options: WatchOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                paused: watch::Sender::new(false),
                groups: Mutex::default(),
            }),
        }
    }

    /// The commits that `revision` comes to mean: the one it means now, then each new one. When several follow each other between two looks, only the
    /// last is told.
    ///
    /// Errors (of the network, or a revision that does not exist) are items; the stream goes on, after growing pauses. Watching
    /// starts with the first poll, and stops when the stream is dropped. Must be polled within a Tokio runtime.
    pub fn watch(
        &self,
        repository: &Repository,
        revision: Revision,
    ) -> BoxStream<'static, Result<NewRevision>> {
        let (shared, repository) = (Arc::clone(&self.shared), repository.clone());
        stream::once(async move {
            let listening = shared.subscribe(repository, revision);
            stream::unfold(listening, |mut listening| async move {
                listening.items.recv().await.map(|item| (item, listening))
            })
        })
        .flatten()
        .boxed()
    }

    /// Looks at `repository` now, if it is watched: for webhooks.
    pub fn poke(&self, repository: &Repository) {
        if let Some(group) = lock(&self.shared.groups).get(&repository.key()) {
            group.state.poke();
        }
    }

    /// Looks now at the watched repositories that `event` is about; whether there are any.
    pub fn poke_for(&self, event: &RevisionEvent) -> bool {
        let groups = lock(&self.shared.groups);
        let concerned: Vec<&Group> = groups
            .values()
            .filter(|group| group.is_about(event))
            .collect();
        concerned.iter().for_each(|group| group.state.poke());
        !concerned.is_empty()
    }

    /// Whether somebody watches what `event` is about, so that a look tells of it.
    fn will_tell(&self, event: &RevisionEvent) -> bool {
        let groups = lock(&self.shared.groups);
        groups
            .values()
            .filter(|group| group.is_about(event))
            .any(|group| {
                let subscribers = lock(&group.state.subscribers);
                subscribers.iter().any(|subscriber| {
                    !subscriber.items.is_closed() && subscriber.may_mean(&group.url, event)
                })
            })
    }

    /// One stream of what is `watched` with this watcher and of what `webhooks` tell.
    ///
    /// A webhook about what is watched is not passed on: the repository itself is looked at, at once, and what is new there is told. So a webhook brings news within
    /// the time of one look instead of an interval, a forged one brings none, and a lost one is made up for at the next interval. Webhooks about what is not
    /// watched, such as registries, and other branches and tags of a repository that is, are passed on as they are. Errors of the watcher, which it has logged, are left out.
    pub fn with_webhooks(
        &self,
        watched: impl Stream<Item = Result<NewRevision>> + Send + 'static,
        webhooks: impl Stream<Item = RevisionEvent> + Send + 'static,
    ) -> BoxStream<'static, RevisionEvent> {
        let watcher = self.clone();
        let watched = watched.filter_map(async |item| item.ok().map(RevisionEvent::from));
        let webhooks = webhooks.filter_map(move |event| {
            watcher.poke_for(&event);
            let passed = (!watcher.will_tell(&event)).then_some(event);
            async { passed }
        });
        stream::select(watched.boxed(), webhooks.boxed()).boxed()
    }

    /// Looks at every watched repository now.
    pub fn poke_all(&self) {
        for group in lock(&self.shared.groups).values() {
            group.state.poke();
        }
    }

    /// Stops looking until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Looks again, at once where a look was due.
    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        *self.shared.paused.borrow()
    }

    /// How many repositories are being looked at.
    pub fn repositories(&self) -> usize {
        lock(&self.shared.groups)
            .values()
            .filter(|group| !group.task.is_finished())
            .count()
    }
}

impl Group {
    fn is_about(&self, event: &RevisionEvent) -> bool {
        event.kind == SourceKind::Git
            && !self.task.is_finished()
            && (event.urls.iter()).any(|url| same_repository(url, &self.url))
    }
}

impl Subscriber {
    /// Whether `event` may be about what is watched, by the rule that applications go by.
    fn may_mean(&self, url: &str, event: &RevisionEvent) -> bool {
        let mut source = Source::git(url);
        source.target_revision = Some(match &self.revision {
            // However the range is written, it may mean any tag.
            Revision::Semver(_) => "*".into(),
            revision => revision.to_string(),
        });
        event.concerns_source(&source)
    }
}

impl State {
    /// Ends when nobody listens. May swallow a wake-up: afterwards the subscribers are gone through, and `poked` still says what was asked for.
    async fn deserted(&self) {
        loop {
            self.wake.notified().await;
            if lock(&self.subscribers)
                .iter()
                .all(|subscriber| subscriber.items.is_closed())
            {
                return;
            }
        }
    }

    fn poke(&self) {
        self.poked.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }
}

impl Shared {
    fn subscribe(self: Arc<Self>, repository: Repository, revision: Revision) -> Listening {
        let (sender, items) = mpsc::channel(16);
        let subscriber = Subscriber {
            revision,
            last: None,
            fresh: true,
            items: sender,
        };
        let key = repository.key();
        let mut groups = lock(&self.groups);
        let state = match groups.get(&key).filter(|group| !group.task.is_finished()) {
            Some(group) => {
                lock(&group.state.subscribers).push(subscriber);
                group.state.wake.notify_one();
                Arc::clone(&group.state)
            }
            None => {
                let state = Arc::new(State::default());
                lock(&state.subscribers).push(subscriber);
                let url = repository.url().to_string();
                let task = tokio::spawn(look(Arc::clone(&self), repository, Arc::clone(&state)));
                let group = Group {
                    url,
                    state: Arc::clone(&state),
                    task,
                };
                groups.insert(key, group);
                state
            }
        };
        Listening { items, state }
    }

    /// Forgets the group when nobody listens any more; under the lock, so that no subscriber slips in.
    fn end_if_deserted(&self, key: usize, state: &State) -> bool {
        let mut groups = lock(&self.groups);
        let mut subscribers = lock(&state.subscribers);
        subscribers.retain(|subscriber| !subscriber.items.is_closed());
        let deserted = subscribers.is_empty();
        if deserted {
            groups.remove(&key);
        }
        deserted
    }

    fn pause_after(&self, failures: u32, retry_after: Option<Duration>) -> Duration {
        let options = &self.options;
        let base = match failures {
            0 => options.interval,
            failures => options
                .interval
                .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
                .min(options.max_backoff.max(options.interval))
                .max(retry_after.unwrap_or_default()),
        };
        let base = base.clamp(Duration::from_millis(1), LONGEST);
        let share = if options.jitter.is_nan() {
            0.0
        } else {
            options.jitter.clamp(0.0, 1.0)
        };
        base + base.mul_f64(share * fastrand::f64())
    }
}

async fn look(shared: Arc<Shared>, repository: Repository, state: Arc<State>) {
    let mut paused = shared.paused.subscribe();
    let mut failures = 0;
    let mut due = Instant::now();
    let mut last: Option<Result<RemoteRefs>> = None;
    loop {
        // The sender lives in `shared`, so this cannot fail.
        let _ = paused.wait_for(|paused| !paused).await;
        if shared.end_if_deserted(repository.key(), &state) {
            return;
        }
        let looks = state.poked.swap(false, Ordering::SeqCst) || Instant::now() >= due;
        if looks {
            // Dropping the last stream also stops a look under way.
            let listed = tokio::select! {
                listed = repository.list_refs() => listed,
                () = state.deserted() => {
                    // It is still to be done, for whoever comes before the group has gone.
                    state.poked.store(true, Ordering::SeqCst);
                    continue;
                }
            };
            let retry_after = match &listed {
                Ok(_) => {
                    failures = 0;
                    None
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(url = %repository.url(), failures, %error, "cannot list references");
                    error.retry_after()
                }
            };
            due = Instant::now() + shared.pause_after(failures, retry_after);
            last = Some(listed);
        }
        for subscriber in lock(&state.subscribers).iter_mut() {
            // Others who joined meanwhile are told what was seen last; who was told is not told again.
            let fresh = std::mem::take(&mut subscriber.fresh);
            match &last {
                Some(Ok(refs)) if looks || fresh => tell(subscriber, &repository, refs),
                Some(Err(error)) if looks || fresh => {
                    let _ = subscriber.items.try_send(Err(copy(error)));
                }
                _ => {}
            }
        }
        wait(&state, &mut paused, due).await;
    }
}

async fn wait(state: &State, paused: &mut watch::Receiver<bool>, due: Instant) {
    // Asked for while a look was under way, which may have swallowed the wake-up.
    if state.poked.load(Ordering::SeqCst) {
        return;
    }
    tokio::select! {
        () = tokio::time::sleep_until(due) => {}
        () = state.wake.notified() => {}
        _ = paused.changed() => {}
    }
}

fn tell(subscriber: &mut Subscriber, repository: &Repository, refs: &RemoteRefs) {
    match subscriber.revision.find(refs) {
        Ok(found) if subscriber.last.as_deref() == Some(&found.commit) => {}
        Ok(found) => {
            let item = NewRevision {
                url: repository.url().clone(),
                revision: subscriber.revision.clone(),
                commit: found.commit.clone(),
                reference: found.reference,
                previous: subscriber.last.clone(),
            };
            // A listener that is behind hears of the newest one at the next look.
            if subscriber.items.try_send(Ok(item)).is_ok() {
                subscriber.last = Some(found.commit);
            }
        }
        Err(error) => {
            let error = error.context(format!("watch {}", repository.url()));
            let _ = subscriber.items.try_send(Err(error));
        }
    }
}

/// Errors cannot be cloned: the same kind, words and retry hint, for one more listener.
fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.to_string()).with_retryable(error.is_retryable());
    match error.retry_after() {
        Some(after) => copy.with_retry_after(after),
        None => copy,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_failures_and_vary() {
        let watcher = GitWatcher::new(WatchOptions {
            interval: Duration::from_secs(60),
            jitter: 0.1,
            max_backoff: Duration::from_secs(600),
        });
        let pause = |failures, retry_after: Option<u64>| {
            let retry_after = retry_after.map(Duration::from_secs);
            watcher
                .shared
                .pause_after(failures, retry_after)
                .as_secs_f64()
        };
        for (failures, retry_after, base) in [
            (0, None, 60.0),
            (1, None, 120.0),
            (3, None, 480.0),
            (4, None, 600.0),
            (1_000_000, None, 600.0),
            (1, Some(10), 120.0),
            (1, Some(3600), 3600.0),
        ] {
            let pauses: Vec<f64> = (0..200).map(|_| pause(failures, retry_after)).collect();
            let (low, high) = pauses
                .iter()
                .fold((f64::MAX, 0.0_f64), |(low, high), pause| {
                    (low.min(*pause), high.max(*pause))
                });
            assert!(low >= base && high <= base * 1.1 + 0.001, "{low} to {high}");
            assert!(high - low > base * 0.05, "{low} to {high}");
        }
    }

    #[test]
    fn no_interval_is_too_long() {
        for jitter in [0.0, 1.0, f64::NAN, f64::INFINITY, -1.0] {
            let watcher = GitWatcher::new(WatchOptions {
                interval: Duration::MAX,
                jitter,
                max_backoff: Duration::MAX,
            });
            for (failures, retry_after) in [(0, None), (40, None), (1, Some(Duration::MAX))] {
                let pause = watcher.shared.pause_after(failures, retry_after);
                let _ = Instant::now() + pause;
                assert!(pause >= LONGEST);
            }
        }
    }
}
