//! Which states were told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::application::{AppRef, HealthStatus, SyncStatus};

/// The state of each application as it was told last, whoever saw it: the watch, a look, or the backend that tells of it itself.
#[derive(Debug, Default)]
pub(super) struct States(Mutex<HashMap<AppRef, Told>>);

#[derive(Debug)]
struct Told {
    sync: SyncStatus,
    health: HealthStatus,
    /// What was read before tells of the past.
    at: Instant,
    /// A sync went well since then.
    synced: bool,
}

impl Told {
    fn new(sync: SyncStatus, health: HealthStatus, at: Instant) -> Self {
        Self {
            sync,
            health,
            at,
            synced: false,
        }
    }
}

impl States {
    /// Keeps the state that was read at `at`; says whether it is another than the one before. The first is no news, nor is what was read before something
    /// newer was heard: a look takes its time, and the watch tells the newest in the end.
    pub(super) fn changed(
        &self,
        app: &AppRef,
        sync: SyncStatus,
        health: HealthStatus,
        at: Instant,
    ) -> bool {
        let mut all = self.lock();
        let Some(told) = all.get_mut(app) else {
            all.insert(app.clone(), Told::new(sync, health, at));
            return false;
        };
        if at < told.at {
            return false;
        }
        let before = std::mem::replace(told, Told::new(sync, health, at));
        let drifted = before.synced && sync == SyncStatus::OutOfSync;
        drifted || (before.sync, before.health) != (sync, health)
    }

    /// A sync went well: drift after it is news, also when nobody looked in between.
    pub(super) fn synced(&self, app: &AppRef) {
        if let Some(told) = self.lock().get_mut(app) {
            told.synced = true;
            told.at = Instant::now();
        }
    }

    pub(super) fn forget(&self, app: &AppRef) {
        self.lock().remove(app);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppRef, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn drift_after_a_sync_is_news_and_what_was_read_before_is_not() {
        let (states, app) = (States::default(), AppRef::from("shop"));
        let begin = Instant::now();
        let (missing, healthy) = (HealthStatus::Missing, HealthStatus::Healthy);
        assert!(!states.changed(&app, SyncStatus::OutOfSync, missing, begin));
        states.synced(&app);
        let after = Instant::now() + Duration::from_secs(1);
        // A look that began before the sync.
        assert!(!states.changed(&app, SyncStatus::OutOfSync, healthy, begin));
        // The same words as at first, of another state.
        assert!(states.changed(&app, SyncStatus::OutOfSync, missing, after));
        assert!(!states.changed(&app, SyncStatus::OutOfSync, missing, after));
        assert!(!states.changed(&app, SyncStatus::Synced, healthy, begin));
        let later = after + Duration::from_secs(1);
        assert!(states.changed(&app, SyncStatus::Synced, healthy, later));
        states.forget(&app);
        assert!(!states.changed(&app, SyncStatus::OutOfSync, missing, begin));
        // What the sync brought about is told once.
        states.synced(&app);
        assert!(states.changed(&app, SyncStatus::Synced, missing, later));
        assert!(!states.changed(&app, SyncStatus::Synced, missing, later));
        states.synced(&AppRef::from("unknown"));
    }
}
