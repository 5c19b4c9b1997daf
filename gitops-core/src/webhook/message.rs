//! What a message says, before it becomes events.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Provider;
use crate::application::SourceKind;
use crate::error::{Error, Result};
use crate::source::RevisionEvent;

/// Of so many references that moved at once each is told; of more, that the repository changed.
const MAX_REFERENCES: usize = 64;
/// So many paths are told; more are not known.
const MAX_PATHS: usize = 10_000;

/// What a payload says.
pub(super) enum Message {
    /// Something that moves no reference: its kind.
    Other(String),
    /// Repositories, and what moved in them.
    Moved(Vec<Moved>),
}

/// One repository, and its references that moved.
#[derive(Default)]
pub(super) struct Moved {
    pub(super) kind: SourceKind,
    /// As the payload names them; empty ones do not count.
    pub(super) urls: Vec<String>,
    pub(super) default_branch: Option<String>,
    pub(super) references: Vec<Reference>,
}

/// A reference that moved.
#[derive(Default)]
pub(super) struct Reference {
    /// In full.
    pub(super) name: Option<String>,
    pub(super) revision: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) changed_paths: Option<Vec<String>>,
}

impl Moved {
    pub(super) fn into_events(
        self,
        provider: Provider,
        delivery: Option<&str>,
    ) -> Result<Vec<RevisionEvent>> {
        let mut urls: Vec<String> = self
            .urls
            .into_iter()
            .filter(|url| !url.is_empty())
            .collect();
        urls.dedup();
        if urls.is_empty() {
            return Err(malformed(provider, "it names no repository"));
        }
        let mut references = self.references;
        if references.len() > MAX_REFERENCES {
            references = vec![Reference::default()];
        }
        let event = |reference: Reference| RevisionEvent {
            kind: self.kind,
            urls: urls.clone(),
            default_branch: match (&self.default_branch, &reference.name) {
                (Some(branch), Some(name)) => {
                    Some(name.strip_prefix("refs/heads/") == Some(branch.as_str()))
                }
                _ => None,
            },
            reference: reference.name,
            revision: reference.revision.and_then(existing),
            previous: reference.previous.and_then(existing),
            changed_paths: reference
                .changed_paths
                .filter(|paths| paths.len() <= MAX_PATHS),
            teller: provider.as_str().into(),
            delivery: delivery.map(Into::into),
        };
        Ok(references.into_iter().map(event).collect())
    }
}

/// A commit, unless it is the name of none: zeros.
fn existing(commit: String) -> Option<String> {
    Some(commit).filter(|commit| commit.bytes().any(|byte| byte != b'0'))
}

pub(super) fn malformed(provider: Provider, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{provider} webhook: {why}"))
}

/// A payload; what is not needed is not read, and what is missing is empty.
pub(super) fn read<T: DeserializeOwned>(provider: Provider, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        // Its text may quote the body.
        malformed(
            provider,
            format_args!(
                "line {} column {} is not what it should be",
                error.line(),
                error.column()
            ),
        )
    })
}

/// A text, or nothing for `null`.
pub(super) type Text = Option<String>;

/// Many links, of which one field counts.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Link {
    pub(super) href: Text,
}
