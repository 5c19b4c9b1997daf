//! Conversions between core's application and Argo CD's lose nothing.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use gitops_argocd::types;
use gitops_core::application::{
    Application, Automated, Backoff, ClusterRef, Destination, Directory, EnvVar, Helm,
    HelmFileParameter, HelmParameter, Hydrate, IgnoreDifference, Info, Jsonnet, JsonnetVar,
    Kustomize, KustomizeReplica, ManagedNamespaceMetadata, Plugin, PluginParameter, Render, Retry,
    Source, SyncPolicy,
};
use gitops_core::error::ErrorKind;
use proptest::prelude::*;
use serde_json::json;

fn there_and_back(app: &Application) -> Application {
    let record = types::Application::from(app);
    // As the server would keep it.
    let json = serde_json::to_vec(&record).unwrap();
    let record: types::Application = serde_json::from_slice(&json).unwrap();
    Application::try_from(&record).unwrap()
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-z]{1,8}", 0..3)
}

fn map() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[a-z]{1,8}", "[a-z]{0,8}", 0..3)
}

fn render() -> impl Strategy<Value = Render> {
    let vars = || {
        prop::collection::vec(("[a-z]{1,5}", "[a-z]{0,5}", any::<bool>()), 0..2).prop_map(|vars| {
            vars.into_iter()
                .map(|(name, value, code)| JsonnetVar { name, value, code })
                .collect::<Vec<_>>()
        })
    };
    let jsonnet = prop::option::of(
        (vars(), vars(), texts()).prop_map(|(ext_vars, tlas, libs)| Jsonnet {
            ext_vars,
            tlas,
            libs,
        }),
    );
    let directory = (
        any::<bool>(),
        prop::option::of("[a-z*]{1,5}"),
        prop::option::of("[a-z*]{1,5}"),
        jsonnet,
    )
        .prop_map(|(recurse, include, exclude, jsonnet)| {
            Render::Directory(Directory {
                recurse,
                include,
                exclude,
                jsonnet,
            })
        });
    let kustomize = (texts(), map(), map(), any::<[bool; 6]>(), prop::collection::vec(("[a-z]{1,5}", 0..9i32), 0..2))
        .prop_map(|(images, common_labels, common_annotations, flags, replicas)| {
            Render::Kustomize(Box::new(Kustomize {
                name_prefix: images.first().cloned().unwrap_or_default(),
                images,
                common_labels,
                common_annotations,
                force_common_labels: flags[0],
                label_without_selector: flags[1],
                label_include_templates: flags[2],
                force_common_annotations: flags[3],
                common_annotations_envsubst: flags[4],
                ignore_missing_components: flags[5],
                replicas: replicas
                    .into_iter()
                    .map(|(name, count)| KustomizeReplica { name, count: json!(count) })
                    .collect(),
                patches: vec![json!({"path": "p.yaml", "target": {"kind": "Deployment"}, "options": {"allowNameChange": true}})],
                components: vec!["c".into()],
                ..Kustomize::default()
            }))
        });
    let helm = (
        texts(),
        any::<[bool; 6]>(),
        prop::collection::vec(("[a-z.]{1,5}", "[a-z]{0,5}", any::<bool>()), 0..3),
    )
        .prop_map(|(value_files, flags, parameters)| {
            Render::Helm(Box::new(Helm {
                value_files,
                release_name: "r".into(),
                values: "a: 1\n".into(),
                values_object: flags[0]
                    .then(|| json!({"a": {"b": [1, null]}}).as_object().cloned().unwrap()),
                parameters: parameters
                    .into_iter()
                    .map(|(name, value, force_string)| HelmParameter {
                        name,
                        value,
                        force_string,
                    })
                    .collect(),
                file_parameters: vec![HelmFileParameter {
                    name: "f".into(),
                    path: "p".into(),
                }],
                ignore_missing_value_files: flags[1],
                pass_credentials: flags[2],
                skip_crds: flags[3],
                skip_tests: flags[4],
                skip_schema_validation: flags[5],
                ..Helm::default()
            }))
        });
    let plugin = (texts(), map()).prop_map(|(array, map)| {
        Render::Plugin(Plugin {
            name: "p".into(),
            env: vec![EnvVar {
                name: "A".into(),
                value: "b".into(),
            }],
            parameters: vec![
                PluginParameter {
                    name: "a".into(),
                    array: Some(array),
                    ..PluginParameter::default()
                },
                PluginParameter {
                    name: "m".into(),
                    map: Some(map),
                    ..PluginParameter::default()
                },
                PluginParameter {
                    name: "s".into(),
                    string: Some(String::new()),
                    ..PluginParameter::default()
                },
            ],
        })
    });
    prop_oneof![Just(Render::Auto), directory, kustomize, helm, plugin]
}

fn source() -> impl Strategy<Value = Source> {
    (
        0..3u8,
        prop::option::of("[a-z/]{1,8}"),
        prop::option::of("[a-z0-9.]{1,8}"),
        render(),
    )
        .prop_map(|(kind, path, revision, render)| {
            let mut source = match kind {
                0 => Source::git("https://example.com/a.git"),
                1 => Source::chart("https://charts.example.com", "chart"),
                _ => Source::oci("oci://registry.example.com/a"),
            };
            source.path = path;
            source.target_revision = revision;
            source.render = render;
            source.ref_name = Some("values".into());
            source
        })
}

fn policy() -> impl Strategy<Value = SyncPolicy> {
    (
        prop::option::of((any::<[bool; 3]>(), prop::option::of(any::<bool>()))),
        texts(),
        prop::option::of((-1..5i64, 1..100_000u64, 1..9u32, any::<bool>())),
        prop::option::of((map(), map())),
    )
        .prop_map(|(automated, options, retry, metadata)| SyncPolicy {
            automated: automated.map(|(flags, enabled)| Automated {
                prune: flags[0],
                self_heal: flags[1],
                allow_empty: flags[2],
                enabled,
            }),
            options: options
                .into_iter()
                .map(|name| format!("{name}=true"))
                .collect(),
            retry: retry.map(|(limit, millis, factor, refresh)| Retry {
                limit,
                backoff: Backoff {
                    duration: Duration::from_millis(millis),
                    factor,
                    max_duration: Duration::from_secs(millis),
                },
                refresh,
            }),
            managed_namespace_metadata: metadata.map(|(labels, annotations)| {
                ManagedNamespaceMetadata {
                    labels,
                    annotations,
                }
            }),
        })
}

fn application() -> impl Strategy<Value = Application> {
    (
        prop::collection::vec(source(), 0..4),
        policy(),
        (map(), map(), texts()),
        0..3u8,
        prop::option::of(0..100u32),
        any::<bool>(),
    )
        .prop_map(
            |(
                sources,
                sync_policy,
                (labels, annotations, finalizers),
                cluster,
                limit,
                suspended,
            )| Application {
                name: "a".into(),
                namespace: "team".into(),
                project: "prod".into(),
                labels,
                annotations,
                finalizers,
                sources,
                destination: Destination {
                    cluster: match cluster {
                        0 => ClusterRef::InCluster,
                        1 => ClusterRef::Server("https://10.0.0.1:6443".into()),
                        _ => ClusterRef::Name("prod".into()),
                    },
                    namespace: "shop".into(),
                },
                sync_policy,
                revision_history_limit: limit,
                ignore_differences: vec![IgnoreDifference {
                    group: "apps".into(),
                    kind: "Deployment".into(),
                    json_pointers: vec!["/spec/replicas".into()],
                    jq_path_expressions: vec![".a".into()],
                    managed_fields_managers: vec!["m".into()],
                    ..IgnoreDifference::default()
                }],
                info: vec![Info {
                    name: "n".into(),
                    value: "v".into(),
                }],
                hydrate: suspended.then(|| Hydrate {
                    dry_source: Source::git("https://example.com/dry")
                        .path("p")
                        .revision("main"),
                    sync_branch: "env/prod".into(),
                    sync_path: "p".into(),
                    hydrate_to_branch: Some("env/prod-next".into()),
                }),
                suspended,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn core_to_argo_cd_and_back_is_the_same(app in application()) {
        prop_assert_eq!(there_and_back(&app), app);
    }

    #[test]
    fn updating_with_what_is_there_changes_nothing_that_core_sees(app in application()) {
        let mut record = types::Application::from(&app);
        let before = record.clone();
        record.update_from(&app);
        prop_assert_eq!(record, before);
    }
}

#[test]
fn what_core_does_not_know_stays() {
    let mut record: types::Application = serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "a", "namespace": "argocd", "resourceVersion": "9", "annotations": {"argocd.argoproj.io/refresh": "normal"}},
        "spec": {
            "project": "default",
            "newField": 1,
            "destination": {"server": "https://kubernetes.default.svc", "zone": "x"},
            "source": {"repoURL": "https://example.com/a", "path": "p", "helm": {"newer": true, "releaseName": "r"}},
            "syncPolicy": {"automated": {"prune": true, "newer": 2}, "newer": 3},
        },
        "status": {"sync": {"status": "Synced"}},
        "operation": {"sync": {"revision": "main"}},
    }))
    .unwrap();
    let mut app = Application::try_from(&record).unwrap();
    assert!(app.annotations.is_empty());
    app.sources[0].target_revision = Some("v2".into());
    record.update_from(&app);
    let written = serde_json::to_value(&record).unwrap();
    assert_eq!(written["spec"]["newField"], 1);
    assert_eq!(written["spec"]["destination"]["zone"], "x");
    assert_eq!(written["spec"]["source"]["helm"]["newer"], true);
    assert_eq!(written["spec"]["source"]["targetRevision"], "v2");
    assert_eq!(written["spec"]["syncPolicy"]["newer"], 3);
    assert_eq!(written["spec"]["syncPolicy"]["automated"]["newer"], 2);
    assert_eq!(written["metadata"]["resourceVersion"], "9");
    assert_eq!(
        written["metadata"]["annotations"]["argocd.argoproj.io/refresh"],
        "normal"
    );
    assert_eq!(written["operation"]["sync"]["revision"], "main");
}

#[test]
fn one_source_in_a_list_stays_in_a_list() {
    let mut record: types::Application = serde_json::from_value(json!({
        "metadata": {"name": "a"},
        "spec": {"destination": {}, "sources": [{"repoURL": "https://example.com/a"}]},
    }))
    .unwrap();
    let app = Application::try_from(&record).unwrap();
    record.update_from(&app);
    assert_eq!(record.spec.sources.as_ref().map(Vec::len), Some(1));
    assert!(record.spec.source.is_none());
}

#[test]
fn suspending_keeps_what_automated_sync_was() {
    for enabled in [None, Some(true), Some(false)] {
        let mut app = Application::new("a").automated(Automated {
            enabled,
            prune: true,
            ..Automated::default()
        });
        app.suspended = true;
        app.project = "default".into();
        let record = types::Application::from(&app);
        assert!(!record.spec.is_automated());
        assert_eq!(Application::try_from(&record).unwrap(), app);
    }
}

#[test]
fn what_argo_cd_would_refuse_is_refused_and_named() {
    for (spec, says) in [
        (
            json!({"source": {"repoURL": "r", "helm": {}, "kustomize": {}}}),
            "more than one",
        ),
        (json!({"revisionHistoryLimit": -1}), "revisionHistoryLimit"),
        (
            json!({"syncPolicy": {"retry": {"backoff": {"duration": "soon"}}}}),
            "retry.backoff.duration",
        ),
        (
            json!({"syncPolicy": {"retry": {"backoff": {"factor": -2}}}}),
            "retry.backoff.factor",
        ),
    ] {
        let record: types::Application =
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
        let error = Application::try_from(&record).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn durations_are_read_as_go_writes_them() {
    for (text, seconds) in [
        ("5s", 5.0),
        ("3m0s", 180.0),
        ("1h2m3s", 3723.0),
        ("90", 90.0),
        ("1.5s", 1.5),
        ("250ms", 0.25),
    ] {
        let record: types::Application = serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "spec": {"syncPolicy": {"retry": {"backoff": {"duration": text}}}},
        }))
        .unwrap();
        let app = Application::try_from(&record).unwrap();
        let duration = app.sync_policy.retry.unwrap().backoff.duration;
        assert_eq!(duration.as_secs_f64(), seconds, "{text}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let record: types::Application = serde_json::from_value(json!({
        "metadata": {"name": "a"},
        "spec": {
            "destination": {"server": "https://user:canary@host"},
            "sources": [
                {"repoURL": "https://canary@example.com/a", "helm": {"values": "p: canary", "valuesObject": {"p": "canary"}, "parameters": [{"name": "p", "value": "canary"}]}},
                {"repoURL": "r", "kustomize": {"patches": [{"patch": "canary"}]}},
                {"repoURL": "r", "plugin": {"env": [{"name": "P", "value": "canary"}], "parameters": [{"name": "p", "string": "canary", "map": {"p": "canary"}, "array": ["canary"]}]}},
                {"repoURL": "r", "directory": {"jsonnet": {"extVars": [{"name": "p", "value": "canary"}]}}},
            ],
            "invented": "canary",
        },
    }))
    .unwrap();
    assert!(!format!("{record:?}").contains("canary"), "{record:?}");
}
