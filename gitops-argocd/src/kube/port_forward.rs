//! Reaching Argo CD's API server through the API server of Kubernetes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::from_kube;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::pin::pinned;
use super::{checked, initial_admin_password};
use crate::rest::{ArgoCd, ClientCertificate, Config};

/// How to reach Argo CD's API server through Kubernetes.
#[derive(Clone, Debug)]
pub struct PortForwardOptions {
    /// Argo CD's namespace.
    pub namespace: String,
    /// The API server's Service.
    pub service: String,
    /// Everything else of the client; its server is found, and with no credentials `admin` logs in with the [initial password](initial_admin_password), where that still
    /// is.
    pub config: Config,
}

impl Default for PortForwardOptions {
    fn default() -> Self {
        Self {
            namespace: "argocd".to_owned(),
            service: "argocd-server".to_owned(),
            config: Config::default(),
        }
    }
}

/// The way of a client through Kubernetes.
pub(crate) struct Forwarded {
    /// Kept for as long as a client goes through it.
    _serving: AbortOnDropHandle<()>,
    /// The one certificate that is taken for the server's.
    certificate: Option<String>,
}

impl Forwarded {
    /// Nothing but this machine is meant to be on the way: no proxy, and no other server.
    pub(crate) fn prepare(
        &self,
        builder: reqwest::ClientBuilder,
        own: Option<&ClientCertificate>,
    ) -> Result<reqwest::ClientBuilder> {
        let builder = builder.no_proxy();
        Ok(match &self.certificate {
            Some(pem) => builder.tls_backend_preconfigured(pinned(pem, own)?),
            None => builder,
        })
    }
}

impl ArgoCd {
    /// A client of the Argo CD in namespace `argocd`, through the API server of Kubernetes (`argocd --port-forward`).
    ///
    /// # Errors
    /// As [`port_forward_with`](Self::port_forward_with).
    pub async fn port_forward(client: Client) -> Result<Self> {
        Self::port_forward_with(client, PortForwardOptions::default()).await
    }

    /// A client through the API server of Kubernetes: a port of this machine's loopback address leads to a ready pod of Argo CD's API server, for as long as the client or
    /// a clone of it lives. Each connection looks for a pod anew, so that it outlives a rollout.
    ///
    /// TLS is that of the server: its own certificate, read from Kubernetes, is taken and no other, whatever names it has; once it has been exchanged, another client is
    /// needed. With [`Config::ca_pem`] it is any certificate for `localhost` of those CAs or the system's. A server with `server.insecure` in ConfigMap
    /// `argocd-cmd-params-cm` is spoken to in plain text, on loopback and inside Kubernetes' own TLS. No proxy is used, neither [`Config::proxy`] nor the environment's.
    ///
    /// # Errors
    /// `NotFound` when there is no such Service, no pod for it, or no certificate; `PermissionDenied` without the rights to read them and to forward ports.
    pub async fn port_forward_with(client: Client, options: PortForwardOptions) -> Result<Self> {
        let target = Target::find(&client, &options).await?;
        // A first look, so that what is missing is said here.
        target.pod(&client).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|error| Error::unavailable("no port to listen on").with_source(error))?;
        let address = listener
            .local_addr()
            .map_err(|error| Error::unavailable("no port to listen on").with_source(error))?;
        let mut config = options.config.clone();
        let mut one = None;
        if is_plain(&client, &options.namespace).await? {
            config.server = format!("http://{address}");
        } else {
            // The name is in the certificates that Argo CD makes for itself (argo-cd 3.2, util/settings).
            config.server = format!("https://localhost:{}", address.port());
            if config.ca_pem.is_none() && !config.danger_accept_invalid_certs {
                one = Some(certificate(&client, &options.namespace).await?);
            }
        }
        config.proxy = None;
        if config.credentials.is_none() {
            match initial_admin_password(&client, &options.namespace).await {
                Ok(password) => config = config.login("admin", password),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let forwarded = Forwarded {
            _serving: AbortOnDropHandle::new(tokio::spawn(serve(listener, client, target))),
            certificate: one,
        };
        Self::forwarded(config, forwarded)
    }
}

/// Where the Service leads.
struct Target {
    namespace: String,
    selector: String,
    port: IntOrString,
}

impl Target {
    async fn find(client: &Client, options: &PortForwardOptions) -> Result<Self> {
        let services: Api<Service> = Api::namespaced(client.clone(), checked(&options.namespace)?);
        let service = services
            .get(checked(&options.service)?)
            .await
            .map_err(|error| {
                from_kube(error).context(format!(
                    "look for Service {}/{}",
                    options.namespace, options.service
                ))
            })?;
        let bad = |why: &str| {
            Error::not_found(format!(
                "Service {}/{} {why}",
                options.namespace, options.service
            ))
        };
        let spec = service.spec.ok_or_else(|| bad("says nothing"))?;
        let selector = spec
            .selector
            .filter(|selector| !selector.is_empty())
            .ok_or_else(|| bad("selects no pods"))?;
        let ports = spec.ports.unwrap_or_default();
        let port = ports
            .iter()
            .find(|port| port.name.as_deref() == Some("https") || port.port == 443)
            .or(ports.first())
            .ok_or_else(|| bad("has no ports"))?;
        Ok(Self {
            namespace: options.namespace.clone(),
            selector: selector
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect::<Vec<_>>()
                .join(","),
            port: port
                .target_port
                .clone()
                .unwrap_or(IntOrString::Int(port.port)),
        })
    }

    /// A ready pod and its port.
    async fn pod(&self, client: &Client) -> Result<(String, u16)> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let params = ListParams::default().labels(&self.selector);
        let list = pods
            .list(&params)
            .await
            .map_err(|error| from_kube(error).context("look for Argo CD's API server"))?;
        let ready = list.items.into_iter().find(is_ready).ok_or_else(|| {
            Error::not_found(format!(
                "no ready pod in {} has the labels {}",
                self.namespace, self.selector
            ))
        })?;
        let port = match &self.port {
            IntOrString::Int(port) => u16::try_from(*port).ok(),
            IntOrString::String(name) => ready
                .spec
                .iter()
                .flat_map(|spec| &spec.containers)
                .flat_map(|container| container.ports.iter().flatten())
                .find(|port| port.name.as_ref() == Some(name))
                .and_then(|port| u16::try_from(port.container_port).ok()),
        };
        let port =
            port.ok_or_else(|| Error::not_found("the pod does not have the Service's port"))?;
        Ok((ready.metadata.name.unwrap_or_default(), port))
    }
}

fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn is_plain(client: &Client, namespace: &str) -> Result<bool> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = maps
        .get_opt("argocd-cmd-params-cm")
        .await
        .map_err(|error| from_kube(error).context("read Argo CD's settings"))?;
    Ok(map
        .and_then(|map| map.data)
        .and_then(|data| data.get("server.insecure").cloned())
        .is_some_and(|text| text == "true"))
}

/// The certificate of Argo CD's API server: the administrator's (`argocd-server-tls`), or the one that it made for itself (`argocd-secret`).
async fn certificate(client: &Client, namespace: &str) -> Result<String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for name in ["argocd-server-tls", "argocd-secret"] {
        let secret = secrets
            .get_opt(name)
            .await
            .map_err(|error| from_kube(error).context("read the API server's certificate"))?;
        let pem = secret
            .and_then(|secret| secret.data)
            .and_then(|mut data| data.remove("tls.crt"))
            .and_then(|bytes| String::from_utf8(bytes.0).ok());
        if let Some(pem) = pem {
            return Ok(pem);
        }
    }
    Err(Error::not_found(format!(
        "no Secret in {namespace} has the certificate of Argo CD's API server: name its CA"
    )))
}

/// Takes connections until it is aborted, which ends those that are open, too.
async fn serve(listener: TcpListener, client: Client, target: Target) {
    let target = Arc::new(target);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let (client, target) = (client.clone(), Arc::clone(&target));
                connections.spawn(async move {
                    if let Err(error) = forward(stream, peer, &client, &target).await {
                        tracing::debug!(%error, "a forwarded connection ended");
                    }
                });
            }
            // Too many open files, perhaps: it passes.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

async fn forward(
    mut stream: TcpStream,
    peer: SocketAddr,
    client: &Client,
    target: &Target,
) -> Result<()> {
    let (pod, port) = target.pod(client).await?;
    tracing::debug!(%peer, pod, port, "forwarding a connection");
    let pods: Api<Pod> = Api::namespaced(client.clone(), &target.namespace);
    let mut forwarder = pods
        .portforward(&pod, &[port])
        .await
        .map_err(|error| from_kube(error).context(format!("forward a port of pod {pod}")))?;
    let mut upstream = forwarder
        .take_stream(port)
        .ok_or_else(|| Error::internal("the forwarded port has no stream"))?;
    let copied = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
    drop(upstream);
    forwarder.abort();
    copied
        .map(drop)
        .map_err(|error| Error::unavailable("the forwarded connection was cut").with_source(error))
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::path;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    const CHILD: &str = "GITOPS_TEST_BEHIND_A_PROXY";

    /// In a process of its own, whose environment names a proxy that is not there.
    #[test]
    fn what_is_forwarded_goes_through_no_proxy() {
        if std::env::var_os(CHILD).is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            return runtime.unwrap().block_on(behind_a_proxy());
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "kube::port_forward::tests::what_is_forwarded_goes_through_no_proxy",
        ]);
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            child.env(name, "http://127.0.0.1:9");
        }
        child
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .env(CHILD, "1");
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }

    async fn behind_a_proxy() {
        let server = MockServer::start().await;
        Mock::given(path("/api/version"))
            .respond_with(
                ResponseTemplate::new(200).set_body_raw(r#"{"Version":"v3"}"#, "application/json"),
            )
            .mount(&server)
            .await;
        let config = || Config {
            retry: None,
            ..Config::new(server.uri())
        };
        let error = ArgoCd::new(config()).unwrap().version().await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Unavailable,
            "the environment's proxy counts"
        );
        let forwarded = Forwarded {
            _serving: AbortOnDropHandle::new(tokio::spawn(async {})),
            certificate: None,
        };
        let client = ArgoCd::forwarded(config(), forwarded).unwrap();
        assert_eq!(client.version().await.unwrap().version, "v3");
    }
}
