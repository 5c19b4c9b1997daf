//! Everything a program does with the objects of Flux: make, read, watch, suspend, reconcile, wait for, export, delete.

mod delete;
mod export;
pub(crate) mod read;
mod reference;
pub(crate) mod request;
mod watch;
mod write;

use std::fmt;
use std::time::Duration;

use gitops_core::{Error, Result};
use gitops_kube::cluster::KubeCluster;
use gitops_kube::health::HealthRules;
use kube::Client;

pub use self::delete::DeleteOptions;
pub use self::export::Export;
pub use self::read::{FluxList, ListOptions, Unreadable};
pub use self::reference::FluxRef;
use self::request::Requests;
pub use self::watch::FluxEvent;
pub use self::write::{Applied, ApplyOptions, Change};
use crate::view;

/// How a [`FluxManager`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FluxOptions {
    /// The namespace of objects that name none.
    pub namespace: String,
    /// The namespace that Flux's controllers run in, where their Leases, Deployments and logs are (`flux logs --flux-namespace`).
    pub flux_namespace: String,
    /// Who writes, as `managedFields` show it.
    pub field_manager: String,
    /// One request, body included, takes at most this long.
    pub deadline: Duration,
    /// Reads, and writes that may be made twice (all but an apply of a named version), are tried again for so long while the API server cannot be reached or turns them away.
    pub retry_for: Duration,
    /// Objects per page of a list.
    pub page: u32,
}

impl Default for FluxOptions {
    fn default() -> Self {
        Self {
            namespace: view::NAMESPACE.to_owned(),
            flux_namespace: view::NAMESPACE.to_owned(),
            field_manager: view::MANAGER.to_owned(),
            deadline: Duration::from_secs(30),
            retry_for: Duration::from_secs(20),
            page: 500,
        }
    }
}

/// The objects of Flux in a cluster. Cheap to clone; clones share the client.
///
/// Names are `(namespace, name)`, an empty namespace meaning [`FluxOptions::namespace`]; where the kind is known only at run time, a [`FluxRef`].
///
/// # Errors
/// Every call answers: `NotFound` for an object that is not there, and, with a message that says so, for a kind whose definition is not installed; `PermissionDenied`,
/// `Unauthenticated`; `InvalidInput` for what the API server calls invalid and for names that are none; `Timeout`, `Unavailable`, `RateLimited`.
///
/// # Cancellation
/// Dropping a future cancels the request, which the API server may have carried out. It never cancels what a controller does.
#[derive(Clone)]
pub struct FluxManager {
    pub(crate) requests: Requests,
    pub(crate) cluster: KubeCluster,
    pub(crate) health: HealthRules,
    options: FluxOptions,
}

impl fmt::Debug for FluxManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluxManager")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl FluxManager {
    /// Flux in namespace `flux-system`. Make the client with deadlines and without kube's own retry (`gitops_kube::cluster::KubeCluster::connect` does).
    pub fn new(client: Client) -> Self {
        Self::with_options(client, FluxOptions::default())
    }

    /// Flux, with other options.
    pub fn with_options(client: Client, options: FluxOptions) -> Self {
        Self::on(KubeCluster::new(client), options)
    }

    /// Flux in the cluster of the environment: the current context of the kubeconfig, or the one that the program runs in.
    ///
    /// # Errors
    /// `InvalidInput` when there is no usable configuration.
    pub async fn connect() -> Result<Self> {
        let cluster = KubeCluster::connect().await?;
        Ok(Self::on(cluster, FluxOptions::default()))
    }

    fn on(cluster: KubeCluster, options: FluxOptions) -> Self {
        let client = cluster.client().clone();
        Self {
            requests: Requests::new(client, options.deadline, options.retry_for),
            cluster,
            health: HealthRules::strict(),
            options,
        }
    }

    /// Judges the objects that Flux applied by other rules when a failure is explained.
    #[must_use]
    pub fn with_health(mut self, health: HealthRules) -> Self {
        self.health = health;
        self
    }

    /// The options.
    pub fn options(&self) -> &FluxOptions {
        &self.options
    }

    /// The client.
    pub fn client(&self) -> &Client {
        self.requests.client()
    }

    /// The cluster, for what is not Flux's.
    pub fn cluster(&self) -> &KubeCluster {
        &self.cluster
    }

    /// With the namespace filled in.
    pub(crate) fn resolve(&self, object: &FluxRef) -> FluxRef {
        FluxRef {
            kind: object.kind,
            namespace: self.namespace_or_own(&object.namespace).to_owned(),
            name: object.name.clone(),
        }
    }

    pub(crate) fn namespace_or_own<'a>(&'a self, namespace: &'a str) -> &'a str {
        match namespace {
            "" => &self.options.namespace,
            named => named,
        }
    }

    /// Where the controllers are looked for: where it is said, or where the options say.
    pub(crate) fn controllers_in(&self, namespace: &str) -> String {
        match namespace {
            "" => self.options.flux_namespace.clone(),
            named => named.to_owned(),
        }
    }
}

/// An object that cannot be read as its kind.
pub(crate) fn unreadable(what: impl fmt::Display, error: serde_json::Error) -> Error {
    let reason = self::read::without_values(&error.to_string());
    Error::integrity(format!("{what} cannot be read: {reason}"))
}
