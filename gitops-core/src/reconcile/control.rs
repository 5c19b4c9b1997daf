//! Steering a reconciler while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use crate::application::AppRef;
use crate::error::{Error, Result};

/// How many orders may wait for the loop.
const ORDERS: usize = 1024;

/// What the loop is asked for: to look at an application now.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) app: AppRef,
    /// Who wants it synced, if somebody does.
    pub(super) by: Option<String>,
    /// Whether it is taken.
    pub(super) answer: oneshot::Sender<Result<()>>,
}

/// Steers a [`Reconciler`](super::Reconciler), from anywhere; clones steer the same one. It steers this replica alone: others that share the work with it go on.
#[derive(Clone, Debug)]
pub struct Control {
    orders: mpsc::Sender<Order>,
    paused: watch::Sender<bool>,
    counts: Arc<Counts>,
}

/// The loop's side.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) paused: watch::Receiver<bool>,
    pub(super) counts: Arc<Counts>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    known: AtomicUsize,
    owned: AtomicUsize,
    due: AtomicUsize,
    looking: AtomicUsize,
}

impl Counts {
    pub(super) fn set(&self, stats: Stats) {
        self.known.store(stats.known, Ordering::Relaxed);
        self.owned.store(stats.owned, Ordering::Relaxed);
        self.due.store(stats.due, Ordering::Relaxed);
        self.looking.store(stats.looking, Ordering::Relaxed);
    }
}

/// What a reconciler has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Applications that it knows of.
    pub known: usize,
    /// Those of them that are this replica's.
    pub owned: usize,
    /// Those that are due and wait for their turn.
    pub due: usize,
    /// Those that are being looked at or synced.
    pub looking: usize,
}

impl Control {
    pub(super) fn new() -> (Self, Orders) {
        let (orders, receiver) = mpsc::channel(ORDERS);
        let (paused, pause) = watch::channel(false);
        let counts = Arc::default();
        let control = Self {
            orders,
            paused,
            counts: Arc::clone(&counts),
        };
        let orders = Orders {
            orders: receiver,
            paused: pause,
            counts,
        };
        (control, orders)
    }

    /// Starts no sync until [`resume`](Self::resume); what runs goes on to its end. It is this process that pauses, and only until it ends: it keeps the applications that it
    /// owns, so nobody syncs them meanwhile, and other replicas go on with theirs. To pause one application everywhere, suspend it in the store.
    pub fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Goes on; what was due meanwhile is looked at now.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Looks at `app` now, in its turn, and syncs it if rules and validators let it. Returns when the loop has taken it up, or refused it; before it runs it waits.
    ///
    /// # Errors
    /// `Conflict` when another replica owns `app`, with its name where that is known: ask that one. `Unavailable` when the reconciler runs no more.
    pub async fn look_now(&self, app: AppRef) -> Result<()> {
        self.order(app, None).await
    }

    /// Asks for a sync of `app` on behalf of the person or program `by`, whom operations and audit log name. The strategy has the last word: its rules see that it is
    /// [`manual`](crate::rule::SyncContext::manual), which maintenance windows and [`AutomatedPolicy`](crate::rule::AutomatedPolicy) know how to take. While `app` cannot be looked at
    /// the request stays; what is decided about it is told to the notifiers. Returns when the loop has taken it up, or refused it; before it runs it waits.
    ///
    /// # Errors
    /// As [`look_now`](Self::look_now).
    pub async fn sync_now(&self, app: AppRef, by: impl Into<String>) -> Result<()> {
        self.order(app, Some(by.into())).await
    }

    /// What it has to do.
    pub fn stats(&self) -> Stats {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        Stats {
            known: read(&self.counts.known),
            owned: read(&self.counts.owned),
            due: read(&self.counts.due),
            looking: read(&self.counts.looking),
        }
    }

    async fn order(&self, app: AppRef, by: Option<String>) -> Result<()> {
        let gone = || Error::unavailable("the reconciler runs no more").with_retryable(false);
        let (answer, answered) = oneshot::channel();
        let order = Order { app, by, answer };
        self.orders.send(order).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
