//! Target revisions and what Flux's sources follow, and the revisions that Flux reports.

use gitops_core::{Error, Result};

/// What a `GitRepository` follows, as its `spec.ref` has it. At most one is set, but for a commit of a branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GitTarget {
    pub(crate) branch: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) semver: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) commit: Option<String>,
}

/// What an `OCIRepository` follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OciTarget {
    pub(crate) tag: Option<String>,
    pub(crate) semver: Option<String>,
    pub(crate) digest: Option<String>,
}

/// Whether `text` is a commit's name in full: SHA-1 or SHA-256.
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `1.2.3` or `v1.2.3`, with whatever follows the patch level.
fn is_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<_> = core.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(is_number)
}

/// A range of versions: with an operator, an alternative, a space, or an `x` or `*` in place of a number.
pub(crate) fn is_range(text: &str) -> bool {
    let wild = |part: &str| matches!(part, "x" | "X" | "*");
    let text = text.trim();
    text.starts_with(['^', '~', '<', '>', '=', '!', '*'])
        || text.contains("||")
        || text.contains(' ')
        || text.contains(',')
        || (text.contains('.')
            && text.split('.').any(wild)
            && text
                .strip_prefix('v')
                .unwrap_or(text)
                .split('.')
                .all(|part| wild(part) || part.bytes().all(|b| b.is_ascii_digit())))
}

/// What Git may have as a branch's or a tag's name, as far as it can be told without Git's whole rule.
fn check_name(field: &str, text: &str) -> Result<()> {
    let bad = text.is_empty()
        || text.starts_with(['-', '/'])
        || text.ends_with('/')
        || text.contains("..")
        || text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c));
    if bad {
        return Err(Error::invalid(format!(
            "{field}: {text:?} is no branch, tag, commit or range of versions"
        )));
    }
    Ok(())
}

impl GitTarget {
    /// What to follow for a target revision: `refs/…` is a reference, a full hash a commit, a range is looked for among the tags, `v1.2.3` is a tag, all else a
    /// branch. A tag of another form is named `refs/tags/…`.
    pub(crate) fn parse(field: &str, text: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or_default().trim();
        if text.is_empty() || text == "HEAD" {
            return Err(Error::invalid(format!(
                "{field}: Flux does not follow a repository's default branch; name the branch"
            )));
        }
        if is_range(text) {
            return Ok(Self {
                semver: Some(text.to_owned()),
                ..Self::default()
            });
        }
        check_name(field, text)?;
        let text = text.to_owned();
        Ok(if is_commit(&text) {
            Self {
                commit: Some(text),
                ..Self::default()
            }
        } else if text.starts_with("refs/") {
            Self {
                name: Some(text),
                ..Self::default()
            }
        } else if is_version(&text) {
            Self {
                tag: Some(text),
                ..Self::default()
            }
        } else {
            Self {
                branch: Some(text),
                ..Self::default()
            }
        })
    }

    /// The target revision that is followed; Flux's own default is the branch `master`. Of several Flux takes the commit, the reference, the range, the tag and the
    /// branch, in this order (source-controller 1.7, `GitRepositoryRef`).
    pub(crate) fn text(&self) -> String {
        let plain = |text: &str, wanted: &Self| {
            Self::parse("", Some(text)).is_ok_and(|parsed| parsed == *wanted)
        };
        if let Some(commit) = &self.commit {
            return commit.clone();
        }
        if let Some(text) = self.name.as_ref().or(self.semver.as_ref()) {
            return text.clone();
        }
        if let Some(tag) = &self.tag {
            let wanted = Self {
                tag: Some(tag.clone()),
                ..Self::default()
            };
            return match plain(tag, &wanted) {
                true => tag.clone(),
                false => format!("refs/tags/{tag}"),
            };
        }
        let branch = self.branch.as_deref().unwrap_or("master");
        let wanted = Self {
            branch: Some(branch.to_owned()),
            ..Self::default()
        };
        match plain(branch, &wanted) {
            true => branch.to_owned(),
            false => format!("refs/heads/{branch}"),
        }
    }
}

impl OciTarget {
    /// What to follow for a target revision: a digest, a range among the tags, or a tag; nothing is the tag `latest`.
    pub(crate) fn parse(field: &str, text: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        if is_range(text) {
            return Ok(Self {
                semver: Some(text.to_owned()),
                ..Self::default()
            });
        }
        if text.starts_with("sha256:") || text.starts_with("sha512:") {
            return Ok(Self {
                digest: Some(text.to_owned()),
                ..Self::default()
            });
        }
        if text
            .chars()
            .any(|c| !c.is_ascii_alphanumeric() && !"_.-".contains(c))
        {
            return Err(Error::invalid(format!(
                "{field}: {text:?} is no tag, digest or range of versions"
            )));
        }
        Ok(Self {
            tag: Some(text.to_owned()),
            ..Self::default()
        })
    }

    /// The target revision that is followed. Of several Flux takes the digest, the range and the tag, in this order.
    pub(crate) fn text(&self) -> Option<String> {
        self.digest
            .as_ref()
            .or(self.semver.as_ref())
            .or(self.tag.as_ref())
            .cloned()
    }
}

/// A revision as Flux reports it, as core has it: a commit's hash, an artifact's digest with its algorithm, a chart's version.
///
/// `main@sha1:<hash>` and `sha1:<hash>` are Git's (so is `main/<hash>`, of Flux before 2.0), `<tag>@sha256:<digest>` is a registry's, and what has no digest is a chart's.
pub(crate) fn reported(is_git: bool, revision: &str) -> String {
    let digest = revision
        .rsplit_once('@')
        .map_or(revision, |(_, digest)| digest);
    match digest.split_once(':') {
        Some((_, hash)) if is_git => hash.to_owned(),
        Some(_) => digest.to_owned(),
        None if is_git => match digest.rsplit_once('/') {
            Some((_, hash)) if is_commit(hash) => hash.to_owned(),
            _ => digest.to_owned(),
        },
        // `1.2.3@sha256:…` without an algorithm is no digest: a chart's version may have an `@` in it only there.
        None => revision.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(text: &str) -> GitTarget {
        GitTarget::parse("f", Some(text)).unwrap()
    }

    #[test]
    fn a_target_is_what_it_looks_like() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(git(sha).commit.as_deref(), Some(sha));
        for tag in ["v1.2.3", "1.2.3", "v1.2.3-rc.1", "1.0.0+build"] {
            assert_eq!(git(tag).tag.as_deref(), Some(tag), "{tag}");
        }
        for range in ["^1.2", "~1.0.0", ">=1.0 <2", "1.x", "v1.2.*", "*", "1 || 2"] {
            assert_eq!(git(range).semver.as_deref(), Some(range), "{range}");
        }
        for branch in [
            "main",
            "release-1.x",
            "feature/x",
            "1.2",
            "v2",
            "x",
            "0123456",
        ] {
            assert_eq!(git(branch).branch.as_deref(), Some(branch), "{branch}");
        }
        assert_eq!(
            git("refs/tags/stable").name.as_deref(),
            Some("refs/tags/stable")
        );
    }

    #[test]
    fn what_is_followed_is_said_so_that_it_is_followed_again() {
        for text in [
            "main",
            "v1.2.3",
            "^1",
            "refs/pull/3/head",
            "0123456789abcdef0123456789abcdef01234567",
        ] {
            assert_eq!(git(text).text(), text);
        }
        let odd = GitTarget {
            tag: Some("stable".into()),
            ..GitTarget::default()
        };
        assert_eq!(odd.text(), "refs/tags/stable");
        let odd = GitTarget {
            branch: Some("v1.2.3".into()),
            ..GitTarget::default()
        };
        assert_eq!(odd.text(), "refs/heads/v1.2.3");
        assert_eq!(GitTarget::default().text(), "master");
    }

    #[test]
    fn what_git_would_take_for_something_else_is_refused() {
        for text in ["", "HEAD", "-x", "a..b", "a:b", "a\nb", "/x", "x/"] {
            assert!(GitTarget::parse("f", Some(text)).is_err(), "{text:?}");
        }
        assert!(OciTarget::parse("f", Some("a/b")).is_err());
    }

    #[test]
    fn reported_revisions_are_named_in_full() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(reported(true, &format!("main@sha1:{sha}")), sha);
        assert_eq!(reported(true, &format!("a@b@sha1:{sha}")), sha);
        assert_eq!(reported(true, &format!("sha1:{sha}")), sha);
        assert_eq!(reported(true, &format!("main/{sha}")), sha);
        assert_eq!(reported(false, "latest@sha256:ab"), "sha256:ab");
        assert_eq!(reported(false, "sha256:ab"), "sha256:ab");
        assert_eq!(reported(false, "1.2.3"), "1.2.3");
    }
}
