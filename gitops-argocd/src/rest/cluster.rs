//! Clusters: `/api/v1/clusters`.

use gitops_core::Result;
use reqwest::Method;
use serde_json::Value;

use super::ArgoCd;
use super::call::Call;
use super::model::{Cluster, Items};

/// Names a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClusterId {
    /// By its API server's URL.
    Server(String),
    /// By its name.
    Name(String),
}

impl ClusterId {
    fn value(&self) -> &str {
        match self {
            Self::Server(value) | Self::Name(value) => value,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Server(_) => "url",
            Self::Name(_) => "name",
        }
    }
}

impl ArgoCd {
    fn cluster<'a>(
        &'a self,
        method: Method,
        id: &ClusterId,
        more: &[&str],
        what: &str,
    ) -> Call<'a> {
        let path = ["clusters", id.value()]
            .into_iter()
            .chain(more.iter().copied());
        self.call(method, path, what).query("id.type", id.kind())
    }

    /// The clusters that the caller may see, without secrets (`argocd cluster list`).
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn list_clusters(&self) -> Result<Vec<Cluster>> {
        let items: Items<Cluster> = self.get_call(["clusters"], "list clusters").json().await?;
        Ok(items.items.unwrap_or_default())
    }

    /// A cluster (`argocd cluster get`).
    ///
    /// # Errors
    /// `NotFound`, or `PermissionDenied` where the caller may not know whether it is there.
    pub async fn get_cluster(&self, id: &ClusterId) -> Result<Cluster> {
        self.cluster(Method::GET, id, &[], "get a cluster")
            .json()
            .await
    }

    /// Registers a cluster with the credentials in its `config` (what `argocd cluster add` does once it has made a service account).
    ///
    /// # Errors
    /// `AlreadyExists` for one that is there and different, without `upsert`; `Internal` when it cannot be reached or refuses the credentials: Argo CD tells that only in the
    /// message; `PermissionDenied`.
    pub async fn create_cluster(&self, cluster: &Cluster, upsert: bool) -> Result<Cluster> {
        self.call(Method::POST, ["clusters"], "register a cluster")
            .query_some("upsert", upsert.then_some(true))
            .body(cluster)?
            .json()
            .await
    }

    /// Replaces the named fields of a cluster (`argocd cluster set`): `name`, `namespaces`, `config`, `shard`, `clusterResources`, `labels`, `annotations`, `project`. With none all
    /// are replaced, the credentials too.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `Internal` when it cannot be reached or refuses the credentials.
    pub async fn update_cluster(
        &self,
        id: &ClusterId,
        cluster: &Cluster,
        fields: &[&str],
    ) -> Result<Cluster> {
        self.cluster(Method::PUT, id, &[], "update a cluster")
            .query_each("updatedFields", fields)
            .body(cluster)?
            .json()
            .await
    }

    /// Forgets a cluster (`argocd cluster rm`).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn delete_cluster(&self, id: &ClusterId) -> Result<()> {
        self.cluster(Method::DELETE, id, &[], "forget a cluster")
            .json::<Value>()
            .await
            .map(drop)
    }

    /// Has the cluster's token made anew (`argocd cluster rotate-auth`).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `InvalidInput` for a cluster that Argo CD did not make the token of.
    pub async fn rotate_cluster_auth(&self, id: &ClusterId) -> Result<()> {
        self.cluster(
            Method::POST,
            id,
            &["rotate-auth"],
            "make a cluster's token anew",
        )
        .json::<Value>()
        .await
        .map(drop)
    }

    /// Forgets what is cached of a cluster.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn invalidate_cluster_cache(&self, id: &ClusterId) -> Result<Cluster> {
        self.cluster(
            Method::POST,
            id,
            &["invalidate-cache"],
            "forget a cluster's cache",
        )
        .json()
        .await
    }
}
