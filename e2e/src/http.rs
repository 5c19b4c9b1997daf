//! Small HTTP requests to servers on the loopback interface: starting one must not take a client library.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Whether `path` is answered with success, within two seconds.
pub(crate) async fn is_ok(port: u16, path: &str) -> bool {
    let answer = timeout(Duration::from_secs(2), send(port, "GET", path, None, None)).await;
    matches!(answer, Ok(Ok((200..=299, _))))
}

/// One request with JSON both ways; fails with the server's answer when that is no success.
pub(crate) async fn json(
    port: u16,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Result<Value> {
    let request = send(port, method, path, token, Some(body));
    let (status, text) = timeout(Duration::from_secs(30), request)
        .await
        .with_context(|| format!("{method} {path}: no answer"))?
        .with_context(|| format!("{method} {path}"))?;
    if !(200..=299).contains(&status) {
        bail!("{method} {path}: {status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("{method} {path}: not JSON"))
}

async fn send(
    port: u16,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .context("cannot connect")?;
    let authorization = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    let body = body.map(Value::to_string).unwrap_or_default();
    // Version 1.0: the answer comes in one piece and ends with the connection.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{authorization}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream
        .write_all(request.as_bytes())
        .await
        .context("cannot send")?;
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .await
        .context("cannot receive")?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("not HTTP")?;
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("no status")?;
    Ok((status, body.to_owned()))
}
