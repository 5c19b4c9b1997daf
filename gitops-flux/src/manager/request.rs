//! Requests to the API server. kube's own `Api` hides the answer's status code, which tells created from updated.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use gitops_core::{Error, ErrorKind, Result};
pub(crate) use gitops_kube::cluster::path_segment as segment;
use gitops_kube::cluster::{from_answer, from_kube};
use http::StatusCode;
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tokio::time::Instant;

use super::FluxRef;
use crate::FluxKind;

/// An answer that is a success.
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn value(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::unavailable("the API server's answer cannot be read").with_source(error)
        })
    }
}

/// How requests are made.
#[derive(Clone)]
pub(crate) struct Requests {
    client: Client,
    deadline: Duration,
    retry_for: Duration,
}

/// Tries of what may be done twice, while the server cannot be reached or turns it away.
pub(crate) struct Tries {
    started: Instant,
    retry_for: Duration,
    delays: ExponentialBackoff,
}

impl Tries {
    /// Waits until the next one. The error comes back when it does not pass by itself, or not in time.
    pub(crate) async fn pause(&mut self, error: Error) -> Result<()> {
        let delay = match self.delays.next() {
            Some(delay) if error.is_retryable() => delay,
            _ => return Err(error),
        };
        let pause = error.retry_after().unwrap_or_default().max(delay);
        if self.started.elapsed().saturating_add(pause) > self.retry_for {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// One request, which can be sent again.
pub(crate) struct Request<'a> {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) body: Vec<u8>,
    /// The kind that the path is about: a 404 on the path itself means that it is not installed.
    pub(crate) kind: Option<FluxKind>,
}

impl Request<'_> {
    pub(crate) fn get(kind: FluxKind, path: String) -> Self {
        Self {
            method: http::Method::GET,
            path,
            content_type: None,
            body: Vec::new(),
            kind: Some(kind),
        }
    }
}

impl Requests {
    pub(crate) fn new(client: Client, deadline: Duration, retry_for: Duration) -> Self {
        Self {
            client,
            deadline,
            retry_for,
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends it once.
    pub(crate) async fn once(&self, request: &Request<'_>) -> Result<Answer> {
        let answer = self.answer(request);
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::timeout(format!(
                "the API server did not answer within {:?}",
                self.deadline
            ))),
        }
    }

    /// Sends what may be sent twice, again while the server cannot be reached or turns it away.
    pub(crate) async fn again(&self, request: &Request<'_>) -> Result<Answer> {
        let mut tries = self.tries();
        loop {
            match self.once(request).await {
                Err(error) => tries.pause(error).await?,
                answer => return answer,
            }
        }
    }

    /// The tries of one call, from now on.
    pub(crate) fn tries(&self) -> Tries {
        Tries {
            started: Instant::now(),
            retry_for: self.retry_for,
            delays: ExponentialBuilder::default()
                .with_jitter()
                .with_min_delay(Duration::from_millis(100))
                .with_max_delay(Duration::from_secs(5))
                .without_max_times()
                .build(),
        }
    }

    async fn answer(&self, request: &Request<'_>) -> Result<Answer> {
        let mut builder = http::Request::builder()
            .method(request.method.clone())
            .uri(&request.path)
            .header(http::header::ACCEPT, "application/json");
        if let Some(content_type) = request.content_type {
            builder = builder.header(http::header::CONTENT_TYPE, content_type);
        }
        let built = builder
            .body(Body::from(request.body.clone()))
            .map_err(|error| Error::invalid("the request cannot be built").with_source(error))?;
        let response = self.client.send(built).await.map_err(from_kube)?;
        let (parts, body) = response.into_parts();
        let body = body.collect_bytes().await.map_err(from_kube)?;
        if parts.status.is_success() {
            return Ok(Answer {
                code: parts.status,
                body: body.to_vec(),
            });
        }
        if parts.status == StatusCode::NOT_FOUND
            && let Some(kind) = request.kind
            && !is_status(&body)
        {
            return Err(not_installed(kind));
        }
        Err(from_answer(parts.status, &parts.headers, &body))
    }
}

/// A `Status` of the API server, and not what it says of a path that it does not know.
fn is_status(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|body| body["kind"] == "Status")
}

pub(crate) fn not_installed(kind: FluxKind) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!(
            "the cluster does not know the kind {kind} ({}/{}): is Flux installed? `flux install` installs its definitions",
            kind.group(),
            kind.version(),
        ),
    )
}

/// The path of a kind's objects, in a namespace or everywhere.
pub(crate) fn collection(kind: FluxKind, namespace: Option<&str>) -> Result<String> {
    let mut path = format!("/apis/{}/{}", kind.group(), kind.version());
    if let Some(namespace) = namespace {
        path.push_str("/namespaces/");
        path.push_str(segment(namespace)?);
    }
    path.push('/');
    path.push_str(kind.plural());
    Ok(path)
}

/// The path of an object.
pub(crate) fn object(object: &FluxRef) -> Result<String> {
    let mut path = collection(object.kind, Some(&object.namespace))?;
    path.push('/');
    path.push_str(segment(&object.name)?);
    Ok(path)
}

/// A path with a query.
pub(crate) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    format!("{path}?{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        let app = FluxRef::new(FluxKind::Kustomization, "flux-system", "app");
        assert_eq!(
            object(&app).unwrap(),
            "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/app"
        );
        assert_eq!(
            collection(FluxKind::HelmRelease, None).unwrap(),
            "/apis/helm.toolkit.fluxcd.io/v2/helmreleases"
        );
    }

    #[test]
    fn no_name_leads_to_another_path() {
        for name in [
            "", ".", "..", "a/b", "../x", "a%2fb", "a?b", "a#b", "a b", "a\n",
        ] {
            for (namespace, name) in [("flux-system", name), (name, "app")] {
                let found = object(&FluxRef::new(FluxKind::Kustomization, namespace, name));
                assert_eq!(
                    found.unwrap_err().kind(),
                    ErrorKind::InvalidInput,
                    "{name:?}"
                );
            }
        }
    }

    #[test]
    fn only_a_status_is_about_an_object() {
        assert!(is_status(br#"{"kind":"Status","code":404}"#));
        assert!(!is_status(b"404 page not found\n"));
        assert!(!is_status(b"{}"));
    }
}
