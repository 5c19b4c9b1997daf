//! Steering a reconciler while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, watch};

use crate::application::AppRef;
use crate::error::{Error, Result};

/// How many orders may wait for the loop.
const ORDERS: usize = 1024;

/// What the loop is asked for.
#[derive(Debug)]
pub(super) enum Order {
    /// Look at this application now.
    Look(AppRef),
    /// Somebody wants this application synced now.
    Sync {
        /// Which one.
        app: AppRef,
        /// Who.
        by: String,
    },
}

/// Steers a [`Reconciler`](super::Reconciler), from anywhere; clones steer the same one.
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

    /// Starts no sync until [`resume`](Self::resume); what runs goes on to its end.
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

    /// Looks at `app` now, in its turn, and syncs it if rules and validators let it.
    ///
    /// # Errors
    /// `Unavailable` when the reconciler runs no more.
    pub async fn look_now(&self, app: AppRef) -> Result<()> {
        self.order(Order::Look(app)).await
    }

    /// Asks for a sync of `app` on behalf of the person or program `by`, whom operations and audit log name. The strategy has the last word: its rules see that it is
    /// [`manual`](crate::rule::SyncContext::manual), which maintenance windows and [`AutomatedPolicy`](crate::rule::AutomatedPolicy) know how to take.
    ///
    /// # Errors
    /// `Unavailable` when the reconciler runs no more.
    pub async fn sync_now(&self, app: AppRef, by: impl Into<String>) -> Result<()> {
        let by = by.into();
        self.order(Order::Sync { app, by }).await
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

    async fn order(&self, order: Order) -> Result<()> {
        self.orders
            .send(order)
            .await
            .map_err(|_| Error::unavailable("the reconciler runs no more").with_retryable(false))
    }
}
