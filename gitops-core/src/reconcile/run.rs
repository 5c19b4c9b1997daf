//! The loop.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::control::{Order, Orders, Stats};
use super::deliver::deliver;
use super::look::{Looked, Looker, Memory};
use super::owner::Ownership;
use super::queue::Queue;
use super::reconciler::Reconciler;
use crate::application::{AppRef, Application, HealthStatus, SyncStatus};
use crate::backend::{Backend, EventKind, ListOptions, StatusEvent, SyncEvent};
use crate::error::Result;
use crate::metrics;
use crate::source::RevisionEvent;

/// How long undelivered events are waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// The pause before the list or the watch is asked again after a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// What the loop knows of one application.
#[derive(Debug, Default)]
struct Known {
    /// As it was listed last; `None` when only its status came yet.
    app: Option<Application>,
    owned: bool,
    /// As the watch told it last.
    seen: Option<(SyncStatus, HealthStatus, bool)>,
    /// Failures in a row.
    failures: u32,
    /// What merely changed is not looked at before.
    not_before: Option<Instant>,
    memory: Memory,
    /// Somebody asked for a sync.
    wanted_by: Option<String>,
}

struct Ended {
    app: AppRef,
    by: Option<String>,
    memory: Memory,
    looked: Looked,
}

struct Loop {
    looker: Arc<Looker>,
    ownership: Arc<dyn Ownership>,
    known: HashMap<AppRef, Known>,
    queue: Queue,
    slots: Arc<Semaphore>,
    looks: JoinSet<Ended>,
    /// Whose look a task is, to know it when the task panics.
    tasks: HashMap<tokio::task::Id, AppRef>,
    list_at: Instant,
}

/// What happened, so that it can be dealt with while nothing is borrowed.
enum Happened {
    Slot(tokio::sync::OwnedSemaphorePermit),
    Due,
    Ended(std::result::Result<(tokio::task::Id, Ended), tokio::task::JoinError>),
    Order(Order),
    Resumed,
    Revision(RevisionEvent),
    Backend(SyncEvent),
    Status(Option<Result<StatusEvent>>),
    Ownership,
    ListDue,
    Listed(Result<Vec<Application>>),
    WatchAgain,
}

pub(super) async fn run(reconciler: Reconciler, shutdown: impl Future<Output = ()> + Send) {
    let Reconciler {
        backend,
        sources,
        strategy,
        validators,
        limiter,
        notifiers,
        ownership,
        revisions,
        events,
        options,
        orders,
        ..
    } = reconciler;
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut delivery = AbortOnDropHandle::new(tokio::spawn(deliver(notifiers, receiver)));
    let (stop, force) = (CancellationToken::new(), CancellationToken::new());
    let slots = options.looks.clamp(1, Semaphore::MAX_PERMITS);
    let looker = Arc::new(Looker {
        backend,
        sources,
        strategy,
        validators,
        limiter,
        options,
        paused: orders.paused.clone(),
        stop: stop.clone(),
        force: force.clone(),
        events: sender,
        backend_tells: events.is_some(),
    });
    let mut work = Loop {
        ownership: Arc::clone(&ownership),
        known: HashMap::new(),
        queue: Queue::default(),
        slots: Arc::new(Semaphore::new(slots)),
        looks: JoinSet::new(),
        tasks: HashMap::new(),
        list_at: Instant::now(),
        looker: Arc::clone(&looker),
    };
    work.run(orders, revisions, events, shutdown).await;
    stop.cancel();
    work.wind_down(&force).await;
    drop(work);
    // Nothing runs here any more: others may go on.
    ownership.resign().await;
    // The last sender: what is left is delivered now.
    drop(looker);
    if timeout(LAST_WORDS, &mut delivery).await.is_err() {
        tracing::warn!("not everything was delivered to the notifiers");
    }
}

impl Loop {
    async fn run(
        &mut self,
        mut orders: Orders,
        mut revisions: BoxStream<'static, RevisionEvent>,
        events: Option<BoxStream<'static, SyncEvent>>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let mut events = events.unwrap_or_else(|| futures::stream::pending().boxed());
        let mut changes = self.ownership.changes();
        let mut statuses = Some(self.watch());
        let mut watch_again: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut listing: FuturesUnordered<BoxFuture<'static, Result<Vec<Application>>>> =
            FuturesUnordered::new();
        let (mut more_revisions, mut more_events, mut more_changes) = (true, true, true);
        let mut paused = *orders.paused.borrow_and_update();
        tokio::pin!(shutdown);
        loop {
            orders.counts.set(self.stats());
            let list_at = self.list_at;
            let happened = tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(joined) = self.looks.join_next_with_id(), if !self.looks.is_empty() => Happened::Ended(joined),
                Some(order) = orders.orders.recv() => Happened::Order(order),
                Ok(()) = orders.paused.changed() => {
                    paused = *orders.paused.borrow_and_update();
                    Happened::Resumed
                }
                change = changes.next(), if more_changes => {
                    more_changes = change.is_some();
                    Happened::Ownership
                }
                event = revisions.next(), if more_revisions => match event {
                    Some(event) => Happened::Revision(event),
                    None => {
                        more_revisions = false;
                        continue;
                    }
                },
                event = events.next(), if more_events => match event {
                    Some(event) => Happened::Backend(event),
                    None => {
                        more_events = false;
                        continue;
                    }
                },
                event = next(&mut statuses) => Happened::Status(event),
                Some(()) = watch_again.next(), if !watch_again.is_empty() => Happened::WatchAgain,
                Some(listed) = listing.next(), if !listing.is_empty() => Happened::Listed(listed),
                () = tokio::time::sleep_until(list_at), if listing.is_empty() => Happened::ListDue,
                () = self.queue.tick() => Happened::Due,
                Ok(slot) = Arc::clone(&self.slots).acquire_owned(), if self.queue.is_ready() && !paused => Happened::Slot(slot),
            };
            match happened {
                Happened::Slot(slot) => self.begin(slot),
                Happened::Due | Happened::Resumed => {}
                Happened::Ended(joined) => self.ended(joined),
                Happened::Order(order) => self.order(order),
                Happened::Revision(event) => self.revision(&event),
                Happened::Backend(event) => {
                    let _ = self.looker.events.send(event);
                }
                Happened::Status(Some(event)) => self.status(event),
                Happened::Status(None) => {
                    tracing::warn!("the backend's watch ended");
                    statuses = None;
                    watch_again.push(sleep(AGAIN).boxed());
                }
                Happened::WatchAgain => statuses = Some(self.watch()),
                Happened::Ownership => self.divide(),
                Happened::ListDue => listing.push(self.list()),
                Happened::Listed(listed) => self.listed(listed),
            }
        }
    }

    fn stats(&self) -> Stats {
        metrics::reconciler_due(self.queue.ready());
        Stats {
            known: self.known.len(),
            owned: self.known.values().filter(|known| known.owned).count(),
            due: self.queue.ready(),
            looking: self.looks.len(),
        }
    }

    fn watch(&self) -> BoxStream<'static, Result<StatusEvent>> {
        let looker = &self.looker;
        looker.backend.watch(looker.options.selector.clone())
    }

    fn list(&self) -> BoxFuture<'static, Result<Vec<Application>>> {
        let looker = Arc::clone(&self.looker);
        let options = ListOptions {
            selector: looker.options.selector.clone(),
            with_status: false,
            // One damaged record must not stop the others.
            readable_only: true,
        };
        async move {
            let Some(store) = looker.backend.store() else {
                return Ok(Vec::new());
            };
            let all = store.list(&options).await?;
            Ok(all.into_iter().map(|stored| stored.app).collect())
        }
        .boxed()
    }

    fn listed(&mut self, listed: Result<Vec<Application>>) {
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "cannot list the applications");
                self.list_at = Instant::now() + AGAIN.min(self.looker.options.interval);
                return;
            }
        };
        self.list_at = Instant::now() + self.looker.options.next_interval();
        let names: HashSet<AppRef> = listed.iter().map(Application::app_ref).collect();
        let gone: Vec<AppRef> = self
            .known
            .keys()
            .filter(|app| !names.contains(*app))
            .cloned()
            .collect();
        for app in gone {
            self.forget(&app);
        }
        for app in listed {
            let name = app.app_ref();
            let known = self.known.entry(name.clone()).or_default();
            let news = known.app.as_ref() != Some(&app);
            known.app = Some(app);
            if news {
                known.owned = self.ownership.tenure(&name).is_some();
                if known.owned {
                    self.queue.now(&name);
                }
            }
        }
    }

    /// Looks anew at what is whose.
    fn divide(&mut self) {
        for (app, known) in &mut self.known {
            let owned = self.ownership.tenure(app).is_some();
            if owned && !known.owned {
                // What somebody else did meanwhile is not known.
                known.memory = Memory::default();
                known.failures = 0;
                known.not_before = None;
                self.queue.now(app);
            }
            known.owned = owned;
        }
        metrics::reconciler_owned(self.known.values().filter(|known| known.owned).count());
    }

    fn forget(&mut self, app: &AppRef) {
        self.known.remove(app);
        self.queue.forget(app);
    }

    fn order(&mut self, order: Order) {
        let app = match order {
            Order::Look(app) => app,
            Order::Sync { app, by } => {
                self.known.entry(app.clone()).or_default().wanted_by = Some(by);
                app
            }
        };
        let known = self.known.entry(app.clone()).or_default();
        known.owned = self.ownership.tenure(&app).is_some();
        self.queue.now(&app);
    }

    fn revision(&mut self, event: &RevisionEvent) {
        for (app, known) in &self.known {
            if known.owned && known.app.as_ref().is_some_and(|app| event.concerns(app)) {
                self.queue.now(app);
            }
        }
    }

    fn status(&mut self, event: Result<StatusEvent>) {
        let (app, status) = match event {
            Ok(StatusEvent::Status { app, status }) => (app, status),
            Ok(StatusEvent::Deleted { app }) => return self.forget(&app),
            Err(error) => {
                tracing::warn!(%error, "a gap in the backend's watch");
                return;
            }
        };
        let busy = status
            .operation
            .as_ref()
            .is_some_and(|operation| !operation.phase.is_terminal());
        let now = (status.sync, status.health.status, busy);
        if !self.known.contains_key(&app) {
            // It is new: the list says what it is made of.
            self.list_at = Instant::now();
        }
        let known = self.known.entry(app.clone()).or_default();
        let before = known.seen.replace(now);
        if before == Some(now) || !known.owned {
            return;
        }
        if let Some((sync, health, _)) = before
            && (sync, health) != (now.0, now.1)
            && !self.looker.backend_tells
        {
            let kind = EventKind::StatusChanged {
                sync: now.0,
                health: now.1,
            };
            self.looker.tell(&app, "", kind);
        }
        // The first one comes with the list. While something runs, its end is what counts.
        if before.is_some() && !busy {
            let at = known.not_before.unwrap_or_else(Instant::now);
            self.queue.at(&app, at);
        }
    }

    /// Begins the next look.
    fn begin(&mut self, slot: tokio::sync::OwnedSemaphorePermit) {
        let Some(app) = self.queue.pop() else {
            return;
        };
        let Some(known) = self.known.get_mut(&app) else {
            return self.queue.forget(&app);
        };
        let Some(tenure) = self.ownership.tenure(&app) else {
            // Whoever owns it looks at it.
            known.owned = false;
            known.wanted_by = None;
            return self.queue.forget(&app);
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

    fn ended(
        &mut self,
        joined: std::result::Result<(tokio::task::Id, Ended), tokio::task::JoinError>,
    ) {
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
            return self.forget(&app);
        }
        let Some(known) = self.known.get_mut(&app) else {
            return self.queue.forget(&app);
        };
        known.memory = memory;
        known.not_before = None;
        let options = &self.looker.options;
        match looked {
            Looked::Failed | Looked::Refused => known.failures = known.failures.saturating_add(1),
            Looked::Idle | Looked::Synced | Looked::Gone => known.failures = 0,
            Looked::Busy | Looked::Later(_) | Looked::Paused | Looked::Stopped => {}
        }
        let pause = match looked {
            Looked::Failed | Looked::Refused => {
                let pause = options.pause_after(known.failures);
                known.not_before = Some(Instant::now() + pause);
                pause
            }
            Looked::Busy => options.backoff.duration,
            Looked::Later(pause) => pause,
            Looked::Paused => Duration::ZERO,
            _ => options.next_interval(),
        };
        if let Looked::Paused | Looked::Busy = looked {
            // What somebody asked for is still asked for.
            known.wanted_by = known.wanted_by.take().or(by);
        }
        if !known.owned {
            return self.queue.forget(&app);
        }
        self.queue.done(&app, pause.min(options.next_interval()));
    }

    /// Waits for the looks that run: at first patiently, then not.
    async fn wind_down(&mut self, force: &CancellationToken) {
        let options = self.looker.options.clone();
        let all = async { while self.looks.join_next().await.is_some() {} };
        tokio::pin!(all);
        if timeout(options.shutdown_grace, &mut all).await.is_ok() {
            return;
        }
        force.cancel();
        // Starting and ending take a grace each.
        if timeout(3 * options.terminate_grace, all).await.is_err() {
            tracing::warn!("not every sync ended in time");
        }
    }
}

async fn next(
    statuses: &mut Option<BoxStream<'static, Result<StatusEvent>>>,
) -> Option<Result<StatusEvent>> {
    match statuses {
        Some(statuses) => statuses.next().await,
        None => std::future::pending().await,
    }
}
