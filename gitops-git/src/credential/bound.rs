//! Credentials for one scheme, host and port.

use std::path::PathBuf;

use async_trait::async_trait;
use gitops_core::credential::{Credential, CredentialProvider, CredentialRequest};
use gitops_core::{Error, Result, SecretString};

use crate::url::{RepoUrl, Scheme};

/// A scheme, host and port: what a credential is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// The origin of a URL (`https://git.example.com`, `ssh://git.example.com:2222`, `git@host:path`); its path does not count.
    ///
    /// # Errors
    /// `InvalidInput` for a bad URL, and for a local path, which has no origin.
    pub fn parse(url: &str) -> Result<Self> {
        let url = RepoUrl::parse(url)?;
        if url.scheme() == Scheme::File {
            return Err(Error::invalid(
                "a local path has no origin to bind a credential to",
            ));
        }
        Ok(Self {
            scheme: url.scheme().as_str().to_owned(),
            host: url.host().to_owned(),
            port: plain_port(url.scheme().as_str(), url.port()),
        })
    }

    /// Whether a request is for it. Host names are compared whole and without regard to case.
    pub fn matches(&self, request: &CredentialRequest) -> bool {
        request.scheme == self.scheme
            && request.host.eq_ignore_ascii_case(&self.host)
            && plain_port(&request.scheme, request.port) == self.port
    }
}

/// Without the scheme's own port.
fn plain_port(scheme: &str, port: Option<u16>) -> Option<u16> {
    let own = match scheme {
        "https" => 443,
        "http" => 80,
        _ => 22,
    };
    port.filter(|port| *port != own)
}

/// One credential for one origin.
#[derive(Clone, Debug)]
pub struct StaticCredential {
    origin: Origin,
    credential: Credential,
}

impl StaticCredential {
    /// `credential` for the origin of `url`.
    ///
    /// # Errors
    /// `InvalidInput` for a URL without an origin.
    pub fn new(url: &str, credential: Credential) -> Result<Self> {
        Ok(Self {
            origin: Origin::parse(url)?,
            credential,
        })
    }

    /// A user name and password, or a forge's token as the password.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn basic(
        url: &str,
        username: impl Into<String>,
        password: impl Into<SecretString>,
    ) -> Result<Self> {
        Self::new(
            url,
            Credential::Basic {
                username: username.into(),
                password: password.into(),
            },
        )
    }

    /// A bearer token.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn bearer(url: &str, token: impl Into<SecretString>) -> Result<Self> {
        Self::new(url, Credential::Bearer(token.into()))
    }

    /// A private key in memory, without a passphrase, and the lines of `known_hosts` that the host's key must be among; `None` leaves that to the
    /// repository's options.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn ssh_key(
        url: &str,
        private_key: impl Into<SecretString>,
        known_hosts: Option<String>,
    ) -> Result<Self> {
        Self::new(
            url,
            Credential::SshKey {
                username: None,
                private_key: private_key.into(),
                passphrase: None,
                known_hosts,
            },
        )
    }

    /// [`ssh_key`](Self::ssh_key) with a key that is locked with a passphrase.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn locked_ssh_key(
        url: &str,
        private_key: impl Into<SecretString>,
        passphrase: impl Into<SecretString>,
        known_hosts: Option<String>,
    ) -> Result<Self> {
        Self::new(
            url,
            Credential::SshKey {
                username: None,
                private_key: private_key.into(),
                passphrase: Some(passphrase.into()),
                known_hosts,
            },
        )
    }

    /// The running SSH agent.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn ssh_agent(url: &str, known_hosts: Option<String>) -> Result<Self> {
        Self::new(
            url,
            Credential::SshAgent {
                username: None,
                known_hosts,
            },
        )
    }
}

#[async_trait]
impl CredentialProvider for StaticCredential {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        // Once refused, the same one would be refused again.
        let ours = request.attempt == 0 && self.origin.matches(request);
        Ok(ours.then(|| self.credential.clone()))
    }
}

/// A token in a file, read at each request, so that whoever rotates it need not tell.
#[derive(Clone, Debug)]
pub struct TokenFile {
    origin: Origin,
    username: Option<String>,
    path: PathBuf,
}

impl TokenFile {
    /// The token in `path` for the origin of `url`: as the password of `username`, or as a bearer token without one. White space around it does not
    /// count.
    ///
    /// # Errors
    /// `InvalidInput` for a URL without an origin.
    pub fn new(url: &str, username: Option<String>, path: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self {
            origin: Origin::parse(url)?,
            username,
            path: path.into(),
        })
    }
}

#[async_trait]
impl CredentialProvider for TokenFile {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        if !self.origin.matches(request) {
            return Ok(None);
        }
        let path = self.path.clone();
        let text = crate::repository::blocking(move || {
            std::fs::read_to_string(&path).map_err(|error| {
                Error::invalid(format!("cannot read the token in {}", path.display()))
                    .with_source(error)
            })
        })
        .await?;
        let token = SecretString::from(text.trim());
        if token.is_empty() {
            return Err(Error::invalid(format!(
                "there is no token in {}",
                self.path.display()
            )));
        }
        Ok(Some(match &self.username {
            Some(username) => Credential::Basic {
                username: username.clone(),
                password: token,
            },
            None => Credential::Bearer(token),
        }))
    }
}

/// Any provider, for one origin.
#[derive(Clone, Debug)]
pub struct BoundProvider<P> {
    origin: Origin,
    provider: P,
}

impl<P: CredentialProvider> BoundProvider<P> {
    /// Asks `provider` only for requests to the origin of `url`.
    ///
    /// # Errors
    /// `InvalidInput` for a URL without an origin.
    pub fn new(url: &str, provider: P) -> Result<Self> {
        Ok(Self {
            origin: Origin::parse(url)?,
            provider,
        })
    }
}

#[async_trait]
impl<P: CredentialProvider> CredentialProvider for BoundProvider<P> {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        if self.origin.matches(request) {
            self.provider.credential(request).await
        } else {
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(scheme: &str, host: &str, port: Option<u16>) -> CredentialRequest {
        let mut request = CredentialRequest::new("x", scheme, host);
        request.port = port;
        request
    }

    #[tokio::test]
    async fn a_token_is_bound_to_its_host() {
        let token = StaticCredential::bearer("https://git.example.com/team/x", "canary").unwrap();
        let given = async |request| token.credential(&request).await.unwrap().is_some();
        assert!(given(request("https", "git.example.com", None)).await);
        assert!(given(request("https", "GIT.example.com", Some(443))).await);
        assert!(!given(request("http", "git.example.com", None)).await);
        assert!(!given(request("https", "git.example.com", Some(8443))).await);
        assert!(!given(request("https", "git.example.com.evil.com", None)).await);
        assert!(!given(request("https", "evil.com", None)).await);
        let mut again = request("https", "git.example.com", None);
        again.attempt = 1;
        assert!(!given(again).await);
        assert!(!format!("{token:?}").contains("canary"));
    }

    #[tokio::test]
    async fn a_token_file_is_read_anew() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let provider = TokenFile::new("https://h", None, file.path()).unwrap();
        let request = request("https", "h", None);
        assert!(provider.credential(&request).await.is_err());
        for text in ["one\n", "two\n"] {
            std::fs::write(file.path(), text).unwrap();
            match provider.credential(&request).await.unwrap() {
                Some(Credential::Bearer(token)) => assert_eq!(token.expose(), text.trim()),
                other => panic!("{other:?}"),
            }
        }
    }
}
