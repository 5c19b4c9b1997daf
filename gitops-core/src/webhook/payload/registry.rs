//! Registries: "Notifications" of CNCF Distribution 3, "Webhook payload" of Harbor 2, and the payloads of Docker Hub and Quay.

use serde::Deserialize;

use crate::application::SourceKind;
use crate::error::Result;
use crate::webhook::Provider;
use crate::webhook::message::{Message, Moved, Reference, Text, read};

fn pushed(url: String, references: Vec<Reference>) -> Moved {
    Moved {
        kind: SourceKind::Oci,
        urls: vec![url],
        default_branch: None,
        references,
    }
}

fn tagged(tag: Text, digest: Text) -> Reference {
    Reference {
        name: tag.filter(|tag| !tag.is_empty()),
        revision: digest,
        ..Reference::default()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Envelope {
    Many {
        events: Vec<Event>,
    },
    /// Azure Container Registry.
    One(Event),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Event {
    action: Text,
    target: Target,
    request: Request,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Target {
    digest: Text,
    repository: Text,
    tag: Text,
    /// Of blobs and manifests alike; only manifests have a tag or are artifacts.
    media_type: Text,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Request {
    host: Text,
}

pub(super) fn distribution(body: &[u8]) -> Result<Message> {
    let events = match read(Provider::Distribution, body)? {
        Envelope::Many { events } => events,
        Envelope::One(event) => vec![event],
    };
    let mut moved: Vec<Moved> = Vec::new();
    for event in events {
        // A blob alone is no artifact yet.
        let blob = event.target.media_type.as_deref() == Some("application/octet-stream");
        if event.action.as_deref() != Some("push") || blob {
            continue;
        }
        let url = match (event.request.host, event.target.repository) {
            (Some(host), Some(repository)) => format!("oci://{host}/{repository}"),
            _ => String::new(),
        };
        let reference = tagged(event.target.tag, event.target.digest);
        match moved
            .iter_mut()
            .find(|moved| moved.urls.first() == Some(&url))
        {
            Some(moved) => moved.references.push(reference),
            None => moved.push(pushed(url, vec![reference])),
        }
    }
    if moved.is_empty() {
        return Ok(Message::Other("no push of an artifact".into()));
    }
    Ok(Message::Moved(moved))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Harbor {
    r#type: Text,
    event_data: HarborData,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HarborData {
    resources: Vec<HarborResource>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HarborResource {
    digest: Text,
    tag: Text,
    resource_url: Text,
}

pub(super) fn harbor(body: &[u8]) -> Result<Message> {
    let payload: Harbor = read(Provider::Harbor, body)?;
    let kind = payload.r#type.unwrap_or_default();
    if !matches!(kind.as_str(), "PUSH_ARTIFACT" | "PUSHED_ARTIFACT") {
        return Ok(Message::Other(kind));
    }
    let moved = payload.event_data.resources.into_iter().map(|resource| {
        // `host/project/name:tag`, or `…@sha256:…`
        let url = resource.resource_url.unwrap_or_default();
        let name = url.split('@').next().unwrap_or_default();
        let name = match name.rsplit_once('/') {
            Some((path, last)) => {
                format!(
                    "oci://{path}/{}",
                    last.split(':').next().unwrap_or_default()
                )
            }
            None => String::new(),
        };
        // A push without a tag repeats the digest in its place.
        let tag = resource.tag.filter(|tag| !tag.starts_with("sha256:"));
        pushed(name, vec![tagged(tag, resource.digest)])
    });
    Ok(Message::Moved(moved.collect()))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerHub {
    push_data: PushData,
    repository: HubRepository,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PushData {
    tag: Text,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HubRepository {
    repo_name: Text,
}

pub(super) fn docker_hub(body: &[u8]) -> Result<Message> {
    let payload: DockerHub = read(Provider::DockerHub, body)?;
    // Two names of one registry.
    let urls = payload.repository.repo_name.iter().flat_map(|name| {
        ["registry-1.docker.io", "docker.io"].map(|host| format!("oci://{host}/{name}"))
    });
    Ok(Message::Moved(vec![Moved {
        kind: SourceKind::Oci,
        urls: urls.collect(),
        default_branch: None,
        references: vec![tagged(payload.push_data.tag, None)],
    }]))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Quay {
    docker_url: Text,
    updated_tags: Vec<String>,
}

pub(super) fn quay(body: &[u8]) -> Result<Message> {
    let payload: Quay = read(Provider::Quay, body)?;
    let url = payload
        .docker_url
        .map(|url| format!("oci://{url}"))
        .unwrap_or_default();
    let tags = payload.updated_tags.into_iter();
    Ok(Message::Moved(vec![pushed(
        url,
        tags.map(|tag| tagged(Some(tag), None)).collect(),
    )]))
}
