//! From one record to all sinks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;

use super::record::AuditRecord;
use crate::error::{Error, Result};

/// How long a sink may take unless something else is said.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Keeps audit records.
///
/// # Contract
/// - When `append` returns `Ok`, the record is kept, whole, after all that were appended before it.
/// - When it returns `Err`, nothing of the record is kept.
/// - Dropping the future leaves one or the other.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// A short name for logs.
    fn name(&self) -> &str;

    /// Keeps `record`.
    ///
    /// # Errors
    /// When it is not kept.
    async fn append(&self, record: &AuditRecord) -> Result<()>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: AuditSink + ?Sized> AuditSink for $wrapper {
            fn name(&self) -> &str {
                (**self).name()
            }
            async fn append(&self, record: &AuditRecord) -> Result<()> {
                (**self).append(record).await
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);

type FailureHook = Arc<dyn Fn(&Error) + Send + Sync>;

/// Hands every record to every sink.
pub struct AuditLog {
    sinks: Vec<Arc<dyn AuditSink>>,
    time_limit: Duration,
    required: bool,
    on_failure: Option<FailureHook>,
    failures: AtomicU64,
}

impl Default for AuditLog {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sinks: Vec<_> = self.sinks.iter().map(|sink| sink.name()).collect();
        f.debug_struct("AuditLog")
            .field("sinks", &sinks)
            .field("required", &self.required)
            .field("failures", &self.failures())
            .finish_non_exhaustive()
    }
}

impl AuditLog {
    /// A log without a sink: it keeps nothing.
    pub fn new() -> Self {
        Self {
            sinks: Vec::new(),
            time_limit: TIME_LIMIT,
            required: false,
            on_failure: None,
            failures: AtomicU64::new(0),
        }
    }

    /// With another sink.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// How long each sink may take for one record; 10 seconds unless set.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Nothing is done that could not be recorded before: an [`AuditedBackend`](super::AuditedBackend) refuses a mutation when its request cannot be
    /// kept. Off unless set: a full disk then stops no deployment, and is reported.
    #[must_use]
    pub fn required(mut self, required: bool) -> Self {
        self.required = required;
        self
    }

    /// Calls `hook` for every record that a sink did not keep, on top of the `tracing` error.
    #[must_use]
    pub fn on_failure(mut self, hook: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Arc::new(hook));
        self
    }

    /// Whether what cannot be recorded must not be done.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// How often a sink did not keep a record.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Gives `record` to all sinks at once. One that fails or hangs keeps it from no other.
    ///
    /// # Errors
    /// The first sink's error, with those of the others in its text. It was reported already.
    pub async fn record(&self, record: &AuditRecord) -> Result<()> {
        let results = join_all(self.sinks.iter().map(|sink| async move {
            match tokio::time::timeout(self.time_limit, sink.append(record)).await {
                Ok(result) => result,
                Err(_) => Err(Error::timeout(format!(
                    "no answer within {:?}",
                    self.time_limit
                ))),
            }
            .map_err(|error| error.context(format!("audit sink {}", sink.name())))
        }))
        .await;
        let mut failed = results.into_iter().filter_map(Result::err);
        let Some(mut first) = failed.next() else {
            return Ok(());
        };
        self.report(&first);
        for other in failed {
            self.report(&other);
            first = first.context(other.to_string());
        }
        Err(first)
    }

    fn report(&self, error: &Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, "an audit record was not kept");
        if let Some(hook) = &self.on_failure {
            hook(error);
        }
    }
}
