//! The backend against an API server that answers late: what a real one does only under load.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gitops_core::application::{AppRef, OperationPhase};
use gitops_core::backend::{SyncOptions, Syncer};
use gitops_flux::{FluxBackend, FluxManager, FluxOptions};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const WORKLOAD: &str =
    "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/app";
const DEADLINE: Duration = Duration::from_secs(2);

/// A Kustomization whose annotations can be patched; the first patch is written, and the answer is too late.
#[derive(Clone)]
struct Late(Arc<Mutex<(Value, usize)>>);

impl Respond for Late {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut state = self.0.lock().unwrap();
        if request.method.as_str() != "PATCH" {
            return ResponseTemplate::new(200).set_body_json(&state.0);
        }
        let patch: Value = serde_json::from_slice(&request.body).unwrap();
        for (name, value) in patch["metadata"]["annotations"].as_object().unwrap() {
            state.0["metadata"]["annotations"][name] = value.clone();
        }
        state.1 += 1;
        let late = match state.1 {
            1 => DEADLINE * 2,
            _ => Duration::ZERO,
        };
        ResponseTemplate::new(200)
            .set_body_json(&state.0)
            .set_delay(late)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_began_is_told_although_the_answer_was_lost() {
    gitops_kube::cluster::install_crypto_provider();
    let server = MockServer::start().await;
    let workload = Late(Arc::new(Mutex::new((
        json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": "app", "namespace": "flux-system", "uid": "u", "generation": 1, "resourceVersion": "1",
                         "annotations": {"gitops.rs/sync": "manual"}},
            "spec": {"interval": "1h", "prune": true, "suspend": true, "sourceRef": {"kind": "GitRepository", "name": "none"}},
        }),
        0,
    ))));
    for verb in ["GET", "PATCH"] {
        Mock::given(method(verb))
            .and(path(WORKLOAD))
            .respond_with(workload.clone())
            .mount(&server)
            .await;
    }
    let mut config = kube::Config::new(server.uri().parse().unwrap());
    config.default_retry = false;
    let options = FluxOptions {
        deadline: DEADLINE,
        retry_for: Duration::ZERO,
        ..FluxOptions::default()
    };
    let manager = FluxManager::with_options(kube::Client::try_from(config).unwrap(), options);
    let backend = FluxBackend::new(manager);

    let app = AppRef::new("app");
    let operation = backend.sync(&app, &SyncOptions::default()).await.unwrap();
    // Its source is not there: it has ended, as this operation.
    let outcome = tokio::time::timeout(Duration::from_secs(20), backend.wait(&operation));
    let outcome = outcome.await.unwrap().unwrap();
    assert_eq!(outcome.operation, operation);
    assert_eq!(outcome.phase, OperationPhase::Failed, "{outcome:?}");
}
