//! Who sends webhooks, and how each proves that it is the one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::Sha256;

use crate::error::{Error, Result};
use crate::secret::SecretString;

/// Who sends, which decides how a message is verified and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// Gitea, Forgejo and what is compatible: `push`, `create`, `delete`, and `package` for containers (`X-Gitea-Signature`: the HMAC-SHA-256 of the body, in hex). Tested
    /// with Gitea 1.25.
    Gitea,
    /// GitHub: `push`, and `package` or `registry_package` for containers on ghcr.io (`X-Hub-Signature-256`).
    GitHub,
    /// GitLab: pushes of branches and tags, of projects and of the system (`X-Gitlab-Token`: the secret itself, so use HTTPS).
    GitLab,
    /// Bitbucket Cloud: `repo:push` (`X-Hub-Signature`).
    BitbucketCloud,
    /// Bitbucket Data Center: `repo:refs_changed` (`X-Hub-Signature`).
    BitbucketServer,
    /// Azure DevOps: the service hook `git.push`. It signs nothing; the secret is `user:password` of its basic authentication.
    AzureDevOps,
    /// Notifications of the CNCF Distribution registry, and of Azure Container Registry. The secret is the value of the `Authorization` header that its configuration
    /// adds, with or without `Bearer`.
    Distribution,
    /// Harbor, `PUSH_ARTIFACT` in its default format. The secret is the "auth header" of the webhook, with or without `Bearer`.
    Harbor,
    /// Docker Hub. It authenticates in no way: the secret is the last segment of the path that it posts to, so keep paths out of logs.
    DockerHub,
    /// Quay. As for [`DockerHub`](Self::DockerHub), the secret is the last segment of the path.
    Quay,
}

impl Provider {
    /// Its name in [`RevisionEvent::teller`](crate::source::RevisionEvent::teller), logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gitea => "gitea",
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::BitbucketCloud => "bitbucket-cloud",
            Self::BitbucketServer => "bitbucket-server",
            Self::AzureDevOps => "azure-devops",
            Self::Distribution => "distribution",
            Self::Harbor => "harbor",
            Self::DockerHub => "docker-hub",
            Self::Quay => "quay",
        }
    }

    /// The headers that name the kind of event, the first that is there.
    fn event_headers(self) -> &'static [&'static str] {
        match self {
            Self::Gitea => &["x-gitea-event", "x-forgejo-event"],
            Self::GitHub => &["x-github-event"],
            Self::GitLab => &["x-gitlab-event"],
            Self::BitbucketCloud | Self::BitbucketServer => &["x-event-key"],
            _ => &[],
        }
    }

    fn delivery_headers(self) -> &'static [&'static str] {
        match self {
            Self::Gitea => &["x-gitea-delivery", "x-forgejo-delivery"],
            Self::GitHub => &["x-github-delivery"],
            Self::GitLab => &["idempotency-key", "x-gitlab-event-uuid"],
            Self::BitbucketCloud => &["x-request-uuid"],
            Self::BitbucketServer => &["x-request-id"],
            _ => &[],
        }
    }

    /// The kind of event, as the headers name it.
    pub(super) fn event(self, headers: &HeaderMap) -> Option<&str> {
        first(headers, self.event_headers())
    }

    /// The name of the message: of bounded length and printable, for who sends it is not known yet.
    pub(super) fn delivery(self, headers: &HeaderMap) -> Option<&str> {
        first(headers, self.delivery_headers()).filter(|name| name.len() <= 128)
    }

    /// Whether the body is covered by the proof. Where it is not, nothing but the sender's word tells two equal messages apart.
    pub(super) fn signs_body(self) -> bool {
        matches!(
            self,
            Self::Gitea | Self::GitHub | Self::BitbucketCloud | Self::BitbucketServer
        )
    }

    /// What the sender shows to prove who it is, found without its body.
    pub(super) fn proof(self, path: &str, headers: &HeaderMap) -> Result<Proof> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let shown = match self {
            Self::Gitea => text("x-gitea-signature").or_else(|| text("x-forgejo-signature")),
            Self::GitHub => text("x-hub-signature-256").and_then(|v| v.strip_prefix("sha256=")),
            Self::BitbucketCloud | Self::BitbucketServer => {
                text("x-hub-signature").and_then(|value| value.strip_prefix("sha256="))
            }
            Self::GitLab => text("x-gitlab-token"),
            Self::AzureDevOps => text(AUTHORIZATION.as_str()).and_then(|v| scheme(v, "basic")),
            Self::Distribution | Self::Harbor => {
                text(AUTHORIZATION.as_str()).map(|value| scheme(value, "bearer").unwrap_or(value))
            }
            Self::DockerHub | Self::Quay => path.rsplit('/').next(),
        };
        let proof = shown.and_then(|shown| match self {
            _ if self.signs_body() => hex::decode(shown).ok().map(Proof::Signature),
            Self::AzureDevOps => STANDARD.decode(shown).ok().map(Proof::Secret),
            _ => Some(Proof::Secret(shown.as_bytes().to_vec())),
        });
        proof.ok_or_else(|| Error::unauthenticated(format!("{self} webhook: it proves nothing")))
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn first<'a>(headers: &'a HeaderMap, names: &[&str]) -> Option<&'a str> {
    names
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
}

/// What follows the name of an authentication scheme.
fn scheme<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let (scheme, rest) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(name).then(|| rest.trim_start())
}

/// What a sender shows.
pub(super) enum Proof {
    /// The HMAC-SHA-256 of the body.
    Signature(Vec<u8>),
    /// The secret itself.
    Secret(Vec<u8>),
}

impl Proof {
    /// Whether it was made with one of `secrets`. All are tried, and each in constant time.
    pub(super) fn holds(&self, secrets: &[SecretString], body: &[u8]) -> bool {
        secrets.iter().fold(false, |holds, secret| {
            holds | self.holds_for(secret.expose().as_bytes(), body)
        })
    }

    fn holds_for(&self, secret: &[u8], body: &[u8]) -> bool {
        let mac = |message: &[u8]| {
            // HMAC takes keys of any length.
            Hmac::<Sha256>::new_from_slice(secret).map(|mac| mac.chain_update(message))
        };
        match self {
            Self::Signature(shown) => mac(body).is_ok_and(|mac| mac.verify_slice(shown).is_ok()),
            // Compared by their MACs, so that neither length nor first difference shows in the time.
            Self::Secret(shown) => match (mac(shown), mac(secret)) {
                (Ok(shown), Ok(own)) => shown.verify(&own.finalize().into_bytes()).is_ok(),
                _ => false,
            },
        }
    }
}
