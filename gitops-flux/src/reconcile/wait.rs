//! Waiting.

use std::time::Duration;

use futures::StreamExt as _;
use gitops_core::{Error, ErrorKind, Result};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{self, Controller};
use super::ask::within;
use super::explain::Explanation;
use super::options::{Reconciled, Update, WaitOptions, said};
use super::source_of;
use super::state::State;
use super::verdict::{Cause, Expectation, Failure, Verdict, Waiting, verdict};
use crate::FluxKind;
use crate::deadline;
use crate::manager::{FluxManager, FluxRef};

/// What lies outside of the object (its source) is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A watch that is refused for so long is not going to be allowed: an API server that has just started refuses for a moment.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How long after the wait's own end its result may come, so that it can say more than that the time is up.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl FluxManager {
    /// Waits until an object is reconciled: its newest generation is Ready, and it has worked on the revision that its source has. Nothing is asked of the controller.
    ///
    /// One watch tells of the object; it survives interruptions and an API server that is restarted.
    ///
    /// # Errors
    /// - `Failed` as soon as the controller says of this generation that it failed or gave up, or says so of the source that the object waits for. The message has the
    ///   controller's reason, and which of the object's own objects are not ready and why.
    /// - `Timeout` when the time is up, with what it waited for.
    /// - `Unavailable` when no controller takes the object up and none is alive: see [`WaitOptions::answer_within`].
    /// - `Conflict` when the object is suspended, being deleted, or replaced by another; `NotFound` when it is not there, or is deleted meanwhile.
    pub async fn wait(&self, object: &FluxRef, options: &WaitOptions) -> Result<Reconciled> {
        let object = self.resolve(object);
        let deadline = deadline::after(options.timeout);
        let value = within(deadline, self.get_value(&object)).await?;
        Waiter::new(self, &object, options, deadline)
            .run(value, Expectation::default())
            .await
    }
}

pub(super) struct Waiter<'a> {
    manager: &'a FluxManager,
    object: &'a FluxRef,
    options: &'a WaitOptions,
    began: Instant,
    deadline: Instant,
    /// The status when the wait began: while it is the same, no controller has written anything.
    first_status: Value,
    /// The object as it was last seen.
    value: Value,
    changed: Instant,
    /// What was told last, so that nothing is told twice.
    told: Option<Update>,
    /// When the controller is looked for, if it has written nothing; `None` once it was found.
    look_at: Option<Instant>,
    /// What was told last of a controller that does not answer.
    unanswered: String,
    interruption: Option<String>,
}

impl<'a> Waiter<'a> {
    pub(super) fn new(
        manager: &'a FluxManager,
        object: &'a FluxRef,
        options: &'a WaitOptions,
        deadline: Instant,
    ) -> Self {
        let now = Instant::now();
        Self {
            manager,
            object,
            options,
            began: now,
            deadline,
            first_status: Value::Null,
            value: Value::Null,
            changed: now,
            told: None,
            look_at: Some(deadline::after(options.answer_within)),
            unanswered: String::new(),
            interruption: None,
        }
    }

    /// Waits for what is `expected` of the object, which is `first` at the beginning.
    pub(super) async fn run(
        mut self,
        first: Value,
        mut expected: Expectation,
    ) -> Result<Reconciled> {
        self.first_status = first["status"].clone();
        self.value = first;
        expected.revision = self.source_revision().await;
        let mut events = self.manager.watch_one(self.object);
        loop {
            let pause = match self.judge(&mut expected).await? {
                Next::Done(reconciled) => return Ok(*reconciled),
                Next::Wait(pause) => pause,
            };
            let now = Instant::now();
            if now >= self.deadline {
                return Err(self.out_of_time(&expected).await);
            }
            let mut wake = self.deadline;
            if let Some(pause) = pause {
                wake = wake.min(deadline::after(pause));
            }
            match tokio::time::timeout_at(wake, events.next()).await {
                Err(_) => {}
                Ok(Some(Ok(Some(value)))) => self.see(value)?,
                Ok(Some(Ok(None))) => {
                    return Err(Error::not_found(format!(
                        "{} was deleted meanwhile",
                        self.object
                    )));
                }
                Ok(Some(Err(error))) => self.interrupted(error)?,
                Ok(None) => return Err(Error::internal("the watch has ended")),
            }
        }
    }

    fn see(&mut self, value: Value) -> Result<()> {
        self.interruption = None;
        let uid = |value: &Value| value["metadata"]["uid"].as_str().map(str::to_owned);
        if uid(&self.value) != uid(&value) {
            return Err(Error::conflict(format!(
                "{} was deleted meanwhile, and another of the same name was made",
                self.object
            )));
        }
        if self.value["metadata"]["resourceVersion"] != value["metadata"]["resourceVersion"] {
            self.changed = Instant::now();
            self.value = value;
        }
        Ok(())
    }

    fn interrupted(&mut self, error: Error) -> Result<()> {
        let refused = matches!(
            error.kind(),
            ErrorKind::PermissionDenied | ErrorKind::Unauthenticated | ErrorKind::NotFound
        );
        if refused && self.began.elapsed() >= REFUSED_FOR {
            return Err(error.context(format!("wait for {}", self.object)));
        }
        let message = error.to_string();
        if self.interruption.is_none() {
            self.options.progress.tell(|| Update::Interrupted {
                object: self.object.clone(),
                message: message.clone(),
            });
        }
        self.interruption = Some(message);
        Ok(())
    }

    /// Looks at the object as it is now.
    async fn judge(&mut self, expected: &mut Expectation) -> Result<Next> {
        let state = State::of(&self.value);
        let mut now = verdict(&state, expected);
        let outside = matches!(
            &now,
            Verdict::Doubtful(_)
                | Verdict::Pending {
                    waiting: Waiting::Revision,
                    ..
                }
        );
        if outside {
            // The source may have moved on.
            let revision = self.source_revision().await;
            if revision != expected.revision {
                expected.revision = revision;
                now = verdict(&state, expected);
            }
        }
        match now {
            Verdict::Done { revision, message } => {
                self.options.progress.tell(|| Update::Done {
                    object: self.object.clone(),
                    revision: revision.clone(),
                    message: message.clone(),
                });
                Ok(Next::Done(Box::new(Reconciled {
                    object: self.object.clone(),
                    token: expected.token.clone(),
                    revision,
                    message,
                    value: std::mem::take(&mut self.value),
                    sources: Vec::new(),
                })))
            }
            Verdict::Failed(failure) => self.failed(&failure).await,
            Verdict::Doubtful(failure) => {
                let left = self.options.settle.saturating_sub(self.changed.elapsed());
                match left.is_zero() {
                    true => self.failed(&failure).await,
                    false => Ok(Next::Wait(Some(left.min(LOOK_AGAIN)))),
                }
            }
            Verdict::Pending {
                waiting,
                reason,
                message,
            } => {
                self.tell(Update::Pending {
                    object: self.object.clone(),
                    waiting,
                    reason,
                    message,
                });
                self.pending(waiting).await
            }
        }
    }

    async fn pending(&mut self, waiting: Waiting) -> Result<Next> {
        match waiting {
            Waiting::Source => {
                if self.options.fail_fast
                    && let Ok(Some(failed)) =
                        tokio::time::timeout_at(self.deadline, self.source_failed()).await
                {
                    return Err(Error::failed(format!(
                        "{} waits for its source: {failed}",
                        self.object
                    )));
                }
                Ok(Next::Wait(Some(LOOK_AGAIN)))
            }
            Waiting::Revision => Ok(Next::Wait(Some(LOOK_AGAIN))),
            Waiting::Controller if self.is_silent() => self.look_for_controller().await,
            _ => Ok(Next::Wait(None)),
        }
    }

    /// Looks for the controller when it has been silent for too long. The wait ends only when it is known that there is none.
    async fn look_for_controller(&mut self) -> Result<Next> {
        let Some(look_at) = self.look_at else {
            return Ok(Next::Wait(None));
        };
        let left = look_at.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Ok(Next::Wait(Some(left)));
        }
        let look = answer::look(self.manager, self.object, &self.value);
        let Ok(controller) = tokio::time::timeout_at(self.deadline, look).await else {
            return Ok(Next::Wait(None));
        };
        let again = match controller {
            Controller::Absent(says) => {
                return Err(Error::unavailable(format!(
                    "{}: no answer within {:?}: {says}",
                    self.object, self.options.answer_within
                )));
            }
            Controller::Alive(_) => None,
            Controller::Unknown(_) => Some(self.options.answer_within.max(LOOK_AGAIN)),
        };
        self.look_at = again.map(deadline::after);
        if self.unanswered != controller.says() {
            self.unanswered = controller.says().to_owned();
            self.options.progress.tell(|| Update::Unanswered {
                object: self.object.clone(),
                message: self.unanswered.clone(),
            });
        }
        Ok(Next::Wait(again))
    }

    /// No controller has written anything since the wait began.
    fn is_silent(&self) -> bool {
        self.value["status"] == self.first_status
    }

    fn tell(&mut self, update: Update) {
        if self.told.as_ref() != Some(&update) {
            self.options.progress.tell(|| update.clone());
            self.told = Some(update);
        }
    }

    async fn failed(&mut self, failure: &Failure) -> Result<Next> {
        let text = said(&failure.reason, &failure.message);
        match failure.cause {
            Cause::Suspended | Cause::Deleted => {
                return Err(Error::conflict(format!(
                    "{}: {}",
                    self.object, failure.message
                )));
            }
            Cause::Failed if !self.options.fail_fast => {
                self.tell(Update::Failing {
                    object: self.object.clone(),
                    reason: failure.reason.clone(),
                    message: failure.message.clone(),
                });
                return Ok(Next::Wait(None));
            }
            _ => {}
        }
        let stalled = match failure.cause {
            Cause::Stalled => " and will not be tried again by itself",
            _ => "",
        };
        let mut message = format!("{} failed{stalled}: {text}", self.object);
        self.add_explanation(&mut message, self.last_words()).await;
        Err(Error::failed(message))
    }

    async fn out_of_time(&self, expected: &Expectation) -> Error {
        let mut message = format!(
            "{} is not done after {:?}",
            self.object,
            self.began.elapsed()
        );
        match verdict(&State::of(&self.value), expected) {
            Verdict::Pending {
                reason,
                message: says,
                ..
            } => message.push_str(&format!(": {}", said(&reason, &says))),
            Verdict::Doubtful(failure) | Verdict::Failed(failure) => {
                message.push_str(&format!(": {}", said(&failure.reason, &failure.message)));
            }
            Verdict::Done { .. } => {}
        }
        let end = self.last_words();
        if let Some(interruption) = &self.interruption {
            message.push_str(&format!("; {interruption}"));
        } else if self.is_silent() {
            message.push_str("; its status has not changed since");
            let look = answer::look(self.manager, self.object, &self.value);
            if let Ok(controller) = tokio::time::timeout_at(end, look).await {
                message.push_str(&format!(": {}", controller.says()));
            }
        }
        self.add_explanation(&mut message, end).await;
        Error::timeout(message)
    }

    /// Until when there is time to find out more about the end: as long as a request may take, and not much longer than the wait itself.
    fn last_words(&self) -> Instant {
        let soon = deadline::after(self.manager.options().deadline);
        soon.min(self.deadline + LAST_WORDS)
    }

    async fn add_explanation(&self, message: &mut String, end: Instant) {
        if !self.options.explain {
            return;
        }
        // It is a help, and must not take the place of what happened.
        let mut explanation = Explanation::default();
        let explain = self
            .manager
            .explain_into(self.object, &self.value, &mut explanation);
        if tokio::time::timeout_at(end, explain).await.is_err() {
            explanation
                .unread
                .push("the time was up before everything could be looked at".to_owned());
        }
        if !explanation.is_empty() {
            message.push_str(&format!("; {explanation}"));
        }
    }

    /// The revision that the object's source has to offer; `None` where it has none, cannot be read in time, or where the object does not tell what it worked on.
    async fn source_revision(&self) -> Option<String> {
        let revision = self.read_source_revision();
        tokio::time::timeout_at(self.deadline, revision)
            .await
            .ok()?
    }

    async fn read_source_revision(&self) -> Option<String> {
        let source = source_of(&self.value)?;
        let value = self.manager.find_value(&source).await.ok()??;
        let revision = State::of(&value).revision?;
        let is_told = match (self.object.kind, source.kind) {
            (FluxKind::Kustomization | FluxKind::HelmChart, _)
            | (FluxKind::HelmRelease, FluxKind::HelmChart) => true,
            // Of other charts it notes the digest, where there is one.
            (FluxKind::HelmRelease, _) => revision.contains(':'),
            _ => false,
        };
        is_told.then_some(revision)
    }

    /// What is wrong with the source, or with its own source, for good.
    async fn source_failed(&self) -> Option<String> {
        let mut object = self.value.clone();
        // A release's chart has a repository; no chain is longer.
        for _ in 0..2 {
            let source = source_of(&object)?;
            let Some(value) = self.manager.find_value(&source).await.ok()? else {
                // A chart is made in the first run of its release.
                let is_made =
                    source.kind == FluxKind::HelmChart && object["spec"]["chart"].is_object();
                return (!is_made).then(|| format!("{source} does not exist"));
            };
            match verdict(&State::of(&value), &Expectation::default()) {
                Verdict::Failed(failure) => {
                    return Some(format!(
                        "{source} failed: {}",
                        said(&failure.reason, &failure.message)
                    ));
                }
                Verdict::Pending {
                    waiting: Waiting::Source,
                    ..
                } => object = value,
                _ => return None,
            }
        }
        None
    }
}

enum Next {
    Done(Box<Reconciled>),
    /// Until something changes, or for so long.
    Wait(Option<Duration>),
}
