//! Credentials, asked for when they are needed and never kept in models.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Result, redact_url};
use crate::secret::SecretString;

/// What a server wants to see before it lets a request in.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// User name and password (HTTP Basic). Forges take a token as the password.
    Basic {
        /// The user name; many forges accept any when the password is a token.
        username: String,
        /// The password or token.
        password: SecretString,
    },
    /// A bearer token (HTTP `Authorization: Bearer`).
    Bearer(SecretString),
    /// A private key for SSH, in memory.
    SshKey {
        /// The user to log in as; the URL's user wins when it names one.
        username: Option<String>,
        /// The private key in OpenSSH or PEM form.
        private_key: SecretString,
        /// The key's passphrase.
        passphrase: Option<SecretString>,
        /// Lines in the form of OpenSSH's `known_hosts`; the host's key must be among them.
        known_hosts: Option<String>,
    },
    /// Whatever the running SSH agent holds (`SSH_AUTH_SOCK`).
    SshAgent {
        /// The user to log in as; the URL's user wins when it names one.
        username: Option<String>,
        /// Lines in the form of OpenSSH's `known_hosts`; without them the user's own file counts.
        known_hosts: Option<String>,
    },
}

/// What a credential is asked for.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CredentialRequest {
    /// The URL that will be contacted, without user name, password or query.
    pub url: String,
    /// The scheme: `https`, `http`, `ssh`.
    pub scheme: String,
    /// The host, without port.
    pub host: String,
    /// The port, when the URL names one.
    pub port: Option<u16>,
    /// The user that the URL names.
    pub username: Option<String>,
    /// How often this request was refused with the credential given before: providers that cache must get a fresh one.
    pub attempt: u32,
}

impl CredentialRequest {
    /// A first request for `url` at `host` over `scheme`.
    pub fn new(url: impl Into<String>, scheme: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            scheme: scheme.into(),
            host: host.into(),
            port: None,
            username: None,
            attempt: 0,
        }
    }
}

// A user name may be a token (`https://TOKEN@host`): what is printed says only that there is one.

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, known_hosts) = match self {
            Self::Basic { .. } => ("Basic", &None),
            Self::Bearer(_) => ("Bearer", &None),
            Self::SshKey { known_hosts, .. } => ("SshKey", known_hosts),
            Self::SshAgent { known_hosts, .. } => ("SshAgent", known_hosts),
        };
        let mut shown = f.debug_struct(name);
        if let Some(known_hosts) = known_hosts {
            shown.field("known_hosts", known_hosts);
        }
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for CredentialRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialRequest")
            .field("url", &redact_url(&self.url))
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("has_username", &self.username.is_some())
            .field("attempt", &self.attempt)
            .finish()
    }
}

/// Gives the credential for a request when it is needed.
///
/// # Contract
/// - `Ok(None)` means "I have none for this": the caller goes on without, or asks the next provider.
/// - The answer is used only for the request's scheme, host and port; it never follows a redirect elsewhere.
/// - With `attempt > 0` the credential given before was refused: a cached one must not be given again.
/// - Dropping the future cancels the request.
#[async_trait]
pub trait CredentialProvider: fmt::Debug + Send + Sync {
    /// The credential for `request`, if there is one.
    ///
    /// # Errors
    /// When the provider has one and cannot get it (file unreadable, command failed, token exchange refused).
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: CredentialProvider + ?Sized> CredentialProvider for Arc<T> {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        (**self).credential(request).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: CredentialProvider + ?Sized> CredentialProvider for Box<T> {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        (**self).credential(request).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: CredentialProvider + ?Sized> CredentialProvider for &T {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        (**self).credential(request).await
    }
}
