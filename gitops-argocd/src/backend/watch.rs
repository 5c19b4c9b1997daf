//! Watching: what is, then what changes, on one connection that is made again when it is cut.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::Result;
use gitops_core::application::AppRef;
use gitops_core::backend::{Selector, StatusEvent};
use tokio::time::Instant;

use super::{ArgoCdBackend, after};
use crate::types::lean;

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LAST_DELAY: Duration = Duration::from_secs(30);

/// Whether the selector means this application; the servers' own filters are wider, or fewer.
fn matches(selector: &Selector, own: &str, app: &lean::Application) -> bool {
    let name = app.app_ref();
    let namespace =
        |wanted: &str| wanted == name.namespace || (wanted.is_empty() && name.namespace == own);
    let project = if app.spec.project.is_empty() {
        "default"
    } else {
        &app.spec.project
    };
    selector
        .app
        .as_ref()
        .is_none_or(|wanted| wanted.name == name.name && namespace(&wanted.namespace))
        && selector.namespace.as_deref().is_none_or(namespace)
        && (selector.projects.is_empty()
            || selector.projects.iter().any(|wanted| wanted == project))
        && selector
            .labels
            .iter()
            .all(|(key, value)| app.metadata.labels.get(key) == Some(value))
}

struct Watch {
    backend: ArgoCdBackend,
    selector: Selector,
    stream: Option<BoxStream<'static, Result<lean::WatchEvent>>>,
    /// The version of each application that was told.
    known: HashMap<AppRef, (String, String)>,
    queue: VecDeque<Result<StatusEvent>>,
    list_at: Option<Instant>,
    delay: Duration,
    /// How long to wait before the next connection.
    pause: Option<Duration>,
}

pub(super) fn watch(
    backend: ArgoCdBackend,
    selector: Selector,
) -> BoxStream<'static, Result<StatusEvent>> {
    let watch = Watch {
        backend,
        selector,
        stream: None,
        known: HashMap::new(),
        queue: VecDeque::new(),
        list_at: None,
        delay: FIRST_DELAY,
        pause: None,
    };
    futures::stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await;
        Some((event, watch))
    })
    .boxed()
}

impl Watch {
    async fn next(&mut self) -> Result<StatusEvent> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return event;
            }
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            let result = match (&mut self.stream, self.list_at) {
                (Some(stream), Some(list_at)) => {
                    match tokio::time::timeout_at(list_at, stream.next()).await {
                        Err(_) => self.list().await,
                        Ok(Some(Ok(event))) => {
                            let own = self.own().await?;
                            self.take(&own, event);
                            continue;
                        }
                        Ok(Some(Err(error))) => Err(error),
                        Ok(None) => Err(gitops_core::Error::unavailable("the stream ended")),
                    }
                }
                _ => self.connect().await,
            };
            if let Err(error) = result {
                // A gap: after it all that is is told again.
                self.stream = None;
                self.list_at = None;
                // As long as the server says, but not for a day.
                let longest = self.backend.options.resync.max(self.delay);
                let pause = error.retry_after().unwrap_or_default().max(self.delay);
                self.pause = Some(pause.min(longest));
                self.delay = (self.delay * 2).min(LAST_DELAY);
                self.known
                    .values_mut()
                    .for_each(|(version, _)| version.clear());
                return Err(error);
            }
        }
    }

    /// Not through `&self`: a stream cannot be shared among threads.
    fn own(&self) -> impl Future<Output = Result<String>> + Send + use<> {
        let backend = self.backend.clone();
        async move { backend.own_namespace().await.map(str::to_owned) }
    }

    /// The stream first, then the list: what happens between the two is told twice and not never.
    async fn connect(&mut self) -> Result<()> {
        let stream = self.backend.access.watch(&self.selector, None).await?;
        self.stream = Some(stream);
        self.list().await?;
        self.delay = FIRST_DELAY;
        Ok(())
    }

    async fn list(&mut self) -> Result<()> {
        let own = self.own().await?;
        let list = self.backend.access.list(&self.selector).await?;
        self.list_at = Some(after(self.backend.options.resync));
        let mut gone: HashMap<AppRef, (String, String)> = std::mem::take(&mut self.known);
        for app in list.items {
            if !matches(&self.selector, &own, &app) {
                continue;
            }
            let name = ArgoCdBackend::name_in(&own, app.app_ref());
            if let Some(known) = gone.remove(&name) {
                self.known.insert(name.clone(), known);
            }
            self.tell(name, app);
        }
        for (app, _) in gone {
            self.queue.push_back(Ok(StatusEvent::Deleted { app }));
        }
        Ok(())
    }

    fn take(&mut self, own: &str, event: lean::WatchEvent) {
        let app = event.application;
        let name = ArgoCdBackend::name_in(own, app.app_ref());
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" if matches(&self.selector, own, &app) => self.tell(name, app),
            // It was deleted, or what the selector asks for was taken from it.
            "ADDED" | "MODIFIED" | "DELETED" => {
                let is_same = self
                    .known
                    .get(&name)
                    .is_some_and(|(_, uid)| *uid == app.metadata.uid);
                if is_same {
                    self.known.remove(&name);
                    self.queue.push_back(Ok(StatusEvent::Deleted { app: name }));
                }
            }
            // Bookmarks, and what newer servers invent.
            _ => {}
        }
    }

    fn tell(&mut self, name: AppRef, app: lean::Application) {
        let (version, uid) = (
            app.metadata.resource_version.clone(),
            app.metadata.uid.clone(),
        );
        if let Some((known, known_uid)) = self.known.get(&name)
            && *known_uid == uid
            && !is_newer(known, &version)
        {
            return;
        }
        self.known.insert(name.clone(), (version, uid));
        self.queue.push_back(Ok(StatusEvent::Status {
            app: name,
            status: Box::new(app.into_status()),
        }));
    }
}

/// Versions of one object grow, as numbers (Kubernetes 1.35 says so; etcd has always done it); what is no number only differs.
fn is_newer(known: &str, version: &str) -> bool {
    match (known.parse::<u64>(), version.parse::<u64>()) {
        (Ok(known), Ok(version)) => version > known,
        _ => known != version || known.is_empty(),
    }
}
