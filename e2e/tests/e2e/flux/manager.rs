//! The manager: every kind made, changed, left alone, read, listed, exported, suspended, resumed, watched and deleted; what is in the cluster is asked with kube and with Flux's command.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Flux, TestNamespace};
use futures::StreamExt as _;
use gitops_core::ErrorKind;
use gitops_core::manifest::yaml;
use gitops_flux::manager::{ApplyOptions, Change, DeleteOptions, FluxEvent, ListOptions};
use gitops_flux::reconcile::WaitOptions;
use gitops_flux::types::{
    Alert, Bucket, ExternalArtifact, GitRepository, GoDuration, HelmChart, HelmRelease,
    HelmRepository, ImagePolicy, ImageRepository, ImageUpdateAutomation, Kustomization,
    OCIRepository, Provider, Receiver,
};
use gitops_flux::{FluxKind, FluxManager, FluxOptions, FluxRef, FluxResource};
use serde_json::{Value, json};

use super::support::find;

const TEAM: &str = "team=shop";

fn sample<K: FluxResource>(namespace: &str, spec: Value) -> Result<K> {
    Ok(serde_json::from_value(json!({
        "apiVersion": K::KIND.api_version(),
        "kind": K::KIND.kind(),
        "metadata": {"name": "sample", "namespace": namespace, "labels": {"team": "shop"}},
        "spec": spec,
    }))?)
}

async fn live<K: FluxResource>(namespace: &TestNamespace) -> Result<Option<Value>> {
    let named = json!({
        "apiVersion": K::KIND.api_version(),
        "kind": K::KIND.kind(),
        "metadata": {"name": "sample", "namespace": namespace.name()},
    });
    let found = find(&namespace.client(), &named).await?;
    Ok(found.map(serde_json::to_value).transpose()?)
}

/// The life of an object, from nothing to nothing. `change` is a merge patch of its spec.
async fn lifecycle<K: FluxResource>(flux: &Flux, spec: Value, change: Value) -> Result<()> {
    let kind = K::KIND;
    let name = format!("flux-life-{}", kind.kind().to_lowercase());
    let namespace = flux.cluster.namespace(&name).await?;
    let manager = FluxManager::new(namespace.client());
    let object = FluxRef::to::<K>(namespace.name(), "sample");

    let missing = manager.get::<K>(namespace.name(), "sample").await;
    ensure!(missing.is_err_and(|error| error.kind() == ErrorKind::NotFound));

    let first = sample::<K>(namespace.name(), spec.clone())?;
    let made = manager.create(&first).await?;
    assert_eq!(made.change, Change::Created, "{kind}");
    let there = live::<K>(&namespace).await?.context("nothing was made")?;
    assert_eq!(there["metadata"]["labels"]["team"], "shop");
    for (field, value) in spec.as_object().context("no spec")? {
        assert_eq!(&there["spec"][field], value, "{kind} {field}");
    }
    let managers = there["metadata"]["managedFields"].as_array().cloned();
    let ours = managers.unwrap_or_default();
    ensure!(
        ours.iter()
            .any(|entry| entry["manager"] == "gitops-rs" && entry["operation"] == "Apply"),
        "{ours:?}"
    );

    let again = manager.create(&first).await?;
    assert_eq!(again.change, Change::Unchanged, "{kind}");

    let mut spec = spec;
    for (field, value) in change.as_object().context("no change")? {
        spec[field] = value.clone();
    }
    let second = sample::<K>(namespace.name(), spec)?;
    let would = ApplyOptions {
        dry_run: true,
        ..ApplyOptions::default()
    };
    assert_eq!(
        manager.apply(&second, &would).await?.change,
        Change::Updated,
        "{kind}"
    );
    let there = live::<K>(&namespace).await?.context("it is gone")?;
    for field in change
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, _)| field)
    {
        assert_ne!(
            there["spec"][field], change[field],
            "a dry run changed {kind}"
        );
    }
    assert_eq!(
        manager.create(&second).await?.change,
        Change::Updated,
        "{kind}"
    );
    let there = live::<K>(&namespace).await?.context("it is gone")?;
    for (field, value) in change.as_object().into_iter().flatten() {
        assert_eq!(&there["spec"][field], value, "{kind} {field}");
    }

    let got = manager.get::<K>(namespace.name(), "sample").await?;
    assert_eq!(serde_json::to_value(&got)?["spec"], there["spec"], "{kind}");
    for options in [
        ListOptions::namespace(namespace.name()),
        ListOptions::namespace(namespace.name()).labels(TEAM),
        ListOptions::everywhere().labels(TEAM),
    ] {
        let list = manager.list::<K>(&options).await?;
        assert!(list.unreadable.is_empty(), "{:?}", list.unreadable);
        let found = list
            .items
            .iter()
            .filter(|item| item.meta().namespace.as_deref() == Some(namespace.name()));
        assert_eq!(found.count(), 1, "{kind} {options:?}");
    }
    let nobody = ListOptions::namespace(namespace.name()).labels("team=none");
    assert!(manager.list::<K>(&nobody).await?.items.is_empty());

    let exported = manager.export(&object).await?;
    let all = ListOptions::namespace(namespace.name());
    assert_eq!(manager.export_all(kind, &all).await?, exported);
    // `flux export` has no command for charts and external artifacts.
    if !matches!(kind, FluxKind::HelmChart | FluxKind::ExternalArtifact) {
        let within = format!("--namespace={}", namespace.name());
        let mut args = vec!["export"];
        args.extend(kind.command().split(' '));
        args.extend(["sample", &within]);
        let theirs = flux.cli(&args).await?;
        let theirs = yaml::parse_value("theirs.yaml", theirs.as_bytes())?;
        let ours = yaml::parse_value("ours.yaml", exported.to_yaml().as_bytes())?;
        assert_eq!(compared(ours), compared(theirs), "{kind}");
    }

    if kind.can_suspend() {
        manager.suspend(&object).await?;
        let there = live::<K>(&namespace).await?.context("it is gone")?;
        assert_eq!(there["spec"]["suspend"], true, "{kind}");
        let list = manager.get::<K>(namespace.name(), "sample").await?;
        assert_eq!(list.suspended(), Some(true));
        // Who applies it again does not wake it up.
        assert_eq!(
            manager.create(&second).await?.change,
            Change::Unchanged,
            "{kind}"
        );
        assert_eq!(manager.resume(&object, None).await?, None);
        let there = live::<K>(&namespace).await?.context("it is gone")?;
        assert_eq!(there["spec"]["suspend"], Value::Null, "{kind}");
    } else {
        let refused = manager.suspend(&object).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    }

    let gone = DeleteOptions::default().wait(Duration::from_secs(60));
    manager.delete(&object, &gone).await?;
    assert_eq!(live::<K>(&namespace).await?, None, "{kind}");
    let refused = manager.delete(&object, &gone).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    Ok(())
}

/// Without what Go's types write although nobody set it, or leave out although somebody did, and with durations as numbers: the command writes `1h` as `1h0m0s`.
fn compared(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| match (&*key, value.as_str()) {
                ("interval" | "retryInterval" | "timeout", Some(text)) => {
                    let length = GoDuration::new(text).duration();
                    (
                        key,
                        length.map_or(value, |length| json!(length.as_secs_f64())),
                    )
                }
                _ => (key, compared(value)),
            })
            .filter(|(_, value)| ![json!({}), json!(""), json!(false), json!(null)].contains(value))
            .collect(),
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_live_and_die() -> Result<()> {
    let flux = e2e::flux().await?;
    let nowhere = "http://127.0.0.1:9/none";
    lifecycle::<GitRepository>(
        flux,
        json!({"interval": "1h", "url": format!("{nowhere}.git"), "ref": {"branch": "main"}, "secretRef": {"name": "login"}, "timeout": "5s"}),
        json!({"interval": "2h", "ref": {"tag": "v1"}}),
    )
    .await?;
    lifecycle::<OCIRepository>(
        flux,
        json!({"interval": "1h", "url": "oci://127.0.0.1:9/none", "ref": {"tag": "latest"}, "insecure": true}),
        json!({"ref": {"semver": "1.x"}}),
    )
    .await?;
    lifecycle::<Bucket>(
        flux,
        json!({"interval": "1h", "bucketName": "none", "endpoint": "127.0.0.1:9", "insecure": true}),
        json!({"prefix": "apps"}),
    )
    .await?;
    lifecycle::<HelmRepository>(
        flux,
        json!({"interval": "1h", "url": nowhere}),
        json!({"interval": "3h"}),
    )
    .await?;
    lifecycle::<HelmChart>(
        flux,
        json!({"interval": "1h", "chart": "none", "sourceRef": {"kind": "HelmRepository", "name": "none"}}),
        json!({"version": "1.x"}),
    )
    .await?;
    lifecycle::<ExternalArtifact>(
        flux,
        json!({"sourceRef": {"apiVersion": "example.com/v1", "kind": "Thing", "name": "a"}}),
        json!({"sourceRef": {"apiVersion": "example.com/v1", "kind": "Thing", "name": "b"}}),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn appliers_live_and_die() -> Result<()> {
    let flux = e2e::flux().await?;
    lifecycle::<Kustomization>(
        flux,
        json!({
            "interval": "1h", "path": "./apps", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "none"},
            "postBuild": {"substitute": {"who": "me"}}, "dependsOn": [{"name": "other"}],
        }),
        json!({"path": "./more", "wait": true}),
    )
    .await?;
    lifecycle::<HelmRelease>(
        flux,
        json!({
            "interval": "1h", "values": {"replicas": 2, "list": [1, "two", {"three": 3}]},
            "chart": {"spec": {"chart": "none", "version": "1.x", "reconcileStrategy": "ChartVersion", "sourceRef": {"kind": "HelmRepository", "name": "none"}}},
        }),
        json!({"maxHistory": 3}),
    )
    .await
}

/// Nobody acts on these kinds here: there is no notification and no image controller.
#[tokio::test(flavor = "multi_thread")]
async fn other_kinds_live_and_die() -> Result<()> {
    let flux = e2e::flux().await?;
    lifecycle::<Alert>(
        flux,
        json!({"providerRef": {"name": "slack"}, "eventSeverity": "info", "eventSources": [{"kind": "Kustomization", "name": "*"}]}),
        json!({"eventSeverity": "error"}),
    )
    .await?;
    lifecycle::<Provider>(
        flux,
        json!({"type": "slack", "channel": "general", "secretRef": {"name": "url"}}),
        json!({"channel": "ops"}),
    )
    .await?;
    lifecycle::<Receiver>(
        flux,
        json!({"type": "github", "interval": "10m", "events": ["ping"], "secretRef": {"name": "token"}, "resources": [{"kind": "GitRepository", "name": "a"}]}),
        json!({"events": ["ping", "push"]}),
    )
    .await?;
    lifecycle::<ImageRepository>(
        flux,
        json!({"interval": "1h", "image": "127.0.0.1:9/app"}),
        json!({"interval": "2h"}),
    )
    .await?;
    lifecycle::<ImagePolicy>(
        flux,
        json!({"imageRepositoryRef": {"name": "app"}, "policy": {"semver": {"range": "1.x"}}}),
        json!({"filterTags": {"pattern": "^v"}}),
    )
    .await?;
    lifecycle::<ImageUpdateAutomation>(
        flux,
        json!({
            "interval": "1h", "sourceRef": {"kind": "GitRepository", "name": "a"}, "update": {"path": "./apps", "strategy": "Setters"},
            "git": {"commit": {"author": {"email": "bot@example.com", "name": "bot"}}, "push": {"branch": "main"}},
        }),
        json!({"interval": "2h"}),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sketch_makes_a_repository_and_a_kustomization() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("flux-sketch").await?;
    let options = FluxOptions {
        namespace: namespace.name().to_owned(),
        field_manager: "deployer".to_owned(),
        ..FluxOptions::default()
    };
    let manager = FluxManager::with_options(namespace.client(), options);
    let repository = GitRepository::new("my-repo")
        .url("http://127.0.0.1:9/my-org/my-repo")
        .branch("main")
        .interval("1m0s");
    assert_eq!(
        manager.create_git_repository(&repository).await?.change,
        Change::Created
    );
    let kustomization: Kustomization = serde_json::from_value(json!({
        // As the sketch has it; it is sent as v1.
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1beta2", "kind": "Kustomization", "metadata": {"name": "my-app"},
        "spec": {"interval": "10m0s", "path": "./k8s/my-app", "prune": true, "targetNamespace": "default",
                 "sourceRef": {"kind": "GitRepository", "name": "my-repo"}},
    }))?;
    let made = manager.create_kustomization(&kustomization).await?;
    assert_eq!(made.change, Change::Created);
    assert_eq!(
        made.object.metadata.namespace.as_deref(),
        Some(namespace.name())
    );
    assert_eq!(
        manager.create_kustomization(&kustomization).await?.change,
        Change::Unchanged
    );
    let got = manager.get::<Kustomization>("", "my-app").await?;
    assert_eq!(got.spec.path.as_deref(), Some("./k8s/my-app"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_and_bad_input_are_told_apart() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("flux-conflict").await?;
    let manager = FluxManager::new(namespace.client());
    let spec = |interval: &str| json!({"interval": interval, "url": "http://127.0.0.1:9/none.git"});
    let mine = sample::<GitRepository>(namespace.name(), spec("1h"))?;
    let made = manager.create(&mine).await?;

    let options = FluxOptions {
        field_manager: "somebody".to_owned(),
        ..FluxOptions::default()
    };
    let theirs = FluxManager::with_options(namespace.client(), options);
    let other = sample::<GitRepository>(namespace.name(), spec("2h"))?;
    let refused = theirs.create(&other).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let told = refused.to_string();
    assert!(
        told.contains("gitops-rs") && told.contains(".spec.interval"),
        "{told}"
    );
    let there = live::<GitRepository>(&namespace).await?.context("gone")?;
    assert_eq!(there["spec"]["interval"], "1h");
    let force = ApplyOptions {
        force: true,
        ..ApplyOptions::default()
    };
    assert_eq!(theirs.apply(&other, &force).await?.change, Change::Updated);

    let stale = ApplyOptions {
        version: made.object.metadata.resource_version.clone(),
        ..force.clone()
    };
    let refused = theirs.apply(&mine, &stale).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");

    for (spec, field) in [
        (
            json!({"interval": "soon", "url": "http://x/y"}),
            "spec.interval",
        ),
        (json!({"interval": "1h", "url": "ftp://x/y"}), "spec.url"),
        (
            json!({"interval": "1h", "url": "http://x/y", "unknown": 1}),
            "unknown",
        ),
    ] {
        let broken = sample::<GitRepository>(namespace.name(), spec)?;
        let refused = theirs.apply(&broken, &force).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
        assert!(refused.to_string().contains(field), "{refused}");
    }
    let there = live::<GitRepository>(&namespace).await?.context("gone")?;
    assert_eq!(there["spec"]["interval"], "2h");

    let refused = manager
        .get::<GitRepository>("default/gitrepositories/x", "y")
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn made_and_changed_are_told_apart_under_contention() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("flux-race").await?;
    let manager = FluxManager::new(namespace.client());
    // Eight writers with one wish each, and somebody who changes the object all the time.
    let wishes = (0..8).map(|index| {
        let manager = manager.clone();
        let namespace = namespace.name().to_owned();
        async move {
            let mut object = sample::<Alert>(&namespace, json!({"providerRef": {"name": "x"}, "eventSources": [{"kind": "Kustomization", "name": "*"}]}))?;
            object.metadata.name = Some(format!("alert-{}", index % 4));
            anyhow::Ok(manager.create(&object).await?.change)
        }
    });
    let changes = futures::future::try_join_all(wishes).await?;
    let created = changes.iter().filter(|change| **change == Change::Created);
    assert_eq!(created.count(), 4, "{changes:?}");

    let object = FluxRef::to::<Alert>(namespace.name(), "alert-0");
    // What the definition's defaults set is ours from now on.
    let mut alert = manager.get::<Alert>(namespace.name(), "alert-0").await?;
    alert.spec.suspend = None;
    manager.create(&alert).await?;
    // Fewer changes than an apply may lose to before it no longer tells who did what.
    let stir = async || {
        for round in 0..8 {
            match round % 2 {
                0 => manager.suspend(&object).await?,
                _ => drop(manager.resume(&object, None).await?),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    };
    let same = async || anyhow::Ok(manager.create(&alert).await?.change);
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let ((), change) = tokio::try_join!(stir(), same())?;
        // What somebody else changes meanwhile is never taken for a change of ours.
        seen.insert(format!("{change:?}"));
    }
    assert_eq!(seen, BTreeSet::from(["Unchanged".to_owned()]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_suspended_stays_so_until_an_object_says_otherwise() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("flux-own-conflict").await?;
    let manager = FluxManager::new(namespace.client());
    let spec = json!({"providerRef": {"name": "x"}, "eventSources": [{"kind": "Kustomization", "name": "*"}]});
    let mut alert = sample::<Alert>(namespace.name(), spec)?;
    manager.create(&alert).await?;
    let named = FluxRef::of(&alert);
    manager.suspend(&named).await?;
    manager.create(&alert).await?;
    let there = live::<Alert>(&namespace).await?.context("it is gone")?;
    assert_eq!(there["spec"]["suspend"], true);

    // The API server calls who suspended and who applies two managers of one name.
    alert.spec.suspend = Some(false);
    assert_eq!(manager.create(&alert).await?.change, Change::Updated);
    let there = live::<Alert>(&namespace).await?.context("it is gone")?;
    assert_eq!(there["spec"]["suspend"], false);

    // Somebody else's wish is not ours to overrule.
    let options = FluxOptions {
        field_manager: "somebody".into(),
        ..FluxOptions::default()
    };
    let somebody = FluxManager::with_options(namespace.client(), options);
    somebody.suspend(&named).await?;
    let refused = manager.create(&alert).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    assert!(refused.to_string().contains("somebody"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_happens() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("flux-watch").await?;
    let manager = FluxManager::new(namespace.client());
    let spec = json!({"type": "slack", "channel": "general"});
    let object = sample::<Provider>(namespace.name(), spec)?;
    manager.create(&object).await?;

    let options = ListOptions::namespace(namespace.name()).labels(TEAM);
    let mut events = manager.watch::<Provider>(&options);
    let mut next = async || -> Result<String> {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await?;
        Ok(match event.context("the watch has ended")?? {
            FluxEvent::Applied(object) => format!(
                "{} {}",
                object.metadata.name.unwrap_or_default(),
                object.spec.channel.unwrap_or_default()
            ),
            FluxEvent::Deleted(object) => {
                format!("-{}", object.metadata.name.unwrap_or_default())
            }
            FluxEvent::Restarted => "restarted".to_owned(),
            FluxEvent::Synced => "synced".to_owned(),
            other => format!("{other:?}"),
        })
    };
    assert_eq!(next().await?, "restarted");
    assert_eq!(next().await?, "sample general");
    assert_eq!(next().await?, "synced");
    let mut other = object.clone();
    other.spec.channel = Some("ops".to_owned());
    manager.create(&other).await?;
    assert_eq!(next().await?, "sample ops");
    let mut foreign = other.clone();
    foreign.metadata.name = Some("foreign".to_owned());
    foreign.metadata.labels = None;
    manager.create(&foreign).await?;
    manager
        .delete(&FluxRef::of(&other), &DeleteOptions::default())
        .await?;
    // The foreign one is none of those that were asked for.
    assert_eq!(next().await?, "-sample");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_exported_only_when_asked_for() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("flux-export").await?;
    let manager = FluxManager::new(namespace.client());
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": namespace.name()},
        "stringData": {"username": "me", "password": "canary-4711"},
    });
    super::support::apply(&namespace.client(), &secret).await?;
    let spec = json!({"interval": "1h", "url": "http://127.0.0.1:9/none.git", "secretRef": {"name": "login"}});
    let object = sample::<GitRepository>(namespace.name(), spec)?;
    manager.create(&object).await?;
    let named = FluxRef::of(&object);
    let plain = manager.export(&named).await?.to_yaml();
    let coded = "Y2FuYXJ5LTQ3MTE=";
    assert!(
        !plain.contains("canary") && !plain.contains(coded),
        "{plain}"
    );
    let credentials = manager.export_credentials(&named).await?.context("none")?;
    assert!(!format!("{credentials:?} {credentials}").contains(coded));
    let ours = yaml::parse_value("ours.yaml", credentials.expose().as_bytes())?;
    let within = format!("--namespace={}", namespace.name());
    let theirs = flux
        .cli(&[
            "export",
            "source",
            "git",
            "sample",
            "--with-credentials",
            &within,
        ])
        .await?;
    let theirs = theirs.rsplit("---").next().unwrap_or_default();
    let theirs = yaml::parse_value("theirs.yaml", theirs.as_bytes())?;
    assert_eq!(ours, theirs);
    assert_eq!(ours["data"]["password"], coded);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_is_told_so() -> Result<()> {
    let flux = e2e::flux().await?;
    let namespace = flux.cluster.namespace("flux-rights").await?;
    let manager = FluxManager::new(flux.cluster.client_as("alice").await?);
    let object = sample::<Alert>(namespace.name(), json!({"providerRef": {"name": "x"}}))?;
    let named = FluxRef::of(&object);
    let refusals = [
        manager.create(&object).await.map(drop).unwrap_err(),
        manager
            .get::<Alert>(namespace.name(), "sample")
            .await
            .map(drop)
            .unwrap_err(),
        manager
            .list::<Alert>(&ListOptions::everywhere())
            .await
            .map(drop)
            .unwrap_err(),
        manager.suspend(&named).await.unwrap_err(),
        manager
            .delete(&named, &DeleteOptions::default())
            .await
            .unwrap_err(),
        manager
            .wait(&named, &WaitOptions::default())
            .await
            .map(drop)
            .unwrap_err(),
    ];
    for refused in refusals {
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
        assert!(refused.to_string().contains("alice"), "{refused}");
    }
    Ok(())
}
