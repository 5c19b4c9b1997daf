//! One semaphore per key, for as long as somebody uses the key.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(super) struct Keyed<K: Eq + Hash> {
    limit: usize,
    slots: Mutex<HashMap<Arc<K>, Slot>>,
}

#[derive(Debug)]
struct Slot {
    semaphore: Arc<Semaphore>,
    users: usize,
}

impl<K: Eq + Hash + Clone> Keyed<K> {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.clamp(1, Semaphore::MAX_PERMITS),
            slots: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<K>, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many keys are in use.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Holds on to the semaphore of `key`.
    pub(super) fn enter(self: &Arc<Self>, key: &K) -> Entered<K> {
        let mut slots = self.lock();
        let (key, semaphore) = match slots.get_key_value(key) {
            Some((held, slot)) => (Arc::clone(held), Arc::clone(&slot.semaphore)),
            None => (Arc::new(key.clone()), Arc::new(Semaphore::new(self.limit))),
        };
        slots
            .entry(Arc::clone(&key))
            .or_insert_with(|| Slot {
                semaphore: Arc::clone(&semaphore),
                users: 0,
            })
            .users += 1;
        Entered {
            all: Arc::clone(self),
            key,
            semaphore,
        }
    }
}

/// Uses a key; dropping it lets the semaphore go when nobody else does.
#[derive(Debug)]
pub(super) struct Entered<K: Eq + Hash> {
    all: Arc<Keyed<K>>,
    key: Arc<K>,
    semaphore: Arc<Semaphore>,
}

impl<K: Eq + Hash> Entered<K> {
    pub(super) fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }
}

impl<K: Eq + Hash> Drop for Entered<K> {
    fn drop(&mut self) {
        let mut slots = self
            .all
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key: &K = self.key.borrow();
        if let Some(slot) = slots.get_mut(key) {
            slot.users -= 1;
            if slot.users == 0 {
                slots.remove(key);
            }
        }
    }
}

/// A permit of one key. The permit goes back before the key is let go.
#[derive(Debug)]
pub(super) struct KeyedPermit<K: Eq + Hash> {
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) _entered: Entered<K>,
}
