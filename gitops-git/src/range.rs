//! Ranges of semantic versions over tags.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use gitops_core::{Error, Result};
use semver::{BuildMetadata, Prerelease, Version};

/// A range of semantic versions, with the grammar and meaning that Argo CD and Flux use: that of `Masterminds/semver` 3.4 (Go), not Cargo's.
///
/// Terms: `=`, `!=`, `>`, `<`, `>=`, `<=`, `~`, `^`, and none (which means `=`); versions may leave out parts or write them `x` or `*` (`1.2.x`); a space or comma means
/// and, `||` means or, `1.2 - 1.4` is an inclusive range. A pre-release matches only if a term of its and-group names one. Tags may start with `v`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SemverRange {
    text: String,
    groups: Vec<Vec<Term>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Op {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    Tilde,
    Caret,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Term {
    op: Op,
    /// What was left out is zero here.
    base: Version,
    /// How many of major, minor, patch were given.
    given: u8,
}

impl SemverRange {
    /// Reads a range.
    ///
    /// # Errors
    /// `InvalidInput` when it is not one.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("{text:?} is not a range of semantic versions"));
        if text.len() > 512 {
            return Err(bad());
        }
        let mut groups = Vec::new();
        for group in text.split("||") {
            groups.push(parse_group(group).ok_or_else(bad)?);
        }
        Ok(Self {
            text: text.to_owned(),
            groups,
        })
    }

    /// Whether a version is in the range.
    pub fn matches(&self, version: &Version) -> bool {
        self.groups.iter().any(|group| {
            let wants_pre = group.iter().any(|term| !term.base.pre.is_empty());
            (version.pre.is_empty() || wants_pre) && group.iter().all(|term| term.matches(version))
        })
    }

    /// The highest of `tags` that is in the range; tags that are not versions do not count. Of tags with equal precedence (build metadata, `v1.0.0` and
    /// `1.0.0`) the one that sorts last wins.
    pub fn highest<'a>(&self, tags: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        tags.into_iter()
            .filter_map(|tag| Some((parse_version(tag)?, tag)))
            .filter(|(version, _)| self.matches(version))
            .max_by(|(a, a_tag), (b, b_tag)| a.cmp_precedence(b).then_with(|| a_tag.cmp(b_tag)))
            .map(|(_, tag)| tag)
    }

    /// Whether it is written as more than one plain version: with an operator, a wildcard or several terms.
    pub(crate) fn is_pattern(&self) -> bool {
        self.text
            .contains(['<', '>', '=', '~', '^', '*', ' ', ',', '|', 'x', 'X'])
    }
}

impl fmt::Display for SemverRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for SemverRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// A version as tags write it: `v1.2.3`, `1.2`, `1`, with pre-release and build.
pub(crate) fn parse_version(text: &str) -> Option<Version> {
    let (base, given) = parse_parts(text)?;
    (given > 0 && !has_wildcard(text)).then_some(base)
}

fn has_wildcard(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or(text);
    core.contains(['x', 'X', '*'])
}

/// The version with what is missing as zero, and how many parts were given.
fn parse_parts(text: &str) -> Option<(Version, u8)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, BuildMetadata::new(build).ok()?),
        None => (text, BuildMetadata::EMPTY),
    };
    let (core, pre) = match text.split_once('-') {
        Some((core, pre)) if !pre.is_empty() => (core, Prerelease::new(pre).ok()?),
        Some(_) => return None,
        None => (text, Prerelease::EMPTY),
    };
    let mut numbers = [0_u64; 3];
    let mut given = 0;
    let mut open = false;
    for (count, part) in core.split('.').enumerate() {
        if count == 3 {
            return None;
        }
        match part {
            "x" | "X" | "*" => open = true,
            digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                // After a wildcard numbers have no meaning, as in the Go library.
                if !open {
                    numbers[count] = digits.parse().ok()?;
                    given += 1;
                }
            }
            _ => return None,
        }
    }
    let version = Version {
        major: numbers[0],
        minor: numbers[1],
        patch: numbers[2],
        pre,
        build,
    };
    Some((version, given))
}

fn parse_group(text: &str) -> Option<Vec<Term>> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let mut terms = Vec::new();
    let words: Vec<&str> = text
        .split([' ', '\t', ','])
        .filter(|word| !word.is_empty())
        .collect();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let digits = word
            .find(|c: char| !"<>=!~^".contains(c))
            .unwrap_or(word.len());
        let (op, rest) = word.split_at(digits);
        let rest = match rest {
            // "> 1.2": the operator stands alone.
            "" if !op.is_empty() => words.next()?,
            rest => rest,
        };
        if op.is_empty() && words.peek() == Some(&"-") {
            words.next();
            let upper = words.next()?;
            terms.push(term(Op::GreaterEqual, rest)?);
            terms.push(term(Op::LessEqual, upper)?);
            continue;
        }
        let op = match op {
            "" | "=" => Op::Equal,
            "!=" => Op::NotEqual,
            ">" => Op::Greater,
            "<" => Op::Less,
            ">=" | "=>" => Op::GreaterEqual,
            "<=" | "=<" => Op::LessEqual,
            "~" | "~>" => Op::Tilde,
            "^" => Op::Caret,
            _ => return None,
        };
        terms.push(term(op, rest)?);
    }
    Some(terms)
}

fn term(op: Op, text: &str) -> Option<Term> {
    let (base, given) = parse_parts(text)?;
    Some(Term { op, base, given })
}

impl Term {
    fn matches(&self, version: &Version) -> bool {
        let base = &self.base;
        let order = version.cmp_precedence(base);
        let full = self.given == 3;
        match self.op {
            Op::Equal if full => order == Ordering::Equal,
            Op::Equal | Op::Tilde => self.tilde(version, order),
            Op::NotEqual => match self.given {
                1 => version.major != base.major,
                2 => {
                    (version.major, version.minor) != (base.major, base.minor)
                        || version.pre != base.pre
                }
                _ => order != Ordering::Equal,
            },
            Op::Greater => match self.given {
                1 => version.major > base.major,
                2 => (version.major, version.minor) > (base.major, base.minor),
                _ => order == Ordering::Greater,
            },
            Op::Less => order == Ordering::Less,
            Op::GreaterEqual => order != Ordering::Less,
            Op::LessEqual => match self.given {
                1 => version.major <= base.major,
                3 => order != Ordering::Greater,
                _ => (version.major, version.minor) <= (base.major, base.minor),
            },
            Op::Caret => {
                order != Ordering::Less
                    && version.major == base.major
                    && (base.major > 0
                        || self.given == 1
                        || (version.minor == base.minor
                            && (base.minor > 0 || self.given == 2 || version.patch == base.patch)))
            }
        }
    }

    fn tilde(&self, version: &Version, order: Ordering) -> bool {
        let base = &self.base;
        // `~0.0.0` and `*` accept everything from there on.
        let anything =
            matches!(self.given, 0 | 3) && (base.major, base.minor, base.patch) == (0, 0, 0);
        order != Ordering::Less
            && (anything
                || version.major == base.major && (self.given == 1 || version.minor == base.minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, yes, no) in [
            ("*", "1.2.3 0.0.0", "1.0.0-rc.1"),
            ("1.x", "1.0.0 1.9.9", "2.0.0 0.9.0 1.2.0-alpha"),
            ("1.2", "1.2.0 1.2.9", "1.3.0"),
            ("1.2.3", "1.2.3 1.2.3+b", "1.2.4"),
            (">=1.0 <2.0", "1.0.0 1.9.0", "2.0.0 0.9.0"),
            (">= 1.0, < 2.0", "1.5.0", "2.0.0"),
            ("^1.2", "1.2.0 1.9.0", "2.0.0 1.1.9"),
            ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2"),
            ("^0.0.3", "0.0.3", "0.0.4"),
            ("^0", "0.0.1 0.9.0", "1.0.0"),
            ("~1.2.3", "1.2.3 1.2.9", "1.3.0"),
            ("~1", "1.0.0 1.9.0", "2.0.0"),
            ("1.2 - 1.4", "1.2.0 1.4.9", "1.5.0 1.1.0"),
            ("1.2 - 1.4.5", "1.4.5", "1.4.6"),
            ("1.x || >=3.0", "1.5.0 3.1.0", "2.0.0"),
            (">1.2", "1.3.0", "1.2.5"),
            (">11", "12.0.0", "11.1.0"),
            ("<=1", "1.9.0 0.1.0", "2.0.0"),
            ("!=1.2.x", "1.3.0", "1.2.7"),
            (">=1.0.0-0", "1.0.0-rc.1 1.0.0", "0.9.0"),
            (">=1.0.0-0 <2.0.0", "1.5.0-beta", "2.0.0"),
        ] {
            let range = SemverRange::parse(range).unwrap();
            for version in yes.split(' ') {
                assert!(
                    range.matches(&parse_version(version).unwrap()),
                    "{range}: {version}"
                );
            }
            for version in no.split(' ') {
                assert!(
                    !range.matches(&parse_version(version).unwrap()),
                    "{range}: not {version}"
                );
            }
        }
        for bad in [
            "", "main", "1.2.3.4", ">", "||", "1.2-", ">>1", "1 - ", "a1",
        ] {
            assert!(SemverRange::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_highest_tag_wins_and_others_do_not_count() {
        let tags = [
            "v1.9.0",
            "v1.10.0",
            "v2.0.0-rc.1",
            "latest",
            "release-3",
            "1.2",
        ];
        let highest = |range| SemverRange::parse(range).unwrap().highest(tags);
        assert_eq!(highest("*"), Some("v1.10.0"));
        assert_eq!(highest(">=1.0.0-0"), Some("v2.0.0-rc.1"));
        assert_eq!(highest("~1.2"), Some("1.2"));
        assert_eq!(highest(">=5"), None);
    }
}
