//! Operations and what becomes of them, where Argo CD is slow, away, or busy with another one.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gitops_argocd::backend::{AutoSync, RollbackOptions, WhenBusy};
use gitops_argocd::rest::{ArgoCd, Config};
use gitops_argocd::{ArgoCdBackend, ArgoCdOptions};
use gitops_core::application::{AppRef, OperationPhase};
use gitops_core::backend::{ApplicationStore, Operation, RevisionHistory, SyncOptions, Syncer};
use gitops_core::error::ErrorKind;
use jiff::Timestamp;
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn answer(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

fn refusal(status: u16, code: i64, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"code": code, "message": message}))
}

fn record(automated: bool) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "argocd", "resourceVersion": "7", "uid": "u"},
        "spec": {
            "project": "ours",
            "destination": {},
            "syncPolicy": if automated { json!({"automated": {}}) } else { json!({}) },
        },
        "status": {"history": [{"id": 3, "revision": "old", "deployedAt": "2026-01-01T00:00:00Z"}]},
    })
}

/// A server of Argo CD without its application.
async fn server() -> MockServer {
    let server = MockServer::start().await;
    for (at, body) in [
        ("/api/v1/settings", json!({"controllerNamespace": "argocd"})),
        ("/api/v1/applications", json!({"items": [record(false)]})),
    ] {
        Mock::given(path(at))
            .respond_with(answer(&body))
            .mount(&server)
            .await;
    }
    Mock::given(path("/api/v1/stream/applications"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(":\n", "text/event-stream"))
        .with_priority(10)
        .mount(&server)
        .await;
    server
}

async fn has(server: &MockServer, app: &Value) {
    Mock::given(method("GET"))
        .and(path("/api/v1/applications/web"))
        .respond_with(answer(app))
        .with_priority(10)
        .mount(server)
        .await;
}

fn backend(server: &MockServer, options: ArgoCdOptions) -> ArgoCdBackend {
    let config = Config {
        retry: None,
        ..Config::new(server.uri()).token("t")
    };
    ArgoCdBackend::new(ArgoCd::new(config).unwrap()).with_options(options)
}

fn quick() -> ArgoCdOptions {
    ArgoCdOptions {
        look: Duration::from_millis(50),
        settle: Duration::from_secs(1),
        patience: Duration::from_secs(1),
        ..ArgoCdOptions::default()
    }
}

fn state(revision: &str, second: u32, phase: &str) -> Value {
    let mut app = record(false);
    app["status"]["operationState"] = json!({
        "phase": phase,
        "startedAt": format!("2026-01-01T00:00:{second:02}Z"),
        "finishedAt": format!("2026-01-01T00:00:{:02}Z", second + 1),
        "operation": {"sync": {"revision": revision}},
    });
    app["status"]["reconciledAt"] = json!("2026-01-01T01:00:00Z");
    app
}

/// The patches of the application that were asked for.
async fn patches(server: &MockServer) -> Vec<Value> {
    let requests = server.received_requests().await.unwrap();
    let patches = requests.iter().filter(|r| r.method.as_str() == "PATCH");
    patches
        .map(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            serde_json::from_str(body["patch"].as_str().unwrap()).unwrap()
        })
        .collect()
}

/// Whether automated sync is on is what the last patch said.
async fn a_rollback(
    answered: ResponseTemplate,
    after: Option<Value>,
    how: AutoSync,
) -> (ErrorKind, String, Vec<bool>) {
    let server = server().await;
    let suspended = AtomicUsize::new(0);
    Mock::given(method("PATCH"))
        .and(path("/api/v1/applications/web"))
        .respond_with(answer(&record(false)))
        .mount(&server)
        .await;
    // As it is for the pause; what follows is after it.
    Mock::given(method("GET"))
        .and(path("/api/v1/applications/web"))
        .respond_with(move |_: &Request| {
            let is_first = suspended.fetch_add(1, Ordering::Relaxed) < 2;
            let mut app = match &after {
                Some(after) if !is_first => after.clone(),
                _ => record(is_first),
            };
            if !is_first {
                app["metadata"]["annotations"] = json!({"gitops.rs/suspended": "unset"});
                app["spec"]["syncPolicy"] = json!({"automated": {"enabled": false}});
            }
            answer(&app)
        })
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/api/v1/applications/web/rollback"))
        .respond_with(answered)
        .mount(&server)
        .await;
    let options = RollbackOptions {
        auto_sync: how,
        ..RollbackOptions::default()
    };
    let error = backend(&server, quick())
        .roll_back_and_wait(&AppRef::new("web"), 3, &options)
        .await
        .unwrap_err();
    let patches = patches(&server).await;
    let on = patches
        .iter()
        .map(|patch| patch["spec"]["syncPolicy"]["automated"]["enabled"] != json!(false));
    (error.kind(), error.to_string(), on.collect())
}

#[tokio::test]
async fn automated_sync_stays_off_while_a_rollback_may_go_on() {
    for how in [AutoSync::Pause, AutoSync::PauseAndRestore] {
        // Refused: as before.
        let refused = refusal(403, 7, "permission denied");
        let (kind, says, on) = a_rollback(refused, None, how).await;
        assert_eq!((kind, on), (ErrorKind::PermissionDenied, vec![false, true]));
        assert!(!says.contains("is off"), "{says}");
        // Accepted, and no controller takes it up; accepted perhaps, and nobody knows; of another operation there is news, and nobody knows.
        let accepted = || answer(&record(false));
        for (answered, after) in [
            (accepted(), None),
            (ResponseTemplate::new(502), None),
            (answer(&json!([])), None),
            (accepted(), Some(state("other", 5, "Running"))),
        ] {
            let (_, says, on) = a_rollback(answered, after, how).await;
            assert_eq!(on, [false], "{says}");
            assert!(
                says.contains("automated sync of application web is off"),
                "{says}"
            );
        }
    }
}

#[tokio::test]
async fn a_rollback_is_not_named_after_another_operation() {
    let server = server().await;
    // What a stream tells of before, and what an answer tells of another one, is not the rollback.
    let stale = json!({"result": {"type": "ADDED", "application": state("old", 1, "Succeeded")}});
    Mock::given(path("/api/v1/stream/applications"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_raw(format!("data: {stale}\n\n"), "text/event-stream"),
        )
        .mount(&server)
        .await;
    for (app, times) in [
        (state("before", 1, "Succeeded"), 1),
        // Asked for.
        (record(false), 2),
        (state("other", 5, "Succeeded"), 1),
    ] {
        Mock::given(method("GET"))
            .and(path("/api/v1/applications/web"))
            .respond_with(answer(&app))
            .up_to_n_times(times)
            .mount(&server)
            .await;
    }
    has(&server, &state("old", 9, "Failed")).await;
    Mock::given(method("POST"))
        .and(path("/api/v1/applications/web/rollback"))
        .respond_with(answer(&record(false)))
        .mount(&server)
        .await;
    let patient = ArgoCdOptions {
        settle: Duration::from_secs(30),
        ..quick()
    };
    let backend = backend(&server, patient);
    let options = SyncOptions::default();
    let operation = backend
        .roll_back(&AppRef::new("web"), 3, &options)
        .await
        .unwrap();
    assert_eq!(operation.id, "started-2026-01-01T00:00:09Z");
    let outcome = backend.wait(&operation).await.unwrap();
    assert_eq!(outcome.phase, OperationPhase::Failed);
}

fn pending(id: &str, deadline: &str) -> Value {
    let mut app = record(false);
    app["operation"] = json!({
        "info": [{"name": "gitops.rs/operation", "value": id}, {"name": "gitops.rs/deadline", "value": deadline}],
        "sync": {},
    });
    app
}

fn operation(id: &str) -> Operation {
    Operation {
        app: AppRef::new("web"),
        id: id.into(),
        started_at: Timestamp::now(),
    }
}

/// The server terminates nothing that no controller has taken up.
#[tokio::test]
async fn an_operation_that_nobody_takes_up_is_terminated_when_it_runs_or_the_wait_ends() {
    let unable = || {
        refusal(
            400,
            3,
            "Unable to terminate operation. No operation is in progress",
        )
    };
    let late = pending("ours", "2026-01-01T00:00:00Z");
    let server = server().await;
    has(&server, &late).await;
    Mock::given(method("DELETE"))
        .and(path("/api/v1/applications/web/operation"))
        .respond_with(unable())
        .mount(&server)
        .await;
    let backend = backend(&server, quick());
    let error = backend.terminate(&operation("ours")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let begun = Instant::now();
    let error = backend.wait(&operation("ours")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(
        error.to_string().contains("no controller has taken it up"),
        "{error}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );

    // It is taken up at last: now it can be terminated.
    server.reset().await;
    let server = self::server().await;
    Mock::given(method("GET"))
        .and(path("/api/v1/applications/web"))
        .respond_with(answer(&late))
        .up_to_n_times(3)
        .mount(&server)
        .await;
    let mut running = late.clone();
    running["status"]["operationState"] = json!({"phase": "Running", "startedAt": "2026-01-01T00:00:00Z", "operation": late["operation"]});
    let mut ended = running.clone();
    ended["operation"] = Value::Null;
    ended["status"]["operationState"]["phase"] = json!("Failed");
    ended["status"]["operationState"]["finishedAt"] = json!("2026-01-01T00:00:05Z");
    ended["status"]["reconciledAt"] = json!("2026-01-01T00:00:09Z");
    let terminated = std::sync::Arc::new(AtomicUsize::new(0));
    let (seen, asked) = (terminated.clone(), terminated.clone());
    Mock::given(method("GET"))
        .and(path("/api/v1/applications/web"))
        .respond_with(move |_: &Request| match seen.load(Ordering::Relaxed) {
            0 | 1 => answer(&running),
            _ => answer(&ended),
        })
        .with_priority(10)
        .mount(&server)
        .await;
    Mock::given(method("DELETE"))
        .and(path("/api/v1/applications/web/operation"))
        .respond_with(
            move |_: &Request| match asked.fetch_add(1, Ordering::Relaxed) {
                0 => unable(),
                _ => answer(&json!({})),
            },
        )
        .mount(&server)
        .await;
    let patient = ArgoCdOptions {
        patience: Duration::from_secs(30),
        ..quick()
    };
    let backend = self::backend(&server, patient);
    let outcome = backend.wait(&operation("ours")).await.unwrap();
    assert_eq!(outcome.phase, OperationPhase::Failed);
    assert_eq!(terminated.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_time_of_a_sync_that_waits_for_another_begins_with_it() {
    let server = server().await;
    let mut busy = record(false);
    busy["operation"] = json!({"sync": {}});
    // Busy for a while: the second try's GET finds another resource.
    let mut free = record(false);
    free["status"]["resources"] = json!([{"kind": "ConfigMap", "namespace": "n", "name": "new"}]);
    busy["status"]["resources"] = json!([{"kind": "ConfigMap", "namespace": "n", "name": "old"}]);
    let (begun, before) = (Instant::now(), Timestamp::now());
    Mock::given(method("GET"))
        .and(path("/api/v1/applications/web"))
        .respond_with(move |_: &Request| {
            answer(if begun.elapsed() < Duration::from_secs(2) {
                &busy
            } else {
                &free
            })
        })
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/api/v1/applications/web/sync"))
        .respond_with(move |_: &Request| {
            if begun.elapsed() < Duration::from_secs(2) {
                refusal(400, 9, "another operation is already in progress")
            } else {
                answer(&record(false))
            }
        })
        .mount(&server)
        .await;
    let options = SyncOptions {
        timeout: Some(Duration::from_secs(60)),
        resources: vec![gitops_core::backend::SyncResource {
            group: "*".into(),
            kind: "ConfigMap".into(),
            name: "*".into(),
            ..gitops_core::backend::SyncResource::default()
        }],
        ..SyncOptions::default()
    };
    let backend = backend(
        &server,
        ArgoCdOptions {
            // No time at all is too long to wait for.
            when_busy: WhenBusy::Wait(Duration::MAX),
            resync: Duration::MAX,
            ..quick()
        },
    );
    let operation = backend.sync(&AppRef::new("web"), &options).await.unwrap();
    let waited = operation.started_at.duration_since(before);
    assert!(waited.as_secs_f64() > 1.0, "{waited:?}");
    let requests = server.received_requests().await.unwrap();
    let last = requests
        .iter()
        .rfind(|r| r.method.as_str() == "POST")
        .unwrap();
    let body: Value = serde_json::from_slice(&last.body).unwrap();
    assert_eq!(body["resources"][0]["name"], "new");
    let deadline: Timestamp = body["infos"][1]["value"].as_str().unwrap().parse().unwrap();
    let left = deadline.duration_since(operation.started_at);
    assert_eq!(left.as_secs(), 60, "{body}");
}

/// Argo CD's times count seconds.
#[tokio::test]
async fn a_comparison_that_was_there_before_the_end_is_not_the_one_after_it() {
    let id = "started-2026-01-01T00:00:01Z";
    for (before, sync, looks) in [
        (Some("2026-01-01T00:00:01Z"), "Synced", 2..=2),
        (Some("2026-01-01T00:00:02Z"), "Synced", 3..=1000),
        // The controller has not seen yet what it applied.
        (Some("2026-01-01T00:00:01Z"), "OutOfSync", 3..=1000),
        // Nobody looked before the end.
        (None, "Synced", 2..=1000),
    ] {
        let server = server().await;
        if let Some(before) = before {
            let mut running = state("old", 1, "Running");
            running["operation"] = json!({"sync": {}});
            running["status"]["operationState"]["finishedAt"] = Value::Null;
            running["status"]["reconciledAt"] = json!(before);
            Mock::given(method("GET"))
                .and(path("/api/v1/applications/web"))
                .respond_with(answer(&running))
                .up_to_n_times(1)
                .mount(&server)
                .await;
        }
        let mut ended = state("old", 1, "Succeeded");
        ended["status"]["reconciledAt"] = json!("2026-01-01T00:00:02Z");
        ended["status"]["sync"] = json!({"status": sync});
        has(&server, &ended).await;
        let options = ArgoCdOptions {
            settle: Duration::from_secs(30),
            ..quick()
        };
        let outcome = backend(&server, options)
            .wait(&operation(id))
            .await
            .unwrap();
        assert!(outcome.is_success());
        let requests = server.received_requests().await.unwrap();
        let gets = requests.iter().filter(|r| r.url.path().ends_with("/web"));
        let gets = gets.count();
        assert!(looks.contains(&gets), "{before:?} {sync}: {gets}");
    }
}

#[tokio::test]
async fn endless_times_are_no_panic() {
    let server = server().await;
    has(&server, &state("old", 1, "Succeeded")).await;
    let backend = backend(
        &server,
        ArgoCdOptions {
            when_busy: WhenBusy::Wait(Duration::MAX),
            settle: Duration::MAX,
            resync: Duration::MAX,
            look: Duration::MAX,
            patience: Duration::MAX,
        },
    );
    let id = "started-2026-01-01T00:00:01Z";
    assert!(backend.wait(&operation(id)).await.unwrap().is_success());
}

/// Argo CD that asks for a day's patience gets what there is.
#[tokio::test]
async fn a_wait_keeps_to_its_own_bounds_while_argo_cd_is_away() {
    let day = || ResponseTemplate::new(503).insert_header("retry-after", "86400");
    let server = server().await;
    Mock::given(path("/api/v1/applications/web"))
        .respond_with(day())
        .mount(&server)
        .await;
    let begun = Instant::now();
    let error = backend(&server, quick())
        .wait(&operation("ours"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );

    // Ended and not settled: the wait is over when the time for that is, away or not.
    let server = self::server().await;
    let mut ended = state("old", 1, "Succeeded");
    ended["status"]["reconciledAt"] = Value::Null;
    Mock::given(path("/api/v1/applications/web"))
        .respond_with(answer(&ended))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(path("/api/v1/applications/web"))
        .respond_with(day())
        .mount(&server)
        .await;
    let begun = Instant::now();
    let options = ArgoCdOptions {
        patience: Duration::from_secs(60),
        ..quick()
    };
    let id = "started-2026-01-01T00:00:01Z";
    let outcome = backend(&server, options)
        .wait(&operation(id))
        .await
        .unwrap();
    assert!(outcome.is_success());
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );

    // A watch, too.
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/stream/applications"))
        .respond_with(day())
        .mount(&server)
        .await;
    let options = ArgoCdOptions {
        resync: Duration::from_secs(1),
        ..quick()
    };
    let watch = backend(&server, options).watch(gitops_core::backend::Selector::all());
    let twice = futures::StreamExt::collect::<Vec<_>>(futures::StreamExt::take(watch, 2));
    let errors = tokio::time::timeout(Duration::from_secs(10), twice)
        .await
        .unwrap();
    assert!(errors.iter().all(Result::is_err), "{errors:?}");
}

#[tokio::test]
async fn a_suspension_that_somebody_ended_is_none() {
    let server = server().await;
    let mut app = record(true);
    app["metadata"]["annotations"] = json!({"gitops.rs/suspended": "false"});
    app["spec"]["syncPolicy"]["automated"]["enabled"] = json!(true);
    has(&server, &app).await;
    Mock::given(method("PATCH"))
        .and(path("/api/v1/applications/web"))
        .respond_with(answer(&app))
        .mount(&server)
        .await;
    let (backend, name) = (backend(&server, quick()), AppRef::new("web"));
    let stored = ApplicationStore::get(&backend, &name).await.unwrap();
    assert!(!stored.app.suspended);
    assert_eq!(
        stored.app.sync_policy.automated.unwrap().enabled,
        Some(true)
    );
    backend.suspend(&name).await.unwrap();
    backend.resume(&name).await.unwrap();
    let note = |value: Value| json!({"annotations": {"gitops.rs/suspended": value}});
    assert_eq!(
        patches(&server).await,
        [
            json!({"metadata": note(json!("true")), "spec": {"syncPolicy": {"automated": {"enabled": false}}}}),
            // What automated sync is now somebody decided.
            json!({"metadata": note(Value::Null)}),
        ]
    );
}

#[tokio::test]
async fn one_record_that_cannot_be_read_hides_no_other() {
    use gitops_core::backend::ListOptions;
    let server = MockServer::start().await;
    let mut odd = record(false);
    odd["metadata"]["name"] = json!("odd");
    for (status, field) in [
        // Neither the whole type nor the lean one has a place for it; only the lean one has not.
        (json!("text"), "status"),
        (json!({"reconciledAt": "yesterday"}), "status"),
    ] {
        server.reset().await;
        Mock::given(path("/api/v1/settings"))
            .respond_with(answer(&json!({"controllerNamespace": "argocd"})))
            .mount(&server)
            .await;
        odd[field] = status;
        Mock::given(path("/api/v1/applications"))
            .respond_with(answer(&json!({"items": [odd, record(false)]})))
            .mount(&server)
            .await;
        let backend = backend(&server, quick());
        let options = ListOptions {
            with_status: true,
            readable_only: true,
            ..ListOptions::default()
        };
        let found = ApplicationStore::list(&backend, &options).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].app.name, "web");
        let options = ListOptions {
            readable_only: false,
            ..options
        };
        let error = ApplicationStore::list(&backend, &options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity);
        assert!(error.to_string().contains("odd"), "{error}");
    }
}
