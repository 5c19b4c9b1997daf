//! Bitbucket: Atlassian's "Event payloads" for Cloud and for Data Center.

use serde::Deserialize;

use crate::application::SourceKind;
use crate::error::Result;
use crate::webhook::Provider;
use crate::webhook::message::{Link, Message, Moved, Reference, Text, read};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cloud {
    push: Push,
    repository: CloudRepository,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Push {
    changes: Vec<CloudChange>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CloudChange {
    new: Option<CloudRef>,
    old: Option<CloudRef>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CloudRef {
    r#type: Text,
    name: Text,
    target: Option<Target>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Target {
    hash: Text,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CloudRepository {
    links: CloudLinks,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CloudLinks {
    html: Link,
}

pub(super) fn cloud(event: &str, body: &[u8]) -> Result<Message> {
    if event != "repo:push" {
        return Ok(Message::Other(event.into()));
    }
    let payload: Cloud = read(Provider::BitbucketCloud, body)?;
    let reference = |change: CloudChange| {
        let either = change.new.as_ref().or(change.old.as_ref());
        let name = either.and_then(|of| {
            let name = of.name.as_deref()?;
            Some(match of.r#type.as_deref() {
                Some("tag") => format!("refs/tags/{name}"),
                // A bookmark is a branch's name in Mercurial.
                _ => format!("refs/heads/{name}"),
            })
        });
        let hash = |of: Option<CloudRef>| of?.target?.hash;
        Reference {
            name,
            revision: hash(change.new),
            previous: hash(change.old),
            changed_paths: None,
        }
    };
    Ok(Message::Moved(vec![Moved {
        kind: SourceKind::Git,
        urls: payload.repository.links.html.href.into_iter().collect(),
        default_branch: None,
        references: payload.push.changes.into_iter().map(reference).collect(),
    }]))
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Server {
    changes: Vec<ServerChange>,
    repository: ServerRepository,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ServerChange {
    ref_id: Text,
    r#ref: ServerRef,
    from_hash: Text,
    to_hash: Text,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServerRef {
    id: Text,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServerRepository {
    links: ServerLinks,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServerLinks {
    clone: Vec<Link>,
}

pub(super) fn server(event: &str, body: &[u8]) -> Result<Message> {
    if event != "repo:refs_changed" {
        return Ok(Message::Other(event.into()));
    }
    let payload: Server = read(Provider::BitbucketServer, body)?;
    let reference = |change: ServerChange| Reference {
        name: change.ref_id.or(change.r#ref.id),
        revision: change.to_hash,
        previous: change.from_hash,
        changed_paths: None,
    };
    let links = payload.repository.links.clone;
    Ok(Message::Moved(vec![Moved {
        kind: SourceKind::Git,
        urls: links.into_iter().filter_map(|link| link.href).collect(),
        default_branch: None,
        references: payload.changes.into_iter().map(reference).collect(),
    }]))
}
