//! The Kubernetes API as a way to Argo CD, and what a real API server cannot be made to show: that a request is not sent.
#![allow(clippy::unwrap_used)]

use futures::StreamExt;
use gitops_argocd::kube::{PortForwardOptions, initial_admin_password, installation};
use gitops_argocd::rest::{Access, ArgoCd};
use gitops_argocd::{ArgoCdBackend, KubeArgoCd};
use gitops_core::application::{AppRef, Application};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, ListOptions, PutMode, Selector, SyncOptions, Syncer,
};
use gitops_core::error::ErrorKind;
use serde_json::json;
use wiremock::matchers::path_regex;
use wiremock::{Mock, MockServer, ResponseTemplate};

fn client(server: &MockServer) -> kube::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = kube::Config::new(server.uri().parse().unwrap());
    config.default_retry = false;
    kube::Client::try_from(config).unwrap()
}

fn backend(server: &MockServer) -> ArgoCdBackend {
    ArgoCdBackend::new(KubeArgoCd::new(client(server)))
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused_before_anything_is_sent() {
    let server = MockServer::start().await;
    Mock::given(path_regex(".*"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"items": []})))
        .mount(&server)
        .await;
    let backend = backend(&server);
    let plain = DeleteOptions {
        cascade: false,
        ..DeleteOptions::default()
    };
    let names = [
        "", "?", "?x=y", "#", ".", "..", "../x", "a/b", "a%2fb", "a b", "A", "a\n",
    ];
    for name in names {
        let mut refs = vec![AppRef::new(name)];
        if !name.is_empty() {
            refs.push(AppRef::namespaced(name, "web"));
        }
        for app in refs {
            let options = SyncOptions::default();
            let mut wanted = Application::new(&*app.name);
            wanted.namespace.clone_from(&app.namespace);
            let results = [
                backend.delete(&app, &plain).await.err(),
                ApplicationStore::get(&backend, &app).await.err(),
                backend.status(&app).await.err(),
                backend.sync(&app, &options).await.err(),
                backend.put(&wanted, PutMode::Upsert).await.err(),
                backend.suspend(&app).await.err(),
                backend
                    .refresh(&app, gitops_argocd::rest::Refresh::Hard)
                    .await
                    .err(),
                ApplicationStore::list(
                    &backend,
                    &ListOptions {
                        selector: Selector::one(app.clone()),
                        ..ListOptions::default()
                    },
                )
                .await
                .err(),
                backend
                    .watch(Selector::one(app.clone()))
                    .next()
                    .await
                    .and_then(Result::err),
            ];
            for result in results {
                assert_eq!(result.unwrap().kind(), ErrorKind::InvalidInput, "{app:?}");
            }
        }
        let elsewhere = KubeArgoCd::new(client(&server)).in_namespace(name);
        let options = PortForwardOptions {
            namespace: name.into(),
            ..PortForwardOptions::default()
        };
        let service = PortForwardOptions {
            service: name.into(),
            ..PortForwardOptions::default()
        };
        let results = [
            elsewhere.list_clusters().await.err(),
            elsewhere.list_repositories(Access::Read).await.err(),
            installation(&client(&server), name).await.err(),
            initial_admin_password(&client(&server), name).await.err(),
            ArgoCd::port_forward_with(client(&server), options)
                .await
                .err(),
            ArgoCd::port_forward_with(client(&server), service)
                .await
                .err(),
        ];
        for result in results {
            assert_eq!(result.unwrap().kind(), ErrorKind::InvalidInput, "{name:?}");
        }
    }
    let sent = server.received_requests().await.unwrap();
    assert!(sent.is_empty(), "{sent:?}");
}
