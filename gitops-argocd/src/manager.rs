//! The manager of the original sketch.

use gitops_core::Result;
use gitops_core::application::{AppRef, Application, ApplicationStatus};
use gitops_core::backend::{
    ApplicationStore as _, PutMode, PutOutcome, SyncOptions, SyncOutcome, Syncer as _,
    SyncerExt as _,
};

use crate::ArgoCdBackend;

/// The three things that most programs do with Argo CD, in one place: make an application, sync it, ask how it is. Everything else is the
/// [backend's](Self::backend).
#[derive(Clone, Debug)]
pub struct ArgoCDManager {
    backend: ArgoCdBackend,
}

impl ArgoCDManager {
    /// A manager on a backend.
    pub fn new(backend: ArgoCdBackend) -> Self {
        Self { backend }
    }

    /// The backend.
    pub fn backend(&self) -> &ArgoCdBackend {
        &self.backend
    }

    /// Makes an application, or makes the one that is there what `app` says.
    ///
    /// # Errors
    /// `InvalidInput` for an application that Argo CD refuses; `PermissionDenied`.
    pub async fn create_application(&self, app: &Application) -> Result<PutOutcome> {
        self.backend.put(app, PutMode::Upsert).await
    }

    /// Syncs an application and waits for the end. A sync that failed is an `Ok` whose phase says so. Dropping the future leaves the sync running.
    ///
    /// # Errors
    /// `NotFound`, `OperationInProgress`; what waiting meets.
    pub async fn sync_application(
        &self,
        app: &AppRef,
        options: &SyncOptions,
    ) -> Result<SyncOutcome> {
        self.backend.sync_and_wait(app, options).await
    }

    /// How the application is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_application_status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        self.backend.status(app).await
    }
}
