use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitops_core::ErrorKind;
use gitops_flux::FluxKind;
use gitops_flux::tree::{TreeNote, TreeOptions, tree};
use gitops_kube::cluster::{Fault, FaultAnswer, InMemoryCluster, Verb};
use serde_json::{Value, json};

use super::{cluster, flux, inventory, namespace, put};

const KS: &str = "kustomize.toolkit.fluxcd.io_Kustomization";
const HR: &str = "helm.toolkit.fluxcd.io_HelmRelease";

fn kustomization(name: &str, ids: &[&str]) -> Value {
    flux(
        FluxKind::Kustomization,
        "f",
        name,
        json!({}),
        inventory(ids),
    )
}

/// A release as Helm 3 stores it.
fn stored(name: &str, manifest: &str) -> Value {
    let release = json!({"name": "x", "manifest": manifest}).to_string();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(release.as_bytes()).unwrap();
    let text = STANDARD.encode(gzip.finish().unwrap());
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {"namespace": "f", "name": name}, "data": {"release": STANDARD.encode(text)},
    })
}

fn release(name: &str, spec: Value) -> Value {
    let history = json!([
        {"name": "db", "namespace": "shop", "version": 2},
        {"name": "db", "namespace": "shop", "version": 10},
    ]);
    flux(
        FluxKind::HelmRelease,
        "f",
        name,
        spec,
        json!({"storageNamespace": "f", "history": history}),
    )
}

const MANIFEST: &str = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db, namespace: other}
";

async fn world() -> InMemoryCluster {
    let cluster = cluster(&[FluxKind::Kustomization, FluxKind::HelmRelease]).await;
    namespace(&cluster, "f").await;
    for value in [
        kustomization(
            "root",
            &[
                &format!("f_root_{KS}"),
                "_shop__Namespace",
                &format!("f_apps_{KS}"),
                &format!("f_db_{HR}"),
            ],
        ),
        kustomization("apps", &["shop_web_apps_Deployment", "shop_web__Service"]),
        release("db", json!({"install": {"crds": "Create"}})),
        stored("sh.helm.release.v1.db.v10", MANIFEST),
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.example.com", "labels": {"helm.toolkit.fluxcd.io/name": "db", "helm.toolkit.fluxcd.io/namespace": "f"}},
            "spec": {"group": "example.com", "scope": "Cluster", "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        }),
    ] {
        put(&cluster, value).await;
    }
    cluster
}

#[tokio::test]
async fn inventories_are_nested_as_flux_prints_them() {
    let world = world().await;
    let root = FluxKind::Kustomization.object_id("f", "root");
    let found = tree(&world, &root, &TreeOptions::default()).await.unwrap();
    let expected = "\
Kustomization/f/root
├── Namespace/shop
├── Kustomization/f/apps
│   ├── Deployment/shop/web
│   └── Service/shop/web
└── HelmRelease/f/db
    ├── ConfigMap/shop/settings
    ├── ClusterRole/reader
    ├── Deployment/other/db
    └── CustomResourceDefinition/things.example.com
";
    assert_eq!(found.to_string(), expected);
    let compact = TreeOptions {
        compact: true,
        ..TreeOptions::default()
    };
    let found = tree(&world, &root, &compact).await.unwrap();
    assert_eq!(
        found.to_string(),
        "Kustomization/f/root\n├── Kustomization/f/apps\n└── HelmRelease/f/db\n"
    );
    let json = found.to_json();
    assert_eq!(
        json["resources"][1]["resource"]["GroupKind"]["Kind"],
        "HelmRelease"
    );
    let release = FluxKind::HelmRelease.object_id("f", "db");
    let found = tree(&world, &release, &TreeOptions::default())
        .await
        .unwrap();
    assert_eq!(found.walk().len(), 5);
}

#[tokio::test]
async fn cycles_depth_and_size_are_bounded() {
    let world = world().await;
    put(&world, kustomization("a", &[&format!("f_b_{KS}")])).await;
    put(
        &world,
        kustomization("b", &[&format!("f_a_{KS}"), "f_x__ConfigMap"]),
    )
    .await;
    let a = FluxKind::Kustomization.object_id("f", "a");
    let found = tree(&world, &a, &TreeOptions::default()).await.unwrap();
    assert_eq!(
        found.to_string(),
        "Kustomization/f/a\n└── Kustomization/f/b\n    ├── Kustomization/f/a (shown above)\n    └── ConfigMap/f/x\n"
    );
    for n in 0..40 {
        put(
            &world,
            kustomization(&format!("c{n}"), &[&format!("f_c{}_{KS}", n + 1)]),
        )
        .await;
    }
    let c = FluxKind::Kustomization.object_id("f", "c0");
    let found = tree(&world, &c, &TreeOptions::default()).await.unwrap();
    let nodes = found.walk();
    assert_eq!(nodes.len(), 18);
    assert_eq!(nodes[17].1.note, Some(TreeNote::Bounded));
    let few = TreeOptions {
        objects: 2,
        ..TreeOptions::default()
    };
    let root = FluxKind::Kustomization.object_id("f", "root");
    assert_eq!(tree(&world, &root, &few).await.unwrap().walk().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_read_leaves_the_rest() {
    let world = world().await;
    let ids = [
        format!("f_gone_{KS}"),
        format!("f_far_{KS}"),
        format!("f_new_{HR}"),
        format!("f_broken_{HR}"),
        "f_x__ConfigMap".to_owned(),
        "nonsense".to_owned(),
    ];
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    put(&world, kustomization("odd", &ids)).await;
    put(
        &world,
        flux(
            FluxKind::Kustomization,
            "f",
            "far",
            json!({"kubeConfig": {"secretRef": {"name": "x"}}}),
            inventory(&["f_y__ConfigMap"]),
        ),
    )
    .await;
    put(
        &world,
        flux(FluxKind::HelmRelease, "f", "new", json!({}), json!({})),
    )
    .await;
    let mut broken = release("broken", json!({}));
    broken["status"]["history"] = json!([{"name": "broken", "namespace": "f", "version": 1}]);
    put(&world, broken).await;
    let mut secret = stored("sh.helm.release.v1.broken.v1", "");
    secret["data"]["release"] = json!(STANDARD.encode("canary"));
    put(&world, secret).await;
    let odd = FluxKind::Kustomization.object_id("f", "odd");
    let found = tree(&world, &odd, &TreeOptions::default()).await.unwrap();
    let notes: Vec<Option<String>> = found
        .children
        .iter()
        .map(|node| node.note.as_ref().map(ToString::to_string))
        .collect();
    assert_eq!(notes[0].as_deref(), Some("missing"));
    assert_eq!(notes[1].as_deref(), Some("on another cluster"));
    assert_eq!(notes[2].as_deref(), Some("no release"));
    assert!(notes[3].as_ref().unwrap().contains("cannot be read"));
    assert_eq!(notes[4], None);
    assert!(
        found
            .note
            .as_ref()
            .unwrap()
            .to_string()
            .contains("nonsense")
    );
    assert!(!found.to_string().contains("canary"));

    world.fail_next(
        Fault::new(FaultAnswer::Forbidden)
            .on(Verb::Get)
            .kind("", "Secret")
            .always(),
    );
    let root = FluxKind::Kustomization.object_id("f", "root");
    let found = tree(&world, &root, &TreeOptions::default()).await.unwrap();
    assert!(matches!(
        &found.children[2].note,
        Some(TreeNote::Unreadable(_))
    ));
    let absent = FluxKind::Kustomization.object_id("f", "absent");
    let error = tree(&world, &absent, &TreeOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let other = FluxKind::GitRepository.object_id("f", "x");
    let error = tree(&world, &other, &TreeOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn notes_reach_no_terminal_raw() {
    let note = TreeNote::Unreadable("no\nsuch\u{1b}[2J".into());
    assert_eq!(note.to_string(), "no such\\u{1b}[2J");
}
