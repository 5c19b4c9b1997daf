use super::*;
use crate::types::Selector;

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new("abc", "", "");
    for (path, text) in files {
        tree.insert(*path, TreeEntry::File(text.as_bytes().into()))
            .unwrap();
    }
    tree
}

fn at(path: &str) -> KustomizationSpec {
    KustomizationSpec {
        path: Some(path.into()),
        ..KustomizationSpec::default()
    }
}

fn kustomization(files: &[(&str, &str)], spec: &KustomizationSpec) -> Value {
    let generated = generate(&tree(files), spec).unwrap();
    let file = kustomization_file(&generated.tree, &generated.dir)
        .unwrap()
        .unwrap();
    serde_json::from_slice(generated.tree.file(&file).unwrap().unwrap()).unwrap()
}

#[test]
fn one_is_made_of_what_is_there() {
    let made = kustomization(
        &[
            ("app/z.yaml", ""),
            ("app/a-b/x.yml", ""),
            ("app/a/x.yaml", ""),
            ("app/a/notes.md", ""),
            ("app/a/x.yaml.bak", ""),
            ("app/a/X.YAML", ""),
            ("app/own/kustomization.yml", ""),
            ("app/own/y.yaml", ""),
            ("app/own/below/y.yaml", ""),
            ("app/.github/w.yaml", ""),
            ("other/y.yaml", ""),
        ],
        &at("./app"),
    );
    assert_eq!(
        made,
        json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": ["./.github/w.yaml", "./a/x.yaml", "./a-b/x.yml", "./own", "./z.yaml"],
        })
    );
    let empty = kustomization(&[("app/README", "")], &at("app"));
    assert_eq!(empty["namespace"], "_placeholder");
    let spec = KustomizationSpec {
        target_namespace: Some("shop".into()),
        ..at("app")
    };
    assert_eq!(
        kustomization(&[("app/README", "")], &spec)["namespace"],
        "shop"
    );
}

#[test]
fn the_specs_settings_are_put_in() {
    let spec = KustomizationSpec {
        target_namespace: Some("shop".into()),
        name_prefix: Some("a-".into()),
        name_suffix: Some(String::new()),
        patches: Some(vec![
            Patch {
                patch: "x".into(),
                target: Some(Selector {
                    kind: Some("Deployment".into()),
                    name: Some(String::new()),
                    ..Selector::default()
                }),
                ..Patch::default()
            },
            Patch {
                patch: "y".into(),
                ..Patch::default()
            },
        ]),
        images: Some(vec![
            Image {
                name: "web".into(),
                new_tag: Some("2".into()),
                ..Image::default()
            },
            Image {
                name: "db".into(),
                digest: Some("sha256:1".into()),
                ..Image::default()
            },
        ]),
        components: Some(vec!["../parts/a".into(), "../parts/gone".into()]),
        ignore_missing_components: Some(true),
        ..at("app")
    };
    let files = [
        (
            "app/Kustomization",
            "namespace: old\nnameSuffix: -z\nResources: [x.yaml]\nunknown: 1\npatches: [{patch: own}]\n\
             images: [{name: web, newName: other, newTag: '1'}]\ncommonLabels: null",
        ),
        ("app/x.yaml", ""),
        ("parts/a/kustomization.yaml", "kind: Component"),
    ];
    assert_eq!(
        kustomization(&files, &spec),
        json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "shop",
            "namePrefix": "a-",
            "nameSuffix": "-z",
            "resources": ["x.yaml"],
            "patches": [{"patch": "own"}, {"patch": "x", "target": {"kind": "Deployment"}}, {"patch": "y"}],
            "images": [{"name": "web", "newTag": "2"}, {"name": "db", "digest": "sha256:1"}],
            "components": ["../parts/a"],
        })
    );
    let warnings = generate(&tree(&files), &spec).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn one_without_resources_is_not_taken_for_empty() {
    let own = kustomization(&[("kustomization.yaml", "bases: [a]")], &at(""));
    assert_eq!(own["buildMetadata"], json!(["originAnnotations"]));
}

#[test]
fn nothing_leads_out() {
    let files = [("app/kustomization.yaml", "resources: []\npatches: {}")];
    let with = |components: &str| KustomizationSpec {
        components: Some(vec![components.into()]),
        ignore_missing_components: Some(true),
        ..at("app")
    };
    for (spec, says) in [
        (at("../app"), "leads out"),
        (at("gone"), "no directory"),
        (at("app/kustomization.yaml"), "no directory"),
        (with("../../etc"), "leads out"),
        (with("/etc"), "relative path"),
        (with("https://h/x"), "relative path"),
        (
            KustomizationSpec {
                patches: Some(vec![Patch::default()]),
                ..at("app")
            },
            "must be a list",
        ),
    ] {
        let error = generate(&tree(&files), &spec).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
