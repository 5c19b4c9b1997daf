use gitops_core::ErrorKind;
use gitops_flux::FluxKind;
use gitops_flux::graph::DependencyGraph;
use gitops_flux::stats::stats;
use gitops_kube::cluster::{Fault, FaultAnswer};
use serde_json::json;

use super::{cluster, flux, namespace, put};

#[tokio::test]
async fn objects_are_counted_as_flux_counts_them() {
    let cluster = cluster(&[FluxKind::Kustomization, FluxKind::GitRepository]).await;
    for name in ["a", "b"] {
        namespace(&cluster, name).await;
    }
    let ready = |is: &str| json!({"conditions": [{"type": "Ready", "status": is}]});
    for (space, name, suspend, is) in [
        ("a", "one", false, "True"),
        ("a", "two", true, "False"),
        ("b", "three", false, "False"),
        ("b", "four", false, "Unknown"),
    ] {
        let value = flux(
            FluxKind::Kustomization,
            space,
            name,
            json!({"suspend": suspend, "dependsOn": [{"name": "one"}]}),
            ready(is),
        );
        put(&cluster, value).await;
    }
    let artifact = json!({"artifact": {"size": 1536}});
    put(
        &cluster,
        flux(FluxKind::GitRepository, "a", "repo", json!({}), artifact),
    )
    .await;

    let all = stats(&cluster, None).await.unwrap();
    let found = all.of(FluxKind::Kustomization).unwrap();
    assert_eq!((found.running, found.failing, found.suspended), (3, 2, 1));
    assert_eq!(all.of(FluxKind::GitRepository).unwrap().storage, 1536);
    assert!(!all.of(FluxKind::HelmRelease).unwrap().installed);
    let text = all.to_string();
    assert!(
        text.contains("GitRepository           1        0        0          1.5 KiB"),
        "{text}"
    );
    let some = stats(&cluster, Some("b")).await.unwrap();
    let found = some.of(FluxKind::Kustomization).unwrap();
    assert_eq!((found.running, found.failing, found.suspended), (2, 1, 0));

    // What depends on what, from the same objects.
    let graph = DependencyGraph::read(&cluster, None).await.unwrap();
    assert_eq!(graph.iter().count(), 4);
    let error = graph.check_cycles().unwrap_err().to_string();
    assert!(
        error.contains("Kustomization/a/one -> Kustomization/a/one"),
        "{error}"
    );
    assert_eq!(graph.missing().len(), 2);

    cluster.fail_next(
        Fault::new(FaultAnswer::Forbidden).kind(FluxKind::Kustomization.group(), "Kustomization"),
    );
    let error = stats(&cluster, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}
