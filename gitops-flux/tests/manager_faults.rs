//! The manager against an API server that misbehaves: what a real one does only under load or when it dies.

#![allow(clippy::unwrap_used)]

#[path = "manager_faults/calls.rs"]
mod calls;
#[path = "manager_faults/writes.rs"]
mod writes;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gitops_core::ErrorKind;
use gitops_flux::manager::{ApplyOptions, Change, ListOptions};
use gitops_flux::reconcile::{ReconcileOptions, Update, WaitOptions};
use gitops_flux::types::Kustomization;
use gitops_flux::{FluxKind, FluxManager, FluxOptions, FluxRef};
use serde_json::{Value, json};
use wiremock::matchers::{any, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const ALL: &str = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations";
const ONE: &str = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/app";

fn manager(server: &MockServer) -> FluxManager {
    gitops_kube::cluster::install_crypto_provider();
    let mut config = kube::Config::new(server.uri().parse().unwrap());
    config.default_retry = false;
    let options = FluxOptions {
        deadline: Duration::from_secs(2),
        retry_for: Duration::from_secs(5),
        ..FluxOptions::default()
    };
    FluxManager::with_options(kube::Client::try_from(config).unwrap(), options)
}

fn app() -> FluxRef {
    FluxRef::new(FluxKind::Kustomization, "", "app")
}

/// A Kustomization as it is at some time: resource version, handled token, conditions.
fn object(version: u64, handled: Option<&str>, ready: &str, reason: &str) -> Value {
    let mut object = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "app", "namespace": "flux-system", "uid": "u", "generation": 1, "resourceVersion": version.to_string()},
        "spec": {"interval": "1h", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "none"}},
        "status": {
            "observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": "m", "observedGeneration": 1,
                            "lastTransitionTime": "2025-01-02T03:04:05Z"}],
        },
    });
    if let Some(handled) = handled {
        object["status"]["lastHandledReconcileAt"] = json!(handled);
    }
    object
}

fn status(code: u16, reason: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(code).set_body_json(json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    }))
}

fn list(items: &[Value], next: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "kind": "KustomizationList", "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "metadata": {"resourceVersion": "10", "continue": next}, "items": items,
    }))
}

/// Answers one after the other; the last one for ever.
struct InTurn(Vec<ResponseTemplate>, AtomicUsize);

impl InTurn {
    fn new(answers: impl IntoIterator<Item = ResponseTemplate>) -> Self {
        Self(answers.into_iter().collect(), AtomicUsize::new(0))
    }
}

impl Respond for InTurn {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let turn = self.1.fetch_add(1, Ordering::SeqCst);
        self.0[turn.min(self.0.len() - 1)].clone()
    }
}

#[tokio::test]
async fn a_server_that_turns_requests_away_is_asked_again() {
    let server = MockServer::start().await;
    let answers = InTurn::new([
        status(503, "ServiceUnavailable", "not ready"),
        status(429, "TooManyRequests", "slow down").insert_header("Retry-After", "1"),
        ResponseTemplate::new(200).set_body_string("{\"kind\":"),
        ResponseTemplate::new(200).set_body_json(object(1, None, "True", "x")),
    ]);
    Mock::given(method("GET"))
        .and(path(ONE))
        .respond_with(answers)
        .mount(&server)
        .await;
    let manager = manager(&server);
    let started = Instant::now();
    // The third answer is cut short: that one is told, since nothing says that it passes.
    let cut = manager.get_value(&app()).await.unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::Unavailable, "{cut}");
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "Retry-After was not waited for"
    );
    let got = manager.get::<Kustomization>("", "app").await.unwrap();
    assert_eq!(got.metadata.name.as_deref(), Some("app"));
}

#[tokio::test]
async fn a_server_that_is_silent_ends_in_a_timeout() {
    let server = MockServer::start().await;
    let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(30));
    Mock::given(any()).respond_with(late).mount(&server).await;
    let manager = manager(&server);
    let started = Instant::now();
    let late = manager.get_value(&app()).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout, "{late}");
    let options = ReconcileOptions::default().wait(WaitOptions::within(Duration::from_secs(1)));
    let late = manager.reconcile(&app(), &options).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout, "{late}");
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn an_old_page_begins_the_list_again() {
    let server = MockServer::start().await;
    let first = object(1, None, "True", "x");
    let mut second = first.clone();
    second["metadata"]["name"] = json!("second");
    Mock::given(method("GET"))
        .and(path(ALL))
        .and(query_param_is_missing("continue"))
        .respond_with(list(&[first], "more"))
        .expect(2)
        .mount(&server)
        .await;
    let pages = InTurn::new([
        status(410, "Expired", "too old"),
        list(
            &[
                second,
                json!(7),
                json!({"metadata": {"name": "x"}, "spec": []}),
            ],
            "",
        ),
    ]);
    Mock::given(method("GET"))
        .and(path(ALL))
        .and(query_param("continue", "more"))
        .respond_with(pages)
        .mount(&server)
        .await;
    let found = manager(&server)
        .list::<Kustomization>(&ListOptions::namespace(""))
        .await
        .unwrap();
    let names: Vec<_> = found
        .items
        .iter()
        .filter_map(|one| one.metadata.name.as_deref())
        .collect();
    assert_eq!(names, ["app", "second"]);
    assert_eq!(found.unreadable.len(), 2, "{:?}", found.unreadable);
}

#[tokio::test]
async fn somebody_elses_change_is_not_taken_for_ours() {
    let server = MockServer::start().await;
    let gets = InTurn::new([1, 2].map(|version| {
        ResponseTemplate::new(200).set_body_json(object(version, None, "True", "x"))
    }));
    Mock::given(method("GET"))
        .and(path(ONE))
        .respond_with(gets)
        .mount(&server)
        .await;
    let modified = "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and try again";
    let patches = InTurn::new([
        status(409, "Conflict", modified),
        ResponseTemplate::new(200).set_body_json(object(2, None, "True", "x")),
    ]);
    Mock::given(method("PATCH"))
        .and(path(ONE))
        .respond_with(patches)
        .mount(&server)
        .await;
    let kustomization = Kustomization::new("app");
    let manager = manager(&server);
    let applied = manager.create(&kustomization).await.unwrap();
    assert_eq!(applied.change, Change::Unchanged);
    let requests = server.received_requests().await.unwrap();
    let sent: Vec<Value> = requests
        .iter()
        .filter(|request| request.method.as_str() == "PATCH")
        .map(|request| request.body_json().unwrap())
        .collect();
    assert_eq!(sent[0]["metadata"]["resourceVersion"], "1");
    assert_eq!(sent[1]["metadata"]["resourceVersion"], "2");
    // Who names a version does not want it tried again.
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path(ONE))
        .respond_with(ResponseTemplate::new(200).set_body_json(object(2, None, "True", "x")))
        .mount(&server)
        .await;
    Mock::given(method("PATCH"))
        .respond_with(status(409, "Conflict", modified))
        .expect(1)
        .mount(&server)
        .await;
    let options = ApplyOptions {
        version: Some("1".into()),
        ..ApplyOptions::default()
    };
    let refused = self::manager(&server)
        .apply(&kustomization, &options)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
}

/// A watch's answer: one event per line, then the end of the connection.
fn watched(events: &[(&str, Value)]) -> ResponseTemplate {
    let lines: String = events
        .iter()
        .map(|(kind, object)| format!("{}\n", json!({"type": kind, "object": object})))
        .collect();
    ResponseTemplate::new(200).set_body_raw(lines, "application/json")
}

#[tokio::test]
async fn a_wait_survives_cuts_gaps_and_refusals() {
    let server = MockServer::start().await;
    let old = object(1, Some("before"), "True", "Succeeded");
    Mock::given(method("GET"))
        .and(path(ONE))
        .respond_with(ResponseTemplate::new(200).set_body_json(&old))
        .mount(&server)
        .await;
    // The token that was asked for is echoed by the last list.
    let asked: Arc<Mutex<String>> = Arc::default();
    let noted = asked.clone();
    let patched = old.clone();
    Mock::given(method("PATCH"))
        .and(path(ONE))
        .respond_with(move |request: &Request| {
            let patch: Value = request.body_json().unwrap();
            let token = &patch["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
            *noted.lock().unwrap() = token.as_str().unwrap().to_owned();
            assert_eq!(patch["metadata"]["uid"], "u");
            ResponseTemplate::new(200).set_body_json(&patched)
        })
        .mount(&server)
        .await;
    let gone = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version"});
    let watches = InTurn::new([
        // Cut at once; cut in the middle of an event; refused; a gap.
        watched(&[]),
        ResponseTemplate::new(200).set_body_raw("{\"type\":\"MODIFIED\",\"obj", "application/json"),
        status(503, "ServiceUnavailable", "starting"),
        watched(&[(
            "MODIFIED",
            object(11, Some("before"), "Unknown", "Progressing"),
        )]),
        watched(&[("ERROR", gone)]),
        watched(&[]),
    ]);
    Mock::given(method("GET"))
        .and(path(ALL))
        .and(query_param("watch", "true"))
        .respond_with(watches)
        .mount(&server)
        .await;
    let lists = AtomicUsize::new(0);
    Mock::given(method("GET"))
        .and(path(ALL))
        .and(query_param_is_missing("watch"))
        .respond_with(
            move |_: &Request| match lists.fetch_add(1, Ordering::SeqCst) {
                0 => list(std::slice::from_ref(&old), ""),
                1 => status(500, "InternalError", "etcdserver: leader changed"),
                _ => {
                    let token = asked.lock().unwrap().clone();
                    list(&[object(20, Some(&token), "True", "Succeeded")], "")
                }
            },
        )
        .mount(&server)
        .await;
    let told: Arc<Mutex<Vec<Update>>> = Arc::default();
    let sink = told.clone();
    let wait = WaitOptions::within(Duration::from_secs(20))
        .progress(move |update| sink.lock().unwrap().push(update.clone()));
    let options = ReconcileOptions::default().wait(wait);
    let done = manager(&server).reconcile(&app(), &options).await.unwrap();
    assert_eq!(done.value["metadata"]["resourceVersion"], "20");
    let told = told.lock().unwrap();
    assert!(
        told.iter()
            .any(|update| matches!(update, Update::Interrupted { .. })),
        "{told:?}"
    );
    assert!(matches!(told.last(), Some(Update::Done { .. })), "{told:?}");
}

/// A Kustomization that no controller has written anything about, on a server that answers nothing else but what is mounted afterwards.
async fn untouched(more: Value) -> MockServer {
    let server = MockServer::start().await;
    let mut bare = object(1, None, "Unknown", "Nothing");
    bare["status"] = json!({});
    for (field, value) in more.as_object().into_iter().flatten() {
        bare["spec"][field] = value.clone();
    }
    for verb in ["GET", "PATCH"] {
        Mock::given(method(verb))
            .and(path(ONE))
            .respond_with(ResponseTemplate::new(200).set_body_json(&bare))
            .mount(&server)
            .await;
    }
    Mock::given(method("GET"))
        .and(path(ALL))
        .and(query_param_is_missing("watch"))
        .respond_with(list(&[bare], ""))
        .mount(&server)
        .await;
    server
}

/// The watch of the Kustomization, answered late.
async fn watch(server: &MockServer, after: Duration, events: &[(&str, Value)]) {
    Mock::given(method("GET"))
        .and(path(ALL))
        .and(query_param("watch", "true"))
        .respond_with(watched(events).set_delay(after))
        .mount(server)
        .await;
}

/// Neither sources nor Leases nor Pods can be read.
async fn forbid_the_rest(server: &MockServer) {
    Mock::given(any())
        .respond_with(status(403, "Forbidden", "alice cannot do this"))
        .mount(server)
        .await;
}

#[tokio::test]
async fn who_may_read_nothing_else_is_told_what_is_known() {
    let server = untouched(json!({})).await;
    watch(&server, Duration::from_secs(60), &[]).await;
    forbid_the_rest(&server).await;
    let told: Arc<Mutex<Vec<Update>>> = Arc::default();
    let sink = told.clone();
    let wait = WaitOptions::within(Duration::from_secs(4))
        .answer_within(Duration::from_secs(1))
        .progress(move |update| sink.lock().unwrap().push(update.clone()));
    let options = ReconcileOptions::default().wait(wait);
    let late = manager(&server)
        .reconcile(&app(), &options)
        .await
        .unwrap_err();
    // Whether a controller runs is not known: nobody says that there is none.
    assert_eq!(late.kind(), ErrorKind::Timeout, "{late}");
    let unknown = "whether kustomize-controller runs is not known";
    for part in [unknown, "alice cannot do this"] {
        assert!(late.to_string().contains(part), "{late}");
    }
    let told = told.lock().unwrap();
    let unanswered = told.iter().filter(
        |update| matches!(update, Update::Unanswered { message, .. } if message.contains(unknown)),
    );
    assert_eq!(unanswered.count(), 1, "{told:?}");
}

#[tokio::test]
async fn who_may_not_read_leases_waits_for_a_busy_controller() {
    let server = untouched(json!({})).await;
    let done = ("MODIFIED", object(11, None, "True", "Succeeded"));
    watch(&server, Duration::from_secs(2), &[done]).await;
    forbid_the_rest(&server).await;
    let wait =
        WaitOptions::within(Duration::from_secs(20)).answer_within(Duration::from_millis(200));
    let done = manager(&server).wait(&app(), &wait).await.unwrap();
    assert_eq!(done.value["metadata"]["resourceVersion"], "11");
}

#[tokio::test]
async fn a_controller_is_looked_for_where_flux_is() {
    let server = untouched(json!({})).await;
    let done = ("MODIFIED", object(11, None, "True", "Succeeded"));
    watch(&server, Duration::from_secs(2), &[done]).await;
    let leases = |items: Value| {
        ResponseTemplate::new(200).set_body_json(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {}, "items": items,
        }))
    };
    let fresh = json!([{
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "kustomize-controller-leader-election", "namespace": "gitops"},
        "spec": {"leaseDurationSeconds": 35, "renewTime": format!("{:.6}", jiff::Timestamp::now())},
    }]);
    let path_of = |namespace| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    for (namespace, items) in [("gitops", fresh), ("flux-system", json!([]))] {
        Mock::given(path(path_of(namespace)))
            .respond_with(leases(items))
            .mount(&server)
            .await;
    }
    forbid_the_rest(&server).await;
    let wait = async |flux_namespace: &str| {
        let options = FluxOptions {
            flux_namespace: flux_namespace.to_owned(),
            ..manager(&server).options().clone()
        };
        let manager = FluxManager::with_options(manager(&server).client().clone(), options);
        let wait =
            WaitOptions::within(Duration::from_secs(20)).answer_within(Duration::from_millis(200));
        manager.wait(&app(), &wait).await
    };
    let done = wait("gitops").await.unwrap();
    assert_eq!(done.value["metadata"]["resourceVersion"], "11");
    let refused = wait("flux-system").await.unwrap_err();
    let told = "Namespace flux-system has no Lease of it";
    assert!(refused.to_string().contains(told), "{refused}");
}

#[tokio::test]
async fn a_server_that_falls_silent_does_not_lengthen_a_wait() {
    let checks = json!({"healthChecks": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "namespace": "x"}]});
    let server = untouched(checks).await;
    let never = ResponseTemplate::new(200).set_delay(Duration::from_secs(120));
    Mock::given(any()).respond_with(never).mount(&server).await;
    // A request may take half a minute.
    let config = kube::Config::new(server.uri().parse().unwrap());
    let client = kube::Client::try_from(config).unwrap();
    let manager = FluxManager::with_options(client, FluxOptions::default());
    let wait = async |answer_within| {
        let wait = WaitOptions::within(Duration::from_secs(1)).answer_within(answer_within);
        manager.wait(&app(), &wait).await.unwrap_err()
    };
    let started = Instant::now();
    // The controller is looked for in the wait, or only at its end.
    let (soon, never) = (Duration::from_millis(100), Duration::from_secs(60));
    let (first, second) = tokio::join!(wait(soon), wait(never));
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    for late in [first, second] {
        assert_eq!(late.kind(), ErrorKind::Timeout, "{late}");
        for part in [
            "has not changed since",
            "before everything could be looked at",
        ] {
            assert!(late.to_string().contains(part), "{late}");
        }
    }
}

#[tokio::test]
async fn an_explanation_reads_no_secrets() {
    let server = MockServer::start().await;
    let mut now = object(1, None, "Unknown", "Progressing");
    let entries: Vec<Value> = [
        "x_a__Secret",
        "x_a__ConfigMap",
        "x_b__ConfigMap",
        "x_c__ConfigMap",
        "x_d__ConfigMap",
        "x_web_apps_Deployment",
        "_r_rbac.authorization.k8s.io_ClusterRole",
    ]
    .iter()
    .map(|id| json!({"id": id, "v": "v1"}))
    .collect();
    now["status"]["inventory"] = json!({"entries": entries});
    let discovered = |kinds: &[(&str, &str, &str, &str)]| {
        let items: Vec<Value> = kinds
            .iter()
            .map(|(group, plural, kind, scope)| {
                let resource = json!({"resource": plural, "scope": scope, "verbs": ["list"], "responseKind": {"kind": kind}});
                json!({"metadata": {"name": group}, "versions": [{"version": "v1", "resources": [resource]}]})
            })
            .collect();
        ResponseTemplate::new(200).set_body_json(json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
        }))
    };
    let metadata = |kind: &str, names: &[&str]| {
        let items: Vec<Value> = names
            .iter()
            .map(|name| json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": name, "namespace": "x"}}))
            .collect();
        ResponseTemplate::new(200).set_body_json(json!({
            "kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items,
        }))
    };
    for (at, answer) in [
        (ONE, ResponseTemplate::new(200).set_body_json(&now)),
        (
            "/api",
            discovered(&[
                ("", "secrets", "Secret", "Namespaced"),
                ("", "configmaps", "ConfigMap", "Namespaced"),
            ]),
        ),
        (
            "/apis",
            discovered(&[
                ("apps", "deployments", "Deployment", "Namespaced"),
                (
                    "rbac.authorization.k8s.io",
                    "clusterroles",
                    "ClusterRole",
                    "Cluster",
                ),
            ]),
        ),
        (
            "/api/v1/namespaces/x/configmaps",
            metadata("PartialObjectMetadata", &["a", "b", "c"]),
        ),
    ] {
        Mock::given(method("GET"))
            .and(path(at))
            .respond_with(answer)
            .mount(&server)
            .await;
    }
    forbid_the_rest(&server).await;
    let explained = manager(&server).explain(&app()).await.unwrap();
    // What is missing is told; what may not be read, only where it could say why.
    let missing: Vec<String> = explained
        .objects
        .iter()
        .map(|one| one.id.to_string())
        .collect();
    assert_eq!(missing, ["ConfigMap x/d"]);
    assert_eq!(explained.looked_at, 4);
    assert_eq!(explained.unread.len(), 1, "{explained}");
    assert!(
        explained.unread[0].starts_with("Deployment cannot be read"),
        "{explained}"
    );
    for request in server.received_requests().await.unwrap() {
        let at = request.url.path();
        let bare = ["secrets", "configmaps", "clusterroles"]
            .iter()
            .any(|kind| at.contains(kind));
        let accept = request
            .headers
            .get("accept")
            .map(|value| value.to_str().unwrap());
        let asked = accept
            .unwrap_or_default()
            .contains("PartialObjectMetadataList");
        assert_eq!(asked, bare, "{at} {accept:?}");
    }
}
