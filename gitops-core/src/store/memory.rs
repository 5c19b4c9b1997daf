//! Applications in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{StatusStore, decide_put, not_found, refuse_cascade, version};
use crate::application::{AppRef, Application, ApplicationStatus};
use crate::backend::{ApplicationStore, DeleteOptions, ListOptions, PutMode, PutOutcome, Stored};
use crate::error::Result;

/// Keeps applications for as long as the program runs. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    apps: Arc<Mutex<BTreeMap<AppRef, Record>>>,
}

#[derive(Debug, Default)]
struct Record {
    app: Application,
    status: Option<ApplicationStatus>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppRef, Record>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_suspended(&self, app: &AppRef, suspended: bool) -> Result<()> {
        let mut apps = self.lock();
        let record = apps.get_mut(app).ok_or_else(|| not_found(app))?;
        record.app.suspended = suspended;
        Ok(())
    }
}

#[async_trait]
impl ApplicationStore for MemoryStore {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        let key = app.app_ref();
        let mut apps = self.lock();
        let outcome = decide_put(apps.get(&key).map(|record| &record.app), app, &mode)?;
        if outcome.changed {
            apps.entry(key).or_default().app = app.clone();
        }
        Ok(outcome)
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        let apps = self.lock();
        let record = apps.get(app).ok_or_else(|| not_found(app))?;
        Ok(Stored {
            app: record.app.clone(),
            version: version(&record.app),
            status: record.status.clone(),
        })
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        Ok(self
            .lock()
            .values()
            .filter(|record| options.selector.matches(&record.app))
            .map(|record| Stored {
                app: record.app.clone(),
                version: version(&record.app),
                status: record.status.clone().filter(|_| options.with_status),
            })
            .collect())
    }

    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        let mut apps = self.lock();
        if !apps.contains_key(app) {
            return Err(not_found(app));
        }
        if options.cascade {
            return Err(refuse_cascade(app));
        }
        apps.remove(app);
        Ok(())
    }

    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.set_suspended(app, true)
    }

    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.set_suspended(app, false)
    }
}

#[async_trait]
impl StatusStore for MemoryStore {
    async fn status(&self, app: &AppRef) -> Result<Option<ApplicationStatus>> {
        Ok(self
            .lock()
            .get(app)
            .and_then(|record| record.status.clone()))
    }

    async fn put_status(&self, app: &AppRef, status: &ApplicationStatus) -> Result<()> {
        let mut apps = self.lock();
        let record = apps.get_mut(app).ok_or_else(|| not_found(app))?;
        record.status = Some(status.clone());
        Ok(())
    }
}
