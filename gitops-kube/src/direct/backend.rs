//! The backend's face: the traits of core.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::{AppRef, Application, ApplicationStatus, ClusterRef, HistoryEntry};
use gitops_core::backend::{
    ApplicationStore, Backend, DeleteOptions, EventKind, ListOptions, Operation, PutMode,
    PutOutcome, ResourceState, RevisionHistory, Selector, StateReader, StatusEvent, Stored,
    SyncEvent, SyncOptions, SyncOutcome, Syncer,
};
use gitops_core::manifest::ObjectId;
use gitops_core::store::StatusStore;
use gitops_core::{Error, ErrorKind, Result};
use tokio::sync::broadcast;

use super::operation::{self, OperationState, OutcomeSender};
use super::status::{self, Explanation};
use super::sync_options::{Permission, SyncOptionSet};
use super::watch;
use crate::engine::{ApplySet, Engine, EngineOptions};
use gitops_core::source::Sources;

/// How many events a slow listener may lag behind before it misses some.
const EVENT_BUFFER: usize = 1024;
/// How many ended operations are remembered per application, for waits that come late.
const REMEMBERED: usize = 16;

type Operations = HashMap<AppRef, Vec<OperationState>>;

/// Settings of a [`DirectBackend`].
#[derive(Clone, Debug, PartialEq)]
pub struct DirectOptions {
    /// What the engine does unless an application or a sync says otherwise.
    pub engine: EngineOptions,
    /// How often a [`watch`](Syncer::watch) reads live states again, to tell what changed without an operation: drift, and health that comes and
    /// goes; 3 minutes unless set (Argo CD's `timeout.reconciliation` is 120 s and a jitter of up to 60 s). Zero never does.
    pub refresh: Duration,
}

impl Default for DirectOptions {
    fn default() -> Self {
        Self {
            engine: EngineOptions::default(),
            refresh: Duration::from_secs(180),
        }
    }
}

/// Syncs applications from Git straight to a cluster.
///
/// Clones share everything. Operations run on the tokio runtime that [`sync`](Syncer::sync) is called on, and go on whether or not anybody
/// waits for them.
#[derive(Clone)]
pub struct DirectBackend {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) engine: Engine,
    pub(super) store: Arc<dyn ApplicationStore>,
    pub(super) statuses: Arc<dyn StatusStore>,
    pub(super) sources: Arc<dyn Sources>,
    pub(super) options: DirectOptions,
    events: broadcast::Sender<SyncEvent>,
    operations: Mutex<Operations>,
    paused: AtomicBool,
}

impl std::fmt::Debug for DirectBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectBackend")
            .field("paused", &self.is_paused())
            .finish_non_exhaustive()
    }
}

impl DirectBackend {
    /// A backend that reads `sources`, writes through `engine`, and keeps applications and their status in `store`.
    pub fn new<S>(
        engine: Engine,
        sources: Arc<dyn Sources>,
        store: Arc<S>,
        options: DirectOptions,
    ) -> Self
    where
        S: ApplicationStore + StatusStore + 'static,
    {
        Self {
            inner: Arc::new(Inner {
                engine,
                store: store.clone(),
                statuses: store,
                sources,
                options,
                events: broadcast::channel(EVENT_BUFFER).0,
                operations: Mutex::default(),
                paused: AtomicBool::new(false),
            }),
        }
    }

    /// All events from now on. A listener that lags behind misses the oldest; the stream goes on.
    pub fn events(&self) -> BoxStream<'static, SyncEvent> {
        let receiver = self.inner.events.subscribe();
        futures::stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) => return Some((event, receiver)),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "a listener is too slow and missed events");
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }

    /// Starts no operation until [`resume_all`](Self::resume_all); what runs goes on to its end.
    pub fn pause_all(&self) {
        self.inner.paused.store(true, Ordering::SeqCst);
    }

    /// Ends the pause.
    pub fn resume_all(&self) {
        self.inner.paused.store(false, Ordering::SeqCst);
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.inner.paused.load(Ordering::SeqCst)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Why each resource of `app` is out of sync: what differs, field by field, and who changed it. Resources in sync are left out. Secrets
    /// are masked.
    ///
    /// # Errors
    /// As [`Syncer::status`].
    pub async fn explain(&self, app: &AppRef) -> Result<Vec<Explanation>> {
        let app = self.inner.store.get(app).await?.app;
        status::explain(&self.inner, &app).await
    }

    /// Why one resource of `app` is out of sync; `None` when it is in sync.
    ///
    /// # Errors
    /// As [`Syncer::status`].
    pub async fn explain_resource(
        &self,
        app: &AppRef,
        id: &ObjectId,
    ) -> Result<Option<Explanation>> {
        let mut all = self.explain(app).await?;
        Ok(all
            .iter()
            .position(|one| one.id == *id)
            .map(|at| all.swap_remove(at)))
    }

    pub(super) async fn start(&self, app: Application, options: SyncOptions) -> Result<Operation> {
        check_destination(&app)?;
        if self.is_paused() {
            return Err(Error::unavailable("syncs are paused").with_retryable(false));
        }
        if app.suspended && options.initiator.automated {
            return Err(Error::conflict(format!(
                "application {} is suspended",
                app.app_ref()
            )));
        }
        let (state, sender) = self.reserve(app.app_ref())?;
        // The record was read before the slot was taken: a deletion may have ended in between, and must not be undone.
        if let Err(error) = self.inner.store.get(&app.app_ref()).await {
            self.release(&state, error.kind() == ErrorKind::NotFound);
            return Err(error);
        }
        let operation = state.operation.clone();
        tokio::spawn(operation::run(
            self.inner.clone(),
            app,
            options,
            state,
            sender,
        ));
        Ok(operation)
    }

    /// Takes the application's one slot, until the sender is dropped or has told an outcome.
    fn reserve(&self, app: AppRef) -> Result<(OperationState, OutcomeSender)> {
        let (state, sender) = OperationState::new(app.clone());
        let mut operations = self.operations();
        let of_app = operations.entry(app.clone()).or_default();
        if let Some(running) = of_app.iter().find(|state| state.is_running()) {
            return Err(Error::new(
                ErrorKind::OperationInProgress,
                format!(
                    "another operation is already in progress for {app}: {}",
                    running.operation.id
                ),
            ));
        }
        of_app.push(state.clone());
        let surplus = of_app.len().saturating_sub(REMEMBERED);
        of_app.drain(..surplus);
        Ok((state, sender))
    }

    /// Gives the slot back; with `gone`, the application's operations are forgotten with it.
    fn release(&self, slot: &OperationState, gone: bool) {
        let app = &slot.operation.app;
        let mut operations = self.operations();
        if gone {
            operations.remove(app);
        } else if let Some(of_app) = operations.get_mut(app) {
            of_app.retain(|state| state.operation != slot.operation);
        }
    }

    fn operations(&self) -> MutexGuard<'_, Operations> {
        self.inner.operations()
    }

    fn operation(&self, operation: &Operation) -> Result<OperationState> {
        self.operations()
            .get(&operation.app)
            .and_then(|of_app| {
                of_app
                    .iter()
                    .find(|state| state.operation.id == operation.id)
            })
            .cloned()
            .ok_or_else(|| {
                Error::not_found(format!(
                    "operation {} of application {} is not remembered",
                    operation.id, operation.app
                ))
            })
    }

    /// Two applications with one ApplySet would prune each other's objects: where a record has no namespace, a set is named after the application and
    /// its destination's namespace.
    async fn check_set(&self, app: &Application, set: &ApplySet) -> Result<()> {
        let app_ref = app.app_ref();
        // One damaged record must not stop all syncs; who shares a set with it is told by the set's parent.
        let options = ListOptions {
            readable_only: true,
            ..ListOptions::default()
        };
        let all = self.inner.store.list(&options).await?;
        let other = all.iter().map(|stored| &stored.app).find(|other| {
            other.app_ref() != app_ref
                && ApplySet::of(other).is_ok_and(|other| other.id() == set.id())
        });
        match other {
            None => Ok(()),
            Some(other) => Err(Error::conflict(format!(
                "application {app_ref} would share its ApplySet {}/{} with application {}: give it another name or destination namespace",
                set.namespace(),
                set.parent_name(),
                other.app_ref()
            ))),
        }
    }

    /// An application that moves to another ApplySet would leave what it applied behind, with nobody to prune it.
    async fn check_move(&self, old: &Application, set: &ApplySet) -> Result<()> {
        let Ok(old_set) = ApplySet::of(old) else {
            return Ok(());
        };
        if old_set.id() == set.id() {
            return Ok(());
        }
        let members = match self.inner.engine.inventory(&old_set).await {
            Ok(inventory) => inventory.len(),
            // Somebody else keeps it now.
            Err(error) if error.kind() == ErrorKind::Conflict => 0,
            Err(error) => return Err(error),
        };
        if members == 0 {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "application {} would move from ApplySet {}/{} to {}/{} and leave {members} objects behind: its record has no namespace, so that the destination's names the set; delete the application with its objects first, or make it anew under another name",
            old.app_ref(),
            old_set.namespace(),
            old_set.parent_name(),
            set.namespace(),
            set.parent_name(),
        )))
    }

    async fn delete_stored(&self, app: &Application, options: &DeleteOptions) -> Result<()> {
        if options.cascade {
            let set = SyncOptionSet::of(&app.sync_policy, &[])?;
            if set.delete != Permission::Yes {
                return Err(Error::conflict(format!(
                    "sync option Delete of application {} protects what it deployed; delete it without cascade, or take the option away",
                    app.app_ref()
                )));
            }
            let engine = EngineOptions {
                propagation: options.propagation,
                ..operation::engine_options(&self.inner, app, &SyncOptions::default())?
            };
            let report = self
                .inner
                .engine
                .delete(&ApplySet::of(app)?, &engine)
                .await?;
            if let Some(failure) = report.failure {
                return Err(Error::failed(failure));
            }
        }
        let plain = DeleteOptions {
            cascade: false,
            ..*options
        };
        self.inner.store.delete(&app.app_ref(), &plain).await
    }

    /// The record's own reference: a caller may leave the namespace out.
    async fn stored(&self, app: &AppRef) -> Result<Application> {
        Ok(self.inner.store.get(app).await?.app)
    }
}

/// The engine has one cluster: an application for another one must not land there.
fn check_destination(app: &Application) -> Result<()> {
    let here = match &app.destination.cluster {
        ClusterRef::InCluster => true,
        // Argo CD's names for the cluster that it runs in.
        ClusterRef::Server(url) => url.trim_end_matches('/') == "https://kubernetes.default.svc",
        ClusterRef::Name(name) => name == "in-cluster",
    };
    if here {
        return Ok(());
    }
    Err(Error::unsupported(
        &format!(
            "deploying application {} to another cluster than the engine's",
            app.app_ref()
        ),
        "the direct backend",
    ))
}

impl Inner {
    fn operations(&self) -> MutexGuard<'_, Operations> {
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The operation of `app` that runs now.
    pub(super) fn running(&self, app: &AppRef) -> Option<OperationState> {
        let operations = self.operations();
        let mut of_app = operations.get(app)?.iter();
        of_app.find(|state| state.is_running()).cloned()
    }

    /// Everything that is told from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<SyncEvent> {
        self.events.subscribe()
    }

    pub(super) fn tell(&self, app: &AppRef, operation: &str, kind: EventKind) {
        // Nobody listening is fine.
        let _ = self
            .events
            .send(SyncEvent::now(app.clone(), operation, kind));
    }

    /// Tells listeners that an application's record changed, with the state that is known of it.
    async fn tell_changed(&self, app: &AppRef) {
        let status = self
            .statuses
            .status(app)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let kind = EventKind::StatusChanged {
            sync: status.sync,
            health: status.health.status,
        };
        self.tell(app, "", kind);
    }
}

#[async_trait]
impl Syncer for DirectBackend {
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        let app = self.stored(app).await?;
        self.start(app, options.clone()).await
    }

    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        self.operation(operation)?.wait().await
    }

    async fn terminate(&self, operation: &Operation) -> Result<()> {
        self.operation(operation)?.cancel.cancel();
        Ok(())
    }

    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        let app = self.stored(app).await?;
        status::read(&self.inner, &app).await
    }

    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        watch::watch(self.clone(), selector)
    }
}

impl Backend for DirectBackend {
    fn name(&self) -> &str {
        "direct"
    }

    fn store(&self) -> Option<&dyn ApplicationStore> {
        Some(self)
    }

    fn state(&self) -> Option<&dyn StateReader> {
        Some(self)
    }

    fn history(&self) -> Option<&dyn RevisionHistory> {
        Some(self)
    }
}

#[async_trait]
impl ApplicationStore for DirectBackend {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        // What could never be synced is refused here, where somebody looks.
        check_destination(app)?;
        SyncOptionSet::of(&app.sync_policy, &[])?;
        let old = match self.inner.store.get(&app.app_ref()).await {
            Ok(stored) => Some(stored.app),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut named = app.clone();
        if let Some(old) = old.as_ref().filter(|_| named.namespace.is_empty()) {
            named.namespace.clone_from(&old.namespace);
        }
        let set = ApplySet::of(&named)?;
        self.check_set(&named, &set).await?;
        // A create never replaces.
        if let Some(old) = old.filter(|_| mode != PutMode::Create) {
            self.check_move(&old, &set).await?;
        }
        let outcome = self.inner.store.put(app, mode).await?;
        if outcome.changed {
            self.inner.tell_changed(&app.app_ref()).await;
        }
        Ok(outcome)
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        let mut stored = self.inner.store.get(app).await?;
        stored.status = self.inner.statuses.status(&stored.app.app_ref()).await?;
        Ok(stored)
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        let mut all = self.inner.store.list(options).await?;
        if options.with_status {
            for stored in &mut all {
                stored.status = self.inner.statuses.status(&stored.app.app_ref()).await?;
            }
        }
        Ok(all)
    }

    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        let app = self.stored(app).await?;
        // No sync may apply again what is being deleted.
        let (slot, _taken) = self.reserve(app.app_ref())?;
        let deleted = self.delete_stored(&app, options).await;
        self.release(&slot, deleted.is_ok());
        deleted?;
        self.inner.tell_changed(&app.app_ref()).await;
        Ok(())
    }

    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.inner.store.suspend(app).await?;
        self.inner.tell_changed(app).await;
        Ok(())
    }

    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.inner.store.resume(app).await?;
        self.inner.tell_changed(app).await;
        Ok(())
    }
}

#[async_trait]
impl StateReader for DirectBackend {
    async fn state(&self, app: &AppRef, revisions: &[String]) -> Result<Vec<ResourceState>> {
        let app = self.stored(app).await?;
        status::state(&self.inner, &app, revisions).await
    }
}

#[async_trait]
impl RevisionHistory for DirectBackend {
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
        let app = self.stored(app).await?;
        let status = self.inner.statuses.status(&app.app_ref()).await?;
        Ok(status.map(|status| status.history).unwrap_or_default())
    }

    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
        let mut app = self.stored(app).await?;
        let history = RevisionHistory::list(self, &app.app_ref()).await?;
        let Some(entry) = history.into_iter().find(|entry| entry.id == id) else {
            return Err(Error::not_found(format!(
                "application {} has no history entry {id}",
                app.app_ref()
            )));
        };
        if app
            .sync_policy
            .automated
            .is_some_and(|automated| automated.is_enabled())
        {
            return Err(Error::conflict(format!(
                "automated sync of application {} is on and would undo the rollback; turn it off first",
                app.app_ref()
            )));
        }
        if !entry.sources.is_empty() {
            app.sources = entry.sources;
        }
        let options = SyncOptions {
            revisions: entry.revisions,
            ..options.clone()
        };
        self.start(app, options).await
    }
}

#[cfg(test)]
mod tests {
    use gitops_core::store::MemoryStore;

    use super::*;
    use crate::cluster::InMemoryCluster;
    use crate::direct::Rendered;

    struct Nothing;

    #[async_trait]
    impl Sources for Nothing {
        async fn render(&self, _: &Application, _: &[String]) -> Result<Rendered> {
            Err(Error::internal("rendered after the deletion"))
        }
    }

    #[tokio::test]
    async fn a_sync_that_read_its_record_before_the_deletion_does_not_start() {
        let backend = DirectBackend::new(
            Engine::new(Arc::new(InMemoryCluster::new())),
            Arc::new(Nothing),
            Arc::new(MemoryStore::new()),
            DirectOptions::default(),
        );
        let app = Application::new("shop").in_namespace("default");
        backend.put(&app, PutMode::Create).await.unwrap();
        let read_before = backend.stored(&app.app_ref()).await.unwrap();
        ApplicationStore::delete(&backend, &app.app_ref(), &DeleteOptions::default())
            .await
            .unwrap();
        let error = backend
            .start(read_before, SyncOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(backend.operations().is_empty());
    }
}
