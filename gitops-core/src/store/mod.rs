//! Where applications are kept: in memory. (`gitops-kube` keeps them in the cluster.)

mod memory;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::memory::MemoryStore;
use crate::application::{AppRef, ApplicationStatus};
use crate::error::{Error, Result};

/// Keeps the status of applications (history, last operation) beside them.
///
/// # Contract
/// - What `put_status` accepted, `status` gives back equal, from this and every other client of the same store.
/// - The last writer wins: one backend owns an application's status at a time.
/// - Deleting an application deletes its status.
#[async_trait]
pub trait StatusStore: Send + Sync {
    /// The status as last kept; `None` when there is none.
    ///
    /// # Errors
    /// Whatever reading meets.
    async fn status(&self, app: &AppRef) -> Result<Option<ApplicationStatus>>;

    /// Keeps a status.
    ///
    /// # Errors
    /// `NotFound` when the application is not kept here.
    async fn put_status(&self, app: &AppRef, status: &ApplicationStatus) -> Result<()>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: StatusStore + ?Sized> StatusStore for $wrapper {
            async fn status(&self, app: &AppRef) -> Result<Option<ApplicationStatus>> {
                (**self).status(app).await
            }
            async fn put_status(&self, app: &AppRef, status: &ApplicationStatus) -> Result<()> {
                (**self).put_status(app, status).await
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);

/// The error for an application that is not kept here.
pub(crate) fn not_found(app: &AppRef) -> Error {
    Error::not_found(format!("there is no application {app}"))
}

/// Stores deploy nothing: whoever deployed has to undo it first.
pub(crate) fn refuse_cascade(app: &AppRef) -> Error {
    Error::unsupported(
        &format!(
            "deleting what application {app} deployed (delete it through its backend, or without cascade)"
        ),
        "the store",
    )
}
