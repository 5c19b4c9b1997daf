//! Revisions of artifacts.

use std::fmt;

/// A revision, taken apart. The forms are Flux's: those of sources v1, and those before Flux 0.41.
///
/// | text | name | algorithm | hash |
/// | --- | --- | --- | --- |
/// | `main@sha1:5394…`, `refs/pull/1/head@sha1:5394…`, `6.5.0@sha256:3b6c…` | what stands before the `@` | `sha1`, `sha256` | the hash |
/// | `sha1:5394…`, `sha256:3b6c…` | | `sha1`, `sha256` | the hash |
/// | `main/5394…`, `feature/x/5394…`, `HEAD/5394…` (none), `5394…` | what stands before the last `/` | by the length: 40 is `sha1`, 64 `sha256` | the hash |
/// | `6.5.0` (a chart), anything else | all of it | | |
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Revision {
    /// The branch, tag or version; empty when there is none.
    pub name: String,
    /// The algorithm of the hash; empty when there is none.
    pub algorithm: String,
    /// The commit or digest; empty when there is none.
    pub hash: String,
}

impl Revision {
    /// Takes a text apart; none is refused.
    pub fn parse(text: &str) -> Self {
        if let Some((before, hash)) = text.rsplit_once(':') {
            let (name, algorithm) = before.rsplit_once('@').unwrap_or(("", before));
            return Self {
                name: name.to_owned(),
                algorithm: algorithm.to_owned(),
                hash: hash.to_owned(),
            };
        }
        let (name, hash) = text.rsplit_once('/').unwrap_or(("", text));
        match algorithm_of(hash) {
            Some(algorithm) => Self {
                name: if name == "HEAD" { "" } else { name }.to_owned(),
                algorithm: algorithm.to_owned(),
                hash: hash.to_owned(),
            },
            None => Self {
                name: text.to_owned(),
                ..Self::default()
            },
        }
    }

    /// The commit, when the hash is one of Git.
    pub fn commit(&self) -> Option<&str> {
        let git = matches!(
            (&*self.algorithm, self.hash.len()),
            ("sha1", 40) | ("sha256", 64)
        );
        git.then_some(&*self.hash)
    }

    /// Whether two texts name the same revision, whichever of the forms they have.
    pub fn same(one: &str, other: &str) -> bool {
        one == other || Self::parse(one) == Self::parse(other)
    }
}

impl fmt::Display for Revision {
    /// In the form of today.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.hash.is_empty() {
            if !self.name.is_empty() {
                f.write_str("@")?;
            }
            write!(f, "{}:{}", self.algorithm, self.hash)?;
        }
        Ok(())
    }
}

fn algorithm_of(hash: &str) -> Option<&'static str> {
    if !hash
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    match hash.len() {
        40 => Some("sha1"),
        64 => Some("sha256"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        let (sha1, sha256) = ("5".repeat(40), "d".repeat(64));
        for (text, name, algorithm, hash, today) in [
            (
                format!("main@sha1:{sha1}"),
                "main",
                "sha1",
                &*sha1,
                format!("main@sha1:{sha1}"),
            ),
            (
                format!("sha1:{sha1}"),
                "",
                "sha1",
                &sha1,
                format!("sha1:{sha1}"),
            ),
            (
                format!("feat/x@sha1:{sha1}"),
                "feat/x",
                "sha1",
                &sha1,
                format!("feat/x@sha1:{sha1}"),
            ),
            (
                format!("a@b@sha256:{sha256}"),
                "a@b",
                "sha256",
                &sha256,
                format!("a@b@sha256:{sha256}"),
            ),
            (
                format!("main/{sha1}"),
                "main",
                "sha1",
                &sha1,
                format!("main@sha1:{sha1}"),
            ),
            (
                format!("feat/x/{sha1}"),
                "feat/x",
                "sha1",
                &sha1,
                format!("feat/x@sha1:{sha1}"),
            ),
            (
                format!("HEAD/{sha1}"),
                "",
                "sha1",
                &sha1,
                format!("sha1:{sha1}"),
            ),
            (
                format!("tag/{sha256}"),
                "tag",
                "sha256",
                &sha256,
                format!("tag@sha256:{sha256}"),
            ),
            (
                sha256.clone(),
                "",
                "sha256",
                &sha256,
                format!("sha256:{sha256}"),
            ),
            ("6.5.0+abc".into(), "6.5.0+abc", "", "", "6.5.0+abc".into()),
            ("a/b".into(), "a/b", "", "", "a/b".into()),
            (String::new(), "", "", "", String::new()),
        ] {
            let revision = Revision::parse(&text);
            assert_eq!(
                (&*revision.name, &*revision.algorithm, &*revision.hash),
                (name, algorithm, hash),
                "{text}"
            );
            assert_eq!(revision.to_string(), today, "{text}");
            assert!(Revision::same(&text, &today));
        }
        assert_eq!(
            Revision::parse(&format!("main/{sha1}")).commit(),
            Some(&*sha1)
        );
        assert_eq!(Revision::parse("6.5.0").commit(), None);
        assert!(!Revision::same("main@sha1:1", "main@sha1:2"));
    }
}
