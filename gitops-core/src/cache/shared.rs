//! A second store, shared by several processes.

use std::time::Duration;

use async_trait::async_trait;

use crate::application::{AppRef, ApplicationStatus};
use crate::error::Result;

/// Lets a status be written that was read after the token was given, and nothing invalidated since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteToken(pub String);

/// What a shared store has.
#[derive(Clone, Debug)]
pub enum SharedRead {
    /// This status, stored so long ago.
    Found {
        /// The status.
        status: Box<ApplicationStatus>,
        /// Since when.
        age: Duration,
    },
    /// Nothing; who reads the status elsewhere may write it with this token.
    Missing(WriteToken),
}

/// Statuses that several processes share.
///
/// # Contract
/// - Every call ends within a bounded time, also when the store is away: then with an error, which a [`StatusCache`](super::StatusCache)
///   takes as a miss.
/// - `write` with a token stores nothing when `forget` or another `write` without a token came after the token was given: a status
///   that was read before a change never hides the change.
/// - After a `forget` that failed, this store's own `read`s do not answer with what should have been forgotten.
#[async_trait]
pub trait SharedStatuses: Send + Sync {
    /// What is there of `app`.
    ///
    /// # Errors
    /// `Unavailable` when the store is away.
    async fn read(&self, app: &AppRef) -> Result<SharedRead>;

    /// Keeps `status`, for `time_to_live`; `token` says what it was read after, `None` that it is the newest in any case.
    ///
    /// # Errors
    /// `Unavailable` when the store is away.
    async fn write(
        &self,
        app: &AppRef,
        status: &ApplicationStatus,
        token: Option<&WriteToken>,
        time_to_live: Duration,
    ) -> Result<()>;

    /// Forgets what is there of `app`.
    ///
    /// # Errors
    /// `Unavailable` when the store is away.
    async fn forget(&self, app: &AppRef) -> Result<()>;
}
