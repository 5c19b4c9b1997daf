//! Argo CD in parts: sessions that end, components and the API server of Kubernetes that go away and come back, and very many applications.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::ArgoCdOptions;
use futures::StreamExt;
use gitops_argocd::rest::{
    Access, ApplicationQuery, ArgoCd as Client, Config, Repository as Registered,
};
use gitops_argocd::{ArgoCdBackend, KubeArgoCd};
use gitops_core::application::{AppRef, OperationPhase, SyncStatus};
use gitops_core::backend::{
    ApplicationStore, ListOptions, PutMode, Selector, StatusEvent, SyncOptions, SyncOutcome,
    Syncer, SyncerExt,
};
use gitops_core::error::ErrorKind;
use serde_json::json;

use super::support::{
    PATIENCE, application, compared, config_map, config_maps, once_known, unique,
};

/// A hook that runs until somebody says that it has ended: nothing runs pods here.
fn waiting_hook() -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "gate", "annotations": {"argocd.argoproj.io/hook": "PreSync", "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]},
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_outlives_its_session_and_every_component() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let mut server = e2e::private_argocd(&ArgoCdOptions {
        node: false,
        applicationset_controller: false,
        session_duration: Some(Duration::from_secs(5)),
        ..ArgoCdOptions::default()
    })
    .await?;
    let argocd = server.argocd().clone();
    let client = Client::new(Config::new(&*argocd.url).login("admin", &*argocd.admin_password))?;
    // A pod is refused in a namespace whose service account is not there yet, and the hook is made right after the namespace.
    let namespace = argocd.cluster.namespace("away").await?;
    let name = namespace.name().to_owned();
    let repository = gitea.repository(&name).await?;
    let files = [
        ("gate.json", &*waiting_hook()),
        ("map.json", &*config_map("map", "1")),
    ];
    gitea.commit(&repository, "first", &files).await?;
    let registered = Registered {
        repo: repository.http_url.clone(),
        username: Some(gitea.user.clone()),
        password: Some(gitea.password.clone().into()),
        ..Registered::default()
    };
    client
        .create_repository(Access::Read, &registered, true, false)
        .await?;
    let over_rest = ArgoCdBackend::new(client);
    let kube = argocd.cluster.client().await?;
    let over_kubernetes = ArgoCdBackend::new(KubeArgoCd::new(kube));
    let app = application(&name, &repository);
    over_rest.put(&app, PutMode::Create).await?;
    let app = app.app_ref();
    compared(&over_rest, &app).await?;

    // Both doors wait for the same operation.
    let doors = [over_rest.clone(), over_kubernetes.clone()];
    let mut waits = begin(&doors, &app).await?;
    let first = gate(&argocd, &name, "").await?;

    // The session ends; Argo CD's API server dies, and hangs; Kubernetes' API server dies.
    tokio::time::sleep(Duration::from_secs(6)).await;
    server.kill_server();
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.start_server().await?;
    server.suspend_server();
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.resume_server();
    server.control_plane().restart_apiserver().await?;
    for wait in &mut waits {
        if let Ok(ended) = tokio::time::timeout(Duration::from_millis(1), wait).await {
            panic!("a wait gave up: {ended:?}");
        }
    }
    open(&argocd, &name).await?;
    let outcome = same(waits).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(config_maps(&argocd, &name).await?, "map=1 ");

    // The repository server dies in the middle of a sync: it ends, and says why.
    let waits = begin(&doors, &app).await?;
    let second = gate(&argocd, &name, &first).await?;
    server.kill_repo_server();
    open(&argocd, &name).await?;
    let outcome = same(waits).await?;
    assert_eq!(outcome.phase, OperationPhase::Error, "{outcome:?}");
    assert!(outcome.message.contains("ComparisonError"), "{outcome:?}");
    server.start_repo_server().await?;

    // And the next one goes well.
    let waits = begin(&doors, &app).await?;
    gate(&argocd, &name, &second).await?;
    open(&argocd, &name).await?;
    let outcome = same(waits).await?;
    assert!(outcome.is_success(), "{outcome:?}");
    Ok(())
}

type Waits = [tokio::task::JoinHandle<gitops_core::Result<SyncOutcome>>; 2];

/// Starts a sync through the first door and waits for it at both.
async fn begin(doors: &[ArgoCdBackend; 2], app: &AppRef) -> Result<Waits> {
    let operation = doors[0].sync(app, &SyncOptions::default()).await?;
    Ok(doors.clone().map(|backend| {
        let operation = operation.clone();
        tokio::spawn(async move { backend.wait(&operation).await })
    }))
}

/// The outcome, which is the same at both doors.
async fn same(waits: Waits) -> Result<SyncOutcome> {
    let [one, other] = waits;
    let one = tokio::time::timeout(PATIENCE, one).await???;
    let other = tokio::time::timeout(PATIENCE, other).await???;
    assert_eq!(one, other);
    Ok(one)
}

/// The hook's UID, once there is another one than `before`.
async fn gate(argocd: &e2e::ArgoCd, namespace: &str, before: &str) -> Result<String> {
    let get = [
        "get",
        "pod",
        "gate",
        "--namespace",
        namespace,
        "--output=jsonpath={.metadata.uid}",
    ];
    let begun = Instant::now();
    loop {
        match argocd.cluster.kubectl(&get).await {
            Ok(uid) if uid != before => return Ok(uid),
            _ => ensure!(begun.elapsed() < PATIENCE, "the hook was not made"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Lets the hook end well.
async fn open(argocd: &e2e::ArgoCd, namespace: &str) -> Result<()> {
    let patch = r#"{"status":{"phase":"Succeeded"}}"#;
    argocd
        .cluster
        .kubectl(&[
            "patch",
            "pod",
            "gate",
            "--namespace",
            namespace,
            "--subresource=status",
            "--patch",
            patch,
        ])
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_applications_are_listed_and_watched() -> Result<()> {
    const MANY: usize = 5_000;
    let server = e2e::private_argocd(&ArgoCdOptions {
        node: false,
        controller: false,
        applicationset_controller: false,
        ..ArgoCdOptions::default()
    })
    .await?;
    let argocd = server.argocd();
    let kube = argocd.cluster.client().await?;
    let core = KubeArgoCd::new(kube);
    let applications = core.applications();
    let made = futures::stream::iter(0..MANY)
        .map(|n| {
            let mut app = gitops_argocd::types::Application::new(format!("app-{n:04}"))
                .label("half", if n % 2 == 0 { "even" } else { "odd" })
                .source(gitops_argocd::types::Source::git("https://git.example.com/a").path("p"))
                .destination(gitops_argocd::types::Destination::server("https://kubernetes.default.svc").namespace("n"));
            app.status = serde_json::from_value(json!({
                "sync": {"status": "Synced", "revision": "abc"},
                "health": {"status": "Healthy"},
                "resources": [{"kind": "ConfigMap", "name": "a", "namespace": "n", "status": "Synced"}],
            })).unwrap();
            let applications = applications.clone();
            async move { applications.create(&Default::default(), &app).await }
        })
        .buffer_unordered(32);
    let failed: Vec<_> = made.filter_map(async |result| result.err()).collect().await;
    assert!(failed.is_empty(), "{:?}", failed.first());

    // The server answers from its cache, which follows.
    let client = super::support::rest(argocd)?;
    let all = ApplicationQuery::default();
    let begun = Instant::now();
    while client.list_summaries(&all).await?.len() < MANY {
        ensure!(
            begun.elapsed() < PATIENCE,
            "the server's cache does not follow"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let begun = Instant::now();
    let whole = client.list_statuses(&all).await?;
    println!("{MANY} statuses in {:.2?}", begun.elapsed());
    assert_eq!(whole.len(), MANY);
    assert!(
        whole
            .iter()
            .all(|(_, status)| status.sync == SyncStatus::Synced && status.revisions == ["abc"])
    );
    let begun = Instant::now();
    let short = client.list_summaries(&all).await?;
    println!("{MANY} summaries in {:.2?}", begun.elapsed());
    assert!(
        short
            .iter()
            .all(|(_, status)| status.sync == SyncStatus::Synced && status.resources.len() == 1)
    );
    let odd = ApplicationQuery {
        selector: Some("half=odd".into()),
        ..ApplicationQuery::default()
    };
    assert_eq!(client.list_statuses(&odd).await?.len(), MANY / 2);

    // Both doors watch them all on one connection, each once.
    for backend in [ArgoCdBackend::new(client), ArgoCdBackend::new(core)] {
        let begun = Instant::now();
        let told: Vec<_> = backend.watch(Selector::all()).take(MANY).collect().await;
        println!("{MANY} states told in {:.2?}", begun.elapsed());
        let names: BTreeSet<AppRef> = told
            .into_iter()
            .map(|event| match event {
                Ok(StatusEvent::Status { app, .. }) => Ok(app),
                other => anyhow::bail!("{other:?}"),
            })
            .collect::<Result<_>>()?;
        assert_eq!(names.len(), MANY);
        assert!(names.contains(&AppRef::new("app-4999")));
        let stored = ApplicationStore::list(&backend, &ListOptions::default()).await?;
        assert_eq!(stored.len(), MANY);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_in_other_namespaces_are_named_by_them() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let name = unique("elsewhere");
    let repository =
        super::support::repository(argocd, &name, &[("map.json", &config_map("map", "1"))]).await?;
    let team = argocd.cluster.namespace("team").await?;
    let client = super::support::rest(argocd)?;
    let project = serde_json::from_value(json!({
        "metadata": {"name": team.name()},
        "spec": {
            "sourceNamespaces": [team.name()],
            "sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": team.name()}],
        },
    }))?;
    client.create_project(&project, false).await?;
    let over_rest = ArgoCdBackend::new(client.clone());
    let core = super::support::kubernetes(argocd).await?.everywhere();
    let over_kubernetes = ArgoCdBackend::new(core);
    let mut app = application(&name, &repository).in_namespace(team.name());
    app.namespace = team.name().to_owned();
    app.project = team.name().to_owned();
    app.sync_policy = Default::default();
    let named = app.app_ref();
    once_known(|| over_rest.put(&app, PutMode::Create)).await?;
    for backend in [&over_rest, &over_kubernetes] {
        let outcome = tokio::time::timeout(
            PATIENCE,
            backend.sync_and_wait(&named, &SyncOptions::default()),
        )
        .await??;
        assert!(outcome.is_success(), "{outcome:?}");
        assert_eq!(outcome.operation.app, named);
        let stored = backend.get(&named).await?;
        assert_eq!(stored.app, app);
        // Without the namespace it is another one, which is not there.
        let error = backend.status(&AppRef::new(&*name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let options = ListOptions {
            selector: Selector {
                namespace: Some(team.name().to_owned()),
                ..Selector::all()
            },
            ..ListOptions::default()
        };
        let listed = ApplicationStore::list(backend, &options).await?;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].app.app_ref(), named);
    }
    assert!(config_maps(argocd, team.name()).await?.contains("map=1"));

    // A version that is not there any more is a conflict through Kubernetes, and refused by the API server, which compares none.
    app.info.push(gitops_core::application::Info {
        name: "a".into(),
        value: "1".into(),
    });
    // The controller writes the status meanwhile: whoever loses to it reads again.
    let update = async {
        loop {
            let stored = over_kubernetes.get(&named).await?;
            let mode = PutMode::Update(stored.version.clone());
            match over_kubernetes.put(&app, mode).await {
                Ok(_) => return anyhow::Ok(stored),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
    };
    let stored = tokio::time::timeout(PATIENCE, update).await??;
    app.info.clear();
    let error = over_kubernetes
        .put(&app, PutMode::Update(stored.version.clone()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let update = async {
        loop {
            let now = over_rest.get(&named).await?;
            let put = over_rest.put(&app, PutMode::Update(now.version)).await;
            let error = put.unwrap_err();
            if error.kind() != ErrorKind::Conflict {
                return anyhow::Ok(error);
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, update).await??;
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    over_rest.put(&app, PutMode::Upsert).await?;
    let shown = argocd
        .run_cli(&[
            "app",
            "get",
            &format!("{}/{name}", team.name()),
            "-o",
            "json",
        ])
        .await?;
    let shown: serde_json::Value = serde_json::from_str(&shown).context("no JSON")?;
    assert!(shown["spec"]["info"].is_null(), "{shown}");
    Ok(())
}
