//! Notifiers that speak HTTP.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

use super::Notifier;
use crate::backend::{Severity, SyncEvent};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::digest::value_digest;
use crate::secret::SecretString;

/// A message that is older or newer than this is a replay.
const TOLERANCE: Duration = Duration::from_secs(300);

/// How to speak to a receiver.
#[derive(Clone, Default)]
pub struct HttpOptions {
    /// More headers, such as `Authorization`. Their values are secret.
    pub headers: Vec<(String, SecretString)>,
    /// A CA in PEM that is trusted besides the system's.
    pub ca_pem: Option<String>,
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("HttpOptions")
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// One receiver.
#[derive(Clone)]
pub(super) struct Receiver {
    client: reqwest::Client,
    url: Url,
    headers: HeaderMap,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever knows the path of an incoming webhook may post to it.
        f.debug_struct("Receiver")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

impl Receiver {
    pub(super) fn new(url: &str, options: &HttpOptions) -> Result<Self> {
        let bad = |what: String| Error::invalid(what);
        // The whole URL may be the secret.
        let url = Url::parse(url)
            .map_err(|error| bad("the receiver's URL is none".into()).with_source(error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("the receiver's URL is no HTTP URL".into()));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|error| bad(format!("{name:?} is no header")).with_source(error))?;
            let mut value = HeaderValue::try_from(value.expose())
                .map_err(|_| bad(format!("the value of header {name} cannot be sent")))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Somebody else may have been faster; theirs is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut client = reqwest::Client::builder()
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("gitops-rs/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &options.ca_pem {
            let cas = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
                .map_err(|error| bad("the CA is no PEM".into()).with_source(error))?;
            if cas.is_empty() {
                return Err(bad("there is no certificate in the CA's PEM".into()));
            }
            for ca in cas {
                client = client.add_root_certificate(ca);
            }
        }
        let client = client
            .build()
            .map_err(|error| bad("no HTTP client can be made".into()).with_source(error))?;
        Ok(Self {
            client,
            url,
            headers,
        })
    }

    pub(super) async fn post(
        &self,
        content_type: &'static str,
        more: HeaderMap,
        body: Vec<u8>,
    ) -> Result<()> {
        let answer = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, content_type)
            .headers(more)
            .body(body)
            .send()
            .await
            .map_err(|error| {
                // The URL may be the secret.
                let kind = if error.is_timeout() {
                    ErrorKind::Timeout
                } else {
                    ErrorKind::Unavailable
                };
                Error::new(kind, format!("{} cannot be reached", self.host()))
                    .with_source(error.without_url())
            })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let kind = match status.as_u16() {
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::PermissionDenied,
            404 | 410 => ErrorKind::NotFound,
            408 => ErrorKind::Timeout,
            429 => ErrorKind::RateLimited,
            500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Failed,
        };
        let error = Error::new(kind, format!("{} answered {status}", self.host()));
        let after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|after| read_retry_after(after.to_str().ok()?, Timestamp::now()));
        Err(match after {
            Some(after) => error.with_retry_after(after),
            None => error,
        })
    }

    /// The same server, at a path below this URL; each part is escaped as a whole.
    pub(super) fn below(&self, parts: &[String]) -> Result<Self> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| Error::invalid("the URL cannot have a path"))?
            .pop_if_empty()
            .extend(parts);
        Ok(Self {
            url,
            ..self.clone()
        })
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3); one that is over is now.
fn read_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

pub(super) fn json_of(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal("an event cannot be written").with_source(error))
}

/// A name of the event, the same for every delivery of it.
fn id_of(event: &SyncEvent) -> String {
    value_digest(&json!([event.app, event.operation, event.at, event.kind]))
        .replace(['+', '/'], "-")
}

fn signature(key: &SecretString, id: &str, timestamp: i64, body: &[u8]) -> Result<Hmac<Sha256>> {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes())
        .map_err(|error| Error::invalid("the signing key cannot be used").with_source(error))?;
    Ok(mac
        .chain_update(format!("{id}.{timestamp}."))
        .chain_update(body))
}

/// Posts each event as JSON, signed as [Standard Webhooks](https://www.standardwebhooks.com) 1.0 says: `webhook-id` names the event (the same for every
/// delivery of it), `webhook-timestamp` is the time of the delivery in seconds, and `webhook-signature` is `v1,` and the Base64 of the HMAC-SHA-256 of
/// `id.timestamp.body`. Receivers check it with [`verify_webhook`] or any library for that standard. Redirects are not followed.
#[derive(Clone, Debug)]
pub struct WebhookNotifier {
    receiver: Receiver,
    key: SecretString,
}

impl WebhookNotifier {
    /// A notifier that posts to `url` and signs with `key`.
    ///
    /// # Errors
    /// `InvalidInput` for a URL, a header or a CA that cannot be used, and for an empty key.
    pub fn new(url: &str, key: impl Into<SecretString>, options: &HttpOptions) -> Result<Self> {
        let key = key.into();
        if key.is_empty() {
            return Err(Error::invalid("the signing key is empty"));
        }
        Ok(Self {
            receiver: Receiver::new(url, options)?,
            key,
        })
    }
}

#[async_trait]
impl Notifier for WebhookNotifier {
    fn name(&self) -> &str {
        "webhook"
    }

    async fn notify(&self, event: &SyncEvent) -> Result<()> {
        let body = json_of(event)?;
        let (id, timestamp) = (id_of(event), Timestamp::now().as_second());
        let mac = signature(&self.key, &id, timestamp, &body)?.finalize();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.to_string()),
            (
                "webhook-signature",
                format!("v1,{}", STANDARD.encode(mac.into_bytes())),
            ),
        ] {
            let value = HeaderValue::try_from(value)
                .map_err(|error| Error::internal("a header cannot be sent").with_source(error))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        self.receiver.post("application/json", headers, body).await
    }
}

/// Checks what a [`WebhookNotifier`] sent, in constant time: the values of `webhook-id`, `webhook-timestamp` and `webhook-signature`, and the body as it came. A
/// receiver that must not act twice remembers the id.
///
/// # Errors
/// `Unauthenticated` for a signature that is not of this key, body and time, and for a time more than five minutes away from `now`.
pub fn verify_webhook(
    key: &SecretString,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<()> {
    let refused = |why: &str| Err(Error::unauthenticated(format!("webhook: {why}")));
    let Ok(sent) = timestamp.parse::<i64>() else {
        return refused("its time cannot be read");
    };
    if now.as_second().abs_diff(sent) > TOLERANCE.as_secs() {
        return refused("its time is too far from now: it may be a replay");
    }
    for one in signatures.split(' ') {
        let Some(Ok(found)) = one.strip_prefix("v1,").map(|text| STANDARD.decode(text)) else {
            continue;
        };
        if signature(key, id, sent, body)?.verify_slice(&found).is_ok() {
            return Ok(());
        }
    }
    refused("its signature is not of this key and content")
}

/// Posts each event to an incoming webhook of Slack, or of what takes the same form (Mattermost, Rocket.Chat).
#[derive(Clone, Debug)]
pub struct SlackNotifier {
    receiver: Receiver,
}

impl SlackNotifier {
    /// A notifier that posts to the incoming webhook `url`, which is a secret.
    ///
    /// # Errors
    /// `InvalidInput` for a URL, a header or a CA that cannot be used.
    pub fn new(url: &SecretString, options: &HttpOptions) -> Result<Self> {
        let receiver = Receiver::new(url.expose(), options);
        Ok(Self {
            // Not even without its password shall it be shown.
            receiver: receiver.map_err(|_| {
                Error::invalid(
                    "the incoming webhook is no HTTP URL, or a header or CA cannot be used",
                )
            })?,
        })
    }
}

#[async_trait]
impl Notifier for SlackNotifier {
    fn name(&self) -> &str {
        "slack"
    }

    async fn notify(&self, event: &SyncEvent) -> Result<()> {
        let (sign, color) = match event.severity {
            Severity::Info => (":white_check_mark:", "good"),
            Severity::Warning => (":warning:", "warning"),
            Severity::Error => (":x:", "danger"),
        };
        let text = format!(
            "{sign} *{}*: {}",
            escape(&event.app.to_string()),
            escape(&event.kind.text())
        );
        let mut fields = vec![json!({"title": "Event", "value": event.kind.name(), "short": true})];
        if !event.operation.is_empty() {
            fields.push(
                json!({"title": "Operation", "value": escape(&event.operation), "short": true}),
            );
        }
        let body = json!({
            "text": text,
            "attachments": [{"color": color, "fields": fields, "ts": event.at.as_second()}],
        });
        self.receiver
            .post("application/json", HeaderMap::new(), json_of(&body)?)
            .await
    }
}

/// The three characters that Slack reads as its own (`Formatting text for app surfaces`): unescaped, a message could mention everybody.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Posts each event as a CloudEvent 1.0, structured mode (`application/cloudevents+json`): `id` the same for every delivery, `type`
/// `dev.gitops-rs.sync.KIND`, `subject` the application, `data` the event.
#[derive(Clone, Debug)]
pub struct CloudEventsNotifier {
    receiver: Receiver,
    source: String,
}

impl CloudEventsNotifier {
    /// A notifier that posts to `url`; `source` is a URI reference that names this program to the receiver.
    ///
    /// # Errors
    /// `InvalidInput` for a URL, a header or a CA that cannot be used, and for an empty source.
    pub fn new(url: &str, source: impl Into<String>, options: &HttpOptions) -> Result<Self> {
        let source = source.into();
        if source.is_empty() {
            return Err(Error::invalid("a CloudEvent needs a source"));
        }
        Ok(Self {
            receiver: Receiver::new(url, options)?,
            source,
        })
    }

    fn event(&self, event: &SyncEvent) -> Value {
        json!({
            "specversion": "1.0",
            "id": id_of(event),
            "source": self.source,
            "type": format!("dev.gitops-rs.sync.{}", event.kind.name()),
            "subject": event.app.to_string(),
            "time": event.at.to_string(),
            "datacontenttype": "application/json",
            "data": event,
        })
    }
}

#[async_trait]
impl Notifier for CloudEventsNotifier {
    fn name(&self) -> &str {
        "cloudevents"
    }

    async fn notify(&self, event: &SyncEvent) -> Result<()> {
        let body = json_of(&self.event(event))?;
        self.receiver
            .post("application/cloudevents+json", HeaderMap::new(), body)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_come_back_is_a_number_or_a_date() {
        let now: Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
        for (text, seconds) in [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 07:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let read = read_retry_after(text, now);
            assert_eq!(read, seconds.map(Duration::from_secs), "{text}");
        }
    }
}
