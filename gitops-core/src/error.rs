//! The one error of the SDK.
//!
//! Backends, repositories and clusters all answer with [`Error`]: opaque, with a [`ErrorKind`] to decide on, a
//! chain of context to read, and a [`source`](std::error::Error::source) to dig into. No secret belongs into a message:
//! what comes from outside is put in through [`redact_url`] or left out.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Shorthand for a result with the SDK's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, in the words that a caller decides on.
///
/// The kinds follow the canonical codes that gRPC and Kubernetes' `StatusReason` share, as far as they differ in what a
/// caller would do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing named does not exist.
    NotFound,
    /// It exists already, and was to be made new.
    AlreadyExists,
    /// Somebody else changed or owns it: a stale version, a field manager's conflict, another application's object.
    Conflict,
    /// The input is wrong; the same call will fail again.
    InvalidInput,
    /// Who is calling is not known: no or wrong credentials.
    Unauthenticated,
    /// Who is calling is known and may not.
    PermissionDenied,
    /// The other side cannot be reached or is not ready now.
    Unavailable,
    /// The deadline passed.
    Timeout,
    /// Too many requests.
    RateLimited,
    /// Another operation is in progress on the same thing.
    OperationInProgress,
    /// The backend cannot do this, by design.
    Unsupported,
    /// A digest, signature, host key or identity is not the expected one.
    Integrity,
    /// The caller cancelled.
    Cancelled,
    /// The thing asked for ran and failed: a sync that ended in failure, a hook that failed, an unhealthy rollout.
    Failed,
    /// A bug, here or on the other side.
    Internal,
}

impl ErrorKind {
    /// The kind's name in snake case, stable, fit for metrics' labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::InvalidInput => "invalid_input",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::OperationInProgress => "operation_in_progress",
            Self::Unsupported => "unsupported",
            Self::Integrity => "integrity",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The SDK's error: a [kind](Error::kind), what was being done, and what caused it.
///
/// `Display` gives the whole story on one line, outermost context first, without the source's own text when the
/// source is chained (print the chain with `{:#}`, or walk [`source`](std::error::Error::source)).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    context: Vec<Cow<'static, str>>,
    source: Option<BoxError>,
    retry_after: Option<Duration>,
    retryable: Option<bool>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            context: Vec::new(),
            source: None,
            retry_after: None,
            retryable: None,
        }))
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// [`ErrorKind::AlreadyExists`].
    pub fn already_exists(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::AlreadyExists, message)
    }

    /// [`ErrorKind::Conflict`].
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// [`ErrorKind::InvalidInput`].
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// [`ErrorKind::PermissionDenied`].
    pub fn permission_denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::PermissionDenied, message)
    }

    /// [`ErrorKind::Unauthenticated`].
    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unauthenticated, message)
    }

    /// [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// [`ErrorKind::Timeout`].
    pub fn timeout(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Timeout, message)
    }

    /// [`ErrorKind::Unsupported`]: `backend` cannot do `operation`.
    pub fn unsupported(operation: &str, backend: &str) -> Self {
        Self::new(
            ErrorKind::Unsupported,
            format!("{backend} does not support {operation}"),
        )
    }

    /// [`ErrorKind::Integrity`].
    pub fn integrity(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Integrity, message)
    }

    /// [`ErrorKind::Cancelled`].
    pub fn cancelled(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Cancelled, message)
    }

    /// [`ErrorKind::Failed`].
    pub fn failed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Keeps `source` as the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says what was being done when it happened; the last call is the outermost.
    #[must_use]
    pub fn context(mut self, context: impl Into<Cow<'static, str>>) -> Self {
        self.0.context.push(context.into());
        self
    }

    /// When the other side said to come back.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Overrides whether the kind counts as retryable.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = Some(retryable);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The innermost message, without context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// How long the other side asked to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same call may succeed later without anybody changing anything: unavailable, timed out, rate limited,
    /// or another operation in progress.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable.unwrap_or(matches!(
            self.0.kind,
            ErrorKind::Unavailable
                | ErrorKind::Timeout
                | ErrorKind::RateLimited
                | ErrorKind::OperationInProgress
        ))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for context in self.0.context.iter().rev() {
            write!(f, "{context}: ")?;
        }
        f.write_str(&self.0.message)?;
        if f.alternate() {
            let mut source = std::error::Error::source(self);
            while let Some(cause) = source {
                write!(f, ": {cause}")?;
                source = cause.source();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &format_args!("{self}"))
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Adds context to the error of a result.
pub trait ResultExt<T> {
    /// Says what was being done, when the result is an error.
    ///
    /// # Errors
    /// The same error, with the context around it.
    fn context<C: Into<Cow<'static, str>>>(self, context: impl FnOnce() -> C) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context<C: Into<Cow<'static, str>>>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|error| error.context(context()))
    }
}

/// A URL fit for messages: user name and password taken out, query values too.
///
/// Text that is not a URL (an scp-like address, a path) comes back without anything before an `@`.
pub fn redact_url(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?…"),
        None => (rest, ""),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = match authority.rsplit_once('@') {
        // `git@host:path` names no secret; a user with a password, or any user over a scheme, may be one (a token).
        Some((user, host)) if scheme.is_none() && !user.contains(':') => format!("{user}@{host}"),
        Some((_, host)) => host.to_owned(),
        None => authority.to_owned(),
    };
    match scheme {
        Some("ssh") => format!("ssh://{host}{path}{query}"),
        Some(scheme) => format!("{scheme}://{host}{path}{query}"),
        None => format!("{host}{path}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_tells_the_story_outermost_first() {
        let error = Error::not_found("no branch 'x'")
            .context("resolve")
            .context("open repository");
        assert_eq!(error.to_string(), "open repository: resolve: no branch 'x'");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!error.is_retryable());
    }

    #[test]
    fn alternate_display_walks_the_sources() {
        let error =
            Error::unavailable("cannot connect").with_source(std::io::Error::other("refused"));
        assert_eq!(format!("{error:#}"), "cannot connect: refused");
        assert_eq!(error.to_string(), "cannot connect");
        assert!(error.is_retryable());
        assert!(!error.with_retryable(false).is_retryable());
    }

    #[test]
    fn urls_lose_their_credentials() {
        assert_eq!(
            redact_url("https://u:canary@h/x?token=canary"),
            "https://h/x?…"
        );
        assert_eq!(redact_url("https://canary@h:8443/x"), "https://h:8443/x");
        assert_eq!(redact_url("git@h:x.git"), "git@h:x.git");
        assert_eq!(redact_url("/srv/repo"), "/srv/repo");
        assert_eq!(redact_url("ssh://git@h/x"), "ssh://h/x");
    }
}
