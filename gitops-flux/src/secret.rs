//! The Secrets that Flux's objects refer to: `flux create secret`.
//!
//! Types and keys are those that the command of flux 2.7 writes (`pkg/manifestgen/sourcesecret`, fluxcd/pkg `runtime/secrets`), and that source-controller 1.7 and
//! kustomize-controller 1.7 read.
//!
//! | command | here |
//! | --- | --- |
//! | `create secret git` | [`FluxSecret::git_basic`], [`git_bearer`](FluxSecret::git_bearer), [`git_ssh`](FluxSecret::git_ssh) with an [`SshKey`] |
//! | `create secret githubapp` | [`github_app`](FluxSecret::github_app) |
//! | `create secret helm` | [`helm`](FluxSecret::helm) |
//! | `create secret oci` | [`oci`](FluxSecret::oci) |
//! | `create secret tls` | [`tls`](FluxSecret::tls) |
//! | `create secret proxy` | [`proxy`](FluxSecret::proxy) |
//! | `create secret notation` | [`notation`](FluxSecret::notation) |
//! | (no command) | [`token`](FluxSecret::token) for Receivers and Providers, [`sops`](FluxSecret::sops), [`kubeconfig`](FluxSecret::kubeconfig) |

mod kinds;
mod ssh;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitops_core::manifest::Object;
use gitops_core::secret::SecretString;
use gitops_core::{Error, Result, ResultExt as _};
use gitops_kube::cluster::{Cluster, ObjectKey, Scope, WriteParams};
use serde_json::json;

pub use self::ssh::SshKey;
#[cfg(feature = "ssh")]
pub use self::ssh::SshKeyAlgorithm;
pub use self::tls::Certificates;
use crate::manager::FluxManager;
use crate::view;

/// A Secret for Flux, not yet in a cluster. `Debug` tells its keys, and nothing of what is in them.
#[derive(Clone, PartialEq)]
pub struct FluxSecret {
    /// The Secret's name.
    pub name: String,
    /// Its namespace: that of the object that refers to it.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    kind: &'static str,
    data: BTreeMap<String, SecretString>,
}

impl fmt::Debug for FluxSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluxSecret")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("labels", &self.labels)
            .field("type", &self.kind)
            .field("keys", &self.data.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl FluxSecret {
    fn new(
        namespace: &str,
        name: &str,
        kind: &'static str,
        data: impl IntoIterator<Item = (&'static str, SecretString)>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            labels: BTreeMap::new(),
            kind,
            data: data
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// With a certificate authority (PEM) that the server's certificate is checked against (`ca.crt`); for Git over HTTPS.
    ///
    /// # Errors
    /// `InvalidInput` when there is no certificate in it.
    pub fn with_ca(mut self, ca: &str) -> Result<Self> {
        tls::check_ca(ca)?;
        self.data.insert("ca.crt".to_owned(), ca.into());
        Ok(self)
    }

    /// Its type (`Opaque`, `kubernetes.io/tls` …).
    pub fn secret_type(&self) -> &str {
        self.kind
    }

    /// The keys of its data.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.data.keys().map(String::as_str)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&SecretString> {
        self.data.get(key)
    }

    /// The Secret as an object, with all that is secret in it.
    ///
    /// # Errors
    /// `InvalidInput` without a name.
    pub fn to_object(&self) -> Result<Object> {
        required(&[("name", &self.name), ("namespace", &self.namespace)])?;
        let data: BTreeMap<&str, String> = self
            .data
            .iter()
            .map(|(key, value)| (key.as_str(), STANDARD.encode(value.expose())))
            .collect();
        let mut value = json!({
            "apiVersion": "v1", "kind": "Secret", "type": self.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "data": data,
        });
        if !self.labels.is_empty() {
            value["metadata"]["labels"] = json!(self.labels);
        }
        Object::new(value, None)
    }

    /// Makes the Secret in the cluster, or gives the one that is there these keys; keys of somebody else's stay, as with the command. Returns whether it was made. It is written as
    /// `gitops-rs`, and takes over keys that others own.
    ///
    /// # Errors
    /// `InvalidInput` when it is there with another type, which cannot be changed; `NotFound` for a namespace that is not there; `PermissionDenied`. No message holds what is in it.
    pub async fn apply(&self, cluster: &dyn Cluster) -> Result<bool> {
        self.apply_as(cluster, view::MANAGER).await
    }

    async fn apply_as(&self, cluster: &dyn Cluster, manager: &str) -> Result<bool> {
        let what = || format!("apply Secret {}/{}", self.namespace, self.name);
        let object = self.to_object().context(what)?;
        let kind = view::native("", "Secret", "secrets", Scope::Namespaced);
        let key = ObjectKey {
            kind: &kind,
            namespace: &self.namespace,
            name: &self.name,
        };
        let before = cluster.get(key).await.context(what)?;
        if let Some(before) = &before
            && view::text(before, &["type"]).unwrap_or("Opaque") != self.kind
        {
            return Err(Error::invalid(format!(
                "it is there with type {}, not {}; a Secret's type cannot be changed",
                view::text(before, &["type"]).unwrap_or("Opaque"),
                self.kind
            ))
            .context(what()));
        }
        let params = WriteParams {
            field_manager: manager.to_owned(),
            force: true,
            ..WriteParams::default()
        };
        cluster.apply(&kind, &object, &params).await.context(what)?;
        Ok(before.is_none())
    }
}

impl FluxManager {
    /// Makes a Secret, or gives the one that is there its keys: [`FluxSecret::apply`], as the manager's field manager; an empty namespace means the manager's own. Returns whether it was
    /// made.
    ///
    /// # Errors
    /// As there.
    pub async fn create_secret(&self, secret: &FluxSecret) -> Result<bool> {
        let mut secret = secret.clone();
        secret.namespace = self.namespace_or_own(&secret.namespace).to_owned();
        let manager = &self.options().field_manager;
        secret.apply_as(self.cluster(), manager).await
    }
}

fn required(fields: &[(&str, &str)]) -> Result<()> {
    match fields.iter().find(|(_, value)| value.is_empty()) {
        Some((name, _)) => Err(Error::invalid(format!("{name} is required"))),
        None => Ok(()),
    }
}
