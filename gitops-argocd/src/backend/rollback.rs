//! The history, and the way back.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use gitops_core::application::{AppRef, HistoryEntry};
use gitops_core::backend::{Operation, RevisionHistory, SyncOptions, SyncOutcome, Syncer};
use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;

use super::{ArgoCdBackend, follow, request};
use crate::access::Rollback;
use crate::operation::{id_of, named, new_id};
use crate::types::{self, Application};

/// What becomes of automated sync, which would undo a rollback at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AutoSync {
    /// The rollback is refused while automated sync is on.
    #[default]
    Refuse,
    /// Automated sync is turned off first, and stays off: `RollbackOutcome::auto_sync_paused` says so. If the rollback is refused it is turned on again.
    Pause,
    /// Automated sync is turned off first and on again after the rollback: it will sync to the target revision then, unless Git says by then what the rollback
    /// went to. Where it is not known whether the rollback has ended it stays off, and the error says so.
    PauseAndRestore,
}

/// How to roll back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RollbackOptions {
    /// What becomes of automated sync.
    pub auto_sync: AutoSync,
    /// `dry_run`, `prune`, `initiator` and `timeout` count.
    pub sync: SyncOptions,
}

/// What came of a rollback.
#[derive(Clone, Debug, PartialEq)]
pub struct RollbackOutcome {
    /// What came of the operation.
    pub outcome: SyncOutcome,
    /// Whether automated sync was turned off and is off: somebody has to turn it on again ([`resume_auto_sync`](ArgoCdBackend::resume_auto_sync)).
    pub auto_sync_paused: bool,
}

fn entry<'a>(record: &'a Application, app: &AppRef, id: i64) -> Result<&'a types::RevisionHistory> {
    record
        .status
        .iter()
        .flat_map(|status| status.history.iter().flatten())
        .find(|entry| entry.id == id)
        .ok_or_else(|| {
            Error::not_found(format!(
                "application {app} has no entry {id} in its history"
            ))
        })
}

impl ArgoCdBackend {
    /// Goes back to entry `id` of the history and waits for the end. Automated sync is refused, paused, or paused and restored, as `options` say; it is never left
    /// off without [saying](RollbackOutcome::auto_sync_paused) so.
    ///
    /// A caller that drops the future after the pause leaves automated sync off: the annotation `gitops.rs/suspended` on the application says so to everybody.
    ///
    /// # Errors
    /// `NotFound` for an entry that is not there; `Conflict` with [`AutoSync::Refuse`]; what waiting meets. When automated sync stays off, because the rollback may go
    /// on or because it could not be turned on again, the error says so.
    pub async fn roll_back_and_wait(
        &self,
        app: &AppRef,
        id: i64,
        options: &RollbackOptions,
    ) -> Result<RollbackOutcome> {
        use gitops_core::backend::ApplicationStore as _;

        let record = self.access.get_full(app).await?;
        entry(&record, app, id)?;
        let pause = record.spec.is_automated() && options.auto_sync != AutoSync::Refuse;
        let paused = pause && !options.sync.dry_run;
        if paused {
            self.suspend(app).await.map_err(|error| {
                error.context(format!("turn automated sync of application {app} off"))
            })?;
        }
        let asked = AtomicBool::new(false);
        let outcome = match self.begin(app, id, &options.sync, &asked).await {
            Ok(operation) => self.wait(&operation).await,
            Err(error) => Err(error),
        };
        // While a rollback is asked for or runs, automated sync would undo it.
        let restore = paused
            && match &outcome {
                Ok(_) => options.auto_sync == AutoSync::PauseAndRestore,
                Err(_) => !asked.load(Ordering::Relaxed),
            };
        if restore && let Err(error) = self.resume(app).await {
            return Err(error.context(format!(
                "automated sync of application {app} is off and could not be turned on again"
            )));
        }
        match outcome {
            Ok(outcome) => Ok(RollbackOutcome {
                outcome,
                auto_sync_paused: paused && !restore,
            }),
            Err(error) if paused && !restore => Err(error.context(format!(
                "automated sync of application {app} is off, and stays so because the rollback may go on"
            ))),
            Err(error) => Err(error),
        }
    }

    /// Turns automated sync on again after a rollback that paused it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn resume_auto_sync(&self, app: &AppRef) -> Result<()> {
        use gitops_core::backend::ApplicationStore as _;
        self.resume(app).await
    }

    /// Begins a rollback. `asked` tells whether it may be asked for, whatever the result: all is so but what was refused.
    async fn begin(
        &self,
        app: &AppRef,
        id: i64,
        options: &SyncOptions,
        asked: &AtomicBool,
    ) -> Result<Operation> {
        let (begun, target) = self
            .when_free(app, || async {
                let record = self.access.get_full(app).await?;
                let target = Target::of(entry(&record, app, id)?);
                if record.spec.is_automated() {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!(
                            "automated sync of application {app} is on and would undo the rollback: suspend it first"
                        ),
                    ));
                }
                let (operation, started_at) = (new_id(), Timestamp::now());
                let prune = options.prune.unwrap_or_else(|| {
                    record
                        .spec
                        .sync_policy
                        .as_ref()
                        .and_then(|policy| policy.automated.as_ref())
                        .and_then(|automated| automated.prune)
                        .unwrap_or_default()
                });
                let rollback = Rollback {
                    id,
                    dry_run: options.dry_run,
                    prune,
                    notes: request::notes(options, &operation, started_at),
                    initiator: options.initiator.name.clone(),
                    automated: options.initiator.automated,
                };
                let result = self.access.roll_back(app, &rollback).await;
                asked.store(!matches!(&result, Err(error) if is_refusal(error)), Ordering::Relaxed);
                let has_notes = result?;
                let begun = named(app, operation, started_at);
                Ok(if has_notes { (begun, None) } else { (begun, Some(target)) })
            })
            .await?;
        match target {
            Some(target) => {
                let name = self.name_of_started(app, &target).await?;
                Ok(named(app, name, begun.started_at))
            }
            None => Ok(begun),
        }
    }

    /// The name of a rollback that takes no notes: once a controller has taken it up, the time at which it did. What Argo CD said of the operation before went when it
    /// took the rollback; what follows is the rollback, or, with other revisions, a newer operation.
    async fn name_of_started(&self, app: &AppRef, target: &Target) -> Result<String> {
        let named = follow::until(self, app, |record| {
            let state = record.status.operation_state.as_ref()?;
            let sync = state.operation.sync.as_ref()?;
            let is_it = sync.revision == target.revision && sync.revisions == target.revisions;
            is_it
                .then(|| id_of(&state.operation, state.started_at))
                .flatten()
        });
        match tokio::time::timeout(self.options.settle, named).await {
            Ok(result) => result,
            Err(_) => Err(Error::unavailable(format!(
                "the rollback of application {app} is asked for, and was not seen to be taken up by a controller within {:?}",
                self.options.settle
            ))),
        }
    }
}

/// The revisions that a rollback goes to.
struct Target {
    revision: String,
    revisions: Vec<String>,
}

impl Target {
    fn of(entry: &types::RevisionHistory) -> Self {
        Self {
            revision: entry.revision.clone().unwrap_or_default(),
            revisions: entry.revisions.clone().unwrap_or_default(),
        }
    }
}

/// Whether Argo CD said no: anything else may come after it has begun.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Conflict
            | ErrorKind::PermissionDenied
            | ErrorKind::Unauthenticated
            | ErrorKind::RateLimited
            | ErrorKind::OperationInProgress
            | ErrorKind::Unsupported
    )
}

#[async_trait]
impl RevisionHistory for ArgoCdBackend {
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
        let record = self.access.get_full(app).await?;
        let status = record.status.unwrap_or_default();
        let mut history: Vec<HistoryEntry> = status
            .history
            .iter()
            .flatten()
            .map(HistoryEntry::try_from)
            .collect::<Result<_>>()?;
        history.sort_by_key(|entry| entry.id);
        Ok(history)
    }

    /// Through the API server the operation is named once a controller has taken it up, which this waits for: a rollback takes no notes there. Such names count seconds: what
    /// a controller begins within the same second has the same one.
    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
        self.begin(app, id, options, &AtomicBool::new(false)).await
    }
}
