//! Events for listeners in this process.

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::Notifier;
use crate::backend::SyncEvent;
use crate::error::Result;

/// Gives each event to every subscriber. Without any, events go nowhere, which is no error. A subscriber that lags behind loses the oldest and is told how
/// many ([`broadcast::error::RecvError::Lagged`]): one slow listener stops nobody.
#[derive(Clone, Debug)]
pub struct BroadcastNotifier {
    sender: broadcast::Sender<SyncEvent>,
}

impl BroadcastNotifier {
    /// Keeps up to `capacity` events for the slowest subscriber (at least one; rounded up to a power of two).
    pub fn new(capacity: usize) -> Self {
        // More than this the channel does not take.
        let capacity = capacity.clamp(1, 1 << 24);
        Self {
            sender: broadcast::channel(capacity).0,
        }
    }

    /// All events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<SyncEvent> {
        self.sender.subscribe()
    }
}

#[async_trait]
impl Notifier for BroadcastNotifier {
    fn name(&self) -> &str {
        "broadcast"
    }

    async fn notify(&self, event: &SyncEvent) -> Result<()> {
        let _ = self.sender.send(event.clone());
        Ok(())
    }
}
