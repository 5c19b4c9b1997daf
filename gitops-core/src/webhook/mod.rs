//! Webhooks in: push events of forges and registries, verified and read into [`RevisionEvent`]s (feature `webhook`).
//!
//! A [`WebhookReceiver`] takes what one [`Provider`] sends. [`receive`](WebhookReceiver::receive) is the whole of it without a network: who sent it is checked in constant
//! time before the body is read as JSON, and what was received before is not told again. [`service`](WebhookReceiver::service) makes a [`tower_service::Service`] of it
//! that mounts in axum, hyper or tonic, and hands the events to a [`WebhookEvents`] stream:
//!
//! ```
//! use futures::StreamExt;
//! use gitops_core::SecretString;
//! use gitops_core::webhook::{Provider, WebhookReceiver, webhook_events};
//!
//! # async fn example() -> gitops_core::Result<()> {
//! let (sink, mut events) = webhook_events(256);
//! let secret = SecretString::from("of 32 or more random characters");
//! let gitea = WebhookReceiver::new(Provider::Gitea, [secret])?.service(sink);
//! let app: axum::Router = axum::Router::new().route_service("/webhooks/gitea", gitea);
//! // axum::serve(listener, app) …
//! while let Some(event) = events.next().await {
//!     println!("{:?} of {:?} moved", event.reference, event.urls);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! An event is a hint to look, never an order to deploy: who acts on it asks the repository itself. Webhooks get lost; a watcher beside them (`GitWatcher` of
//! gitops-git) finds what they missed.
//!
//! # What it was tested with
//! A real Gitea sends to it in the end-to-end tests. For the other providers no message was recorded: the tests write the payloads and headers in the forms that the providers' documentation gives.
//!
//! # Limits
//! A body is read up to [`max_body`](WebhookReceiver::max_body) (3 MiB unless set, as Flux's notification-controller does), whatever its `Content-Length` says, within 10 s;
//! no more is held at once than 16 bodies of that length take, and for who sends slowly no more than has come. What carries no proof of its sender is refused before its body is read.

mod message;
mod payload;
mod provider;
mod receiver;
mod seen;
mod service;
mod stream;

#[cfg(doc)]
use crate::source::RevisionEvent;

pub use self::provider::Provider;
pub use self::receiver::{Received, WebhookReceiver};
pub use self::service::WebhookService;
pub use self::stream::{WebhookEvents, WebhookSink, webhook_events};
