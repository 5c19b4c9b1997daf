//! One look at one application.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::states::States;
use super::{ReconcilerOptions, Tenure};
use crate::application::{AppRef, Application, ApplicationStatus};
use crate::backend::{Backend, EventKind, SyncEvent};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::SyncLimiter;
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
    pub(super) states: States,
    /// Applications with a sync of ours whose end is not known.
    pub(super) open: Mutex<HashSet<AppRef>>,
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
    pub(super) revisions: Vec<String>,
    pub(super) at: Instant,
    /// How many in a row went to these revisions.
    pub(super) times: u32,
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
    /// It could not be looked at; nothing is decided.
    Unread,
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
            Self::Unread | Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What a look judged: sync this, to these revisions.
pub(super) struct Wanted {
    pub(super) app: Application,
    pub(super) revisions: Vec<String>,
}

/// Why a look goes no further.
pub(super) type Ended = Looked;

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
    pub(super) async fn judge_in_time(
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
                let limit = self.options.look_timeout;
                let reason =
                    format!("nothing was decided within {limit:?}: something that was asked hangs");
                let revisions = memory.seen.clone();
                self.refuse_app(app, "reconciler", reason, &revisions, memory);
                Err(Looked::Unread)
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
                Looked::Unread
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
        let asked = Instant::now();
        let (status, revisions) = self.state(&app).await.map_err(failed("a state"))?;
        self.tell_state(app_ref, &status, asked);
        if status
            .operation
            .as_ref()
            .is_some_and(|operation| !operation.phase.is_terminal())
        {
            return Err(Looked::Busy);
        }
        self.set_open(app_ref, false);
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

    pub(super) fn refuse(
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
    pub(super) fn refuse_app(
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

    /// Tells of a state, read at `at`, that is another than before, unless the backend did; says whether it is.
    pub(super) fn tell_state(&self, app: &AppRef, status: &ApplicationStatus, at: Instant) -> bool {
        let (sync, health) = (status.sync, status.health.status);
        let changed = self.states.changed(app, sync, health, at);
        if changed {
            self.tell(app, "", EventKind::StatusChanged { sync, health });
        }
        changed
    }

    /// Whether a sync of ours may run.
    pub(super) fn set_open(&self, app: &AppRef, open: bool) {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open {
            all.insert(app.clone());
        } else {
            all.remove(app);
        }
    }

    /// The applications with a sync of ours that may still run.
    pub(super) fn unfinished(&self) -> Vec<AppRef> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().cloned().collect()
    }

    pub(super) fn tell(&self, app: &AppRef, operation: &str, kind: EventKind) {
        // Nobody listens at the very end only.
        let _ = self
            .events
            .send(SyncEvent::now(app.clone(), operation, kind));
    }
}
