//! Azure DevOps: learn.microsoft.com, "Service hooks events", `git.push`.

use serde::Deserialize;

use crate::application::SourceKind;
use crate::error::Result;
use crate::webhook::Provider;
use crate::webhook::message::{Message, Moved, Reference, Text, read};

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Payload {
    event_type: Text,
    resource: Resource,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Resource {
    ref_updates: Vec<Update>,
    repository: Repository,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Update {
    name: Text,
    old_object_id: Text,
    new_object_id: Text,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Repository {
    remote_url: Text,
    default_branch: Text,
}

pub(super) fn parse(body: &[u8]) -> Result<Message> {
    let payload: Payload = read(Provider::AzureDevOps, body)?;
    let kind = payload.event_type.unwrap_or_default();
    if kind != "git.push" {
        return Ok(Message::Other(kind));
    }
    let repository = payload.resource.repository;
    let ssh = repository.remote_url.as_deref().and_then(ssh_url);
    let default_branch = repository.default_branch.map(|name| {
        let branch = name.strip_prefix("refs/heads/").map(ToOwned::to_owned);
        branch.unwrap_or(name)
    });
    let reference = |update: Update| Reference {
        name: update.name,
        revision: update.new_object_id,
        previous: update.old_object_id,
        changed_paths: None,
    };
    Ok(Message::Moved(vec![Moved {
        kind: SourceKind::Git,
        urls: repository.remote_url.into_iter().chain(ssh).collect(),
        default_branch,
        references: payload
            .resource
            .ref_updates
            .into_iter()
            .map(reference)
            .collect(),
    }]))
}

/// The form for SSH, which is on another host: `https://dev.azure.com/ORG/PROJECT/_git/REPO`.
fn ssh_url(remote: &str) -> Option<String> {
    let (_, rest) = remote.split_once("://")?;
    let (authority, path) = rest.split_once('/')?;
    let host = authority.rsplit('@').next()?;
    let (project, repository) = path.split_once("/_git/")?;
    (host == "dev.azure.com").then(|| format!("git@ssh.dev.azure.com:v3/{project}/{repository}"))
}
