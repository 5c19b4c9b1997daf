//! Events on their way to the notifiers, without keeping anybody waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::application::AppRef;
use crate::backend::SyncEvent;
use crate::metrics;
use crate::notify::Notifiers;

/// How many events of one application may wait for one notifier: more than a sync of some thousand resources tells. The oldest goes first.
const WAITING: usize = 4096;

/// Tells `notifiers` of what comes in, until all senders are gone and everything is told. Each has its own pace, so that one that hangs keeps no other from hearing; it is told
/// of the events of one application in order, and of applications beside each other.
pub(super) async fn deliver(notifiers: Notifiers, mut events: mpsc::UnboundedReceiver<SyncEvent>) {
    let (senders, all): (Vec<_>, Vec<_>) = notifiers
        .apart()
        .into_iter()
        .map(|one| {
            let (sender, receiver) = mpsc::unbounded_channel();
            (sender, deliver_to(Arc::new(one), receiver))
        })
        .unzip();
    let hand_out = async move {
        while let Some(event) = events.recv().await {
            let event = Arc::new(event);
            for sender in &senders {
                let _ = sender.send(Arc::clone(&event));
            }
        }
    };
    tokio::join!(hand_out, join_all(all));
}

async fn deliver_to(
    notifiers: Arc<Notifiers>,
    mut events: mpsc::UnboundedReceiver<Arc<SyncEvent>>,
) {
    // An application that is here has a delivery under way.
    let mut waiting: HashMap<AppRef, VecDeque<Arc<SyncEvent>>> = HashMap::new();
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
                            for name in notifiers.names() {
                                metrics::notifier_failed(name);
                            }
                            tracing::warn!(app = %event.app, ?notifiers, "too slow: an event is not told");
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

fn tell(notifiers: &Arc<Notifiers>, event: Arc<SyncEvent>) -> BoxFuture<'static, AppRef> {
    let notifiers = Arc::clone(notifiers);
    Box::pin(async move {
        // What failed, it has logged and counted.
        let _ = notifiers.notify_sync(&event).await;
        event.app.clone()
    })
}
