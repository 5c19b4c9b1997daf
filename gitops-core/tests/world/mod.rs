//! A backend, its applications and repositories, a reconciler around them, and an owner; what happens is as a test says.
#![allow(dead_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use gitops_core::application::{
    AppRef, Application, ApplicationStatus, Automated, Health, HealthStatus, Source, SyncStatus,
};
use gitops_core::backend::{ApplicationStore, PutMode, StatusEvent, SyncEvent, SyncOptions};
use gitops_core::manifest::ManifestSet;
use gitops_core::manifest::yaml::parse;
use gitops_core::notify::{BroadcastNotifier, Notifier, Notifiers};
use gitops_core::reconcile::{Control, Ownership, Reconciler, Tenure};
use gitops_core::rule::{RevisionChanged, SyncStrategy};
use gitops_core::source::{Rendered, RevisionEvent, Sources};
use gitops_core::store::MemoryStore;
use gitops_core::{Error, Result};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;

/// Repositories whose revisions a test sets.
#[derive(Clone, Default)]
pub(crate) struct Repositories {
    pub(crate) revisions: Arc<Mutex<HashMap<String, String>>>,
    pub(crate) manifests: Arc<Mutex<String>>,
}

impl Repositories {
    pub(crate) fn set(&self, url: &str, revision: &str) {
        let mut all = self.revisions.lock().unwrap();
        all.insert(url.into(), revision.into());
    }

    /// The revision moves, and a webhook says so.
    pub(crate) fn push(&self, url: &str, revision: &str) -> RevisionEvent {
        self.set(url, revision);
        RevisionEvent {
            urls: vec![url.into()],
            teller: "test".into(),
            ..RevisionEvent::default()
        }
    }
}

#[async_trait]
impl Sources for Repositories {
    async fn render(&self, app: &Application, revisions: &[String]) -> Result<Rendered> {
        assert_eq!(revisions.len(), app.sources.len());
        let yaml = self.manifests.lock().unwrap().clone();
        Ok(Rendered {
            revisions: revisions.to_vec(),
            manifests: ManifestSet::from_objects(parse("a.yaml", yaml.as_bytes())?)?,
        })
    }

    async fn resolve(&self, app: &Application) -> Result<Vec<String>> {
        let all = self.revisions.lock().unwrap();
        let revisions = app.sources.iter().map(|source| {
            all.get(&source.repo_url)
                .cloned()
                .ok_or_else(|| Error::not_found("no such repository"))
        });
        revisions.collect()
    }
}

pub(crate) const URL: &str = "https://git.example.com/org/repo";

pub(crate) fn app(name: &str) -> Application {
    Application::new(name)
        .source(Source::git(format!("{URL}-{name}")))
        .automated(Automated::default())
}

pub(crate) fn url(name: &str) -> String {
    format!("{URL}-{name}")
}

pub(crate) fn new_revisions() -> SyncStrategy {
    SyncStrategy::new().rule(RevisionChanged { retry_failed: true })
}

/// A backend, its applications and repositories, and what comes of them.
pub(crate) struct World {
    pub(crate) fake: Fake,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) repositories: Repositories,
    pub(crate) events: BroadcastNotifier,
    pub(crate) heard: Mutex<broadcast::Receiver<SyncEvent>>,
    pub(crate) pushes: mpsc::UnboundedSender<RevisionEvent>,
    pub(crate) pushed: Mutex<Option<mpsc::UnboundedReceiver<RevisionEvent>>>,
}

pub(crate) struct Running {
    pub(crate) control: Control,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<Result<()>>,
}

impl Running {
    pub(crate) async fn shut_down(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        (&mut self.task).await.unwrap().unwrap();
    }
}

impl World {
    pub(crate) async fn new(names: &[&str]) -> Self {
        let fake = Fake::lasting(Duration::from_secs(1));
        let store = Arc::new(MemoryStore::default());
        let _ = fake.kept_store.set(store.clone());
        let events = BroadcastNotifier::new(100_000);
        let (pushes, pushed) = mpsc::unbounded_channel();
        let world = Self {
            heard: Mutex::new(events.subscribe()),
            repositories: Repositories::default(),
            pushed: Mutex::new(Some(pushed)),
            fake,
            store,
            events,
            pushes,
        };
        for name in names {
            world.add(app(name)).await;
        }
        world
    }

    pub(crate) async fn add(&self, app: Application) {
        self.repositories.set(&app.sources[0].repo_url, "r1");
        self.store.put(&app, PutMode::Upsert).await.unwrap();
    }

    pub(crate) fn reconciler(&self) -> Reconciler {
        let mut notifiers = Notifiers::default();
        notifiers.add_notifier(self.events.clone());
        let pushed = self.pushed.lock().unwrap().take().unwrap();
        let pushed = stream::unfold(pushed, |mut pushed| async move {
            pushed.recv().await.map(|event| (event, pushed))
        });
        Reconciler::new(self.fake.clone())
            .sources(self.repositories.clone())
            .strategy(new_revisions())
            .notifiers(notifiers)
            .revisions(pushed)
    }

    pub(crate) fn run(&self, reconciler: Reconciler) -> Running {
        let (stop, stopped) = oneshot::channel();
        Running {
            control: reconciler.control(),
            stop: Some(stop),
            task: tokio::spawn(reconciler.run(async {
                let _ = stopped.await;
            })),
        }
    }

    pub(crate) fn push(&self, name: &str, revision: &str) {
        let event = self.repositories.push(&url(name), revision);
        self.pushes.send(event).unwrap();
    }

    /// What was asked of the backend since the last call: names and revisions.
    pub(crate) fn synced(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.fake.asked.lock().unwrap());
        let text = |(app, options): (AppRef, SyncOptions)| {
            format!("{app}@{}", options.revisions.join("+"))
        };
        asked.into_iter().map(text).collect()
    }

    /// What was told since the last call.
    pub(crate) fn told(&self) -> Vec<SyncEvent> {
        let mut heard = self.heard.lock().unwrap();
        std::iter::from_fn(|| heard.try_recv().ok()).collect()
    }

    pub(crate) fn told_names(&self) -> Vec<String> {
        let name = |event: &SyncEvent| format!("{} {}", event.app, event.kind.name());
        self.told().iter().map(name).collect()
    }

    pub(crate) fn tell_status(&self, name: &str, sync: SyncStatus) {
        let status = ApplicationStatus {
            sync,
            health: Health::new(HealthStatus::Healthy, ""),
            ..ApplicationStatus::default()
        };
        let event = StatusEvent::Status {
            app: name.into(),
            status: Box::new(status),
        };
        self.fake.told.get().unwrap().send(event).unwrap();
    }
}

pub(crate) async fn after(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Gives and takes applications as a test says.
pub(crate) struct Owner {
    pub(crate) owned: Mutex<HashMap<AppRef, CancellationToken>>,
    pub(crate) changes: watch::Sender<()>,
    pub(crate) resigned: AtomicBool,
    /// What it was told not to give away.
    pub(crate) unfinished: Mutex<Vec<AppRef>>,
    pub(crate) margin: Mutex<Option<Duration>>,
    pub(crate) handed_on: Mutex<Vec<RevisionEvent>>,
    /// What others hand on.
    pub(crate) others: watch::Sender<Option<RevisionEvent>>,
}

impl Default for Owner {
    fn default() -> Self {
        Self {
            owned: Mutex::default(),
            changes: watch::Sender::new(()),
            resigned: AtomicBool::new(false),
            unfinished: Mutex::default(),
            margin: Mutex::default(),
            handed_on: Mutex::default(),
            others: watch::Sender::new(None),
        }
    }
}

impl Owner {
    pub(crate) fn give(&self, names: &[&str]) {
        let mut owned = self.owned.lock().unwrap();
        for name in names {
            owned.insert(AppRef::from(*name), CancellationToken::new());
        }
        self.changes.send_replace(());
    }

    pub(crate) fn take(&self, name: &str) {
        if let Some(lost) = self.owned.lock().unwrap().remove(&AppRef::from(name)) {
            lost.cancel();
        }
        self.changes.send_replace(());
    }
}

#[async_trait]
impl Ownership for Owner {
    fn tenure(&self, app: &AppRef) -> Option<Tenure> {
        let owned = self.owned.lock().unwrap();
        owned.get(app).cloned().map(Tenure::until)
    }
    fn changes(&self) -> BoxStream<'static, ()> {
        let receiver = self.changes.subscribe();
        stream::unfold(receiver, |mut receiver| async move {
            receiver.changed().await.ok().map(|()| ((), receiver))
        })
        .boxed()
    }
    fn margin(&self) -> Option<Duration> {
        *self.margin.lock().unwrap()
    }
    fn owner(&self, _: &AppRef) -> Option<String> {
        Some("somebody-else".into())
    }
    fn hand_on(&self, event: &RevisionEvent) {
        self.handed_on.lock().unwrap().push(event.clone());
    }
    fn handed_on(&self) -> BoxStream<'static, RevisionEvent> {
        let receiver = self.others.subscribe();
        stream::unfold(receiver, |mut receiver| async move {
            receiver.changed().await.ok()?;
            let event = receiver.borrow_and_update().clone().unwrap_or_default();
            Some((event, receiver))
        })
        .boxed()
    }
    async fn resign(&self, unfinished: &[AppRef]) {
        *self.unfinished.lock().unwrap() = unfinished.to_vec();
        self.resigned.store(true, Ordering::SeqCst);
    }
}

/// Hangs, or panics.
pub(crate) struct Broken(pub(crate) bool);

#[async_trait]
impl Notifier for Broken {
    fn name(&self) -> &str {
        "broken"
    }
    async fn notify(&self, _: &SyncEvent) -> Result<()> {
        if self.0 {
            panic!("the notifier panics");
        }
        std::future::pending().await
    }
}
