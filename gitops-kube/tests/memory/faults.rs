//! Faults, latency, counts.

use std::time::Duration;

use futures::StreamExt;
use gitops_core::ErrorKind;
use gitops_core::manifest::GroupKind;
use gitops_kube::cluster::{
    Cluster, Fault, FaultAnswer, InMemoryCluster, ListParams, ObjectKey, Verb, WatchEvent,
    WriteParams,
};
use serde_json::json;

use crate::{as_manager, config_map, get, kind, object};

#[tokio::test(start_paused = true)]
async fn faults_answer_as_a_real_cluster_does() {
    let cluster = InMemoryCluster::new();
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    let value = object(config_map("a", json!({})));
    let params = as_manager("test");
    let wait = Duration::from_secs(3);
    for (answer, expected, retryable, after) in [
        (
            FaultAnswer::Unauthorized,
            ErrorKind::Unauthenticated,
            false,
            None,
        ),
        (
            FaultAnswer::Forbidden,
            ErrorKind::PermissionDenied,
            false,
            None,
        ),
        (FaultAnswer::Conflict, ErrorKind::Conflict, false, None),
        (
            FaultAnswer::Invalid("no".into()),
            ErrorKind::InvalidInput,
            false,
            None,
        ),
        (
            FaultAnswer::TooManyRequests(wait),
            ErrorKind::RateLimited,
            true,
            Some(wait),
        ),
        (FaultAnswer::Internal, ErrorKind::Unavailable, true, None),
        (
            FaultAnswer::Unavailable(Some(wait)),
            ErrorKind::Unavailable,
            true,
            Some(wait),
        ),
        (FaultAnswer::Timeout, ErrorKind::Timeout, true, None),
    ] {
        cluster.fail_next(
            Fault::new(answer)
                .on(Verb::Apply)
                .kind("", "ConfigMap")
                .namespace("default")
                .name("a"),
        );
        // Other requests are none of its business.
        get(&cluster, "v1", "ConfigMap", "a").await;
        let error = cluster.apply(&maps, &value, &params).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable(), error.retry_after()),
            (expected, retryable, after)
        );
        assert!(get(&cluster, "v1", "ConfigMap", "a").await.is_none());
    }
    cluster.fail_next(Fault::new(FaultAnswer::Hang).on(Verb::Apply));
    let hung = tokio::time::timeout(
        Duration::from_secs(60),
        cluster.apply(&maps, &value, &params),
    )
    .await;
    assert!(hung.is_err());
    cluster.fail_next(
        Fault::new(FaultAnswer::LostAnswer)
            .after(1)
            .times(1)
            .on(Verb::Apply),
    );
    cluster
        .apply(&maps, &object(config_map("b", json!({}))), &params)
        .await
        .unwrap();
    assert_eq!(
        cluster
            .apply(&maps, &value, &params)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Timeout
    );
    assert!(get(&cluster, "v1", "ConfigMap", "a").await.is_some());
    cluster.fail_next(Fault::new(FaultAnswer::Internal).always());
    for _ in 0..3 {
        assert!(cluster.apply(&maps, &value, &params).await.is_err());
    }
    cluster.clear_faults();
    cluster.apply(&maps, &value, &params).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_and_take_their_time() {
    let cluster = InMemoryCluster::new();
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    cluster.reset_requests();
    cluster.set_latency(Duration::from_secs(2));
    let begun = tokio::time::Instant::now();
    let value = object(config_map("a", json!({})));
    let dry = WriteParams {
        dry_run: true,
        ..as_manager("test")
    };
    cluster.apply(&maps, &value, &dry).await.unwrap();
    cluster
        .apply(&maps, &value, &as_manager("test"))
        .await
        .unwrap();
    cluster
        .get(ObjectKey {
            kind: &maps,
            namespace: "default",
            name: "a",
        })
        .await
        .unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(6));
    let requests = cluster.requests();
    assert_eq!(
        (
            requests.writes(),
            requests.dry_runs(),
            requests.reads(),
            requests.count(Verb::Get)
        ),
        (1, 1, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_kind_can_be_read_namespace_by_namespace() {
    let cluster = InMemoryCluster::new();
    let maps = kind(&cluster, "v1", "ConfigMap").await;
    cluster.forbid_cluster_wide(&GroupKind::new("", "ConfigMap"));
    let all = ListParams::default();
    let error = cluster.list(&maps, &all).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let one = ListParams {
        namespace: Some("default".into()),
        ..ListParams::default()
    };
    assert_eq!(cluster.list(&maps, &one).await.unwrap().items.len(), 1);
    // A watch tells the error and goes on: it works once the right is there.
    let mut watch = cluster.watch(&maps, all);
    assert_eq!(
        watch.next().await.unwrap().unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    cluster.clear_faults();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
}
