//! The Kubernetes API as a way to Argo CD, and what a real API server cannot be made to show: that a request is not sent.
#![allow(clippy::unwrap_used)]

use futures::StreamExt;
use gitops_argocd::kube::{PortForwardOptions, initial_admin_password, installation};
use gitops_argocd::rest::{Access, ArgoCd, Cluster};
use gitops_argocd::{ArgoCdBackend, KubeArgoCd};
use gitops_core::application::{AppRef, Application};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, ListOptions, Operation, PutMode, Selector, SyncOptions, Syncer,
};
use gitops_core::error::ErrorKind;
use serde_json::{Value, json};
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const APPLICATIONS: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications";

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

fn record() -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "web", "namespace": "argocd", "resourceVersion": "7", "uid": "u"},
        "spec": {"project": "default", "destination": {}, "syncPolicy": {"automated": {}}},
        "status": {},
    })
}

/// What was written of the application.
async fn patches(server: &MockServer) -> Vec<Value> {
    let requests = server.received_requests().await.unwrap();
    let patches = requests.iter().filter(|r| r.method.as_str() == "PATCH");
    patches
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect()
}

#[tokio::test]
async fn a_suspension_is_of_what_was_read() {
    let server = MockServer::start().await;
    let of = format!("{APPLICATIONS}/web");
    Mock::given(method("GET"))
        .and(path(&*of))
        .respond_with(ResponseTemplate::new(200).set_body_json(record()))
        .mount(&server)
        .await;
    // Somebody is faster once.
    let conflict = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Conflict", "code": 409, "message": "changed"});
    Mock::given(method("PATCH"))
        .and(path(&*of))
        .respond_with(ResponseTemplate::new(409).set_body_json(conflict))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(method("PATCH"))
        .and(path(&*of))
        .respond_with(ResponseTemplate::new(200).set_body_json(record()))
        .mount(&server)
        .await;
    backend(&server).suspend(&AppRef::new("web")).await.unwrap();
    let patch = json!({
        "metadata": {"resourceVersion": "7", "annotations": {"gitops.rs/suspended": "unset"}},
        "spec": {"syncPolicy": {"automated": {"enabled": false}}},
    });
    assert_eq!(patches(&server).await, [patch.clone(), patch]);
}

#[tokio::test]
async fn an_operation_that_nobody_takes_up_is_withdrawn() {
    let server = MockServer::start().await;
    let of = format!("{APPLICATIONS}/web");
    let mut pending = record();
    pending["operation"] = json!({
        "info": [{"name": "gitops.rs/operation", "value": "ours"}, {"name": "gitops.rs/deadline", "value": "2026-01-01T00:00:00Z"}],
        "sync": {},
    });
    let gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (seen, withdrawn) = (gone.clone(), gone.clone());
    Mock::given(method("GET"))
        .and(path(&*of))
        .respond_with(move |_: &Request| {
            let gone = seen.load(std::sync::atomic::Ordering::Relaxed);
            ResponseTemplate::new(200).set_body_json(if gone { record() } else { pending.clone() })
        })
        .mount(&server)
        .await;
    Mock::given(method("PATCH"))
        .and(path(&*of))
        .respond_with(move |_: &Request| {
            withdrawn.store(true, std::sync::atomic::Ordering::Relaxed);
            ResponseTemplate::new(200).set_body_json(record())
        })
        .mount(&server)
        .await;
    Mock::given(path(APPLICATIONS))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let operation = |id: &str| Operation {
        app: AppRef::new("web"),
        id: id.into(),
        started_at: jiff::Timestamp::now(),
    };
    let backend = backend(&server);
    // Not another one's.
    let error = backend.terminate(&operation("other")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    // Its time is up long since.
    let error = backend.wait(&operation("ours")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("withdrawn"), "{error}");
    let patch = json!({"metadata": {"resourceVersion": "7"}, "operation": null});
    assert_eq!(patches(&server).await, std::slice::from_ref(&patch));
    // Whoever asks for it alone is answered at once.
    gone.store(false, std::sync::atomic::Ordering::Relaxed);
    backend.terminate(&operation("ours")).await.unwrap();
    assert_eq!(patches(&server).await, [patch.clone(), patch]);
}

fn secret(name: &str, data: &Value, labels: &Value, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "argocd", "labels": labels, "annotations": annotations},
        "data": data,
    })
}

#[tokio::test]
async fn clusters_keep_their_labels_and_annotations() {
    let server = MockServer::start().await;
    let applied = "kubectl.kubernetes.io/last-applied-configuration";
    let there = secret(
        "cluster-a",
        // https://a
        &json!({"server": "aHR0cHM6Ly9h", "name": "YQ=="}),
        &json!({"argocd.argoproj.io/secret-type": "cluster", "env": "prod", "old": "x"}),
        &json!({"managed-by": "argocd.argoproj.io", "team": "web", applied: "{}"}),
    );
    let bad = secret(
        "cluster-b",
        // no JSON
        &json!({"server": "aHR0cHM6Ly9i", "config": "Y2FuYXJ5"}),
        &json!({}),
        &json!({}),
    );
    Mock::given(method("GET"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(
                json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {}, "items": [bad, there.clone()]}),
            ),
        )
        .mount(&server)
        .await;
    for verb in ["PUT", "POST"] {
        Mock::given(method(verb))
            .respond_with(ResponseTemplate::new(200).set_body_json(&there))
            .mount(&server)
            .await;
    }
    let argocd = KubeArgoCd::new(client(&server));
    // One bad Secret hides nothing.
    let mut clusters = argocd.list_clusters().await.unwrap();
    let mut found = clusters.remove(0);
    assert!(clusters.is_empty());
    assert_eq!(
        found.labels,
        Some(
            [("env", "prod"), ("old", "x")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into()
        )
    );
    assert_eq!(
        found.annotations,
        Some([("team".to_owned(), "web".to_owned())].into())
    );

    let written = async |wanted: &Cluster| {
        argocd.put_cluster(wanted).await.unwrap();
        let requests = server.received_requests().await.unwrap();
        let body: Value = serde_json::from_slice(&requests.last().unwrap().body).unwrap();
        (
            body["metadata"]["labels"].clone(),
            body["metadata"]["annotations"].clone(),
        )
    };
    // What is read, changed and written is as it was changed.
    found.labels.as_mut().unwrap().remove("old");
    found
        .labels
        .as_mut()
        .unwrap()
        .insert("tier".into(), "1".into());
    found.annotations = Some([("team".to_owned(), "shop".to_owned())].into());
    let (labels, annotations) = written(&found).await;
    assert_eq!(
        labels,
        json!({"argocd.argoproj.io/secret-type": "cluster", "env": "prod", "tier": "1"})
    );
    assert_eq!(
        annotations,
        json!({"managed-by": "argocd.argoproj.io", "team": "shop", applied: "{}"})
    );
    // What is not said stays; the type is nobody's to say.
    let unsaid = Cluster {
        labels: None,
        annotations: None,
        ..found.clone()
    };
    let (labels, annotations) = written(&unsaid).await;
    assert_eq!(
        (labels, annotations),
        (
            there["metadata"]["labels"].clone(),
            there["metadata"]["annotations"].clone()
        )
    );
    let new = Cluster {
        server: "https://c".into(),
        labels: Some(
            [
                (
                    "argocd.argoproj.io/secret-type".to_owned(),
                    "repository".to_owned(),
                ),
                ("env".to_owned(), "test".to_owned()),
            ]
            .into(),
        ),
        ..found.clone()
    };
    let (labels, annotations) = written(&new).await;
    assert_eq!(
        labels,
        json!({"argocd.argoproj.io/secret-type": "cluster", "env": "test"})
    );
    assert_eq!(
        annotations,
        json!({"managed-by": "argocd.argoproj.io", "team": "shop"})
    );
    let refused = Cluster {
        annotations: Some([(applied.to_owned(), "{}".to_owned())].into()),
        ..found
    };
    assert_eq!(
        argocd.put_cluster(&refused).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[tokio::test]
async fn one_record_that_cannot_be_read_hides_no_other() {
    let server = MockServer::start().await;
    let mut odd = record();
    odd["metadata"]["name"] = json!("odd");
    odd["spec"] = json!("text");
    let pages = [
        json!({"metadata": {"continue": "next"}, "items": [odd]}),
        json!({"metadata": {}, "items": [record()]}),
    ];
    for page in pages {
        Mock::given(path(APPLICATIONS))
            .respond_with(ResponseTemplate::new(200).set_body_json(page))
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    let options = ListOptions {
        readable_only: true,
        ..ListOptions::default()
    };
    let found = ApplicationStore::list(&backend(&server), &options)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].app.name, "web");
}
