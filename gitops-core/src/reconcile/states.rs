//! Which states were told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::application::{AppRef, HealthStatus, SyncStatus};

/// The state of each application as it was seen or told last, whoever saw it: the watch, a look, or the backend that tells of it itself.
#[derive(Debug, Default)]
pub(super) struct States(Mutex<HashMap<AppRef, (SyncStatus, HealthStatus)>>);

impl States {
    /// Keeps the state; says whether it is another than before. The first is no news.
    pub(super) fn changed(&self, app: &AppRef, sync: SyncStatus, health: HealthStatus) -> bool {
        let before = self.lock().insert(app.clone(), (sync, health));
        before.is_some_and(|before| before != (sync, health))
    }

    pub(super) fn forget(&self, app: &AppRef) {
        self.lock().remove(app);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppRef, (SyncStatus, HealthStatus)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
