//! Clients for a cluster, and namespaces for tests.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config};
use tokio::time::timeout;

use crate::cluster::{ADMIN, Cluster};
use crate::random_hex;

impl Cluster {
    /// A client of the administrator. Make one in each test: a client belongs to the runtime that it was made in.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        self.client_as(ADMIN).await
    }

    /// A client of one of the users, who have no right until a test binds a role to them.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub async fn client_as(&self, user: &str) -> Result<Client> {
        Client::try_from(self.config_as(user).await?).context("cannot make a client")
    }

    /// The configuration that [`Cluster::client_as`] uses, to be changed before a client is made of it.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub async fn config_as(&self, user: &str) -> Result<Config> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig_of(user))
            .context("cannot read the kubeconfig")?;
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .context("cannot use the kubeconfig")
    }

    /// Makes a namespace with a new name that begins with `prefix`, and waits until pods can be made in it (they need the service account
    /// that a controller makes; without controllers the caller has to).
    ///
    /// # Errors
    ///
    /// When the API server refuses.
    pub async fn namespace(&self, prefix: &str) -> Result<TestNamespace> {
        let client = self.client().await?;
        let name = format!("{prefix}-{}", random_hex(4)?);
        let object = Namespace {
            metadata: kube::api::ObjectMeta {
                name: Some(name.clone()),
                ..Default::default()
            },
            ..Default::default()
        };
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("cannot make namespace {name}"))?;
        if self.controllers {
            let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &name);
            let exists = await_condition(accounts, "default", |a: Option<&ServiceAccount>| {
                a.is_some()
            });
            timeout(Duration::from_secs(120), exists)
                .await
                .with_context(|| format!("namespace {name} got no service account"))?
                .with_context(|| format!("cannot watch namespace {name}"))?;
        }
        Ok(TestNamespace { name, client })
    }
}

/// A namespace of one test. It is left to the cluster's end, unless the test wants to see it removed.
#[derive(Clone)]
pub struct TestNamespace {
    name: String,
    client: Client,
}

impl TestNamespace {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The administrator's client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Asks for its removal and returns at once.
    ///
    /// # Errors
    ///
    /// When the API server refuses.
    pub async fn delete(&self) -> Result<()> {
        let api = Api::<Namespace>::all(self.client.clone());
        api.delete(&self.name, &DeleteParams::background())
            .await
            .context("cannot remove the namespace")?;
        Ok(())
    }
}
