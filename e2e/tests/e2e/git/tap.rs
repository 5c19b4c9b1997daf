//! Something in front of a server that counts connections: a plain relay, or an HTTP proxy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Listens on a loopback port until dropped.
pub(super) struct Tap {
    pub(super) port: u16,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
enum Mode {
    /// Passes everything on to one port.
    Relay(u16),
    /// A proxy: `CONNECT`, and requests with an absolute URL.
    Proxy,
    /// Answers every request with a redirect to the same path below this.
    Redirect(String),
}

impl Tap {
    pub(super) async fn relay(port: u16) -> Result<Self> {
        Self::start(Mode::Relay(port)).await
    }

    pub(super) async fn proxy() -> Result<Self> {
        Self::start(Mode::Proxy).await
    }

    pub(super) async fn redirect(base: &str) -> Result<Self> {
        Self::start(Mode::Redirect(base.to_owned())).await
    }

    async fn start(mode: Mode) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let connections = Arc::new(AtomicUsize::new(0));
        let heads = Arc::default();
        let (count, record) = (Arc::clone(&connections), Arc::clone(&heads));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, mode.clone(), Arc::clone(&record)));
            }
        });
        Ok(Self {
            port,
            connections,
            heads,
            task,
        })
    }

    /// How many connections came.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The first request of each connection, with its headers (not of a relay).
    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut client: TcpStream, mode: Mode, heads: Arc<Mutex<Vec<String>>>) -> Result<()> {
    if let Mode::Relay(port) = mode {
        let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        return Ok(());
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8(head.clone())?;
    heads.lock().unwrap().push(text.clone());
    let mut words = text.split_whitespace();
    let (method, target) = (
        words.next().context("no method")?,
        words.next().context("no target")?,
    );
    if let Mode::Redirect(base) = mode {
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: {base}{target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        client.write_all(answer.as_bytes()).await?;
        return Ok(());
    }
    let mut server;
    if method == "CONNECT" {
        server = TcpStream::connect(target).await?;
        client
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await?;
    } else {
        let authority = target
            .split_once("://")
            .and_then(|(_, rest)| rest.split('/').next())
            .context("not an absolute URL")?;
        server = TcpStream::connect(authority).await?;
        server.write_all(&head).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
