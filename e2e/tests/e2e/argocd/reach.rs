//! Finding an installation in a cluster, and reaching its server through Kubernetes.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{ArgoCd, NodeKind};
use futures::StreamExt;
use gitops_argocd::ArgoCdBackend;
use gitops_argocd::kube::{PortForwardOptions, initial_admin_password, installation};
use gitops_argocd::rest::{ApplicationQuery, ArgoCd as Client, Config, LogQuery};
use gitops_core::backend::{ApplicationStore, PutMode, SyncOptions, SyncerExt};
use gitops_core::error::ErrorKind;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::support::{PATIENCE, application, deployment, repository, unique};

async fn apply(argocd: &ArgoCd, namespace: &str, object: &Value) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("object.json");
    tokio::fs::write(&file, object.to_string()).await?;
    let file = file.to_string_lossy();
    argocd
        .cluster
        .kubectl(&[
            "apply",
            "--server-side",
            "--namespace",
            namespace,
            "--filename",
            &file,
        ])
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_found() -> Result<()> {
    e2e::init();
    let argocd = e2e::argocd().await?;
    let client = argocd.cluster.client().await?;
    let kinds = ["AppProject", "Application", "ApplicationSet"];

    // The fixture's components run beside the cluster: the kinds are there, and no component.
    let found = installation(&client, &argocd.namespace).await?;
    assert_eq!(found.kinds, kinds);
    assert!(!found.is_ready(), "{found:?}");

    let namespace = argocd.cluster.namespace("installed").await?;
    let found = installation(&client, namespace.name()).await?;
    assert_eq!(
        (found.kinds.len(), found.components.len(), found.version),
        (3, 0, None)
    );
    let labels = json!({"app.kubernetes.io/part-of": "argocd"});
    for (name, image) in [
        ("argocd-redis", "docker.io/library/redis:8.2.3-alpine"),
        ("argocd-server", "quay.io/argoproj/argocd:v3.2.11"),
    ] {
        let pod = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": image}]}});
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": pod},
        });
        apply(argocd, namespace.name(), &object).await?;
    }
    let found = installation(&client, namespace.name()).await?;
    assert_eq!(found.version.as_deref(), Some("v3.2.11"));
    assert_eq!(
        found.components,
        [
            ("argocd-redis".to_owned(), 0),
            ("argocd-server".to_owned(), 0)
        ]
    );
    assert!(!found.is_ready());

    let password = initial_admin_password(&client, &argocd.namespace).await?;
    assert_eq!(password.expose(), argocd.admin_password);
    let error = initial_admin_password(&client, namespace.name())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let nobody = argocd.cluster.client_as("alice").await?;
    for error in [
        initial_admin_password(&nobody, &argocd.namespace)
            .await
            .unwrap_err(),
        installation(&nobody, &argocd.namespace).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    Ok(())
}

/// A pod in the network of the node, where the server listens.
async fn pod(argocd: &ArgoCd, namespace: &str, name: &str) -> Result<()> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "argocd-server"}},
        "spec": {
            "hostNetwork": true,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main",
                "image": e2e::BUSYBOX,
                "imagePullPolicy": "Never",
                "command": ["sleep", "3600"],
            }],
        },
    });
    apply(argocd, namespace, &object).await?;
    let pod = format!("pod/{name}");
    argocd
        .cluster
        .kubectl(&[
            "wait",
            "--for=condition=Ready",
            "--timeout=120s",
            "--namespace",
            namespace,
            &pod,
        ])
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_reached_through_kubernetes() -> Result<()> {
    e2e::init();
    let argocd = e2e::argocd().await?;
    if let Some(NodeKind::Kwok { reason }) = argocd.node.as_ref().map(|node| &node.kind) {
        eprintln!("no ports to forward, nothing runs: {reason}");
        return Ok(());
    }
    let kube = argocd.cluster.client().await?;
    // A namespace of the test's own, so that the Service and the setting concern nobody else.
    let namespace = argocd.cluster.namespace("forwarded").await?;
    let namespace = namespace.name();
    let options = PortForwardOptions {
        namespace: namespace.to_owned(),
        ..PortForwardOptions::default()
    };
    let error = Client::port_forward_with(kube.clone(), options.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("argocd-server"), "{error}");

    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "argocd-server"},
        "spec": {
            "selector": {"app.kubernetes.io/name": "argocd-server"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": argocd.port},
                {"name": "https", "port": 443, "targetPort": argocd.port},
            ],
        },
    });
    let setting = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cmd-params-cm"}, "data": {"server.insecure": "true"}});
    // What an installation has, too.
    let password = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "argocd-initial-admin-secret"},
        "stringData": {"password": argocd.admin_password},
    });
    for object in [&service, &setting, &password] {
        apply(argocd, namespace, object).await?;
    }
    let error = Client::port_forward_with(kube.clone(), options.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("no ready pod"), "{error}");

    pod(argocd, namespace, "first").await?;
    // As the administrator, by the initial password; and with a token.
    let client = Client::port_forward_with(kube.clone(), options.clone()).await?;
    assert_eq!(client.user_info().await?.username, "admin");
    let robot = PortForwardOptions {
        config: Config::default().token(&*argocd.robot.token),
        ..options.clone()
    };
    let robot = Client::port_forward_with(kube.clone(), robot).await?;
    assert_eq!(robot.user_info().await?.username, "robot");
    let told = argocd.run_cli(&["version", "-o", "json"]).await?;
    let told: Value = serde_json::from_str(&told)?;
    assert_eq!(told["server"]["Version"], *client.version().await?.version);

    // An application, its log, and a stream that stays open.
    let name = unique("forwarded");
    let repository = repository(argocd, &name, &[("web.json", &*deployment("web"))]).await?;
    let backend = ArgoCdBackend::new(client.clone());
    let app = application(&name, &repository);
    backend.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    let outcome = tokio::time::timeout(
        PATIENCE,
        backend.sync_and_wait(&app, &SyncOptions::default()),
    )
    .await??;
    assert!(outcome.is_success(), "{outcome:?}");
    backend.wait_until_healthy(&app, PATIENCE).await?;
    let query = LogQuery {
        group: "apps".into(),
        kind: "Deployment".into(),
        resource_name: "web".into(),
        ..LogQuery::default()
    };
    let lines: Vec<_> = client.logs(&app, &query).await?.collect().await;
    let lines: Vec<_> = lines.into_iter().collect::<gitops_core::Result<_>>()?;
    assert_eq!(
        lines.iter().map(|line| &*line.content).collect::<Vec<_>>(),
        ["hello from web"]
    );
    let query = ApplicationQuery {
        name: Some(name.clone()),
        ..ApplicationQuery::default()
    };
    let mut open = client.watch_applications(&query).await?;
    tokio::time::timeout(PATIENCE, open.next())
        .await?
        .context("no event")??;

    // Another pod in its place: the next connections go there. Those of a pool may be of the old one.
    argocd
        .cluster
        .kubectl(&[
            "delete",
            "pod",
            "first",
            "--namespace",
            namespace,
            "--timeout=120s",
        ])
        .await?;
    pod(argocd, namespace, "second").await?;
    let listed = client.list_applications(&query).await?;
    assert_eq!(listed.len(), 1);
    let again = tokio::net::TcpStream::connect(address(&client)?).await?;
    drop(again);
    assert_eq!(client.user_info().await?.username, "admin");
    drop(open);

    // With the last clone the way is closed.
    let address = address(&client)?;
    drop((client, backend));
    tokio::time::timeout(PATIENCE, async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .context("the port is still open")?;
    assert_eq!(robot.list_applications(&query).await?.len(), 1);
    Ok(())
}

/// A port that speaks TLS with the certificate in `folder`, and leads to Argo CD.
async fn in_front(argocd: &ArgoCd, folder: &std::path::Path) -> Result<(JoinSet<()>, u16)> {
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem"))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let (port, to) = (listener.local_addr()?.port(), argocd.port);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut server = tokio::net::TcpStream::connect(("127.0.0.1", to)).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut server).await
            });
        }
    });
    Ok((serving, port))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_certificate_is_taken_and_no_other() -> Result<()> {
    e2e::init();
    let argocd = e2e::argocd().await?;
    if let Some(NodeKind::Kwok { reason }) = argocd.node.as_ref().map(|node| &node.kind) {
        eprintln!("no ports to forward, nothing runs: {reason}");
        return Ok(());
    }
    let kube = argocd.cluster.client().await?;
    let namespace = argocd.cluster.namespace("forwarded-tls").await?;
    let namespace = namespace.name();
    pod(argocd, namespace, "server").await?;
    let to = async |port: u16| {
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "argocd-server"},
            "spec": {
                "selector": {"app.kubernetes.io/name": "argocd-server"},
                "ports": [{"name": "https", "port": 443, "targetPort": port}],
            },
        });
        apply(argocd, namespace, &service).await
    };
    let with = async |name: &str, pem: &str| {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"tls.crt": pem}});
        apply(argocd, namespace, &secret).await
    };
    let options = |config: Config| PortForwardOptions {
        namespace: namespace.to_owned(),
        config: Config {
            retry: None,
            ..config.token(&*argocd.robot.token)
        },
        ..PortForwardOptions::default()
    };

    // The real server, with the certificate that it made for itself.
    let (_server, port) = argocd.tls_server("argocd-tls-server").await?;
    to(port).await?;
    let error = Client::port_forward_with(kube.clone(), options(Config::default()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    let own = argocd
        .cluster
        .kubectl(&[
            "get",
            "secret",
            "argocd-secret",
            "--namespace",
            &argocd.namespace,
            "--output=go-template={{index .data \"tls.crt\" | base64decode}}",
        ])
        .await?;
    with("argocd-secret", &own).await?;
    let client = Client::port_forward_with(kube.clone(), options(Config::default())).await?;
    assert_eq!(client.server().scheme(), "https");
    assert_eq!(client.user_info().await?.username, "robot");
    let mut open = client
        .watch_applications(&ApplicationQuery::default())
        .await?;
    drop(tokio::time::timeout(Duration::from_millis(1), open.next()).await);
    // The system's authorities do not know it, and nobody asked them.
    let anyone = Client::new(Config {
        retry: None,
        ..Config::new(client.server().as_str())
    })?;
    assert_eq!(
        anyone.version().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );

    // An administrator's certificate, which is not for `localhost`.
    let folder = tempfile::tempdir()?;
    e2e::certificates::make(folder.path()).await?;
    let pem = tokio::fs::read_to_string(folder.path().join("cert.pem")).await?;
    let ca = tokio::fs::read_to_string(folder.path().join("ca.pem")).await?;
    with("argocd-server-tls", &pem).await?;
    // Another server than the one whose certificate it is.
    let client = Client::port_forward_with(kube.clone(), options(Config::default())).await?;
    let error = client.user_info().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let (_front, port) = in_front(argocd, folder.path()).await?;
    to(port).await?;
    let client = Client::port_forward_with(kube.clone(), options(Config::default())).await?;
    assert_eq!(client.user_info().await?.username, "robot");
    // With a CA names count.
    let by_ca = Config {
        ca_pem: Some(ca),
        ..Config::default()
    };
    let client = Client::port_forward_with(kube.clone(), options(by_ca)).await?;
    let error = client.user_info().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    Ok(())
}

fn address(client: &Client) -> Result<String> {
    let url = client.server();
    let port = url.port().context("no port")?;
    Ok(format!("{}:{port}", url.host_str().context("no host")?))
}
