use gitops_core::ErrorKind;
use gitops_core::manifest::ObjectId;
use gitops_flux::FluxKind;
use gitops_flux::trace::{trace, trace_many};
use gitops_kube::cluster::{Fault, FaultAnswer, Verb};
use serde_json::{Value, json};

use super::{Counting, cluster, config_map, flux, namespace, put};

const KINDS: [FluxKind; 6] = [
    FluxKind::Kustomization,
    FluxKind::HelmRelease,
    FluxKind::GitRepository,
    FluxKind::HelmChart,
    FluxKind::HelmRepository,
    FluxKind::OCIRepository,
];

fn ready(is: &str, message: &str, more: Value) -> Value {
    let mut status = json!({"conditions": [
        {"type": "Reconciling", "status": "False"},
        {"type": "Ready", "status": is, "reason": "Because", "message": message, "lastTransitionTime": "2025-11-01T10:00:00Z"},
    ]});
    for (key, value) in more.as_object().unwrap() {
        status[key] = value.clone();
    }
    status
}

fn kustomized(name: &str) -> Value {
    json!({"kustomize.toolkit.fluxcd.io/name": name, "kustomize.toolkit.fluxcd.io/namespace": "flux-system"})
}

fn released(name: &str) -> Value {
    json!({"helm.toolkit.fluxcd.io/name": name, "helm.toolkit.fluxcd.io/namespace": "flux-system"})
}

fn map(name: &str) -> ObjectId {
    ObjectId::new("", "ConfigMap", "shop", name)
}

async fn world() -> Counting {
    let cluster = cluster(&KINDS).await;
    for name in ["flux-system", "shop"] {
        namespace(&cluster, name).await;
    }
    let url = "https://user:canary@git.example.com/x";
    for value in [
        flux(
            FluxKind::Kustomization,
            "flux-system",
            "apps",
            json!({"path": "./apps", "suspend": true, "sourceRef": {"kind": "GitRepository", "name": "repo"}}),
            ready(
                "True",
                "applied",
                json!({"lastAppliedRevision": "main@sha1:1"}),
            ),
        ),
        flux(
            FluxKind::GitRepository,
            "flux-system",
            "repo",
            json!({"url": url, "ref": {"branch": "main"}}),
            ready(
                "False",
                "no route",
                json!({"artifact": {"revision": "main@sha1:2"}}),
            ),
        ),
        flux(
            FluxKind::HelmRelease,
            "flux-system",
            "db",
            json!({"chart": {"spec": {"chart": "pg", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}}}),
            ready(
                "Unknown",
                "running",
                json!({"lastAttemptedRevision": "1.2.3", "helmChart": "flux-system/flux-system-db"}),
            ),
        ),
        flux(
            FluxKind::HelmChart,
            "flux-system",
            "flux-system-db",
            json!({"chart": "pg", "version": ">=1"}),
            ready("True", "pulled", json!({"artifact": {"revision": "1.2.3"}})),
        ),
        flux(
            FluxKind::HelmRelease,
            "flux-system",
            "oci",
            json!({"chartRef": {"kind": "OCIRepository", "name": "gone", "namespace": "shop"}}),
            json!({}),
        ),
    ] {
        put(&cluster, value).await;
    }
    Counting::new(cluster)
}

#[tokio::test]
async fn an_object_leads_to_its_source() {
    let world = world().await;
    put(&world, config_map("shop", "direct", kustomized("apps"))).await;
    let found = trace(&world, &map("direct")).await.unwrap();
    let manager = found.manager.as_ref().unwrap();
    assert_eq!(
        manager.id,
        FluxKind::Kustomization.object_id("flux-system", "apps")
    );
    assert_eq!(manager.revision.as_deref(), Some("main@sha1:1"));
    assert!(manager.suspended && manager.ready == Some(true) && manager.since.is_some());
    let source = found.source.as_ref().unwrap();
    assert_eq!(source.ready, Some(false));
    assert_eq!(source.revision.as_deref(), Some("main@sha1:2"));
    let text = found.to_string();
    for line in [
        "Object:          ConfigMap/direct",
        "Status:          Managed by Flux",
        "Kustomization:   apps",
        "Path:            ./apps",
        "GitRepository:   repo",
        "URL:             https://git.example.com/x",
        "Branch:          main",
        "Status:          Last reconciliation failed at 2025-11-01T10:00:00Z",
        "Message:         no route",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn owners_are_asked_where_labels_are_missing() {
    let world = world().await;
    let uid = put(&world, config_map("shop", "owner", released("db"))).await;
    let uid = put(&world, owned("middle", "owner", &uid)).await;
    put(&world, owned("leaf", "middle", &uid)).await;
    put(&world, config_map("shop", "alone", json!({}))).await;
    put(&world, config_map("shop", "oci", released("oci"))).await;
    // Labels copied onto what a release's object owns: the Kustomization among the owners counts.
    let uid = put(&world, config_map("shop", "both-owner", kustomized("apps"))).await;
    let mut both = owned("both", "both-owner", &uid);
    both["metadata"]["labels"] = released("db");
    put(&world, both).await;
    let ids: Vec<ObjectId> = ["leaf", "alone", "absent", "oci", "both"].map(map).into();
    let traces = trace_many(&world, &ids).await.unwrap();

    let leaf = traces[0].as_ref().unwrap();
    assert_eq!(leaf.through, [map("middle"), map("owner")]);
    let stages: Vec<&str> = leaf.stages().map(|stage| stage.id.kind.as_str()).collect();
    assert_eq!(stages, ["HelmRelease", "HelmChart", "HelmRepository"]);
    assert_eq!(leaf.manager.as_ref().unwrap().ready, None);
    let repository = leaf.source.as_ref().unwrap();
    assert!(!repository.found && repository.message.contains("does not exist"));

    let alone = traces[1].as_ref().unwrap();
    assert!(!alone.is_managed() && alone.to_string().contains("Not managed by Flux"));
    assert_eq!(traces[2].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    let oci = traces[3].as_ref().unwrap();
    assert_eq!(oci.chart, None);
    assert_eq!(
        oci.source.as_ref().unwrap().id,
        FluxKind::OCIRepository.object_id("shop", "gone")
    );
    let both = traces[4].as_ref().unwrap();
    assert_eq!(both.manager.as_ref().unwrap().id.kind, "Kustomization");
    assert_eq!(both.through, [map("both-owner")]);
}

fn owned(name: &str, owner: &str, uid: &str) -> Value {
    let mut value = config_map("shop", name, json!({}));
    value["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid}]);
    value
}

#[tokio::test]
async fn five_hundred_objects_take_one_list_per_kind() {
    let world = world().await;
    let mut uids = Vec::new();
    for n in 0..20 {
        let value = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "shop", "name": format!("a{n}"), "labels": released("db")}});
        uids.push(put(&world, value).await);
    }
    let mut ids = Vec::new();
    for n in 0..500 {
        let name = format!("m{n}");
        let mut value = config_map("shop", &name, json!({}));
        if n % 2 == 0 {
            value["metadata"]["labels"] = kustomized("apps");
        } else {
            let owner = n % 20;
            value["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ServiceAccount", "name": format!("a{owner}"), "uid": uids[owner]}]);
        }
        put(&world, value).await;
        ids.push(map(&name));
    }
    let traces = trace_many(&world, &ids).await.unwrap();
    assert!(
        traces
            .iter()
            .all(|trace| trace.as_ref().unwrap().is_managed())
    );
    assert_eq!(world.most_lists_of_a_kind(), 1);
    assert_eq!(world.count("list", "ConfigMap"), 1);
    assert_eq!(world.count("get", "ConfigMap"), 0);
    assert_eq!(world.count("list", "ServiceAccount"), 1);
    // One of each: read, not listed.
    let reads = world.reads.lock().unwrap().len();
    assert_eq!(reads, 7, "{:?}", world.reads.lock().unwrap());
}

/// A page is metadata only, and of what is on it only what was asked for stays.
#[tokio::test]
async fn objects_among_thousands_come_in_pages_of_metadata() {
    let world = world().await;
    namespace(&world, "many").await;
    for n in 0..1_100 {
        put(&world, config_map("many", &format!("m{n}"), json!({}))).await;
    }
    let mut ids = Vec::new();
    for n in 0..5 {
        put(
            &world,
            config_map("shop", &format!("s{n}"), kustomized("apps")),
        )
        .await;
        ids.push(map(&format!("s{n}")));
    }
    ids.push(ObjectId::new("", "ConfigMap", "many", "m7"));
    // The second page is too old at first.
    world.cluster.fail_next(
        Fault::new(FaultAnswer::Conflict)
            .on(Verb::List)
            .kind("", "ConfigMap")
            .after(1),
    );
    let traces = trace_many(&world, &ids).await.unwrap();
    let managed: Vec<bool> = traces
        .iter()
        .map(|trace| trace.as_ref().unwrap().is_managed())
        .collect();
    assert_eq!(managed, [true, true, true, true, true, false]);
    let lists = world.lists.lock().unwrap();
    let pages: Vec<_> = lists
        .iter()
        .map(|(kind, params)| {
            assert_eq!(params.limit, Some(1_000));
            let follows = params.continue_token.is_some();
            (kind.as_str(), params.metadata_only, follows)
        })
        .collect();
    let (first, next) = (("ConfigMap", true, false), ("ConfigMap", true, true));
    assert_eq!(pages, [first, next, first, next]);
}

#[tokio::test]
async fn an_owner_outside_of_namespaces_is_everybodys() {
    let world = world().await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "owner", "labels": kustomized("apps")}, "rules": []});
    let uid = put(&world, role).await;
    let mut ids = Vec::new();
    for n in 0..6 {
        let name = format!("n{n}");
        namespace(&world, &name).await;
        let mut value = config_map(&name, "owned", json!({}));
        value["metadata"]["ownerReferences"] = json!([{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": "owner", "uid": uid}]);
        put(&world, value).await;
        ids.push(ObjectId::new("", "ConfigMap", name, "owned"));
    }
    for trace in trace_many(&world, &ids).await.unwrap() {
        assert!(trace.as_ref().unwrap().is_managed(), "{trace:?}");
    }
}

#[tokio::test]
async fn an_owner_that_cannot_be_read_is_not_no_owner() {
    let world = world().await;
    let owner = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "shop", "name": "a", "labels": kustomized("apps")}});
    let uid = put(&world, owner).await;
    let mut pod = config_map("shop", "pod", json!({}));
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ServiceAccount", "name": "a", "uid": uid}]);
    put(&world, pod.clone()).await;
    // Its own labels say enough.
    pod["metadata"]["name"] = json!("labelled");
    pod["metadata"]["labels"] = released("db");
    put(&world, pod.clone()).await;
    // A kind that is gone has no objects that could be Flux's.
    let uid = put(&world, config_map("shop", "alive", json!({}))).await;
    pod["metadata"]["name"] = json!("orphan");
    pod["metadata"]["labels"] = json!({});
    pod["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "gone.example.com/v1", "kind": "Gone", "name": "a", "uid": "x"},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "alive", "uid": uid},
    ]);
    put(&world, pod).await;
    world.cluster.fail_next(
        Fault::new(FaultAnswer::Forbidden)
            .on(Verb::Get)
            .kind("", "ServiceAccount")
            .always(),
    );
    let ids: Vec<ObjectId> = ["pod", "labelled", "orphan"].map(map).into();
    let traces = trace_many(&world, &ids).await.unwrap();
    let error = traces[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let text = format!("{error:#}");
    assert!(
        text.contains("ConfigMap shop/pod is not known") && text.contains("ServiceAccount shop/a"),
        "{text}"
    );
    assert!(traces[1].as_ref().unwrap().is_managed());
    assert!(!traces[2].as_ref().unwrap().is_managed());
}

#[tokio::test]
async fn messages_reach_no_terminal_raw() {
    let world = world().await;
    let bad = flux(
        FluxKind::Kustomization,
        "flux-system",
        "bad",
        json!({"path": "./a\u{1b}[2J", "sourceRef": {"kind": "GitRepository", "name": "none"}}),
        ready("False", "build failed:\n\u{1b}[31mred", json!({})),
    );
    put(&world, bad).await;
    put(&world, config_map("shop", "bad", kustomized("bad"))).await;
    let text = trace(&world, &map("bad")).await.unwrap().to_string();
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let line = "Message:         build failed: \\u{1b}[31mred";
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[tokio::test]
async fn who_may_not_list_may_get() {
    let world = world().await;
    let ids: Vec<ObjectId> = (0..10).map(|n| map(&format!("m{n}"))).collect();
    for id in &ids {
        put(&world, config_map("shop", &id.name, kustomized("apps"))).await;
    }
    let forbid = || {
        Fault::new(FaultAnswer::Forbidden)
            .on(Verb::List)
            .kind("", "ConfigMap")
            .always()
    };
    world.cluster.fail_next(forbid());
    let traces = trace_many(&world, &ids).await.unwrap();
    assert!(
        traces
            .iter()
            .all(|trace| trace.as_ref().unwrap().is_managed())
    );
    // An object that cannot be read leaves the others.
    world.cluster.fail_next(
        Fault::new(FaultAnswer::Forbidden)
            .on(Verb::Get)
            .name("m3")
            .always(),
    );
    let traces = trace_many(&world, &ids).await.unwrap();
    let failed: Vec<_> = traces
        .iter()
        .filter_map(|trace| trace.as_ref().err())
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].kind(), ErrorKind::PermissionDenied);
    // A kind that nobody knows is an error of its objects.
    let odd = ObjectId::new("example.com", "Odd", "shop", "x");
    let error = trace(&world, &odd).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
