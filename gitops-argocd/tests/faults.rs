//! Answers that a real server of Argo CD cannot be made to give.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::StreamExt;
use gitops_argocd::rest::{
    Access, ApplicationQuery, ArgoCd, Config, LogQuery, RetryOptions, SyncRequest,
};
use gitops_argocd::{ArgoCdBackend, ArgoCdOptions};
use gitops_core::application::{AppRef, HealthStatus, OperationPhase, SyncStatus};
use gitops_core::backend::{
    DeleteOptions, EventKind, Operation, Selector, StatusEvent, SyncOptions, SyncResource, Syncer,
};
use gitops_core::error::ErrorKind;
use gitops_core::{Error, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::matchers::{body_partial_json, header, method, path, path_regex, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn config(server: &MockServer) -> Config {
    Config {
        retry: None,
        ..Config::new(server.uri()).token("canary-token")
    }
}

fn client(server: &MockServer) -> ArgoCd {
    ArgoCd::new(config(server)).unwrap()
}

fn record(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "argocd", "resourceVersion": "7", "uid": "u"},
        "spec": {"project": "prod", "destination": {}},
        "status": {},
    })
}

/// What is asked for before an application: Argo CD's own namespace, and the application's project.
async fn with_project(server: &MockServer, name: &str) {
    Mock::given(path("/api/v1/settings"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({"controllerNamespace": "argocd"})),
        )
        .mount(server)
        .await;
    Mock::given(method("GET"))
        .and(path("/api/v1/applications"))
        .and(query_param("name", name))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"items": [record(name)]})))
        .with_priority(10)
        .mount(server)
        .await;
}

/// The one answer to `GET /applications/a`.
async fn answering(answer: ResponseTemplate) -> (MockServer, Result<Value>) {
    let server = MockServer::start().await;
    with_project(&server, "a").await;
    Mock::given(path("/api/v1/applications/a"))
        .respond_with(answer)
        .mount(&server)
        .await;
    let result = client(&server).get_application(&AppRef::new("a")).await;
    let result = result.map(|app| serde_json::to_value(app).unwrap());
    (server, result)
}

fn shown(error: &Error) -> String {
    format!("{error} {error:#} {error:?}")
}

#[tokio::test]
async fn every_code_of_grpc_is_a_kind() {
    let kinds = [
        (1, 408, ErrorKind::Cancelled),
        (2, 500, ErrorKind::Internal),
        (3, 400, ErrorKind::InvalidInput),
        (4, 504, ErrorKind::Timeout),
        (5, 404, ErrorKind::NotFound),
        (6, 409, ErrorKind::AlreadyExists),
        (7, 403, ErrorKind::PermissionDenied),
        (8, 429, ErrorKind::RateLimited),
        (9, 400, ErrorKind::Conflict),
        (10, 409, ErrorKind::Conflict),
        (11, 400, ErrorKind::InvalidInput),
        (12, 501, ErrorKind::Unsupported),
        (13, 500, ErrorKind::Internal),
        (14, 503, ErrorKind::Unavailable),
        (15, 500, ErrorKind::Integrity),
        (16, 401, ErrorKind::Unauthenticated),
    ];
    for (code, status, kind) in kinds {
        let body = json!({"error": "why", "code": code, "message": "why", "details": []});
        let (_server, result) = answering(ResponseTemplate::new(status).set_body_json(body)).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}: {error}");
        if kind != ErrorKind::Unauthenticated {
            assert!(error.to_string().ends_with("why"), "{error}");
        }
        assert!(!shown(&error).contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn answers_that_are_not_argo_cds_are_told_apart() {
    let html = "<html><body>Please log in</body></html>";
    let cases = [
        // A login page in front of it.
        (
            ResponseTemplate::new(200).set_body_raw(html, "text/html"),
            ErrorKind::Integrity,
            "text/html",
        ),
        // A proxy whose backend is away.
        (
            ResponseTemplate::new(502).set_body_raw(html, "text/html"),
            ErrorKind::Unavailable,
            "502",
        ),
        // A route that this server does not have answers plain text.
        (
            ResponseTemplate::new(404).set_body_raw("Not Found", "text/plain"),
            ErrorKind::NotFound,
            "404",
        ),
        (
            ResponseTemplate::new(200).set_body_raw(r#"{"metadata":{"na"#, "application/json"),
            ErrorKind::Unavailable,
            "too early",
        ),
        (
            ResponseTemplate::new(200).set_body_raw("[1,2]", "application/json"),
            ErrorKind::Integrity,
            "not what was asked for",
        ),
        (
            ResponseTemplate::new(415).set_body_raw("Invalid content type", "text/plain"),
            ErrorKind::InvalidInput,
            "415",
        ),
    ];
    for (answer, kind, says) in cases {
        let (_server, result) = answering(answer).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains("Please log in"), "{error}");
    }
}

#[tokio::test]
async fn a_body_without_end_stops_at_the_limit() {
    let server = MockServer::start().await;
    Mock::given(path("/api/version"))
        .respond_with(
            ResponseTemplate::new(200).set_body_raw(vec![b' '; 200_000], "application/json"),
        )
        .mount(&server)
        .await;
    let client = ArgoCd::new(Config {
        max_answer: 100_000,
        ..config(&server)
    })
    .unwrap();
    let error = client.version().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.to_string().contains("100000"), "{error}");
}

#[tokio::test]
async fn a_redirect_carries_no_token_anywhere() {
    let elsewhere = MockServer::start().await;
    let server = MockServer::start().await;
    for status in [301, 302, 303, 307, 308] {
        server.reset().await;
        Mock::given(path("/api/v1/session/userinfo"))
            .respond_with(
                ResponseTemplate::new(status)
                    .insert_header("location", format!("{}/steal?x=secret", elsewhere.uri())),
            )
            .mount(&server)
            .await;
        let error = client(&server).user_info().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(&elsewhere.uri()), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert!(elsewhere.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn every_request_but_get_says_exactly_that_it_is_json() {
    let server = MockServer::start().await;
    with_project(&server, "a").await;
    Mock::given(path_regex("^/api/v1/.*"))
        .respond_with(ResponseTemplate::new(200).set_body_json(record("a")))
        .with_priority(20)
        .mount(&server)
        .await;
    let client = client(&server);
    let app = AppRef::new("a");
    client
        .sync_application(&app, &SyncRequest::default())
        .await
        .unwrap();
    client
        .delete_application(&app, &DeleteOptions::default())
        .await
        .unwrap();
    client.terminate_operation(&app).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let mut others = 0;
    for request in requests {
        assert_eq!(
            request.headers.get("authorization").unwrap(),
            "Bearer canary-token"
        );
        if request.method.as_str() != "GET" {
            others += 1;
            assert_eq!(
                request.headers.get("content-type").unwrap(),
                "application/json"
            );
        }
    }
    assert_eq!(others, 3);
}

#[tokio::test]
async fn names_that_need_it_are_encoded_and_none_leads_elsewhere() {
    let server = MockServer::start().await;
    Mock::given(path_regex(".*"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"repo": "x"})))
        .mount(&server)
        .await;
    let client = client(&server);
    for (url, encoded) in [
        (
            "https://git.example.com/a b/c.git?x=1#y",
            "https%3A%2F%2Fgit.example.com%2Fa%20b%2Fc.git%3Fx%3D1%23y",
        ),
        ("git@host:a/../b%2f", "git%40host%3Aa%2F..%2Fb%252f"),
        ("ü/ñ", "%C3%BC%2F%C3%B1"),
    ] {
        client
            .get_repository(Access::Read, url, None)
            .await
            .unwrap();
        let requests = server.received_requests().await.unwrap();
        let asked = requests.last().unwrap().url.path().to_owned();
        assert_eq!(asked, format!("/api/v1/repositories/{encoded}"));
    }
    let before = server.received_requests().await.unwrap().len();
    for name in ["", ".", ".."] {
        let error = client.get_project(name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
    }
    assert_eq!(server.received_requests().await.unwrap().len(), before);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_not_forbidden() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/applications"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"items": null})))
        .mount(&server)
        .await;
    let error = client(&server)
        .get_application(&AppRef::namespaced("team-a", "gone"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("team-a/gone"), "{error}");
}

#[tokio::test]
async fn an_application_that_moved_to_another_project_is_found_again() {
    let server = MockServer::start().await;
    with_project(&server, "a").await;
    let forbidden =
        json!({"error": "permission denied", "code": 7, "message": "permission denied"});
    Mock::given(path("/api/v1/applications/a"))
        .and(query_param("project", "prod"))
        .respond_with(ResponseTemplate::new(403).set_body_json(forbidden))
        .mount(&server)
        .await;
    Mock::given(path("/api/v1/applications/a"))
        .and(query_param("project", "next"))
        .respond_with(ResponseTemplate::new(200).set_body_json(record("a")))
        .mount(&server)
        .await;
    let client = client(&server);
    let app = AppRef::new("a");
    let error = client.get_application(&app).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let mut moved = record("a");
    moved["spec"]["project"] = json!("next");
    Mock::given(path("/api/v1/applications"))
        .and(query_param("name", "a"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"items": [moved]})))
        .with_priority(1)
        .mount(&server)
        .await;
    client.get_application(&app).await.unwrap();
}

fn quick(server: &MockServer) -> Config {
    Config {
        retry: Some(RetryOptions {
            min_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(5),
            total: Duration::from_secs(5),
        }),
        ..config(server)
    }
}

#[tokio::test]
async fn only_what_reads_is_sent_again() {
    let server = MockServer::start().await;
    with_project(&server, "a").await;
    Mock::given(method("GET"))
        .and(path("/api/v1/applications/a"))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(2)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/api/v1/applications/a"))
        .respond_with(ResponseTemplate::new(200).set_body_json(record("a")))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/api/v1/applications/a/sync"))
        .respond_with(ResponseTemplate::new(503))
        .expect(1)
        .mount(&server)
        .await;
    let client = ArgoCd::new(quick(&server)).unwrap();
    let app = AppRef::new("a");
    client.get_application(&app).await.unwrap();
    let error = client
        .sync_application(&app, &SyncRequest::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_throttled_call_waits_as_long_as_the_server_says() {
    let server = MockServer::start().await;
    Mock::given(path("/api/version"))
        .respond_with(ResponseTemplate::new(429).insert_header("retry-after", "1"))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(path("/api/version"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"Version": "v3.2.11"})))
        .mount(&server)
        .await;
    let begun = std::time::Instant::now();
    let version = ArgoCd::new(quick(&server))
        .unwrap()
        .version()
        .await
        .unwrap();
    assert_eq!(version.version, "v3.2.11");
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_session_that_ended_is_made_anew_once() {
    let server = MockServer::start().await;
    for (token, times) in [("first", 1), ("second", 1)] {
        Mock::given(method("POST"))
            .and(path("/api/v1/session"))
            .and(body_partial_json(
                json!({"username": "admin", "password": "canary"}),
            ))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"token": token})))
            .up_to_n_times(times)
            .mount(&server)
            .await;
    }
    let expired = json!({"error": "token is expired", "code": 16, "message": "token is expired"});
    Mock::given(path("/api/v1/projects"))
        .and(header("authorization", "Bearer first"))
        .respond_with(ResponseTemplate::new(401).set_body_json(expired))
        .mount(&server)
        .await;
    Mock::given(path("/api/v1/projects"))
        .and(header("authorization", "Bearer second"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"items": []})))
        .mount(&server)
        .await;
    let config = Config {
        retry: None,
        ..Config::new(server.uri()).login("admin", "canary")
    };
    let client = ArgoCd::new(config).unwrap();
    // All at once: one login for all of them.
    let calls = (0..10).map(|_| client.list_projects());
    for result in futures::future::join_all(calls).await {
        result.unwrap();
    }
    let requests = server.received_requests().await.unwrap();
    let logins = requests
        .iter()
        .filter(|request| request.url.path() == "/api/v1/session")
        .count();
    assert_eq!(logins, 2);
    assert!(!format!("{client:?}").contains("canary"));
}

#[tokio::test]
async fn a_token_that_is_refused_is_refused() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/projects"))
        .respond_with(
            ResponseTemplate::new(401).set_body_json(json!({"code": 16, "message": "no session"})),
        )
        .mount(&server)
        .await;
    let error = client(&server).list_projects().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
    assert!(!shown(&error).contains("canary"));
}

#[tokio::test]
async fn a_renewed_token_is_taken_over() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/projects"))
        .and(header("authorization", "Bearer canary-token"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(json!({"items": []}))
                .insert_header(
                    "set-cookie",
                    "argocd.token=fresh; path=/; SameSite=lax; httpOnly",
                ),
        )
        .mount(&server)
        .await;
    Mock::given(path("/api/v1/projects"))
        .and(header("authorization", "Bearer fresh"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"items": []})))
        .expect(1)
        .mount(&server)
        .await;
    let client = client(&server);
    client.list_projects().await.unwrap();
    client.list_projects().await.unwrap();
}

/// A server that sends `body` after the head of a stream and closes the connection.
async fn raw(body: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&request[..read]).into_owned();
            let answer: Vec<u8> = if head.contains("/stream/") || head.contains("/logs") {
                [
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n".as_slice(),
                    body,
                ]
                .concat()
            } else {
                let list = json!({"items": [record("a")]}).to_string();
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{list}",
                    list.len()
                )
                .into_bytes()
            };
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    });
    format!("http://{address}")
}

async fn events(body: &'static [u8]) -> Vec<Result<String>> {
    let config = Config {
        retry: None,
        ..Config::new(raw(body).await).token("t")
    };
    let client = ArgoCd::new(config).unwrap();
    client
        .watch_applications(&ApplicationQuery::default())
        .await
        .unwrap()
        .map(|event| event.map(|event| event.application.metadata.name))
        .collect()
        .await
}

#[tokio::test]
async fn a_streams_error_needs_no_newline_and_a_cut_is_an_error() {
    let told = events(
        b"data: {\"result\":{\"type\":\"ADDED\",\"application\":{\"metadata\":{\"name\":\"a\"}}}}\n\n:\n{\"error\":{\"grpc_code\":16,\"http_code\":401,\"message\":\"token is expired\"}}",
    )
    .await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].as_ref().unwrap(), "a");
    assert_eq!(
        told[1].as_ref().unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );

    let told = events(b"data: {\"result\":{\"type\":\"ADDED\",\"appli").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);

    assert!(events(b":\n:\n\n").await.is_empty());
}

#[tokio::test]
async fn logs_end_with_their_last_entry() {
    let body = b"{\"result\":{\"content\":\"one\",\"podName\":\"p\",\"timeStampStr\":\"2026-01-01T00:00:00Z\"}}\n{\"result\":{\"last\":true}}\n{\"result\":{\"content\":\"never\"}}\n";
    let config = Config {
        retry: None,
        ..Config::new(raw(body).await).token("t")
    };
    let lines: Vec<_> = ArgoCd::new(config)
        .unwrap()
        .logs(&AppRef::new("a"), &LogQuery::default())
        .await
        .unwrap()
        .map(|entry| entry.unwrap().content)
        .collect()
        .await;
    assert_eq!(lines, ["one"]);
}

#[tokio::test]
async fn words_of_newer_servers_are_unknown_and_not_errors() {
    let server = MockServer::start().await;
    with_project(&server, "a").await;
    let mut newer = record("a");
    newer["status"] = json!({
        "sync": {"status": "Entangled", "revision": "abc"},
        "health": {"status": "Quantum"},
        "operationState": {"phase": "Pondering", "startedAt": "2026-01-01T00:00:00Z", "operation": {"sync": {}}},
        "resources": [{"kind": "Deployment", "name": "d", "status": "Both", "health": {"status": "Maybe"}}],
        "invented": {"a": 1},
    });
    newer["operation"] = json!({"sync": {}});
    Mock::given(path("/api/v1/applications/a"))
        .respond_with(ResponseTemplate::new(200).set_body_json(newer))
        .mount(&server)
        .await;
    let backend = ArgoCdBackend::new(client(&server));
    let status = backend.status(&AppRef::new("a")).await.unwrap();
    assert_eq!(status.sync, SyncStatus::Unknown);
    assert_eq!(status.health.status, HealthStatus::Unknown);
    assert_eq!(status.operation.unwrap().phase, OperationPhase::Running);
    assert_eq!(status.resources.len(), 1);
    let whole = client(&server)
        .get_application(&AppRef::new("a"))
        .await
        .unwrap();
    let written = serde_json::to_value(whole).unwrap();
    assert_eq!(written["status"]["invented"]["a"], 1);
    assert_eq!(written["status"]["sync"]["status"], "Entangled");
}

#[tokio::test]
async fn a_sync_of_resources_that_are_not_there_is_no_sync_of_all() {
    let server = MockServer::start().await;
    with_project(&server, "a").await;
    Mock::given(path("/api/v1/applications/a"))
        .respond_with(ResponseTemplate::new(200).set_body_json(record("a")))
        .mount(&server)
        .await;
    let options = SyncOptions {
        resources: vec![SyncResource {
            group: "*".into(),
            kind: "*".into(),
            name: "*".into(),
            ..SyncResource::default()
        }],
        ..SyncOptions::default()
    };
    let error = ArgoCdBackend::new(client(&server))
        .sync(&AppRef::new("a"), &options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let requests = server.received_requests().await.unwrap();
    assert!(
        requests
            .iter()
            .all(|request| request.method.as_str() == "GET")
    );
}

/// A wait whose stream is cut at once, every time, still learns the end, and never takes a newer operation for its own.
#[tokio::test]
async fn a_wait_outlives_cut_streams_and_takes_no_newer_operation_for_its_own() {
    let server = MockServer::start().await;
    with_project(&server, "a").await;
    Mock::given(path("/api/v1/stream/applications"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_raw("data: {\"result\":{\"type\":\"ADD", "text/event-stream"),
        )
        .mount(&server)
        .await;
    let state = |id: &str, phase: &str, reconciled: &str| {
        let mut app = record("a");
        app["status"] = json!({
            "reconciledAt": reconciled,
            "operationState": {
                "phase": phase,
                "startedAt": "2026-01-01T00:00:00Z",
                "finishedAt": "2026-01-01T00:00:10Z",
                "operation": {"info": [{"name": "gitops.rs/operation", "value": id}], "sync": {}},
                "syncResult": {"revision": "abc", "resources": [
                    {"group": "apps", "kind": "Deployment", "namespace": "n", "name": "d", "status": "Synced", "message": "deployment.apps/d created"},
                ]},
            },
        });
        if phase == "Running" {
            app["operation"] = json!({"info": [{"name": "gitops.rs/operation", "value": id}]});
        }
        app
    };
    // Running, away, then ended and not compared yet, then overtaken by a newer one.
    let answers = [
        ResponseTemplate::new(200).set_body_json(state("ours", "Running", "2026-01-01T00:00:00Z")),
        ResponseTemplate::new(503),
        ResponseTemplate::new(200).set_body_json(state(
            "ours",
            "Succeeded",
            "2026-01-01T00:00:09Z",
        )),
    ];
    for answer in answers {
        Mock::given(path("/api/v1/applications/a"))
            .respond_with(answer)
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    Mock::given(path("/api/v1/applications/a"))
        .respond_with(ResponseTemplate::new(200).set_body_json(state(
            "newer",
            "Failed",
            "2026-01-01T00:01:00Z",
        )))
        .mount(&server)
        .await;
    let backend = ArgoCdBackend::new(client(&server)).with_options(ArgoCdOptions {
        look: Duration::from_millis(50),
        ..ArgoCdOptions::default()
    });
    let operation = |id: &str| Operation {
        app: AppRef::new("a"),
        id: id.into(),
        started_at: jiff::Timestamp::now(),
    };
    let events: Vec<_> = backend
        .events(&operation("ours"))
        .map(|event| event.unwrap().kind)
        .collect()
        .await;
    let Some(EventKind::SyncFinished { outcome }) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(outcome.phase, OperationPhase::Succeeded);
    assert_eq!(outcome.revisions, ["abc"]);
    assert_eq!(
        events
            .iter()
            .filter(|kind| matches!(kind, EventKind::Resource { .. }))
            .count(),
        1,
        "{events:?}"
    );
    // What was overtaken is not known any more, and says so.
    let error = backend.wait(&operation("ours")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        backend.wait(&operation("newer")).await.unwrap().phase,
        OperationPhase::Failed
    );
}

#[tokio::test]
async fn a_watch_tells_of_gaps_and_of_what_went_meanwhile() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/settings"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({"controllerNamespace": "argocd"})),
        )
        .mount(&server)
        .await;
    Mock::given(path("/api/v1/stream/applications"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(":\n", "text/event-stream"))
        .mount(&server)
        .await;
    for (items, times) in [
        (json!({"items": [record("a"), record("b")]}), 1),
        (json!({"items": [record("b")]}), 100),
    ] {
        Mock::given(path("/api/v1/applications"))
            .respond_with(ResponseTemplate::new(200).set_body_json(items))
            .up_to_n_times(times)
            .mount(&server)
            .await;
    }
    let told: Vec<String> = ArgoCdBackend::new(client(&server))
        .watch(Selector::all())
        .take(5)
        .map(|event| match event {
            Ok(StatusEvent::Status { app, .. }) => format!("{app}"),
            Ok(StatusEvent::Deleted { app }) => format!("-{app}"),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("gap: {}", error.kind()),
        })
        .collect()
        .await;
    assert_eq!(told, ["a", "b", "gap: unavailable", "b", "-a"]);
}

#[tokio::test]
async fn a_list_of_thousands_is_read_into_states() {
    let server = MockServer::start().await;
    let items: Vec<_> = (0..5_000).map(|n| record(&format!("app-{n}"))).collect();
    Mock::given(path("/api/v1/applications"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"items": items})))
        .mount(&server)
        .await;
    let states = client(&server)
        .list_statuses(&ApplicationQuery::default())
        .await
        .unwrap();
    assert_eq!(states.len(), 5_000);
    assert_eq!(states[4_999].0.name, "app-4999");
}

#[tokio::test]
async fn only_a_server_that_takes_the_token_back_has_logged_out() {
    let redirect = |status, to: &str| ResponseTemplate::new(status).insert_header("Location", to);
    for (answer, wanted) in [
        (
            redirect(303, "/").insert_header("Set-Cookie", "argocd.token=; Path=/"),
            None,
        ),
        (
            redirect(302, "https://login.example.com/"),
            Some(ErrorKind::InvalidInput),
        ),
        (
            ResponseTemplate::new(200).set_body_string("<html>"),
            Some(ErrorKind::Integrity),
        ),
        (ResponseTemplate::new(503), Some(ErrorKind::Unavailable)),
    ] {
        let server = MockServer::start().await;
        Mock::given(path("/auth/logout"))
            .and(header("Cookie", "argocd.token=canary-token"))
            .respond_with(answer)
            .mount(&server)
            .await;
        let error = client(&server).log_out().await.err();
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        assert_eq!(error.map(|error| error.kind()), wanted);
    }
}
