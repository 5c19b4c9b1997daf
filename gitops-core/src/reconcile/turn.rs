//! One sync: from waiting for the limiter to the end of the operation.

use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout_at};

use super::Tenure;
use super::look::{Ended, Looked, Looker, Memory, Synced, Wanted};
use crate::application::AppRef;
use crate::backend::{EventKind, Initiator, Operation, SyncOptions, SyncOutcome};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::LimitKey;

impl Looker {
    /// Waits for the limiter, and syncs.
    pub(super) async fn take_turn(
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
        self.set_open(app, true);
        let operation = match self.start(app, &options, tenure).await {
            Ok(Some(operation)) => {
                memory.refused = None;
                operation
            }
            Ok(None) => return Looked::Stopped,
            Err(error) if error.kind() == ErrorKind::OperationInProgress => {
                self.set_open(app, false);
                return Looked::Busy;
            }
            Err(error) => {
                self.set_open(app, false);
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
                self.set_open(app, false);
                let success = outcome.is_success();
                if !self.backend_tells {
                    if success {
                        self.states.synced(app);
                    }
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

    /// Starts the operation; `None` when it is of no use any more, and was ended as far as the time allows.
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
        let deadline = self.deadline();
        // Who started something must know it in order to stop it.
        match timeout_at(deadline, start).await {
            Ok(Ok(operation)) => {
                if self.end(&operation, deadline).await.is_ok() {
                    self.set_open(app, false);
                }
            }
            Ok(Err(_)) => self.set_open(app, false),
            Err(_) => {
                tracing::warn!(%app, "a sync that is not wanted any more could neither be started nor stopped in time");
            }
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
        (self.end(operation, self.deadline()).await, broken_off)
    }

    /// When what must end now is waited for no longer.
    fn deadline(&self) -> Instant {
        Instant::now() + self.options.terminate_grace
    }

    /// Terminates `operation`, and waits for its end until `deadline`.
    async fn end(&self, operation: &Operation, deadline: Instant) -> Result<SyncOutcome> {
        // Beside the waiting, and to its end: who keeps a record of it first, and hangs, must not keep the backend from hearing of it.
        let (backend, which) = (Arc::clone(&self.backend), operation.clone());
        tokio::spawn(async move {
            if let Err(error) = backend.terminate(&which).await {
                tracing::warn!(app = %which.app, operation = which.id, %error, "cannot terminate a sync");
            }
        });
        let ended = self.backend.wait(operation);
        match timeout_at(deadline, ended).await {
            Ok(ended) => ended,
            Err(_) => Err(Error::timeout(format!(
                "the sync was terminated and did not end within {:?}",
                self.options.terminate_grace
            ))),
        }
    }
}
