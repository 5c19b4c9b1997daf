//! What the loop knows of the applications.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use super::look::Memory;
use crate::application::{AppRef, Application, HealthStatus, SyncStatus};
use crate::metrics;

/// What the loop knows of one application.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// As it was listed last; `None` when only its status came yet.
    pub(super) app: Option<Application>,
    owned: bool,
    /// As the watch told it last.
    pub(super) seen: Option<(SyncStatus, HealthStatus, bool)>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// What merely changed is not looked at before.
    pub(super) not_before: Option<Instant>,
    pub(super) memory: Memory,
    /// Somebody asked for a sync.
    pub(super) wanted_by: Option<String>,
}

impl Known {
    /// Whether it is this replica's.
    pub(super) fn owned(&self) -> bool {
        self.owned
    }
}

/// All of them, and how many are this replica's.
#[derive(Debug, Default)]
pub(super) struct Applications {
    all: HashMap<AppRef, Known>,
    owned: usize,
    /// Those that came since the list was last asked for, and need not be on it.
    fresh: HashSet<AppRef>,
}

impl Applications {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn owned(&self) -> usize {
        self.owned
    }

    pub(super) fn contains(&self, app: &AppRef) -> bool {
        self.all.contains_key(app)
    }

    pub(super) fn get_mut(&mut self, app: &AppRef) -> Option<&mut Known> {
        self.all.get_mut(app)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&AppRef, &Known)> {
        self.all.iter()
    }

    pub(super) fn names(&self) -> Vec<AppRef> {
        self.all.keys().cloned().collect()
    }

    /// What is known of `app`, from now on something.
    pub(super) fn entry(&mut self, app: &AppRef) -> &mut Known {
        if !self.all.contains_key(app) {
            self.fresh.insert(app.clone());
        }
        self.all.entry(app.clone()).or_default()
    }

    /// Says whether it became this replica's.
    pub(super) fn set_owned(&mut self, app: &AppRef, owned: bool) -> bool {
        let Some(known) = self.all.get_mut(app) else {
            return false;
        };
        let before = std::mem::replace(&mut known.owned, owned);
        match (before, owned) {
            (false, true) => self.owned += 1,
            (true, false) => self.owned -= 1,
            _ => return false,
        }
        metrics::reconciler_owned(self.owned);
        owned
    }

    pub(super) fn remove(&mut self, app: &AppRef) {
        self.set_owned(app, false);
        self.all.remove(app);
        self.fresh.remove(app);
    }

    /// The list is asked for.
    pub(super) fn asked(&mut self) {
        self.fresh.clear();
    }

    /// Who is not among `listed` any more, and whether somebody came too late to be on that list, so that it must be asked for again.
    pub(super) fn gone(&self, listed: &HashSet<AppRef>) -> (Vec<AppRef>, bool) {
        let missing = self.all.keys().filter(|app| !listed.contains(*app));
        let (late, gone): (Vec<_>, Vec<_>) = missing.partition(|app| self.fresh.contains(*app));
        (gone.into_iter().cloned().collect(), !late.is_empty())
    }
}
