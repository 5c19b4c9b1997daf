//! The cache itself.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::time::Instant;

use super::flights::{Flights, InFlight, Mark};
use super::shared::{SharedRead, SharedStatuses, WriteToken};
use super::stats::{Answer, CacheStats, Counters, add};
use super::{CacheOptions, weight};
use crate::application::{AppRef, ApplicationStatus};
use crate::error::{Error, ErrorKind, Result};

/// Longer times than this are cut to it: clocks take no times without bound.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// After a refresh behind a caller's back failed, the next one may begin after this time.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// A lock guards at least so many bytes of statuses: a part of the capacity takes no status that is larger than the part.
const SHARD: u64 = 4 << 20;

/// What a status weighs that is neither small nor large, to guess how many there will be.
const USUAL: u64 = 4096;

/// Statuses of applications, kept for a while, in memory and maybe in a store that several processes share.
///
/// Clones share everything. One application is read by one caller at a time; the others wait for its answer. Failed readings are not kept.
/// [The module](super) says how old an answer may be.
#[derive(Clone)]
pub struct StatusCache {
    inner: Arc<Inner>,
}

struct Inner {
    entries: Cache<AppRef, Slot, Weights>,
    flights: Arc<Flights>,
    /// Counts `invalidate_all`: what was read in an earlier epoch is gone.
    epoch: AtomicU64,
    options: CacheOptions,
    shared: Option<Arc<dyn SharedStatuses>>,
    counters: Counters,
    /// When what is too old to be given out is next looked for.
    sweep_at: Mutex<Instant>,
}

/// A failed reading passes through the cache, to reach those who wait for it, and counts as absent.
#[derive(Clone)]
enum Slot {
    Kept(CachedStatus),
    Failed(Arc<Error>),
}

#[derive(Clone, Copy, Debug)]
struct Weights;

impl Weighter<AppRef, Slot> for Weights {
    fn weight(&self, app: &AppRef, slot: &Slot) -> u64 {
        let names = app.namespace.len() + app.name.len();
        let status = match slot {
            Slot::Kept(kept) => weight(kept),
            Slot::Failed(_) => 512,
        };
        names as u64 + u64::from(status)
    }
}

/// A status out of the cache; it dereferences to [`ApplicationStatus`].
#[derive(Clone)]
pub struct CachedStatus(Arc<Kept>);

/// In this order: what every read looks at shares a cache line with the counter of the `Arc`.
#[repr(C)]
struct Kept {
    fresh_until: Instant,
    stale_until: Instant,
    epoch: u64,
    /// None for what a watch told: nothing overtakes that but what takes its place.
    mark: Option<Arc<Mark>>,
    read_at: Instant,
    refreshing: AtomicBool,
    status: ApplicationStatus,
}

impl CachedStatus {
    /// How long ago it was read from the backend, or told by a watch.
    pub fn age(&self) -> Duration {
        self.0.read_at.elapsed()
    }

    /// The status, to own; without copying when nobody else has it.
    pub fn into_status(self) -> ApplicationStatus {
        match Arc::try_unwrap(self.0) {
            Ok(kept) => kept.status,
            Err(kept) => kept.status.clone(),
        }
    }
}

impl Deref for CachedStatus {
    type Target = ApplicationStatus;
    fn deref(&self) -> &ApplicationStatus {
        &self.0.status
    }
}

impl fmt::Debug for CachedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStatus")
            .field("status", &self.0.status)
            .field("age", &self.age())
            .finish()
    }
}

impl fmt::Debug for StatusCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusCache")
            .field("options", &self.inner.options)
            .field("shared", &self.inner.shared.is_some())
            .field("stats", &self.stats())
            .finish()
    }
}

impl Default for StatusCache {
    fn default() -> Self {
        Self::new(CacheOptions::default())
    }
}

impl StatusCache {
    /// A cache in this process.
    pub fn new(options: CacheOptions) -> Self {
        Self::build(options, None)
    }

    /// A cache in this process before one that several processes share.
    pub fn shared(options: CacheOptions, store: Arc<dyn SharedStatuses>) -> Self {
        Self::build(options, Some(store))
    }

    fn build(mut options: CacheOptions, shared: Option<Arc<dyn SharedStatuses>>) -> Self {
        options.time_to_live = options.time_to_live.min(LONGEST);
        options.stale_for = options.stale_for.min(LONGEST);
        // Four for a core, as the library does by itself: with more of them it gets slower.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let shards = (options.capacity / SHARD).clamp(1, 4 * cores);
        let estimated = (options.capacity / USUAL).max(32 * shards);
        let entries = Cache::with_options(
            OptionsBuilder::new()
                .shards(usize::try_from(shards).unwrap_or(1))
                .estimated_items_capacity(usize::try_from(estimated).unwrap_or(usize::MAX))
                .weight_capacity(options.capacity)
                .build()
                .unwrap_or_else(|_| unreachable!("both capacities are set")),
            Weights,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        );
        let sweep_at = Instant::now() + options.time_to_live + options.stale_for;
        Self {
            inner: Arc::new(Inner {
                entries,
                flights: Arc::default(),
                epoch: AtomicU64::new(0),
                options,
                shared,
                counters: Counters::default(),
                sweep_at: Mutex::new(sweep_at),
            }),
        }
    }

    /// How it behaves.
    pub fn options(&self) -> &CacheOptions {
        &self.inner.options
    }

    /// The status of `app`, if it is there and fresh; with a shared store, there too. A store that is away is a miss.
    pub async fn get(&self, app: &AppRef) -> Option<CachedStatus> {
        let inner = &self.inner;
        let now = Instant::now();
        if let Some(kept) = inner.kept(app)
            && now < kept.0.fresh_until
        {
            inner.counters.answered(Answer::Hit);
            return Some(kept);
        }
        if inner.shared.is_some() {
            let flight = inner.flights.begin(app);
            if let Ok(found) = inner.ask_shared(app, &flight).await {
                inner.counters.answered(Answer::Shared);
                inner.store(app.clone(), found.clone());
                return Some(found);
            }
        }
        inner.counters.answered(Answer::Miss);
        None
    }

    /// The status of `app`: from the cache, else from `load`, whose answer is kept.
    ///
    /// An old status is given out while it may be ([`CacheOptions::stale_for`]), and `load` runs in a task of its own; else the caller waits, and
    /// all who ask meanwhile wait for the same `load`. Dropping the future of the one that reads lets the next one read.
    ///
    /// # Errors
    /// Those of `load`; every caller that waited for it gets the same.
    pub async fn get_or_load<F, Fut>(&self, app: &AppRef, load: F) -> Result<CachedStatus>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<ApplicationStatus>> + Send + 'static,
    {
        let inner = &self.inner;
        let now = Instant::now();
        if let Some(kept) = inner.kept(app) {
            if now < kept.0.fresh_until {
                inner.counters.answered(Answer::Hit);
                return Ok(kept);
            }
            if now < kept.0.stale_until {
                inner.counters.answered(Answer::Stale);
                if !kept.0.refreshing.swap(true, Ordering::AcqRel) {
                    let (inner, app, old) = (Arc::clone(inner), app.clone(), kept.clone());
                    tokio::spawn(async move { inner.refresh(app, old, load).await });
                }
                return Ok(kept);
            }
        }
        inner.read(app, load).await
    }

    /// Keeps `status` as the newest of `app`; what is being read meanwhile is older. Use it for what a watch tells.
    pub async fn insert(&self, app: &AppRef, status: ApplicationStatus) {
        let inner = &self.inner;
        inner.flights.overtake(app);
        // Lives until the shared store has it, so that a change in between finds the mark.
        let flight = inner.flights.begin(app);
        let kept = inner.keep(status, None, inner.epoch(), Duration::ZERO);
        flight.unless_overtaken(|| {
            inner.entries.insert(app.clone(), Slot::Kept(kept.clone()));
        });
        inner.sweep();
        let Some(shared) = &inner.shared else {
            return;
        };
        let live = inner.options.time_to_live;
        if let Err(error) = shared.write(app, &kept, None, live).await {
            inner.shared_failed(&error);
        }
        // The change has told the shared store too, maybe before this was written there.
        if flight.mark().is_overtaken()
            && let Err(error) = shared.forget(app).await
        {
            inner.shared_failed(&error);
        }
    }

    /// Forgets the status of `app`, here and in the shared store. Who asks afterwards gets one that was read afterwards.
    ///
    /// It cannot fail: a shared store that is away keeps its copy for at most its time to live, and this process does not use it.
    pub async fn invalidate(&self, app: &AppRef) {
        let inner = &self.inner;
        add(&inner.counters.invalidations);
        inner.forget(app);
        if let Some(shared) = &inner.shared
            && let Err(error) = shared.forget(app).await
        {
            inner.shared_failed(&error);
        }
        // Whoever read the shared store between the first step and the second may have kept what was there.
        if inner.shared.is_some() {
            inner.forget(app);
        }
    }

    /// Forgets everything in this process. A shared store keeps what it has, for at most its time to live.
    pub fn invalidate_all(&self) {
        self.inner.epoch.fetch_add(1, Ordering::AcqRel);
        self.inner.flights.overtake_all();
        self.inner.entries.clear();
    }

    /// What was counted, and what is held.
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            entries: self.inner.entries.len() as u64,
            bytes: self.inner.entries.weight(),
            ..self.inner.counters.snapshot()
        }
    }
}

impl Inner {
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn is_valid(&self, kept: &CachedStatus) -> bool {
        kept.0.epoch == self.epoch()
            && !kept.0.mark.as_ref().is_some_and(|mark| mark.is_overtaken())
    }

    /// What is in memory and not overtaken, of whatever age.
    fn kept(&self, app: &AppRef) -> Option<CachedStatus> {
        match self.entries.get(app) {
            Some(Slot::Kept(kept)) if self.is_valid(&kept) => Some(kept),
            _ => None,
        }
    }

    fn store(&self, app: AppRef, kept: CachedStatus) {
        self.entries.insert(app, Slot::Kept(kept));
        self.sweep();
    }

    fn forget(&self, app: &AppRef) {
        self.flights.overtake(app);
        self.entries.remove(app);
    }

    /// Frees what is too old to be given out, once in the time that it takes to become so.
    fn sweep(&self) {
        let now = Instant::now();
        let Ok(mut at) = self.sweep_at.try_lock() else {
            return;
        };
        if now < *at {
            return;
        }
        *at = now + self.options.time_to_live + self.options.stale_for;
        drop(at);
        self.entries
            .retain(|_, slot| matches!(slot, Slot::Kept(kept) if now < kept.0.stale_until));
    }

    fn keep(
        &self,
        mut status: ApplicationStatus,
        mark: Option<Arc<Mark>>,
        epoch: u64,
        age: Duration,
    ) -> CachedStatus {
        // Room that a vector grew for is room that nobody uses for as long as the status is kept.
        status.resources.shrink_to_fit();
        status.history.shrink_to_fit();
        status.conditions.shrink_to_fit();
        let now = Instant::now();
        let mut fresh = self.options.time_to_live.saturating_sub(age);
        if self.shared.is_some() {
            fresh = fresh.min(self.options.near);
        }
        CachedStatus(Arc::new(Kept {
            status,
            read_at: now.checked_sub(age).unwrap_or(now),
            fresh_until: now + fresh,
            stale_until: now + fresh + self.options.stale_for,
            epoch,
            mark,
            refreshing: AtomicBool::new(false),
        }))
    }

    fn shared_failed(&self, error: &Error) {
        add(&self.counters.shared_failures);
        crate::metrics::shared_cache_failed();
        tracing::debug!(%error, "the shared cache is away");
    }

    /// What the shared store has; else the token for writing, when it answered.
    async fn ask_shared(
        &self,
        app: &AppRef,
        flight: &InFlight,
    ) -> Result<CachedStatus, Option<WriteToken>> {
        let Some(shared) = &self.shared else {
            return Err(None);
        };
        let epoch = self.epoch();
        match shared.read(app).await {
            Ok(SharedRead::Found { status, age }) => {
                Ok(self.keep(*status, Some(flight.mark()), epoch, age))
            }
            Ok(SharedRead::Missing(token)) => Err(Some(token)),
            Err(error) => {
                self.shared_failed(&error);
                Err(None)
            }
        }
    }

    /// Reads from the backend, and tells the shared store.
    async fn load<Fut>(
        &self,
        app: &AppRef,
        flight: &InFlight,
        token: Option<WriteToken>,
        load: Fut,
    ) -> Result<CachedStatus>
    where
        Fut: Future<Output = Result<ApplicationStatus>>,
    {
        add(&self.counters.loads);
        let epoch = self.epoch();
        let status = load
            .await
            .inspect_err(|_| add(&self.counters.load_failures))?;
        if let (Some(shared), Some(token)) = (&self.shared, token)
            && let Err(error) = shared
                .write(app, &status, Some(&token), self.options.time_to_live)
                .await
        {
            self.shared_failed(&error);
        }
        Ok(self.keep(status, Some(flight.mark()), epoch, Duration::ZERO))
    }

    /// One caller reads, the others wait for it.
    async fn read<F, Fut>(&self, app: &AppRef, load: F) -> Result<CachedStatus>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<ApplicationStatus>>,
    {
        loop {
            let asked_at = Instant::now();
            let is_of_no_use = |slot: &Slot| match slot {
                Slot::Failed(_) => true,
                Slot::Kept(kept) => !self.is_valid(kept) || kept.0.stale_until <= asked_at,
            };
            self.entries.remove_if(app, is_of_no_use);
            match self.entries.get_value_or_guard_async(app).await {
                // What others read may have been overtaken by a change that the caller knows of.
                Ok(Slot::Kept(kept)) if self.is_valid(&kept) => {
                    self.counters.answered(Answer::Hit);
                    return Ok(kept);
                }
                Ok(Slot::Kept(_)) => {}
                Ok(Slot::Failed(error)) => {
                    self.counters.answered(Answer::Miss);
                    return Err(same(error));
                }
                Err(place) => {
                    // Lives until the entry is stored, so that a change in between finds the mark.
                    let flight = self.flights.begin(app);
                    let (read, answer) = match self.ask_shared(app, &flight).await {
                        Ok(found) => (Ok(found), Answer::Shared),
                        Err(token) => {
                            let read = self.load(app, &flight, token, load()).await;
                            (read, Answer::Miss)
                        }
                    };
                    self.counters.answered(answer);
                    return match read {
                        Ok(kept) => {
                            // A change meanwhile has taken the place away: only those who wait get this one.
                            let _ = place.insert(Slot::Kept(kept.clone()));
                            self.sweep();
                            Ok(kept)
                        }
                        Err(error) => {
                            let error = Arc::new(error);
                            let _ = place.insert(Slot::Failed(Arc::clone(&error)));
                            self.entries
                                .remove_if(app, |slot| matches!(slot, Slot::Failed(_)));
                            Err(same(error))
                        }
                    };
                }
            }
        }
    }

    async fn refresh<F, Fut>(&self, app: AppRef, old: CachedStatus, load: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<ApplicationStatus>>,
    {
        let flight = self.flights.begin(&app);
        let read = match self.ask_shared(&app, &flight).await {
            Ok(found) => Ok(found),
            Err(token) => self.load(&app, &flight, token, load()).await,
        };
        match read {
            // What came in between is newer.
            Ok(kept) if self.is_valid(&kept) => {
                self.store(app, kept);
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => self.forget(&app),
            Err(error) => {
                tracing::debug!(%app, %error, "an old status could not be refreshed");
                drop(flight);
                tokio::time::sleep(REFRESH_PAUSE).await;
                old.0.refreshing.store(false, Ordering::Release);
            }
        }
    }
}

/// The same error for each of those who waited for one reading.
fn same(error: Arc<Error>) -> Error {
    let error = match Arc::try_unwrap(error) {
        Ok(error) => return error,
        Err(shared) => shared,
    };
    let mut copy = Error::new(error.kind(), error.to_string()).with_retryable(error.is_retryable());
    if let Some(after) = error.retry_after() {
        copy = copy.with_retry_after(after);
    }
    if std::error::Error::source(&*error).is_some() {
        copy = copy.with_source(Cause(error));
    }
    copy
}

/// The source of an error that several have.
#[derive(Debug)]
struct Cause(Arc<Error>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::error::Error::source(&*self.0) {
            Some(source) => fmt::Display::fmt(source, f),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0).and_then(std::error::Error::source)
    }
}
