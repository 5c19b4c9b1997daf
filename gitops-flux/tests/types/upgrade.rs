use gitops_core::ErrorKind;
use gitops_core::manifest::yaml;
use gitops_flux::FluxKind;
use gitops_flux::types::upgrade::{self, Upgraded};
use gitops_flux::types::{
    Alert, Bucket, GitRepository, HelmChart, HelmRelease, ImagePolicy, Kustomization,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn document(kind: FluxKind, version: &str, body: Value) -> Value {
    let mut document = json!({
        "apiVersion": format!("{}/{version}", kind.group()), "kind": kind.kind(), "metadata": {"name": "a"},
    });
    for (key, value) in body.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

fn fields<T>(upgraded: &Upgraded<T>) -> Vec<String> {
    upgraded.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn the_documents_of_the_seed_are_read() {
    let old = document(
        FluxKind::GitRepository,
        "v1beta2",
        json!({"spec": {"interval": "1m", "ref": {"branch": "main"}, "secretRef": {"name": "flux-system"}, "url": "ssh://git@example.org/a"}}),
    );
    let mut expected = old.clone();
    expected["apiVersion"] = "source.toolkit.fluxcd.io/v1".into();
    let read = upgrade::read::<GitRepository>(old).unwrap();
    assert_eq!(read.from, "source.toolkit.fluxcd.io/v1beta2");
    assert_eq!(fields(&read), Vec::<String>::new());
    assert_eq!(serde_json::to_value(&read.object).unwrap(), expected);
}

#[test]
fn what_has_no_effect_is_left_out_and_told() {
    let old = document(
        FluxKind::GitRepository,
        "v1beta1",
        json!({
            "spec": {"url": "https://example.org/a", "gitImplementation": "libgit2", "accessFrom": {"namespaceSelectors": []},
                "verify": {"mode": "head", "secretRef": {"name": "k"}}, "newer": 1},
            "status": {"artifact": {"path": "p", "url": "u", "revision": "main/1", "checksum": "abc"}, "includedArtifacts": [{"checksum": "sha256:def"}]},
        }),
    );
    let read = upgrade::read::<GitRepository>(old).unwrap();
    assert_eq!(
        fields(&read),
        [
            "spec.gitImplementation is left out: it has had no effect since source-controller 0.33",
            "spec.accessFrom is left out: it never had an effect",
            "spec.verify.mode became spec.verify.mode: head is now HEAD",
            "status.artifact.checksum became status.artifact.digest: it is the SHA-256",
            "status.includedArtifacts.0.checksum became status.includedArtifacts.0.digest: it is the SHA-256",
        ]
    );
    let object = serde_json::to_value(&read.object).unwrap();
    assert_eq!(
        object["spec"],
        json!({"url": "https://example.org/a", "verify": {"mode": "HEAD", "secretRef": {"name": "k"}}, "newer": 1})
    );
    assert_eq!(object["status"]["artifact"]["digest"], "sha256:abc");
    assert_eq!(
        object["status"]["includedArtifacts"][0]["digest"],
        "sha256:def"
    );

    let bucket = json!({"spec": {"bucketName": "b", "endpoint": "e", "accessFrom": {}}});
    let bucket = upgrade::read::<Bucket>(document(FluxKind::Bucket, "v1beta2", bucket)).unwrap();
    assert_eq!(bucket.changes.len(), 1);
    assert!(bucket.object.spec.extra.is_empty());

    let alert = json!({"spec": {"providerRef": {"name": "p"}, "eventSources": [], "summary": "s"}, "status": {"observedGeneration": 1}});
    let alert = upgrade::read::<Alert>(document(FluxKind::Alert, "v1beta2", alert)).unwrap();
    assert_eq!(
        fields(&alert),
        ["status is left out: the kind has none since v1beta3"]
    );
    assert_eq!(alert.object.spec.summary.as_deref(), Some("s"));
}

#[test]
fn patches_come_in_the_order_in_which_kustomize_applies_them() {
    let merge = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"on": "yes"}});
    let operations = json!([{"op": "add", "path": "/data/x", "value": "0644"}]);
    let spec = json!({
        "validation": "client", "patches": [{"patch": "second"}], "patchesStrategicMerge": [merge],
        "patchesJson6902": [{"patch": operations, "target": {"kind": "ConfigMap", "version": "v1"}}],
    });
    let old = document(FluxKind::Kustomization, "v1beta2", json!({ "spec": spec }));
    let read = upgrade::read::<Kustomization>(old).unwrap();
    assert_eq!(
        fields(&read),
        [
            "spec.validation is left out: the API server always validates",
            "spec.patchesStrategicMerge became spec.patches: they are applied before the others",
            "spec.patchesJson6902 became spec.patches: they are applied after the others",
        ]
    );
    let patches = read.object.spec.patches.unwrap();
    let back = |at: usize| yaml::parse_value("patch", patches[at].patch.as_bytes()).unwrap();
    assert_eq!(back(0), merge);
    assert_eq!(patches[1].patch, "second");
    assert_eq!(back(2), operations);
    let target = patches[2].target.as_ref().unwrap();
    assert_eq!(target.kind.as_deref(), Some("ConfigMap"));

    let renderers = json!([{"kustomize": {"patchesStrategicMerge": [merge]}}, {"other": 1}, {"kustomize": {"patchesJson6902": [
        {"patch": operations, "target": {"name": "m"}}]}}]);
    for version in ["v2beta1", "v2beta2"] {
        let old = document(
            FluxKind::HelmRelease,
            version,
            json!({"spec": {"postRenderers": renderers}}),
        );
        let read = upgrade::read::<HelmRelease>(old).unwrap();
        assert_eq!(read.changes.len(), 2);
        assert_eq!(
            read.changes[1].field,
            "spec.postRenderers.2.kustomize.patchesJson6902"
        );
        let renderers = read.object.spec.post_renderers.unwrap();
        let kustomize = renderers[0].kustomize.as_ref().unwrap();
        assert!(kustomize.extra.is_empty());
        assert_eq!(kustomize.patches.as_ref().unwrap().len(), 1);
    }
}

#[test]
fn values_files_come_in_the_order_in_which_they_are_merged() {
    let spec = json!({"valuesFile": "a.yaml", "valuesFiles": ["b.yaml"]});
    let chart = document(FluxKind::HelmChart, "v1beta2", json!({ "spec": spec }));
    let chart = upgrade::read::<HelmChart>(chart).unwrap();
    assert_eq!(
        chart.object.spec.values_files,
        Some(vec!["a.yaml".into(), "b.yaml".into()])
    );
    let release = json!({"spec": {"chart": {"spec": {"chart": "c", "valuesFile": "a.yaml"}}}});
    let release = document(FluxKind::HelmRelease, "v2beta1", release);
    let release = upgrade::read::<HelmRelease>(release).unwrap();
    let chart = release.object.spec.chart.unwrap().spec;
    assert_eq!(chart.values_files, Some(vec!["a.yaml".into()]));
    assert!(chart.extra.is_empty());
}

#[test]
fn the_latest_image_has_parts() {
    for (image, name, tag) in [
        (
            "docker.io/library/alpine:3.19",
            "docker.io/library/alpine",
            "3.19",
        ),
        ("localhost:5000/app:1.0", "localhost:5000/app", "1.0"),
    ] {
        let old = document(
            FluxKind::ImagePolicy,
            "v1beta1",
            json!({"status": {"latestImage": image}}),
        );
        let read = upgrade::read::<ImagePolicy>(old).unwrap();
        let latest = read.object.status.unwrap().latest_ref.unwrap();
        assert_eq!((latest.name.as_str(), latest.tag.as_str()), (name, tag));
    }
}

#[test]
fn what_cannot_be_carried_over_names_the_field() {
    let message = |template: &str, version| {
        let spec = json!({"git": {"commit": {"messageTemplate": template}}});
        let old = document(
            FluxKind::ImageUpdateAutomation,
            version,
            json!({ "spec": spec }),
        );
        upgrade::upgrade(old)
    };
    let error = message("{{range .Updated.Images}}{{end}}", "v1beta1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error
            .to_string()
            .contains("spec.git.commit.messageTemplate"),
        "{error}"
    );
    assert!(message("{{.Changed}}", "v1beta1").is_ok());

    let broken = json!({"spec": {"patchesStrategicMerge": "text"}});
    let broken = document(FluxKind::Kustomization, "v1beta1", broken);
    let error = upgrade::upgrade(broken).unwrap_err();
    assert!(
        error.to_string().contains("spec.patchesStrategicMerge"),
        "{error}"
    );
}

#[test]
fn versions_and_kinds_that_are_not_known_are_errors() {
    for (kind, version) in [
        (FluxKind::GitRepository, "v1alpha1"),
        (FluxKind::GitRepository, "v2"),
        (FluxKind::HelmRelease, "v2alpha1"),
        (FluxKind::HelmRelease, "v1"),
        (FluxKind::OCIRepository, "v1beta1"),
        (FluxKind::ExternalArtifact, "v1beta2"),
        (FluxKind::Alert, "v1"),
    ] {
        let error = upgrade::upgrade(document(kind, version, json!({}))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{kind} {version}");
        assert!(error.to_string().contains(version), "{error}");
    }
    for document in [
        json!(null),
        json!([]),
        json!({}),
        json!({"apiVersion": "v1", "kind": "Secret"}),
        json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}),
    ] {
        let error = upgrade::upgrade(document).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let other = document(FluxKind::Bucket, "v1", json!({}));
    let error = upgrade::read::<GitRepository>(other).unwrap_err();
    assert!(error.to_string().contains("Bucket is no GitRepository"));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z:./]{0,8}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "spec",
        "status",
        "chart",
        "valuesFile",
        "valuesFiles",
        "patches",
        "patchesStrategicMerge",
        "patchesJson6902",
        "patch",
        "verify",
        "mode",
        "postRenderers",
        "kustomize",
        "artifact",
        "includedArtifacts",
        "checksum",
        "digest",
        "latestImage",
        "latestRef",
        "git",
        "commit",
    ]);
    leaf.prop_recursive(6, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_panics_and_today_s_are_left_alone(
        at in 0..FluxKind::ALL.len(),
        version in prop::sample::select(vec!["v1", "v1beta1", "v1beta2", "v1beta3", "v2", "v2beta1", "v2beta2"]),
        spec in any_value(),
        status in any_value(),
    ) {
        let kind = FluxKind::ALL[at];
        let old = document(kind, version, json!({"spec": spec, "status": status}));
        if let Ok(read) = upgrade::upgrade(old.clone()) {
            prop_assert_eq!(&read.object["apiVersion"], &json!(kind.api_version()));
            if version == kind.version() {
                prop_assert_eq!(&read.object, &old);
            }
            // Once is enough.
            let again = upgrade::upgrade(read.object.clone()).unwrap();
            prop_assert_eq!(again.object, read.object);
            prop_assert!(again.changes.is_empty());
        }
    }
}
