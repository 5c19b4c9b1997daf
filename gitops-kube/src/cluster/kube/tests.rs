use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use gitops_core::ErrorKind;
use kube::client::Body;
use serde_json::json;

use super::*;

/// An API server that refuses everything, and how often it was asked.
fn refusing() -> (KubeCluster, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let service = tower::service_fn(move |_: http::Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "code": 403, "reason": "Forbidden", "message": "alice cannot list",
        });
        let answer = http::Response::builder()
            .status(403)
            .body(Body::from(body.to_string().into_bytes()))
            .unwrap();
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    (KubeCluster::new(Client::new(service, "default")), asked)
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_refused_asks_less_and_less_often() {
    let (cluster, asked) = refusing();
    let mut events = cluster.watch(&ApiKind::config_map(), ListParams::default());
    let began = tokio::time::Instant::now();
    for _ in 0..10 {
        let error = events.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 10);
    // 100 ms, then half as much again each time.
    assert!(
        began.elapsed() > Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn no_namespace_leads_a_watch_to_another_path() {
    let (cluster, asked) = refusing();
    for namespace in ["a/configmaps?labelSelector=x&", "..", "a b", "a\n"] {
        let params = ListParams {
            namespace: Some(namespace.into()),
            ..ListParams::default()
        };
        let mut events = cluster.watch(&ApiKind::config_map(), params);
        let error = events.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{namespace:?}");
        let more = tokio::time::timeout(Duration::from_secs(60), events.next()).await;
        assert!(more.is_err(), "a watch ends only when it is dropped");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}
