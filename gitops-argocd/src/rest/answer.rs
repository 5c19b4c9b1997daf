//! What the server answered: bodies within a limit, and errors.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gitops_core::{Error, ErrorKind, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// An error as grpc-gateway writes it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: Option<i64>,
    error: Option<String>,
    message: Option<String>,
}

/// Messages are for people: enough of them, and no control characters that would forge lines in a log.
const LONGEST_MESSAGE: usize = 2_000;

fn readable(text: &str) -> String {
    let mut readable: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_MESSAGE)
        .collect();
    if text.chars().nth(LONGEST_MESSAGE).is_some() {
        readable.push('…');
    }
    readable
}

/// What argo-cd 3.2 says while an operation runs (`ErrAnotherOperationInProgress`, util/argo).
const BUSY: &str = "another operation is already in progress";
/// What it says of an application, application set or repository that is there and different.
const DIFFERENT: &str = "use upsert flag to force update";

/// What it says of a certificate that is there and different, and of a token's id that is taken.
const THERE: [&str; 2] = [
    "upsert was not specified",
    "account already has token with id",
];

/// The kind of a gRPC code; see `google.golang.org/grpc/codes`.
fn kind_of_code(code: i64, message: &str) -> ErrorKind {
    match code {
        1 => ErrorKind::Cancelled,
        3 if message.contains(DIFFERENT) => ErrorKind::AlreadyExists,
        3 | 11 => ErrorKind::InvalidInput,
        4 => ErrorKind::Timeout,
        5 => ErrorKind::NotFound,
        6 => ErrorKind::AlreadyExists,
        7 => ErrorKind::PermissionDenied,
        8 => ErrorKind::RateLimited,
        9 if message.contains(BUSY) => ErrorKind::OperationInProgress,
        9 | 10 => ErrorKind::Conflict,
        12 => ErrorKind::Unsupported,
        14 => ErrorKind::Unavailable,
        15 => ErrorKind::Integrity,
        16 => ErrorKind::Unauthenticated,
        _ => ErrorKind::Internal,
    }
}

/// The kind of an HTTP status whose body says nothing more: a proxy's, or a route that is not there.
fn kind_of_status(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        408 | 504 => ErrorKind::Timeout,
        409 => ErrorKind::Conflict,
        429 => ErrorKind::RateLimited,
        502 | 503 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::InvalidInput,
        _ => ErrorKind::Internal,
    }
}

/// The error in the middle of a stream, and of an answer that is no success.
pub(super) fn refused(
    status: Option<StatusCode>,
    code: Option<i64>,
    message: &str,
    what: &str,
) -> Error {
    let kind = match (code, status) {
        // Argo CD answers some errors of Kubernetes and of Git as Unknown (2): the status says no more than that.
        (Some(2), _) if message.contains(BUSY) => ErrorKind::OperationInProgress,
        (Some(2), _) if THERE.iter().any(|there| message.contains(there)) => {
            ErrorKind::AlreadyExists
        }
        (Some(code), _) if code > 0 => kind_of_code(code, message),
        (_, Some(status)) => kind_of_status(status),
        _ => ErrorKind::Internal,
    };
    let message = readable(message);
    let said = match (message.is_empty(), status) {
        (false, _) => message,
        (true, Some(status)) => status.to_string(),
        (true, None) => "no reason given".to_owned(),
    };
    Error::new(kind, said).context(what.to_owned())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    text.parse().ok().map(Duration::from_secs)
}

/// What kept a request from an answer.
pub(super) fn unreachable(error: reqwest::Error, what: &str) -> Error {
    let kind = if error.is_timeout() {
        ErrorKind::Timeout
    } else if error.is_builder() {
        ErrorKind::InvalidInput
    } else {
        ErrorKind::Unavailable
    };
    let said = match kind {
        ErrorKind::Timeout => "no answer in time",
        ErrorKind::InvalidInput => "the request cannot be sent",
        _ if error.is_connect() => "the server cannot be reached",
        _ => "the connection was cut",
    };
    Error::new(kind, said)
        .with_source(error.without_url())
        .context(what.to_owned())
}

/// Whether the request never left here, so that it may be sent again whatever it is.
pub(super) fn never_sent(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<reqwest::Error>())
        .is_some_and(reqwest::Error::is_connect)
}

/// The body, at most `limit` bytes of it.
async fn body(mut response: Response, limit: usize, what: &str) -> Result<Bytes> {
    let mut body = BytesMut::new();
    while let Some(part) = response
        .chunk()
        .await
        .map_err(|error| unreachable(error, what))?
    {
        if body.len() + part.len() > limit {
            return Err(
                Error::integrity(format!("the answer is longer than {limit} bytes"))
                    .context(what.to_owned()),
            );
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"))
}

/// An answer that is a success, else its error.
pub(super) async fn checked(response: Response, what: &str) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() {
        // Followed, it would carry the token to wherever the answer says.
        let to = response
            .headers()
            .get(LOCATION)
            .and_then(|to| url::Url::parse(to.to_str().ok()?).ok())
            .map(|to| to.origin().ascii_serialization());
        return Err(Error::invalid(match to {
            Some(to) => format!("the server redirects to {to}: name that as the server"),
            None => format!("the server answered {status}"),
        })
        .context(what.to_owned()));
    }
    let after = retry_after(response.headers());
    let json = is_json(response.headers());
    // A message is short; of an HTML page nothing is wanted.
    let text = body(response, 1 << 20, what).await.unwrap_or_default();
    let said: Status = if json {
        serde_json::from_slice(&text).unwrap_or_default()
    } else {
        Status::default()
    };
    let message = said.message.or(said.error).unwrap_or_default();
    let error = refused(Some(status), said.code, &message, what);
    Err(match after {
        Some(after) => error.with_retry_after(after),
        None => error,
    })
}

/// The body of a success, which is JSON.
pub(super) async fn json_body(response: Response, limit: usize, what: &str) -> Result<Bytes> {
    let response = checked(response, what).await?;
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .map(readable);
    if !is_json(response.headers()) {
        return Err(Error::integrity(match kind {
            Some(kind) => {
                format!("the answer is {kind}, not JSON: is something between here and Argo CD?")
            }
            None => "the answer is not JSON: is something between here and Argo CD?".to_owned(),
        })
        .context(what.to_owned()));
    }
    body(response, limit, what).await
}

/// JSON as a value. What ends too early counts as a connection that was cut.
pub(super) fn decode<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| unreadable(error, what))
}

pub(super) fn unreadable(error: serde_json::Error, what: &str) -> Error {
    let made = if error.is_eof() {
        Error::unavailable("the answer ends too early")
    } else {
        Error::integrity("the answer is not what was asked for")
    };
    made.with_source(error).context(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_grpc_are_kinds() {
        let kinds = [
            (1, ErrorKind::Cancelled),
            (2, ErrorKind::Internal),
            (3, ErrorKind::InvalidInput),
            (4, ErrorKind::Timeout),
            (5, ErrorKind::NotFound),
            (6, ErrorKind::AlreadyExists),
            (7, ErrorKind::PermissionDenied),
            (8, ErrorKind::RateLimited),
            (9, ErrorKind::Conflict),
            (10, ErrorKind::Conflict),
            (11, ErrorKind::InvalidInput),
            (12, ErrorKind::Unsupported),
            (13, ErrorKind::Internal),
            (14, ErrorKind::Unavailable),
            (15, ErrorKind::Integrity),
            (16, ErrorKind::Unauthenticated),
        ];
        for (code, kind) in kinds {
            let error = refused(None, Some(code), "why", "sync");
            assert_eq!(error.kind(), kind, "{code}");
            assert_eq!(error.to_string(), "sync: why");
        }
    }

    #[test]
    fn messages_tell_what_codes_do_not() {
        let busy = refused(
            None,
            Some(9),
            "another operation is already in progress",
            "",
        );
        assert_eq!(busy.kind(), ErrorKind::OperationInProgress);
        let different = refused(
            None,
            Some(3),
            "existing application spec is different, use upsert flag to force update",
            "",
        );
        assert_eq!(different.kind(), ErrorKind::AlreadyExists);
        let certificate =
            "TLS certificate for server 'a' already exists, and upsert was not specified";
        assert_eq!(
            refused(None, Some(2), certificate, "").kind(),
            ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn messages_forge_no_lines() {
        let error = refused(None, Some(2), "a\r\nb\u{1b}[31m", "x");
        assert!(!error.to_string().chars().any(char::is_control), "{error}");
        let long = refused(None, Some(2), &"é".repeat(10_000), "x");
        assert!(long.to_string().chars().count() < 2_100);
    }
}
