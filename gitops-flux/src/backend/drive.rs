//! Carrying an operation on, to its end.
//!
//! ```text
//! Source ─> Workload ─> Release ─> Ended
//!   └───────────┴─(a try failed)─> Source
//! ```
//!
//! Each step is one change of the workload's record, made at the version that was read, and can be made by anybody: the task that the sync left behind, whoever waits, another process. What two do
//! at once is done once.

mod end;
mod wait;

use std::time::Duration;

use futures::StreamExt as _;
use gitops_core::application::{AppRef, OperationPhase};
use gitops_core::backend::SyncOutcome;
use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::wait::Judged;
use super::access::{Loaded, was_overtaken};
use super::record::{Record, Step};
use super::{FluxBackend, outcome, pin, status};
use crate::convert::{SYNC, Workload, is_paused};
use crate::deadline;
use crate::manager::FluxRef;
use crate::reconcile::{Expectation, FORCE_AT, Failure, REQUESTED_AT, State};
use crate::types::InventoryEntry;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(10);
/// How far the controllers' caches may be behind, as a rule: milliseconds, more on a busy machine. What they apply meanwhile is not taken for the result.
const CACHES: Duration = Duration::from_secs(1);

/// How often a write is tried again that lost a race.
const RACES: usize = 10;
const SUSPENDED_MEANWHILE: &str =
    "it was suspended meanwhile; what had begun may have been applied";

/// The error of an operation that nothing is known of.
pub(super) fn unknown(app: &AppRef, id: &str) -> Error {
    Error::not_found(format!(
        "nothing is known of operation {id} of application {app}: a newer one may have taken its place"
    ))
}

/// Carries operation `id` on until it has ended.
pub(super) async fn to_the_end(
    backend: &FluxBackend,
    app: &AppRef,
    id: &str,
) -> Result<SyncOutcome> {
    let mut memory = Memory::default();
    let result = all_steps(backend, app, id, &mut memory).await;
    let is_over = match &result {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    if let Some(source) = memory.pinned.filter(|_| is_over) {
        let_go(backend, &source, id).await;
    }
    result
}

/// What one process knows of an operation that it carries on, besides the record.
#[derive(Default)]
struct Memory {
    /// The inventory before anything was applied.
    before: Option<Vec<InventoryEntry>>,
    /// The source that it pinned.
    pinned: Option<FluxRef>,
}

async fn all_steps(
    backend: &FluxBackend,
    app: &AppRef,
    id: &str,
    memory: &mut Memory,
) -> Result<SyncOutcome> {
    let mut away_since: Option<Instant> = None;
    let mut delay = FIRST_DELAY;
    loop {
        let looked = one_step(backend, app, id, memory).await;
        let error = match looked {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => {
                (away_since, delay) = (None, FIRST_DELAY);
                continue;
            }
            Err(error) => error,
        };
        let passes = was_overtaken(&error) || error.is_retryable();
        let since = *away_since.get_or_insert_with(Instant::now);
        if !passes || since.elapsed() >= backend.options.patience {
            return Err(error.context(format!("operation {id} of application {app}")));
        }
        tracing::debug!(%app, %error, "an operation waits for the API server");
        tokio::time::sleep(error.retry_after().map_or(delay, |after| after.max(delay))).await;
        delay = (delay * 2).min(LAST_DELAY);
    }
}

/// Lets go what was pinned for an operation that is over. As a rule it is so already, but another process may have ended the operation before this one came to pin the source.
async fn let_go(backend: &FluxBackend, source: &FluxRef, id: &str) {
    for _ in 0..RACES {
        let tried = async {
            let live = backend.find(source).await?;
            let live = live.filter(|live| pin::is_for(live, id));
            match live.and_then(|live| Some((pin::unpin(&live)?, live))) {
                Some((patch, live)) => pin::write(backend, source, &live, patch).await,
                None => Ok(()),
            }
        };
        match tried.await {
            Err(error) if was_overtaken(&error) => {}
            Err(error) => {
                tracing::warn!(%source, operation = id, %error, "a source may be pinned still");
                return;
            }
            Ok(()) => return,
        }
    }
}

async fn one_step(
    backend: &FluxBackend,
    app: &AppRef,
    id: &str,
    memory: &mut Memory,
) -> Result<Option<SyncOutcome>> {
    let loaded = backend.load(app).await?;
    let record = loaded.record()?.filter(|record| record.id == id);
    let record = record.ok_or_else(|| unknown(app, id))?;
    if let Some(outcome) = record.outcome(app) {
        return Ok(Some(outcome));
    }
    if record.step == Step::Source && memory.before.is_none() {
        memory.before = Some(outcome::inventory(loaded.workload()));
    }
    let driver = Driver {
        backend,
        app,
        loaded,
        record,
        memory,
    };
    match driver.step().await {
        Ok(()) => Ok(None),
        Err(error) if was_overtaken(&error) || error.is_retryable() => Err(error),
        // It cannot go on, and whoever waits is told why.
        Err(error) => {
            let again = backend.load(app).await?;
            let record = again
                .record()?
                .filter(|record| record.id == id && record.outcome.is_none());
            let Some(record) = record else {
                return Err(error);
            };
            let driver = Driver {
                backend,
                app,
                loaded: again,
                record,
                memory,
            };
            driver
                .end(OperationPhase::Error, error.to_string(), Vec::new())
                .await
                .map(|()| None)
        }
    }
}

struct Driver<'a> {
    backend: &'a FluxBackend,
    app: &'a AppRef,
    loaded: Loaded,
    record: Record,
    memory: &'a mut Memory,
}

impl Driver<'_> {
    async fn step(self) -> Result<()> {
        if self.loaded.is_deleting() && self.record.outcome.is_none() {
            // Its controller applies nothing any more, and it may be gone before the source is let go.
            self.unpin().await?;
            return self
                .end(
                    OperationPhase::Failed,
                    "the application is being deleted".to_owned(),
                    Vec::new(),
                )
                .await;
        }
        match self.record.step {
            Step::Source => self.source().await,
            Step::Workload => self.workload().await,
            Step::Release => self.release().await,
            Step::Ended => Ok(()),
        }
    }

    fn deadline(&self) -> Instant {
        let left = self.record.deadline.duration_since(Timestamp::now());
        deadline::after(Duration::try_from(left).unwrap_or_default())
    }

    // The source.

    async fn source(mut self) -> Result<()> {
        if self.record.terminating {
            let message = "it was terminated before anything was applied".to_owned();
            return self.end(OperationPhase::Failed, message, Vec::new()).await;
        }
        if self.was_suspended_meanwhile() {
            let message = SUSPENDED_MEANWHILE.to_owned();
            return self.end(OperationPhase::Failed, message, Vec::new()).await;
        }
        if self.loaded.parts.source.is_none() {
            let named = self.loaded.workload().source_ref().unwrap_or_default();
            let message = format!("its source {} {} is not there", named.kind, named.name);
            return self.end(OperationPhase::Failed, message, Vec::new()).await;
        }
        let token = self.record.token();
        for object in self.sources() {
            let live = self.backend.manager.get_value(&object).await?;
            let state = State::of(&live);
            if state.passive {
                continue;
            }
            let mut patch = json!({"metadata": {"annotations": {REQUESTED_AT: token}}});
            let mut needed = state.requested.as_deref() != Some(&token);
            if Some(&object) == self.loaded.source_ref().as_ref()
                && let Some(pinned) = pin::patch(
                    &live,
                    object.kind,
                    &self.record.id,
                    self.record.ask.revision.as_deref(),
                )?
            {
                merge(&mut patch, pinned);
                needed = true;
                if self.record.ask.revision.is_some() {
                    self.memory.pinned = Some(object.clone());
                }
            }
            if needed {
                pin::write(self.backend, &object, &live, patch).await?;
            }
            let expected = Expectation {
                token: Some(token.clone()),
                revision: None,
            };
            match self.wait_for(&object, expected, false).await? {
                Judged::Done => {}
                Judged::Changed => return Ok(()),
                Judged::Late(why) => {
                    return self.end(OperationPhase::Failed, why, Vec::new()).await;
                }
                Judged::Failed(failure) => {
                    return self
                        .failed(&format!("{object}: {}", said(&failure)), &failure)
                        .await;
                }
            }
        }
        let before = status::offered(&self.loaded);
        self.loaded = self.backend.reload(&self.loaded).await?;
        if status::offered(&self.loaded) != before {
            // A controller that has not seen the change would apply what was there before, once.
            tokio::time::sleep(CACHES).await;
            self.loaded = self.backend.reload(&self.loaded).await?;
        }
        if self.loaded.is_deleting() || self.was_suspended_meanwhile() || self.has_changed()? {
            // Waiting takes its time: look at it again.
            return Ok(());
        }
        let artifact = self
            .loaded
            .parts
            .source
            .as_ref()
            .and_then(|source| source.artifact());
        self.record.expected = artifact.map(|artifact| artifact.revision.clone());
        self.begin_workload().await
    }

    /// Somebody suspended it since the operation began, and not through the backend, which notes that beside. A put that pauses it goes on by itself.
    fn was_suspended_meanwhile(&self) -> bool {
        let workload = self.loaded.workload();
        workload.is_suspended()
            && !self.record.suspended
            && workload.annotation(SYNC).is_none()
            && !is_paused(workload)
    }

    /// The record is not what it was: somebody ended the operation, or asked it to stop.
    fn has_changed(&self) -> Result<bool> {
        Ok(self.loaded.record()?.as_ref() != Some(&self.record))
    }

    /// What is asked to fetch, in order: the source, then the chart that is made of it.
    fn sources(&self) -> Vec<FluxRef> {
        let mut all: Vec<FluxRef> = self.loaded.source_ref().into_iter().collect();
        let pins_chart = self.record.ask.revision.is_some() && !self.loaded.parts.is_git();
        if let Some(chart) = self.loaded.chart.as_ref().filter(|_| !pins_chart) {
            all.push(FluxRef::of(chart));
        }
        all
    }

    async fn begin_workload(mut self) -> Result<()> {
        self.record.step = Step::Workload;
        let token = self.record.token();
        let mut patch = json!({
            "metadata": {"annotations": {REQUESTED_AT: token}},
            // Suspended it would be passed over.
            "spec": {"suspend": null},
        });
        match self.loaded.workload() {
            Workload::Kustomization(_) => {
                patch["spec"]["prune"] = json!(self.record.ask.prune);
                patch["spec"]["force"] = json!(self.record.ask.force || self.record.before.force);
            }
            Workload::HelmRelease(release) => {
                if self.record.ask.force {
                    patch["metadata"]["annotations"][FORCE_AT] = json!(token);
                }
                if let Some(pinned) = pin::chart(release, self.record.ask.revision.as_deref())? {
                    merge(&mut patch, pinned);
                }
            }
        }
        self.write(patch).await
    }

    // The workload.

    async fn workload(self) -> Result<()> {
        if self.record.terminating {
            return self.terminated().await;
        }
        if self.loaded.workload().is_suspended() {
            let message = SUSPENDED_MEANWHILE.to_owned();
            return self.end(OperationPhase::Failed, message, Vec::new()).await;
        }
        let object = self.loaded.workload_ref();
        let expected = Expectation {
            token: Some(self.record.token()),
            revision: self.expected(),
        };
        match self.wait_for(&object, expected, true).await? {
            Judged::Changed => Ok(()),
            Judged::Done => self.succeeded().await,
            Judged::Late(why) => {
                let why = self.explained(&object, why).await;
                self.end(OperationPhase::Failed, why, Vec::new()).await
            }
            Judged::Failed(failure) => {
                let why = self.explained(&object, said(&failure)).await;
                self.failed(&why, &failure).await
            }
        }
    }

    /// The revision that the workload must have worked on, where it tells what it worked on.
    fn expected(&self) -> Option<String> {
        match self.loaded.workload() {
            Workload::Kustomization(_) => self.record.expected.clone(),
            Workload::HelmRelease(release) if release.spec.chart.is_some() => None,
            Workload::HelmRelease(_) => self
                .record
                .expected
                .clone()
                .filter(|revision| revision.contains(':')),
        }
    }

    async fn succeeded(mut self) -> Result<()> {
        self.loaded = self.backend.reload(&self.loaded).await?;
        if self.has_changed()? {
            return Ok(());
        }
        let Some(applied) = status::applied(&self.loaded) else {
            return self
                .end(
                    OperationPhase::Error,
                    "nothing was applied".to_owned(),
                    Vec::new(),
                )
                .await;
        };
        if let Some(asked) = &self.record.ask.revision
            && !status::is_revision(&self.loaded, &applied, asked)
        {
            let message =
                format!("{applied} was applied, and not {asked}: the source was changed meanwhile");
            return self.end(OperationPhase::Failed, message, Vec::new()).await;
        }
        let resources = outcome::resources(
            self.backend,
            &self.loaded,
            &self.record,
            self.memory.before.as_deref(),
        )
        .await;
        let message = format!("applied {applied}");
        self.end(OperationPhase::Succeeded, message, resources)
            .await
    }

    /// One run goes on to its end: no controller can be called back. No further one begins.
    async fn terminated(self) -> Result<()> {
        let object = self.loaded.workload_ref();
        let deadline = deadline::after(self.backend.options.terminate);
        let mut events = self.backend.manager.watch_one(&object);
        let mut state = State::of(&self.loaded.value);
        while state.is_running() {
            match tokio::time::timeout_at(deadline, events.next()).await {
                Ok(Some(Ok(Some(value)))) => state = State::of(&value),
                Ok(Some(Err(_))) => {}
                Ok(Some(Ok(None)) | None) | Err(_) => break,
            }
        }
        let message = match state.is_running() {
            true => {
                "it was terminated; the controller is still at its last run, which may apply more"
            }
            false => "it was terminated; what had begun may have been applied",
        };
        self.end(OperationPhase::Failed, message.to_owned(), Vec::new())
            .await
    }
}

fn said(failure: &Failure) -> String {
    match failure.reason.as_str() {
        "" => failure.message.clone(),
        reason => format!("{reason}: {}", failure.message),
    }
}

/// Puts `more` into `patch`.
pub(super) fn merge(patch: &mut Value, more: Value) {
    match (patch, more) {
        (Value::Object(patch), Value::Object(more)) => {
            for (key, value) in more {
                match patch.get_mut(&key) {
                    Some(inner) => merge(inner, value),
                    None => {
                        patch.insert(key, value);
                    }
                }
            }
        }
        (patch, more) => *patch = more,
    }
}
