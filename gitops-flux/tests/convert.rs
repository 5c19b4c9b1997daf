//! Applications as Flux's resources, and back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use gitops_core::ErrorKind;
use gitops_core::application::{
    Application, Automated, Backoff, ClusterRef, Destination, Directory, Helm, HelmFileParameter,
    HelmParameter, Hydrate, IgnoreDifference, Info, Jsonnet, Kustomize, KustomizeReplica,
    ManagedNamespaceMetadata, Plugin, Render, Retry, Source,
};
use gitops_flux::FluxKind;
use gitops_flux::convert::{
    APPLICATION, ConvertOptions, Credentials, KEPT, MANUAL, Parts, SYNC, SourceObject, Workload,
    to_application, to_flux,
};
use gitops_flux::types::annotation::SHARD;
use gitops_flux::types::{
    GitRepository, HelmRelease, HelmRepository, Kustomization, OCIRepository,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn convert(app: &Application) -> Parts {
    to_flux(app, &ConvertOptions::default(), None).unwrap()
}

fn git() -> Application {
    Application::new("shop")
        .source(
            Source::git("https://example.com/team/config")
                .path("prod/shop")
                .revision("main"),
        )
        .in_namespace("shop")
}

fn chart() -> Application {
    Application::new("shop")
        .source(Source::chart("https://charts.example.com", "shop").revision("^1.2"))
        .in_namespace("shop")
}

fn with(app: Application, change: impl FnOnce(&mut Application)) -> Application {
    let mut app = app;
    change(&mut app);
    app
}

fn rendered(app: Application, render: Render) -> Application {
    with(app, |app| app.sources[0].render = render)
}

fn helm(app: Application, change: impl FnOnce(&mut Helm)) -> Application {
    let mut settings = Helm::default();
    change(&mut settings);
    rendered(app, Render::Helm(Box::new(settings)))
}

fn kustomize(change: impl FnOnce(&mut Kustomize)) -> Application {
    let mut settings = Kustomize::default();
    change(&mut settings);
    rendered(git(), Render::Kustomize(Box::new(settings)))
}

fn kustomization(parts: &Parts) -> &Kustomization {
    match &parts.workload {
        Workload::Kustomization(object) => object,
        Workload::HelmRelease(_) => panic!("a HelmRelease"),
    }
}

fn release(parts: &Parts) -> &HelmRelease {
    match &parts.workload {
        Workload::HelmRelease(object) => object,
        Workload::Kustomization(_) => panic!("a Kustomization"),
    }
}

fn automated() -> Automated {
    Automated::default().prune(true).self_heal(true)
}

/// Applications with a bit of everything that Flux takes.
fn accepted() -> Vec<Application> {
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let mut all = vec![
        git(),
        chart(),
        git().automated(automated()),
        chart().automated(automated()),
    ];
    for revision in [
        "v1.2.3",
        "^1",
        "refs/heads/v1.2.3",
        "refs/tags/stable",
        "feature/x",
        sha,
    ] {
        all.push(with(git(), |app| {
            app.sources[0].target_revision = Some(revision.into())
        }));
    }
    for path in [None, Some("."), Some("./"), Some("./a/"), Some("a/b/")] {
        all.push(with(git(), |app| {
            app.sources[0].path = path.map(str::to_owned)
        }));
    }
    all.push(with(git(), |app| {
        app.sources[0].repo_url = "git@example.com:team/config.git".into()
    }));
    all.push(with(git(), |app| {
        app.sources[0].repo_url = "ssh://git@example.com/team/config.git".into()
    }));
    all.push(with(git(), |app| {
        app.project = "team".into();
        app.labels.insert("team".into(), "a".into());
        app.annotations
            .insert("example.com/note".into(), "x".into());
        app.finalizers = vec!["resources-finalizer.argocd.argoproj.io".into()];
        app.info = vec![Info {
            name: "url".into(),
            value: "https://x".into(),
        }];
        app.revision_history_limit = Some(3);
        app.sources[0].name = Some("main".into());
        app.suspended = true;
        app.sync_policy.options =
            vec!["CreateNamespace=true".into(), "ServerSideApply=true".into()];
        app.sync_policy.managed_namespace_metadata = Some(ManagedNamespaceMetadata {
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..ManagedNamespaceMetadata::default()
        });
        app.sync_policy.retry = Some(Retry {
            limit: -1,
            backoff: Backoff {
                duration: Duration::from_micros(1500),
                factor: 3,
                max_duration: Duration::from_secs(61),
            },
            refresh: true,
        });
        app.ignore_differences = vec![IgnoreDifference {
            kind: "Deployment".into(),
            jq_path_expressions: vec![".x".into()],
            ..IgnoreDifference::default()
        }];
    }));
    all.push(with(git().automated(automated()), |app| {
        app.suspended = true
    }));
    all.push(git().automated(Automated {
        enabled: Some(false),
        prune: true,
        ..Automated::default()
    }));
    all.push(git().automated(Automated {
        enabled: Some(true),
        allow_empty: true,
        ..automated()
    }));
    all.push(with(git(), |app| {
        app.destination = Destination {
            cluster: ClusterRef::Name("other".into()),
            namespace: String::new(),
        }
    }));
    all.push(rendered(
        git(),
        Render::Directory(Directory {
            recurse: true,
            ..Directory::default()
        }),
    ));
    all.push(rendered(git(), Render::Directory(Directory::default())));
    all.push(rendered(
        with(git(), |app| app.sources[0].path = None),
        Render::Directory(Directory::default()),
    ));
    all.push(rendered(git(), Render::Kustomize(Box::default())));
    all.push(kustomize(|settings| {
        settings.name_prefix = "a-".into();
        settings.name_suffix = "-b".into();
        settings.namespace = "elsewhere".into();
        settings.images = vec![
            "app=registry:5000/app:1.2@sha256:ab".into(),
            "app:1".into(),
            "a/b=c".into(),
            "registry:5000/x@sha256:cd".into(),
            "a=a:1".into(),
        ];
        settings.common_labels.insert("a".into(), "b".into());
        settings.label_without_selector = true;
        settings.force_common_labels = true;
        settings.components = vec!["../components/x".into()];
        settings.ignore_missing_components = true;
        settings.patches = vec![json!({"patch": "- op: remove\n  path: /x\n", "target": {"kind": "Deployment", "labelSelector": "a=b"}})];
    }));
    all.push(with(git(), |app| {
        app.sources[0] = Source::oci("oci://registry.example.com/team/config").path("x")
    }));
    all.push(with(git(), |app| {
        app.sources[0] =
            Source::oci("oci://registry.example.com/team/config").revision("sha256:abcd")
    }));
    all.push(with(git(), |app| {
        app.sources[0] = Source::oci("oci://registry.example.com/team/config").revision("1.x")
    }));
    all.push(helm(
        with(git(), |app| {
            app.sources[0] = Source::oci("oci://registry.example.com/charts/shop").revision("1.2.3")
        }),
        |_| {},
    ));
    all.push(with(chart(), |app| app.sources[0].target_revision = None));
    all.push(with(chart(), |app| {
        app.sources[0].repo_url = "oci://registry.example.com/charts".into()
    }));
    all.push(with(chart(), |app| {
        app.destination.namespace = String::new()
    }));
    all.push(helm(git(), |settings| {
        settings.value_files = vec!["values-prod.yaml".into(), "more/x.yaml".into()]
    }));
    all.push(helm(
        with(git(), |app| app.sources[0].path = None),
        |settings| settings.value_files = vec!["values-prod.yaml".into()],
    ));
    all.push(helm(chart().automated(automated()), |settings| {
        settings.release_name = "other".into();
        settings.namespace = "elsewhere".into();
        settings.values = "a: 1\nb: {c: yes}\n".into();
        settings.parameters = vec![
            HelmParameter {
                name: "b.d".into(),
                value: "3".into(),
                force_string: true,
            },
            HelmParameter {
                name: "e".into(),
                value: "true".into(),
                force_string: false,
            },
        ];
        settings.value_files = vec!["prod.yaml".into()];
        settings.ignore_missing_value_files = true;
        settings.skip_crds = true;
        settings.skip_tests = true;
        settings.skip_schema_validation = true;
        settings.pass_credentials = true;
        settings.version = "v3".into();
    }));
    all.push(helm(chart(), |settings| {
        settings.values_object = json!({"a": {"b": [1, null]}}).as_object().cloned()
    }));
    all.push(with(chart().automated(automated()), |app| {
        app.ignore_differences = vec![
            IgnoreDifference {
                group: "apps".into(),
                kind: "Deployment".into(),
                json_pointers: vec!["/spec/replicas".into()],
                ..IgnoreDifference::default()
            },
            IgnoreDifference {
                group: "*".into(),
                kind: "*".into(),
                json_pointers: vec!["/x".into()],
                ..IgnoreDifference::default()
            },
        ];
    }));
    all
}

#[test]
fn what_is_accepted_comes_back_equal() {
    let all = accepted();
    for app in &all {
        let parts = convert(app);
        assert_eq!(to_application(&parts).unwrap(), *app);
        // Through JSON, as the API server keeps it.
        let again = match &parts.workload {
            Workload::Kustomization(object) => {
                let object: Kustomization =
                    serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap();
                Workload::Kustomization(Box::new(object))
            }
            Workload::HelmRelease(object) => {
                let object: HelmRelease =
                    serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap();
                Workload::HelmRelease(Box::new(object))
            }
        };
        let again = Parts {
            source: parts.source.clone(),
            workload: again,
        };
        assert_eq!(to_application(&again).unwrap(), *app);
    }
    println!("{} applications came back equal", all.len());
}

#[test]
fn any_application_becomes_any_other_of_its_kind() {
    let all = accepted();
    let mut pairs = 0;
    for one in &all {
        for other in &all {
            let (before, wanted) = (convert(one), convert(other));
            if before.workload.is_helm() != wanted.workload.is_helm() {
                continue;
            }
            let changed = to_flux(other, &ConvertOptions::default(), Some(&before)).unwrap();
            assert_eq!(to_application(&changed).unwrap(), *other, "{one:?}");
            pairs += 1;
        }
    }
    assert!(pairs > 500, "{pairs}");
}

#[test]
fn a_kustomization_has_what_the_application_says() {
    let parts = convert(&git().automated(automated()));
    let object = kustomization(&parts);
    let spec = serde_json::to_value(&object.spec).unwrap();
    assert_eq!(
        spec,
        json!({
            "interval": "10m", "path": "./prod/shop", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "shop"}, "targetNamespace": "shop",
            "timeout": "5m", "wait": true,
        })
    );
    assert!(
        object
            .metadata
            .annotations
            .as_ref()
            .is_none_or(|all| !all.contains_key(SYNC))
    );
    let Some(SourceObject::Git(source)) = &parts.source else {
        panic!("no GitRepository")
    };
    assert_eq!(
        serde_json::to_value(&source.spec).unwrap(),
        json!({"url": "https://example.com/team/config", "interval": "1m", "ref": {"branch": "main"}})
    );
    assert_eq!(
        source.metadata.annotations.as_ref().unwrap()[APPLICATION],
        "shop"
    );
}

#[test]
fn without_automated_sync_nothing_is_reconciled_by_itself() {
    for (app, is_helm) in [
        (git(), false),
        (chart(), true),
        (
            git().automated(Automated {
                enabled: Some(false),
                ..Automated::default()
            }),
            false,
        ),
    ] {
        let parts = convert(&app);
        assert_eq!(parts.workload.is_helm(), is_helm);
        assert!(parts.workload.is_suspended());
        assert_eq!(
            parts.workload.metadata().annotations.as_ref().unwrap()[SYNC],
            MANUAL
        );
    }
    assert!(
        !convert(&git().automated(automated()))
            .workload
            .is_suspended()
    );
}

#[test]
fn a_release_has_what_the_application_says() {
    let app = helm(chart().automated(automated()), |settings| {
        settings.values = "image: {tag: '1'}\n".into();
        settings.parameters = vec![HelmParameter {
            name: "image.tag".into(),
            value: "2".into(),
            force_string: true,
        }];
    });
    let parts = convert(&with(app, |app| {
        app.sync_policy.options = vec!["CreateNamespace=true".into()]
    }));
    let spec = serde_json::to_value(&release(&parts).spec).unwrap();
    assert_eq!(
        spec,
        json!({
            "chart": {"spec": {"chart": "shop", "version": "^1.2", "sourceRef": {"kind": "HelmRepository", "name": "shop"}}},
            "interval": "10m", "timeout": "5m", "releaseName": "shop", "targetNamespace": "shop", "values": {"image": {"tag": "2"}},
            "driftDetection": {"mode": "enabled"},
            "install": {"crds": "CreateReplace", "createNamespace": true}, "upgrade": {"crds": "CreateReplace"},
        })
    );
    let in_git = convert(&helm(git(), |settings| {
        settings.value_files = vec!["prod.yaml".into()]
    }));
    let chart = serde_json::to_value(&release(&in_git).spec.chart).unwrap();
    assert_eq!(
        chart,
        json!({"spec": {
            "chart": "./prod/shop", "reconcileStrategy": "Revision", "sourceRef": {"kind": "GitRepository", "name": "shop"},
            "valuesFiles": ["./prod/shop/values.yaml", "./prod/shop/prod.yaml"],
        }})
    );
}

#[test]
fn only_what_flux_has_no_field_for_is_kept() {
    let kept = |app: &Application| {
        convert(app)
            .workload
            .metadata()
            .annotations
            .clone()
            .unwrap_or_default()
            .remove(KEPT)
    };
    assert_eq!(kept(&git().automated(automated().allow_empty(true))), None);
    let value: Value =
        serde_json::from_str(&kept(&with(git(), |app| app.project = "team".into())).unwrap())
            .unwrap();
    assert_eq!(value, json!([{"at": "/project", "is": "team"}]));
    // Values are a HelmRelease's own.
    let secret = helm(chart(), |settings| {
        settings.values_object = json!({"password": "canary"}).as_object().cloned()
    });
    assert!(kept(&secret).is_none_or(|text| !text.contains("canary")));
}

#[test]
fn what_others_change_in_fluxs_fields_is_seen() {
    let app = with(git(), |app| {
        app.sources[0].path = Some("./prod/shop/".into());
        app.project = "team".into();
    });
    let mut parts = convert(&app);
    let Workload::Kustomization(object) = &mut parts.workload else {
        panic!()
    };
    object.spec.path = Some("./dev".into());
    let seen = to_application(&parts).unwrap();
    assert_eq!(seen.sources[0].path.as_deref(), Some("dev"));
    assert_eq!(seen.project, "team");
}

#[test]
fn what_core_has_no_place_for_stays() {
    let mut parts = convert(&git());
    let Workload::Kustomization(object) = &mut parts.workload else {
        panic!()
    };
    object.metadata.uid = Some("u".into());
    object.spec.service_account_name = Some("deployer".into());
    object.spec.interval = Some("1h".parse().unwrap());
    object.spec.wait = Some(false);
    object.spec.extra.insert("newField".into(), json!(1));
    object
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert("reconcile.fluxcd.io/requestedAt".into(), "t".into());
    let changed = to_flux(
        &with(git(), |app| app.sources[0].path = Some("dev".into())),
        &ConvertOptions::default(),
        Some(&parts),
    )
    .unwrap();
    let object = kustomization(&changed);
    assert_eq!(
        object.spec.service_account_name.as_deref(),
        Some("deployer")
    );
    assert_eq!(object.spec.interval.as_ref().unwrap().as_str(), "1h");
    assert_eq!(object.spec.wait, Some(false));
    assert_eq!(object.spec.extra["newField"], 1);
    assert_eq!(object.spec.path.as_deref(), Some("./dev"));
    assert!(
        object
            .metadata
            .annotations
            .as_ref()
            .unwrap()
            .contains_key("reconcile.fluxcd.io/requestedAt")
    );
}

#[test]
fn what_flux_would_do_differently_is_refused_by_name() {
    let cases: Vec<(&str, Application)> = vec![
        ("sources", Application::new("a")),
        (
            "sources",
            git().source(Source::git("https://example.com/x").revision("main")),
        ),
        (
            "hydrate",
            with(git(), |app| app.hydrate = Some(Hydrate::default())),
        ),
        (
            "sources[0].render.plugin",
            rendered(git(), Render::Plugin(Plugin::default())),
        ),
        (
            "sources[0].targetRevision",
            with(git(), |app| app.sources[0].target_revision = None),
        ),
        (
            "sources[0].targetRevision",
            with(git(), |app| {
                app.sources[0].target_revision = Some("HEAD".into())
            }),
        ),
        (
            "sources[0].targetRevision",
            with(git(), |app| {
                app.sources[0].target_revision = Some("-x".into())
            }),
        ),
        (
            "sources[0].path",
            with(git(), |app| app.sources[0].path = Some("../x".into())),
        ),
        (
            "sources[0].path",
            with(git(), |app| app.sources[0].path = Some("/etc".into())),
        ),
        (
            "sources[0].path",
            with(git(), |app| app.sources[0].path = Some("a\\..\\b".into())),
        ),
        (
            "sources[0].ref",
            with(git(), |app| app.sources[0].ref_name = Some("values".into())),
        ),
        (
            "sources[0].repoURL",
            with(git(), |app| {
                app.sources[0].repo_url = "https://u:canary@example.com/x".into()
            }),
        ),
        (
            "sources[0].repoURL",
            with(git(), |app| {
                app.sources[0].repo_url = "https://canary@example.com/x".into()
            }),
        ),
        (
            "sources[0].repoURL",
            with(git(), |app| {
                app.sources[0].repo_url = "file:///srv/x".into()
            }),
        ),
        (
            "sources[0].repoURL",
            with(git(), |app| {
                app.sources[0].repo_url = "--upload-pack=x".into()
            }),
        ),
        (
            "sources[0].chart",
            with(git(), |app| app.sources[0].chart = Some("x".into())),
        ),
        (
            "sources[0].chart",
            with(chart(), |app| app.sources[0].chart = None),
        ),
        (
            "include",
            rendered(
                git(),
                Render::Directory(Directory {
                    include: Some("*".into()),
                    ..Directory::default()
                }),
            ),
        ),
        (
            "exclude",
            rendered(
                git(),
                Render::Directory(Directory {
                    exclude: Some("*".into()),
                    ..Directory::default()
                }),
            ),
        ),
        (
            "jsonnet",
            rendered(
                git(),
                Render::Directory(Directory {
                    jsonnet: Some(Jsonnet::default()),
                    ..Directory::default()
                }),
            ),
        ),
        (
            "commonLabels",
            kustomize(|settings| {
                settings.common_labels.insert("a".into(), "b".into());
            }),
        ),
        (
            "commonAnnotations",
            kustomize(|settings| {
                settings.common_annotations.insert("a".into(), "b".into());
            }),
        ),
        (
            "replicas",
            kustomize(|settings| settings.replicas = vec![KustomizeReplica::default()]),
        ),
        (
            "version",
            kustomize(|settings| settings.version = "v5".into()),
        ),
        (
            "kubeVersion",
            kustomize(|settings| settings.kube_version = "1.30".into()),
        ),
        (
            "patches[0].path",
            kustomize(|settings| settings.patches = vec![json!({"path": "x.yaml"})]),
        ),
        (
            "patches[0].options",
            kustomize(|settings| {
                settings.patches = vec![json!({"patch": "", "options": {"allowNameChange": true}})]
            }),
        ),
        (
            "images[0]",
            kustomize(|settings| settings.images = vec!["app".into()]),
        ),
        (
            "images[0]",
            kustomize(|settings| settings.images = vec!["app=*:1".into()]),
        ),
        (
            "images[0]",
            kustomize(|settings| settings.images = vec!["app:$ARGOCD_APP_REVISION".into()]),
        ),
        (
            "components[0]",
            kustomize(|settings| settings.components = vec!["https://example.com/x".into()]),
        ),
        (
            "fileParameters",
            helm(chart(), |settings| {
                settings.file_parameters = vec![HelmFileParameter::default()]
            }),
        ),
        (
            "helm.kubeVersion",
            helm(chart(), |settings| settings.kube_version = "1.30".into()),
        ),
        (
            "helm.version",
            helm(chart(), |settings| settings.version = "v2".into()),
        ),
        (
            "valueFiles[0]",
            helm(chart(), |settings| {
                settings.value_files = vec!["$values/x.yaml".into()]
            }),
        ),
        (
            "valueFiles[0]",
            helm(chart(), |settings| {
                settings.value_files = vec!["../x.yaml".into()]
            }),
        ),
        (
            "helm.values",
            helm(chart(), |settings| settings.values = "canary: [".into()),
        ),
        (
            "parameters[0]",
            helm(chart(), |settings| {
                settings.parameters = vec![HelmParameter {
                    name: "a[0]".into(),
                    value: "canary".into(),
                    force_string: false,
                }]
            }),
        ),
        (
            "valueFiles",
            helm(
                with(git(), |app| {
                    app.sources[0] = Source::oci("oci://r.example.com/x")
                }),
                |settings| settings.value_files = vec!["x.yaml".into()],
            ),
        ),
        (
            "selfHeal",
            git().automated(Automated::default().prune(true)),
        ),
        (
            "automated.prune",
            chart().automated(Automated::default().self_heal(true)),
        ),
        (
            "ignoreDifferences",
            with(git().automated(automated()), |app| {
                app.ignore_differences = vec![IgnoreDifference::default()]
            }),
        ),
        (
            "ignoreDifferences[0]",
            with(chart().automated(automated()), |app| {
                app.ignore_differences = vec![IgnoreDifference {
                    jq_path_expressions: vec![".x".into()],
                    ..IgnoreDifference::default()
                }]
            }),
        ),
        ("syncOptions", git().sync_option("Replace=true")),
        ("syncOptions", git().sync_option("Validate=false")),
        (
            "destination.cluster",
            with(git(), |app| {
                app.destination.cluster = ClusterRef::Server("https://other".into())
            }),
        ),
        (
            "annotations",
            with(git(), |app| {
                app.annotations.insert(KEPT.into(), "[]".into());
            }),
        ),
    ];
    let count = cases.len();
    for (field, app) in cases {
        let error = to_flux(&app, &ConvertOptions::default(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{field}: {error}");
        assert!(error.to_string().contains(field), "{field}: {error}");
        assert!(
            !format!("{error:#} {error:?}").contains("canary"),
            "{field}: {error:?}"
        );
    }
    println!("{count} refusals");
}

#[test]
fn what_others_made_is_an_application() {
    let object: Kustomization = serde_json::from_value(json!({
        "metadata": {"name": "apps", "namespace": "flux-system", "labels": {"a": "b"}, "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}", "reconcile.fluxcd.io/requestedAt": "t", "note": "x",
        }},
        "spec": {"interval": "1h", "path": "/apps/", "prune": true, "suspend": true, "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
                 "targetNamespace": "apps", "kubeConfig": {"secretRef": {"name": "prod"}}, "images": [{"name": "a", "newTag": "1"}]},
    }))
    .unwrap();
    let source: GitRepository = serde_json::from_value(json!({
        "metadata": {"name": "flux-system", "namespace": "flux-system", "uid": "u"},
        "spec": {"interval": "1m", "url": "ssh://git@example.com/fleet"},
    }))
    .unwrap();
    let parts = Parts {
        source: Some(SourceObject::Git(Box::new(source))),
        workload: Workload::Kustomization(Box::new(object)),
    };
    let app = to_application(&parts).unwrap();
    assert_eq!(
        (&*app.namespace, &*app.name, app.suspended),
        ("flux-system", "apps", true)
    );
    assert_eq!(app.annotations.keys().collect::<Vec<_>>(), ["note"]);
    assert_eq!(app.sources[0].target_revision.as_deref(), Some("master"));
    assert_eq!(app.sources[0].path.as_deref(), Some("apps"));
    assert_eq!(app.destination.cluster, ClusterRef::Name("prod".into()));
    assert!(
        app.sync_policy
            .automated
            .is_some_and(|automated| automated.prune && automated.self_heal)
    );
    let Render::Kustomize(settings) = &app.sources[0].render else {
        panic!()
    };
    assert_eq!(settings.images, ["a:1"]);

    // It can be changed; its source, which others may use too, cannot.
    let paused = with(app.clone(), |app| app.suspended = false);
    let changed = to_flux(&paused, &ConvertOptions::default(), Some(&parts)).unwrap();
    assert!(!changed.workload.is_suspended());
    assert_eq!(changed.source, parts.source);
    let moved = with(app, |app| {
        app.sources[0].target_revision = Some("other".into())
    });
    let error = to_flux(&moved, &ConvertOptions::default(), Some(&parts)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);

    let object: HelmRelease = serde_json::from_value(json!({
        "metadata": {"name": "podinfo", "namespace": "apps"},
        "spec": {"interval": "1h", "chart": {"spec": {"chart": "podinfo", "version": "6.x", "sourceRef": {"kind": "HelmRepository", "name": "podinfo"}}}},
    }))
    .unwrap();
    let source: HelmRepository = serde_json::from_value(
        json!({"metadata": {"name": "podinfo"}, "spec": {"url": "https://charts.example.com"}}),
    )
    .unwrap();
    let parts = Parts {
        source: Some(SourceObject::Helm(Box::new(source))),
        workload: Workload::HelmRelease(Box::new(object.clone())),
    };
    let app = to_application(&parts).unwrap();
    assert_eq!(app.sources[0].chart.as_deref(), Some("podinfo"));
    assert_eq!(app.sources[0].target_revision.as_deref(), Some("6.x"));

    // One whose source is not there is shown all the same.
    let lost = Parts {
        source: None,
        workload: Workload::HelmRelease(Box::new(object)),
    };
    assert_eq!(
        to_application(&lost).unwrap().sources[0].repo_url,
        "missing://HelmRepository/apps/podinfo"
    );
}

/// Objects that nobody made for an application, as people write them.
fn foreign() -> Vec<Parts> {
    let meta = |name: &str| json!({"name": name, "namespace": "apps", "uid": name, "resourceVersion": "1", "generation": 3});
    let git = |spec: Value| {
        let mut spec = spec;
        spec["url"] = json!("https://git.example.com/fleet");
        spec["interval"] = json!("1m0s");
        let object: GitRepository =
            serde_json::from_value(json!({"metadata": meta("fleet"), "spec": spec})).unwrap();
        SourceObject::Git(Box::new(object))
    };
    let oci = |spec: Value| {
        let mut spec = spec;
        spec["url"] = json!("oci://registry.example.com/fleet");
        spec["interval"] = json!("5m");
        let object: OCIRepository =
            serde_json::from_value(json!({"metadata": meta("fleet"), "spec": spec})).unwrap();
        SourceObject::Oci(Box::new(object))
    };
    let charts = |spec: Value| {
        let object: HelmRepository =
            serde_json::from_value(json!({"metadata": meta("fleet"), "spec": spec})).unwrap();
        SourceObject::Helm(Box::new(object))
    };
    let mut all = Vec::new();
    let workloads = |kind: &str, specs: Vec<Value>| -> Vec<Workload> {
        let made = |spec: Value| {
            let mut object = json!({"metadata": meta("podinfo"), "spec": spec});
            object["metadata"]["labels"] = json!({"team": "a", SHARD: "one"});
            object["metadata"]["annotations"] =
                json!({"note": "x", "reconcile.fluxcd.io/requestedAt": "t"});
            match kind {
                "HelmRelease" => {
                    Workload::HelmRelease(Box::new(serde_json::from_value(object).unwrap()))
                }
                _ => Workload::Kustomization(Box::new(serde_json::from_value(object).unwrap())),
            }
        };
        specs.into_iter().map(made).collect()
    };

    let with_base = |base: Value, specs: Vec<Value>| -> Vec<Value> {
        specs
            .into_iter()
            .map(|mut spec| {
                for (key, value) in base.as_object().unwrap() {
                    spec[key] = value.clone();
                }
                spec
            })
            .collect()
    };
    let releases = vec![
        json!({}),
        json!({"targetNamespace": "x"}),
        json!({"releaseName": "other", "targetNamespace": "x", "storageNamespace": "y"}),
        json!({"suspend": true}),
        json!({"suspend": false}),
        json!({"install": {"createNamespace": true, "crds": "Create", "remediation": {"retries": 3}}, "upgrade": {"crds": "Skip", "remediation": {"remediateLastFailure": true}}}),
        json!({"install": {"crds": "Skip", "disableSchemaValidation": true}}),
        json!({"driftDetection": {"mode": "enabled", "ignore": [{"paths": ["/spec/replicas"], "target": {"kind": "Deployment", "labelSelector": "a=b"}}]}}),
        json!({"driftDetection": {"mode": "warn", "ignore": [{"paths": ["/x"]}]}}),
        json!({"values": {}, "maxHistory": -1}),
        json!({"values": {"image": {"tag": "1"}}, "valuesFrom": [{"kind": "Secret", "name": "s"}], "maxHistory": 3, "timeout": "10m", "dependsOn": [{"name": "a"}], "postRenderers": [{"kustomize": {"images": [{"name": "a", "newTag": "2"}]}}]}),
        json!({"kubeConfig": {"secretRef": {"name": "far", "key": "value"}}, "serviceAccountName": "deployer"}),
        json!({"kubeConfig": {"configMapRef": {"name": "far"}}, "newField": {"a": 1}}),
    ];
    let reference = |kind: &str| json!({"kind": kind, "name": "fleet"});
    for (base, source) in [
        (
            json!({"chart": {"spec": {"chart": "podinfo", "sourceRef": reference("HelmRepository")}}}),
            charts(
                json!({"url": "https://charts.example.com", "interval": "1h", "passCredentials": true, "secretRef": {"name": "s"}}),
            ),
        ),
        (
            json!({"chart": {"spec": {"chart": "podinfo", "version": "6.x", "interval": "2m", "valuesFiles": ["values.yaml", "prod.yaml"], "ignoreMissingValuesFiles": false, "sourceRef": reference("HelmRepository")}, "metadata": {"labels": {"a": "b"}}}}),
            charts(
                json!({"url": "oci://registry.example.com/charts", "type": "oci", "insecure": true}),
            ),
        ),
        (
            json!({"chart": {"spec": {"chart": "charts/podinfo", "version": "1.x", "valuesFiles": ["./charts/podinfo/prod.yaml"], "sourceRef": reference("GitRepository")}}}),
            git(
                json!({"ref": {"branch": "main", "commit": "0123456789abcdef0123456789abcdef01234567"}, "ignore": "/*/\n"}),
            ),
        ),
        (
            json!({"chartRef": {"kind": "OCIRepository", "name": "fleet", "namespace": "apps"}}),
            oci(json!({"ref": {"semver": "6.x"}, "secretRef": {"name": "s"}})),
        ),
    ] {
        let mut base = base;
        base["interval"] = json!("30m");
        for workload in workloads("HelmRelease", with_base(base, releases.clone())) {
            let source = Some(source.clone());
            all.push(Parts { source, workload });
        }
    }
    let kustomizations = vec![
        json!({"prune": true}),
        json!({}),
        json!({"prune": false, "suspend": true, "path": "/apps/"}),
        json!({"prune": true, "suspend": false, "path": "apps", "wait": true, "timeout": "2m", "retryInterval": "1m", "force": true}),
        json!({"prune": true, "path": "./", "targetNamespace": "x", "namePrefix": "a-", "nameSuffix": "-b", "components": ["../c"], "ignoreMissingComponents": false}),
        json!({"images": [{"name": "a"}, {"name": "b", "newName": "c", "newTag": "1", "digest": "sha256:ab"}], "patches": [{"patch": "- op: remove\n  path: /x\n", "target": {"kind": "Deployment", "name": "a"}}, {"patch": "kind: X\n"}]}),
        json!({"commonMetadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "postBuild": {"substitute": {"a": "b"}}, "decryption": {"provider": "sops"}, "healthChecks": [{"apiVersion": "v1", "kind": "Pod", "name": "a"}]}),
        json!({"commonMetadata": {"annotations": {"c": "d"}}, "kubeConfig": {"secretRef": {"name": "far"}}, "serviceAccountName": "deployer", "deletionPolicy": "Orphan", "newField": 1}),
    ];
    for (kind, source) in [
        ("GitRepository", git(json!({}))),
        (
            "GitRepository",
            git(json!({"ref": {"tag": "stable"}, "secretRef": {"name": "s"}, "ignore": "*.md\n"})),
        ),
        (
            "OCIRepository",
            oci(json!({"ref": {"tag": "latest"}, "insecure": true})),
        ),
    ] {
        let base = json!({"interval": "60m", "sourceRef": reference(kind)});
        for workload in workloads("Kustomization", with_base(base, kustomizations.clone())) {
            let source = Some(source.clone());
            all.push(Parts { source, workload });
        }
    }
    all
}

/// What a new object would get is nothing for what others made.
fn busy() -> ConvertOptions {
    ConvertOptions {
        credentials: Credentials::default()
            .with("https://git.example.com", "other")
            .with("https://charts.example.com", "other")
            .with("oci://registry.example.com", "other"),
        insecure: vec!["registry.example.com".into()],
        service_account: Some("somebody".into()),
        labels: [("new".to_owned(), "x".to_owned())].into(),
        ..ConvertOptions::default()
    }
}

#[test]
fn what_others_made_comes_through_untouched() {
    let all = foreign();
    assert!(all.len() > 70, "{}", all.len());
    for parts in &all {
        let app = to_application(parts).unwrap();
        let same = to_flux(&app, &busy(), Some(parts)).unwrap();
        assert_eq!(same, *parts);
        // Suspended and resumed it is as it was, but for how `false` is written.
        let other = with(app.clone(), |app| app.suspended = !app.suspended);
        let changed = to_flux(&other, &busy(), Some(parts)).unwrap();
        assert_eq!(changed.workload.is_suspended(), other.suspended);
        assert_eq!(to_application(&changed).unwrap(), other);
        let mut back = to_flux(&app, &busy(), Some(&changed)).unwrap();
        let suspend = match (&mut back.workload, &parts.workload) {
            (Workload::HelmRelease(back), Workload::HelmRelease(before)) => {
                std::mem::replace(&mut back.spec.suspend, before.spec.suspend)
            }
            (Workload::Kustomization(back), Workload::Kustomization(before)) => {
                std::mem::replace(&mut back.spec.suspend, before.spec.suspend)
            }
            _ => panic!("another kind"),
        };
        assert_eq!(suspend.unwrap_or_default(), app.suspended);
        assert_eq!(back, *parts);
    }
}

#[test]
fn what_the_application_changes_is_all_that_changes() {
    for parts in foreign() {
        let Workload::HelmRelease(before) = &parts.workload else {
            continue;
        };
        let app = to_application(&parts).unwrap();
        let settings = match &app.sources[0].render {
            Render::Helm(settings) => settings.clone(),
            _ => panic!("no chart"),
        };
        let mut moved = app.clone();
        moved.sources[0].render = Render::Helm(Box::new(Helm {
            values_object: json!({"new": 1}).as_object().cloned(),
            ..*settings
        }));
        let changed = to_flux(&moved, &busy(), Some(&parts)).unwrap();
        let mut expected = before.clone();
        expected.spec.values = Some(json!({"new": 1}));
        assert_eq!(changed.workload, Workload::HelmRelease(expected));
        assert_eq!(changed.source, parts.source);
    }
    // Where a release was to be elsewhere, it is named as the application says.
    let all = foreign();
    let app = to_application(&all[0]).unwrap();
    let to = |namespace: &str| {
        with(app.clone(), |app| {
            app.destination.namespace = namespace.into();
        })
    };
    let changed = to_flux(&to("elsewhere"), &busy(), Some(&all[0])).unwrap();
    let spec = &release(&changed).spec;
    assert_eq!(spec.target_namespace.as_deref(), Some("elsewhere"));
    assert_eq!(spec.release_name.as_deref(), Some("podinfo"));
    assert_eq!(spec.install, None);
    // It is told to be where it is.
    let told = to_flux(&to("apps"), &busy(), Some(&all[0])).unwrap();
    assert_eq!(release(&told).spec, release(&all[0]).spec);
    assert_eq!(to_application(&told).unwrap(), to("apps"));
}

#[test]
fn credentials_stay_with_their_host() {
    let options = ConvertOptions {
        credentials: Credentials::default().with("https://git.example.com/", "platform"),
        ..ConvertOptions::default()
    };
    let at = |url: &str| with(git(), |app| app.sources[0].repo_url = url.into());
    let secret = |parts: &Parts| match &parts.source {
        Some(SourceObject::Git(source)) => source.spec.secret_ref.clone().map(|secret| secret.name),
        _ => panic!("no GitRepository"),
    };
    let there = to_flux(&at("https://git.example.com/x"), &options, None).unwrap();
    assert_eq!(secret(&there).as_deref(), Some("platform"));
    for elsewhere in [
        "https://evil.example/x",
        "https://git.example.com.evil.example/x",
        "https://git.example.com:8443/x",
        // In plain text everybody on the way could read them.
        "http://git.example.com/x",
        "ssh://git.example.com@evil.example/x",
    ] {
        let moved = to_flux(&at(elsewhere), &options, Some(&there)).unwrap();
        assert_eq!(secret(&moved), None, "{elsewhere}");
    }
    // What somebody named for a host that is not known here stays with that host.
    let mut named = to_flux(&at("https://other.example/x"), &options, None).unwrap();
    let Some(SourceObject::Git(source)) = &mut named.source else {
        panic!("no GitRepository")
    };
    source.spec.secret_ref = Some(gitops_flux::types::LocalObjectReference::new("theirs"));
    let same = to_flux(&at("https://OTHER.example/y"), &options, Some(&named)).unwrap();
    assert_eq!(secret(&same).as_deref(), Some("theirs"));
    let moved = to_flux(&at("https://git.example.com/y"), &options, Some(&named)).unwrap();
    assert_eq!(secret(&moved).as_deref(), Some("platform"));
}

#[test]
fn plain_registries_are_told() {
    let options = ConvertOptions {
        insecure: vec!["127.0.0.1:5000".into(), "Registry.Local".into()],
        ..ConvertOptions::default()
    };
    let insecure = |parts: &Parts| match &parts.source {
        Some(SourceObject::Oci(source)) => source.spec.insecure,
        Some(SourceObject::Helm(source)) => source.spec.insecure,
        _ => panic!("no registry"),
    };
    let oci = |url: &str| with(git(), |app| app.sources[0] = Source::oci(url));
    let charts = |url: &str| with(chart(), |app| app.sources[0].repo_url = url.into());
    for (app, wanted) in [
        (oci("oci://127.0.0.1:5000/x"), Some(true)),
        (oci("oci://registry.local/x"), Some(true)),
        (oci("oci://127.0.0.1/x"), None),
        (oci("oci://127.0.0.1:5000.example/x"), None),
        (charts("oci://127.0.0.1:5000/x"), Some(true)),
        (charts("http://127.0.0.1:5000/x"), None),
    ] {
        let parts = to_flux(&app, &options, None).unwrap();
        assert_eq!(insecure(&parts), wanted, "{app:?}");
        assert_eq!(to_application(&parts).unwrap(), app);
    }
    // What somebody set stays, for that registry.
    let app = oci("oci://127.0.0.1:5000/x");
    let mut parts = to_flux(&app, &options, None).unwrap();
    let Some(SourceObject::Oci(source)) = &mut parts.source else {
        panic!("no registry")
    };
    source.spec.insecure = Some(false);
    let again = to_flux(&app, &options, Some(&parts)).unwrap();
    assert_eq!(insecure(&again), Some(false));
    let plain = to_flux(&app, &options, None).unwrap();
    let moved = oci("oci://registry.example.com/x");
    let moved = to_flux(&moved, &options, Some(&plain)).unwrap();
    assert_eq!(insecure(&moved), None);
}

#[test]
fn new_objects_get_labels_and_a_service_account() {
    let options = ConvertOptions {
        service_account: Some("deployer".into()),
        labels: [("tenant".to_owned(), "a".to_owned())].into(),
        ..ConvertOptions::default()
    };
    let app = with(git(), |app| {
        app.labels.insert("team".into(), "x".into());
    });
    let label = |parts: &Parts, name: &str| {
        let source = parts.source.as_ref().unwrap().metadata().labels.clone();
        let workload = parts.workload.metadata().labels.clone();
        [source, workload].map(|labels| labels.unwrap_or_default().remove(name))
    };
    let made = to_flux(&app, &options, None).unwrap();
    assert_eq!(to_application(&made).unwrap(), app);
    assert_eq!(label(&made, "tenant"), [Some("a".into()), Some("a".into())]);
    assert_eq!(label(&made, "team"), [None, Some("x".into())]);
    assert_eq!(
        kustomization(&made).spec.service_account_name.as_deref(),
        Some("deployer")
    );
    let made_of_chart = to_flux(&chart(), &options, None).unwrap();
    assert_eq!(
        release(&made_of_chart).spec.service_account_name.as_deref(),
        Some("deployer")
    );
    // They stay, and are not the application's.
    let other = with(app.clone(), |app| app.labels.clear());
    let changed = to_flux(&other, &options, Some(&made)).unwrap();
    assert_eq!(to_application(&changed).unwrap(), other);
    assert_eq!(
        label(&changed, "tenant"),
        [Some("a".into()), Some("a".into())]
    );
    assert_eq!(label(&changed, "team"), [None, None]);
    // Another service account is the administrator's to name.
    let mut theirs = made;
    let Workload::Kustomization(object) = &mut theirs.workload else {
        panic!()
    };
    object.spec.service_account_name = None;
    let again = to_flux(&other, &options, Some(&theirs)).unwrap();
    assert_eq!(kustomization(&again).spec.service_account_name, None);
}

#[test]
fn a_shard_is_of_all_objects_and_stays() {
    let labels = |parts: &Parts| {
        let source = parts.source.as_ref().unwrap().metadata().labels.clone();
        let mut all = vec![source, parts.workload.metadata().labels.clone()];
        if let Workload::HelmRelease(object) = &parts.workload {
            let template = object.spec.chart.as_ref().unwrap();
            let metadata = template.metadata.clone().unwrap_or_default();
            all.push(metadata.labels);
        }
        all.into_iter()
            .map(|labels| labels.unwrap_or_default().remove(SHARD))
            .collect::<Vec<_>>()
    };
    for app in [git(), chart()] {
        let sharded = |key: &str| {
            with(app.clone(), |app| {
                app.labels.insert(SHARD.into(), key.into());
            })
        };
        let made = convert(&sharded("one"));
        assert!(
            labels(&made)
                .iter()
                .all(|key| key.as_deref() == Some("one"))
        );
        let options = ConvertOptions::default();
        let moved = to_flux(&sharded("two"), &options, Some(&made)).unwrap();
        assert!(
            labels(&moved)
                .iter()
                .all(|key| key.as_deref() == Some("two"))
        );
        // An application that does not know of shards takes it to no other controller.
        let unaware = to_flux(&app, &options, Some(&moved)).unwrap();
        assert!(
            labels(&unaware)
                .iter()
                .all(|key| key.as_deref() == Some("two"))
        );
        assert_eq!(to_application(&unaware).unwrap(), app);
    }
}

fn annotate(parts: &mut Parts, name: &str, value: Option<Value>) {
    let meta = match &mut parts.workload {
        Workload::Kustomization(object) => &mut object.metadata,
        Workload::HelmRelease(object) => &mut object.metadata,
    };
    let annotations = meta.annotations.get_or_insert_default();
    match value {
        Some(value) => annotations.insert(name.to_owned(), value.to_string()),
        None => annotations.remove(name),
    };
}

#[test]
fn what_an_operation_changes_for_its_time_is_not_the_applications() {
    const OPERATION: &str = "gitops.rs/operation";
    let app = git().automated(automated().allow_empty(true));
    let mut running = convert(&app);
    let record =
        json!({"id": "1-a", "step": "workload", "before": {"prune": true, "force": false}});
    annotate(&mut running, OPERATION, Some(record));
    let Workload::Kustomization(object) = &mut running.workload else {
        panic!()
    };
    object.spec.prune = Some(false);
    assert_eq!(to_application(&running).unwrap(), app);

    // A change while it runs is what the operation puts back at its end.
    let options = ConvertOptions::default();
    for (prune, suspended) in [(true, false), (false, false), (false, true)] {
        let other = with(
            git().automated(automated().prune(prune).allow_empty(true)),
            |app| {
                app.suspended = suspended;
            },
        );
        let mut changed = to_flux(&other, &options, Some(&running)).unwrap();
        assert_eq!(to_application(&changed).unwrap(), other);
        assert_eq!(kustomization(&changed).spec.prune, Some(false));
        assert!(!changed.workload.is_suspended());
        let annotations = changed.workload.metadata().annotations.clone().unwrap();
        let record: Value = serde_json::from_str(&annotations[OPERATION]).unwrap();
        assert_eq!(record["before"]["prune"], prune);
        assert_eq!(record["id"], "1-a");
        assert!(!annotations.contains_key(KEPT), "{annotations:?}");
        // As the operation ends it.
        annotate(&mut changed, OPERATION, None);
        let Workload::Kustomization(object) = &mut changed.workload else {
            panic!()
        };
        object.spec.prune = Some(prune);
        object.spec.suspend = suspended.then_some(true);
        assert_eq!(to_application(&changed).unwrap(), other);
    }
}

#[test]
fn a_pin_is_let_go_to_what_the_application_follows_by_then() {
    const PINNED: &str = "gitops.rs/pinned";
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let mut pinned = convert(&git());
    let Some(SourceObject::Git(source)) = &mut pinned.source else {
        panic!("no GitRepository")
    };
    source.spec.git_ref = serde_json::from_value(json!({"branch": "main", "commit": sha})).unwrap();
    let noted = json!({"branch": "main"}).to_string();
    let annotations = source.metadata.annotations.as_mut().unwrap();
    annotations.insert(PINNED.into(), noted);
    assert_eq!(to_application(&pinned).unwrap(), git());
    let mut running = pinned.clone();
    let record = json!({"id": "1-a", "step": "workload", "before": {}});
    annotate(&mut running, "gitops.rs/operation", Some(record));

    let follows = |parts: &Parts| match &parts.source {
        Some(SourceObject::Git(source)) => (
            serde_json::to_value(&source.spec.git_ref).unwrap(),
            source.metadata.annotations.clone().unwrap().remove(PINNED),
        ),
        _ => panic!("no GitRepository"),
    };
    let options = ConvertOptions::default();
    let other = with(git(), |app| {
        app.sources[0].target_revision = Some("dev".into())
    });
    // While the operation runs it has what it asked for.
    let (reference, noted) = follows(&to_flux(&other, &options, Some(&running)).unwrap());
    assert_eq!(reference["commit"], sha);
    assert_eq!(noted.unwrap(), json!({"branch": "dev"}).to_string());
    assert_eq!(
        follows(&to_flux(&git(), &options, Some(&running)).unwrap()),
        follows(&running)
    );
    // Where none runs, nobody else would let it go.
    for (app, branch) in [(git(), "main"), (other, "dev")] {
        let free = follows(&to_flux(&app, &options, Some(&pinned)).unwrap());
        assert_eq!(free, (json!({"branch": branch}), None));
    }
}

#[test]
fn what_is_suspended_for_a_put_is_not_suspended() {
    const PAUSED: &str = "gitops.rs/paused";
    let app = git().automated(automated());
    let mut paused = convert(&app);
    let Workload::Kustomization(object) = &mut paused.workload else {
        panic!()
    };
    object.metadata.generation = Some(7);
    object.spec.suspend = Some(true);
    annotate(&mut paused, PAUSED, Some(json!(7)));
    assert_eq!(to_application(&paused).unwrap(), app);
    let again = to_flux(&app, &ConvertOptions::default(), Some(&paused)).unwrap();
    assert!(!again.workload.is_suspended());
    let annotations = again.workload.metadata().annotations.clone();
    assert!(!annotations.unwrap_or_default().contains_key(PAUSED));
    // Somebody has resumed and suspended it since.
    let Workload::Kustomization(object) = &mut paused.workload else {
        panic!()
    };
    object.metadata.generation = Some(9);
    assert!(to_application(&paused).unwrap().suspended);
}

#[test]
fn a_damaged_annotation_is_said() {
    let mut parts = convert(&with(git(), |app| app.project = "team".into()));
    let Workload::Kustomization(object) = &mut parts.workload else {
        panic!()
    };
    object
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert(KEPT.into(), "[{\"at\":\"/name\",\"is\":".into());
    assert_eq!(
        to_application(&parts).unwrap_err().kind(),
        ErrorKind::Integrity
    );
    // Nobody becomes another application by an annotation.
    let Workload::Kustomization(object) = &mut parts.workload else {
        panic!()
    };
    object.metadata.annotations.as_mut().unwrap().insert(KEPT.into(), json!([{"at": "/info", "is": [{"name": "a", "value": "b"}]}, {"at": "/name", "is": "other"}]).to_string());
    assert_eq!(to_application(&parts).unwrap().name, "shop");
}

#[test]
fn credentials_are_of_whole_hosts_and_paths() {
    let options = ConvertOptions {
        credentials: Credentials::default()
            .with("https://example.com/", "host")
            .with("https://example.com/team", "team"),
        ..ConvertOptions::default()
    };
    let secret = |url: &str| {
        let app = with(git(), |app| app.sources[0].repo_url = url.into());
        match to_flux(&app, &options, None).unwrap().source {
            Some(SourceObject::Git(source)) => source.spec.secret_ref.map(|secret| secret.name),
            _ => panic!("no GitRepository"),
        }
    };
    assert_eq!(
        secret("https://example.com/team/config").as_deref(),
        Some("team")
    );
    assert_eq!(
        secret("https://example.com/teams/config").as_deref(),
        Some("host")
    );
    assert_eq!(secret("https://example.com.evil/team/config"), None);
    assert_eq!(secret("http://example.com/team/config"), None);
}

#[test]
fn kinds_do_not_change() {
    let before = convert(&git());
    let error = to_flux(&chart(), &ConvertOptions::default(), Some(&before)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(before.workload.kind(), FluxKind::Kustomization);
}

proptest! {
    #[test]
    fn any_texts_come_back_or_are_refused(
        name in ".{0,12}", url in "(https://|git@|oci://)?[ -~]{0,16}", path in "[./a-z ]{0,10}", revision in "[ -~]{0,10}", image in "[a-z:@=/*$.]{0,16}", value in ".{0,12}",
    ) {
        let mut app = kustomize(|settings| settings.images = vec![image.clone()]);
        app.sources[0].repo_url = url;
        app.sources[0].path = Some(path);
        app.sources[0].target_revision = Some(revision);
        app.name = name;
        app.project = value.clone();
        app.info = vec![Info { name: value.clone(), value: value.clone() }];
        match to_flux(&app, &ConvertOptions::default(), None) {
            Ok(parts) => prop_assert_eq!(to_application(&parts).unwrap(), app),
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::InvalidInput),
        }
        let app = helm(chart(), |settings| settings.parameters = vec![HelmParameter { name: image, value, force_string: false }]);
        match to_flux(&app, &ConvertOptions::default(), None) {
            Ok(parts) => prop_assert_eq!(to_application(&parts).unwrap(), app),
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::InvalidInput),
        }
    }
}
