//! From the service to who listens.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec;

use futures::Stream;
use tokio::sync::mpsc;

use crate::source::RevisionEvent;

/// Where [`WebhookService`](super::WebhookService)s put events; clones lead to the same stream.
#[derive(Clone, Debug)]
pub struct WebhookSink {
    /// A message at a time, so that none is taken by halves.
    pub(super) messages: mpsc::Sender<Vec<RevisionEvent>>,
}

/// The events of webhooks. It ends when all services that feed it are gone; while nobody reads it, senders are told to come back.
#[derive(Debug)]
pub struct WebhookEvents {
    messages: mpsc::Receiver<Vec<RevisionEvent>>,
    current: vec::IntoIter<RevisionEvent>,
}

/// A stream of events, and what feeds it. `capacity` (at least 1) is the number of messages that may wait to be read.
pub fn webhook_events(capacity: usize) -> (WebhookSink, WebhookEvents) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let events = WebhookEvents {
        messages: receiver,
        current: Vec::new().into_iter(),
    };
    (WebhookSink { messages: sender }, events)
}

impl Stream for WebhookEvents {
    type Item = RevisionEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.current.next() {
                return Poll::Ready(Some(event));
            }
            match ready!(self.messages.poll_recv(context)) {
                Some(events) => self.current = events.into_iter(),
                None => return Poll::Ready(None),
            }
        }
    }
}
