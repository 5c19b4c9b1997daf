//! Revisions that do not move.

use async_trait::async_trait;

use super::{Context, DestinationPattern, Finding, Validator};
use crate::application::{Application, Source, SourceKind};
use crate::error::Result;

/// Finds sources whose target revision may mean something else tomorrow. Code: `revision-not-pinned`.
///
/// Pinned are: a full SHA of a commit; a digest (`sha256:…`) for OCI; and, unless [`only_commits`](Self::only_commits) is asked for, a tag: written in full (`refs/tags/…`), or a whole
/// semantic version (`v1.2.3`), which for charts is the only form there is. A branch may be named `v1.2.3` as well; who has people that do such things asks for commits. Not pinned
/// are branches, `HEAD`, none, short SHAs, and ranges.
#[derive(Clone, Debug, Default)]
pub struct PinnedRevision {
    destinations: Option<Vec<DestinationPattern>>,
    only_commits: bool,
}

impl PinnedRevision {
    /// For every application.
    pub fn everywhere() -> Self {
        Self::default()
    }

    /// For applications that go to one of these destinations; a `!` in them has no meaning here.
    pub fn at(destinations: impl IntoIterator<Item = DestinationPattern>) -> Self {
        Self {
            destinations: Some(destinations.into_iter().collect()),
            only_commits: false,
        }
    }

    /// Tags of Git are not enough. (Charts have nothing but versions.)
    #[must_use]
    pub fn only_commits(mut self, only: bool) -> Self {
        self.only_commits = only;
        self
    }

    fn is_pinned(&self, source: &Source) -> bool {
        let Some(revision) = &source.target_revision else {
            return false;
        };
        match source.kind {
            SourceKind::Git => {
                is_hex(revision, &[40, 64])
                    || (!self.only_commits
                        && (revision
                            .strip_prefix("refs/tags/")
                            .is_some_and(|tag| !tag.is_empty())
                            || is_version(revision)))
            }
            SourceKind::Helm => is_version(revision),
            SourceKind::Oci => {
                revision
                    .strip_prefix("sha256:")
                    .is_some_and(|hex| is_hex(hex, &[64]))
                    || (!self.only_commits && is_version(revision))
            }
        }
    }
}

#[async_trait]
impl Validator for PinnedRevision {
    fn name(&self) -> &str {
        "pinned-revision"
    }

    async fn validate(&self, app: &Application, _: &Context<'_>) -> Result<Vec<Finding>> {
        if let Some(destinations) = &self.destinations
            && !destinations.iter().any(|pattern| pattern.covers(app))
        {
            return Ok(Vec::new());
        }
        let dry = app.hydrate.iter().map(|hydrate| &hydrate.dry_source);
        let dry = dry.map(|source| (source, "/hydrate/drySource/targetRevision".to_owned()));
        let sources = app.sources.iter().enumerate();
        let sources = sources.map(|(at, source)| (source, format!("/sources/{at}/targetRevision")));
        Ok(dry
            .chain(sources)
            .filter(|(source, _)| !self.is_pinned(source))
            .map(|(source, pointer)| {
                let revision = source.target_revision.as_deref().unwrap_or("HEAD");
                let wanted = match (source.kind, self.only_commits) {
                    (SourceKind::Git, true) => "a full SHA",
                    (SourceKind::Git, false) => "a full SHA or a tag",
                    (SourceKind::Helm, _) => "a version",
                    (SourceKind::Oci, true) => "a digest",
                    (SourceKind::Oci, false) => "a digest or a version",
                };
                let message = format!("{revision:?} may move; {wanted} is demanded here");
                Finding::error("revision-not-pinned", message).at(pointer)
            })
            .collect())
    }
}

fn is_hex(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A whole semantic version (semver.org 2.0), with or without `v`.
fn is_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match text.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (text, None),
    };
    let words = |text: &str| {
        text.split('.').all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    let numbers: Vec<_> = core.split('.').collect();
    numbers.len() == 3
        && numbers.iter().all(|n| {
            !n.is_empty()
                && n.bytes().all(|b| b.is_ascii_digit())
                && (n.len() == 1 || !n.starts_with('0'))
        })
        && pre.is_none_or(words)
        && build.is_none_or(words)
}
