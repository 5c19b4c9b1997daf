//! What each provider sends. Every field may be missing: newer and older versions send others.

mod azure;
mod bitbucket;
mod gitea;
mod github;
mod gitlab;
mod registry;

use super::Provider;
use super::message::Message;
use crate::error::Result;

/// Reads a payload; `event` is what the headers say of it.
pub(super) fn parse(provider: Provider, event: Option<&str>, body: &[u8]) -> Result<Message> {
    let event = event.unwrap_or_default();
    match provider {
        Provider::Gitea => gitea::parse(event, body),
        Provider::GitHub => github::parse(event, body),
        Provider::GitLab => gitlab::parse(body),
        Provider::BitbucketCloud => bitbucket::cloud(event, body),
        Provider::BitbucketServer => bitbucket::server(event, body),
        Provider::AzureDevOps => azure::parse(body),
        Provider::Distribution => registry::distribution(body),
        Provider::Harbor => registry::harbor(body),
        Provider::DockerHub => registry::docker_hub(body),
        Provider::Quay => registry::quay(body),
    }
}
