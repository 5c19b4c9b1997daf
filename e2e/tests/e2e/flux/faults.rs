//! What goes wrong, and what is said of it. Each test asserts the kind of the error, that its text names the reason, and what is in the cluster afterwards.

mod servers;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gitops_core::ErrorKind;
use gitops_flux::FluxKind;
use gitops_flux::manager::DeleteOptions;
use gitops_flux::reconcile::{ReconcileOptions, Update, Waiting};
use serde_json::{Value, json};

use super::reconcile::{Site, Told};
use super::support::{LOGIN, PATIENCE, apply, ask, config_map, deployment, find, ready, wait};

/// A wait that failed must have failed fast.
const FAST: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials() -> Result<()> {
    let flux = e2e::flux().await?;
    let map = config_map("map", "1");
    let site = Site::new(flux, "flux-login", &[("map.yaml", &map)]).await?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": LOGIN, "namespace": site.name()},
        "stringData": {"username": "nobody", "password": "canary-4711"},
    });
    apply(&site.client(), &secret).await?;
    apply(&site.client(), &site.source()).await?;
    apply(&site.client(), &site.app()).await?;
    let source = site.the(FluxKind::GitRepository, "source");
    let started = Instant::now();
    for failed in [
        site.manager.wait(&source, &wait()).await.unwrap_err(),
        site.manager.reconcile(&source, &ask()).await.unwrap_err(),
    ] {
        assert_eq!(failed.kind(), ErrorKind::Failed, "{failed}");
        let told = failed.to_string();
        assert!(
            told.contains(&format!("GitRepository {}/source failed", site.name())),
            "{told}"
        );
        assert!(told.to_lowercase().contains("authentication"), "{told}");
        assert!(
            !format!("{failed:?}{failed:#}").contains("canary"),
            "{failed:?}"
        );
    }
    // Who waits for the Kustomization is told what is wrong with its source.
    let app = site.the(FluxKind::Kustomization, "app");
    let failed = site.manager.wait(&app, &wait()).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Failed, "{failed}");
    let told = failed.to_string();
    assert!(
        told.contains("app waits for its source: GitRepository"),
        "{told}"
    );
    assert!(told.to_lowercase().contains("authentication"), "{told}");
    assert!(started.elapsed() < FAST, "{:?}", started.elapsed());
    assert_eq!(site.status(&site.source()).await?["artifact"], Value::Null);
    assert_eq!(site.value("map").await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_branch() -> Result<()> {
    let flux = e2e::flux().await?;
    let map = config_map("map", "1");
    let site = Site::new(flux, "flux-branch", &[("map.yaml", &map)]).await?;
    site.deploy().await?;
    let before = site.status(&site.source()).await?["artifact"].clone();
    let mut source = site.source();
    source["spec"]["ref"] = json!({"branch": "no-such-branch"});
    apply(&site.client(), &source).await?;
    let named = site.the(FluxKind::GitRepository, "source");
    let failed = site.manager.wait(&named, &wait()).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Failed, "{failed}");
    assert!(failed.to_string().contains("no-such-branch"), "{failed}");
    let app = site.the(FluxKind::Kustomization, "app");
    let failed = site
        .manager
        .reconcile(&app, &ask().with_source())
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Failed, "{failed}");
    let told = failed.to_string();
    assert!(
        told.contains("the source of Kustomization") && told.contains("no-such-branch"),
        "{told}"
    );
    // What it had stays, and the Kustomization was not asked.
    assert_eq!(site.status(&source).await?["artifact"], before);
    assert_eq!(
        site.status(&site.app()).await?["lastHandledReconcileAt"],
        Value::Null
    );
    assert_eq!(site.value("map").await?.as_deref(), Some("1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_path() -> Result<()> {
    let flux = e2e::flux().await?;
    let map = config_map("map", "1");
    let site = Site::new(flux, "flux-path", &[("apps/map.yaml", &map)]).await?;
    ready(&site.client(), &site.source()).await?;
    let mut app = site.app();
    app["spec"]["path"] = json!("./apps");
    ready(&site.client(), &app).await?;

    // In a new revision it is gone.
    let files = [("elsewhere/map.yaml", &*map)];
    let moved = site.gitea.repository("flux-path-moved").await?;
    let commit = site.gitea.commit(&moved, "moved", &files).await?;
    let mut source = site.source();
    source["spec"]["url"] = json!(moved.http_url);
    apply(&site.client(), &source).await?;
    let named = site.the(FluxKind::Kustomization, "app");
    let started = Instant::now();
    let failed = site
        .manager
        .reconcile(&named, &ask().with_source())
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Failed, "{failed}");
    let told = failed.to_string();
    assert!(
        told.contains("ArtifactFailed") && told.contains("path not found"),
        "{told}"
    );
    assert!(started.elapsed() < FAST, "{:?}", started.elapsed());
    let status = site.status(&source).await?;
    assert_eq!(
        status["artifact"]["revision"],
        format!("main@sha1:{commit}")
    );
    assert_ne!(
        site.status(&app).await?["lastAppliedRevision"],
        format!("main@sha1:{commit}")
    );
    assert_eq!(site.value("map").await?.as_deref(), Some("1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_manifests() -> Result<()> {
    let flux = e2e::flux().await?;
    let map = config_map("map", "1");
    let site = Site::new(flux, "flux-invalid", &[("map.yaml", &map)]).await?;
    site.deploy().await?;
    let app = site.the(FluxKind::Kustomization, "app");
    let broken = [
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: map",
            "BuildFailed",
        ),
        (
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"map"},"data":{"value":"2"},"immutable":"no"}"#,
            "ReconciliationFailed",
        ),
        (
            r#"{"apiVersion":"example.com/v1","kind":"Nothing","metadata":{"name":"map"}}"#,
            "ReconciliationFailed",
        ),
    ];
    for (manifest, reason) in broken {
        let commit = site
            .gitea
            .commit(&site.repository, reason, &[("map.yaml", manifest)])
            .await?;
        let started = Instant::now();
        let failed = site
            .manager
            .reconcile(&app, &ask().with_source())
            .await
            .unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Failed, "{failed}");
        assert!(failed.to_string().contains(reason), "{failed}");
        assert!(started.elapsed() < FAST, "{:?}", started.elapsed());
        // A failure leaves the generation unobserved and the object reconciling, and is told again at once.
        let status = site.status(&site.app()).await?;
        assert_eq!(
            status["lastAttemptedRevision"],
            format!("main@sha1:{commit}")
        );
        let again = site.manager.wait(&app, &wait()).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Failed, "{again}");
        assert_eq!(site.value("map").await?.as_deref(), Some("1"));
    }
    // Put right, it goes on; no old failure is taken for a new one.
    let files = [("map.yaml", &*config_map("map", "3"))];
    site.gitea.commit(&site.repository, "right", &files).await?;
    site.manager.reconcile(&app, &ask().with_source()).await?;
    assert_eq!(site.value("map").await?.as_deref(), Some("3"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn immutable_fields() -> Result<()> {
    let flux = e2e::flux().await?;
    let first = deployment("web");
    let site = Site::new(flux, "flux-immutable", &[("web.yaml", &first)]).await?;
    site.deploy().await?;
    let mut second: Value = serde_json::from_str(&first)?;
    second["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    second["spec"]["template"]["metadata"]["labels"]["app"] = json!("other");
    let files = [("web.yaml", &*second.to_string())];
    site.gitea
        .commit(&site.repository, "another selector", &files)
        .await?;

    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": site.name()}});
    let before = find(&site.client(), &web).await?.context("no Deployment")?;
    let app = site.the(FluxKind::Kustomization, "app");
    let failed = site
        .manager
        .reconcile(&app, &ask().with_source())
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Failed, "{failed}");
    let told = failed.to_string();
    assert!(told.contains("web") && told.contains("immutable"), "{told}");
    let found = find(&site.client(), &web).await?.context("no Deployment")?;
    assert_eq!(found.metadata.uid, before.metadata.uid);
    assert_eq!(found.data["spec"]["selector"]["matchLabels"]["app"], "web");

    let mut forced = site.app();
    forced["spec"]["force"] = json!(true);
    apply(&site.client(), &forced).await?;
    site.manager.reconcile(&app, &ask().with_source()).await?;
    let found = find(&site.client(), &web).await?.context("no Deployment")?;
    assert_ne!(found.metadata.uid, before.metadata.uid);
    assert_eq!(
        found.data["spec"]["selector"]["matchLabels"]["app"],
        "other"
    );
    Ok(())
}

/// A Deployment whose pod no node takes.
fn homeless(name: &str) -> String {
    let mut object: Value = serde_json::from_str(&deployment(name)).unwrap();
    object["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "none-such"});
    object.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_that_never_passes() -> Result<()> {
    let flux = e2e::flux().await?;
    let (web, map) = (homeless("web"), config_map("map", "1"));
    let site = Site::new(
        flux,
        "flux-health",
        &[("web.yaml", &web), ("map.yaml", &map)],
    )
    .await?;
    ready(&site.client(), &site.source()).await?;
    apply(&site.client(), &site.app()).await?;
    let app = site.the(FluxKind::Kustomization, "app");

    // While the check runs, a wait that is too short says what it waits for.
    let told = Told::default();
    let late = site
        .manager
        .wait(&app, &told.options(Duration::from_secs(15)))
        .await
        .unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout, "{late}");
    let named = format!("Deployment.apps {}/web is", site.name());
    assert!(late.to_string().contains("Running health checks"), "{late}");
    assert!(late.to_string().contains(&named), "{late}");
    assert!(
        told.lines()
            .iter()
            .any(|line| line.contains("Running health checks")),
        "{:?}",
        told.lines()
    );

    let mut short = site.app();
    short["spec"]["timeout"] = json!("3s");
    apply(&site.client(), &short).await?;
    let failed = site.manager.wait(&app, &wait()).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Failed, "{failed}");
    let text = failed.to_string();
    assert!(
        text.contains("HealthCheckFailed") && text.contains(&named),
        "{text}"
    );
    assert!(
        text.contains("pod") && text.contains("node"),
        "the pod does not say why: {text}"
    );
    let explained = site.manager.explain(&app).await?;
    assert_eq!(explained.objects.len(), 1, "{explained}");
    assert_eq!(explained.looked_at, 2, "{explained}");
    // What was applied is there all the same.
    assert_eq!(site.value("map").await?.as_deref(), Some("1"));

    // It heals, and who waits through failures sees it.
    let heal = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let files = [("web.yaml", &*deployment("web"))];
        site.gitea
            .commit(&site.repository, "healed", &files)
            .await?;
        let source = site.the(FluxKind::GitRepository, "source");
        anyhow::Ok(site.manager.reconcile(&source, &ask()).await?)
    };
    let told = Told::default();
    let patient = told.options(PATIENCE).through_failures();
    let patient = async { anyhow::Ok(site.manager.wait(&app, &patient).await?) };
    let (source, done) = tokio::try_join!(heal, patient)?;
    assert_eq!(done.revision, source.revision);
    let failing = told
        .updates()
        .iter()
        .any(|update| matches!(update, Update::Failing { .. }));
    assert!(failing, "{:?}", told.lines());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_is_not_ready() -> Result<()> {
    let flux = e2e::flux().await?;
    let files = [
        ("app/map.yaml", &*config_map("map", "1")),
        ("base/map.yaml", "{apiVersion: v1, kind: ConfigMap"),
    ];
    let site = Site::new(flux, "flux-depends", &files).await?;
    ready(&site.client(), &site.source()).await?;
    let mut base = site.app();
    base["metadata"]["name"] = json!("base");
    base["spec"]["path"] = json!("./base");
    // A further try would not be failing for as long as it runs.
    base["spec"]["retryInterval"] = json!("1h");
    let mut app = site.app();
    app["spec"]["path"] = json!("./app");
    app["spec"]["dependsOn"] = json!([{"name": "base"}, {"name": "none"}]);
    apply(&site.client(), &base).await?;
    apply(&site.client(), &app).await?;
    let named = site.the(FluxKind::Kustomization, "base");
    site.manager.wait(&named, &wait()).await.unwrap_err();

    let named = site.the(FluxKind::Kustomization, "app");
    let told = Told::default();
    let late = ReconcileOptions::default().wait(told.options(Duration::from_secs(8)));
    let late = site.manager.reconcile(&named, &late).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout, "{late}");
    let text = late.to_string();
    let name = site.name();
    assert!(text.contains("DependencyNotReady"), "{text}");
    assert!(
        text.contains(&format!(
            "Kustomization {name}/base is not ready: BuildFailed"
        )),
        "{text}"
    );
    assert!(
        text.contains(&format!(
            "Kustomization {name}/none is not ready: it does not exist"
        )),
        "{text}"
    );
    let pending = told.updates().iter().any(
        |update| matches!(update, Update::Pending { waiting: Waiting::Dependency, reason, .. } if reason == "DependencyNotReady"),
    );
    assert!(pending, "{:?}", told.lines());
    assert_eq!(site.value("map").await?, None);

    // Once they are ready, the same wait succeeds.
    let files = [("base/map.yaml", &*config_map("base", "1"))];
    site.gitea.commit(&site.repository, "right", &files).await?;
    base["spec"]["retryInterval"] = json!("2s");
    apply(&site.client(), &base).await?;
    let mut none = base.clone();
    none["metadata"]["name"] = json!("none");
    none["spec"]["path"] = json!("./app");
    none["spec"]["targetNamespace"] = json!("default");
    none["spec"]["commonMetadata"] = json!({"labels": {"from": "none"}});
    none["spec"]["namePrefix"] = json!(format!("{name}-"));
    apply(&site.client(), &none).await?;
    site.manager.reconcile(&named, &ask().with_source()).await?;
    assert_eq!(site.value("map").await?.as_deref(), Some("1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_or_deleted_meanwhile() -> Result<()> {
    let flux = e2e::flux().await?;
    let web = homeless("web");
    let site = Site::new(flux, "flux-meanwhile", &[("web.yaml", &web)]).await?;
    ready(&site.client(), &site.source()).await?;
    apply(&site.client(), &site.app()).await?;
    let app = site.the(FluxKind::Kustomization, "app");
    let later = async |what: &'static str| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        match what {
            "suspend" => site.manager.suspend(&app).await,
            _ => site.manager.delete(&app, &DeleteOptions::default()).await,
        }
    };
    for (what, says) in [("suspend", "suspended"), ("delete", "deleted")] {
        let waits = wait();
        let (waited, changed) = tokio::join!(site.manager.wait(&app, &waits), later(what));
        changed?;
        let refused = waited.unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
        let kinds = [ErrorKind::Conflict, ErrorKind::NotFound];
        assert!(kinds.contains(&refused.kind()), "{refused}");
        if what == "suspend" {
            site.manager.resume(&app, None).await?;
        }
    }
    Ok(())
}
