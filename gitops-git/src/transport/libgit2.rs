//! HTTP within this process, through libgit2.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, Direction, FetchOptions,
    FetchPrune, ProxyOptions, PushOptions, RemoteCallbacks, RemoteRedirect,
};
use gitops_core::credential::Credential;
use gitops_core::{Error, ErrorKind, Result};

use super::{
    FetchRequest, Proxy, Remote, RemoteRefs, Tls, Transport, classify, is_ref_name, is_sha,
};
use crate::url::Scheme;

/// Speaks HTTP and reads local repositories within this process: no `git` program, and none of its start-up time.
///
/// # Limits
/// libgit2's own limits, for which [`GitCli`](super::GitCli) stays the default:
/// - `https://` needs the feature `git2/https` in the application (OpenSSL); SSH is refused.
/// - Credentials are a user name and password, or none: a bearer token, and a client certificate, are refused. An own authority (`Tls::CaFile`, `Tls::CaPem`) is
///   refused: libgit2 has one for the whole process.
/// - A call ends at its deadline for the caller. A server that falls silent keeps a thread of tokio's blocking pool until the connection ends: libgit2 asks whether to go on
///   only when something arrives, and its network time-outs can be set only for the whole process.
/// - libgit2 reads the user's Git configuration (`url.*.insteadOf`, `http.proxy`); it runs no hook and no credential helper.
#[derive(Clone, Copy, Debug, Default)]
pub struct LibGit2;

impl LibGit2 {
    /// The transport.
    pub fn new() -> Self {
        Self
    }
}

/// One call: what it may know, and when it must end.
#[derive(Clone)]
struct Call {
    remote: Remote,
    deadline: Instant,
    stopped: Arc<AtomicBool>,
}

/// Stops the thread at its next chance when the caller waits no longer.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn call<T: Send + 'static>(
    remote: &Remote,
    what: &'static str,
    work: impl FnOnce(&Call) -> Result<T> + Send + 'static,
) -> Result<T> {
    check_remote(remote)?;
    let call = Call {
        remote: remote.clone(),
        deadline: Instant::now() + remote.timeout,
        stopped: Arc::default(),
    };
    let _stop = Stop(Arc::clone(&call.stopped));
    let thread = tokio::task::spawn_blocking(move || work(&call));
    match tokio::time::timeout(remote.timeout, thread).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(Error::internal(format!("{what} was aborted")).with_source(error)),
        Err(_) => Err(Error::timeout(format!(
            "{what}: no answer within {:?}",
            remote.timeout
        ))),
    }
}

fn check_remote(remote: &Remote) -> Result<()> {
    let refuse = |what: &str| Err(Error::unsupported(what, "the libgit2 transport"));
    match remote.url.scheme() {
        Scheme::Ssh => return refuse("SSH"),
        Scheme::Https if !git2::Version::get().https() => {
            return refuse("HTTPS without the feature git2/https");
        }
        _ => {}
    }
    match &remote.credential {
        None | Some(Credential::Basic { .. }) => {}
        Some(_) => return refuse("another credential than a user name and password"),
    }
    match remote.tls {
        Tls::CaFile(_) | Tls::CaPem(_) => refuse("an authority for one repository"),
        Tls::System | Tls::InsecureSkipVerify => Ok(()),
    }
}

impl Call {
    fn over(&self) -> bool {
        self.stopped.load(Ordering::SeqCst) || Instant::now() >= self.deadline
    }

    fn callbacks(&self, max_bytes: Option<u64>) -> RemoteCallbacks<'static> {
        let mut callbacks = RemoteCallbacks::new();
        let credential = self.remote.credential.clone();
        let mut asked = false;
        callbacks.credentials(move |_, _, allowed| {
            // Asked again, it was refused.
            let first = !std::mem::replace(&mut asked, true);
            match &credential {
                Some(Credential::Basic { username, password })
                    if first && allowed.contains(CredentialType::USER_PASS_PLAINTEXT) =>
                {
                    Cred::userpass_plaintext(username, password.expose())
                }
                _ => Err(git2::Error::new(
                    git2::ErrorCode::Auth,
                    git2::ErrorClass::Http,
                    "authentication failed",
                )),
            }
        });
        if self.remote.tls == Tls::InsecureSkipVerify {
            callbacks.certificate_check(|_, _| Ok(CertificateCheckStatus::CertificateOk));
        }
        let here = self.clone();
        callbacks.transfer_progress(move |progress| {
            !here.over() && max_bytes.is_none_or(|max| progress.received_bytes() as u64 <= max)
        });
        let here = self.clone();
        callbacks.sideband_progress(move |_| !here.over());
        callbacks
    }

    fn proxy(&self) -> ProxyOptions<'static> {
        let mut proxy = ProxyOptions::new();
        match &self.remote.proxy {
            Proxy::Environment => {
                proxy.auto();
            }
            Proxy::None => {}
            Proxy::Url(url) => {
                proxy.url(url);
            }
        }
        proxy
    }

    fn failed(&self, what: &str, error: git2::Error) -> Error {
        use git2::{ErrorClass, ErrorCode};
        if self.over() {
            return Error::timeout(format!("{what} was stopped at its deadline"));
        }
        let kind = match (error.code(), error.class()) {
            (ErrorCode::Auth, _) => Some(ErrorKind::Unauthenticated),
            (ErrorCode::Certificate, _) | (_, ErrorClass::Ssl) => Some(ErrorKind::Integrity),
            (ErrorCode::NotFastForward, _) => Some(ErrorKind::Conflict),
            (ErrorCode::NotFound, _) => Some(ErrorKind::NotFound),
            (_, ErrorClass::Http) => status(error.message()),
            (_, ErrorClass::Net | ErrorClass::Os) => Some(ErrorKind::Unavailable),
            _ => None,
        };
        match kind {
            Some(kind) => Error::new(kind, format!("{what}: {}", error.message())),
            None => classify::error(what, error.message(), ""),
        }
        .with_source(error)
    }
}

/// libgit2 tells a status in words only: `unexpected http status code: 404`.
fn status(message: &str) -> Option<ErrorKind> {
    let code: u16 = message.rsplit(' ').next()?.parse().ok()?;
    Some(match code {
        401 | 407 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 | 410 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        429 => ErrorKind::RateLimited,
        300..=399 => ErrorKind::InvalidInput,
        500..=599 => ErrorKind::Unavailable,
        _ => return None,
    })
}

fn open(git_dir: &Path) -> Result<git2::Repository> {
    git2::Repository::open_bare(git_dir).map_err(|error| {
        Error::internal("the copy of the repository cannot be opened").with_source(error)
    })
}

/// What the connected remote advertises.
fn advertised(
    call: &Call,
    what: &str,
    heads: std::result::Result<&[git2::RemoteHead<'_>], git2::Error>,
) -> Result<RemoteRefs> {
    let mut refs = RemoteRefs::default();
    for head in heads.map_err(|error| call.failed(what, error))? {
        if head.name() == "HEAD"
            && let Some(target) = head.symref_target()
        {
            if !is_ref_name(target) {
                return Err(Error::integrity("the server's HEAD is not a reference"));
            }
            refs.head = Some(target.to_owned());
        }
        refs.insert(&head.oid().to_string(), head.name())?;
    }
    Ok(refs)
}

#[async_trait]
impl Transport for LibGit2 {
    async fn list_refs(&self, remote: &Remote) -> Result<RemoteRefs> {
        const WHAT: &str = "list of references";
        call(remote, WHAT, |call| {
            let failed = |error| call.failed(WHAT, error);
            let mut remote =
                git2::Remote::create_detached(call.remote.url.as_git()).map_err(failed)?;
            let connection = remote
                .connect_auth(
                    Direction::Fetch,
                    Some(call.callbacks(None)),
                    Some(call.proxy()),
                )
                .map_err(failed)?;
            advertised(call, WHAT, connection.list())
        })
        .await
    }

    async fn fetch(&self, git_dir: &Path, remote: &Remote, request: &FetchRequest) -> Result<()> {
        let plain = |name: &str| is_ref_name(&name.replacen('*', "x", 1));
        for spec in &request.refspecs {
            let known = spec.source == "HEAD" || is_sha(&spec.source) || plain(&spec.source);
            if !known || !plain(&spec.destination) {
                return Err(Error::invalid(format!(
                    "{:?} is not a reference",
                    spec.source
                )));
            }
        }
        let (git_dir, request) = (git_dir.to_owned(), request.clone());
        call(remote, "fetch", move |call| fetch(call, &git_dir, &request)).await
    }

    async fn push(
        &self,
        git_dir: &Path,
        remote: &Remote,
        commit: &str,
        reference: &str,
    ) -> Result<()> {
        if !is_sha(commit) || !is_ref_name(reference) {
            return Err(Error::invalid(format!("{reference:?} is not a reference")));
        }
        let git_dir = git_dir.to_owned();
        let spec = format!("{commit}:{reference}");
        call(remote, "push", move |call| push(call, &git_dir, &spec)).await
    }
}

fn fetch(call: &Call, git_dir: &Path, request: &FetchRequest) -> Result<()> {
    const WHAT: &str = "fetch";
    let failed = |error| call.failed(WHAT, error);
    let git = open(git_dir)?;
    let mut remote = git
        .remote_anonymous(call.remote.url.as_git())
        .map_err(failed)?;
    // One connection for the list and the objects.
    let mut connection = remote
        .connect_auth(
            Direction::Fetch,
            Some(call.callbacks(request.max_bytes)),
            Some(call.proxy()),
        )
        .map_err(failed)?;
    let refs = advertised(call, WHAT, connection.list())?;
    for spec in &request.refspecs {
        let exact = !spec.source.contains('*') && !is_sha(&spec.source);
        if exact && !refs.refs.contains_key(&spec.source) {
            return Err(Error::not_found(format!(
                "{WHAT}: the remote has no reference {}",
                spec.source
            )));
        }
    }
    let specs: Vec<String> = request
        .refspecs
        .iter()
        .map(|spec| format!("+{}:{}", spec.source, spec.destination))
        .collect();
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(call.callbacks(request.max_bytes))
        .proxy_options(call.proxy())
        .follow_redirects(RemoteRedirect::None)
        .download_tags(AutotagOption::None)
        .update_fetchhead(false);
    if let Some(depth) = request.depth {
        options.depth(i32::try_from(depth).unwrap_or(i32::MAX));
    }
    if request.prune {
        options.prune(FetchPrune::On);
    }
    let brought = connection.remote().fetch(&specs, Some(&mut options), None);
    let received = connection.remote().stats().received_bytes() as u64;
    match (brought, request.max_bytes) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(limit)) if received > limit && !call.over() => Err(Error::invalid(format!(
            "the fetch was stopped: it brought {received} bytes, over the limit of {limit}"
        ))),
        (Err(error), _) => Err(failed(error)),
    }
}

fn push(call: &Call, git_dir: &Path, spec: &str) -> Result<()> {
    const WHAT: &str = "push";
    let git = open(git_dir)?;
    let mut remote = git
        .remote_anonymous(call.remote.url.as_git())
        .map_err(|error| call.failed(WHAT, error))?;
    let refused = std::rc::Rc::new(std::cell::RefCell::new(None));
    let mut callbacks = call.callbacks(None);
    callbacks.push_update_reference({
        let refused = std::rc::Rc::clone(&refused);
        move |_, status| {
            *refused.borrow_mut() = status.map(str::to_owned);
            Ok(())
        }
    });
    let mut options = PushOptions::new();
    options
        .remote_callbacks(callbacks)
        .proxy_options(call.proxy())
        .follow_redirects(RemoteRedirect::None);
    remote
        .push(&[spec], Some(&mut options))
        .map_err(|error| call.failed(WHAT, error))?;
    match refused.borrow().as_deref() {
        None => Ok(()),
        Some(status) => Err(classify::error(
            WHAT,
            &format!("remote rejected: {status}"),
            status,
        )),
    }
}
