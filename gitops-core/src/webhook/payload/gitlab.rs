//! GitLab: docs.gitlab.com, "Webhook events" and "System hooks".

use serde::Deserialize;

use crate::application::SourceKind;
use crate::error::Result;
use crate::webhook::Provider;
use crate::webhook::message::{Message, Moved, Reference, Text, read};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Payload {
    object_kind: Text,
    event_name: Text,
    #[serde(flatten)]
    change: Change,
    checkout_sha: Text,
    changes: Option<Vec<Change>>,
    project: Project,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Change {
    r#ref: Text,
    before: Text,
    after: Text,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Project {
    git_http_url: Text,
    git_ssh_url: Text,
    web_url: Text,
    default_branch: Text,
}

pub(super) fn parse(body: &[u8]) -> Result<Message> {
    let payload: Payload = read(Provider::GitLab, body)?;
    let kind = payload
        .object_kind
        .or(payload.event_name)
        .unwrap_or_default();
    let reference = |change: Change, commit: Text| Reference {
        name: change.r#ref,
        // Of an annotated tag `after` is the tag itself. Which files changed is not told: 20 commits are named at most, and pushes that go back look like any other.
        revision: commit.or(change.after),
        previous: change.before,
        changed_paths: None,
    };
    let references = match kind.as_str() {
        "push" | "tag_push" => vec![reference(payload.change, payload.checkout_sha)],
        "repository_update" => payload
            .changes
            .unwrap_or_default()
            .into_iter()
            .map(|change| reference(change, None))
            .collect(),
        _ => return Ok(Message::Other(kind)),
    };
    let project = payload.project;
    Ok(Message::Moved(vec![Moved {
        kind: SourceKind::Git,
        urls: [project.git_http_url, project.git_ssh_url, project.web_url]
            .into_iter()
            .flatten()
            .collect(),
        default_branch: project.default_branch,
        references,
    }]))
}
