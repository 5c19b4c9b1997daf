//! Telling of states as they change.

use std::collections::BTreeMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::{AppRef, ApplicationStatus};
use gitops_core::backend::{EventKind, ListOptions, Selector, StatusEvent};
use gitops_core::{Error, ErrorKind, Result};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::backend::DirectBackend;
use super::status;

/// A listener that reads no events makes the watch wait, not memory grow.
const BUFFER: usize = 64;

/// Current states first, then each change that this backend makes, or sees when it looks again.
pub(super) fn watch(
    backend: DirectBackend,
    selector: Selector,
) -> BoxStream<'static, Result<StatusEvent>> {
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        let closed = sender.clone();
        let watch = Watch {
            backend,
            selector,
            sender,
            told: BTreeMap::new(),
        };
        // The task ends with its listener.
        tokio::select! {
            _ = watch.run() => {}
            () = closed.closed() => {}
        }
    });
    futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (event, receiver))
    })
    .boxed()
}

struct Watch {
    backend: DirectBackend,
    selector: Selector,
    sender: mpsc::Sender<Result<StatusEvent>>,
    /// The states that were told last, without the time at which they were read: only what is new is told, and only of what was told is it news that it
    /// is gone.
    told: BTreeMap<AppRef, ApplicationStatus>,
}

impl Watch {
    /// Ends with the listener.
    async fn run(mut self) -> Option<()> {
        let mut events = self.backend.inner.subscribe();
        let refresh = match self.backend.inner.options.refresh {
            // Further away than anybody waits.
            Duration::ZERO => Duration::from_secs(u32::MAX.into()),
            refresh => refresh,
        };
        self.tell_all().await?;
        let mut looked = tokio::time::Instant::now();
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = tokio::time::sleep_until(looked + refresh) => {
                    self.tell_all().await?;
                    looked = tokio::time::Instant::now();
                    continue;
                }
            };
            match event {
                Ok(event) => {
                    let news = matches!(
                        event.kind,
                        EventKind::SyncFinished { .. }
                            | EventKind::StatusChanged { .. }
                            | EventKind::SyncStarted
                    );
                    if news {
                        self.tell(&event.app).await?;
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    let gap = Error::unavailable(format!(
                        "{missed} events were missed; current states follow"
                    ));
                    self.send(Err(gap)).await?;
                    // The contract of a gap: current states are told again, changed or not.
                    self.forget_states();
                    self.tell_all().await?;
                }
                // The backend is gone; we hold a part of it, so that this does not happen.
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn forget_states(&mut self) {
        for status in self.told.values_mut() {
            *status = ApplicationStatus::default();
        }
    }

    /// Tells every application whose state is new, and which are gone; a list that fails is told and repeated until it does not.
    async fn tell_all(&mut self) -> Option<()> {
        let mut waits = ExponentialBuilder::default()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(Duration::from_secs(30))
            .with_jitter()
            .without_max_times()
            .build();
        let mut options = ListOptions {
            selector: self.selector.clone(),
            ..ListOptions::default()
        };
        let all = loop {
            match self.backend.inner.store.list(&options).await {
                Ok(all) => break all,
                // The listener is told of what cannot be read, and then of all that can.
                Err(error) if error.kind() == ErrorKind::Integrity && !options.readable_only => {
                    self.send(Err(error)).await?;
                    options.readable_only = true;
                    continue;
                }
                Err(error) => self.send(Err(error)).await?,
            }
            tokio::time::sleep(waits.next().unwrap_or(Duration::from_secs(30))).await;
        };
        let mut missing: Vec<AppRef> = self.told.keys().cloned().collect();
        for stored in all {
            let app = stored.app.app_ref();
            missing.retain(|known| *known != app);
            self.tell(&app).await?;
        }
        for app in missing {
            self.tell(&app).await?;
        }
        Some(())
    }

    async fn tell(&mut self, app: &AppRef) -> Option<()> {
        let event = match self.backend.inner.store.get(app).await {
            Ok(stored) if self.selector.matches(&stored.app) => {
                match status::read(&self.backend.inner, &stored.app).await {
                    Ok(status) => return self.tell_status(app, status).await,
                    Err(error) => Err(error),
                }
            }
            Ok(_) => return Some(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if self.told.remove(app).is_none() {
                    return Some(());
                }
                Ok(StatusEvent::Deleted { app: app.clone() })
            }
            Err(error) => Err(error),
        };
        self.send(event).await
    }

    async fn tell_status(&mut self, app: &AppRef, status: ApplicationStatus) -> Option<()> {
        let timeless = ApplicationStatus {
            observed_at: None,
            conditions: status
                .conditions
                .iter()
                .cloned()
                .map(|condition| gitops_core::application::Condition {
                    last_transition_time: None,
                    ..condition
                })
                .collect(),
            ..status.clone()
        };
        if self.told.get(app) == Some(&timeless) {
            return Some(());
        }
        self.told.insert(app.clone(), timeless);
        let event = StatusEvent::Status {
            app: app.clone(),
            status: Box::new(status),
        };
        self.send(Ok(event)).await
    }

    async fn send(&self, event: Result<StatusEvent>) -> Option<()> {
        self.sender.send(event).await.ok()
    }
}
