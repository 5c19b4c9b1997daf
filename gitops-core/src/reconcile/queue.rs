//! Which application is looked at when.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::application::AppRef;

/// Applications, each at most once: ready, busy, or due at some time.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: HashMap<AppRef, Entry>,
    ready: VecDeque<AppRef>,
    timers: DelayQueue<AppRef>,
}

#[derive(Debug, Default)]
struct Entry {
    place: Place,
    /// Something came while it was busy, to be done this soon after.
    again: Option<Instant>,
    /// It was forgotten while it was busy: it goes when it is done, unless something comes before.
    forgotten: bool,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Nowhere,
    Waiting(Key, Instant),
    Ready,
    Busy,
}

impl Queue {
    /// `app` is to be looked at now.
    pub(super) fn now(&mut self, app: &AppRef) {
        self.at(app, Instant::now());
    }

    /// `app` is to be looked at, at this time or earlier.
    pub(super) fn at(&mut self, app: &AppRef, at: Instant) {
        let entry = self.entries.entry(app.clone()).or_default();
        match &entry.place {
            Place::Ready => {}
            Place::Busy => {
                entry.again = Some(entry.again.map_or(at, |again| again.min(at)));
                entry.forgotten = false;
            }
            Place::Waiting(_, due) if *due <= at => {}
            place => {
                if let Place::Waiting(key, _) = place {
                    self.timers.remove(key);
                }
                entry.place = if at <= Instant::now() {
                    self.ready.push_back(app.clone());
                    Place::Ready
                } else {
                    Place::Waiting(self.timers.insert_at(app.clone(), at), at)
                };
            }
        }
    }

    /// Forgets `app` and what came for it. One that is busy stays so until it is [`done`](Self::done), so that it is never busy twice.
    pub(super) fn forget(&mut self, app: &AppRef) {
        let Some(entry) = self.entries.get_mut(app) else {
            return;
        };
        match &entry.place {
            Place::Busy => {
                entry.again = None;
                entry.forgotten = true;
                return;
            }
            Place::Waiting(key, _) => {
                self.timers.remove(key);
            }
            Place::Ready => self.ready.retain(|ready| ready != app),
            Place::Nowhere => {}
        }
        self.entries.remove(app);
    }

    /// Whether one is ready.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many are ready.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The next that is ready; it is busy from now on.
    pub(super) fn pop(&mut self) -> Option<AppRef> {
        let app = self.ready.pop_front()?;
        self.entries.entry(app.clone()).or_default().place = Place::Busy;
        Some(app)
    }

    /// `app` is busy no more, and due again after `pause`, if there is one, or sooner if something came meanwhile. What was forgotten stays so. Says whether it is due again.
    pub(super) fn done(&mut self, app: &AppRef, pause: Option<Duration>) -> bool {
        let Some(entry) = self.entries.get_mut(app) else {
            return false;
        };
        if !matches!(entry.place, Place::Busy) {
            return true;
        }
        let pause = pause.filter(|_| !entry.forgotten);
        let at = pause.map(|pause| Instant::now() + pause);
        let Some(at) = at.into_iter().chain(entry.again.take()).min() else {
            self.entries.remove(app);
            return false;
        };
        entry.place = Place::Nowhere;
        entry.forgotten = false;
        self.at(app, at);
        true
    }

    /// Waits for the next timer, and makes its application ready. Pending when there is none.
    pub(super) async fn tick(&mut self) {
        match self.timers.next().await {
            Some(expired) => {
                let app = expired.into_inner();
                if let Some(entry) = self.entries.get_mut(&app) {
                    entry.place = Place::Ready;
                    self.ready.push_back(app);
                }
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_there_once_at_its_earliest_time() {
        let (a, b) = (AppRef::new("a"), AppRef::new("b"));
        let mut queue = Queue::default();
        let begun = Instant::now();
        queue.at(&a, begun + secs(10));
        queue.at(&a, begun + secs(5));
        queue.at(&a, begun + secs(20));
        queue.at(&b, begun + secs(7));
        queue.tick().await;
        assert_eq!(
            (queue.pop(), begun.elapsed().as_secs()),
            (Some(a.clone()), 5)
        );
        queue.tick().await;
        assert_eq!(queue.pop(), Some(b.clone()));
        // While it is busy nothing makes it ready; what came, comes after.
        queue.now(&a);
        queue.now(&a);
        assert!(!queue.is_ready());
        queue.done(&a, Some(secs(100)));
        assert_eq!((queue.ready(), queue.pop()), (1, Some(a.clone())));
        queue.done(&a, Some(secs(100)));
        assert!(!queue.is_ready());
        queue.now(&a);
        assert_eq!(queue.pop(), Some(a.clone()));
        queue.at(&a, Instant::now() + secs(3));
        queue.done(&a, Some(secs(100)));
        let waits = Instant::now();
        queue.tick().await;
        assert_eq!(waits.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_does_not_come_back() {
        let app = AppRef::new("a");
        for busy in [false, true] {
            let mut queue = Queue::default();
            queue.now(&app);
            if busy {
                assert!(queue.pop().is_some());
            }
            queue.forget(&app);
            queue.done(&app, Some(Duration::ZERO));
            assert!(!queue.is_ready());
        }
        let mut queue = Queue::default();
        queue.at(&app, Instant::now() + secs(1));
        queue.forget(&app);
        assert!(
            tokio::time::timeout(secs(10), queue.tick()).await.is_err(),
            "it came back"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_and_comes_back_while_it_is_busy_is_not_busy_twice() {
        let app = AppRef::new("a");
        let mut queue = Queue::default();
        queue.now(&app);
        assert_eq!(queue.pop(), Some(app.clone()));
        queue.forget(&app);
        queue.now(&app);
        assert_eq!(queue.pop(), None, "it is still busy");
        assert!(queue.done(&app, None));
        assert_eq!(queue.pop(), Some(app.clone()));
        assert!(!queue.done(&app, None));
        assert!(queue.entries.is_empty());
    }
}
