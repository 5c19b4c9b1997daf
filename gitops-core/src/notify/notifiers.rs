//! From one event to all notifiers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quick_cache::sync::Cache;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::{EventFilter, Notifier};
use crate::backend::{EventKind, SyncEvent};
use crate::error::{Error, Result};
use crate::manifest::digest::value_digest;

/// How many events are remembered of a notifier to tell which were told already.
const REMEMBERED: usize = 10_000;
/// A try that is given up ends within this time, or it blocks its thread.
const STOPPING: Duration = Duration::from_millis(100);

/// How events are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifierOptions {
    /// One try of one notifier takes at most this long; 10 seconds unless set.
    pub time_limit: Duration,
    /// How often a delivery that failed with a retryable error is tried again; 2 unless set.
    pub retries: u32,
    /// The wait before the first such try; each further one is twice as long, and a longer one that the other side asked for is honoured up to
    /// [`time_limit`](Self::time_limit). Half a second unless set.
    pub pause: Duration,
    /// A notifier that took an event is not told the same of the same operation again within this time; of a state (in sync, healthy, refused …) only what it was told last counts.
    /// `None`, the default, tells all.
    pub deduplicate: Option<Duration>,
    /// One after the other, in the order in which they were added, and no further after the first failure. Off unless set: then all get it at once.
    pub strict: bool,
}

impl Default for NotifierOptions {
    fn default() -> Self {
        Self {
            time_limit: Duration::from_secs(10),
            retries: 2,
            pause: Duration::from_millis(500),
            deduplicate: None,
            strict: false,
        }
    }
}

/// Tells every notifier of every event that it wants to hear of.
pub struct Notifiers {
    entries: Vec<Entry>,
    options: NotifierOptions,
}

struct Entry {
    notifier: Arc<dyn Notifier>,
    filter: EventFilter,
    /// What it was told of, when it is not to be told twice.
    told: Option<Cache<String, Told>>,
}

impl fmt::Debug for Notifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .entries
            .iter()
            .map(|entry| entry.notifier.name())
            .collect();
        f.debug_struct("Notifiers")
            .field("notifiers", &names)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Default for Notifiers {
    fn default() -> Self {
        Self::new(NotifierOptions::default())
    }
}

impl Notifiers {
    /// Nobody yet.
    pub fn new(options: NotifierOptions) -> Self {
        Self {
            entries: Vec::new(),
            options,
        }
    }

    /// Adds a notifier that hears of everything.
    pub fn add_notifier(&mut self, notifier: impl Notifier + 'static) -> &mut Self {
        self.add_filtered(notifier, EventFilter::all())
    }

    /// Adds a notifier that hears of what `filter` wants.
    pub fn add_filtered(
        &mut self,
        notifier: impl Notifier + 'static,
        filter: EventFilter,
    ) -> &mut Self {
        self.entries.push(Entry {
            notifier: Arc::new(notifier),
            filter,
            told: (self.options.deduplicate).map(|_| Cache::new(REMEMBERED)),
        });
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Each by itself, for who tells each at its own pace; strict ones wait for each other, and stay together.
    #[cfg(feature = "reconcile")]
    pub(crate) fn apart(self) -> Vec<Self> {
        if self.options.strict {
            return vec![self];
        }
        let options = self.options;
        let alone = |entry| Self {
            entries: vec![entry],
            ..Self::new(options.clone())
        };
        self.entries.into_iter().map(alone).collect()
    }

    /// Their names.
    #[cfg(feature = "reconcile")]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.notifier.name())
    }

    /// Tells of `event`. A notifier that fails, hangs, panics or blocks its thread keeps it from no other, unless the options are strict. Returns when all are done; dropping
    /// the future cancels the deliveries that are not, and those do not count as told. Each try runs in a task of its own, on the tokio runtime of the caller.
    ///
    /// # Errors
    /// What went wrong, of each notifier.
    pub async fn notify_sync(&self, event: &SyncEvent) -> Result<(), NotifyFailures> {
        let event = &Arc::new(event.clone());
        let wanting = self
            .entries
            .iter()
            .filter(|entry| entry.filter.wants(event));
        let mut failures = Vec::new();
        if self.options.strict {
            for entry in wanting {
                if let Err(error) = self.tell(entry, event).await {
                    failures.push((entry.notifier.name().to_owned(), error));
                    break;
                }
            }
        } else {
            let all = wanting.map(|entry| async {
                let result = self.tell(entry, event).await;
                result.map_err(|error| (entry.notifier.name().to_owned(), error))
            });
            failures = join_all(all)
                .await
                .into_iter()
                .filter_map(Result::err)
                .collect();
        }
        for (name, error) in &failures {
            crate::metrics::notifier_failed(name);
            tracing::warn!(notifier = %name, app = %event.app, %error, "an event was not delivered");
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(NotifyFailures { failures })
        }
    }

    /// Delivers to one notifier what it was not told of a moment ago. Who is told the same at the same time waits, and delivers it if that failed.
    async fn tell(&self, entry: &Entry, event: &Arc<SyncEvent>) -> Result<()> {
        let (Some(told), Some(window)) = (&entry.told, self.options.deduplicate) else {
            return self.deliver(&entry.notifier, event).await;
        };
        let (subject, says) = key(event);
        let is_new = |last: &Told| last.says != says || last.at.elapsed() >= window;
        loop {
            told.remove_if(&subject, is_new);
            match told.get_value_or_guard_async(&subject).await {
                Ok(last) if is_new(&last) => {}
                Ok(_) => return Ok(()),
                Err(place) => {
                    self.deliver(&entry.notifier, event).await?;
                    let at = Instant::now();
                    // Nobody else takes a place away that is being filled; if somebody did, it would be told twice.
                    let _ = place.insert(Told { says, at });
                    return Ok(());
                }
            }
        }
    }

    async fn deliver(&self, notifier: &Arc<dyn Notifier>, event: &Arc<SyncEvent>) -> Result<()> {
        let mut pause = self.options.pause;
        let mut left = self.options.retries;
        loop {
            let error = match self.once(notifier, event).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if left == 0 || !error.is_retryable() {
                return Err(error);
            }
            left -= 1;
            let asked = error.retry_after().unwrap_or_default();
            if asked > self.options.time_limit {
                return Err(error);
            }
            tokio::time::sleep(pause.max(asked)).await;
            pause = pause.saturating_mul(2);
        }
    }

    /// One try, in a task: a panic ends there, and a thread that is blocked is not this one.
    async fn once(&self, notifier: &Arc<dyn Notifier>, event: &Arc<SyncEvent>) -> Result<()> {
        let limit = self.options.time_limit;
        let (notifier, event) = (Arc::clone(notifier), Arc::clone(event));
        let mut task = JoinSet::new();
        task.spawn(async move { notifier.notify(&event).await }.in_current_span());
        match timeout(limit, task.join_next()).await {
            Ok(Some(Ok(result))) => return result,
            Ok(_) => return Err(Error::internal("the notifier panicked")),
            Err(_) => task.abort_all(),
        }
        // It may have arrived: the contract of `Notifier` allows to tell twice.
        let late = Error::timeout(format!("not delivered within {limit:?}"));
        match timeout(STOPPING, task.join_next()).await {
            Ok(Some(Ok(result))) => result,
            Ok(_) => Err(late),
            // Another try would block another thread.
            Err(_) => Err(late
                .context("the notifier blocks its thread")
                .with_retryable(false)),
        }
    }
}

/// What was told of something, and when.
#[derive(Clone)]
struct Told {
    says: String,
    at: Instant,
}

/// What an event is about, and what it says of it, its time left out. Most speak only of themselves; what is told of a state is news when the last that was told is another.
fn key(event: &SyncEvent) -> (String, String) {
    let says = value_digest(&json!([event.app, event.operation, event.kind]));
    let of = |what: Value| {
        let name = event.kind.name();
        value_digest(&json!([event.app, event.operation, name, what]))
    };
    let subject = match &event.kind {
        EventKind::StatusChanged { .. } => of(Value::Null),
        EventKind::RevisionDetected { source, .. } => of(json!(source)),
        EventKind::SyncRefused { by, .. } => of(json!(by)),
        EventKind::HealthChanged { id, .. } | EventKind::Hook { id, .. } => of(json!(id)),
        _ => says.clone(),
    };
    (subject, says)
}

/// Which notifiers were not reached, and why.
#[derive(Debug)]
pub struct NotifyFailures {
    failures: Vec<(String, Error)>,
}

impl NotifyFailures {
    /// All in one error, whose source this is.
    pub fn into_error(self) -> Error {
        Error::failed(self.to_string()).with_source(self)
    }

    /// The names of the notifiers, and their errors.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.failures
            .iter()
            .map(|(name, error)| (name.as_str(), error))
    }
}

impl fmt::Display for NotifyFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} notifiers were not reached", self.failures.len())?;
        for (index, (name, error)) in self.failures.iter().enumerate() {
            write!(f, "{} {name}: {error}", if index == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl std::error::Error for NotifyFailures {}
