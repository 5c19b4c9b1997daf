//! Applications of one name in two namespaces.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use gitops_argocd::rest::{ApplicationQuery, CreateOptions};
use gitops_argocd::types::convert::IN_CLUSTER;
use gitops_argocd::types::{AppProject, Application, Destination, Source};
use gitops_argocd::{ArgoCdBackend, ArgoCdOptions};
use gitops_core::application::AppRef;
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, ListOptions, Selector, StatusEvent, SyncOptions, SyncerExt,
};
use gitops_core::error::ErrorKind;

use super::support::{PATIENCE, config_map, config_maps, once_known, repository, rest, unique};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_applications_of_one_name_the_right_one_is_meant() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let (name, team) = (unique("twin"), unique("team"));
    let files = [
        ("ours/map.json", &*config_map("map", "ours")),
        ("theirs/map.json", &*config_map("map", "theirs")),
    ];
    let repository = repository(argocd, &name, &files).await?;
    argocd
        .cluster
        .kubectl(&["create", "namespace", &team])
        .await?;
    let client = rest(argocd)?;
    let project = AppProject::new(&*team)
        .source_repo("*")
        .destination(Destination::server(IN_CLUSTER).namespace("*"))
        .source_namespace(&*team);
    client.create_project(&project, false).await?;
    let ours = AppRef::new(&*name);
    let theirs = AppRef::namespaced(&*team, &*name);
    for (app, path, project) in [(&ours, "ours", "default"), (&theirs, "theirs", &*team)] {
        let wanted = Application::new(&*name)
            .project(project)
            .source(
                Source::git(&*repository.http_url)
                    .path(path)
                    .target_revision("main"),
            )
            .destination(Destination::server(IN_CLUSTER).namespace(&*team));
        let mut wanted = wanted;
        wanted.metadata.namespace = Some(match &*app.namespace {
            "" => argocd.namespace.clone(),
            namespace => namespace.to_owned(),
        });
        once_known(|| client.create_application(&wanted, CreateOptions::default())).await?;
    }

    // The server's list by name alone has any one of the two: without the namespace each of these goes wrong now and then.
    for turn in 0..20 {
        let client = rest(argocd)?;
        let mut names = [(&ours, "default"), (&theirs, &*team)];
        names.rotate_left(turn % 2);
        for (app, project) in names {
            let got = client.get_application(app).await?;
            assert_eq!(got.spec.project, project, "{app} in turn {turn}");
            let backend = ArgoCdBackend::new(client.clone());
            let options = ListOptions {
                selector: Selector::one(app.clone()),
                ..ListOptions::default()
            };
            let found = ApplicationStore::list(&backend, &options).await?;
            assert_eq!(found.len(), 1, "{app} in turn {turn}");
            assert_eq!(found[0].app.project, project);
        }
    }
    let all = ApplicationQuery {
        projects: vec!["default".into(), team.clone()],
        ..ApplicationQuery::default()
    };
    let all = client.list_applications(&all).await?;
    assert_eq!(all.iter().filter(|app| app.name() == name).count(), 2);

    // A watch that lists again and again takes neither for deleted.
    let options = ArgoCdOptions {
        resync: Duration::from_millis(100),
        ..ArgoCdOptions::default()
    };
    for app in [&ours, &theirs] {
        let backend = ArgoCdBackend::new(rest(argocd)?).with_options(options.clone());
        let mut told = backend.watch_one(app);
        let first = tokio::time::timeout(PATIENCE, told.next()).await?;
        match first.context("the watch ended")?? {
            StatusEvent::Status { app: told, .. } => assert_eq!(told, *app),
            event => panic!("{event:?}"),
        }
        let end = tokio::time::Instant::now() + Duration::from_secs(4);
        while let Ok(Some(event)) = tokio::time::timeout_at(end, told.next()).await {
            match event? {
                StatusEvent::Status { app: told, .. } => assert_eq!(told, *app),
                event => panic!("{event:?}"),
            }
        }
    }

    // Each is synced and deleted by its own name.
    let backend = ArgoCdBackend::new(client.clone());
    for (app, value) in [(&ours, "map=ours "), (&theirs, "map=theirs ")] {
        let plain = SyncOptions::default();
        let sync = backend.sync_and_wait(app, &plain);
        let outcome = tokio::time::timeout(PATIENCE, sync).await??;
        assert!(outcome.is_success(), "{outcome:?}");
        assert_eq!(config_maps(argocd, &team).await?, value);
    }
    let plain = DeleteOptions {
        cascade: false,
        ..DeleteOptions::default()
    };
    client.delete_application(&theirs, &plain).await?;
    assert_eq!(client.get_application(&ours).await?.spec.project, "default");
    tokio::time::timeout(PATIENCE, async {
        while rest(argocd)?.get_application(&theirs).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    })
    .await??;
    let error = rest(argocd)?.get_application(&theirs).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    client.delete_application(&ours, &plain).await?;
    Ok(())
}

trait WatchOne {
    fn watch_one(
        &self,
        app: &AppRef,
    ) -> futures::stream::BoxStream<'static, gitops_core::Result<StatusEvent>>;
}

impl WatchOne for ArgoCdBackend {
    fn watch_one(
        &self,
        app: &AppRef,
    ) -> futures::stream::BoxStream<'static, gitops_core::Result<StatusEvent>> {
        use gitops_core::backend::Syncer;
        self.watch(Selector::one(app.clone()))
    }
}
