//! The loop.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::control::{Order, Orders, Stats};
use super::deliver::deliver;
use super::known::Applications;
use super::look::{Looker, Memory};
use super::looks::Ended;
use super::owner::Ownership;
use super::queue::Queue;
use super::reconciler::Reconciler;
use super::states::States;
use crate::application::{AppRef, Application};
use crate::backend::{Backend, EventKind, ListOptions, StatusEvent, SyncEvent};
use crate::error::{Error, Result};
use crate::metrics;
use crate::source::RevisionEvent;

/// How long undelivered events are waited for at the end.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(15);

/// The pause before the list or the watch is asked again after a failure.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) struct Loop {
    pub(super) looker: Arc<Looker>,
    pub(super) ownership: Arc<dyn Ownership>,
    pub(super) known: Applications,
    pub(super) queue: Queue,
    pub(super) slots: Arc<Semaphore>,
    pub(super) looks: JoinSet<Ended>,
    /// Whose look a task is, to know it when the task panics.
    pub(super) tasks: HashMap<tokio::task::Id, AppRef>,
    pub(super) list_at: Instant,
    /// The backend's own.
    pub(super) events: BoxStream<'static, SyncEvent>,
}

/// What happened, so that it can be dealt with while nothing is borrowed.
enum Happened {
    Slot(tokio::sync::OwnedSemaphorePermit),
    Due,
    Ended(std::result::Result<(tokio::task::Id, Ended), tokio::task::JoinError>),
    Order(Order),
    Resumed,
    Revision(RevisionEvent),
    HandedOn(RevisionEvent),
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
        states: States::default(),
        open: Mutex::default(),
    });
    let mut work = Loop {
        ownership: Arc::clone(&ownership),
        known: Applications::default(),
        queue: Queue::default(),
        slots: Arc::new(Semaphore::new(slots)),
        looks: JoinSet::new(),
        tasks: HashMap::new(),
        list_at: Instant::now(),
        looker: Arc::clone(&looker),
        events: events.unwrap_or_else(|| stream::pending().boxed()),
    };
    work.run(orders, revisions, shutdown).await;
    stop.cancel();
    work.wind_down(&force).await;
    drop(work);
    // What has ended others may go on with.
    let unfinished = looker.unfinished();
    for app in &unfinished {
        tracing::warn!(%app, "a sync may still run: the application is not given to others, they get it when the right to it expires");
    }
    ownership.resign(&unfinished).await;
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
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let mut handed_on = self.ownership.handed_on();
        let mut changes = self.ownership.changes();
        let mut statuses = Some(self.watch());
        let mut watch_again: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut listing: FuturesUnordered<BoxFuture<'static, Result<Vec<Application>>>> =
            FuturesUnordered::new();
        let (mut more_revisions, mut more_events, mut more_changes) = (true, true, true);
        let mut more_handed_on = true;
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
                event = handed_on.next(), if more_handed_on => match event {
                    Some(event) => Happened::HandedOn(event),
                    None => {
                        more_handed_on = false;
                        continue;
                    }
                },
                event = self.events.next(), if more_events => match event {
                    Some(event) => Happened::Backend(event),
                    None => {
                        more_events = false;
                        continue;
                    }
                },
                event = next(&mut statuses) => Happened::Status(event),
                Some(()) = watch_again.next(), if !watch_again.is_empty() => Happened::WatchAgain,
                Some(listed) = listing.next(), if !listing.is_empty() => Happened::Listed(listed),
                () = sleep_until(list_at), if listing.is_empty() => Happened::ListDue,
                () = self.queue.tick() => Happened::Due,
                Ok(slot) = Arc::clone(&self.slots).acquire_owned(), if self.queue.is_ready() && !paused => Happened::Slot(slot),
            };
            match happened {
                Happened::Slot(slot) => self.begin(slot),
                Happened::Due | Happened::Resumed => {}
                Happened::Ended(joined) => self.ended(joined),
                Happened::Order(order) => self.order(order),
                Happened::Revision(event) => self.revision(&event),
                Happened::HandedOn(event) => self.handed_on(&event),
                Happened::Backend(event) => self.backend_event(event),
                Happened::Status(Some(event)) => self.status(event),
                Happened::Status(None) => {
                    tracing::warn!("the backend's watch ended");
                    statuses = None;
                    watch_again.push(sleep(AGAIN).boxed());
                }
                Happened::WatchAgain => statuses = Some(self.watch()),
                Happened::Ownership => self.divide(),
                Happened::ListDue => {
                    self.known.asked();
                    listing.push(self.list());
                }
                Happened::Listed(listed) => self.listed(listed),
            }
        }
    }

    fn stats(&self) -> Stats {
        metrics::reconciler_due(self.queue.ready());
        Stats {
            known: self.known.len(),
            owned: self.known.owned(),
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
        let (gone, again) = self.known.gone(&names);
        if again {
            self.list_at = Instant::now();
        }
        for app in gone {
            self.forget(&app);
        }
        for app in listed {
            let name = app.app_ref();
            let known = self.known.entry(&name);
            let news = known.app.as_ref() != Some(&app);
            known.app = Some(app);
            if news {
                let owned = self.ownership.tenure(&name).is_some();
                self.known.set_owned(&name, owned);
                if owned {
                    self.queue.now(&name);
                }
            }
        }
    }

    /// Looks anew at what is whose.
    fn divide(&mut self) {
        for app in self.known.names() {
            let owned = self.ownership.tenure(&app).is_some();
            let became = self.known.set_owned(&app, owned);
            if let Some(known) = self.known.get_mut(&app).filter(|_| became) {
                // What somebody else did meanwhile is not known.
                known.memory = Memory::default();
                known.failures = 0;
                known.not_before = None;
                self.queue.now(&app);
            }
        }
    }

    pub(super) fn forget(&mut self, app: &AppRef) {
        self.known.remove(app);
        self.queue.forget(app);
        self.looker.states.forget(app);
    }

    fn order(&mut self, order: Order) {
        let Order { app, by, answer } = order;
        let answered = match self.ownership.tenure(&app) {
            Some(_) => {
                let known = self.known.entry(&app);
                known.wanted_by = by.or(known.wanted_by.take());
                self.known.set_owned(&app, true);
                self.queue.now(&app);
                Ok(())
            }
            None => {
                let owner = self.ownership.owner(&app);
                let owner = owner.unwrap_or_else(|| "another replica, or none yet".into());
                Err(Error::conflict(format!(
                    "application {app} is not this replica's: it is owned by {owner}"
                )))
            }
        };
        // Who asked may not wait any more.
        let _ = answer.send(answered);
    }

    fn revision(&mut self, event: &RevisionEvent) {
        let mut of_others = false;
        for (app, known) in self.known.iter() {
            if known.app.as_ref().is_some_and(|app| event.concerns(app)) {
                match known.owned() {
                    true => self.queue.now(app),
                    false => of_others = true,
                }
            }
        }
        if of_others {
            self.ownership.hand_on(event);
        }
    }

    /// Another replica heard of it. What was seen here already, it was told by the way.
    fn handed_on(&mut self, event: &RevisionEvent) {
        for (app, known) in self.known.iter() {
            let old = (event.revision.as_ref()).is_some_and(|new| known.memory.seen.contains(new));
            if known.owned() && !old && known.app.as_ref().is_some_and(|app| event.concerns(app)) {
                self.queue.now(app);
            }
        }
    }

    pub(super) fn backend_event(&mut self, event: SyncEvent) {
        let states = &self.looker.states;
        match &event.kind {
            EventKind::StatusChanged { sync, health } => {
                states.changed(&event.app, *sync, *health, Instant::now());
            }
            EventKind::SyncFinished { outcome } if outcome.is_success() => {
                states.synced(&event.app);
            }
            _ => {}
        }
        let _ = self.looker.events.send(event);
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
        if !self.known.contains(&app) {
            // It is new: the list says what it is made of.
            self.list_at = Instant::now();
        }
        let known = self.known.entry(&app);
        let before = known.seen.replace(now);
        if !known.owned() {
            return;
        }
        // The watch may have left out what came between: a state like its last one can be another than the one that was told.
        let told = self.looker.tell_state(&app, &status, Instant::now());
        // The first one comes with the list. While something runs, its end is what counts.
        let news = told || before.is_some_and(|before| before != now);
        if news && !busy {
            let at = known.not_before.unwrap_or_else(Instant::now);
            self.queue.at(&app, at);
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
