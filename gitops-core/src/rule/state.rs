//! Rules about what an application is like now.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Decision, SyncContext, SyncRule};
use crate::application::{ApplicationStatus, HealthStatus, SyncStatus};
use crate::error::Result;

/// Says yes when the live state differs from the desired one. A sync status of `Unknown` is a no: nobody knows of a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutOfSync;

#[async_trait]
impl SyncRule for OutOfSync {
    fn name(&self) -> &str {
        "out-of-sync"
    }

    /// # Errors
    /// `InvalidInput` when the context knows no state.
    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        Ok(match context.known_status(self.name())?.sync {
            SyncStatus::OutOfSync => Decision::yes("the live state is not the desired one"),
            SyncStatus::Synced => Decision::no("the live state is the desired one"),
            SyncStatus::Unknown => Decision::no("it is not known whether the state differs"),
        })
    }
}

/// Says yes when the application is as healthy as asked, or healthier.
///
/// The order is that of [`HealthStatus`], Argo CD's: Healthy, Suspended, Progressing, Missing, Degraded, Unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthAtLeast(pub HealthStatus);

#[async_trait]
impl SyncRule for HealthAtLeast {
    fn name(&self) -> &str {
        "health-at-least"
    }

    /// # Errors
    /// `InvalidInput` when the context knows no state.
    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        let health = context.known_status(self.name())?.health.status;
        // The best comes first.
        Ok(if health <= self.0 {
            Decision::yes(format!("the application is {health}"))
        } else {
            Decision::no(format!("the application is {health}, not {}", self.0))
        })
    }
}

/// Says yes when the last sync is long enough ago, or when there was none; no while one runs.
///
/// The last sync is the newest of the history and the last operation, by the time it ended; failed ones count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinimumInterval(pub Duration);

#[async_trait]
impl SyncRule for MinimumInterval {
    fn name(&self) -> &str {
        "minimum-interval"
    }

    /// # Errors
    /// `InvalidInput` when the context knows no state.
    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        let status = context.known_status(self.name())?;
        if let Some(operation) = &status.operation
            && !operation.phase.is_terminal()
        {
            return Ok(Decision::no("a sync is running"));
        }
        let Some(last) = last_sync(status) else {
            return Ok(Decision::yes("there was no sync yet"));
        };
        // A time in the future (clocks differ) counts as now.
        let ago = context.now.duration_since(last);
        let ago = Duration::try_from(ago).unwrap_or_default();
        Ok(if ago >= self.0 {
            Decision::yes(format!("the last sync was {} ago", seconds(ago)))
        } else {
            Decision::no(format!(
                "the last sync was {} ago, the next may be after {}",
                seconds(ago),
                seconds(self.0)
            ))
        })
    }
}

fn last_sync(status: &ApplicationStatus) -> Option<Timestamp> {
    let history = status.history.iter().filter_map(|entry| entry.deployed_at);
    let operation = status.operation.iter().filter_map(|operation| {
        // One that ended without saying when, ended after it started.
        operation.finished_at.or(operation.started_at)
    });
    history.chain(operation).max()
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

/// Says yes when a label or an annotation of the application is as asked.
///
/// ```
/// use gitops_core::rule::Metadata;
///
/// let production = Metadata::label("tier").is_one_of(["prod", "canary"]);
/// let paused = Metadata::annotation("example.com/pause").is_there();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    annotation: bool,
    key: String,
    /// `None`: any value.
    values: Option<Vec<String>>,
}

impl Metadata {
    /// About the label `key`; any value, until a value is asked for.
    pub fn label(key: impl Into<String>) -> Self {
        Self {
            annotation: false,
            key: key.into(),
            values: None,
        }
    }

    /// About the annotation `key`; any value, until a value is asked for.
    pub fn annotation(key: impl Into<String>) -> Self {
        Self {
            annotation: true,
            ..Self::label(key)
        }
    }

    /// Any value will do.
    #[must_use]
    pub fn is_there(mut self) -> Self {
        self.values = None;
        self
    }

    /// The value must be this.
    #[must_use]
    pub fn is(self, value: impl Into<String>) -> Self {
        self.is_one_of([value])
    }

    /// The value must be one of these.
    #[must_use]
    pub fn is_one_of(mut self, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.values = Some(values.into_iter().map(Into::into).collect());
        self
    }
}

#[async_trait]
impl SyncRule for Metadata {
    fn name(&self) -> &str {
        match self.annotation {
            true => "annotation",
            false => "label",
        }
    }

    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        let map = match self.annotation {
            true => &context.app.annotations,
            false => &context.app.labels,
        };
        let what = format!("{} {}", self.name(), self.key);
        // Values stay out of the reason: annotations may hold anything.
        Ok(match (map.get(&self.key), &self.values) {
            (None, _) => Decision::no(format!("{what} is not there")),
            (Some(_), None) => Decision::yes(format!("{what} is there")),
            (Some(value), Some(values)) if values.contains(value) => {
                Decision::yes(format!("{what} is {value}"))
            }
            (Some(_), Some(values)) => {
                Decision::no(format!("{what} is not {}", values.join(" or ")))
            }
        })
    }
}
