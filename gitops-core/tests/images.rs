//! Images that manifests name.
#![cfg(feature = "images")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::FutureExt;
use gitops_core::application::Application;
use gitops_core::manifest::{ManifestSet, Object};
use gitops_core::validate::{AllowedImages, Context, Validator, images};
use proptest::prelude::*;
use serde_json::{Value, json};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn object(value: Value) -> Object {
    Object::new(value, None).unwrap()
}

fn codes(rule: &AllowedImages, image: &str) -> Vec<String> {
    let pod = object(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": image}]}}),
    );
    let set = ManifestSet::from_objects([pod]).unwrap();
    let context = Context::with_manifests(&set);
    let findings = rule
        .validate(&Application::new("a"), &context)
        .now_or_never()
        .unwrap()
        .unwrap();
    assert!(
        findings
            .iter()
            .all(|f| f.pointer.as_deref() == Some("/spec/containers/0/image"))
    );
    findings.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn every_image_is_found() {
    let pod = json!({
        "initContainers": [{"name": "i", "image": "init:1"}],
        "containers": [{"name": "c", "image": "main:1"}, {"name": "none"}],
        "ephemeralContainers": [{"name": "e", "image": "debug:1"}],
        "volumes": [{"name": "v", "image": {"reference": "data:1"}}, {"name": "w", "configMap": {"name": "x"}}],
    });
    let spec = [
        "/initContainers/0/image",
        "/containers/0/image",
        "/ephemeralContainers/0/image",
        "/volumes/0/image/reference",
    ];
    let template = json!({"spec": pod});
    let table = [
        ("v1", "Pod", json!({"spec": pod}), "/spec"),
        (
            "apps/v1",
            "Deployment",
            json!({"spec": {"template": template}}),
            "/spec/template/spec",
        ),
        (
            "apps/v1",
            "StatefulSet",
            json!({"spec": {"template": template}}),
            "/spec/template/spec",
        ),
        (
            "batch/v1",
            "Job",
            json!({"spec": {"template": template}}),
            "/spec/template/spec",
        ),
        (
            "batch/v1",
            "CronJob",
            json!({"spec": {"jobTemplate": {"spec": {"template": template}}}}),
            "/spec/jobTemplate/spec/template/spec",
        ),
        (
            "v1",
            "PodTemplate",
            json!({"template": template}),
            "/template/spec",
        ),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            json!({"spec": {"template": template}}),
            "/spec/template/spec",
        ),
        (
            "example.com/v1",
            "Farm",
            json!({"spec": {"pools": [{"template": template}]}}),
            "/spec/pools/0/template/spec",
        ),
    ];
    for (api, kind, fields, prefix) in table {
        let mut value = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}});
        for (key, field) in fields.as_object().unwrap() {
            value[key] = field.clone();
        }
        let mut found: Vec<_> = images(&object(value.clone()))
            .into_iter()
            .map(|image| image.pointer)
            .collect();
        found.sort();
        let mut expected: Vec<_> = spec.iter().map(|end| format!("{prefix}{end}")).collect();
        expected.sort();
        assert_eq!(found, expected, "{kind}");
        for pointer in found {
            assert!(value.pointer(&pointer).unwrap().is_string());
        }
    }
    let task = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"}, "spec": {"steps": [{"image": "a:1"}], "sidecars": [{"image": "b:1"}]}});
    assert_eq!(images(&object(task)).len(), 2);
    // A schema that speaks of containers names no image.
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x.y"},
        "spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": {"containers": {"type": "array", "items": {"properties": {"image": {"type": "string"}}}}}}}}]}});
    assert!(images(&object(crd)).is_empty());
}

#[test]
fn registries_tags_and_digests() {
    let any = AllowedImages::new();
    let some = AllowedImages::new()
        .registries(["ghcr.io", "docker.io/library/*", "*.corp.example/team/**"])
        .unwrap();
    let digests = AllowedImages::new().only_digests(true);
    let pinned = |name: &str| format!("{name}@{DIGEST}");
    type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str]);
    let table: [Row<'_>; 16] = [
        ("nginx:1.27", &[], &[], &["image-not-pinned"]),
        (
            "nginx",
            &["image-not-pinned"],
            &["image-not-pinned"],
            &["image-not-pinned"],
        ),
        (
            "nginx:latest",
            &["image-not-pinned"],
            &["image-not-pinned"],
            &["image-not-pinned"],
        ),
        (&pinned("nginx"), &[], &[], &[]),
        (&pinned("nginx:latest"), &[], &[], &[]),
        (
            "bitnami/nginx:1",
            &[],
            &["image-denied"],
            &["image-not-pinned"],
        ),
        ("ghcr.io/any/thing:1", &[], &[], &["image-not-pinned"]),
        (
            "ghcr.io.evil.com/any/thing:1",
            &[],
            &["image-denied"],
            &["image-not-pinned"],
        ),
        (
            "evil.com/ghcr.io/thing:1",
            &[],
            &["image-denied"],
            &["image-not-pinned"],
        ),
        (
            "ghcr.io:5000/thing:1",
            &[],
            &["image-denied"],
            &["image-not-pinned"],
        ),
        (
            "eu.corp.example/team/a/b:1",
            &[],
            &[],
            &["image-not-pinned"],
        ),
        (
            "eu.corp.example/other/a:1",
            &[],
            &["image-denied"],
            &["image-not-pinned"],
        ),
        (
            "localhost:5000/x",
            &["image-not-pinned"],
            &["image-denied", "image-not-pinned"],
            &["image-not-pinned"],
        ),
        (
            "",
            &["invalid-image"],
            &["invalid-image"],
            &["invalid-image"],
        ),
        (
            "Nginx:1",
            &["invalid-image"],
            &["invalid-image"],
            &["invalid-image"],
        ),
        (
            "nginx@sha256:short",
            &["invalid-image"],
            &["invalid-image"],
            &["invalid-image"],
        ),
    ];
    for (image, plain, listed, by_digest) in table {
        assert_eq!(codes(&any, image), plain, "{image}");
        assert_eq!(codes(&some, image), listed, "{image}");
        assert_eq!(codes(&digests, image), by_digest, "{image}");
    }
    assert!(codes(&AllowedImages::new().allow_latest(true), "nginx").is_empty());
    let none = AllowedImages::new().registries([]).unwrap();
    assert_eq!(codes(&none, "nginx:1"), ["image-denied"]);
}

proptest! {
    #[test]
    fn any_text_is_judged(image in ".{0,60}") {
        codes(&AllowedImages::new().registries(["ghcr.io"]).unwrap(), &image);
    }

    /// What has a tag other than latest, or a digest, is never called unpinned; what has neither always is.
    #[test]
    fn a_tag_or_a_digest_pins(name in "[a-z]{1,8}(/[a-z]{1,8}){0,2}", tag in prop::option::of("[a-z0-9]{1,6}"), digest in prop::bool::ANY) {
        prop_assume!(tag.as_deref() != Some("latest"));
        let mut image = name;
        if let Some(tag) = &tag {
            image = format!("{image}:{tag}");
        }
        if digest {
            image = format!("{image}@{DIGEST}");
        }
        prop_assert_eq!(codes(&AllowedImages::new(), &image).is_empty(), digest || tag.is_some());
    }
}
