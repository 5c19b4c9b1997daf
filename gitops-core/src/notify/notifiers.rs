//! From one event to all notifiers.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::{EventFilter, Notifier};
use crate::backend::SyncEvent;
use crate::error::{Error, Result};
use crate::manifest::digest::value_digest;

/// How many events are remembered to tell which were told already.
const REMEMBERED: usize = 10_000;

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
    /// An event that says the same of the same operation within this time is told once; `None`, the default, tells all.
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
    told: Cache<String, Instant>,
}

struct Entry {
    notifier: Arc<dyn Notifier>,
    filter: EventFilter,
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
            told: Cache::new(REMEMBERED),
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

    /// Tells of `event`. A notifier that fails, hangs or panics keeps it from no other, unless the options are strict. Returns when all are done; dropping the
    /// future cancels the deliveries that are not.
    ///
    /// # Errors
    /// What went wrong, of each notifier.
    pub async fn notify_sync(&self, event: &SyncEvent) -> Result<(), NotifyFailures> {
        if self.is_repeated(event) {
            return Ok(());
        }
        let wanting = self
            .entries
            .iter()
            .filter(|entry| entry.filter.wants(event));
        let mut failures = Vec::new();
        if self.options.strict {
            for entry in wanting {
                if let Err(error) = self.deliver(&*entry.notifier, event).await {
                    failures.push((entry.notifier.name().to_owned(), error));
                    break;
                }
            }
        } else {
            let all = wanting.map(|entry| async {
                let result = self.deliver(&*entry.notifier, event).await;
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
            // Told again, it shall be delivered.
            self.forget(event);
            Err(NotifyFailures { failures })
        }
    }

    async fn deliver(&self, notifier: &dyn Notifier, event: &SyncEvent) -> Result<()> {
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

    async fn once(&self, notifier: &dyn Notifier, event: &SyncEvent) -> Result<()> {
        let limit = self.options.time_limit;
        let delivery = AssertUnwindSafe(notifier.notify(event)).catch_unwind();
        match tokio::time::timeout(limit, delivery).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("the notifier panicked")),
            // It may have arrived: the contract of `Notifier` allows to tell twice.
            Err(_) => Err(Error::timeout(format!("not delivered within {limit:?}"))),
        }
    }

    /// Whether the same was told of a moment ago.
    fn is_repeated(&self, event: &SyncEvent) -> bool {
        let Some(window) = self.options.deduplicate else {
            return false;
        };
        let key = key(event);
        let now = Instant::now();
        let repeated = self
            .told
            .get(&key)
            .is_some_and(|told| now.duration_since(told) < window);
        if !repeated {
            self.told.insert(key, now);
        }
        repeated
    }

    fn forget(&self, event: &SyncEvent) {
        if self.options.deduplicate.is_some() {
            self.told.remove(&key(event));
        }
    }
}

/// What an event says, its time left out.
fn key(event: &SyncEvent) -> String {
    let value = serde_json::json!([event.app, event.operation, event.kind]);
    value_digest(&value)
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
