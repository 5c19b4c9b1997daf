//! One look at one application.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{ReconcilerOptions, Tenure};
use crate::application::{AppRef, Application, ApplicationStatus};
use crate::backend::{
    Backend, EventKind, Initiator, Operation, SyncEvent, SyncOptions, SyncOutcome,
};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::{LimitKey, SyncLimiter};
use crate::rule::{SyncContext, SyncStrategy};
use crate::source::Sources;
use crate::validate::{Context, Validators};

/// What all looks share.
pub(super) struct Looker {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) sources: Option<Arc<dyn Sources>>,
    pub(super) strategy: SyncStrategy,
    pub(super) validators: Validators,
    pub(super) limiter: SyncLimiter,
    pub(super) options: ReconcilerOptions,
    pub(super) paused: watch::Receiver<bool>,
    /// No sync is started any more.
    pub(super) stop: CancellationToken,
    /// What runs must end.
    pub(super) force: CancellationToken,
    pub(super) events: mpsc::UnboundedSender<SyncEvent>,
    /// The backend tells of its operations itself.
    pub(super) backend_tells: bool,
}

/// What one look knows of the ones before.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// The revisions seen last.
    pub(super) seen: Vec<String>,
    /// What was refused last, and told: who, why, which revisions.
    pub(super) refused: Option<(String, String, Vec<String>)>,
    /// What was synced last.
    pub(super) synced: Option<Synced>,
}

/// A sync that went well.
#[derive(Clone, Debug)]
pub(super) struct Synced {
    revisions: Vec<String>,
    at: Instant,
    /// How many in a row went to these revisions.
    times: u32,
}

/// What came of a look.
#[derive(Debug)]
pub(super) enum Looked {
    /// There is no such application.
    Gone,
    /// Nothing was to be done.
    Idle,
    /// Another operation runs.
    Busy,
    /// The same was synced a moment ago: not before this time has passed.
    Later(Duration),
    /// No sync is started now.
    Paused,
    /// A rule, a validator or the limiter forbids it.
    Refused,
    /// A sync went well.
    Synced,
    /// Something failed.
    Failed,
    /// It was broken off: the application is another replica's now, or it is the end.
    Stopped,
}

impl Looked {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Later(_) => "later",
            Self::Paused => "paused",
            Self::Refused => "refused",
            Self::Synced => "synced",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What a look judged: sync this, to these revisions.
struct Wanted {
    app: Application,
    revisions: Vec<String>,
}

/// Why a look goes no further.
type Ended = Looked;

impl Looker {
    /// Looks at `app`. `slot` is given back when the judgement is over.
    pub(super) async fn look(
        &self,
        app: &AppRef,
        by: Option<String>,
        tenure: &Tenure,
        memory: &mut Memory,
        slot: OwnedSemaphorePermit,
    ) -> Looked {
        let wanted = match self.judge_in_time(app, by.is_some(), tenure, memory).await {
            Ok(wanted) => wanted,
            Err(ended) => return ended,
        };
        drop(slot);
        match self.take_turn(app, by, tenure, memory, wanted).await {
            Ok(looked) | Err(looked) => looked,
        }
    }

    /// The judgement, given up when it takes too long, or is of no use any more.
    async fn judge_in_time(
        &self,
        app: &AppRef,
        manual: bool,
        tenure: &Tenure,
        memory: &mut Memory,
    ) -> Result<Wanted, Ended> {
        let judged = timeout(self.options.look_timeout, self.judge(app, manual, memory));
        let judged = tokio::select! {
            biased;
            () = tenure.lost() => return Err(Looked::Stopped),
            () = self.stop.cancelled() => return Err(Looked::Stopped),
            judged = judged => judged,
        };
        match judged {
            Ok(judged) => judged,
            Err(_) => {
                tracing::warn!(%app, limit = ?self.options.look_timeout, "an application could not be looked at in time");
                Err(Looked::Failed)
            }
        }
    }

    async fn judge(
        &self,
        app_ref: &AppRef,
        manual: bool,
        memory: &mut Memory,
    ) -> Result<Wanted, Ended> {
        let failed = |what: &'static str| {
            move |error: Error| {
                tracing::warn!(app = %app_ref, %error, "cannot read {what}");
                Looked::Failed
            }
        };
        let Some(store) = self.backend.store() else {
            return Err(Looked::Gone);
        };
        let app = match store.get(app_ref).await {
            Ok(stored) => stored.app,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Looked::Gone),
            Err(error) => return Err(failed("an application")(error)),
        };
        if app.suspended && !manual {
            return Err(Looked::Idle);
        }
        let (status, revisions) = self.state(&app).await.map_err(failed("a state"))?;
        if status
            .operation
            .as_ref()
            .is_some_and(|operation| !operation.phase.is_terminal())
        {
            return Err(Looked::Busy);
        }
        self.tell_of(&app, &revisions, memory);
        let changed_paths = self.changed_paths(&app, &status, &revisions).await;
        let context = SyncContext {
            app: &app,
            status: Some(&status),
            revisions: &revisions,
            changed_paths: changed_paths.as_deref(),
            now: jiff::Timestamp::now(),
            manual,
        };
        match self.strategy.should_sync(&context).await {
            Ok(verdict) if verdict.sync => {
                tracing::info!(app = %app_ref, rule = verdict.rule, reason = %verdict.reason, "to be synced");
            }
            Ok(verdict) => {
                tracing::debug!(app = %app_ref, reason = %verdict.reason, "not to be synced");
                if manual {
                    self.refuse(&app, "strategy", verdict.reason, &revisions, memory);
                } else {
                    memory.refused = None;
                }
                return Err(Looked::Idle);
            }
            Err(error) => {
                self.refuse(&app, "strategy", error.to_string(), &revisions, memory);
                return Err(Looked::Refused);
            }
        }
        if !manual && let Some(pause) = self.too_soon(&revisions, memory) {
            return Err(Looked::Later(pause));
        }
        self.validate(&app, &revisions, memory).await?;
        Ok(Wanted { app, revisions })
    }

    /// The state of `app`, and the revisions that a sync would go to.
    async fn state(&self, app: &Application) -> Result<(ApplicationStatus, Vec<String>)> {
        let app_ref = app.app_ref();
        let status = self.backend.status(&app_ref);
        match &self.sources {
            Some(sources) => futures::try_join!(status, sources.resolve(app)),
            None => {
                let status = status.await?;
                let revisions = status.revisions.clone();
                Ok((status, revisions))
            }
        }
    }

    fn tell_of(&self, app: &Application, revisions: &[String], memory: &mut Memory) {
        for (source, revision) in revisions.iter().enumerate() {
            // What is there when the program starts is no news.
            if memory.seen.get(source).is_some_and(|seen| seen != revision) {
                let revision = revision.clone();
                let kind = EventKind::RevisionDetected { source, revision };
                self.tell(&app.app_ref(), "", kind);
            }
        }
        memory.seen = revisions.to_vec();
    }

    /// The files that changed since the last sync, where that can be told.
    async fn changed_paths(
        &self,
        app: &Application,
        status: &ApplicationStatus,
        revisions: &[String],
    ) -> Option<Vec<String>> {
        let sources = self.sources.as_ref()?;
        let from = &status.history.last()?.revisions;
        match sources.changed_paths(app, from, revisions).await {
            Ok(paths) => paths,
            Err(error) => {
                tracing::warn!(app = %app.app_ref(), %error, "cannot tell which files changed");
                None
            }
        }
    }

    /// How long a sync to revisions that were synced already has to wait: one that heals what comes back again and again must not run hot.
    fn too_soon(&self, revisions: &[String], memory: &Memory) -> Option<Duration> {
        let last = memory.synced.as_ref()?;
        if last.revisions != revisions {
            return None;
        }
        let pause = self.options.pause_after(last.times);
        let left = pause.checked_sub(last.at.elapsed())?;
        Some(left).filter(|left| !left.is_zero())
    }

    async fn validate(
        &self,
        app: &Application,
        revisions: &[String],
        memory: &mut Memory,
    ) -> Result<(), Ended> {
        if self.validators.is_empty() {
            return Ok(());
        }
        let rendered = match &self.sources {
            Some(sources) => match sources.render(app, revisions).await {
                Ok(rendered) => Some(rendered),
                Err(error) => {
                    self.refuse(app, "validators", error.to_string(), revisions, memory);
                    return Err(Looked::Refused);
                }
            },
            None => None,
        };
        let context = Context {
            manifests: rendered.as_ref().map(|rendered| &rendered.manifests),
            revisions,
        };
        let report = self.validators.validate(app, &context).await;
        match report.into_result() {
            Ok(warnings) => {
                for finding in warnings {
                    tracing::warn!(app = %app.app_ref(), %finding, "a validator warns");
                }
                Ok(())
            }
            Err(error) => {
                self.refuse(app, "validators", error.to_string(), revisions, memory);
                Err(Looked::Refused)
            }
        }
    }

    /// Waits for the limiter, and syncs.
    async fn take_turn(
        &self,
        app: &AppRef,
        by: Option<String>,
        tenure: &Tenure,
        memory: &mut Memory,
        mut wanted: Wanted,
    ) -> Result<Looked, Ended> {
        let key = LimitKey::app(app.clone()).on(wanted.app.destination.cluster.clone());
        let asked = Instant::now();
        let permit = tokio::select! {
            biased;
            () = tenure.lost() => return Err(Looked::Stopped),
            () = self.stop.cancelled() => return Err(Looked::Stopped),
            permit = self.limiter.acquire(&key) => permit,
        };
        let _permit = match permit {
            Ok(permit) => permit,
            Err(error) => {
                self.refuse(
                    &wanted.app,
                    "limiter",
                    error.to_string(),
                    &wanted.revisions,
                    memory,
                );
                return Err(Looked::Refused);
            }
        };
        // What was judged long ago may not hold any more.
        if asked.elapsed() > self.options.interval {
            wanted = self
                .judge_in_time(app, by.is_some(), tenure, memory)
                .await?;
        }
        if *self.paused.borrow() {
            return Err(Looked::Paused);
        }
        if self.stop.is_cancelled() || !tenure.is_valid() {
            return Err(Looked::Stopped);
        }
        Ok(self.sync(app, by, tenure, memory, wanted.revisions).await)
    }

    async fn sync(
        &self,
        app: &AppRef,
        by: Option<String>,
        tenure: &Tenure,
        memory: &mut Memory,
        revisions: Vec<String>,
    ) -> Looked {
        let options = SyncOptions {
            revisions: match self.sources {
                Some(_) => revisions.clone(),
                None => Vec::new(),
            },
            initiator: Initiator {
                automated: by.is_none(),
                name: by.unwrap_or_else(|| self.options.name.clone()),
            },
            ..SyncOptions::default()
        };
        let operation = match self.start(app, &options, tenure).await {
            Ok(Some(operation)) => {
                memory.refused = None;
                operation
            }
            Ok(None) => return Looked::Stopped,
            Err(error) if error.kind() == ErrorKind::OperationInProgress => return Looked::Busy,
            Err(error) => {
                tracing::warn!(%app, %error, "a sync could not be started");
                self.refuse_app(app, "backend", error.to_string(), &revisions, memory);
                return Looked::Failed;
            }
        };
        if !self.backend_tells {
            self.tell(app, &operation.id, EventKind::SyncStarted);
        }
        let (outcome, broken_off) = self.follow(&operation, tenure).await;
        let success = match outcome {
            Ok(outcome) => {
                let success = outcome.is_success();
                if !self.backend_tells {
                    let outcome = Box::new(outcome);
                    self.tell(app, &operation.id, EventKind::SyncFinished { outcome });
                }
                success
            }
            Err(error) => {
                tracing::warn!(%app, operation = operation.id, %error, "what became of a sync is not known");
                false
            }
        };
        if broken_off {
            return Looked::Stopped;
        }
        if !success {
            return Looked::Failed;
        }
        let before = memory.synced.take();
        let times = match before {
            // Long enough ago to begin anew.
            Some(last)
                if last.revisions == revisions
                    && last.at.elapsed() < 2 * self.options.backoff.max_duration =>
            {
                last.times.saturating_add(1)
            }
            _ => 1,
        };
        memory.synced = Some(Synced {
            revisions,
            at: Instant::now(),
            times,
        });
        Looked::Synced
    }

    /// Starts the operation; `None` when it is of no use any more, and nothing was left running as far as can be told.
    async fn start(
        &self,
        app: &AppRef,
        options: &SyncOptions,
        tenure: &Tenure,
    ) -> Result<Option<Operation>> {
        let mut start = self.backend.sync(app, options);
        tokio::select! {
            biased;
            started = &mut start => return started.map(Some),
            () = tenure.lost() => {}
            () = self.force.cancelled() => {}
        }
        // Who started something must know it in order to stop it.
        if let Ok(Ok(operation)) = timeout(self.options.terminate_grace, start).await {
            let _ = self.end(&operation).await;
        }
        Ok(None)
    }

    /// Waits for the end of `operation`, or brings it about; says whether it was brought about because nobody wants it here any more.
    async fn follow(&self, operation: &Operation, tenure: &Tenure) -> (Result<SyncOutcome>, bool) {
        let too_long = async {
            match self.options.sync_timeout {
                Some(limit) => sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let (why, broken_off) = tokio::select! {
            biased;
            outcome = self.backend.wait(operation) => return (outcome, false),
            () = tenure.lost() => ("the application is another replica's now", true),
            () = self.force.cancelled() => ("the reconciler is shut down", true),
            () = too_long => ("it takes too long", false),
        };
        tracing::warn!(app = %operation.app, operation = operation.id, "terminating a sync: {why}");
        (self.end(operation).await, broken_off)
    }

    /// Terminates `operation`, and waits a moment for its end.
    async fn end(&self, operation: &Operation) -> Result<SyncOutcome> {
        let grace = self.options.terminate_grace;
        let ended = async {
            self.backend.terminate(operation).await?;
            self.backend.wait(operation).await
        };
        match timeout(grace, ended).await {
            Ok(ended) => ended,
            Err(_) => Err(Error::timeout(format!(
                "the sync was terminated and did not end within {grace:?}"
            ))),
        }
    }

    fn refuse(
        &self,
        app: &Application,
        by: &str,
        reason: String,
        revisions: &[String],
        memory: &mut Memory,
    ) {
        self.refuse_app(&app.app_ref(), by, reason, revisions, memory);
    }

    /// Tells of a refusal, once.
    fn refuse_app(
        &self,
        app: &AppRef,
        by: &str,
        reason: String,
        revisions: &[String],
        memory: &mut Memory,
    ) {
        let refusal = (by.to_owned(), reason, revisions.to_vec());
        if memory.refused.as_ref() == Some(&refusal) {
            return;
        }
        let (by, reason, revisions) = refusal.clone();
        tracing::warn!(%app, by, reason, "a sync is refused");
        memory.refused = Some(refusal);
        let kind = EventKind::SyncRefused {
            by,
            reason,
            revisions,
        };
        self.tell(app, "", kind);
    }

    pub(super) fn tell(&self, app: &AppRef, operation: &str, kind: EventKind) {
        // Nobody listens at the very end only.
        let _ = self
            .events
            .send(SyncEvent::now(app.clone(), operation, kind));
    }
}
