//! The history, and the way back.

use async_trait::async_trait;
use gitops_core::application::{AppRef, HistoryEntry};
use gitops_core::backend::{
    ApplicationStore as _, Operation, RevisionHistory, SyncOptions, SyncOutcome, Syncer as _,
};
use gitops_core::{Error, Result};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::access::Loaded;
use super::record::deployed;
use super::{FluxBackend, start, status};
use crate::convert::{Workload, is_manual};

/// What becomes of automated sync, which would undo a rollback at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoSync {
    /// The rollback is refused while automated sync is on.
    #[default]
    Refuse,
    /// The application is suspended first, and stays so: [`RollbackOutcome::auto_sync_paused`] says so. If the rollback cannot be started it is resumed.
    Pause,
    /// The application is suspended first and resumed after the rollback: it will be synced to its target revision then, unless the source says by then what the rollback went to.
    PauseAndRestore,
}

/// How to roll back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RollbackOptions {
    /// What becomes of automated sync.
    pub auto_sync: AutoSync,
    /// All but `revisions` count.
    pub sync: SyncOptions,
}

/// What came of a rollback.
#[derive(Clone, Debug, PartialEq)]
pub struct RollbackOutcome {
    /// What came of the operation.
    pub outcome: SyncOutcome,
    /// Whether the application was suspended and is: somebody has to [resume](gitops_core::backend::ApplicationStore::resume) it.
    pub auto_sync_paused: bool,
}

fn at(time: Option<&Time>) -> Option<Timestamp> {
    Timestamp::from_nanosecond(time?.0.as_nanosecond()).ok()
}

/// The past syncs, oldest first: those of this backend's operations, which it notes, and those that Flux did by itself, as far as its own history (of five contents) tells of them.
pub(super) fn entries(loaded: &Loaded) -> Result<Vec<HistoryEntry>> {
    let noted = deployed(loaded.workload())?;
    // What was applied on the way, from a source that the controller had not seen change yet, is of the operation that went on. Flux's times have no fractions.
    let passed_through = |at: Timestamp| {
        noted.iter().any(|entry| {
            let time = entry.started_at.as_second()..=entry.deployed_at.as_second();
            time.contains(&at.as_second())
        })
    };
    let mut all: Vec<HistoryEntry> = noted.iter().map(|entry| entry.entry()).collect();
    match loaded.workload() {
        Workload::Kustomization(object) => {
            let history = object
                .status
                .iter()
                .flat_map(|status| status.history.iter().flatten());
            // The newest comes first: of two in one second it has the greater number.
            let newest_first: Vec<_> = history
                .filter(|snapshot| snapshot.last_reconciled_status == "ReconciliationSucceeded")
                .collect();
            let count = newest_first.len();
            for (n, snapshot) in newest_first.into_iter().enumerate() {
                let Some(flux) = snapshot
                    .metadata
                    .as_ref()
                    .and_then(|metadata| metadata.get("revision"))
                else {
                    continue;
                };
                if noted.iter().any(|entry| entry.revision == *flux) {
                    continue;
                }
                let Some(first) = at(snapshot.first_reconciled.as_ref()) else {
                    continue;
                };
                if passed_through(first) {
                    continue;
                }
                all.push(HistoryEntry {
                    id: first.as_millisecond() + i64::try_from(count - n).unwrap_or_default(),
                    revisions: vec![status::revision(loaded, flux)],
                    deployed_at: Some(first),
                    ..HistoryEntry::default()
                });
            }
        }
        Workload::HelmRelease(object) => {
            for snapshot in object
                .status
                .iter()
                .flat_map(|status| status.history.iter().flatten())
            {
                let Some(first) = at(snapshot.last_deployed.as_ref()) else {
                    continue;
                };
                let is_noted = passed_through(first)
                    || noted
                        .iter()
                        .any(|entry| entry.revision.starts_with(&snapshot.chart_version));
                if is_noted || !matches!(snapshot.status.as_str(), "deployed" | "superseded") {
                    continue;
                }
                all.push(HistoryEntry {
                    id: first.as_millisecond(),
                    revisions: vec![snapshot.chart_version.clone()],
                    deployed_at: Some(first),
                    ..HistoryEntry::default()
                });
            }
        }
    }
    all.sort_by_key(|entry| entry.id);
    all.dedup_by_key(|entry| entry.id);
    Ok(all)
}

impl FluxBackend {
    /// Goes back to entry `id` of the history and waits for the end. Automated sync is refused, paused, or paused and restored, as `options` say; it is never left off without
    /// [saying](RollbackOutcome::auto_sync_paused) so.
    ///
    /// A caller that drops the future after the pause leaves the application suspended, which `spec.suspend` says to everybody.
    ///
    /// # Errors
    /// `NotFound` for an entry that is not there; `Conflict` with [`AutoSync::Refuse`]; what waiting meets. When the application could not be resumed, the error says so.
    pub async fn roll_back_and_wait(
        &self,
        app: &AppRef,
        id: i64,
        options: &RollbackOptions,
    ) -> Result<RollbackOutcome> {
        let loaded = self.load(app).await?;
        entry(&loaded, app, id)?;
        let now = self.application(&loaded.parts)?;
        let pause = !is_manual(&now) && !now.suspended && options.auto_sync != AutoSync::Refuse;
        if pause {
            self.suspend(app).await?;
        }
        let started = self.roll_back(app, id, &options.sync).await;
        let (outcome, has_started) = match started {
            Ok(operation) => (self.wait(&operation).await, true),
            Err(error) => (Err(error), false),
        };
        let restore = pause && (!has_started || options.auto_sync == AutoSync::PauseAndRestore);
        if restore && let Err(error) = self.resume(app).await {
            return Err(error.context(format!(
                "application {app} is suspended and could not be resumed"
            )));
        }
        let paused = pause && !restore;
        match outcome {
            Ok(outcome) => Ok(RollbackOutcome {
                outcome,
                auto_sync_paused: paused,
            }),
            Err(error) if paused => Err(error.context(format!("application {app} is suspended"))),
            Err(error) => Err(error),
        }
    }
}

/// The entry of that number.
pub(super) fn entry(loaded: &Loaded, app: &AppRef, id: i64) -> Result<HistoryEntry> {
    let found = entries(loaded)?.into_iter().find(|entry| entry.id == id);
    found.ok_or_else(|| {
        Error::not_found(format!(
            "application {app} has no entry {id} in its history"
        ))
    })
}

#[async_trait]
impl RevisionHistory for FluxBackend {
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
        entries(&self.load(app).await?)
    }

    /// A sync at the entry's revision: the source (for a chart of a Helm repository, the version) is pinned for the operation. What follows afterwards is as after any sync at a revision: nothing is
    /// reconciled until somebody asks, or resumes.
    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
        let loaded = self.load(app).await?;
        let entry = entry(&loaded, app, id)?;
        let now = self.application(&loaded.parts)?;
        if !is_manual(&now) && !now.suspended {
            return Err(Error::conflict(format!(
                "automated sync of application {app} is on and would undo the rollback: suspend it first"
            )));
        }
        let options = SyncOptions {
            revisions: entry.revisions,
            ..options.clone()
        };
        start::sync(self, app, &options).await
    }
}
