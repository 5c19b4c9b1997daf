//! What a target revision names.

use std::fmt;
use std::str::FromStr;

use gitops_core::{Error, Result};

use crate::range::SemverRange;
use crate::transport::{RemoteRefs, is_ref_name, is_sha};

/// A revision as users name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Revision {
    /// The remote's `HEAD`: its default branch.
    Head,
    /// A branch.
    Branch(String),
    /// A tag.
    Tag(String),
    /// A full reference name (`refs/pull/1/head`).
    Ref(String),
    /// A full SHA, or a short one of at least four digits.
    Commit(String),
    /// The highest tag in a range of semantic versions.
    Semver(SemverRange),
    /// A name to look for: a branch, else a tag, else a short SHA, else a semver range. A branch wins over a tag of the same name, as in Argo CD.
    Name(String),
}

/// What [`Revision::find`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The commit's full SHA.
    pub commit: String,
    /// The remote's reference that leads to it; `None` for a SHA.
    pub reference: Option<String>,
}

impl Revision {
    /// Reads a target revision: empty and `HEAD` are the default branch, `refs/…` a full reference name, 40 hexadecimal digits a SHA, anything else a
    /// [`Name`](Self::Name).
    ///
    /// # Errors
    /// `InvalidInput` for what is neither a possible reference nor a range: a leading `-`, control characters, `..`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("{text:?} is not a revision"));
        if text.starts_with('-') || text.chars().any(char::is_control) {
            return Err(bad());
        }
        if text.is_empty() || text == "HEAD" {
            return Ok(Self::Head);
        }
        if text.starts_with("refs/") {
            return if is_ref_name(text) {
                Ok(Self::Ref(text.to_owned()))
            } else {
                Err(bad())
            };
        }
        if is_sha(&text.to_ascii_lowercase()) {
            return Ok(Self::Commit(text.to_ascii_lowercase()));
        }
        if is_ref_name(&format!("refs/heads/{text}")) {
            return Ok(Self::Name(text.to_owned()));
        }
        SemverRange::parse(text)
            .map(Self::Semver)
            .map_err(|_| bad())
    }

    /// The highest tag in `range`.
    ///
    /// # Errors
    /// `InvalidInput` when it is not a range.
    pub fn semver(range: &str) -> Result<Self> {
        SemverRange::parse(range).map(Self::Semver)
    }

    /// Finds it among what a remote advertises.
    ///
    /// # Errors
    /// `NotFound` when it is not there, `InvalidInput` for a short SHA that several commits share, `Unsupported` for a short SHA that no reference
    /// leads to.
    pub fn find(&self, refs: &RemoteRefs) -> Result<Found> {
        let by_ref = |name: &str| {
            refs.commit(name).map(|commit| Found {
                commit: commit.to_owned(),
                reference: Some(name.to_owned()),
            })
        };
        let missing =
            || Error::not_found(format!("revision {:?} does not exist", self.to_string()));
        match self {
            Self::Head => by_ref("HEAD").ok_or_else(|| {
                Error::not_found("the repository is empty: its HEAD leads to no commit")
            }),
            Self::Branch(name) => by_ref(&format!("refs/heads/{name}")).ok_or_else(missing),
            Self::Tag(name) => by_ref(&format!("refs/tags/{name}")).ok_or_else(missing),
            Self::Ref(name) => by_ref(name).ok_or_else(missing),
            Self::Commit(sha) if is_sha(sha) => Ok(Found {
                commit: sha.clone(),
                reference: None,
            }),
            Self::Commit(sha) => by_prefix(refs, sha)?.ok_or_else(|| {
                Error::new(
                    gitops_core::ErrorKind::Unsupported,
                    format!(
                        "no reference leads to the short SHA {sha}; only a fetch can complete it"
                    ),
                )
            }),
            Self::Semver(range) => range
                .highest(
                    refs.refs
                        .keys()
                        .filter_map(|name| name.strip_prefix("refs/tags/")),
                )
                .and_then(|tag| by_ref(&format!("refs/tags/{tag}")))
                .ok_or_else(|| {
                    Error::not_found(format!("no tag is in the range {:?}", range.to_string()))
                }),
            Self::Name(name) => {
                if let Some(found) = by_ref(&format!("refs/heads/{name}"))
                    .or_else(|| by_ref(&format!("refs/tags/{name}")))
                {
                    return Ok(found);
                }
                if Self::is_short_sha(name)
                    && let Some(found) = by_prefix(refs, name)?
                {
                    return Ok(found);
                }
                match Self::as_range(name) {
                    Some(range) => range.find(refs),
                    None => Err(missing()),
                }
            }
        }
    }

    /// Whether a name can be a short SHA.
    pub(crate) fn is_short_sha(name: &str) -> bool {
        (4..40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit())
    }

    /// A name read as a range, when it is written as one: a plain version is a tag's name, and no range.
    pub(crate) fn as_range(name: &str) -> Option<Self> {
        SemverRange::parse(name)
            .ok()
            .filter(SemverRange::is_pattern)
            .map(Self::Semver)
    }
}

fn by_prefix(refs: &RemoteRefs, prefix: &str) -> Result<Option<Found>> {
    let prefix = prefix.to_ascii_lowercase();
    let mut commits: Vec<&str> = refs
        .refs
        .keys()
        .filter_map(|name| refs.commit(name))
        .filter(|commit| commit.starts_with(&prefix))
        .collect();
    commits.sort_unstable();
    commits.dedup();
    match commits.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(Found {
            commit: (*one).to_owned(),
            reference: None,
        })),
        several => Err(Error::invalid(format!(
            "short SHA {prefix} is ambiguous: {} commits start with it",
            several.len()
        ))),
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("HEAD"),
            Self::Branch(name)
            | Self::Tag(name)
            | Self::Ref(name)
            | Self::Commit(name)
            | Self::Name(name) => f.write_str(name),
            Self::Semver(range) => range.fmt(f),
        }
    }
}

impl FromStr for Revision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(Revision::parse("").unwrap(), Revision::Head);
        assert_eq!(Revision::parse("HEAD").unwrap(), Revision::Head);
        assert_eq!(Revision::parse(sha).unwrap(), Revision::Commit(sha.into()));
        assert_eq!(
            Revision::parse("main").unwrap(),
            Revision::Name("main".into())
        );
        assert_eq!(
            Revision::parse("refs/pull/1/head").unwrap(),
            Revision::Ref("refs/pull/1/head".into())
        );
        assert!(matches!(
            Revision::parse(">=1.0 <2").unwrap(),
            Revision::Semver(_)
        ));
        for bad in [
            "-x",
            "--upload-pack=x",
            "a..b",
            "refs/heads/../../x",
            "a\nb",
            "a b",
            "@{-1}",
            "x^{commit}",
            "x~1:y",
        ] {
            assert!(Revision::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn finding_among_references() {
        let mut refs = RemoteRefs::default();
        let sha = |c: char| c.to_string().repeat(40);
        for (object, name) in [
            ('a', "HEAD"),
            ('a', "refs/heads/main"),
            ('b', "refs/tags/v1.0.0"),
            ('c', "refs/tags/v1.0.0^{}"),
            ('d', "refs/tags/v1.1.0"),
            ('e', "refs/tags/main"),
        ] {
            refs.insert(&sha(object), name).unwrap();
        }
        let find = |text| {
            Revision::parse(text)
                .unwrap()
                .find(&refs)
                .map(|found| found.commit)
        };
        assert_eq!(find("HEAD").unwrap(), sha('a'));
        assert_eq!(find("main").unwrap(), sha('a'));
        assert_eq!(find("v1.0.0").unwrap(), sha('c'));
        assert_eq!(find("1.x").unwrap(), sha('d'));
        assert_eq!(find("~1.0.0").unwrap(), sha('c'));
        assert_eq!(find("dddd").unwrap(), sha('d'));
        assert_eq!(
            find("nope").unwrap_err().kind(),
            gitops_core::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_server_that_advertises_a_climbing_reference_is_refused() {
        let mut refs = RemoteRefs::default();
        for name in [
            "refs/heads/../../x",
            "refs/heads/..",
            "../x",
            "refs/heads/x.lock",
            "x",
        ] {
            let error = refs.insert(&"a".repeat(40), name).unwrap_err();
            assert_eq!(error.kind(), gitops_core::ErrorKind::Integrity, "{name}");
        }
    }
}
