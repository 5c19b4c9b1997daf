//! Argo CD through the Kubernetes API: no API server of Argo CD is needed, only its controllers ("core" mode, `argocd --core`).
//!
//! [`KubeArgoCd`] reads and writes the custom resources and the labelled Secrets that Argo CD keeps its settings in, and is a way for an
//! [`ArgoCdBackend`](crate::ArgoCdBackend). Rights are those of the Kubernetes account; Argo CD's own RBAC and sync windows for syncs that somebody asks for are the
//! API server's business, and are not asked here. (The controller holds automated syncs against sync windows, whoever made the application.)
//!
//! What only the API server knows is not here: desired state ([`StateReader`](gitops_core::backend::StateReader)), resource trees, rendering, and, with the default
//! `resourceHealthSource: appTree` of Argo CD 3, the health of single resources.

mod access;
mod install;
mod pin;
mod port_forward;
mod secrets;

use std::fmt;

use gitops_core::application::AppRef;
use gitops_core::{Error, Result};
use gitops_kube::cluster::from_kube;
use kube::core::Request;
use kube::{Api, Client};

pub use self::install::{Installation, initial_admin_password, installation};
pub(crate) use self::port_forward::Forwarded;
pub use self::port_forward::PortForwardOptions;

use crate::types::{AppProject, Application, ApplicationSet};

/// Argo CD through the Kubernetes API. Clones share the client.
#[derive(Clone)]
pub struct KubeArgoCd {
    client: Client,
    namespace: String,
    everywhere: bool,
}

impl fmt::Debug for KubeArgoCd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeArgoCd")
            .field("namespace", &self.namespace)
            .field("everywhere", &self.everywhere)
            .finish_non_exhaustive()
    }
}

impl KubeArgoCd {
    /// Argo CD in namespace `argocd`. Make the client with deadlines and without kube's own retry (`gitops_kube::cluster::KubeCluster::connect` does).
    pub fn new(client: Client) -> Self {
        Self {
            client,
            namespace: "argocd".to_owned(),
            everywhere: false,
        }
    }

    /// Argo CD in another namespace.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Lists and watches are of all namespaces, for installations with applications in any namespace. It needs the right to list applications everywhere.
    #[must_use]
    pub fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    /// Argo CD's own namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The applications of Argo CD's namespace, for everything that `kube` can do with them.
    pub fn applications(&self) -> Api<Application> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The application sets of Argo CD's namespace.
    pub fn application_sets(&self) -> Api<ApplicationSet> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The projects.
    pub fn projects(&self) -> Api<AppProject> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn namespace_of<'a>(&'a self, app: &'a AppRef) -> &'a str {
        if app.namespace.is_empty() {
            &self.namespace
        } else {
            &app.namespace
        }
    }

    /// Requests for the applications of a namespace; of all with none.
    fn requests(&self, namespace: Option<&str>) -> Result<Request> {
        let group = format!("{}/{}", crate::types::GROUP, crate::types::VERSION);
        Ok(Request::new(match namespace {
            Some(namespace) => {
                let namespace = checked(namespace)?;
                format!("/apis/{group}/namespaces/{namespace}/applications")
            }
            None => format!("/apis/{group}/applications"),
        }))
    }

    /// Requests for one application.
    fn requests_for(&self, app: &AppRef) -> Result<Request> {
        checked(&app.name)?;
        self.requests(Some(self.namespace_of(app)))
    }

    /// Sends a request and reads the answer.
    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        request: Built,
        what: impl Fn() -> String,
    ) -> Result<T> {
        let request = request.map_err(|error| unbuilt(error).context(what()))?;
        let answer = self.client.request(request).await;
        answer.map_err(|error| from_kube(error).context(what()))
    }

    /// Sends a request and hands the answer over as it is.
    async fn text(&self, request: Built, what: impl Fn() -> String) -> Result<String> {
        let request = request.map_err(|error| unbuilt(error).context(what()))?;
        let answer = self.client.request_text(request).await;
        answer.map_err(|error| from_kube(error).context(what()))
    }
}

type Built = std::result::Result<http::Request<Vec<u8>>, kube::core::request::Error>;

fn unbuilt(error: kube::core::request::Error) -> Error {
    Error::invalid("the request cannot be built").with_source(error)
}

/// A name as Kubernetes allows it (RFC 1123). Clients put names into URLs as they are: `?` would name all things instead of one, and `../` others.
fn checked(name: &str) -> Result<&str> {
    let is_allowed =
        |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
    let is_edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let is_name = bytes.len() <= 253
        && bytes.iter().copied().all(is_allowed)
        && name
            .split('.')
            .all(|label| is_edge(label.as_bytes().first()) && is_edge(label.as_bytes().last()));
    if is_name {
        Ok(name)
    } else {
        Err(Error::invalid(format!("{name:?} is no name in Kubernetes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        let long = "a".repeat(254);
        for name in ["a", "0", "web-1", "team.web", "a--b", &long[..253]] {
            assert!(checked(name).is_ok(), "{name}");
        }
        for name in [
            "", "?", ".", "..", "../x", "a/b", "a?", "a#", "a%2f", "A", "-a", "a-", ".a", "a.",
            "a..b", "a_b", "a b", "ü", "a\n", &long,
        ] {
            assert!(checked(name).is_err(), "{name:?}");
        }
    }
}
