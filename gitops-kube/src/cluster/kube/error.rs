//! What the API server and the way to it answer, in the SDK's kinds.

use std::time::Duration;

use gitops_core::{Error, ErrorKind};
use kube::core::Status;
use kube::runtime::watcher;

/// An error of kube's client as the SDK's, for code that speaks to the API server with [`kube::Client`] itself. The message is the server's own; about a Secret it may quote the
/// Secret.
pub fn from_kube(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => from_status(&status),
        kube::Error::Auth(error) => {
            Error::unauthenticated("the cluster's credentials cannot be used").with_source(error)
        }
        // A body that ends in the middle, or no JSON at all: a proxy, or a server that died.
        kube::Error::SerdeError(error) => {
            Error::unavailable("the API server's answer cannot be read").with_source(error)
        }
        error @ (kube::Error::HyperError(_)
        | kube::Error::Service(_)
        | kube::Error::ReadEvents(_)) => {
            let text = error.to_string();
            if text.contains("timed out") || text.contains("timeout") {
                Error::timeout("the API server did not answer in time").with_source(error)
            } else {
                Error::unavailable("the API server cannot be reached").with_source(error)
            }
        }
        error => Error::internal("the request to the API server failed").with_source(error),
    }
}

/// What interrupts a watch of kube's as the SDK's error, for code that watches with [`kube::runtime`] itself: of the kind that the server's answer has, `PermissionDenied` among them, and
/// `Unavailable` where there was none.
pub fn from_watch(error: watcher::Error) -> Error {
    let context = "the watch was interrupted";
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => from_kube(error).context(context),
        watcher::Error::WatchError(status) => from_status(&status).context(context),
        error => Error::unavailable(context).with_source(error),
    }
}

/// What the server answers 500 to although the request is at fault.
const SENDERS_FAULT: [&str; 5] = [
    "not declared in schema",
    "unknown field",
    "failed to create typed patch object",
    "failed to convert new object",
    "resourceVersion should not be set on objects to be created",
];

/// An answer that is no success as the SDK's error, for code that sends its own requests through [`kube::Client::send`]: a `Status`, or whatever a proxy or an overloaded server sends
/// instead. `Retry-After` is kept. About a Secret the message may quote the Secret.
pub fn from_answer(code: http::StatusCode, headers: &http::HeaderMap, body: &[u8]) -> Error {
    let status = serde_json::from_slice::<Status>(body).unwrap_or_else(|_| {
        // A page of HTML helps nobody.
        let text = String::from_utf8_lossy(body);
        let line = text.lines().next().unwrap_or_default().trim();
        let message: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
        Status::failure(&format!("{code}: {message}"), "").with_code(code.as_u16())
    });
    let error = from_status(&status);
    let after = headers
        .get(http::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    match after {
        // The API server says it in the header only when it turns requests away.
        Some(after) if error.retry_after().is_none() => error.with_retry_after(after),
        _ => error,
    }
}

fn from_status(status: &Status) -> Error {
    let message = status.message.as_str();
    let kind = match (status.code, status.reason.as_str()) {
        (_, "AlreadyExists") => ErrorKind::AlreadyExists,
        // What an apply patch says wrongly comes as 500 (API server 1.34); trying again does not help.
        (500, _) if SENDERS_FAULT.iter().any(|fault| message.contains(fault)) => {
            ErrorKind::InvalidInput
        }
        (400 | 405 | 406 | 413 | 415 | 422, _) => ErrorKind::InvalidInput,
        (401, _) => ErrorKind::Unauthenticated,
        (403, _) => ErrorKind::PermissionDenied,
        (404, _) => ErrorKind::NotFound,
        // 410: a continue token or resource version that is too old.
        (409 | 410, _) => ErrorKind::Conflict,
        (429, _) => ErrorKind::RateLimited,
        (504, _) => ErrorKind::Timeout,
        (502 | 503, _) => ErrorKind::Unavailable,
        // etcd's leader changes, storage time-outs, webhooks that cannot be called: they pass.
        (500, "InternalError" | "ServerTimeout") => ErrorKind::Unavailable,
        (500.., _) => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    let mut error = Error::new(kind, message.to_owned());
    if let Some(details) = &status.details
        && details.retry_after_seconds > 0
    {
        error = error.with_retry_after(Duration::from_secs(details.retry_after_seconds.into()));
    }
    error
}

/// The same error about a Secret, without what may quote its content: only messages of forms that quote no value are kept
/// (apimachinery, `pkg/util/validation/field/errors.go`; the schema errors of server-side apply name fields only).
pub(super) fn without_values(error: Error) -> Error {
    const SAFE: [&str; 5] = [
        "Forbidden: ",
        "Required value",
        "Too long",
        "not declared in schema",
        "unknown field",
    ];
    let message = error.message();
    let quotes = message.replace("Required value: ", "").contains("value: ");
    if error.kind() != ErrorKind::InvalidInput
        || (!quotes && SAFE.iter().any(|form| message.contains(form)))
    {
        return error;
    }
    Error::invalid(
        "the API server calls the Secret invalid; its message is left out because it may quote the content",
    )
}
