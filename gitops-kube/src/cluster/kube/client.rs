//! The HTTP client below a [`KubeCluster`](super::KubeCluster).

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::util::Either;
use tower::{BoxError, Layer, ServiceExt as _};

/// kube's client with `TCP_NODELAY`.
///
/// kube 5.0 leaves Nagle's algorithm on: the second of two small writes, which every request on a new TLS connection is, then waits for the
/// server's delayed acknowledgement, 40 ms on Linux. A no-op sync opens five connections. Behind a proxy, kube's own client is used.
pub(super) fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
    let http = http.map_err(BoxError::from);
    let headers = config.extra_headers_layer()?.layer(http);
    let service = match config.auth_layer()? {
        Some(layer) => Either::Left(layer.layer(headers)),
        None => Either::Right(headers),
    };
    let builder = ClientBuilder::new(service, config.default_namespace.clone());
    Ok(builder.with_layer(&config.base_uri_layer()).build())
}
