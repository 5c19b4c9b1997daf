//! Waiting for one object of an operation.

use std::time::Duration;

use futures::StreamExt as _;
use gitops_core::{Error, ErrorKind, Result};
use serde_json::Value;
use tokio::time::Instant;

use super::{Driver, FIRST_DELAY, said};
use crate::backend::record::{OPERATION, Record};
use crate::kind::FluxKind;
use crate::manager::FluxRef;
use crate::reconcile::answer::{self, Controller};
use crate::reconcile::{Expectation, Failure, State, Verdict, Waiting, verdict};

/// What lies outside of an object is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long a failure that may be an older run's is doubted.
const SETTLE: Duration = Duration::from_secs(5);

/// How a wait for one object ended.
pub(super) enum Judged {
    Done,
    Failed(Failure),
    /// The record changed: look at it again.
    Changed,
    /// The time is up, or nobody answers; with what it waited for.
    Late(String),
}

impl Driver<'_> {
    /// Waits for one object. With `is_workload`, for a change of the record too.
    pub(super) async fn wait_for(
        &self,
        object: &FluxRef,
        mut expected: Expectation,
        is_workload: bool,
    ) -> Result<Judged> {
        let deadline = self.deadline();
        let began = Instant::now();
        let mut changed = began;
        // Since when nobody answers, and what is known of the controller since it was looked for.
        let mut silent_since = began;
        let mut busy: Option<String> = None;
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
                    let is_silent = waiting == Waiting::Controller
                        && first_status.as_ref() == Some(&value["status"]);
                    let unanswered = self.backend.options.unanswered;
                    if is_silent && silent_since.elapsed() >= unanswered {
                        let look = answer::look(&self.backend.manager, object, value);
                        match tokio::time::timeout_at(deadline, look).await {
                            Ok(Controller::Absent(says)) => {
                                return Ok(Judged::Late(format!(
                                    "{object}: no answer within {unanswered:?}: {says}"
                                )));
                            }
                            // It has other things to do, or nobody here may know: that takes as long as it takes.
                            Ok(Controller::Alive(says) | Controller::Unknown(says)) => {
                                silent_since = Instant::now();
                                busy = Some(says);
                            }
                            Err(_) => {}
                        }
                    }
                    match &busy {
                        Some(says) if is_silent => says.clone(),
                        _ => message,
                    }
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
