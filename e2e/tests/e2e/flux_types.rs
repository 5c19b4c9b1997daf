//! The manifests, examples and documentation of Flux's own modules, read into the types of gitops-flux and written again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use gitops_core::ErrorKind;
use gitops_flux::FluxResource as _;
use gitops_flux::convert::{
    ConvertOptions, Parts, SourceObject, Workload, to_application, to_flux,
};
use gitops_flux::kind::{HELM, IMAGE, KUSTOMIZE, NOTIFICATION, SOURCE};
use gitops_flux::types::{
    Alert, Bucket, ExternalArtifact, GitRepository, HelmChart, HelmRelease, HelmRepository,
    ImagePolicy, ImageRepository, ImageUpdateAutomation, Kustomization, OCIRepository,
    ObjectReference, Provider, Receiver, upgrade,
};

use crate::round_trip::{Document, Kind, Suite, differences};

/// The kinds, and how many documents of each there are at least.
const KINDS: &[Kind] = &[
    Kind::new::<GitRepository>(SOURCE, "GitRepository", 93),
    Kind::new::<OCIRepository>(SOURCE, "OCIRepository", 47),
    Kind::new::<Bucket>(SOURCE, "Bucket", 53),
    Kind::new::<HelmRepository>(SOURCE, "HelmRepository", 42),
    Kind::new::<HelmChart>(SOURCE, "HelmChart", 47),
    Kind::new::<ExternalArtifact>(SOURCE, "ExternalArtifact", 2),
    Kind::new::<Kustomization>(KUSTOMIZE, "Kustomization", 100),
    Kind::new::<HelmRelease>(HELM, "HelmRelease", 92),
    Kind::new::<Alert>(NOTIFICATION, "Alert", 2),
    Kind::new::<Provider>(NOTIFICATION, "Provider", 2),
    Kind::new::<Receiver>(NOTIFICATION, "Receiver", 3),
    Kind::new::<ImageRepository>(IMAGE, "ImageRepository", 10),
    Kind::new::<ImagePolicy>(IMAGE, "ImagePolicy", 14),
    Kind::new::<ImageUpdateAutomation>(IMAGE, "ImageUpdateAutomation", 7),
];

const UNREADABLE: &[(&str, &str)] = &[
    (
        "source-controller/docs/spec/v1/helmcharts.md:661",
        "no YAML: `...` among keys",
    ),
    (
        "source-controller/docs/spec/v1beta2/helmcharts.md:661",
        "no YAML: `...` among keys",
    ),
    (
        "kustomize-controller/docs/spec/v1/kustomizations.md:970",
        "no YAML: `...` among keys",
    ),
    (
        "kustomize-controller/docs/spec/v1beta2/kustomizations.md:832",
        "no YAML: `...` among keys",
    ),
    (
        "helm-controller/config/testdata/charts/crds/bootstrap/templates/git-repository.yaml",
        "a template of Helm",
    ),
    (
        "helm-controller/config/testdata/charts/crds/v2/templates/dummy.yaml",
        "a template of Helm",
    ),
    (
        "helm-controller/docs/spec/v2/helmreleases.md:1062",
        "no YAML: `...` among keys",
    ),
    (
        "helm-controller/docs/spec/v2/helmreleases.md:1558",
        "no YAML: `...` among keys",
    ),
    (
        "helm-controller/docs/spec/v2alpha1/helmreleases.md:663",
        "dependencies are names",
    ),
    (
        "flux2/rfcs/0010-multi-tenant-workload-identity/README.md:",
        "no YAML: `...` among keys",
    ),
    (
        "flux2/rfcs/0011-opentelemetry-tracing/README.md:68",
        "no YAML: keys below a text",
    ),
];

/// Required fields: they are written, empty, where a document has left them out, as Go writes them.
const REQUIRED: &[&str] = &[
    "bucketName",
    "chart",
    "endpoint",
    "image",
    "imageRepositoryRef",
    "kind",
    "metadata",
    "name",
    "policy",
    "sourceRef",
    "spec",
    "url",
];

/// The modules that hold documents, and what their places begin with.
const MODULES: &[(&str, &str)] = &[
    ("source-controller/", "github.com/fluxcd/source-controller"),
    (
        "kustomize-controller/",
        "github.com/fluxcd/kustomize-controller",
    ),
    ("helm-controller/", "github.com/fluxcd/helm-controller"),
    ("flux2/", "github.com/fluxcd/flux2/v2"),
];

const SUITE: Suite = Suite {
    modules: MODULES,
    kinds: KINDS,
    unreadable: UNREADABLE,
    required: REQUIRED,
    fill,
};

/// `{{ .name }}` in the fixtures of the `flux` command becomes `name`, or a time.
fn fill(text: &str) -> String {
    let mut parts = text.split("{{ .");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(" }}") {
            Some((name, rest)) if name.chars().all(char::is_alphanumeric) => {
                filled.push_str(match name.ends_with("LastReconcile") {
                    true => "2026-01-02T03:04:05Z",
                    false => name,
                });
                filled.push_str(rest);
            }
            _ => {
                filled.push_str("{{ .");
                filled.push_str(part);
            }
        }
    }
    filled
}

#[test]
fn fluxs_documents_come_back_as_they_were() -> Result<()> {
    SUITE.check()
}

#[test]
fn fluxs_documents_of_earlier_versions_are_read_as_todays() -> Result<()> {
    let (mut upgraded, mut changes) = (BTreeMap::new(), BTreeMap::new());
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let (mut wrong, mut names) = (Vec::new(), BTreeSet::new());
    for Document { place, value } in SUITE.documents()? {
        let Ok(value) = value else {
            continue;
        };
        let version = value["apiVersion"].as_str().unwrap_or_default().to_owned();
        let read = match upgrade::upgrade(value) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                *refused.entry(version).or_default() += 1;
                continue;
            }
            Err(error) => {
                wrong.push(format!("{place}: {error}"));
                continue;
            }
        };
        assert_eq!(read.from, version);
        if read.object["apiVersion"] != *version {
            *upgraded.entry(version).or_insert(0) += 1;
        }
        for change in &read.changes {
            *changes.entry(change.to_string()).or_insert(0) += 1;
        }
        match SUITE.round_trip(read.object.clone()) {
            Ok(written) => wrong.extend(
                differences(&read.object, &written, &mut names)
                    .into_iter()
                    .map(|lost| format!("{place}: {lost}")),
            ),
            Err(error) => wrong.push(format!("{place}: {error}")),
        }
    }
    println!("upgraded: {upgraded:?}\nchanged: {changes:#?}\nnot read: {refused:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The alpha versions, and a text that `flux migrate` is tested with.
    let known =
        |version: &String| version.contains("alpha") || version == "image.toolkit.fluxcd.io/v1/v2";
    assert!(refused.keys().all(known), "{refused:?}");
    let all: usize = upgraded.values().sum();
    assert!(all >= 210, "{all} documents of earlier versions");
    assert!(changes.len() >= 7, "{changes:?}");
    Ok(())
}

/// The source that a workload names.
fn source(named: &ObjectReference) -> Option<SourceObject> {
    let meta = serde_json::json!({"name": named.name, "namespace": named.namespace, "uid": "u"});
    let object =
        |url: &str| serde_json::json!({"metadata": meta, "spec": {"interval": "1m", "url": url}});
    Some(match &*named.kind {
        "GitRepository" => {
            let object = object("https://git.example.com/x");
            SourceObject::Git(Box::new(serde_json::from_value(object).ok()?))
        }
        "OCIRepository" => {
            let object = object("oci://registry.example.com/x");
            SourceObject::Oci(Box::new(serde_json::from_value(object).ok()?))
        }
        "HelmRepository" => {
            let object = object("https://charts.example.com");
            SourceObject::Helm(Box::new(serde_json::from_value(object).ok()?))
        }
        _ => return None,
    })
}

#[test]
fn fluxs_documents_are_applications_that_nobody_changes_by_putting_them() -> Result<()> {
    let (mut same, mut refused) = (0, BTreeMap::new());
    for Document { place, value } in SUITE.documents()? {
        let Ok(mut value) = value else {
            continue;
        };
        value["metadata"]["uid"] = "u".into();
        let workload = match (value["apiVersion"].as_str(), value["kind"].as_str()) {
            (Some("helm.toolkit.fluxcd.io/v2"), Some("HelmRelease")) => {
                serde_json::from_value(value).map(|object| Workload::HelmRelease(Box::new(object)))
            }
            (Some("kustomize.toolkit.fluxcd.io/v1"), Some("Kustomization")) => {
                serde_json::from_value(value)
                    .map(|object| Workload::Kustomization(Box::new(object)))
            }
            _ => continue,
        };
        let Ok(workload) = workload else {
            continue;
        };
        let named = match &workload {
            Workload::HelmRelease(object) => object.resolved_source_ref(),
            Workload::Kustomization(object) => object.resolved_source_ref(),
        };
        // What names no source of an application cannot be put.
        let Some(source) = source(&named.unwrap_or_default()) else {
            continue;
        };
        let parts = Parts {
            source: Some(source),
            workload,
        };
        let app = to_application(&parts)?;
        match to_flux(&app, &ConvertOptions::default(), Some(&parts)) {
            // What a document leaves out that the definition requires is filled in.
            Ok(mut put) => {
                match (&mut put.workload, &parts.workload) {
                    (Workload::HelmRelease(put), Workload::HelmRelease(before)) => {
                        put.spec.interval.clone_from(&before.spec.interval);
                    }
                    (Workload::Kustomization(put), Workload::Kustomization(before)) => {
                        put.spec.interval.clone_from(&before.spec.interval);
                    }
                    _ => {}
                }
                assert_eq!(put, parts, "{place}");
                same += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{place}: {error}");
                *refused.entry(error.to_string()).or_insert(0) += 1;
            }
        }
    }
    println!("{same} came through; refused: {refused:#?}");
    assert!(same >= 60, "{same}");
    Ok(())
}
