//! Webhooks over HTTP.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_service::Service;

use super::receiver::{Received, WebhookReceiver};
use super::stream::WebhookSink;
use crate::error::ErrorKind;
use crate::metrics;

/// So many bodies of full length are held at once.
const AT_ONCE: usize = 16;
/// A body must have come within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// When to come back, in seconds.
const COME_BACK: HeaderValue = HeaderValue::from_static("10");

/// A [`WebhookReceiver`] behind HTTP: a [`Service`] that never fails, and always is ready. Clones share everything.
///
/// | answer | when |
/// | --- | --- |
/// | 202 | the events are on their way |
/// | 200 | verified, and there is nothing to do: another kind of event, or a repetition |
/// | 400 | verified, but not what the provider sends |
/// | 401 | no proof, or one that does not hold |
/// | 405 | not a `POST` |
/// | 408 | the body did not come within 10 s |
/// | 413 | the body is longer than [`max_body`](WebhookReceiver::max_body) |
/// | 503, with `Retry-After` | nobody reads the events, or too much comes at once |
///
/// Dropping a response's future leaves nothing behind, or the message is received as a whole.
#[derive(Clone)]
pub struct WebhookService {
    shared: Arc<Shared>,
}

struct Shared {
    receiver: WebhookReceiver,
    sink: WebhookSink,
    /// Counts the bytes of bodies that may still be held: who only keeps a connection open takes nobody's place.
    room: Arc<Semaphore>,
}

impl fmt::Debug for WebhookService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookService")
            .field("receiver", &self.shared.receiver)
            .finish_non_exhaustive()
    }
}

/// What becomes of a request; its name is what metrics and logs call it.
enum Outcome {
    Accepted,
    Ignored,
    Repeated,
    Invalid(String),
    Unauthenticated,
    NotAPost,
    TooSlow,
    TooLarge,
    Busy,
    Broken,
}

impl WebhookService {
    pub(super) fn new(receiver: WebhookReceiver, sink: WebhookSink) -> Self {
        let room = AT_ONCE.saturating_mul(receiver.body_limit());
        Self {
            shared: Arc::new(Shared {
                receiver,
                sink,
                room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            }),
        }
    }
}

impl<B> Service<Request<B>> for WebhookService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        async move {
            let provider = shared.receiver.provider();
            let delivery = provider.delivery(request.headers()).map(ToOwned::to_owned);
            let outcome = answer(shared, request).await;
            metrics::webhook(provider.as_str(), outcome.name());
            let reason = outcome.text();
            let result = outcome.name();
            tracing::info!(
                provider = provider.as_str(),
                delivery,
                result,
                reason,
                "webhook"
            );
            Ok(outcome.response())
        }
        .boxed()
    }
}

async fn answer<B>(shared: Arc<Shared>, request: Request<B>) -> Outcome
where
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Outcome::NotAPost;
    }
    let limit = shared.receiver.body_limit();
    let announced = head.headers.get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Outcome::TooLarge;
    }
    if (shared.receiver.check_head(head.uri.path(), &head.headers)).is_err() {
        return Outcome::Unauthenticated;
    }
    let (body, room) = match timeout(PATIENCE, read(body, limit, &shared.room)).await {
        Ok(Ok(read)) => read,
        Ok(Err(outcome)) => return outcome,
        Err(_) => return Outcome::TooSlow,
    };
    // Hashing and reading megabytes would keep others from their turn.
    let received = tokio::task::spawn_blocking(move || {
        let outcome = take(&shared, &head, &body);
        // Until then the body was held.
        drop((body, room));
        outcome
    });
    received.await.unwrap_or(Outcome::Broken)
}

/// The body, and the room that it takes.
async fn read<B>(
    body: B,
    limit: usize,
    room: &Arc<Semaphore>,
) -> Result<(BytesMut, Option<OwnedSemaphorePermit>), Outcome>
where
    B: Body + Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut body = pin!(Limited::new(body, limit));
    let mut bytes = BytesMut::new();
    let mut held: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
            true => Outcome::TooLarge,
            false => Outcome::Invalid("the body was cut off".into()),
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let more = u32::try_from(data.remaining()).map_err(|_| Outcome::TooLarge)?;
        let more = Arc::clone(room)
            .try_acquire_many_owned(more)
            .map_err(|_| Outcome::Busy)?;
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        bytes.put(data);
    }
    Ok((bytes, held))
}

/// There is a place for the message before it is remembered: one that must come back is not a repetition.
fn take(shared: &Shared, head: &http::request::Parts, body: &[u8]) -> Outcome {
    let place = match shared.sink.messages.try_reserve() {
        Ok(place) => place,
        Err(TrySendError::Full(()) | TrySendError::Closed(())) => return Outcome::Busy,
    };
    match shared
        .receiver
        .receive(head.uri.path(), &head.headers, body)
    {
        Ok(Received::Events(events)) => {
            place.send(events);
            Outcome::Accepted
        }
        Ok(Received::Ignored { .. }) => Outcome::Ignored,
        Ok(Received::Repeated) => Outcome::Repeated,
        Err(error) if error.kind() == ErrorKind::Unauthenticated => Outcome::Unauthenticated,
        Err(error) => Outcome::Invalid(error.to_string()),
    }
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ignored => "ignored",
            Self::Repeated => "repeated",
            Self::Invalid(_) => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::NotAPost => "not_a_post",
            Self::TooSlow => "too_slow",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Broken => "broken",
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Accepted => "accepted",
            Self::Ignored => "nothing to do",
            Self::Repeated => "received before",
            Self::Invalid(why) => why,
            Self::Unauthenticated => "not authenticated",
            Self::NotAPost => "send a POST",
            Self::TooSlow => "the body took too long",
            Self::TooLarge => "the body is too long",
            Self::Busy => "come back later",
            Self::Broken => "internal error",
        }
    }

    fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(format!("{}\n", self.text())));
        *response.status_mut() = match self {
            Self::Accepted => StatusCode::ACCEPTED,
            Self::Ignored | Self::Repeated => StatusCode::OK,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NotAPost => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        match self {
            Self::NotAPost => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Busy => {
                headers.insert(RETRY_AFTER, COME_BACK);
            }
            _ => {}
        }
        response
    }
}
