//! One call: path, query, body; token, limits, retries.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use gitops_core::application::AppRef;
use gitops_core::{Error, ErrorKind, Result, SecretString};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderValue, SET_COOKIE};
use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use url::Url;

use super::ArgoCd;
use super::answer::{checked, decode, json_body, never_sent, unreachable};

/// The cookie of a browser's session (argo-cd 3.2, `common`).
const COOKIE_NAME: &str = "argocd.token";

/// Asks the controller to compare an application anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refresh {
    /// With the manifests that are cached, if the revision is the same.
    Normal,
    /// With manifests that are rendered anew.
    Hard,
}

impl Refresh {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Hard => "hard",
        }
    }
}

/// A part of a path with everything escaped, as the API server wants it of URLs of repositories and clusters: it takes a colon for the beginning of a verb
/// (grpc-gateway 1.16), and a plus for a blank (argo-cd 3.2, `bug21955WorkaroundInterceptor`).
fn escaped(part: &str) -> String {
    url::form_urlencoded::byte_serialize(part.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// A request that can be sent again.
pub(super) struct Call<'a> {
    argocd: &'a ArgoCd,
    what: String,
    method: Method,
    below: &'static [&'static str],
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Bytes>,
    timeout: Option<Duration>,
}

impl ArgoCd {
    /// A call of `/api/v1/` and `path`; `what` says for errors what was being done.
    pub(super) fn call<P: Into<String>>(
        &self,
        method: Method,
        path: impl IntoIterator<Item = P>,
        what: impl Into<String>,
    ) -> Call<'_> {
        Call {
            argocd: self,
            what: what.into(),
            method,
            below: &["api", "v1"],
            path: path.into_iter().map(Into::into).collect(),
            query: Vec::new(),
            body: None,
            timeout: Some(self.0.config.timeout),
        }
    }

    /// A `GET`.
    pub(super) fn get_call<P: Into<String>>(
        &self,
        path: impl IntoIterator<Item = P>,
        what: impl Into<String>,
    ) -> Call<'_> {
        self.call(Method::GET, path, what)
    }

    /// The one call that is not below `v1`.
    pub(super) fn version_call(&self, what: &str) -> Call<'_> {
        Call {
            below: &["api"],
            ..self.get_call(["version"], what)
        }
    }

    async fn log_in(&self, username: String, password: SecretString) -> Result<SecretString> {
        #[derive(serde::Deserialize)]
        struct Answer {
            token: SecretString,
        }
        let what = "log in";
        let body = json!({"username": username, "password": password.expose()});
        let call = self.call(Method::POST, ["session"], what).body(&body)?;
        let response = call.send(None).await?;
        let answer: Answer = decode(
            &json_body(response, self.0.config.max_answer, what).await?,
            what,
        )?;
        Ok(answer.token)
    }

    /// The token for the next request, as [`Session::token`](super::session::Session::token) has it, in no more than the time of a request: others wait for it, too.
    async fn token(&self, refused: Option<&SecretString>) -> Result<Option<SecretString>> {
        let login = |user, password| self.log_in(user, password);
        let token = self.0.session.token(refused, login);
        tokio::time::timeout(self.0.config.timeout, token)
            .await
            .unwrap_or_else(|_| Err(Error::timeout("no token in time")))
    }

    /// `/auth/logout` (argo-cd 3.2, `server/logout`), which takes the token as browsers send it. `DELETE /api/v1/session` revokes nothing.
    pub(super) async fn end_session(&self) -> Result<()> {
        let what = "log out";
        let session = &self.0.session;
        let token = self
            .token(None)
            .await?
            .ok_or_else(|| Error::unauthenticated("nobody is logged in").context(what))?;
        let call = Call {
            below: &["auth"],
            ..self.get_call(["logout"], what)
        };
        call.repeated(|| async {
            let response = call.send_accepting(Some(&token), None).await?;
            // It answers with a redirect to its start page, and takes the cookie back. A redirect of anybody else does not.
            let taken = response.headers().get_all(SET_COOKIE).iter().any(|cookie| {
                cookie
                    .as_bytes()
                    .strip_prefix(COOKIE_NAME.as_bytes())
                    .is_some_and(|rest| rest == b"=" || rest.starts_with(b"=;"))
            });
            if response.status().is_redirection() && taken {
                return Ok(());
            }
            checked(response, what).await?;
            Err(Error::integrity("the server did not take the token back").context(what))
        })
        .await?;
        session.forget(&token).await;
        Ok(())
    }
}

impl<'a> Call<'a> {
    /// Adds a parameter.
    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a parameter where there is a value.
    pub(super) fn query_some<V: ToString>(mut self, name: &'static str, value: Option<V>) -> Self {
        if let Some(value) = value {
            self.query.push((name, value.to_string()));
        }
        self
    }

    /// Adds a parameter where it is not empty.
    pub(super) fn query_text(self, name: &'static str, value: &str) -> Self {
        self.query_some(name, (!value.is_empty()).then_some(value))
    }

    /// Adds a parameter for each value.
    pub(super) fn query_each<V: ToString>(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        for value in values {
            self.query.push((name, value.to_string()));
        }
        self
    }

    /// Names the application's project and namespace.
    pub(super) fn of(self, app: &AppRef, project: &str) -> Self {
        self.query_text("appNamespace", &app.namespace)
            .query_text("project", project)
    }

    /// Sets the body.
    pub(super) fn body(mut self, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body).map_err(|error| {
            Error::internal("the request cannot be written")
                .with_source(error)
                .context(self.what.clone())
        })?;
        self.body = Some(body.into());
        Ok(self)
    }

    fn url(&self) -> Result<Url> {
        let mut url = self.argocd.0.base.clone();
        let mut path = url.path().trim_end_matches('/').to_owned();
        for part in self.below {
            path.push('/');
            path.push_str(part);
        }
        for part in &self.path {
            // `.` and `..` would not name a thing but lead elsewhere, and an empty part would name another call.
            if matches!(part.as_str(), "" | "." | "..") {
                return Err(
                    Error::invalid(format!("{part:?} is no name")).context(self.what.clone())
                );
            }
            path.push('/');
            path.push_str(&escaped(part));
        }
        url.set_path(&path);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }

    /// Sends it once, as it is.
    async fn send(&self, token: Option<&SecretString>) -> Result<Response> {
        self.send_accepting(token, None).await
    }

    async fn send_accepting(
        &self,
        token: Option<&SecretString>,
        accept: Option<&'static str>,
    ) -> Result<Response> {
        let inner = &self.argocd.0;
        if let Some(throttle) = &inner.throttle {
            throttle.turn().await;
        }
        let mut request = inner.client.request(self.method.clone(), self.url()?);
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| Error::invalid("the token cannot be sent"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
            if self.below == ["auth"] {
                let mut value = HeaderValue::try_from(format!("{COOKIE_NAME}={}", token.expose()))
                    .map_err(|_| Error::invalid("the token cannot be sent"))?;
                value.set_sensitive(true);
                request = request.header(COOKIE, value);
            }
        }
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        if self.method != Method::GET {
            // Exactly this, for every method that is not GET: anything else is 415 (argo-cd 3.2, `server.enableXSSProtection` and its content types).
            request = request
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(self.body.clone().unwrap_or_default());
        }
        request
            .send()
            .await
            .map_err(|error| unreachable(error, &self.what))
    }

    /// Sends it with a token; once more with a new one where that was refused.
    async fn send_as_somebody(&self, accept: Option<&'static str>) -> Result<Response> {
        let session = &self.argocd.0.session;
        let token = self.argocd.token(None).await?;
        let response = self.send_accepting(token.as_ref(), accept).await?;
        let (response, token) = if response.status() == 401 && token.is_some() {
            let fresh = self.argocd.token(token.as_ref()).await;
            let fresh = fresh.map_err(|error| error.context(self.what.clone()))?;
            (self.send_accepting(fresh.as_ref(), accept).await?, fresh)
        } else {
            (response, token)
        };
        session.renewed(response.headers(), token.as_ref()).await;
        Ok(response)
    }

    /// Repeats `attempt` as the configuration says.
    async fn repeated<T, F: Future<Output = Result<T>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T> {
        let Some(options) = self.argocd.0.config.retry else {
            return attempt().await;
        };
        let begun = Instant::now();
        let mut delays = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(options.min_delay)
            .with_max_delay(options.max_delay.max(options.min_delay))
            .without_max_times()
            .build();
        loop {
            let error = match attempt().await {
                Err(error) if self.may_repeat(&error) => error,
                result => return result,
            };
            let delay = delays.next().unwrap_or(options.total);
            let delay = error.retry_after().map_or(delay, |after| after.max(delay));
            if begun.elapsed().saturating_add(delay) > options.total {
                return Err(error);
            }
            tracing::debug!(%error, ?delay, "trying again");
            tokio::time::sleep(delay).await;
        }
    }

    fn may_repeat(&self, error: &Error) -> bool {
        // Another operation may run for long: whoever syncs decides about that.
        error.is_retryable()
            && error.kind() != ErrorKind::OperationInProgress
            && (self.method == Method::GET || never_sent(error))
    }

    /// The body of the answer.
    pub(super) async fn bytes(&self) -> Result<Bytes> {
        self.repeated(|| async {
            let response = self.send_as_somebody(None).await?;
            json_body(response, self.argocd.0.config.max_answer, &self.what).await
        })
        .await
    }

    /// The answer.
    pub(super) async fn json<T: DeserializeOwned>(&self) -> Result<T> {
        // An answer that was cut is asked for again.
        self.repeated(|| async {
            let response = self.send_as_somebody(None).await?;
            let body = json_body(response, self.argocd.0.config.max_answer, &self.what).await?;
            decode(&body, &self.what)
        })
        .await
    }

    /// Only whether it went well.
    pub(super) async fn done(&self) -> Result<()> {
        self.bytes().await.map(drop)
    }

    /// The answer as a stream of its parts, without a limit on the whole time.
    pub(super) async fn stream(mut self) -> Result<(Response, String)> {
        self.timeout = None;
        let response = self
            .repeated(|| async {
                let sent = self.send_as_somebody(Some("text/event-stream"));
                // The answer's head has a time limit; what follows has not.
                let response = tokio::time::timeout(self.argocd.0.config.timeout, sent)
                    .await
                    .map_err(|_| {
                        Error::timeout("no answer in time").context(self.what.clone())
                    })??;
                checked(response, &self.what).await
            })
            .await?;
        Ok((response, self.what))
    }
}
