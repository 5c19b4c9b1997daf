//! Where applications are kept: in memory, or in a directory. (`gitops-kube` keeps them in the cluster.)

mod directory;
mod listing;
mod memory;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::directory::DirectoryStore;
pub use self::listing::Listing;
pub use self::memory::MemoryStore;
use crate::application::{AppRef, Application, ApplicationStatus};
use crate::backend::{PutMode, PutOutcome};
use crate::error::{Error, Result};
use crate::manifest::digest::value_digest;

/// Keeps the status of applications (history, last operation) beside them.
///
/// # Contract
/// - What `put_status` accepted, `status` gives back equal, from this and every other client of the same store.
/// - The last writer wins: one backend owns an application's status at a time.
/// - Deleting an application deletes its status.
/// - A status that was damaged can be replaced.
#[async_trait]
pub trait StatusStore: Send + Sync {
    /// The status as last kept; `None` when there is none.
    ///
    /// # Errors
    /// Whatever reading meets; `Integrity` when it cannot be read.
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

/// What [`ApplicationStore::put`](crate::backend::ApplicationStore::put) has to do: for stores that read a record, decide, and write it.
///
/// `stored` is the application that is kept now. The answer says whether anything has to be written ([`PutOutcome::changed`]), and the version afterwards,
/// which is [`version`]'s.
///
/// # Errors
/// Those of `put`: `AlreadyExists` and `Conflict` as `mode` says, `NotFound` for an update of nothing.
pub fn decide_put(
    stored: Option<&Application>,
    app: &Application,
    mode: &PutMode,
) -> Result<PutOutcome> {
    let outcome = |created, changed| PutOutcome {
        created,
        changed,
        version: version(app),
    };
    let Some(stored) = stored else {
        return match mode {
            PutMode::Update(_) => Err(not_found(&app.app_ref())),
            _ => Ok(outcome(true, true)),
        };
    };
    if let PutMode::Update(expected) = mode
        && *expected != version(stored)
    {
        return Err(Error::conflict(format!(
            "application {} was changed meanwhile",
            app.app_ref()
        )));
    }
    if stored == app {
        return Ok(outcome(false, false));
    }
    if *mode == PutMode::Create {
        return Err(Error::already_exists(format!(
            "application {} exists with another specification",
            app.app_ref()
        )));
    }
    Ok(outcome(false, true))
}

/// What [`ApplicationStore::put`](crate::backend::ApplicationStore::put) has to do where a record stands that cannot be read, as `unreadable` says: only an
/// [`Upsert`](PutMode::Upsert) replaces it, since nobody can say what would be lost.
///
/// # Errors
/// `AlreadyExists` for a creation and `Conflict` for an update, with `unreadable` as the source.
pub fn decide_put_over_unreadable(
    app: &Application,
    mode: &PutMode,
    unreadable: Error,
) -> Result<PutOutcome> {
    let name = app.app_ref();
    match mode {
        PutMode::Create => Err(Error::already_exists(format!(
            "application {name} exists and cannot be read"
        ))
        .with_source(unreadable)),
        PutMode::Update(_) => Err(Error::conflict(format!(
            "application {name} was changed to what cannot be read"
        ))
        .with_source(unreadable)),
        PutMode::Upsert => {
            tracing::warn!(app = %name, error = %unreadable, "an application that cannot be read is replaced");
            Ok(PutOutcome {
                created: false,
                changed: true,
                version: version(app),
            })
        }
    }
}

/// A version made of the application's content: equal for equal applications only, whoever keeps them.
pub fn version(app: &Application) -> String {
    // An application is plain data: it always has a JSON form.
    value_digest(&serde_json::to_value(app).unwrap_or_default())
}

/// The error for an application that is not kept here.
pub fn not_found(app: &AppRef) -> Error {
    Error::not_found(format!("there is no application {app}"))
}

/// The error for a cascading deletion: stores deploy nothing, so whoever deployed has to undo it first.
pub fn refuse_cascade(app: &AppRef) -> Error {
    Error::unsupported(
        &format!(
            "deleting what application {app} deployed (delete it through its backend, or without cascade)"
        ),
        "the store",
    )
}
