//! Which events somebody wants to hear of.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::application::AppRef;
use crate::backend::{Severity, SyncEvent};
use crate::error::{Error, Result};

/// Which events somebody wants to hear of; the default is all of them.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    kinds: Vec<String>,
    applications: Option<GlobSet>,
    severity: Severity,
}

impl EventFilter {
    /// All events.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only events of these kinds, by the names of [`EventKind::name`](crate::backend::EventKind::name) (`syncFinished`).
    #[must_use]
    pub fn kinds<I, S>(mut self, kinds: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.kinds = kinds.into_iter().map(Into::into).collect();
        self
    }

    /// Only events of applications whose `namespace/name` (or name, without a namespace) one of these globs matches as a whole; `*` stops at `/`.
    ///
    /// # Errors
    /// `InvalidInput` for a pattern that is none.
    pub fn applications<'a>(mut self, globs: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let bad = |glob: &str, error| {
            Error::invalid(format!("{glob:?} is no pattern for applications")).with_source(error)
        };
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            set.add(
                GlobBuilder::new(glob)
                    .literal_separator(true)
                    .build()
                    .map_err(|error: globset::Error| bad(glob, error))?,
            );
        }
        self.applications = Some(set.build().map_err(|error| bad("", error))?);
        Ok(self)
    }

    /// Only events that matter at least so much.
    #[must_use]
    pub fn severity(mut self, least: Severity) -> Self {
        self.severity = least;
        self
    }

    /// Whether `event` is wanted.
    pub fn wants(&self, event: &SyncEvent) -> bool {
        event.severity >= self.severity
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == event.kind.name()))
            && self
                .applications
                .as_ref()
                .is_none_or(|set| set.is_match(place(&event.app)))
    }
}

fn place(app: &AppRef) -> String {
    if app.namespace.is_empty() {
        app.name.clone()
    } else {
        format!("{}/{}", app.namespace, app.name)
    }
}
