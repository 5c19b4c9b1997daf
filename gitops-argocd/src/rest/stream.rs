//! Answers in parts: server-sent events or lines of JSON.

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use gitops_core::{Error, Result};
use reqwest::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

use super::answer::refused;

/// The server sends a line at least every 15 s (argoproj/pkg, grpc/http): after three that are missing the stream counts as cut.
const SILENCE: Duration = Duration::from_secs(45);

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Message<T> {
    #[serde(default = "none")]
    result: Option<T>,
    #[serde(default)]
    error: Option<StreamError>,
}

fn none<T>() -> Option<T> {
    None
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamError {
    grpc_code: Option<i64>,
    http_code: Option<u16>,
    message: String,
}

/// The parts of `response`. It ends when the server ends it; an error is the last item.
pub(super) fn parts<T: DeserializeOwned + Send + 'static>(
    response: Response,
    what: String,
    longest: usize,
) -> BoxStream<'static, Result<T>> {
    let bytes = response.bytes_stream().map_err(std::io::Error::other);
    let lines = FramedRead::new(
        StreamReader::new(bytes),
        LinesCodec::new_with_max_length(longest),
    );
    let cut = |what: &str, why: &'static str| Error::unavailable(why).context(what.to_owned());
    futures::stream::unfold(Some(lines), move |lines| {
        let what = what.clone();
        async move {
            let mut lines = lines?;
            loop {
                let line = match tokio::time::timeout(SILENCE, lines.next()).await {
                    Err(_) => return Some((Err(cut(&what, "the stream is silent")), None)),
                    Ok(None) => return None,
                    Ok(Some(Ok(line))) => line,
                    Ok(Some(Err(LinesCodecError::MaxLineLengthExceeded))) => {
                        let error = Error::integrity(format!(
                            "a message of the stream is longer than {longest} bytes"
                        ));
                        return Some((Err(error.context(what)), None));
                    }
                    Ok(Some(Err(LinesCodecError::Io(error)))) => {
                        let made = cut(&what, "the stream was cut").with_source(error);
                        return Some((Err(made), None));
                    }
                };
                match message(&line, &what) {
                    None => {}
                    Some(Ok(part)) => return Some((Ok(part), Some(lines))),
                    Some(Err(error)) => return Some((Err(error), None)),
                }
            }
        }
    })
    .boxed()
}

/// What one line says; nothing for signs of life.
fn message<T: DeserializeOwned>(line: &str, what: &str) -> Option<Result<T>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(':') || line.starts_with("event:") {
        return None;
    }
    let json = line.strip_prefix("data:").unwrap_or(line).trim();
    Some(match serde_json::from_str::<Message<T>>(json) {
        Ok(Message {
            error: Some(error), ..
        }) => {
            let status = error
                .http_code
                .and_then(|code| reqwest::StatusCode::from_u16(code).ok());
            Err(refused(status, error.grpc_code, &error.message, what))
        }
        Ok(Message {
            result: Some(part), ..
        }) => Ok(part),
        // Neither is not sent; a newer server's kind of message is not ours to judge.
        Ok(_) => return None,
        Err(error) if error.is_eof() => Err(Error::unavailable(
            "the stream was cut in the middle of a message",
        )
        .with_source(error)
        .context(what.to_owned())),
        Err(error) => Err(
            Error::integrity("a message of the stream is not what was asked for")
                .with_source(error)
                .context(what.to_owned()),
        ),
    })
}

#[cfg(test)]
mod tests {
    use gitops_core::ErrorKind;
    use serde_json::Value;

    use super::*;

    fn one(line: &str) -> Option<Result<Value>> {
        message(line, "watch")
    }

    #[test]
    fn signs_of_life_say_nothing() {
        for line in ["", ":", "  ", "event: x", "data: {}"] {
            assert!(one(line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn both_forms_are_read() -> Result<()> {
        for line in [
            r#"{"result":{"a":1}}"#,
            r#"data: {"result":{"a":1}}"#,
            "data:{\"result\":{\"a\":1}}\r",
        ] {
            let Some(part) = one(line) else {
                panic!("nothing in {line:?}")
            };
            assert_eq!(part?["a"], 1);
        }
        Ok(())
    }

    #[test]
    fn errors_have_their_kind_and_a_cut_is_one() {
        let cases = [
            (
                r#"{"error":{"grpc_code":16,"http_code":401,"message":"token is expired","http_status":"Unauthorized"}}"#,
                ErrorKind::Unauthenticated,
            ),
            (
                r#"{"error":{"http_code":503,"message":""}}"#,
                ErrorKind::Unavailable,
            ),
            (r#"{"result":{"a":"#, ErrorKind::Unavailable),
            ("<html>", ErrorKind::Integrity),
        ];
        for (line, kind) in cases {
            match one(line) {
                Some(Err(error)) => assert_eq!(error.kind(), kind, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
