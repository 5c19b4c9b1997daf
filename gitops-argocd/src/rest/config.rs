//! How to reach an API server of Argo CD.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gitops_core::credential::{Credential, CredentialProvider, CredentialRequest};
use gitops_core::error::redact_url;
use gitops_core::limit::ThrottleOptions;
use gitops_core::{Error, Result, SecretString};
use url::Url;

/// How calls that may be repeated are tried again. A call is repeated when it only reads, or when it never reached the server; an operation is never started twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOptions {
    /// The first wait; waits double, with jitter.
    pub min_delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
    /// All tries and waits together take no longer.
    pub total: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(5),
            total: Duration::from_secs(30),
        }
    }
}

/// A client certificate.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate, and those that lead to its CA, in PEM.
    pub certificate_pem: String,
    /// Its private key in PEM.
    pub key_pem: SecretString,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(…)")
    }
}

/// How to reach an API server of Argo CD.
///
/// ```
/// use gitops_argocd::rest::Config;
///
/// let config = Config::new("https://argocd.example.com").token("…");
/// # assert_eq!(config.server, "https://argocd.example.com");
/// ```
#[derive(Clone)]
pub struct Config {
    /// The server: `https://host[:port]`, `http://…` for one that speaks plain text, or `host[:port]` alone, which means `https`.
    pub server: String,
    /// The path below which the server serves (its `--rootpath`).
    pub root_path: String,
    /// Who knows the token, or the user and password to log in with. `None` calls as nobody.
    pub credentials: Option<Arc<dyn CredentialProvider>>,
    /// CAs in PEM that are trusted besides the system's.
    pub ca_pem: Option<String>,
    /// A certificate to show to the server.
    pub client_certificate: Option<ClientCertificate>,
    /// Take any certificate for the server's, as `argocd --insecure` does: whoever stands between can read the token. For this client alone.
    pub danger_accept_invalid_certs: bool,
    /// A proxy for all requests; without it the environment's (`HTTPS_PROXY`, `NO_PROXY` …) counts.
    pub proxy: Option<String>,
    /// More headers for every request. Their values are secret.
    pub headers: Vec<(String, SecretString)>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long one request may take until its answer is read, and how long the provider of credentials may take. Waiting for [`rate_limit`](Self::rate_limit) and
    /// trying again come on top. Streams have no such limit: the server sends a sign of life every 15 s, and a stream that is
    /// silent for 45 s counts as cut.
    pub timeout: Duration,
    /// How calls are tried again; `None` tries once.
    pub retry: Option<RetryOptions>,
    /// How many requests are sent in which time; `None` sends without limit.
    pub rate_limit: Option<ThrottleOptions>,
    /// The largest answer that is read, in bytes, after decompression. Streams: the largest message.
    pub max_answer: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: String::new(),
            root_path: String::new(),
            credentials: None,
            ca_pem: None,
            client_certificate: None,
            danger_accept_invalid_certs: false,
            proxy: None,
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            retry: Some(RetryOptions::default()),
            rate_limit: Some(ThrottleOptions::default()),
            max_answer: 512 << 20,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Config")
            .field("server", &redact_url(&self.server))
            .field("root_path", &self.root_path)
            .field("credentials", &self.credentials)
            .field(
                "danger_accept_invalid_certs",
                &self.danger_accept_invalid_certs,
            )
            .field("proxy", &self.proxy.as_deref().map(redact_url))
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// A server, and no credentials yet.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            ..Self::default()
        }
    }

    /// Calls with a token: one of `argocd account generate-token`, of a project's role, or of a login.
    #[must_use]
    pub fn token(self, token: impl Into<SecretString>) -> Self {
        self.credentials(Arc::new(Fixed(Credential::Bearer(token.into()))))
    }

    /// Logs in as `username`, and again before the session ends. The server locks an account for a while after five wrong passwords in five minutes; programs are
    /// better off with a [token](Self::token).
    #[must_use]
    pub fn login(self, username: impl Into<String>, password: impl Into<SecretString>) -> Self {
        self.credentials(Arc::new(Fixed(Credential::Basic {
            username: username.into(),
            password: password.into(),
        })))
    }

    /// Asks `provider` for the token (`Bearer`) or the user and password (`Basic`), again whenever the server refuses what it gave.
    #[must_use]
    pub fn credentials(mut self, provider: Arc<dyn CredentialProvider>) -> Self {
        self.credentials = Some(provider);
        self
    }

    /// Adds a header; its value is secret.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The URL below which the API is.
    pub(super) fn base(&self) -> Result<Url> {
        let server = self.server.trim();
        if server.is_empty() {
            return Err(Error::invalid("no server of Argo CD is named"));
        }
        let text = if server.contains("://") {
            server.to_owned()
        } else {
            format!("https://{server}")
        };
        let shown = redact_url(&text);
        let mut url = Url::parse(&text)
            .map_err(|error| Error::invalid(format!("{shown} is no URL")).with_source(error))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(Error::invalid(format!("{shown} is no HTTP URL")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::invalid(
                "the server's URL holds credentials: they belong into `credentials`",
            ));
        }
        url.set_query(None);
        url.set_fragment(None);
        let path = [url.path(), &self.root_path]
            .map(|path| path.trim_matches('/'))
            .into_iter()
            .filter(|path| !path.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        url.set_path(&path);
        Ok(url)
    }
}

/// The same credential for every request to the one server.
#[derive(Debug)]
struct Fixed(Credential);

#[async_trait]
impl CredentialProvider for Fixed {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        // A token that was refused is refused again; a login may have ended and can be made anew.
        let again = request.attempt > 0 && !matches!(self.0, Credential::Basic { .. });
        Ok((!again).then(|| self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_the_command_reads_them() -> Result<()> {
        for (server, root, wanted) in [
            ("argocd.example.com", "", "https://argocd.example.com/"),
            (
                "argocd.example.com:8443",
                "",
                "https://argocd.example.com:8443/",
            ),
            ("http://127.0.0.1:8080/", "", "http://127.0.0.1:8080/"),
            ("https://host/argocd/", "", "https://host/argocd"),
            ("https://host", "/argocd/", "https://host/argocd"),
            ("https://host/a", "b", "https://host/a/b"),
        ] {
            let config = Config {
                root_path: root.into(),
                ..Config::new(server)
            };
            assert_eq!(config.base()?.as_str(), wanted, "{server} {root}");
        }
        Ok(())
    }

    #[test]
    fn what_is_no_server_is_refused_without_its_password() {
        for server in ["", "  ", "ftp://host", "https://", "https://u:hunter2@host"] {
            let error = Config::new(server).base().unwrap_err();
            assert!(
                !format!("{error:#} {error:?}").contains("hunter2"),
                "{server}"
            );
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let config = Config::new("https://user:canary@host")
            .token("canary")
            .header("X-Key", "canary");
        assert!(!format!("{config:?}").contains("canary"), "{config:?}");
    }
}
