//! Applications in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{StatusStore, not_found, refuse_cascade};
use crate::application::{AppRef, Application, ApplicationStatus};
use crate::backend::{ApplicationStore, DeleteOptions, ListOptions, PutMode, PutOutcome, Stored};
use crate::error::{Error, Result};

/// Keeps applications for as long as the program runs. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    next_version: u64,
    apps: BTreeMap<AppRef, Record>,
}

#[derive(Debug)]
struct Record {
    app: Application,
    version: u64,
    status: Option<ApplicationStatus>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_suspended(&self, app: &AppRef, suspended: bool) -> Result<()> {
        let mut inner = self.lock();
        let version = inner.next_version + 1;
        let record = inner.apps.get_mut(app).ok_or_else(|| not_found(app))?;
        if record.app.suspended != suspended {
            record.app.suspended = suspended;
            record.version = version;
            inner.next_version = version;
        }
        Ok(())
    }
}

#[async_trait]
impl ApplicationStore for MemoryStore {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        let key = app.app_ref();
        let mut inner = self.lock();
        let next = inner.next_version + 1;
        let outcome = |created, changed, version: u64| PutOutcome {
            created,
            changed,
            version: version.to_string(),
        };
        match inner.apps.get_mut(&key) {
            Some(record) => {
                if let PutMode::Update(expected) = &mode
                    && *expected != record.version.to_string()
                {
                    return Err(Error::conflict(format!(
                        "application {key} was changed meanwhile"
                    )));
                }
                if record.app == *app {
                    return Ok(outcome(false, false, record.version));
                }
                if mode == PutMode::Create {
                    return Err(Error::already_exists(format!(
                        "application {key} exists with another specification"
                    )));
                }
                record.app = app.clone();
                record.version = next;
                inner.next_version = next;
                Ok(outcome(false, true, next))
            }
            None if matches!(mode, PutMode::Update(_)) => Err(not_found(&key)),
            None => {
                inner.next_version = next;
                inner.apps.insert(
                    key,
                    Record {
                        app: app.clone(),
                        version: next,
                        status: None,
                    },
                );
                Ok(outcome(true, true, next))
            }
        }
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        let inner = self.lock();
        let record = inner.apps.get(app).ok_or_else(|| not_found(app))?;
        Ok(Stored {
            app: record.app.clone(),
            version: record.version.to_string(),
            status: record.status.clone(),
        })
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        let inner = self.lock();
        Ok(inner
            .apps
            .values()
            .filter(|record| options.selector.matches(&record.app))
            .map(|record| Stored {
                app: record.app.clone(),
                version: record.version.to_string(),
                status: record.status.clone().filter(|_| options.with_status),
            })
            .collect())
    }

    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        let mut inner = self.lock();
        if !inner.apps.contains_key(app) {
            return Err(not_found(app));
        }
        if options.cascade {
            return Err(refuse_cascade(app));
        }
        inner.apps.remove(app);
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
            .apps
            .get(app)
            .and_then(|record| record.status.clone()))
    }

    async fn put_status(&self, app: &AppRef, status: &ApplicationStatus) -> Result<()> {
        let mut inner = self.lock();
        let record = inner.apps.get_mut(app).ok_or_else(|| not_found(app))?;
        record.status = Some(status.clone());
        Ok(())
    }
}
