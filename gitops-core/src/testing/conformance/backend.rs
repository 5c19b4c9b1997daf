//! [`Syncer`](crate::backend::Syncer), and what a [`Backend`] offers besides.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;

use super::{check, equal, refused};
use crate::application::{AppRef, HealthStatus, OperationPhase, SyncStatus};
use crate::backend::{
    Backend, DeleteOptions, Operation, Selector, StatusEvent, SyncOptions, SyncerExt,
};
use crate::error::{Error, ErrorKind, Result};

/// How long a backend may take for one step.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at what may come late.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// A backend with one application, which nothing syncs by itself and which was never synced.
pub struct Fixture {
    /// The backend.
    pub backend: Arc<dyn Backend>,
    /// The application; a sync of it succeeds.
    pub app: AppRef,
    /// Commits a change that makes the next sync do something, and gives the new revision.
    pub commit: Box<dyn Fn() -> BoxFuture<'static, Result<String>> + Send + Sync>,
    /// Commits a change that makes the next sync fail.
    pub break_it: Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>,
    /// What has to live as long as the fixture.
    pub keep: Box<dyn std::any::Any + Send + Sync>,
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("app", &self.app)
            .finish_non_exhaustive()
    }
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .map_err(|_| Error::timeout(format!("{what}: not within {PATIENCE:?}")))
}

/// The operation has a name, its outcome is of that operation, and tells the revision that was applied.
pub async fn a_sync_names_its_operation_and_the_revision(fixture: &Fixture) -> Result<()> {
    let revision = (fixture.commit)().await?;
    let operation = fixture
        .backend
        .sync(&fixture.app, &SyncOptions::default())
        .await?;
    check(!operation.id.is_empty(), || {
        "an operation without a name".into()
    })?;
    equal(&operation.app, &fixture.app)?;
    let outcome = soon("the sync", fixture.backend.wait(&operation)).await??;
    equal(&outcome.operation, &operation)?;
    check(outcome.is_success(), || format!("{outcome:?}"))?;
    equal(&outcome.revisions, std::slice::from_ref(&revision))?;
    let status = fixture.backend.status(&fixture.app).await?;
    equal(status.sync, SyncStatus::Synced)?;
    equal(status.health.status, HealthStatus::Healthy)?;
    equal(status.revisions, [revision])
}

/// Whatever is asked of an application that is not there is `NotFound`.
pub async fn an_unknown_application_is_not_found(fixture: &Fixture) -> Result<()> {
    let nothing = AppRef::namespaced(fixture.app.namespace.clone(), "nothing");
    let backend = &fixture.backend;
    refused(
        backend.sync(&nothing, &SyncOptions::default()).await,
        ErrorKind::NotFound,
    )?;
    refused(backend.status(&nothing).await, ErrorKind::NotFound)?;
    if let Some(store) = backend.store() {
        refused(store.get(&nothing).await, ErrorKind::NotFound)?;
    }
    if let Some(state) = backend.state() {
        refused(state.state(&nothing, &[]).await, ErrorKind::NotFound)?;
    }
    if let Some(history) = backend.history() {
        refused(history.list(&nothing).await, ErrorKind::NotFound)?;
        refused(
            history
                .roll_back(&nothing, 0, &SyncOptions::default())
                .await,
            ErrorKind::NotFound,
        )?;
    }
    Ok(())
}

/// Waiting for and terminating what is not known is `NotFound`.
pub async fn an_unknown_operation_is_not_found(fixture: &Fixture) -> Result<()> {
    let operation = Operation {
        app: fixture.app.clone(),
        id: "no-such-operation".into(),
        started_at: Timestamp::now(),
    };
    refused(fixture.backend.wait(&operation).await, ErrorKind::NotFound)?;
    refused(
        fixture.backend.terminate(&operation).await,
        ErrorKind::NotFound,
    )
}

/// While one operation runs, another is `OperationInProgress`; afterwards it is not.
pub async fn a_second_sync_at_once_is_refused(fixture: &Fixture) -> Result<()> {
    let first = fixture
        .backend
        .sync(&fixture.app, &SyncOptions::default())
        .await?;
    match fixture
        .backend
        .sync(&fixture.app, &SyncOptions::default())
        .await
    {
        Err(error) => {
            equal(error.kind(), ErrorKind::OperationInProgress)?;
            soon("the first sync", fixture.backend.wait(&first)).await??;
        }
        // Fine only if the first had ended by then.
        Ok(second) => {
            let now = Timestamp::now();
            check(first.id != second.id, || {
                "two operations of one name".into()
            })?;
            match soon("the first sync", fixture.backend.wait(&first)).await? {
                Ok(outcome) => check(outcome.finished_at <= now, || {
                    format!("two operations at once: {outcome:?} ended after {now}")
                })?,
                // The second has taken its place.
                Err(error) => equal(error.kind(), ErrorKind::NotFound)?,
            }
            soon("the second sync", fixture.backend.wait(&second)).await??;
        }
    }
    let third = soon(
        "the third sync",
        fixture
            .backend
            .sync_and_wait(&fixture.app, &SyncOptions::default()),
    )
    .await??;
    check(third.is_success(), || format!("{third:?}"))
}

/// What ends badly is an outcome with phase and message, and no error of `wait`.
pub async fn a_failed_sync_is_an_outcome(fixture: &Fixture) -> Result<()> {
    (fixture.break_it)().await?;
    let options = SyncOptions {
        retry_limit: Some(0),
        ..SyncOptions::default()
    };
    let outcome = soon(
        "the sync",
        fixture.backend.sync_and_wait(&fixture.app, &options),
    )
    .await??;
    check(
        matches!(
            outcome.phase,
            OperationPhase::Failed | OperationPhase::Error
        ),
        || format!("{outcome:?}"),
    )?;
    check(!outcome.message.is_empty(), || "no message".into())
}

/// Two that wait, and one that comes late, learn the same.
pub async fn every_wait_gets_the_same_outcome(fixture: &Fixture) -> Result<()> {
    let operation = fixture
        .backend
        .sync(&fixture.app, &SyncOptions::default())
        .await?;
    let waits = futures::future::join(
        fixture.backend.wait(&operation),
        fixture.backend.wait(&operation),
    );
    let (one, other) = soon("the sync", waits).await?;
    let one = one?;
    equal(&one, &other?)?;
    equal(&fixture.backend.wait(&operation).await?, &one)
}

/// Nobody has to wait for an operation.
pub async fn a_dropped_wait_leaves_the_operation(fixture: &Fixture) -> Result<()> {
    let operation = fixture
        .backend
        .sync(&fixture.app, &SyncOptions::default())
        .await?;
    drop(fixture.backend.wait(&operation).now_or_never());
    let outcome = soon("the sync", fixture.backend.wait(&operation)).await??;
    check(outcome.is_success(), || format!("{outcome:?}"))
}

/// A dry run tells what would be done, and the application stays as it was.
pub async fn a_dry_run_changes_nothing(fixture: &Fixture) -> Result<()> {
    let before = fixture.backend.status(&fixture.app).await?;
    let options = SyncOptions {
        dry_run: true,
        ..SyncOptions::default()
    };
    let outcome = soon(
        "the dry run",
        fixture.backend.sync_and_wait(&fixture.app, &options),
    )
    .await??;
    check(
        outcome.is_success() && !outcome.resources.is_empty(),
        || format!("{outcome:?}"),
    )?;
    let after = fixture.backend.status(&fixture.app).await?;
    equal(before.sync, SyncStatus::OutOfSync)?;
    equal(after.sync, before.sync)?;
    equal(after.history.len(), before.history.len())
}

/// Terminating an operation that has ended is no error.
pub async fn terminating_what_ended_is_fine(fixture: &Fixture) -> Result<()> {
    let operation = fixture
        .backend
        .sync(&fixture.app, &SyncOptions::default())
        .await?;
    let outcome = soon("the sync", fixture.backend.wait(&operation)).await??;
    fixture.backend.terminate(&operation).await?;
    equal(fixture.backend.wait(&operation).await?, outcome)
}

type Events = BoxStream<'static, Result<StatusEvent>>;

async fn synced_event(events: &mut Events, app: &AppRef, wanted: SyncStatus) -> Result<()> {
    let seen = async {
        while let Some(event) = events.next().await {
            match event? {
                StatusEvent::Status { app: of, status } if of == *app && status.sync == wanted => {
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(Error::failed("the watch ended"))
    };
    soon(&format!("{wanted}"), seen).await?
}

/// A watch begins with the state that is there, and tells what a sync makes of it.
pub async fn a_watch_tells_the_state_and_its_changes(fixture: &Fixture) -> Result<()> {
    let mut events = fixture.backend.watch(Selector::one(fixture.app.clone()));
    synced_event(&mut events, &fixture.app, SyncStatus::OutOfSync).await?;
    let outcome = soon(
        "the sync",
        fixture
            .backend
            .sync_and_wait(&fixture.app, &SyncOptions::default()),
    )
    .await??;
    check(outcome.is_success(), || format!("{outcome:?}"))?;
    synced_event(&mut events, &fixture.app, SyncStatus::Synced).await
}

/// A watch tells that an application is gone.
pub async fn a_watch_tells_deletions(fixture: &Fixture) -> Result<()> {
    let Some(store) = fixture.backend.store() else {
        return Ok(());
    };
    let mut events = fixture.backend.watch(Selector::all());
    synced_event(&mut events, &fixture.app, SyncStatus::OutOfSync).await?;
    store
        .delete(&fixture.app, &DeleteOptions::default())
        .await?;
    let gone = async {
        while let Some(event) = events.next().await {
            if matches!(event?, StatusEvent::Deleted { app } if app == fixture.app) {
                return Ok(());
            }
        }
        Err(Error::failed("the watch ended"))
    };
    soon("the deletion", gone).await?
}

/// Each sync that deployed something has its entry, oldest first, and each entry leads back.
pub async fn the_history_grows_and_leads_back(fixture: &Fixture) -> Result<()> {
    let Some(history) = fixture.backend.history() else {
        return Ok(());
    };
    equal(history.list(&fixture.app).await?.len(), 0)?;
    let mut revisions = Vec::new();
    for _ in 0..2 {
        revisions.push((fixture.commit)().await?);
        let outcome = soon(
            "the sync",
            fixture
                .backend
                .sync_and_wait(&fixture.app, &SyncOptions::default()),
        )
        .await??;
        check(outcome.is_success(), || format!("{outcome:?}"))?;
    }
    let entries = history.list(&fixture.app).await?;
    equal(entries.len(), 2)?;
    check(entries[0].id < entries[1].id, || format!("{entries:?}"))?;
    let told: Vec<_> = entries
        .iter()
        .flat_map(|entry| entry.revisions.clone())
        .collect();
    equal(&told, &revisions)?;
    let operation = history
        .roll_back(&fixture.app, entries[0].id, &SyncOptions::default())
        .await?;
    let outcome = soon("the rollback", fixture.backend.wait(&operation)).await??;
    check(outcome.is_success(), || format!("{outcome:?}"))?;
    equal(&outcome.revisions, &revisions[..1])?;
    refused(
        history
            .roll_back(&fixture.app, i64::MAX, &SyncOptions::default())
            .await,
        ErrorKind::NotFound,
    )
}

/// Desired and live of every resource, once, before and after a sync.
pub async fn the_state_holds_each_resource_once(fixture: &Fixture) -> Result<()> {
    let Some(reader) = fixture.backend.state() else {
        return Ok(());
    };
    let before = reader.state(&fixture.app, &[]).await?;
    check(!before.is_empty(), || "nothing is desired".into())?;
    check(
        before
            .iter()
            .all(|one| one.desired.is_some() && one.live.is_none()),
        || format!("{before:?}"),
    )?;
    let outcome = soon(
        "the sync",
        fixture
            .backend
            .sync_and_wait(&fixture.app, &SyncOptions::default()),
    )
    .await??;
    check(outcome.is_success(), || format!("{outcome:?}"))?;
    // A backend that tells what its controller compared last may be a moment behind.
    let live = async {
        loop {
            let after = reader.state(&fixture.app, &[]).await?;
            if after.iter().all(|one| one.live.is_some()) {
                return Result::Ok(after);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let after = soon("the live state", live).await??;
    equal(after.len(), before.len())?;
    let mut ids: Vec<_> = after.iter().map(|one| one.id.clone()).collect();
    ids.sort();
    ids.dedup();
    equal(ids.len(), after.len())
}
