//! One remote repository and its bare copy here.

mod edit;
mod fetch;
mod history;
mod list;
mod lock;
mod push;
mod store;
mod tree;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gitops_core::credential::{CredentialProvider, CredentialRequest};
use gitops_core::{Error, ErrorKind, Result};
use tempfile::TempDir;

pub use edit::{Edits, Snapshot};
pub use fetch::{FetchOutcome, Fetched, RefChange};
pub use history::{Change, ChangeKind, CommitInfo, Person};
pub use list::ListedKind;
pub use push::{CommitOptions, CommitOutcome};
pub use tree::{LfsPolicy, LinkPolicy, TreeOptions};

use crate::transport::{GitCli, Proxy, Remote, RemoteRefs, Tls, Transport};
use crate::url::{RepoUrl, Scheme};

/// How a repository is opened. Plain data: start from `Default` and change what matters.
#[derive(Clone, Debug)]
pub struct RepositoryOptions {
    /// The directory that holds the bare copies, one for each URL; processes may share it. `None`: a private temporary directory, removed with the last
    /// handle.
    ///
    /// One such directory is one domain of trust: what one credential fetched, every user of the directory can read.
    pub cache_dir: Option<PathBuf>,
    /// The deadline of each network call (two minutes unless set).
    pub timeout: Duration,
    /// Fetch only so many commits of history. For callers that only read; committing needs the full history, which is the default.
    pub depth: Option<u32>,
    /// Stop a fetch that makes the copy grow by more than this (8 GiB unless set). Watched while fetching, so it may be exceeded by what arrives within a quarter
    /// of a second.
    pub max_fetch_bytes: Option<u64>,
    /// Who gives credentials; `None` is anonymous.
    pub credentials: Option<Arc<dyn CredentialProvider>>,
    /// Which certificates are trusted.
    pub tls: Tls,
    /// Which proxy is used.
    pub proxy: Proxy,
    /// SSH host keys, as lines of OpenSSH's `known_hosts`; `None` means the user's and the system's files.
    pub known_hosts: Option<String>,
    /// Limits and policies for reading trees.
    pub tree: TreeOptions,
    /// How the network is spoken to.
    pub transport: Arc<dyn Transport>,
}

impl Default for RepositoryOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            timeout: Duration::from_secs(120),
            depth: None,
            max_fetch_bytes: Some(8 << 30),
            credentials: None,
            tls: Tls::default(),
            proxy: Proxy::default(),
            known_hosts: None,
            tree: TreeOptions::default(),
            transport: Arc::new(GitCli::default()),
        }
    }
}

impl RepositoryOptions {
    /// Keeps copies in `dir`.
    #[must_use]
    pub fn cache_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(dir.into());
        self
    }

    /// Asks `provider` for credentials.
    #[must_use]
    pub fn credentials(mut self, provider: impl CredentialProvider + 'static) -> Self {
        self.credentials = Some(Arc::new(provider));
        self
    }

    /// Sets the deadline of each network call.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Fetches only so many commits of history.
    #[must_use]
    pub fn depth(mut self, depth: u32) -> Self {
        self.depth = Some(depth);
        self
    }

    /// Sets which certificates are trusted.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Sets the proxy.
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = proxy;
        self
    }

    /// Sets the SSH host keys.
    #[must_use]
    pub fn known_hosts(mut self, lines: impl Into<String>) -> Self {
        self.known_hosts = Some(lines.into());
        self
    }

    /// Speaks to the network through `transport`.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport + 'static) -> Self {
        self.transport = Arc::new(transport);
        self
    }
}

/// A remote repository and its bare copy here. A handle: cloning is cheap, clones share everything, and it is `Send` and `Sync`.
///
/// Reading ([`tree`](Self::tree), [`log`](Self::log), [`changed_paths`](Self::changed_paths)) uses the copy only; [`fetch_revision`](Self::fetch_revision),
/// [`fetch`](Self::fetch), [`resolve_remote`](Self::resolve_remote) and [`commit`](Self::commit) use the network, each call within
/// [`RepositoryOptions::timeout`]. Dropping a future stops what it does.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

struct Inner {
    url: RepoUrl,
    dir: PathBuf,
    lock_file: PathBuf,
    options: RepositoryOptions,
    /// libgit2's handles, which cannot be shared between threads, waiting for their next use.
    handles: Mutex<Vec<git2::Repository>>,
    /// Writers of this process take turns, instead of losing races against each other at the server.
    writing: tokio::sync::Mutex<()>,
    _temporary: Option<Arc<TempDir>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("url", &self.inner.url)
            .field("dir", &self.inner.dir)
            .finish_non_exhaustive()
    }
}

impl Repository {
    /// Opens the repository at `url`: `https://`, `http://`, `ssh://`, `user@host:path`, `file://` or a local path. Makes or finds the bare copy; the network
    /// is not used yet.
    ///
    /// # Errors
    /// `InvalidInput` for a bad URL, `Internal` when the copy cannot be made, `Timeout` when another process holds its lock for too long.
    pub async fn open(url: &str, options: RepositoryOptions) -> Result<Self> {
        Self::open_url(RepoUrl::parse(url)?, options).await
    }

    /// [`open`](Self::open) with a URL read already.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn open_url(url: RepoUrl, options: RepositoryOptions) -> Result<Self> {
        Self::open_in(url, options, None).await
    }

    /// Opens, and keeps `temporary`, which holds the cache directory, alive.
    pub(crate) async fn open_in(
        url: RepoUrl,
        options: RepositoryOptions,
        temporary: Option<Arc<TempDir>>,
    ) -> Result<Self> {
        let (parent, temporary) = match &options.cache_dir {
            Some(dir) => (dir.clone(), temporary),
            None => {
                let dir = tempfile::Builder::new()
                    .prefix("gitops-git-")
                    .tempdir()
                    .map_err(|error| {
                        Error::internal("cannot make a temporary directory").with_source(error)
                    })?;
                (dir.path().to_owned(), Some(Arc::new(dir)))
            }
        };
        let name = url.cache_name();
        let dir = parent.join(format!("{name}.git"));
        let lock_file = parent.join(format!("{name}.lock"));
        let guard = lock::acquire(&lock_file, options.timeout).await?;
        let target = dir.clone();
        let handle = blocking(move || store::open_or_init(&target)).await?;
        drop(guard);
        Ok(Self {
            inner: Arc::new(Inner {
                url,
                dir,
                lock_file,
                options,
                handles: Mutex::new(vec![handle]),
                writing: tokio::sync::Mutex::new(()),
                _temporary: temporary,
            }),
        })
    }

    /// Where it is.
    pub fn url(&self) -> &RepoUrl {
        &self.inner.url
    }

    /// The bare copy's directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// What all clones of this handle, and no other, share.
    pub(crate) fn key(&self) -> usize {
        Arc::as_ptr(&self.inner) as usize
    }

    /// How it was opened.
    pub fn options(&self) -> &RepositoryOptions {
        &self.inner.options
    }

    /// What the remote advertises now; nothing is fetched.
    ///
    /// # Errors
    /// As the [`Transport`]'s contract says.
    #[tracing::instrument(skip_all, fields(url = %self.inner.url))]
    pub async fn list_refs(&self) -> Result<RemoteRefs> {
        self.with_remote("list references", |remote| async move {
            self.inner.options.transport.list_refs(&remote).await
        })
        .await
    }

    /// Runs `work` on a libgit2 handle, off the async threads.
    async fn with_git<T: Send + 'static>(
        &self,
        work: impl FnOnce(&git2::Repository) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let pooled = inner.handles.lock().ok().and_then(|mut pool| pool.pop());
            let handle = match pooled {
                Some(handle) => handle,
                None => store::open(&inner.dir)?,
            };
            let result = work(&handle);
            if let Ok(mut pool) = inner.handles.lock()
                && pool.len() < 8
            {
                pool.push(handle);
            }
            result
        })
        .await
    }

    /// Runs one network call, with a credential, and once more with a fresh one when it was refused.
    async fn with_remote<T, F, Fut>(&self, what: &'static str, call: F) -> Result<T>
    where
        F: Fn(Remote) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let inner = &self.inner;
        let options = &inner.options;
        let context = |error: Error| error.context(format!("{what} of {}", inner.url));
        let mut refused: Option<Error> = None;
        for attempt in 0..2 {
            let mut remote = Remote::new(inner.url.clone());
            remote.tls = options.tls.clone();
            remote.proxy = options.proxy.clone();
            remote.known_hosts = options.known_hosts.clone();
            remote.timeout = options.timeout;
            if let Some(provider) = options
                .credentials
                .as_ref()
                .filter(|_| inner.url.scheme() != Scheme::File)
            {
                let mut request = CredentialRequest::new(
                    inner.url.to_string(),
                    inner.url.scheme().as_str(),
                    inner.url.host(),
                );
                request.port = inner.url.port();
                request.username = inner.url.username().map(ToOwned::to_owned);
                request.attempt = attempt;
                remote.credential =
                    tokio::time::timeout(options.timeout, provider.credential(&request))
                        .await
                        .map_err(|_| {
                            context(Error::timeout("the credential provider gave no answer"))
                        })?
                        .map_err(context)?;
            }
            if let Some(refused) = refused.take()
                && remote.credential.is_none()
            {
                return Err(refused);
            }
            let given = remote.credential.is_some();
            match call(remote).await {
                Err(error)
                    if error.kind() == ErrorKind::Unauthenticated && given && attempt == 0 =>
                {
                    refused = Some(context(error));
                }
                result => return result.map_err(context),
            }
        }
        Err(refused.unwrap_or_else(|| context(Error::internal("no attempt was made"))))
    }

    async fn lock(&self) -> Result<lock::Guard> {
        lock::acquire(&self.inner.lock_file, self.inner.options.timeout).await
    }
}

/// Runs `work` on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|error| Error::internal("a blocking task ended early").with_source(error))?
}
