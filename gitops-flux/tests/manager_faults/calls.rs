//! Calls that read more than one object: where they ask, how often, and what of their answers is missing.

use futures::StreamExt as _;
use gitops_flux::build::{KubeValues, SubstituteValues as _};
use gitops_flux::check::CheckOptions;
use gitops_flux::events::EventsOptions;
use gitops_flux::logs::LogsOptions;
use gitops_flux::manager::FluxEvent;
use gitops_flux::secret::FluxSecret;

use super::*;

const LEVEL: &str = "/api/v1/namespaces/gitops";
const CONTROLLERS: &str = "/api/v1/namespaces/controllers";

/// A manager whose objects are in one namespace, of a Flux that is in another.
fn elsewhere(server: &MockServer) -> FluxManager {
    let options = FluxOptions {
        namespace: "gitops".into(),
        flux_namespace: "controllers".into(),
        field_manager: "me".into(),
        ..FluxOptions::default()
    };
    FluxManager::with_options(manager(server).client().clone(), options)
}

async fn asked(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.unwrap();
    let shown = requests.iter().map(|request| {
        let query = request.url.query().unwrap_or_default();
        format!("{} {}?{query}", request.method, request.url.path())
    });
    shown.collect()
}

fn objects(kind: &str, items: &[Value]) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {"resourceVersion": "10"}, "items": items,
    }))
}

#[tokio::test]
async fn what_is_refused_is_asked_for_less_and_less_often() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(status(403, "Forbidden", "alice cannot list"))
        .mount(&server)
        .await;
    let manager = manager(&server);
    let options = ListOptions::default();
    let events = manager
        .watch_events(EventsOptions::default())
        .await
        .unwrap();
    let objects = manager.watch::<Kustomization>(&options);
    let streams = [
        events.map(|event| event.map(drop)).boxed(),
        objects.map(|event| event.map(drop)).boxed(),
    ];
    for mut stream in streams {
        let began = Instant::now();
        for _ in 0..6 {
            let error = stream.next().await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        }
        // 100, 150, 225, 338 and 506 ms; at five times 100 ms with some chance it would be less than a second.
        assert!(began.elapsed() > Duration::from_millis(1_250));
    }
    assert_eq!(asked(&server).await.len(), 12);
}

#[tokio::test]
async fn a_watch_tells_that_it_begins_with_what_there_is() {
    let server = MockServer::start().await;
    let items = [object(1, None, "True", "x")];
    let lists = InTurn::new([
        status(500, "InternalError", "etcdserver: leader changed"),
        list(&items, ""),
    ]);
    Mock::given(method("GET"))
        .and(path(ALL))
        .and(query_param_is_missing("watch"))
        .respond_with(lists)
        .mount(&server)
        .await;
    let mut events = manager(&server).watch::<Kustomization>(&ListOptions::default());
    assert!(events.next().await.unwrap().is_err());
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(events.next().await.unwrap().unwrap());
    }
    assert!(
        matches!(
            told[..],
            [
                FluxEvent::Restarted,
                FluxEvent::Applied(_),
                FluxEvent::Synced
            ]
        ),
        "{told:?}"
    );
}

#[tokio::test]
async fn no_name_leads_to_another_path() {
    let server = MockServer::start().await;
    let manager = manager(&server);
    let away = "a/kustomizations?labelSelector=x&";
    let mut events = manager.watch::<Kustomization>(&ListOptions::namespace(away));
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");

    let values = KubeValues::new(manager.client().clone());
    for (kind, namespace, name) in [
        ("Secret", "shop", "../../kube-system/secrets/x"),
        ("ConfigMap", "shop", "a?b"),
        ("ConfigMap", "..", "a"),
    ] {
        let error = values.read(kind, namespace, name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }

    let options = LogsOptions {
        flux_namespace: "a/b".into(),
        ..LogsOptions::default()
    };
    let error = manager.logs(&options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(asked(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_empty_namespace_is_the_managers_own_and_the_controllers_have_theirs() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/version"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"gitVersion": "v1.34.1"})))
        .mount(&server)
        .await;
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gitrepositories.source.toolkit.fluxcd.io";
    for one in [definition.to_owned(), format!("{LEVEL}/secrets/login")] {
        Mock::given(method("GET"))
            .and(path(one))
            .respond_with(status(404, "NotFound", "not found"))
            .mount(&server)
            .await;
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "gitops", "name": "login"}});
    Mock::given(method("PATCH"))
        .and(query_param("fieldManager", "me"))
        .respond_with(ResponseTemplate::new(201).set_body_json(secret))
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .respond_with(objects("Any", &[]))
        .mount(&server)
        .await;
    let manager = elsewhere(&server);
    manager.stats(Some("")).await.unwrap();
    manager.dependencies(Some("")).await.unwrap();
    let events = EventsOptions::in_namespace("");
    assert_eq!(manager.events(&events).await.unwrap(), []);
    let about = EventsOptions {
        references: false,
        ..EventsOptions::about(FluxKind::Kustomization, "", "app")
    };
    assert_eq!(manager.events(&about).await.unwrap(), []);
    let error = manager.logs(&LogsOptions::default()).await.unwrap_err();
    assert!(
        error.to_string().contains("namespace controllers"),
        "{error}"
    );
    let found = manager.check(&CheckOptions::default()).await.unwrap();
    let problems = found.problems.join("\n");
    assert!(problems.contains("in namespace controllers"), "{problems}");
    let options = ListOptions::default();
    manager.list::<Kustomization>(&options).await.unwrap();
    let secret = FluxSecret::git_basic("", "login", "u", "p").unwrap();
    assert!(manager.create_secret(&secret).await.unwrap());
    let outside = ["/version", "/apis/apiextensions.k8s.io/"];
    for request in asked(&server).await {
        let namespace = match request.contains("/deployments") {
            true => "/namespaces/controllers/",
            false => "/namespaces/gitops/",
        };
        let inside = request.contains(namespace);
        assert!(
            inside || outside.iter().any(|path| request.contains(path)),
            "{request}"
        );
    }

    // Who has no manager names one, or none.
    let error = gitops_flux::events::events(manager.cluster(), &events).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_log_that_cannot_be_read_hides_no_other() {
    let server = MockServer::start().await;
    let named = ["image-reflector-controller", "source-controller"];
    let deployments = named.map(|name| {
        json!({"metadata": {"name": name, "namespace": "controllers"}, "spec": {"selector": {"matchLabels": {"app": name}}}})
    });
    Mock::given(method("GET"))
        .and(path("/apis/apps/v1/namespaces/controllers/deployments"))
        .respond_with(objects("Deployment", &deployments))
        .mount(&server)
        .await;
    for name in named {
        let pod = json!({"metadata": {"name": format!("{name}-1"), "namespace": "controllers"}, "spec": {"containers": [{}]}});
        Mock::given(method("GET"))
            .and(path(format!("{CONTROLLERS}/pods")))
            .and(query_param("labelSelector", format!("app={name}")))
            .respond_with(objects("Pod", &[pod]))
            .mount(&server)
            .await;
    }
    let waiting = status(
        400,
        "BadRequest",
        "container \"manager\" in pod is waiting to start: trying and failing to pull image",
    );
    Mock::given(method("GET"))
        .and(path(format!("{CONTROLLERS}/pods/{}-1/log", named[0])))
        .respond_with(waiting.clone())
        .mount(&server)
        .await;
    let log = ResponseTemplate::new(200).set_body_string("{\"level\":\"info\",\"msg\":\"well\"}\n");
    Mock::given(method("GET"))
        .and(path(format!("{CONTROLLERS}/pods/{}-1/log", named[1])))
        .respond_with(InTurn::new([log.clone(), log, waiting]))
        .mount(&server)
        .await;
    let manager = elsewhere(&server);
    let options = LogsOptions::default();
    let read = manager.logs(&options).await.unwrap();
    assert_eq!(read.lines.len(), 1);
    assert_eq!(read.lines[0].message, "well");
    assert_eq!(read.unreadable.len(), 1);
    assert_eq!(read.unreadable[0].controller, named[0]);
    let why = read.unreadable[0].error.to_string();
    assert!(why.contains("waiting to start"), "{why}");

    let following = manager.follow_logs(options.clone()).await.unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = following
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (1, 1));

    // None at all is an error.
    let error = manager.logs(&options).await.unwrap_err();
    assert!(error.to_string().contains("waiting to start"), "{error}");
}

#[tokio::test]
async fn numbers_begin_anew_when_their_pages_grow_too_old() {
    let server = MockServer::start().await;
    let first = list(&[object(1, None, "True", "x")], "more");
    Mock::given(method("GET"))
        .and(path(ALL))
        .and(query_param_is_missing("continue"))
        .respond_with(first)
        .expect(2)
        .mount(&server)
        .await;
    let rest = [
        status(410, "Expired", "too old"),
        list(&[object(2, None, "False", "x")], ""),
    ];
    Mock::given(method("GET"))
        .and(path(ALL))
        .and(query_param("continue", "more"))
        .respond_with(InTurn::new(rest))
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(status(404, "NotFound", "not found"))
        .mount(&server)
        .await;
    let stats = manager(&server).stats(Some("")).await.unwrap();
    let found = stats.of(FluxKind::Kustomization).unwrap();
    assert_eq!((found.running, found.failing), (2, 1));
}

#[tokio::test]
async fn a_list_that_is_too_long_is_not_cut_silently() {
    let server = MockServer::start().await;
    let many = vec![json!({"metadata": {"name": "x", "namespace": "gitops"}}); 1_001];
    Mock::given(any())
        .respond_with(objects("Deployment", &many))
        .mount(&server)
        .await;
    let options = LogsOptions::default();
    let error = elsewhere(&server).logs(&options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}
