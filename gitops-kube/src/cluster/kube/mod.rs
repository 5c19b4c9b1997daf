//! A real cluster, through kube.

mod client;
mod discovery;
mod error;
mod request;
#[cfg(test)]
mod tests;
mod watch;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gitops_core::manifest::{GroupKind, GroupVersionKind, Object};
use gitops_core::{Error, ErrorKind, Result};
use kube::{Client, Config};
use serde_json::Value;

use self::discovery::Discovery;
pub use self::error::{from_answer, from_kube, from_watch};
pub use self::request::path_segment;
pub use self::watch::watch_backoff;
use super::{
    ApiKind, Cluster, DeleteParams, ListParams, ObjectKey, ObjectList, Patch, WatchEvent,
    WriteParams,
};

/// How a [`KubeCluster`] talks to its API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// One request, body included, takes at most this long.
    pub deadline: Duration,
    /// A connection is there within this time; used where the client is built here.
    pub connect_timeout: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// A real cluster.
#[derive(Clone)]
pub struct KubeCluster {
    client: Client,
    options: ClusterOptions,
    discovery: std::sync::Arc<Discovery>,
}

impl std::fmt::Debug for KubeCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeCluster")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl KubeCluster {
    /// The cluster behind `client`.
    ///
    /// kube's own retry should be off in the client ([`connect`](Self::connect) sees to it): the engine retries by itself, and two
    /// retries multiply. Prefer [`connect`](Self::connect) or [`from_config`](Self::from_config): a client that kube 5.0 makes loses 40 ms
    /// on every new connection, for want of `TCP_NODELAY`.
    pub fn new(client: Client) -> Self {
        Self::with_options(client, ClusterOptions::default())
    }

    /// The cluster behind `client`, with other options.
    pub fn with_options(client: Client, options: ClusterOptions) -> Self {
        Self {
            discovery: Discovery::new(client.clone()),
            client,
            options,
        }
    }

    /// The cluster of the environment: the current context of the kubeconfig, or the one that the program runs in.
    ///
    /// # Errors
    /// `InvalidInput` when there is no usable configuration.
    pub async fn connect() -> Result<Self> {
        let config = Config::infer().await.map_err(|error| {
            Error::invalid("no usable cluster configuration").with_source(error)
        })?;
        Self::from_config(config, ClusterOptions::default())
    }

    /// The cluster of `config`. kube's own retry is turned off; rustls' ring provider is installed when the process has none.
    ///
    /// # Errors
    /// `InvalidInput` when no client can be made of the configuration.
    pub fn from_config(mut config: Config, options: ClusterOptions) -> Result<Self> {
        install_crypto_provider();
        config.default_retry = false;
        config.connect_timeout = Some(options.connect_timeout);
        // Watches stay open longer than a request's deadline: the server pings them at least every few minutes.
        config.read_timeout = Some(Duration::from_secs(295));
        config.write_timeout = Some(options.deadline);
        let client = client::client(config).map_err(|error| {
            Error::invalid("no client can be made of the cluster configuration").with_source(error)
        })?;
        Ok(Self::with_options(client, options))
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the API server answers to a GET of `path` (`/version`, `/openapi/v3`), as JSON.
    ///
    /// # Errors
    /// As every call of [`Cluster`], `Timeout` included; `InvalidInput` for what is no path.
    pub async fn get_path(&self, path: &str) -> Result<Value> {
        if !path.starts_with('/') {
            return Err(Error::invalid(format!(
                "{path:?} is no path of an API server"
            )));
        }
        let request = http::Request::get(path)
            .header(http::header::ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|error| {
                Error::invalid(format!("{path:?} is no path of an API server")).with_source(error)
            })?;
        self.send(path, request).await
    }

    async fn send(&self, what: &str, request: http::Request<Vec<u8>>) -> Result<Value> {
        let answer = send(&self.client, request);
        match tokio::time::timeout(self.options.deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::timeout(format!(
                "{what}: no answer within {:?}",
                self.options.deadline
            ))),
        }
    }

    async fn write(
        &self,
        kind: &ApiKind,
        what: &str,
        request: http::Request<Vec<u8>>,
    ) -> Result<Object> {
        match self.send(what, request).await {
            Ok(value) => Object::new(value, None),
            // What a Secret's validation error quotes is the secret itself.
            Err(error) if kind.gvk.kind == "Secret" => Err(error::without_values(error)),
            Err(error) => Err(error),
        }
    }
}

/// Installs rustls' ring provider for the process, unless one is installed already: with several compiled in and none installed, rustls
/// panics at the first connection.
pub fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster; theirs is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

#[async_trait]
impl Cluster for KubeCluster {
    async fn resolve(&self, gvk: &GroupVersionKind) -> Result<ApiKind> {
        let find = self.discovery.resolve(gvk);
        match tokio::time::timeout(self.options.deadline, find).await {
            Ok(result) => result,
            Err(_) => Err(Error::timeout("discovery did not answer")),
        }
    }

    async fn resolve_any(&self, kind: &GroupKind) -> Result<ApiKind> {
        let find = self.discovery.resolve_any(kind);
        match tokio::time::timeout(self.options.deadline, find).await {
            Ok(result) => result,
            Err(_) => Err(Error::timeout("discovery did not answer")),
        }
    }

    fn invalidate(&self) {
        self.discovery.invalidate();
    }

    async fn get(&self, key: ObjectKey<'_>) -> Result<Option<Object>> {
        let request = request::get(key)?;
        match self.send("get", request).await {
            Ok(value) => Object::new(value, None).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, kind: &ApiKind, params: &ListParams) -> Result<ObjectList> {
        let mut value = self.send("list", request::list(kind, params)?).await?;
        let metadata = value.get("metadata").cloned().unwrap_or_default();
        let text = |field: &str| {
            metadata
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let items = match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let api_version = kind.gvk.api_version();
        let mut objects = Vec::with_capacity(items.len());
        for mut item in items {
            if let Value::Object(map) = &mut item {
                if params.metadata_only {
                    // They say that they are PartialObjectMetadata.
                    map.remove("apiVersion");
                    map.remove("kind");
                }
                map.entry("apiVersion")
                    .or_insert_with(|| api_version.as_str().into());
                map.entry("kind")
                    .or_insert_with(|| kind.gvk.kind.as_str().into());
            }
            objects.push(Object::new(item, None)?);
        }
        Ok(ObjectList {
            items: objects,
            resource_version: text("resourceVersion"),
            continue_token: Some(text("continue")).filter(|token| !token.is_empty()),
        })
    }

    async fn create(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        self.write(kind, "create", request::create(kind, object, params)?)
            .await
    }

    async fn apply(&self, kind: &ApiKind, object: &Object, params: &WriteParams) -> Result<Object> {
        self.write(kind, "apply", request::apply(kind, object, params)?)
            .await
    }

    async fn replace(
        &self,
        kind: &ApiKind,
        object: &Object,
        params: &WriteParams,
    ) -> Result<Object> {
        self.write(kind, "replace", request::replace(kind, object, params)?)
            .await
    }

    async fn patch(
        &self,
        key: ObjectKey<'_>,
        patch: &Patch,
        params: &WriteParams,
    ) -> Result<Object> {
        self.write(key.kind, "patch", request::patch(key, patch, params)?)
            .await
    }

    async fn delete(&self, key: ObjectKey<'_>, params: &DeleteParams) -> Result<()> {
        self.send("delete", request::delete(key, params)?)
            .await
            .map(|_| ())
    }

    fn watch(&self, kind: &ApiKind, params: ListParams) -> BoxStream<'static, Result<WatchEvent>> {
        watch::watch(&self.client, kind, params)
    }
}

/// Sends a request through kube's client and reads the answer here: kube's own reading loses the answer's headers (`Retry-After`), and
/// logs a body that it cannot read, whatever is in it.
async fn send(client: &Client, request: http::Request<Vec<u8>>) -> Result<Value> {
    let response = client
        .send(request.map(kube::client::Body::from))
        .await
        .map_err(error::from_kube)?;
    let (parts, body) = response.into_parts();
    let bytes = body.collect_bytes().await.map_err(error::from_kube)?;
    if !parts.status.is_success() {
        return Err(error::from_answer(parts.status, &parts.headers, &bytes));
    }
    serde_json::from_slice(&bytes).map_err(|error| error::from_kube(kube::Error::SerdeError(error)))
}
