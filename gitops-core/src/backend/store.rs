//! Where applications are kept.

use async_trait::async_trait;

use super::syncer::Selector;
use crate::application::{AppRef, Application, ApplicationStatus};
use crate::error::Result;

/// What to do when the application is there already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PutMode {
    /// Create it; if it is there with the same specification, that is fine, else `AlreadyExists`.
    Create,
    /// Create or replace it.
    #[default]
    Upsert,
    /// Replace it only if its version is still this one, else `Conflict`.
    Update(String),
}

/// What a put did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// Whether it was made new.
    pub created: bool,
    /// Whether anything changed.
    pub changed: bool,
    /// The version now stored.
    pub version: String,
}

/// An application as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The application.
    pub app: Application,
    /// Its version: opaque, equal only for equal states; for [`PutMode::Update`].
    pub version: String,
    /// Its status, as far as it was asked for and is known.
    pub status: Option<ApplicationStatus>,
}

/// Which applications, and how much of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Which ones.
    pub selector: Selector,
    /// With their status.
    pub with_status: bool,
    /// Leave out (and log) what cannot be read, where otherwise the list fails: for callers to whom one damaged record must not hide the others.
    pub readable_only: bool,
}

/// How dependents are deleted (Kubernetes' propagation policy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents first.
    #[default]
    Foreground,
    /// Dependents later, by the garbage collector.
    Background,
    /// Dependents stay.
    Orphan,
}

/// How to delete an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Delete what it deployed too.
    pub cascade: bool,
    /// How dependents go.
    pub propagation: Propagation,
}

impl Default for DeleteOptions {
    fn default() -> Self {
        Self {
            cascade: true,
            propagation: Propagation::Foreground,
        }
    }
}

/// Keeps applications.
///
/// # Contract
/// - What `put` accepted, `get` gives back equal, from this and every other client of the same store.
/// - `put` and `delete` are atomic: seen whole or not at all.
/// - `list` is ordered by namespace and name, and whole: what matches and cannot be read makes it fail, unless the caller asks for what can be read.
/// - A record that was damaged can be replaced (`put` with [`PutMode::Upsert`]) and deleted.
/// - `delete` with `cascade` returns when the deletion is on its way and certain to go on; without it, nothing deployed is touched.
/// - `suspend` and `resume` are idempotent.
#[async_trait]
pub trait ApplicationStore: Send + Sync {
    /// Stores `app`.
    ///
    /// # Errors
    /// `AlreadyExists`, `Conflict` as `mode` says, also where a record stands that cannot be read; `InvalidInput` for an application that the store cannot keep.
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome>;

    /// The application.
    ///
    /// # Errors
    /// `NotFound`; `Integrity` when its record or its status cannot be read.
    async fn get(&self, app: &AppRef) -> Result<Stored>;

    /// The applications that match.
    ///
    /// # Errors
    /// Whatever reading meets; `Integrity`, naming each record that may be meant and cannot be read, unless [`readable_only`](ListOptions::readable_only).
    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>>;

    /// Deletes the application.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` for a cascade that the store cannot do.
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()>;

    /// Nothing is synced by itself until it is resumed.
    ///
    /// # Errors
    /// `NotFound`; `Integrity` when its record cannot be read.
    async fn suspend(&self, app: &AppRef) -> Result<()>;

    /// Ends a suspension.
    ///
    /// # Errors
    /// `NotFound`; `Integrity` when its record cannot be read.
    async fn resume(&self, app: &AppRef) -> Result<()>;
}
