//! One sync, from its start to its outcome.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gitops_core::application::{
    AppRef, Application, Condition, HistoryEntry, OperationPhase, OperationStatus, SyncStatus,
};
use gitops_core::backend::{EventKind, Operation, SyncOptions, SyncOutcome};
use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::backend::Inner;
use super::status;
use super::sync_options::{Permission, SyncOptionSet};
use crate::engine::{ApplySet, EngineOptions, PlanOptions, Report};

/// An operation that runs or ran.
#[derive(Clone)]
pub(super) struct OperationState {
    pub(super) operation: Operation,
    pub(super) cancel: CancellationToken,
    progress: Arc<Mutex<Progress>>,
    outcome: watch::Receiver<Option<Arc<SyncOutcome>>>,
}

/// How far it is.
#[derive(Clone, Default)]
struct Progress {
    initiated_by: String,
    /// Known once they are read, unless they were asked for.
    revisions: Vec<String>,
    retries: u32,
}

pub(super) type OutcomeSender = watch::Sender<Option<Arc<SyncOutcome>>>;

impl OperationState {
    pub(super) fn new(app: AppRef) -> (Self, OutcomeSender) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let started_at = Timestamp::now();
        let id = format!(
            "{:x}-{:x}",
            started_at.as_nanosecond(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let (sender, outcome) = watch::channel(None);
        let state = Self {
            operation: Operation {
                app,
                id,
                started_at,
            },
            cancel: CancellationToken::new(),
            progress: Arc::default(),
            outcome,
        };
        (state, sender)
    }

    pub(super) fn is_running(&self) -> bool {
        // The sender goes with the task: one that is gone without an outcome was aborted.
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }

    fn progress(&self, change: impl FnOnce(&mut Progress)) -> Progress {
        // Nothing panics while it is held.
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut progress);
        progress.clone()
    }

    /// What is known of it while it runs.
    pub(super) fn status(&self) -> OperationStatus {
        let progress = self.progress(|_| ());
        OperationStatus {
            id: self.operation.id.clone(),
            phase: if self.cancel.is_cancelled() {
                OperationPhase::Terminating
            } else {
                OperationPhase::Running
            },
            revisions: progress.revisions,
            started_at: Some(self.operation.started_at),
            initiated_by: progress.initiated_by,
            retry_count: progress.retries,
            ..OperationStatus::default()
        }
    }

    pub(super) async fn wait(mut self) -> Result<SyncOutcome> {
        let outcome = self
            .outcome
            .wait_for(Option::is_some)
            .await
            .map_err(|_| Error::internal("the operation was aborted before it ended"))?;
        match &*outcome {
            Some(outcome) => Ok(SyncOutcome::clone(outcome)),
            None => Err(Error::internal("the operation ended without an outcome")),
        }
    }
}

pub(super) async fn run(
    inner: Arc<Inner>,
    app: Application,
    options: SyncOptions,
    state: OperationState,
    sender: OutcomeSender,
) {
    let span = tracing::info_span!("sync", app = %app.app_ref(), operation = %state.operation.id);
    let (outcome, retries) = within(&inner, &app, &options, &state)
        .instrument(span)
        .await;
    if let Err(error) = record(&inner, &app, &options, &state, &outcome, retries).await {
        tracing::warn!(%error, app = %app.app_ref(), "the outcome of a sync could not be recorded");
    }
    let finished = EventKind::SyncFinished {
        outcome: Box::new(outcome.clone()),
    };
    sender.send_replace(Some(Arc::new(outcome)));
    inner.tell(&app.app_ref(), &state.operation.id, finished);
}

/// The operation within its time limit. At the limit it is terminated like by a caller: requests under way end, no new one begins.
async fn within(
    inner: &Inner,
    app: &Application,
    options: &SyncOptions,
    state: &OperationState,
) -> (SyncOutcome, u32) {
    let work = attempts(inner, app, options, state);
    let Some(limit) = options.timeout else {
        return work.await;
    };
    tokio::pin!(work);
    tokio::select! {
        outcome = &mut work => outcome,
        () = tokio::time::sleep(limit) => {
            state.cancel.cancel();
            let (mut outcome, retries) = work.await;
            if !outcome.is_success() {
                outcome.message = format!("the sync did not end within {limit:?}: {}", outcome.message);
            }
            (outcome, retries)
        }
    }
}

/// Tries, and tries again as the application's retry policy says; tells how often it did so.
async fn attempts(
    inner: &Inner,
    app: &Application,
    options: &SyncOptions,
    state: &OperationState,
) -> (SyncOutcome, u32) {
    let app_ref = app.app_ref();
    inner.tell(&app_ref, &state.operation.id, EventKind::SyncStarted);
    let retry = app.sync_policy.retry.clone().unwrap_or_default();
    let limit = options.retry_limit.unwrap_or(retry.limit);
    let backoff = options.retry_backoff.unwrap_or(retry.backoff);
    let mut pause = backoff.duration;
    let mut attempt: u32 = 0;
    let mut revisions = options.revisions.clone();
    state.progress(|progress| {
        progress.initiated_by.clone_from(&options.initiator.name);
        progress.revisions.clone_from(&revisions);
    });
    loop {
        state.progress(|progress| progress.retries = attempt);
        attempt += 1;
        let result = once(inner, app, options, &mut revisions, state).await;
        let (phase, message, report) = match result {
            Ok(report) => match report.failure.clone() {
                None => (OperationPhase::Succeeded, String::new(), report),
                Some(failure) => (OperationPhase::Failed, failure, report),
            },
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                (OperationPhase::Failed, error.to_string(), Report::default())
            }
            Err(error) => (
                OperationPhase::Error,
                format!("{error:#}"),
                Report::default(),
            ),
        };
        let again = phase != OperationPhase::Succeeded
            && !state.cancel.is_cancelled()
            && (limit < 0 || i64::from(attempt) <= limit);
        if !again {
            let outcome = SyncOutcome {
                operation: state.operation.clone(),
                phase,
                message,
                revisions,
                resources: report.results,
                finished_at: Timestamp::now(),
            };
            return (outcome, attempt - 1);
        }
        inner.tell(
            &app_ref,
            &state.operation.id,
            EventKind::Retrying { attempt, message },
        );
        tokio::select! {
            () = state.cancel.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = pause
            .saturating_mul(backoff.factor.max(1))
            .min(backoff.max_duration.max(Duration::from_millis(1)));
        if retry.refresh && options.revisions.is_empty() {
            revisions.clear();
        }
    }
}

async fn once(
    inner: &Inner,
    app: &Application,
    options: &SyncOptions,
    revisions: &mut Vec<String>,
    state: &OperationState,
) -> Result<Report> {
    let app_ref = app.app_ref();
    let id = state.operation.id.as_str();
    let rendered = tokio::select! {
        biased;
        () = state.cancel.cancelled() => return Err(Error::cancelled("the sync was terminated")),
        rendered = inner.sources.render(app, revisions) => rendered?,
    };
    *revisions = rendered.revisions;
    state.progress(|progress| progress.revisions.clone_from(revisions));
    inner.tell(
        &app_ref,
        id,
        EventKind::Rendered {
            objects: rendered.manifests.len(),
            revisions: revisions.clone(),
        },
    );
    let set = ApplySet::of(app)?;
    let engine_options = engine_options(inner, app, options)?;
    let planning = inner.engine.plan(
        &set,
        rendered.manifests,
        &engine_options,
        PlanOptions {
            look_up: options.dry_run,
            ..PlanOptions::default()
        },
    );
    // Planning only reads.
    let plan = tokio::select! {
        biased;
        () = state.cancel.cancelled() => return Err(Error::cancelled("the sync was terminated")),
        plan = planning => plan?,
    };
    if options.dry_run {
        return Ok(status::report_of(&plan));
    }
    let progress = |event: EventKind| inner.tell(&app_ref, id, event);
    inner
        .engine
        .execute(&set, plan, &engine_options, &progress, &state.cancel)
        .await
}

/// What the application and the sync say, as the engine's options.
pub(super) fn engine_options(
    inner: &Inner,
    app: &Application,
    options: &SyncOptions,
) -> Result<EngineOptions> {
    let policy = &app.sync_policy;
    let set = SyncOptionSet::of(policy, &options.options)?;
    // What is turned off says nothing.
    let automated = policy
        .automated
        .filter(|automated| automated.is_enabled())
        .unwrap_or_default();
    let defaults = &inner.options.engine;
    let prune = match set.prune {
        Permission::Yes => options.prune.unwrap_or(automated.prune || defaults.prune),
        // Who asks for it confirms it.
        Permission::Confirm => options.prune == Some(true) && !options.initiator.automated,
        Permission::Never => false,
    };
    let create_namespace = (set.create_namespace || policy.managed_namespace_metadata.is_some())
        .then(|| {
            policy
                .managed_namespace_metadata
                .clone()
                .unwrap_or_default()
        });
    Ok(EngineOptions {
        namespace: app.destination.namespace.clone(),
        prune,
        allow_empty: automated.allow_empty || defaults.allow_empty,
        force_conflicts: options.force || automated.self_heal || defaults.force_conflicts,
        recreate: options.force || set.force || defaults.recreate,
        replace: set.replace || defaults.replace,
        adopt: defaults.adopt && !set.fail_on_shared,
        validate: set.validate.unwrap_or(defaults.validate),
        ignore_differences: app.ignore_differences.clone(),
        respect_ignored: set.respect_ignored,
        out_of_sync_only: set.out_of_sync_only,
        resources: options.resources.clone(),
        create_namespace,
        propagation: set.propagation.unwrap_or(defaults.propagation),
        ..defaults.clone()
    })
}

async fn record(
    inner: &Inner,
    app: &Application,
    options: &SyncOptions,
    state: &OperationState,
    outcome: &SyncOutcome,
    retries: u32,
) -> Result<()> {
    if options.dry_run {
        return Ok(());
    }
    let app_ref = app.app_ref();
    let mut status = inner.statuses.status(&app_ref).await?.unwrap_or_default();
    status.operation = Some(OperationStatus {
        id: state.operation.id.clone(),
        phase: outcome.phase,
        message: outcome.message.clone(),
        revisions: outcome.revisions.clone(),
        started_at: Some(state.operation.started_at),
        finished_at: Some(outcome.finished_at),
        initiated_by: options.initiator.name.clone(),
        retry_count: retries,
    });
    status.observed_at = Some(outcome.finished_at);
    status
        .conditions
        .retain(|condition| condition.kind != "SyncError");
    if outcome.is_success() {
        status.revisions.clone_from(&outcome.revisions);
        status.sync = if options.resources.is_empty() {
            SyncStatus::Synced
        } else {
            status.sync
        };
        status.resources = status::resources_of(outcome, &status.resources);
        status.health = status::worst(&status.resources);
        // A sync of what is deployed already is no other place to go back to: a loop that repairs drift would push the others out.
        let known = status
            .history
            .last()
            .is_some_and(|last| last.revisions == outcome.revisions && last.sources == app.sources);
        if options.resources.is_empty() && !known {
            let id = status.history.last().map_or(0, |entry| entry.id + 1);
            status.history.push(HistoryEntry {
                id,
                revisions: outcome.revisions.clone(),
                sources: app.sources.clone(),
                started_at: Some(state.operation.started_at),
                deployed_at: Some(outcome.finished_at),
                initiated_by: options.initiator.name.clone(),
            });
            let surplus = status.history.len().saturating_sub(app.history_limit());
            status.history.drain(..surplus);
        }
    } else {
        status.conditions.push(Condition {
            kind: "SyncError".into(),
            message: outcome.message.clone(),
            last_transition_time: Some(outcome.finished_at),
        });
    }
    inner.statuses.put_status(&app_ref, &status).await
}
