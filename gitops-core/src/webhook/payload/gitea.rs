//! Gitea: `modules/structs/hook.go` of code.gitea.io/gitea 1.25.

use serde::Deserialize;

use crate::application::SourceKind;
use crate::error::Result;
use crate::webhook::Provider;
use crate::webhook::message::{Message, Moved, Reference, Text, read};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Payload {
    r#ref: Text,
    ref_type: Text,
    before: Text,
    after: Text,
    sha: Text,
    repository: Repository,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Repository {
    clone_url: Text,
    ssh_url: Text,
    html_url: Text,
    default_branch: Text,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PackageEvent {
    package: Package,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Package {
    r#type: Text,
    name: Text,
    version: Text,
    html_url: Text,
    owner: Owner,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Owner {
    #[serde(alias = "username")]
    login: Text,
}

pub(super) fn parse(event: &str, body: &[u8]) -> Result<Message> {
    match event {
        "push" | "create" | "delete" => {
            let payload: Payload = read(Provider::Gitea, body)?;
            // Which files changed is not told: pushes that go back look like any other, and five commits are named at most.
            let reference = match event {
                "push" => Reference {
                    name: payload.r#ref,
                    revision: payload.after,
                    previous: payload.before,
                    changed_paths: None,
                },
                _ => Reference {
                    name: payload
                        .r#ref
                        .map(|name| full(&name, payload.ref_type.as_deref())),
                    revision: payload.sha,
                    ..Reference::default()
                },
            };
            let repository = payload.repository;
            Ok(Message::Moved(vec![Moved {
                kind: SourceKind::Git,
                urls: [
                    repository.clone_url,
                    repository.ssh_url,
                    repository.html_url,
                ]
                .into_iter()
                .flatten()
                .collect(),
                default_branch: repository.default_branch,
                references: vec![reference],
            }]))
        }
        "package" => {
            let PackageEvent { package } = read(Provider::Gitea, body)?;
            if package.r#type.as_deref() != Some("container") {
                return Ok(Message::Other("package".into()));
            }
            Ok(Message::Moved(vec![container(package)]))
        }
        other => Ok(Message::Other(other.into())),
    }
}

fn full(name: &str, kind: Option<&str>) -> String {
    match kind {
        _ if name.starts_with("refs/") => name.into(),
        Some("tag") => format!("refs/tags/{name}"),
        _ => format!("refs/heads/{name}"),
    }
}

/// The registry is the forge's own host; a version is a tag or a digest.
fn container(package: Package) -> Moved {
    let host = package.html_url.as_deref().and_then(|url| {
        let (_, rest) = url.split_once("://")?;
        rest.split('/').next()
    });
    let url = match (host, &package.owner.login, &package.name) {
        (Some(host), Some(owner), Some(name)) => format!("oci://{host}/{owner}/{name}"),
        _ => String::new(),
    };
    let digest = package.version.clone().filter(|v| v.starts_with("sha256:"));
    Moved {
        kind: SourceKind::Oci,
        urls: vec![url],
        default_branch: None,
        references: vec![Reference {
            name: package.version.filter(|_| digest.is_none()),
            revision: digest,
            ..Reference::default()
        }],
    }
}
