//! Argo CD over its REST API.
//!
//! [`ArgoCd`] has a method for each call of argo-cd 3.2's API (`assets/swagger.json`), grouped by what they are about in the files of this module. Each call:
//!
//! - carries a token that is got when it is needed and renewed before it ends,
//! - names the application's project, so that an application that is not there is `NotFound` and not `PermissionDenied`,
//! - is sent within [`Config::rate_limit`], has its answer within [`Config::timeout`] from then on, and, if it only reads, is tried again within [`Config::retry`]; a token that is
//!   to be got first, and the application's project, take a time limit of their own,
//! - follows no redirect: the token goes to the one server only.
//!
//! Dropping a call's future abandons the request; what the server began by then it finishes.

mod access;
mod account;
mod answer;
mod application;
mod call;
mod cluster;
mod config;
mod files;
mod locate;
mod model;
mod operation;
mod project;
mod repository;
mod resource;
mod revision;
mod session;
mod set;
mod settings;
mod stream;

use std::fmt;
use std::sync::{Arc, OnceLock};

use gitops_core::application::AppRef;
use gitops_core::limit::Throttle;
use gitops_core::{Error, Result};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

pub use self::account::{Account, AccountToken, UserInfo};
pub use self::application::{ApplicationQuery, CreateOptions};
pub use self::call::Refresh;
pub use self::cluster::ClusterId;
pub use self::config::{ClientCertificate, Config, RetryOptions};
pub use self::files::LocalConfig;
pub use self::model::*;
pub use self::operation::{RollbackRequest, SyncOptionsItems, SyncRequest};
pub use self::repository::Access;
pub use self::resource::{LogEntry, LogQuery, PatchType, ResourceRef};

use self::session::Session;

/// A client of Argo CD's API server. Clones share connections, session and limits.
#[derive(Clone)]
pub struct ArgoCd(Arc<Inner>);

struct Inner {
    base: Url,
    client: reqwest::Client,
    session: Session,
    throttle: Option<Throttle>,
    projects: quick_cache::sync::Cache<AppRef, String>,
    /// Argo CD's own, once the server has said it.
    namespace: OnceLock<String>,
    config: Config,
    /// What keeps the way open, where it leads through Kubernetes.
    #[cfg(feature = "kube")]
    _forwarded: Option<crate::kube::Forwarded>,
}

impl fmt::Debug for ArgoCd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArgoCd")
            .field("server", &self.0.base.as_str())
            .field("session", &self.0.session)
            .finish_non_exhaustive()
    }
}

impl ArgoCd {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// `InvalidInput` for a server, certificate, proxy or header that cannot be used.
    pub fn new(config: Config) -> Result<Self> {
        Self::build(
            config,
            #[cfg(feature = "kube")]
            None,
        )
    }

    #[cfg(feature = "kube")]
    pub(crate) fn forwarded(config: Config, forwarded: crate::kube::Forwarded) -> Result<Self> {
        Self::build(config, Some(forwarded))
    }

    fn build(
        config: Config,
        #[cfg(feature = "kube")] forwarded: Option<crate::kube::Forwarded>,
    ) -> Result<Self> {
        let base = config.base()?;
        let builder = builder(&config)?;
        #[cfg(feature = "kube")]
        let builder = match &forwarded {
            Some(way) => way.prepare(builder, config.client_certificate.as_ref())?,
            None => builder,
        };
        let client = builder
            .build()
            .map_err(|error| Error::invalid("no HTTP client can be made").with_source(error))?;
        Ok(Self(Arc::new(Inner {
            session: Session::new(config.credentials.clone(), &base),
            base,
            client,
            throttle: config.rate_limit.map(Throttle::new),
            // One short text per application: enough for the largest installations that are known.
            projects: quick_cache::sync::Cache::new(50_000),
            namespace: OnceLock::new(),
            config,
            #[cfg(feature = "kube")]
            _forwarded: forwarded,
        })))
    }

    /// The server's URL.
    pub fn server(&self) -> &Url {
        &self.0.base
    }
}

fn builder(config: &Config) -> Result<reqwest::ClientBuilder> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster; theirs is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let name = HeaderName::try_from(name.as_str())
            .map_err(|error| Error::invalid(format!("{name:?} is no header")).with_source(error))?;
        let mut value = HeaderValue::try_from(value.expose())
            .map_err(|_| Error::invalid(format!("the value of header {name} cannot be sent")))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(config.connect_timeout)
        .default_headers(headers)
        .danger_accept_invalid_certs(config.danger_accept_invalid_certs)
        .user_agent(concat!("gitops-rs/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = &config.ca_pem {
        for ca in reqwest::Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|error| Error::invalid("the CA is no PEM").with_source(error))?
        {
            builder = builder.add_root_certificate(ca);
        }
    }
    if let Some(own) = &config.client_certificate {
        let pem = format!("{}\n{}", own.certificate_pem, own.key_pem.expose());
        // The error may quote the key.
        let identity = reqwest::Identity::from_pem(pem.as_bytes())
            .map_err(|_| Error::invalid("the client certificate or its key is no PEM"))?;
        builder = builder.identity(identity);
    }
    if let Some(proxy) = &config.proxy {
        // The error may quote the proxy's password.
        let proxy =
            reqwest::Proxy::all(proxy).map_err(|_| Error::invalid("the proxy is no URL"))?;
        builder = builder.proxy(proxy);
    }
    Ok(builder)
}
