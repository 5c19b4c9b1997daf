//! Requests to reconcile, and what comes of them: the commit that was pushed is the one that is applied, charts are released, and nothing old is taken for new.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::flux::{Chart, ChartRepository, push_chart};
use e2e::{Flux, Gitea, Repository, TestNamespace};
use gitops_core::ErrorKind;
use gitops_flux::reconcile::{REQUESTED_AT, ReconcileOptions, Update, WaitOptions};
use gitops_flux::types::{Alert, GitRepository, Kustomization};
use gitops_flux::{FluxKind, FluxManager, FluxRef};
use kube::Client;
use serde_json::{Value, json};

use super::support::{
    PATIENCE, apply, ask, config_map, find, git_repository, kustomization, login, ready, wait,
};

/// A namespace with a repository in Gitea, a GitRepository `source` and a Kustomization `app` of it.
pub(super) struct Site {
    pub(super) gitea: &'static Gitea,
    pub(super) namespace: TestNamespace,
    pub(super) repository: Repository,
    pub(super) manager: FluxManager,
}

impl Site {
    pub(super) async fn new(flux: &Flux, name: &str, files: &[(&str, &str)]) -> Result<Site> {
        let gitea = e2e::gitea().await?;
        let repository = gitea.repository(name).await?;
        gitea.commit(&repository, "first", files).await?;
        let namespace = flux.cluster.namespace(name).await?;
        apply(&namespace.client(), &login(namespace.name(), gitea)).await?;
        Ok(Site {
            gitea,
            manager: FluxManager::new(namespace.client()),
            namespace,
            repository,
        })
    }

    pub(super) fn client(&self) -> Client {
        self.namespace.client()
    }

    pub(super) fn name(&self) -> &str {
        self.namespace.name()
    }

    pub(super) fn source(&self) -> Value {
        git_repository(self.name(), "source", &self.repository)
    }

    pub(super) fn app(&self) -> Value {
        kustomization(self.name(), "app", "GitRepository", "source")
    }

    pub(super) fn the(&self, kind: FluxKind, name: &str) -> FluxRef {
        FluxRef::new(kind, self.name(), name)
    }

    /// Makes both and waits until they are ready.
    pub(super) async fn deploy(&self) -> Result<()> {
        ready(&self.client(), &self.source()).await?;
        ready(&self.client(), &self.app()).await?;
        Ok(())
    }

    /// The value of a deployed ConfigMap.
    pub(super) async fn value(&self, map: &str) -> Result<Option<String>> {
        let named = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": map, "namespace": self.name()}});
        let found = find(&self.client(), &named).await?;
        Ok(found.and_then(|found| found.data["data"]["value"].as_str().map(str::to_owned)))
    }

    pub(super) async fn status(&self, object: &Value) -> Result<Value> {
        let found = find(&self.client(), object).await?;
        Ok(found.context("it is gone")?.data["status"].clone())
    }
}

/// What was told, one line each.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<Vec<Update>>>);

impl Told {
    pub(super) fn options(&self, timeout: Duration) -> WaitOptions {
        let told = self.0.clone();
        WaitOptions::within(timeout)
            .answer_within(timeout)
            .progress(move |update| told.lock().unwrap().push(update.clone()))
    }

    pub(super) fn updates(&self) -> Vec<Update> {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.updates().iter().map(Update::to_string).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_commit_is_the_one_that_is_applied() -> Result<()> {
    let flux = e2e::flux().await?;
    let first = config_map("map", "1");
    let site = Site::new(flux, "flux-push", &[("map.yaml", &first)]).await?;
    site.deploy().await?;

    for value in ["2", "3", "4"] {
        let commit = [("map.yaml", &*config_map("map", value))];
        let commit = site.gitea.commit(&site.repository, value, &commit).await?;
        let revision = format!("main@sha1:{commit}");
        let told = Told::default();
        let options = ReconcileOptions::default()
            .with_source()
            .wait(told.options(PATIENCE));
        let app = site.the(FluxKind::Kustomization, "app");
        let done = site.manager.reconcile(&app, &options).await?;
        assert_eq!(done.revision.as_deref(), Some(&*revision));
        assert_eq!(done.sources.len(), 1);
        assert_eq!(
            done.sources[0].object.to_string(),
            format!("GitRepository {}/source", site.name())
        );
        assert_eq!(done.sources[0].revision.as_deref(), Some(&*revision));
        assert_eq!(site.value("map").await?.as_deref(), Some(value));
        let found = find(&site.client(), &site.app()).await?.context("gone")?;
        let token = done.token.as_deref().context("no token")?;
        assert_eq!(
            found.metadata.annotations.unwrap_or_default()[REQUESTED_AT],
            token
        );
        assert_eq!(found.data["status"]["lastHandledReconcileAt"], token);
        assert_eq!(found.data["status"]["lastAppliedRevision"], *revision);
        let lines = told.lines();
        let at = |text: &str| lines.iter().position(|line| line.contains(text));
        assert!(
            at("source: reconciliation requested") < at("source: done at"),
            "{lines:?}"
        );
        assert!(
            at("source: done at") < at("app: reconciliation requested"),
            "{lines:?}"
        );
        assert!(
            at("app: reconciliation requested") < at("app: done at"),
            "{lines:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_news_come_back_soon_and_do_not_disturb_each_other() -> Result<()> {
    let flux = e2e::flux().await?;
    let map = config_map("map", "1");
    let site = Site::new(flux, "flux-again", &[("map.yaml", &map)]).await?;
    site.deploy().await?;
    let app = site.the(FluxKind::Kustomization, "app");
    let options = ask().with_source();
    let before = Instant::now();
    let first = site.manager.reconcile(&app, &options).await?;
    println!("nothing new: {:?}", before.elapsed());
    assert!(before.elapsed() < Duration::from_secs(20));
    let all = (0..6).map(|_| site.manager.reconcile(&app, &options));
    let all = futures::future::try_join_all(all).await?;
    for one in &all {
        assert_eq!(one.revision, first.revision);
        assert_ne!(one.token, first.token);
    }

    // Asked for, and waited for later.
    let asked = site
        .manager
        .reconcile(&app, &ReconcileOptions::default().no_wait())
        .await?;
    assert_eq!(asked.revision, None);
    let done = site.manager.wait(&app, &wait()).await?;
    assert_eq!(done.revision, first.revision);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_spec_is_waited_for() -> Result<()> {
    let flux = e2e::flux().await?;
    let files = [
        ("a/map.yaml", &*config_map("map", "a")),
        ("b/map.yaml", &*config_map("map", "b")),
    ];
    let site = Site::new(flux, "flux-spec", &files).await?;
    ready(&site.client(), &site.source()).await?;
    let mut app = site.app();
    for path in ["a", "b", "a"] {
        app["spec"]["path"] = json!(path);
        let app: Kustomization = serde_json::from_value(app.clone())?;
        let made = site.manager.create_kustomization(&app).await?;
        let done = site.manager.wait(&FluxRef::of(&app), &wait()).await?;
        assert_eq!(
            done.value["metadata"]["generation"].as_i64(),
            made.object.metadata.generation
        );
        assert_eq!(site.value("map").await?.as_deref(), Some(path));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suspended_is_refused() -> Result<()> {
    let flux = e2e::flux().await?;
    let map = config_map("map", "1");
    let site = Site::new(flux, "flux-suspended", &[("map.yaml", &map)]).await?;
    site.deploy().await?;
    let (app, source) = (
        site.the(FluxKind::Kustomization, "app"),
        site.the(FluxKind::GitRepository, "source"),
    );
    let with_source = ask().with_source();

    site.manager.suspend(&app).await?;
    let refused = site
        .manager
        .reconcile(&app, &with_source)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let named = format!("Kustomization {}/app is suspended", site.name());
    assert!(refused.to_string().contains(&named), "{refused}");
    let found = find(&site.client(), &site.app()).await?.context("gone")?;
    assert!(
        !found
            .metadata
            .annotations
            .unwrap_or_default()
            .contains_key(REQUESTED_AT)
    );
    // The rest of the status is the controller's, which may still write that it is suspended.
    assert_eq!(found.data["status"]["lastHandledReconcileAt"], Value::Null);
    let refused = site.manager.wait(&app, &wait()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let waited = site.manager.resume(&app, Some(&wait())).await?;
    assert!(waited.is_some_and(|done| done.revision.is_some()));

    site.manager.suspend(&source).await?;
    let refused = site
        .manager
        .reconcile(&app, &with_source)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let named = format!("GitRepository {}/source is suspended", site.name());
    assert!(refused.to_string().contains(&named), "{refused}");
    // Without its source there is nothing against it.
    site.manager.reconcile(&app, &ask()).await?;

    site.manager.suspend(&app).await?;
    let files = [("map.yaml", &*config_map("map", "2"))];
    site.gitea
        .commit(&site.repository, "second", &files)
        .await?;
    let told = Told::default();
    let resume = ReconcileOptions::default()
        .with_source()
        .resume()
        .wait(told.options(PATIENCE));
    site.manager.reconcile(&app, &resume).await?;
    assert_eq!(site.value("map").await?.as_deref(), Some("2"));
    let resumed = told
        .lines()
        .iter()
        .filter(|line| line.ends_with(": resumed"))
        .count();
    assert_eq!(resumed, 2, "{:?}", told.lines());
    for object in [site.app(), site.source()] {
        let found = find(&site.client(), &object).await?.context("gone")?;
        assert_eq!(found.data["spec"]["suspend"], Value::Null);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_refused() -> Result<()> {
    let flux = e2e::flux().await?;
    let map = config_map("map", "1");
    let site = Site::new(flux, "flux-refused", &[("map.yaml", &map)]).await?;
    let manager = &site.manager;
    let app = site.the(FluxKind::Kustomization, "app");
    for options in [
        ReconcileOptions::default().force(),
        ReconcileOptions::default().reset(),
    ] {
        let refused = manager.reconcile(&app, &options).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    }
    let refused = manager
        .reconcile(&app, &ReconcileOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");

    let alert: Alert = serde_json::from_value(json!({
        "metadata": {"name": "alert", "namespace": site.name()},
        "spec": {"providerRef": {"name": "x"}, "eventSources": [{"kind": "Kustomization", "name": "*"}]},
    }))?;
    manager.create(&alert).await?;
    let alert = FluxRef::of(&alert);
    let refused = manager
        .reconcile(&alert, &ReconcileOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    // Nobody has to make it ready.
    manager.wait(&alert, &wait()).await?;

    apply(&site.client(), &site.app()).await?;
    let options = ReconcileOptions::default().with_source();
    let refused = manager.reconcile(&app, &options).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    assert!(refused.to_string().contains("GitRepository"), "{refused}");
    Ok(())
}

fn chart(version: &str) -> Chart {
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "{{ .Release.Name }}-map"},
        "data": {"value": "{{ .Chart.Version }} {{ .Values.value }}"},
    });
    Chart::new("speaker", version)
        .values("value: quiet\n")
        .file("templates/map.yaml", &map.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_of_a_helm_repository() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("flux-charts").await?;
    let manager = FluxManager::new(namespace.client());
    let charts = ChartRepository::start(None).await?;
    charts.add(&chart("1.0.0")).await?;
    let at = |kind: FluxKind, name: &str| FluxRef::new(kind, namespace.name(), name);
    let repository = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository",
        "metadata": {"name": "charts", "namespace": namespace.name()},
        "spec": {"interval": "1h", "url": charts.url},
    });
    let release = json!({
        "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
        "metadata": {"name": "app", "namespace": namespace.name()},
        "spec": {
            "interval": "1h",
            "chart": {"spec": {"chart": "speaker", "version": "*", "interval": "1h", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}},
        },
    });
    apply(&namespace.client(), &repository).await?;
    apply(&namespace.client(), &release).await?;
    let app = at(FluxKind::HelmRelease, "app");
    let first = manager.wait(&app, &wait()).await?;
    assert_eq!(first.revision.as_deref(), Some("1.0.0"));

    charts.add(&chart("1.1.0")).await?;
    let done = manager.reconcile(&app, &ask().with_source()).await?;
    assert_eq!(done.revision.as_deref(), Some("1.1.0"));
    let sources: Vec<String> = done
        .sources
        .iter()
        .map(|source| source.object.to_string())
        .collect();
    let name = namespace.name();
    assert_eq!(
        sources,
        [
            format!("HelmRepository {name}/charts"),
            format!("HelmChart {name}/{name}-app")
        ]
    );
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app-map", "namespace": name}});
    let found = find(&namespace.client(), &map).await?.context("no map")?;
    assert_eq!(found.data["data"]["value"], "1.1.0 quiet");

    let helm_revision = |value: &Value| value["status"]["history"][0]["version"].as_i64();
    let plain = manager.reconcile(&app, &ask()).await?;
    assert_eq!(
        helm_revision(&plain.value),
        Some(2),
        "a plain request upgraded"
    );
    let forced = manager.reconcile(&app, &ask().force()).await?;
    assert_eq!(
        helm_revision(&forced.value),
        Some(3),
        "a forced request did not upgrade"
    );
    assert_eq!(
        forced.value["status"]["lastHandledForceAt"].as_str(),
        forced.token.as_deref()
    );
    let reset = manager.reconcile(&app, &ask().reset()).await?;
    assert_eq!(
        reset.value["status"]["lastHandledResetAt"].as_str(),
        reset.token.as_deref()
    );
    assert_eq!(helm_revision(&reset.value), Some(3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_of_a_registry() -> Result<()> {
    let (flux, registry) = (e2e::flux().await?, e2e::registry().await?);
    let namespace = flux.cluster.namespace("flux-oci-charts").await?;
    let (client, name) = (namespace.client(), namespace.name());
    let manager = FluxManager::new(client.clone());
    let pushed = push_chart(registry, name, &chart("1.0.0")).await?;
    // By a HelmRepository that is a mere pointer, and by the chart's own OCIRepository.
    let pointer = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository", "metadata": {"name": "charts", "namespace": name},
        "spec": {"interval": "1h", "type": "oci", "insecure": true, "url": pushed},
    });
    let source = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "OCIRepository", "metadata": {"name": "speaker", "namespace": name},
        "spec": {
            "interval": "1h", "insecure": true, "url": format!("{pushed}/speaker"), "ref": {"semver": "*"},
            "layerSelector": {"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"},
        },
    });
    apply(&client, &pointer).await?;
    apply(&client, &source).await?;
    let release = |release: &str, spec: Value| {
        let mut object = json!({
            "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": release, "namespace": name},
            "spec": spec,
        });
        object["spec"]["interval"] = json!("1h");
        object
    };
    let template = json!({"spec": {"chart": "speaker", "version": "*", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}});
    apply(&client, &release("pointed", json!({"chart": template}))).await?;
    apply(
        &client,
        &release(
            "referred",
            json!({"chartRef": {"kind": "OCIRepository", "name": "speaker"}}),
        ),
    )
    .await?;
    let named = |release: &str| FluxRef::new(FluxKind::HelmRelease, name, release);
    for release in ["pointed", "referred"] {
        let done = manager.wait(&named(release), &wait()).await?;
        let revision = done.revision.unwrap_or_default();
        assert!(revision.starts_with("1.0.0"), "{release} is at {revision}");
    }
    push_chart(registry, name, &chart("1.1.0")).await?;
    for (release, sources) in [("pointed", "HelmChart"), ("referred", "OCIRepository")] {
        let told = Told::default();
        let options = ReconcileOptions::default()
            .with_source()
            .wait(told.options(PATIENCE));
        let done = manager.reconcile(&named(release), &options).await?;
        let revision = done.revision.unwrap_or_default();
        assert!(revision.starts_with("1.1.0"), "{release} is at {revision}");
        let found: Vec<&str> = done
            .sources
            .iter()
            .map(|source| source.object.kind.kind())
            .collect();
        assert_eq!(found, [sources]);
        let skipped = told
            .updates()
            .iter()
            .any(|update| matches!(update, Update::Skipped { .. }));
        assert_eq!(skipped, release == "pointed", "{:?}", told.lines());
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{release}-map"), "namespace": name}});
        let found = find(&client, &map).await?.context("no map")?;
        let value = found.data["data"]["value"].as_str().unwrap_or_default();
        assert!(
            value.starts_with("1.1.0") && value.ends_with("quiet"),
            "{value}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_waits_for_what_was_missed() -> Result<()> {
    let flux = e2e::flux().await?;
    let map = config_map("map", "1");
    let site = Site::new(flux, "flux-resume", &[("map.yaml", &map)]).await?;
    site.deploy().await?;
    let source = site.the(FluxKind::GitRepository, "source");
    site.manager.suspend(&source).await?;
    let files = [("map.yaml", &*config_map("map", "2"))];
    let commit = site
        .gitea
        .commit(&site.repository, "second", &files)
        .await?;
    let wait = wait();
    let done = site
        .manager
        .resume(&source, Some(&wait))
        .await?
        .context("did not wait")?;
    assert_eq!(done.revision, Some(format!("main@sha1:{commit}")));
    // The Kustomization must be at the new revision too before a wait for it is over.
    let app = site.the(FluxKind::Kustomization, "app");
    let done = site.manager.wait(&app, &wait).await?;
    assert_eq!(done.revision, Some(format!("main@sha1:{commit}")));
    assert_eq!(site.value("map").await?.as_deref(), Some("2"));
    let typed = site
        .manager
        .get::<GitRepository>(site.name(), "source")
        .await?;
    assert_eq!(typed.spec.suspend, None);
    Ok(())
}
