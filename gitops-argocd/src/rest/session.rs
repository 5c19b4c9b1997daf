//! The token that requests carry.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gitops_core::credential::{Credential, CredentialProvider, CredentialRequest};
use gitops_core::{Error, Result, SecretString};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, SET_COOKIE};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

/// A session is renewed this long before it ends, or after four fifths of it when it is short.
const MARGIN: Duration = Duration::from_secs(300);

/// A token, and what is known of its end.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) secret: SecretString,
    renew_at: Option<Timestamp>,
}

/// Claims of a token, read without trusting them: only to know when to ask for a new one.
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    iat: Option<f64>,
}

impl Token {
    pub(super) fn new(secret: SecretString) -> Self {
        let renew_at = renewal(secret.expose());
        Self { secret, renew_at }
    }

    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|at| at <= Timestamp::now())
    }
}

fn renewal(token: &str) -> Option<Timestamp> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let ends = claims.exp?;
    let lasts = claims.iat.map_or(f64::INFINITY, |begins| ends - begins);
    let margin = MARGIN.as_secs_f64().min(lasts.max(0.0) / 5.0);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a time in seconds; out of range is an error below"
    )]
    Timestamp::from_second((ends - margin) as i64).ok()
}

/// The token in use, and where the next one comes from.
pub(super) struct Session {
    provider: Option<Arc<dyn CredentialProvider>>,
    request: CredentialRequest,
    token: Mutex<Option<Token>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(provider: Option<Arc<dyn CredentialProvider>>, server: &Url) -> Self {
        let mut request = CredentialRequest::new(
            server.as_str(),
            server.scheme(),
            server.host_str().unwrap_or_default(),
        );
        request.port = server.port();
        Self {
            provider,
            request,
            token: Mutex::default(),
        }
    }

    /// The token for the next request; `None` calls as nobody. With `refused`, the token that was refused, another one is got — once for all callers.
    ///
    /// # Errors
    /// `Unauthenticated` when the provider has nothing else to offer, and whatever the provider and `login` say.
    pub(super) async fn token<F, R>(
        &self,
        refused: Option<&SecretString>,
        login: F,
    ) -> Result<Option<SecretString>>
    where
        F: FnOnce(String, SecretString) -> R,
        R: Future<Output = Result<SecretString>>,
    {
        let Some(provider) = &self.provider else {
            return Ok(None);
        };
        let mut token = self.token.lock().await;
        if let Some(token) = &*token
            && !token.is_due()
            && refused != Some(&token.secret)
        {
            return Ok(Some(token.secret.clone()));
        }
        let attempt = u32::from(refused.is_some());
        let mut request = self.request.clone();
        request.attempt = attempt;
        let fresh = match provider.credential(&request).await? {
            Some(Credential::Bearer(secret)) => Token::new(secret),
            Some(Credential::Basic { username, password }) => {
                Token::new(login(username, password).await?)
            }
            Some(_) => {
                return Err(Error::invalid(
                    "Argo CD takes a token, or a user and password",
                ));
            }
            None if attempt > 0 => {
                return Err(Error::unauthenticated("the token was refused"));
            }
            None => return Ok(None),
        };
        let secret = fresh.secret.clone();
        *token = Some(fresh);
        Ok(Some(secret))
    }

    /// Does not use a token again.
    pub(super) async fn forget(&self, used: &SecretString) {
        self.token
            .lock()
            .await
            .take_if(|token| token.secret == *used);
    }

    /// Takes over a token that the server sent in place of one that is about to end (`Set-Cookie`, argo-cd 3.2 util/session).
    pub(super) async fn renewed(&self, headers: &HeaderMap, sent: Option<&SecretString>) {
        let Some(sent) = sent else { return };
        let fresh = headers.get_all(SET_COOKIE).iter().find_map(|cookie| {
            let value = cookie.to_str().ok()?.strip_prefix("argocd.token=")?;
            let value = value.split(';').next()?.trim_matches('"');
            (!value.is_empty()).then(|| value.to_owned())
        });
        if let Some(fresh) = fresh {
            let mut token = self.token.lock().await;
            // Somebody else may have got another one meanwhile.
            if token.as_ref().is_some_and(|token| token.secret == *sent) {
                *token = Some(Token::new(fresh.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn renewal_is_before_the_end() {
        for (claims, wanted) in [
            (r#"{"iat":0,"exp":86400}"#, Some(86_100)),
            (r#"{"iat":0,"exp":100}"#, Some(80)),
            (r#"{"exp":86400}"#, Some(86_100)),
            (r#"{"iat":100,"exp":50}"#, Some(50)),
            (r#"{"iat":100}"#, None),
            (r#"{"exp":1e300}"#, None),
            ("no json", None),
        ] {
            let at = renewal(&token(claims)).map(Timestamp::as_second);
            assert_eq!(at, wanted, "{claims}");
        }
        assert_eq!(renewal("opaque"), None);
        assert_eq!(renewal(""), None);
    }
}
