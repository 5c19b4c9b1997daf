//! A message becomes events.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use sha2::{Digest as _, Sha256};

use super::Provider;
use super::message::{Message, malformed};
use super::payload::parse;
use super::provider::Proof;
use super::seen::{Digest, Seen};
use super::service::WebhookService;
use super::stream::WebhookSink;
use crate::error::{Error, Result};
use crate::secret::SecretString;
use crate::source::RevisionEvent;

/// What [`WebhookReceiver::receive`] made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// Sources that moved.
    Events(Vec<RevisionEvent>),
    /// It was verified, and moves no source: a ping, an issue, a pull request.
    Ignored {
        /// The kind of event, as the provider calls it.
        event: String,
    },
    /// The same message was received before.
    Repeated,
}

/// Verifies and reads what one [`Provider`] sends. Clones share what they remember.
#[derive(Clone)]
pub struct WebhookReceiver {
    provider: Provider,
    secrets: Arc<[SecretString]>,
    max_body: usize,
    seen: Arc<Mutex<Seen>>,
}

impl fmt::Debug for WebhookReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookReceiver")
            .field("provider", &self.provider)
            .field("secrets", &self.secrets.len())
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

impl WebhookReceiver {
    /// A receiver of what `provider` sends with one of `secrets`; name the old and the new one while they are rotated.
    ///
    /// # Errors
    /// `InvalidInput` without a secret, or for an empty one: what anybody may send is not received.
    pub fn new(
        provider: Provider,
        secrets: impl IntoIterator<Item = SecretString>,
    ) -> Result<Self> {
        let secrets: Arc<[SecretString]> = secrets.into_iter().collect();
        if secrets.is_empty() || secrets.iter().any(|secret| secret.expose().is_empty()) {
            return Err(Error::invalid(format!(
                "{provider} webhook: a secret is needed"
            )));
        }
        Ok(Self {
            provider,
            secrets,
            max_body: 3 * 1024 * 1024,
            seen: Arc::default(),
        })
    }

    /// Reads bodies of at most so many bytes (3 MiB unless set). GitHub sends up to 25 MB; what is longer than this is refused, and found by a watcher.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The same behind HTTP; events go to `sink`.
    pub fn service(self, sink: WebhookSink) -> WebhookService {
        WebhookService::new(self, sink)
    }

    /// Verifies a message, and reads it. `path` is that of the request's URL, which counts for providers that show their secret there.
    ///
    /// A message that led to [`Received::Events`] or [`Received::Ignored`] is remembered, by its body where that is signed (a header that names a delivery is not). So a
    /// forge that sends the very same body for a later push, as Bitbucket may when a branch goes back and forth, is taken for a repetition. Of the last 10,000
    /// messages each is known; Quay's, which carry nothing that tells two pushes of a tag apart, are not remembered.
    ///
    /// # Errors
    /// `Unauthenticated` without a proof that holds, before anything of the body is read; `InvalidInput` for a body that is too long, of another content type, or not
    /// what the provider sends. No error holds a part of the message or of a secret.
    pub fn receive(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> Result<Received> {
        if body.len() > self.max_body {
            return Err(malformed(self.provider, "the body is too long"));
        }
        if !self.proof(path, headers)?.holds(&self.secrets, body) {
            return Err(self.refused());
        }
        let payload = payload(self.provider, headers, body)?;
        let event = self.provider.event(headers);
        let delivery = self.provider.delivery(headers);
        let received = match parse(self.provider, event, &payload)? {
            Message::Other(event) => Received::Ignored { event },
            Message::Moved(moved) => {
                let events = moved
                    .into_iter()
                    .map(|moved| moved.into_events(self.provider, delivery));
                Received::Events(events.collect::<Result<Vec<_>>>()?.concat())
            }
        };
        let new = self.identity(delivery, body).is_none_or(|digest| {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.is_new(digest)
        });
        Ok(if new { received } else { Received::Repeated })
    }

    pub(super) fn provider(&self) -> Provider {
        self.provider
    }

    pub(super) fn body_limit(&self) -> usize {
        self.max_body
    }

    /// Refuses, before a body is read, who cannot have sent it.
    pub(super) fn check_head(&self, path: &str, headers: &HeaderMap) -> Result<()> {
        match self.proof(path, headers)? {
            Proof::Signature(_) => Ok(()),
            proof if proof.holds(&self.secrets, &[]) => Ok(()),
            Proof::Secret(_) => Err(self.refused()),
        }
    }

    fn proof(&self, path: &str, headers: &HeaderMap) -> Result<Proof> {
        self.provider.proof(path, headers)
    }

    fn refused(&self) -> Error {
        Error::unauthenticated(format!(
            "{} webhook: it was made with none of the secrets",
            self.provider
        ))
    }

    /// What makes two messages the same.
    fn identity(&self, delivery: Option<&str>, body: &[u8]) -> Option<Digest> {
        let mut digest = Sha256::new();
        match self.provider {
            provider if provider.signs_body() => {}
            // Their bodies are equal when the same happens again.
            Provider::Quay => return None,
            Provider::GitLab => {
                digest.update(delivery?);
                digest.update([0]);
            }
            // These carry an id or a time.
            _ => {}
        }
        digest.update(body);
        Some(digest.finalize().into())
    }
}

/// The JSON in the body: the body itself, or the field `payload` of a form, which GitHub and Gitea can send.
fn payload<'a>(provider: Provider, headers: &HeaderMap, body: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return Ok(Cow::Borrowed(body));
    };
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") || kind == "text/json" {
        return Ok(Cow::Borrowed(body));
    }
    let form = kind == "application/x-www-form-urlencoded"
        && matches!(provider, Provider::GitHub | Provider::Gitea);
    if !form {
        return Err(malformed(provider, "let it be sent as application/json"));
    }
    url::form_urlencoded::parse(body)
        .find(|(name, _)| name == "payload")
        .map(|(_, value)| Cow::Owned(value.into_owned().into_bytes()))
        .ok_or_else(|| malformed(provider, "the form has no payload"))
}
