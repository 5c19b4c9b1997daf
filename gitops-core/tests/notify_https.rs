//! Notifiers over TLS: a private CA is trusted when it is named, and not before.
//!
//! `tls/` holds a CA whose key was thrown away and a certificate that it issued for `localhost` and 127.0.0.1, both valid for a hundred years.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use gitops_core::ErrorKind;
use gitops_core::application::AppRef;
use gitops_core::backend::{EventKind, SyncEvent};
use gitops_core::notify::{HttpOptions, Notifier, WebhookNotifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const CA: &str = include_str!("tls/ca.pem");

/// A receiver that takes what comes over TLS, and its port.
async fn receiver() -> u16 {
    let chain = CertificateDer::from_pem_slice(include_bytes!("tls/receiver.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/receiver.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Who does not trust us hangs up.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut bytes = Vec::new();
            while !String::from_utf8_lossy(&bytes).contains("syncStarted") {
                stream.read_buf(&mut bytes).await.unwrap();
            }
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    port
}

#[tokio::test]
async fn a_private_ca_is_trusted_when_it_is_named() {
    let port = receiver().await;
    let event = SyncEvent::now(AppRef::new("shop"), "op", EventKind::SyncStarted);
    let named = HttpOptions {
        ca_pem: Some(CA.into()),
        ..HttpOptions::default()
    };
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{port}/hook/s3cret");
        let notifier = WebhookNotifier::new(&url, "key", &named).unwrap();
        notifier.notify(&event).await.unwrap();
        let notifier = WebhookNotifier::new(&url, "key", &HttpOptions::default()).unwrap();
        let error = notifier.notify(&event).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    let nonsense = HttpOptions {
        ca_pem: Some("no certificate".into()),
        ..HttpOptions::default()
    };
    let url = format!("https://localhost:{port}/");
    let made = WebhookNotifier::new(&url, "key", &nonsense);
    assert_eq!(made.unwrap_err().kind(), ErrorKind::InvalidInput);
}
