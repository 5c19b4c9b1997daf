//! Readings that are on their way, so that a change can mark them as too old before they arrive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::application::AppRef;

/// Whether something changed since a reading began. A kept status holds on to the mark of its own reading, so that it counts as absent even
/// when it is stored after the change.
#[derive(Debug, Default)]
pub(super) struct Mark(AtomicBool);

impl Mark {
    pub(super) fn is_overtaken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn overtake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<AppRef, Flight>>);

#[derive(Debug)]
struct Flight {
    mark: Arc<Mark>,
    readers: usize,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<AppRef, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reading of `app` begins; it ends when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, app: &AppRef) -> InFlight {
        let mut flights = self.lock();
        let flight = flights.entry(app.clone()).or_insert_with(|| Flight {
            mark: Arc::default(),
            readers: 0,
        });
        flight.readers += 1;
        InFlight {
            flights: Arc::clone(self),
            app: app.clone(),
            mark: Arc::clone(&flight.mark),
        }
    }

    /// What is being read of `app` is too old.
    pub(super) fn overtake(&self, app: &AppRef) {
        if let Some(flight) = self.lock().remove(app) {
            flight.mark.overtake();
        }
    }

    /// Whatever is being read is too old.
    pub(super) fn overtake_all(&self) {
        for (_, flight) in self.lock().drain() {
            flight.mark.overtake();
        }
    }
}

#[derive(Debug)]
pub(super) struct InFlight {
    flights: Arc<Flights>,
    app: AppRef,
    mark: Arc<Mark>,
}

impl InFlight {
    pub(super) fn mark(&self) -> Arc<Mark> {
        Arc::clone(&self.mark)
    }

    /// Does `work` if nothing has changed; what changes meanwhile waits for it.
    pub(super) fn unless_overtaken(&self, work: impl FnOnce()) {
        let _flights = self.flights.lock();
        if !self.mark.is_overtaken() {
            work();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // After a change the entry, if any, is that of a later reading.
        if let Some(flight) = flights.get_mut(&self.app)
            && Arc::ptr_eq(&flight.mark, &self.mark)
        {
            flight.readers -= 1;
            if flight.readers == 0 {
                flights.remove(&self.app);
            }
        }
    }
}
