//! The trait that makes a backend.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::operation::{Operation, SyncOptions, SyncOutcome};
use crate::application::{AppRef, ApplicationStatus, HealthStatus, SyncStatus};
use crate::error::{Error, Result};

/// Which applications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Only this one.
    pub app: Option<AppRef>,
    /// Only those of this namespace.
    pub namespace: Option<String>,
    /// Only those of these projects; empty means all.
    pub projects: Vec<String>,
    /// Only those with all of these labels.
    pub labels: BTreeMap<String, String>,
}

impl Selector {
    /// All applications.
    pub fn all() -> Self {
        Self::default()
    }

    /// One application.
    pub fn one(app: AppRef) -> Self {
        Self {
            app: Some(app),
            ..Self::default()
        }
    }

    /// Whether `app` is meant.
    pub fn matches(&self, app: &crate::application::Application) -> bool {
        let project = if app.project.is_empty() {
            "default"
        } else {
            &app.project
        };
        self.app.as_ref().is_none_or(|wanted| {
            wanted.name == app.name
                && (wanted.namespace.is_empty() || wanted.namespace == app.namespace)
        }) && self
            .namespace
            .as_ref()
            .is_none_or(|wanted| *wanted == app.namespace)
            && (self.projects.is_empty() || self.projects.iter().any(|wanted| wanted == project))
            && self
                .labels
                .iter()
                .all(|(key, value)| app.labels.get(key) == Some(value))
    }
}

/// A change of an application's state, as [`Syncer::watch`] tells it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StatusEvent {
    /// The state is now this. Every application that matches is told once at the start.
    Status {
        /// The application.
        app: AppRef,
        /// Its state.
        status: Box<ApplicationStatus>,
    },
    /// The application is gone.
    Deleted {
        /// The application.
        app: AppRef,
    },
}

/// Syncs applications.
///
/// # Contract
/// - `sync` starts an operation, names it, and returns; the operation goes on whether or not anybody waits.
/// - At most one operation runs per application: a second `sync` fails with `OperationInProgress`.
/// - `wait` returns the outcome of *that* operation, never of a newer one. An operation that ended badly is an `Ok` outcome whose phase is
///   `Failed` or `Error`; an `Err` means that the outcome could not be learnt. Dropping the future cancels the wait, never the operation.
/// - The outcome names the revisions that were really applied.
/// - `terminate` asks the operation to stop; `wait` tells when it has. Terminating what ended already is `Ok`.
/// - `watch` tells the current state of every application that matches, then each change, on one connection. It ends only when it is
///   dropped; an `Err` item tells of a gap, after which current states are told again.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a gitops backend",
    note = "implement `gitops_core::backend::Syncer` for it; `gitops_core::testing::conformance` checks the contract"
)]
pub trait Syncer: Send + Sync {
    /// Starts a sync.
    ///
    /// # Errors
    /// `NotFound` for an unknown application, `OperationInProgress`, `InvalidInput`, `PermissionDenied`.
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation>;

    /// Waits until `operation` has ended.
    ///
    /// # Errors
    /// `NotFound` for an operation that the backend does not remember.
    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome>;

    /// Asks `operation` to stop.
    ///
    /// # Errors
    /// `NotFound` for an operation that the backend does not remember.
    async fn terminate(&self, operation: &Operation) -> Result<()>;

    /// The state of `app`, read now.
    ///
    /// # Errors
    /// `NotFound` for an unknown application.
    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus>;

    /// The states of the applications that match, and their changes.
    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>>;
}

/// What every [`Syncer`] can do on top; nobody has to write it.
#[async_trait]
pub trait SyncerExt: Syncer {
    /// Syncs and waits for the end. Dropping the future leaves the operation running.
    ///
    /// # Errors
    /// As [`Syncer::sync`] and [`Syncer::wait`].
    async fn sync_and_wait(&self, app: &AppRef, options: &SyncOptions) -> Result<SyncOutcome> {
        let operation = self.sync(app, options).await?;
        self.wait(&operation).await
    }

    /// Waits until `condition` holds for the state of `app`, at most `timeout` long.
    ///
    /// # Errors
    /// `Timeout`, naming the last state seen; `NotFound` when the application is deleted meanwhile.
    async fn wait_for<F>(
        &self,
        app: &AppRef,
        timeout: Duration,
        condition: F,
    ) -> Result<ApplicationStatus>
    where
        F: Fn(&ApplicationStatus) -> bool + Send + Sync,
    {
        let mut events = self.watch(Selector::one(app.clone()));
        let mut last: Option<Box<ApplicationStatus>> = None;
        let seen = async {
            while let Some(event) = events.next().await {
                match event {
                    Ok(StatusEvent::Status { status, .. }) => {
                        if condition(&status) {
                            return Ok(*status);
                        }
                        last = Some(status);
                    }
                    Ok(StatusEvent::Deleted { .. }) => {
                        return Err(Error::not_found(format!("application {app} was deleted")));
                    }
                    Err(error) if error.is_retryable() => {}
                    Err(error) => return Err(error),
                }
            }
            Err(Error::unavailable(format!(
                "the watch of application {app} ended"
            )))
        };
        match tokio::time::timeout(timeout, seen).await {
            Ok(result) => result,
            Err(_) => Err(Error::timeout(match last {
                Some(status) => format!(
                    "application {app} is {} and {} after {timeout:?}",
                    status.sync, status.health.status
                ),
                None => format!("no state of application {app} within {timeout:?}"),
            })),
        }
    }

    /// Waits until `app` is synced and healthy, at most `timeout` long.
    ///
    /// # Errors
    /// As [`wait_for`](Self::wait_for).
    async fn wait_until_healthy(
        &self,
        app: &AppRef,
        timeout: Duration,
    ) -> Result<ApplicationStatus> {
        self.wait_for(app, timeout, |status| {
            status.sync == SyncStatus::Synced && status.health.status == HealthStatus::Healthy
        })
        .await
    }

    /// Syncs many applications, at most `limit` at once, and tells each result as it comes. A failure stops nothing.
    fn sync_all<'a>(
        &'a self,
        apps: Vec<AppRef>,
        options: SyncOptions,
        limit: usize,
    ) -> BoxStream<'a, (AppRef, Result<SyncOutcome>)>
    where
        Self: Sized,
    {
        futures::stream::iter(apps)
            .map(move |app| {
                let options = options.clone();
                async move {
                    let result = self.sync_and_wait(&app, &options).await;
                    (app, result)
                }
            })
            .buffer_unordered(limit.max(1))
            .boxed()
    }
}

impl<T: Syncer + ?Sized> SyncerExt for T {}
