//! Carrying an operation on, to its end.
//!
//! ```text
//! Source ─> Workload ─> Release ─> Ended
//!   └───────────┴─(a try failed)─> Source
//! ```
//!
//! Each step is one change of the workload's record, made at the version that was read, and can be made by anybody: the task that the sync left behind, whoever waits, another process. What two do
//! at once is done once.

use std::time::Duration;

use futures::StreamExt as _;
use gitops_core::application::{AppRef, OperationPhase};
use gitops_core::backend::{ResourceAction, SyncOutcome};
use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::access::{Loaded, was_overtaken};
use super::record::{APPLIED, Deployed, Ended, HISTORY, OPERATION, Record, Step, deployed};
use super::{FluxBackend, outcome, pin, status};
use crate::convert::{PINNED, Workload, is_manual};
use crate::deadline;
use crate::kind::FluxKind;
use crate::manager::FluxRef;
use crate::reconcile::{
    Cause, Expectation, FORCE_AT, Failure, REQUESTED_AT, State, Verdict, Waiting, verdict,
};
use crate::types::InventoryEntry;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(10);
/// What lies outside of an object is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How far the controllers' caches may be behind, as a rule: milliseconds, more on a busy machine. What they apply meanwhile is not taken for the result.
const CACHES: Duration = Duration::from_secs(1);
/// How long a failure that may be an older run's is doubted.
const SETTLE: Duration = Duration::from_secs(5);

/// The error of an operation that nothing is known of.
pub(super) fn unknown(app: &AppRef, id: &str) -> Error {
    Error::not_found(format!(
        "nothing is known of operation {id} of application {app}: a newer one may have taken its place"
    ))
}

/// How a wait for one object ended.
enum Judged {
    Done,
    Failed(Failure),
    /// The record changed: look at it again.
    Changed,
    /// The time is up, or nobody answers; with what it waited for.
    Late(String),
}

/// Carries operation `id` on until it has ended.
pub(super) async fn to_the_end(
    backend: &FluxBackend,
    app: &AppRef,
    id: &str,
) -> Result<SyncOutcome> {
    let mut away_since: Option<Instant> = None;
    let mut delay = FIRST_DELAY;
    let mut before: Option<Vec<InventoryEntry>> = None;
    loop {
        let looked = one_step(backend, app, id, &mut before).await;
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

async fn one_step(
    backend: &FluxBackend,
    app: &AppRef,
    id: &str,
    before: &mut Option<Vec<InventoryEntry>>,
) -> Result<Option<SyncOutcome>> {
    let loaded = backend.load(app).await?;
    let record = loaded.record()?.filter(|record| record.id == id);
    let record = record.ok_or_else(|| unknown(app, id))?;
    if let Some(outcome) = record.outcome(app) {
        return Ok(Some(outcome));
    }
    if record.step == Step::Source && before.is_none() {
        *before = Some(outcome::inventory(loaded.workload()));
    }
    let driver = Driver {
        backend,
        app,
        loaded,
        record,
        before: before.clone(),
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
                before: None,
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
    before: Option<Vec<InventoryEntry>>,
}

impl Driver<'_> {
    async fn step(self) -> Result<()> {
        if self.loaded.is_deleting() && self.record.outcome.is_none() {
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
                && let Some(pinned) =
                    pin::patch(&live, object.kind, self.record.ask.revision.as_deref())?
            {
                merge(&mut patch, pinned);
                needed = true;
            }
            if needed {
                let version = live["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap_or_default();
                self.backend.patch_at(&object, version, patch).await?;
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
        let artifact = self
            .loaded
            .parts
            .source
            .as_ref()
            .and_then(|source| source.artifact());
        self.record.expected = artifact.map(|artifact| artifact.revision.clone());
        self.begin_workload().await
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
            let message =
                "it was suspended meanwhile; what had begun may have been applied".to_owned();
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
            self.before.as_deref(),
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

    // The end.

    /// Another try, or the end.
    async fn failed(mut self, why: &str, failure: &Failure) -> Result<()> {
        let fatal = matches!(failure.cause, Cause::Suspended | Cause::Deleted);
        if !fatal && self.record.attempt < self.record.ask.retries {
            let pause = self.record.pause();
            if deadline::after(pause) < self.deadline() {
                tracing::debug!(app = %self.app, why, "an operation is tried again");
                tokio::time::sleep(pause).await;
                self.loaded = self.backend.reload(&self.loaded).await?;
                let now = self.loaded.record()?;
                if now.as_ref() != Some(&self.record) {
                    return Ok(());
                }
                self.record.attempt += 1;
                self.record.step = Step::Source;
                return self.write(json!({})).await;
            }
        }
        let resources = match self.record.step {
            Step::Workload => {
                outcome::resources(
                    self.backend,
                    &self.loaded,
                    &self.record,
                    self.before.as_deref(),
                )
                .await
            }
            _ => Vec::new(),
        };
        self.end(OperationPhase::Failed, why.to_owned(), resources)
            .await
    }

    async fn explained(&self, object: &FluxRef, mut message: String) -> String {
        let explain = self.backend.manager.explain(object);
        if let Ok(Ok(explanation)) =
            tokio::time::timeout(self.backend.manager.options().deadline, explain).await
            && !explanation.is_empty()
        {
            message.push_str(&format!("; {explanation}"));
        }
        message
    }

    /// Notes how it ended, and puts everything back to where it is between operations.
    async fn end(
        mut self,
        phase: OperationPhase,
        message: String,
        resources: Vec<(String, ResourceAction)>,
    ) -> Result<()> {
        let finished_at = Timestamp::now();
        let revisions: Vec<String> = match (phase, status::applied(&self.loaded)) {
            (OperationPhase::Succeeded, Some(applied)) => {
                vec![status::revision(&self.loaded, &applied)]
            }
            // What it did not get to is not of this operation.
            _ => status::applied(&self.loaded)
                .filter(|applied| {
                    self.record.step == Step::Workload
                        && self.record.expected.as_ref() == Some(applied)
                })
                .map(|applied| status::revision(&self.loaded, &applied))
                .into_iter()
                .collect(),
        };
        let workload = self.loaded.workload();
        let app = self.backend.application(&self.loaded.parts)?;
        let own = status::own_spec(&app);
        let mut annotations = json!({});
        if phase == OperationPhase::Succeeded
            && let Some(applied) = status::applied(&self.loaded)
        {
            let mut all = deployed(workload).unwrap_or_default();
            let last = all.last().map_or(0, |entry| entry.id);
            all.push(Deployed {
                id: finished_at.as_millisecond().max(last + 1),
                revision: applied,
                revisions: revisions.clone(),
                started_at: self.record.started_at,
                deployed_at: finished_at,
                initiated_by: self.record.ask.initiator.name.clone(),
            });
            let too_many = all.len().saturating_sub(app.history_limit().clamp(1, 50));
            all.drain(..too_many);
            annotations[HISTORY] = json!(to_text(&all)?);
            annotations[APPLIED] = json!(status::digest(&self.loaded.parts));
        }
        let mut patch = json!({"metadata": {"annotations": annotations}, "spec": own});
        if let Workload::Kustomization(_) = workload {
            patch["spec"]["force"] = json!(self.record.before.force);
            patch["spec"]["prune"] = json!(self.record.before.prune && !is_manual(&app));
        }
        if let Workload::HelmRelease(_) = workload
            && let Some(version) = workload.annotation(PINNED)
        {
            patch["metadata"]["annotations"][PINNED] = Value::Null;
            patch["spec"]["chart"] = json!({"spec": {"version": pin::chart_version(version)}});
        }
        self.record.end(Ended {
            phase,
            message,
            revisions,
            resources,
            finished_at,
        });
        let is_pinned = self.loaded.parts.source.as_ref().is_some_and(|source| {
            source
                .metadata()
                .annotations
                .as_ref()
                .is_some_and(|all| all.contains_key(PINNED))
        });
        self.record.step = match is_pinned {
            true => Step::Release,
            false => Step::Ended,
        };
        self.write(patch).await
    }

    /// The source follows again what it follows otherwise.
    async fn release(mut self) -> Result<()> {
        if let Some(object) = self.loaded.source_ref()
            && let Some(live) = self.backend.find(&object).await?
            && let Some(patch) = pin::unpin(&live)
        {
            let version = live["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default();
            self.backend.patch_at(&object, version, patch).await?;
        }
        self.record.step = Step::Ended;
        self.write(json!({})).await
    }

    /// Changes the workload with the record as it is here, if nobody else did.
    async fn write(&self, mut patch: Value) -> Result<()> {
        merge(
            &mut patch,
            json!({"metadata": {"annotations": {OPERATION: to_text(&self.record)?}}}),
        );
        let object = self.loaded.workload_ref();
        self.backend
            .patch_at(&object, self.loaded.version(), patch)
            .await
            .map(drop)
    }

    // Waiting.

    /// Waits for one object. With `is_workload`, for a change of the record too.
    async fn wait_for(
        &self,
        object: &FluxRef,
        mut expected: Expectation,
        is_workload: bool,
    ) -> Result<Judged> {
        let deadline = self.deadline();
        let began = Instant::now();
        let mut changed = began;
        let mut first_status: Option<Value> = None;
        let mut seen: Option<Value> = None;
        let mut events = self.backend.manager.watch_one(object);
        let mut records = match is_workload {
            true => futures::stream::pending().boxed(),
            false => self.backend.manager.watch_one(&self.loaded.workload_ref()),
        };
        let mut pause = LOOK_AGAIN;
        loop {
            let wake = deadline.min(Instant::now() + pause);
            let event = tokio::select! {
                event = events.next() => event,
                record = records.next() => {
                    if let Some(Ok(Some(value))) = record && self.is_changed(&value) {
                        return Ok(Judged::Changed);
                    }
                    continue;
                }
                () = tokio::time::sleep_until(wake) => None,
            };
            match event {
                Some(Ok(Some(value))) => {
                    if is_workload && self.is_changed(&value) {
                        return Ok(Judged::Changed);
                    }
                    first_status.get_or_insert_with(|| value["status"].clone());
                    changed = Instant::now();
                    seen = Some(value);
                }
                Some(Ok(None)) => {
                    return Err(Error::new(
                        ErrorKind::Failed,
                        format!("{object} was deleted meanwhile"),
                    ));
                }
                Some(Err(error)) => tracing::debug!(%object, %error, "a watch is interrupted"),
                None => {}
            }
            let Some(value) = &seen else {
                if Instant::now() >= deadline {
                    return Ok(Judged::Late(format!(
                        "the time was up before {object} could be read"
                    )));
                }
                continue;
            };
            let state = State::of(value);
            let mut now = verdict(&state, &expected);
            if is_workload
                && self.looks_outside(&now)
                && let Some(revision) = self.newest(value, &expected).await?
            {
                expected.revision = Some(revision);
                now = verdict(&state, &expected);
            }
            pause = LOOK_AGAIN;
            let waiting = match now {
                Verdict::Done { .. } if is_workload && !self.is_chart_settled(value).await? => {
                    pause = FIRST_DELAY * 5;
                    "its chart is not what it asks for yet".to_owned()
                }
                Verdict::Done { .. } => return Ok(Judged::Done),
                Verdict::Failed(failure) => return Ok(Judged::Failed(failure)),
                Verdict::Doubtful(failure) => {
                    let left = SETTLE.saturating_sub(changed.elapsed());
                    if left.is_zero() {
                        return Ok(Judged::Failed(failure));
                    }
                    pause = left;
                    said(&failure)
                }
                Verdict::Pending {
                    waiting, message, ..
                } => {
                    let silent = first_status.as_ref() == Some(&value["status"]);
                    if waiting == Waiting::Controller
                        && silent
                        && began.elapsed() >= self.backend.options.unanswered
                    {
                        return Ok(Judged::Late(format!(
                            "{object}: no answer of {} within {:?}: does it run?",
                            object.kind.controller(),
                            self.backend.options.unanswered
                        )));
                    }
                    message
                }
            };
            if Instant::now() >= deadline {
                return Ok(Judged::Late(format!(
                    "the time was up while {object} was not done: {waiting}"
                )));
            }
        }
    }

    fn is_changed(&self, value: &Value) -> bool {
        let annotation = value["metadata"]["annotations"][OPERATION].as_str();
        let record: Option<Record> = annotation.and_then(|text| serde_json::from_str(text).ok());
        record.as_ref() != Some(&self.record)
    }

    /// Whether what a verdict depends on lies outside of the object.
    fn looks_outside(&self, now: &Verdict) -> bool {
        let is_chart = self.loaded.workload().is_helm();
        match now {
            Verdict::Doubtful(_) => true,
            Verdict::Pending { waiting, .. } => *waiting == Waiting::Revision,
            Verdict::Done { .. } => is_chart,
            Verdict::Failed(_) => false,
        }
    }

    /// Whether the chart of a release is made as the release asks for: the controller may have seen the one before.
    async fn is_chart_settled(&self, workload: &Value) -> Result<bool> {
        let wanted = &workload["spec"]["chart"]["spec"];
        if wanted.is_null() {
            return Ok(true);
        }
        let Some(named) = crate::reconcile::source_of(workload) else {
            return Ok(true);
        };
        let Some(chart) = self.backend.find(&named).await? else {
            return Ok(false);
        };
        let any = |version: &Value| {
            version
                .as_str()
                .filter(|text| !text.is_empty())
                .unwrap_or("*")
                .to_owned()
        };
        Ok(any(&chart["spec"]["version"]) == any(&wanted["version"])
            && chart["spec"]["chart"] == wanted["chart"]
            && chart["status"]["observedGeneration"] == chart["metadata"]["generation"])
    }

    /// What the workload's source offers now.
    async fn newest(&self, workload: &Value, expected: &Expectation) -> Result<Option<String>> {
        let Some(source) = crate::reconcile::source_of(workload) else {
            return Ok(None);
        };
        let tells = source.kind == FluxKind::HelmChart || !self.loaded.workload().is_helm();
        let Some(live) = self.backend.find(&source).await? else {
            return Ok(None);
        };
        let revision = State::of(&live).revision;
        Ok(revision.filter(|revision| {
            (tells || revision.contains(':')) && Some(revision) != expected.revision.as_ref()
        }))
    }
}

fn said(failure: &Failure) -> String {
    match failure.reason.as_str() {
        "" => failure.message.clone(),
        reason => format!("{reason}: {}", failure.message),
    }
}

fn to_text(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("a record is no JSON").with_source(error))
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
