//! Hooks of notification-controller's Receivers: where they are, and how they are called.
//!
//! flux 2.7 has no command that calls a hook (`flux reconcile receiver` only has the Receiver's own status made anew, which the manager's reconcile does); a program that
//! wants sources reconciled at once, without rights in the cluster, posts to the hook. The path is that of notification-controller's API 1.7
//! (`Receiver.GetWebhookPath`), the signatures those of its receiver types.

use std::fmt;
use std::time::Duration;

use gitops_core::secret::SecretString;
use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::{Cluster, ObjectKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256, Sha512};

use crate::kind::FluxKind;
use crate::manager::FluxManager;
use crate::view;

/// How much of an answer is read.
const ANSWER: usize = 4096;
/// How many characters of it a message has.
const SAID: usize = 200;

/// The path of a Receiver's hook: `/hook/` and the SHA-256 of token, name and namespace, as `status.webhookPath` says it.
pub fn hook_path(token: &SecretString, name: &str, namespace: &str) -> String {
    let digest = Sha256::new()
        .chain_update(token.expose())
        .chain_update(name)
        .chain_update(namespace)
        .finalize();
    format!("/hook/{}", hex::encode(digest))
}

/// The path that notification-controller gave a Receiver (`status.webhookPath`).
///
/// # Errors
/// `NotFound` when there is no such Receiver; `Unavailable` when the controller has not given it a path yet.
pub async fn hook_of(cluster: &dyn Cluster, namespace: &str, name: &str) -> Result<String> {
    let id = FluxKind::Receiver.object_id(namespace, name);
    let kind = view::served(FluxKind::Receiver);
    let key = ObjectKey {
        kind: &kind,
        namespace,
        name,
    };
    let receiver = cluster
        .get(key)
        .await
        .map_err(|error| error.context(format!("get {id}")))?
        .ok_or_else(|| Error::not_found(format!("{id} does not exist")))?;
    view::text(&receiver, &["status", "webhookPath"])
        .map(str::to_owned)
        .ok_or_else(|| Error::unavailable(format!("{id} has no path yet")))
}

impl FluxManager {
    /// The path of a Receiver's hook: [`hook_of`].
    ///
    /// # Errors
    /// As there.
    pub async fn hook_of(&self, namespace: &str, name: &str) -> Result<String> {
        hook_of(self.cluster(), self.namespace_or_own(namespace), name).await
    }
}

/// How a call proves that it knows the Receiver's token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proof {
    /// Type `generic`: the path itself, which nobody knows without the token.
    #[default]
    Path,
    /// Type `generic-hmac`: `X-Signature: sha256=…`.
    HmacSha256,
    /// Type `generic-hmac` with SHA-512: `X-Signature: sha512=…`.
    HmacSha512,
    /// Type `github`: `X-Hub-Signature-256: sha256=…`.
    GitHub,
    /// Type `gitlab`: the token itself in `X-Gitlab-Token`.
    GitLab,
}

impl Proof {
    fn header(self, token: &SecretString, body: &[u8]) -> Option<(&'static str, String)> {
        // HMAC takes keys of any length: neither can fail.
        let sha256 = || {
            let mac = Hmac::<Sha256>::new_from_slice(token.expose().as_bytes()).ok()?;
            let code = mac.chain_update(body).finalize().into_bytes();
            Some(format!("sha256={}", hex::encode(code)))
        };
        let sha512 = || {
            let mac = Hmac::<Sha512>::new_from_slice(token.expose().as_bytes()).ok()?;
            let code = mac.chain_update(body).finalize().into_bytes();
            Some(format!("sha512={}", hex::encode(code)))
        };
        match self {
            Self::Path => None,
            Self::HmacSha256 => Some(("x-signature", sha256()?)),
            Self::HmacSha512 => Some(("x-signature", sha512()?)),
            Self::GitHub => Some(("x-hub-signature-256", sha256()?)),
            Self::GitLab => Some(("x-gitlab-token", token.expose().to_owned())),
        }
    }
}

/// A call of a hook.
#[derive(Clone)]
pub struct Hook {
    /// Where notification-controller's receiver is reached: `https://flux.example.com`, without the hook's path.
    pub base: url::Url,
    /// The Receiver's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The token in its Secret.
    pub token: SecretString,
    /// How the call proves that it knows the token.
    pub proof: Proof,
    /// The event, for types that tell events apart: `push` (GitHub, sent as `X-GitHub-Event`), `Push Hook` (GitLab, as `X-Gitlab-Event`).
    pub event: Option<String>,
    /// The body, which Flux hands on to nobody; JSON.
    pub body: Vec<u8>,
    /// How long the call may take.
    pub timeout: Duration,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("host", &self.base.host_str())
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("proof", &self.proof)
            .field("event", &self.event)
            .finish_non_exhaustive()
    }
}

impl Hook {
    /// A call of a Receiver of type `generic`, of at most 30 seconds.
    ///
    /// # Errors
    /// `InvalidInput` for a base that is no URL over HTTP.
    pub fn new(
        base: &str,
        namespace: impl Into<String>,
        name: impl Into<String>,
        token: impl Into<SecretString>,
    ) -> Result<Self> {
        let base = url::Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            // The text may hold a password, so it is not quoted.
            .ok_or_else(|| Error::invalid("the receiver's address is no URL over HTTP"))?;
        Ok(Self {
            base,
            name: name.into(),
            namespace: namespace.into(),
            token: token.into(),
            proof: Proof::default(),
            event: None,
            body: b"{}".to_vec(),
            timeout: Duration::from_secs(30),
        })
    }

    /// With another proof.
    #[must_use]
    pub fn proof(mut self, proof: Proof) -> Self {
        self.proof = proof;
        self
    }

    /// With an event.
    #[must_use]
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Calls the hook: notification-controller asks for a reconcile of all that the Receiver names. An answer says that it was asked, not that anything is reconciled.
    ///
    /// `client` decides on proxies, certificates and addresses; redirects should be off in it: they would carry the token's hash elsewhere. Nothing is tried again. Dropping the future
    /// leaves open whether the hook was called.
    ///
    /// # Errors
    /// `InvalidInput` for an empty token; `NotFound` for a hook that does not exist, which a wrong token is too; `PermissionDenied` or `Unauthenticated` as the server
    /// says; `InvalidInput` for a signature or event that the Receiver refuses; `RateLimited`, `Unavailable`, `Timeout`. No message holds the hook's address.
    pub async fn trigger(&self, client: &reqwest::Client) -> Result<()> {
        let receiver = format!("receiver {}/{}", self.namespace, self.name);
        if self.token.is_empty() {
            return Err(Error::invalid("the token is empty").context(receiver));
        }
        let path = hook_path(&self.token, &self.name, &self.namespace);
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let answer = client
            .post(url)
            .headers(self.headers()?)
            .timeout(self.timeout)
            .body(self.body.clone())
            .send()
            .await
            .map_err(|error| from_reqwest(error).context(receiver.clone()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let kind = match status.as_u16() {
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::PermissionDenied,
            404 | 410 => ErrorKind::NotFound,
            408 | 504 => ErrorKind::Timeout,
            429 => ErrorKind::RateLimited,
            400..=499 => ErrorKind::InvalidInput,
            500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Failed,
        };
        let said = said(answer, &self.secrets(&path)).await;
        Err(Error::new(kind, format!("{status}: {said}")).context(receiver))
    }

    /// What an answer may quote and nobody is to read: the path's digest, the signature, and the token, also as a URL would have it.
    fn secrets(&self, path: &str) -> Vec<String> {
        let token = self.token.expose();
        let mut secrets = vec![
            path.trim_start_matches("/hook/").to_owned(),
            url::form_urlencoded::byte_serialize(token.as_bytes()).collect(),
            percent_encoded(token),
        ];
        let proof = self.proof.header(&self.token, &self.body);
        // A signature is `sha256=…`; GitLab's is the token itself.
        if self.proof != Proof::GitLab
            && let Some((_, signature)) = &proof
            && let Some((_, code)) = signature.split_once('=')
        {
            secrets.push(code.to_owned());
        }
        // Last: an encoded one may have it inside.
        secrets.push(token.to_owned());
        secrets
    }

    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(
            reqwest::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some((name, value)) = self.proof.header(&self.token, &self.body) {
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| Error::invalid("the token cannot be sent in a header"))?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
        }
        let event = match self.proof {
            Proof::GitLab => "x-gitlab-event",
            _ => "x-github-event",
        };
        if let Some(text) = &self.event {
            let value = HeaderValue::from_str(text)
                .map_err(|_| Error::invalid("the event cannot be sent in a header"))?;
            headers.insert(HeaderName::from_static(event), value);
        }
        Ok(headers)
    }
}

/// The first line of an answer, without secrets.
async fn said(mut answer: reqwest::Response, secrets: &[String]) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= ANSWER {
            // One may be cut in two here.
            let longest = secrets.iter().map(String::len).max().unwrap_or_default();
            bytes.truncate(bytes.len().saturating_sub(longest));
            break;
        }
    }
    first_line(&String::from_utf8_lossy(&bytes), secrets)
}

/// Secrets go before anything is cut, which could leave the beginning of one.
fn first_line(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "***");
    }
    let line = text.lines().next().unwrap_or_default();
    line.chars()
        .filter(|c| !c.is_control())
        .take(SAID)
        .collect()
}

/// As a proxy writes it into a URL: all but what a URL may have as it is.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// reqwest's error without its URL, which is the hook's secret.
fn from_reqwest(error: reqwest::Error) -> Error {
    let error = error.without_url();
    if error.is_timeout() {
        Error::timeout("no answer in time").with_source(error)
    } else if error.is_builder() {
        Error::invalid("the request cannot be built").with_source(error)
    } else {
        Error::unavailable("the receiver cannot be reached").with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_notification_controllers() {
        // sha256("token" + "main" + "flux-system"), by `printf tokenmainflux-system | sha256sum`.
        assert_eq!(
            hook_path(&"token".into(), "main", "flux-system"),
            "/hook/0ce800ccae7cc43567e8cd8a38c2132779ade2969962b4a37a2d9a457be7cd6e"
        );
    }

    #[test]
    fn no_part_of_a_secret_is_quoted() {
        let hook = Hook::new("https://h", "n", "r", "top secret+token")
            .unwrap()
            .proof(Proof::HmacSha256);
        let path = hook_path(&hook.token, "r", "n");
        let secrets = hook.secrets(&path);
        let digest = &path["/hook/".len()..];
        let (_, signature) = hook.proof.header(&hook.token, &hook.body).unwrap();
        let code = &signature["sha256=".len()..];
        // Wherever the end of what is said falls.
        for length in 0..220 {
            let before = "x".repeat(length);
            for secret in [
                digest,
                code,
                "top secret+token",
                "top%20secret%2Btoken",
                "top+secret%2Btoken",
            ] {
                let said = first_line(&format!("{before}{secret} is unknown\nmore"), &secrets);
                assert!(said.chars().count() <= SAID);
                let rest = said.trim_start_matches('x');
                assert!("*** is unknown".starts_with(rest), "{length}: {said}");
            }
        }
        let split = Hook::new("https://h", "n", "r", "first\nsecond").unwrap();
        assert_eq!(
            first_line("no first\nsecond", &split.secrets("/hook/x")),
            "no ***"
        );
    }

    #[test]
    fn debug_tells_no_token() {
        let hook = Hook::new("https://u:canary@h", "n", "r", "canary").unwrap();
        assert!(!format!("{hook:?}").contains("canary"));
        let error = Hook::new("canary@x", "n", "r", "t").unwrap_err();
        assert!(!error.to_string().contains("canary"));
    }
}
