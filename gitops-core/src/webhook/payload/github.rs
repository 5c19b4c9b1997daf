//! GitHub: docs.github.com, "Webhook events and payloads".

use serde::Deserialize;

use crate::application::SourceKind;
use crate::error::Result;
use crate::webhook::Provider;
use crate::webhook::message::{Message, Moved, Reference, Text, read};

/// A push names so many commits at most.
const MAX_COMMITS: usize = 2048;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Push {
    r#ref: Text,
    before: Text,
    after: Text,
    created: bool,
    deleted: bool,
    // A push that went back removed commits that it does not name: unless said otherwise, it may have.
    forced: Option<bool>,
    head_commit: Option<Commit>,
    commits: Option<Vec<Commit>>,
    repository: Repository,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Commit {
    id: Text,
    added: Option<Vec<String>>,
    modified: Option<Vec<String>>,
    removed: Option<Vec<String>>,
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
    #[serde(alias = "registry_package")]
    package: Package,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Package {
    package_type: Text,
    name: Text,
    namespace: Text,
    package_version: Version,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Version {
    version: Text,
    package_url: Text,
    container_metadata: Option<Container>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Container {
    tag: Option<Tag>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tag {
    name: Text,
    digest: Text,
}

pub(super) fn parse(event: &str, body: &[u8]) -> Result<Message> {
    match event {
        "push" => {
            let mut push: Push = read(Provider::GitHub, body)?;
            let changed_paths = changed_paths(&mut push);
            let tagged = (push.r#ref.as_deref()).is_some_and(|name| name.starts_with("refs/tags/"));
            // Of an annotated tag `after` is the tag itself.
            let commit = push.head_commit.and_then(|commit| commit.id);
            Ok(Message::Moved(vec![Moved {
                kind: SourceKind::Git,
                urls: [
                    push.repository.clone_url,
                    push.repository.ssh_url,
                    push.repository.html_url,
                ]
                .into_iter()
                .flatten()
                .collect(),
                default_branch: push.repository.default_branch,
                references: vec![Reference {
                    name: push.r#ref,
                    revision: commit.filter(|_| tagged).or(push.after),
                    previous: push.before,
                    changed_paths,
                }],
            }]))
        }
        "package" | "registry_package" => {
            let PackageEvent { package } = read(Provider::GitHub, body)?;
            let kind = package.package_type.as_deref().unwrap_or_default();
            if !kind.eq_ignore_ascii_case("container") {
                return Ok(Message::Other(event.into()));
            }
            Ok(Message::Moved(vec![container(package)]))
        }
        other => Ok(Message::Other(other.into())),
    }
}

/// The files of all commits, where all are named.
fn changed_paths(push: &mut Push) -> Option<Vec<String>> {
    let commits = push.commits.take()?;
    let whole = !push.created
        && !push.deleted
        && push.forced == Some(false)
        && !commits.is_empty()
        && commits.len() < MAX_COMMITS;
    if !whole {
        return None;
    }
    let mut paths = Vec::new();
    for commit in commits {
        paths.extend(commit.added?);
        paths.extend(commit.modified?);
        paths.extend(commit.removed?);
    }
    paths.sort_unstable();
    paths.dedup();
    Some(paths)
}

fn container(package: Package) -> Moved {
    let version = package.package_version;
    // `ghcr.io/owner/name:tag`
    let named = version.package_url.as_deref().and_then(|url| {
        let repository = url.split('@').next()?;
        let (path, last) = repository.rsplit_once('/')?;
        Some(format!("oci://{path}/{}", last.split(':').next()?))
    });
    let url = named.or_else(|| {
        Some(format!(
            "oci://ghcr.io/{}/{}",
            package.namespace?, package.name?
        ))
    });
    let tag = version
        .container_metadata
        .and_then(|container| container.tag);
    let (name, digest) = tag.map(|tag| (tag.name, tag.digest)).unwrap_or_default();
    Moved {
        kind: SourceKind::Oci,
        urls: url.into_iter().collect(),
        default_branch: None,
        references: vec![Reference {
            name: name.filter(|name| !name.is_empty()),
            revision: digest.or(version.version),
            ..Reference::default()
        }],
    }
}
