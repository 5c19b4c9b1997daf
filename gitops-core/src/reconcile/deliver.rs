//! Events on their way to the notifiers, without keeping anybody waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::application::AppRef;
use crate::backend::SyncEvent;
use crate::notify::Notifiers;

/// How many events of one application may wait; the oldest goes first.
const WAITING: usize = 256;

/// Tells `notifiers` of what comes in, until all senders are gone and everything is told: the events of one application in order, applications
/// beside each other.
pub(super) async fn deliver(
    notifiers: Arc<Notifiers>,
    mut events: mpsc::UnboundedReceiver<SyncEvent>,
) {
    // An application that is here has a delivery under way.
    let mut waiting: HashMap<AppRef, VecDeque<SyncEvent>> = HashMap::new();
    let mut under_way: FuturesUnordered<BoxFuture<'static, AppRef>> = FuturesUnordered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            event = events.recv(), if open => match event {
                None => open = false,
                Some(event) => match waiting.get_mut(&event.app) {
                    Some(queue) => {
                        if queue.len() >= WAITING {
                            queue.pop_front();
                            tracing::warn!(app = %event.app, "notifiers are too slow: an event is not told");
                        }
                        queue.push_back(event);
                    }
                    None => {
                        waiting.insert(event.app.clone(), VecDeque::new());
                        under_way.push(tell(&notifiers, event));
                    }
                },
            },
            Some(app) = under_way.next() => match waiting.get_mut(&app).and_then(VecDeque::pop_front) {
                Some(event) => under_way.push(tell(&notifiers, event)),
                None => {
                    waiting.remove(&app);
                }
            },
        }
    }
}

fn tell(notifiers: &Arc<Notifiers>, event: SyncEvent) -> BoxFuture<'static, AppRef> {
    let notifiers = Arc::clone(notifiers);
    Box::pin(async move {
        // What failed, it has logged and counted.
        let _ = notifiers.notify_sync(&event).await;
        event.app
    })
}
