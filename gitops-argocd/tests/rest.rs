//! What the client asks Argo CD's API server for, and what it makes of the answers.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::StreamExt;
use gitops_argocd::ArgoCdBackend;
use gitops_argocd::rest::{ArgoCd, Config, LogQuery, SyncRequest};
use gitops_argocd::types::Application;
use gitops_core::application::AppRef;
use gitops_core::backend::{ApplicationStore, StatusEvent, Syncer};
use gitops_core::backend::{ListOptions, Selector};
use gitops_core::credential::{Credential, CredentialProvider, CredentialRequest};
use gitops_core::error::ErrorKind;
use serde_json::{Value, json};
use wiremock::matchers::{method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn config(server: &MockServer) -> Config {
    Config {
        retry: None,
        ..Config::new(server.uri()).token("t")
    }
}

fn client(server: &MockServer) -> ArgoCd {
    ArgoCd::new(config(server)).unwrap()
}

fn record(namespace: &str, project: &str) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": namespace, "resourceVersion": "7", "uid": namespace},
        "spec": {"project": project, "destination": {}},
        "status": {},
    })
}

fn json(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

async fn settings(server: &MockServer) {
    Mock::given(path("/api/v1/settings"))
        .respond_with(json(&json!({"controllerNamespace": "own"})))
        .mount(server)
        .await;
}

/// A server with an application `web` of project `ours` in its own namespace and one of project `theirs` in `team`. As argo-cd 3.2 does, it answers a list by name with
/// any one of them where no namespace is named.
async fn two_of_a_name() -> MockServer {
    let server = MockServer::start().await;
    settings(&server).await;
    for path_of in ["/api/v1/applications", "/api/v1/stream/applications"] {
        let (ours, theirs) = (record("own", "ours"), record("team", "theirs"));
        let answer = move |request: &Request| {
            let query = |name: &str| {
                let mut pairs = request.url.query_pairs();
                pairs
                    .find(|(key, _)| key == name)
                    .map(|(_, value)| value.into_owned())
            };
            let items = match (query("appNamespace").as_deref(), query("name")) {
                (Some("own"), _) => vec![ours.clone()],
                (Some("team"), _) | (None, Some(_)) => vec![theirs.clone()],
                (None, None) => vec![theirs.clone(), ours.clone()],
                (Some(_), _) => vec![],
            };
            if request.url.path().contains("stream") {
                return ResponseTemplate::new(200).set_body_raw(":\n", "text/event-stream");
            }
            json(&json!({"items": items}))
        };
        Mock::given(path(path_of))
            .respond_with(answer)
            .mount(&server)
            .await;
    }
    let missing = json!({"code": 5, "message": "not found"});
    for (namespace, project) in [
        (None, "ours"),
        (Some("own"), "ours"),
        (Some("team"), "theirs"),
    ] {
        let mock =
            Mock::given(path("/api/v1/applications/web")).and(query_param("project", project));
        let mock = match namespace {
            Some(namespace) => mock.and(query_param("appNamespace", namespace)),
            None => mock.and(query_param_is_missing("appNamespace")),
        };
        mock.respond_with(json(&record(namespace.unwrap_or("own"), project)))
            .mount(&server)
            .await;
    }
    Mock::given(path("/api/v1/applications/web"))
        .respond_with(ResponseTemplate::new(404).set_body_json(missing))
        .with_priority(10)
        .mount(&server)
        .await;
    server
}

#[tokio::test]
async fn of_two_applications_of_one_name_the_right_one_is_meant() {
    let server = two_of_a_name().await;
    let names = [
        (AppRef::new("web"), "ours"),
        (AppRef::namespaced("team", "web"), "theirs"),
        (AppRef::namespaced("own", "web"), "ours"),
    ];
    // Whichever is asked for first.
    for turn in 0..3 {
        let client = client(&server);
        for n in 0..3 {
            let (app, project) = &names[(turn + n) % 3];
            let got = client.get_application(app).await.unwrap();
            assert_eq!(got.spec.project, *project, "{app} in turn {turn}");
        }
    }
    let backend = ArgoCdBackend::new(client(&server));
    for (app, project) in &names[..2] {
        let options = ListOptions {
            selector: Selector::one(app.clone()),
            ..ListOptions::default()
        };
        let found = ApplicationStore::list(&backend, &options).await.unwrap();
        assert_eq!(found.len(), 1, "{app}");
        assert_eq!(found[0].app.project, *project);
        // Neither is told as deleted because the other one was answered.
        let told: Vec<_> = backend
            .watch(Selector::one(app.clone()))
            .take(3)
            .collect()
            .await;
        let told: Vec<_> = told
            .iter()
            .map(|event| match event {
                Ok(StatusEvent::Status { app, .. }) => format!("{app}"),
                Ok(event) => format!("{event:?}"),
                Err(error) => format!("{}", error.kind()),
            })
            .collect();
        assert_eq!(
            told,
            [app.to_string(), "unavailable".into(), app.to_string()]
        );
    }
}

#[tokio::test]
async fn to_nobody_the_server_does_not_say_its_namespace() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/settings"))
        .respond_with(json(&json!({"url": "https://argocd.example.com"})))
        .mount(&server)
        .await;
    Mock::given(path("/api/v1/applications"))
        .and(query_param_is_missing("appNamespace"))
        .respond_with(json(&json!({"items": [record("elsewhere", "ours")]})))
        .mount(&server)
        .await;
    Mock::given(path("/api/v1/applications/web"))
        .and(query_param("project", "ours"))
        .respond_with(json(&record("elsewhere", "ours")))
        .mount(&server)
        .await;
    let got = client(&server).get_application(&AppRef::new("web")).await;
    assert_eq!(got.unwrap().namespace(), "elsewhere");
}

/// Each call learns that an application has moved to another project.
#[tokio::test]
async fn every_call_finds_an_application_that_moved_to_another_project() {
    let server = MockServer::start().await;
    settings(&server).await;
    let listed = |project: &str| json(&json!({"items": [record("own", project)]}));
    let answers: [(&str, ResponseTemplate); 5] = [
        ("/api/v1/applications/web", json(&record("own", "next"))),
        (
            "/api/v1/applications/web/sync",
            json(&record("own", "next")),
        ),
        ("/api/v1/applications/web/logs", {
            let last = "{\"result\":{\"last\":true}}\n";
            ResponseTemplate::new(200).set_body_raw(last, "text/event-stream")
        }),
        ("/api/v1/stream/applications/web/resource-tree", {
            let tree = "data: {\"result\":{\"nodes\":[]}}\n";
            ResponseTemplate::new(200).set_body_raw(tree, "text/event-stream")
        }),
        (
            "/api/v1/applications/web/resource-tree",
            json(&json!({"nodes": []})),
        ),
    ];
    for (of, answer) in answers {
        server.reset().await;
        settings(&server).await;
        Mock::given(path("/api/v1/applications"))
            .respond_with(listed("before"))
            .up_to_n_times(1)
            .mount(&server)
            .await;
        Mock::given(path("/api/v1/applications"))
            .respond_with(listed("next"))
            .mount(&server)
            .await;
        let in_next = move |request: &Request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            request
                .url
                .query()
                .unwrap_or_default()
                .contains("project=next")
                || body["project"] == "next"
        };
        Mock::given(path(of))
            .and(in_next)
            .respond_with(answer)
            .expect(1..)
            .mount(&server)
            .await;
        Mock::given(path(of))
            .respond_with(
                ResponseTemplate::new(403)
                    .set_body_json(json!({"code": 7, "message": "permission denied"})),
            )
            .with_priority(10)
            .mount(&server)
            .await;
        let (client, app) = (client(&server), AppRef::new("web"));
        if of.ends_with("/sync") {
            client
                .sync_application(&app, &SyncRequest::default())
                .await
                .unwrap();
        } else if of.ends_with("/logs") {
            drop(client.logs(&app, &LogQuery::default()).await.unwrap());
        } else if of.contains("/stream/") {
            drop(client.watch_resource_tree(&app).await.unwrap());
        } else if of.ends_with("/resource-tree") {
            client.resource_tree(&app).await.unwrap();
        } else {
            let whole: Application = serde_json::from_value(record("", "next")).unwrap();
            client.update_application(&whole, false).await.unwrap();
        }
        server.verify().await;
    }
}

#[tokio::test]
async fn a_log_that_is_cut_says_so() {
    let one = "{\"result\":{\"content\":\"one\"}}\n";
    let last = "{\"result\":{\"content\":\"\",\"last\":true}}\n";
    for (body, wanted) in [
        (format!("{one}{last}"), vec![Some("one")]),
        // No pod matches.
        (String::new(), vec![]),
        (one.repeat(2), vec![Some("one"), Some("one"), None]),
    ] {
        let server = MockServer::start().await;
        settings(&server).await;
        Mock::given(path("/api/v1/applications"))
            .respond_with(json(&json!({"items": [record("own", "ours")]})))
            .mount(&server)
            .await;
        Mock::given(method("GET"))
            .and(path("/api/v1/applications/web/logs"))
            .respond_with(ResponseTemplate::new(200).set_body_raw(body, "text/event-stream"))
            .mount(&server)
            .await;
        let log = client(&server)
            .logs(&AppRef::new("web"), &LogQuery::default())
            .await
            .unwrap();
        let log: Vec<_> = tokio::time::timeout(Duration::from_secs(10), log.collect())
            .await
            .unwrap();
        let entries: Vec<_> = log
            .iter()
            .map(|entry| entry.as_ref().ok().map(|entry| &*entry.content))
            .collect();
        assert_eq!(entries, wanted);
        if let Some(Err(error)) = log.last() {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
    }
}

#[test]
fn manifests_of_a_request_are_not_printed() {
    let request = SyncRequest {
        manifests: Some(vec![r#"{"kind":"Secret","data":"canary"}"#.into()]),
        ..SyncRequest::default()
    };
    let printed = format!("{request:?}");
    assert!(!printed.contains("canary"), "{printed}");
    assert!(printed.contains("manifests: Some(1)"), "{printed}");
}

/// Has no credential, ever.
#[derive(Debug)]
struct Silent;

#[async_trait::async_trait]
impl CredentialProvider for Silent {
    async fn credential(&self, _: &CredentialRequest) -> gitops_core::Result<Option<Credential>> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_provider_that_never_answers_keeps_nobody_for_ever() {
    let server = MockServer::start().await;
    let config = Config {
        timeout: Duration::from_millis(200),
        ..config(&server)
    };
    let client = ArgoCd::new(config.credentials(std::sync::Arc::new(Silent))).unwrap();
    // One waits for the provider, the others for the one.
    let calls = futures::future::join_all((0..3).map(|_| client.version()));
    let results = tokio::time::timeout(Duration::from_secs(10), calls)
        .await
        .unwrap();
    for result in results {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert!(server.received_requests().await.unwrap().is_empty());
}
