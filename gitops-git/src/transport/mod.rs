//! How repositories are spoken to over the network.

mod classify;
mod cli;
#[cfg(feature = "libgit2-network")]
mod libgit2;
mod private;
mod process;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gitops_core::credential::Credential;
use gitops_core::error::redact_url;
use gitops_core::{Error, Result};

pub use cli::GitCli;
#[cfg(feature = "libgit2-network")]
pub use libgit2::LibGit2;
pub(crate) use process::run;

use crate::url::RepoUrl;

/// Which proxy HTTP goes through.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proxy {
    /// What the environment says (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`), as curl reads it.
    #[default]
    Environment,
    /// None, whatever the environment says.
    None,
    /// This one: `http://[user:password@]host:port`, `https://…` or `socks5h://…`.
    Url(String),
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::None => f.write_str("None"),
            Self::Url(url) => write!(f, "Url({})", redact_url(url)),
        }
    }
}

/// Which certificates of HTTPS servers are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tls {
    /// Those of the system's authorities.
    #[default]
    System,
    /// Those of the authorities in this PEM file, instead of the system's.
    CaFile(PathBuf),
    /// Those of the authorities in this PEM text, instead of the system's.
    CaPem(String),
    /// All: nothing is checked. For this repository only.
    InsecureSkipVerify,
}

/// A remote repository and all that is needed to speak to it once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Remote {
    /// Where it is.
    pub url: RepoUrl,
    /// The credential, already bound to the URL's scheme, host and port.
    pub credential: Option<Credential>,
    /// Which certificates are trusted.
    pub tls: Tls,
    /// Which proxy is used.
    pub proxy: Proxy,
    /// Host keys, as lines of OpenSSH's `known_hosts`; a credential's own lines win. Without any the user's and the system's files count.
    pub known_hosts: Option<String>,
    /// The deadline of one call.
    pub timeout: Duration,
}

impl Remote {
    /// `url`, anonymously, with the system's certificates and a deadline of two minutes.
    pub fn new(url: RepoUrl) -> Self {
        Self {
            url,
            credential: None,
            tls: Tls::default(),
            proxy: Proxy::default(),
            known_hosts: None,
            timeout: Duration::from_secs(120),
        }
    }
}

/// What a remote advertises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteRefs {
    /// The name of the reference that `HEAD` points to (`refs/heads/main`).
    pub head: Option<String>,
    /// The object of every reference, by full name, `HEAD` included.
    pub refs: BTreeMap<String, String>,
    /// For annotated tags: the commit that the tag leads to.
    pub peeled: BTreeMap<String, String>,
}

impl RemoteRefs {
    /// The commit that a reference leads to.
    pub fn commit(&self, name: &str) -> Option<&str> {
        self.peeled
            .get(name)
            .or_else(|| self.refs.get(name))
            .map(String::as_str)
    }

    /// Adds what a server said, checked: an object's name must be hexadecimal, a reference's name well-formed.
    ///
    /// # Errors
    /// `Integrity` for a name that Git does not allow (`refs/heads/../../x`).
    pub fn insert(&mut self, object: &str, name: &str) -> Result<()> {
        let plain = name.strip_suffix("^{}").unwrap_or(name);
        if !is_sha(object) || (plain != "HEAD" && !is_ref_name(plain)) {
            return Err(Error::integrity(format!(
                "the server advertises {:?}, which is not a reference",
                name.chars().take(200).collect::<String>()
            )));
        }
        let (map, object) = (
            if name.ends_with("^{}") {
                &mut self.peeled
            } else {
                &mut self.refs
            },
            object.to_owned(),
        );
        map.insert(plain.to_owned(), object);
        Ok(())
    }
}

/// Whether `text` is a full SHA-1 or SHA-256 in lower-case hexadecimal.
pub(crate) fn is_sha(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether `name` is a full reference name by the rules of `git check-ref-format`, below `refs/`.
pub(crate) fn is_ref_name(name: &str) -> bool {
    name.starts_with("refs/") && git2::Reference::is_valid_name(name)
}

/// One `source:destination` of a fetch; always forced, because what is fetched into is only a copy of the remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refspec {
    /// The remote's reference (may hold one `*`), `HEAD`, or a full SHA.
    pub source: String,
    /// The local reference.
    pub destination: String,
}

impl Refspec {
    /// `source` into `destination`.
    pub fn new(source: impl Into<String>, destination: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            destination: destination.into(),
        }
    }
}

/// What to fetch.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FetchRequest {
    /// What goes where.
    pub refspecs: Vec<Refspec>,
    /// Only so many commits of history.
    pub depth: Option<u32>,
    /// Remove local references that the remote no longer has (within the refspecs' patterns).
    pub prune: bool,
    /// Stop when the object store grew by more than this.
    pub max_bytes: Option<u64>,
}

/// Speaks to remote repositories.
///
/// # Contract
/// - Every call ends by its [`Remote::timeout`] with a `Timeout` error, and stops when its future is dropped: no process, thread or connection stays.
/// - The credential goes to the URL's own scheme, host and port only; it is on no command line, in no message and in no log.
/// - Nothing is read from the user's or the system's Git configuration, no hook of the local repository runs, nothing prompts.
/// - [`push`](Transport::push) never forces.
/// - Kinds: `Unauthenticated` (no or refused credential), `PermissionDenied`, `NotFound` (repository or reference), `Unavailable`, `Timeout`, `Integrity` (host
///   key, certificate, corrupt data), `Conflict` (a push that is not a fast-forward, or lost a race), `InvalidInput`.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync {
    /// The references of the remote.
    ///
    /// # Errors
    /// As in the contract.
    async fn list_refs(&self, remote: &Remote) -> Result<RemoteRefs>;

    /// Brings objects and references into the bare repository at `git_dir`.
    ///
    /// # Errors
    /// As in the contract; `NotFound` when a reference without `*` does not exist.
    async fn fetch(&self, git_dir: &Path, remote: &Remote, request: &FetchRequest) -> Result<()>;

    /// Sets `reference` of the remote to `commit` of the bare repository at `git_dir`, if that is a fast-forward or the reference is new.
    ///
    /// # Errors
    /// As in the contract.
    async fn push(
        &self,
        git_dir: &Path,
        remote: &Remote,
        commit: &str,
        reference: &str,
    ) -> Result<()>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    async fn list_refs(&self, remote: &Remote) -> Result<RemoteRefs> {
        (**self).list_refs(remote).await
    }

    async fn fetch(&self, git_dir: &Path, remote: &Remote, request: &FetchRequest) -> Result<()> {
        (**self).fetch(git_dir, remote, request).await
    }

    async fn push(
        &self,
        git_dir: &Path,
        remote: &Remote,
        commit: &str,
        reference: &str,
    ) -> Result<()> {
        (**self).push(git_dir, remote, commit, reference).await
    }
}
