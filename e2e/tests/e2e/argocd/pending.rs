//! Operations that no controller takes up.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::ArgoCdOptions as Fixture;
use gitops_argocd::backend::{AutoSync, RollbackOptions};
use gitops_argocd::rest::{Access, ArgoCd as Client, Config, Refresh, Repository as Registered};
use gitops_argocd::{ArgoCdBackend, ArgoCdOptions, KubeArgoCd};
use gitops_core::application::{Automated, SyncStatus};
use gitops_core::backend::{
    ApplicationStore, PutMode, RevisionHistory, SyncOptions, Syncer, SyncerExt,
};
use gitops_core::error::ErrorKind;

use super::support::{PATIENCE, application, compared, config_map, config_maps, unique};

#[tokio::test(flavor = "multi_thread")]
async fn what_no_controller_takes_up_is_withdrawn_or_terminated_later() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let mut server = e2e::private_argocd(&Fixture {
        node: false,
        applicationset_controller: false,
        ..Fixture::default()
    })
    .await?;
    let argocd = server.argocd().clone();
    let client = Client::new(Config::new(&*argocd.url).token(&*argocd.robot.token))?;
    let name = unique("pending");
    let repository = gitea.repository(&name).await?;
    gitea
        .commit(
            &repository,
            "first",
            &[("map.json", &*config_map("map", "1"))],
        )
        .await?;
    let registered = Registered {
        repo: repository.http_url.clone(),
        username: Some(gitea.user.clone()),
        password: Some(gitea.password.clone().into()),
        ..Registered::default()
    };
    client
        .create_repository(Access::Read, &registered, true, false)
        .await?;
    let short = ArgoCdOptions {
        look: Duration::from_millis(500),
        settle: Duration::from_secs(3),
        patience: Duration::from_secs(4),
        ..ArgoCdOptions::default()
    };
    let over_rest = ArgoCdBackend::new(client.clone()).with_options(short.clone());
    let kube = KubeArgoCd::new(argocd.cluster.client().await?);
    let over_kubernetes = ArgoCdBackend::new(kube).with_options(short);
    let mut wanted = application(&name, &repository);
    over_rest.put(&wanted, PutMode::Create).await?;
    let app = wanted.app_ref();
    compared(&over_rest, &app).await?;
    for value in ["1", "2"] {
        if value == "2" {
            let files = [("map.json", &*config_map("map", value))];
            gitea.commit(&repository, "next", &files).await?;
            over_rest.refresh(&app, Refresh::Normal).await?;
        }
        let plain = SyncOptions::default();
        let sync = over_rest.sync_and_wait(&app, &plain);
        assert!(tokio::time::timeout(PATIENCE, sync).await??.is_success());
        assert_eq!(config_maps(&argocd, &name).await?, format!("map={value} "));
    }
    server.stop_controller();

    // Over Kubernetes it is withdrawn, by whoever waits when its time is up and by whoever asks.
    let timed = SyncOptions {
        timeout: Some(Duration::from_secs(2)),
        ..SyncOptions::default()
    };
    let operation = over_kubernetes.sync(&app, &timed).await?;
    let begun = Instant::now();
    let error = tokio::time::timeout(PATIENCE, over_kubernetes.wait(&operation))
        .await?
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("withdrawn"), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert!(client.get_application(&app).await?.operation.is_none());
    let operation = over_kubernetes.sync(&app, &SyncOptions::default()).await?;
    over_kubernetes.terminate(&operation).await?;
    assert!(client.get_application(&app).await?.operation.is_none());

    // The API server cannot: whoever waits does so for as long as it may, and terminates it once it is taken up.
    let operation = over_rest.sync(&app, &timed).await?;
    let error = over_rest.terminate(&operation).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = tokio::time::timeout(PATIENCE, over_rest.wait(&operation))
        .await?
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("still asked for"), "{error}");
    assert!(client.get_application(&app).await?.operation.is_some());
    server.start_controller().await?;
    // Before it takes anything up, a controller that has just started reads the whole cluster.
    let patient = ArgoCdBackend::new(client.clone());
    let outcome = tokio::time::timeout(PATIENCE, patient.wait(&operation)).await??;
    assert_eq!(outcome.operation, operation);
    server.stop_controller();

    // A rollback that no controller takes up leaves automated sync off, and says so; the controller carries it out, and does not undo it.
    let first = RevisionHistory::list(&over_rest, &app).await?[0].id;
    wanted = wanted.automated(Automated::default());
    over_rest.put(&wanted, PutMode::Upsert).await?;
    let options = RollbackOptions {
        auto_sync: AutoSync::PauseAndRestore,
        ..RollbackOptions::default()
    };
    let error = over_rest
        .roll_back_and_wait(&app, first, &options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("is off"), "{error}");
    let stored = ApplicationStore::get(&over_rest, &app).await?.app;
    assert!(stored.suspended);
    server.start_controller().await?;
    let carried_out = tokio::time::timeout(PATIENCE, async {
        while config_maps(&argocd, &name).await? != "map=1 " {
            let seen = client.get_application(&app).await?;
            let state = seen.status.and_then(|status| status.operation_state);
            // A controller that has just started may not have seen the project yet, and says so.
            let too_early = state.is_some_and(|state| {
                state.phase == "Error"
                    && state
                        .message
                        .is_some_and(|message| message.contains("project default which does not"))
            });
            if too_early && seen.operation.is_none() {
                RevisionHistory::roll_back(&patient, &app, first, &SyncOptions::default()).await?;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        anyhow::Ok(())
    });
    if carried_out.await.is_err() {
        let seen = client.get_application(&app).await?;
        anyhow::bail!(
            "the rollback is not carried out: {:?}, {:?}",
            seen.operation,
            seen.status.and_then(|status| status.operation_state)
        );
    }
    over_rest
        .wait_for(&app, PATIENCE, |status| {
            status.sync == SyncStatus::OutOfSync
        })
        .await?;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(config_maps(&argocd, &name).await?, "map=1 ");
    over_rest.resume_auto_sync(&app).await?;
    tokio::time::timeout(PATIENCE, async {
        while config_maps(&argocd, &name).await? != "map=2 " {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        anyhow::Ok(())
    })
    .await??;
    Ok(())
}
