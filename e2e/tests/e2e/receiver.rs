//! An HTTP receiver that keeps what it is sent, over plain HTTP or TLS.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Result<&str> {
        let value = self.headers.get(name);
        Ok(value.with_context(|| format!("no {name}"))?.to_str()?)
    }

    pub(crate) fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// Ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Receiver {
    url: String,
    messages: Arc<Mutex<Vec<Message>>>,
    away: Arc<AtomicUsize>,
}

impl Receiver {
    pub(crate) async fn http() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let receiver = Self::at(format!("http://{}", listener.local_addr()?));
        let router = receiver.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(receiver)
    }

    /// With the certificate in a folder that `e2e::certificates::make` filled.
    pub(crate) async fn https(dir: &Path) -> Result<Self> {
        e2e::init();
        let chain = vec![CertificateDer::from_pem_file(dir.join("cert.pem"))?];
        let key = PrivateKeyDer::from_pem_file(dir.join("key.pem"))?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let receiver = Self::at(format!("https://{}", tcp.local_addr()?));
        let router = receiver.router();
        let listener = Tls {
            tcp,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        };
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(receiver)
    }

    fn at(url: String) -> Self {
        Self {
            url,
            messages: Arc::default(),
            away: Arc::default(),
        }
    }

    fn router(&self) -> axum::Router {
        let receiver = self.clone();
        axum::Router::new().fallback(
            move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                let status = receiver.take(Message {
                    method,
                    path: uri.path().to_owned(),
                    headers,
                    body,
                });
                std::future::ready(status)
            },
        )
    }

    fn take(&self, message: Message) -> StatusCode {
        self.lock().push(message);
        let away =
            (self.away).fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match away {
            Ok(_) => StatusCode::SERVICE_UNAVAILABLE,
            Err(_) => StatusCode::NO_CONTENT,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Answers so many requests that it is away.
    pub(crate) fn be_away(&self, times: usize) {
        self.away.store(times, Ordering::SeqCst);
    }

    /// What came to a path, in order.
    pub(crate) fn at_path(&self, path: &str) -> Vec<Message> {
        let messages = self.lock();
        (messages.iter().filter(|message| message.path == path))
            .cloned()
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // A client that does not trust the certificate ends its handshake.
            if let Ok((stream, address)) = self.tcp.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
