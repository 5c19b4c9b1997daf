//! Servers that refuse, throttle and fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gitops_core::ErrorKind;
use gitops_core::backend::ResourceAction;
use gitops_core::manifest::{GroupVersionKind, ManifestSet, Object};
use gitops_kube::cluster::{Cluster, KubeCluster, WriteParams};
use gitops_kube::engine::{ApplySet, Engine, EngineOptions};
use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

fn config_maps(names: &[&str]) -> ManifestSet {
    let objects = names.iter().map(|name| {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}});
        Object::new(value, None).expect("a well-formed object")
    });
    ManifestSet::from_objects(objects).expect("distinct objects")
}

/// A client of the real server that answers some requests itself: a healthy server cannot be asked to be overloaded.
pub(crate) fn faulty<F>(client: kube::Client, fault: F) -> kube::Client
where
    F: Fn(&Request<Body>) -> Option<(StatusCode, Option<u32>)> + Clone + Send + Sync + 'static,
{
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let fault = fault(&request);
        let client = client.clone();
        async move {
            let Some((code, retry_after)) = fault else {
                return Ok(client.send(request).await?);
            };
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
                "message": "the test says no", "reason": code.canonical_reason().unwrap_or_default(),
            });
            let mut response = Response::builder()
                .status(code)
                .header("content-type", "application/json");
            if let Some(seconds) = retry_after {
                response = response.header("retry-after", seconds);
            }
            Ok::<_, tower::BoxError>(response.body(Body::from(status.to_string().into_bytes()))?)
        }
    });
    kube::Client::new(service, namespace)
}

struct Fixture {
    engine: Engine,
    set: ApplySet,
    options: EngineOptions,
}

impl Fixture {
    async fn new<F>(name: &str, fault: F) -> Result<Self>
    where
        F: Fn(&Request<Body>) -> Option<(StatusCode, Option<u32>)> + Clone + Send + Sync + 'static,
    {
        let cluster = e2e::cluster().await?;
        let namespace = cluster.namespace(name).await?.name().to_owned();
        let client = faulty(cluster.client().await?, fault);
        Ok(Self {
            engine: Engine::new(Arc::new(KubeCluster::new(client))),
            set: ApplySet::new(name, &namespace)?,
            options: EngineOptions {
                namespace,
                prune: true,
                wait: None,
                ..EngineOptions::default()
            },
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_and_outages_are_waited_out() -> Result<()> {
    for (name, code, retry_after) in [
        ("throttled", StatusCode::TOO_MANY_REQUESTS, Some(1)),
        ("unavailable", StatusCode::SERVICE_UNAVAILABLE, None),
    ] {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = seen.clone();
        let discovered = Arc::new(AtomicUsize::new(0));
        // Of the requests for objects the second and every third after it, of discovery's the first.
        let f = Fixture::new(name, move |request| {
            let refused = match request.uri().path() {
                "/api" | "/apis" => discovered.fetch_add(1, Ordering::SeqCst) == 0,
                _ => count.fetch_add(1, Ordering::SeqCst) % 3 == 1,
            };
            refused.then_some((code, retry_after))
        })
        .await?;
        let started = Instant::now();
        let report = f
            .engine
            .sync(&f.set, config_maps(&["a", "b", "c"]), &f.options)
            .await?;
        assert!(report.is_success(), "{name}: {:?}", report.failure);
        assert_eq!(report.count(ResourceAction::Created), 3);
        assert!(seen.load(Ordering::SeqCst) > 4, "no request was refused");
        if retry_after.is_some() {
            assert!(
                started.elapsed() >= Duration::from_secs(1),
                "came back before it was told to"
            );
        }
        let report = f
            .engine
            .sync(&f.set, config_maps(&["a"]), &f.options)
            .await?;
        assert_eq!(
            report.count(ResourceAction::Pruned),
            2,
            "{:?}",
            report.results
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_tells_when_to_come_back() -> Result<()> {
    let client = e2e::cluster().await?.client().await?;
    let client = faulty(client, |request| {
        (request.uri().path() == "/apis").then_some((StatusCode::TOO_MANY_REQUESTS, Some(7)))
    });
    let cluster = KubeCluster::new(client.clone());
    let kind = GroupVersionKind::new("apps", "v1", "Deployment");
    let error = cluster.resolve(&kind).await.expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    // It is more than the retry may take: no second try, and the caller learns when.
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let mut f = Fixture::new("late", move |request| {
        (request.uri().path() == "/apis").then(|| {
            seen.fetch_add(1, Ordering::SeqCst);
            (StatusCode::TOO_MANY_REQUESTS, Some(3600))
        })
    })
    .await?;
    f.options.retry.total = Duration::from_secs(30);
    let started = Instant::now();
    let error = match f.engine.sync(&f.set, config_maps(&["a"]), &f.options).await {
        Err(error) => error,
        Ok(report) => anyhow::bail!("it went on: {:?}", report.failure),
    };
    assert_eq!(
        error.retry_after(),
        Some(Duration::from_secs(3600)),
        "{error}"
    );
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(started.elapsed() < Duration::from_secs(20));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_does_not_end_is_an_error_in_time_and_prunes_nothing() -> Result<()> {
    let failing = Arc::new(AtomicUsize::new(0));
    let switch = failing.clone();
    let mut f = Fixture::new("outage", move |request| {
        (switch.load(Ordering::SeqCst) > 0 && request.method() == Method::PATCH)
            .then_some((StatusCode::SERVICE_UNAVAILABLE, None))
    })
    .await?;
    f.options.retry.total = Duration::from_secs(2);
    let report = f
        .engine
        .sync(&f.set, config_maps(&["a", "b"]), &f.options)
        .await?;
    assert!(report.is_success());

    failing.store(1, Ordering::SeqCst);
    let started = Instant::now();
    let message = match f
        .engine
        .sync(&f.set, config_maps(&["b", "c"]), &f.options)
        .await
    {
        Ok(report) => report.failure.context("it cannot have succeeded")?,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            error.to_string()
        }
    };
    assert!(message.contains("the test says no"), "{message}");
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );

    failing.store(0, Ordering::SeqCst);
    let cluster = f.engine.cluster();
    let maps = cluster
        .resolve(&GroupVersionKind::from_api_version("v1", "ConfigMap"))
        .await?;
    let key = gitops_kube::cluster::ObjectKey {
        kind: &maps,
        namespace: &f.options.namespace,
        name: "a",
    };
    assert!(
        cluster.get(key).await?.is_some(),
        "pruned although the apply failed"
    );
    let report = f
        .engine
        .sync(&f.set, config_maps(&["b", "c"]), &f.options)
        .await?;
    assert!(report.is_success(), "{:?}", report.failure);
    assert!(cluster.get(key).await?.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_denial_names_object_policy_and_reason() -> Result<()> {
    let f = Fixture::new("denied", |_| None).await?;
    let cluster = f.engine.cluster();
    let namespace = f.options.namespace.clone();
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}],
            },
            "validations": [{"expression": "object.metadata.name != 'evil'", "message": "no evil here"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {"policyName": namespace, "validationActions": ["Deny"]},
    });
    let params = WriteParams {
        field_manager: "test".into(),
        ..WriteParams::default()
    };
    for value in [&policy, &binding] {
        let object = Object::new(Value::clone(value), None)?;
        let kind = cluster.resolve(&object.gvk()).await?;
        cluster.apply(&kind, &object, &params).await?;
    }
    // The server takes a moment until it enforces a new policy.
    let maps = cluster
        .resolve(&GroupVersionKind::from_api_version("v1", "ConfigMap"))
        .await?;
    let mut probe = Object::new(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "evil"}}),
        None,
    )?;
    probe.set_namespace(&namespace);
    let dry_run = WriteParams {
        dry_run: true,
        ..params
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while cluster.apply(&maps, &probe, &dry_run).await.is_ok() {
        assert!(Instant::now() < deadline, "the policy is not enforced");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let report = f
        .engine
        .sync(&f.set, config_maps(&["evil", "good"]), &f.options)
        .await?;
    let failure = report.failure.clone().context("it was not denied")?;
    for part in ["evil", &namespace, "no evil here"] {
        assert!(failure.contains(part), "{part:?} is missing in {failure}");
    }
    assert_eq!(
        report.count(ResourceAction::Failed),
        1,
        "{:?}",
        report.results
    );

    // With a dry run of the whole stage first, nothing of it is applied.
    let f2 = EngineOptions {
        validate: true,
        ..f.options.clone()
    };
    let report = f
        .engine
        .sync(&f.set, config_maps(&["evil", "new"]), &f2)
        .await;
    let failure = match report {
        Ok(report) => report.failure.context("it was not denied")?,
        Err(error) => error.to_string(),
    };
    assert!(failure.contains("no evil here"), "{failure}");
    let key = gitops_kube::cluster::ObjectKey {
        kind: &maps,
        namespace: &namespace,
        name: "new",
    };
    assert!(cluster.get(key).await?.is_none());
    Ok(())
}
