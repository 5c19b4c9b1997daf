//! The looks that run: their beginning, their end, and the end of all.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::task::{Id, JoinError};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::look::{Looked, Memory};
use super::run::{LAST_WORDS, Loop};
use crate::application::AppRef;
use crate::backend::EventKind;
use crate::metrics;

/// When the backend has told nothing for so long, it has told everything.
const QUIET: Duration = Duration::from_millis(200);

/// A look that came to its end.
pub(super) struct Ended {
    app: AppRef,
    by: Option<String>,
    memory: Memory,
    looked: Looked,
}

impl Loop {
    /// Begins the next look.
    pub(super) fn begin(&mut self, slot: tokio::sync::OwnedSemaphorePermit) {
        let Some(app) = self.queue.pop() else {
            return;
        };
        let tenure = self.ownership.tenure(&app);
        let Some(tenure) = tenure.filter(|_| self.known.contains(&app)) else {
            // Whoever owns it looks at it.
            self.queue.done(&app, None);
            return self.not_ours(&app, None);
        };
        let Some(known) = self.known.get_mut(&app) else {
            return;
        };
        let (looker, by) = (Arc::clone(&self.looker), known.wanted_by.take());
        let mut memory = std::mem::take(&mut known.memory);
        let name = app.clone();
        let task = self.looks.spawn(async move {
            let looked = looker
                .look(&app, by.clone(), &tenure, &mut memory, slot)
                .await;
            Ended {
                app,
                by,
                memory,
                looked,
            }
        });
        self.tasks.insert(task.id(), name);
    }

    pub(super) fn ended(&mut self, joined: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match joined {
            Ok((id, ended)) => (id, Some(ended)),
            Err(error) => {
                tracing::error!(%error, "a look did not end");
                (error.id(), None)
            }
        };
        let Some(app) = self.tasks.remove(&id) else {
            return;
        };
        let (looked, memory, by) = match ended {
            Some(ended) => {
                debug_assert_eq!(ended.app, app);
                (ended.looked, ended.memory, ended.by)
            }
            None => (Looked::Failed, Memory::default(), None),
        };
        metrics::reconciler_looked(looked.as_str());
        if let Looked::Gone = looked {
            // It may be there again already.
            if !self.queue.done(&app, None) {
                self.forget(&app);
            }
            return;
        }
        let Some(known) = self.known.get_mut(&app) else {
            self.queue.done(&app, None);
            return;
        };
        known.memory = memory;
        known.not_before = None;
        let options = &self.looker.options;
        match looked {
            Looked::Unread | Looked::Failed | Looked::Refused => {
                known.failures = known.failures.saturating_add(1);
            }
            Looked::Idle | Looked::Synced | Looked::Gone => known.failures = 0,
            Looked::Busy | Looked::Later(_) | Looked::Paused | Looked::Stopped => {}
        }
        let mut wanted = None;
        let pause = match looked {
            Looked::Unread | Looked::Failed | Looked::Refused => {
                let pause = options.pause_after(known.failures);
                known.not_before = Some(Instant::now() + pause);
                pause
            }
            Looked::Busy => options.backoff.duration,
            Looked::Later(pause) => pause,
            Looked::Paused => Duration::ZERO,
            _ => options.next_interval(),
        };
        if let Looked::Paused | Looked::Busy | Looked::Unread = looked {
            // What somebody asked for is still asked for.
            known.wanted_by = known.wanted_by.take().or(by);
        } else if let Looked::Stopped = looked {
            wanted = by;
        }
        if !known.owned() {
            self.queue.done(&app, None);
            return self.not_ours(&app, wanted);
        }
        let pause = pause.min(options.next_interval());
        self.queue.done(&app, Some(pause));
    }

    /// `app` is another replica's now: who asked for a sync of it here is told so.
    fn not_ours(&mut self, app: &AppRef, by: Option<String>) {
        self.known.set_owned(app, false);
        let Some(known) = self.known.get_mut(app) else {
            return;
        };
        if let Some(by) = known.wanted_by.take().or(by) {
            let kind = EventKind::SyncRefused {
                by: "reconciler".into(),
                reason: format!("the application is another replica's now, {by} may ask there"),
                revisions: Vec::new(),
            };
            self.looker.tell(app, "", kind);
        }
    }

    /// Waits for the looks that run, at first patiently, then not; and hands on what the backend still tells.
    pub(super) async fn wind_down(&mut self, force: &CancellationToken) {
        let options = self.looker.options.clone();
        if !self.looks_end(options.shutdown_grace).await {
            force.cancel();
            // None takes more than one grace; the other is for a busy machine.
            if !self.looks_end(2 * options.terminate_grace).await {
                tracing::warn!("not every sync ended in time");
            }
        }
        if !self.looker.backend_tells {
            return;
        }
        // An operation is over a moment before it is told.
        let end = Instant::now() + LAST_WORDS;
        while let Ok(Some(event)) = timeout(QUIET, self.events.next()).await
            && Instant::now() < end
        {
            self.backend_event(event);
        }
    }

    /// Whether all looks end within `limit`.
    async fn looks_end(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut more_events = true;
        loop {
            tokio::select! {
                biased;
                event = self.events.next(), if more_events => match event {
                    Some(event) => self.backend_event(event),
                    None => more_events = false,
                },
                joined = self.looks.join_next() => if joined.is_none() {
                    return true;
                },
                () = sleep_until(end) => return false,
            }
        }
    }
}
