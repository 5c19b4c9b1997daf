//! Go's `path.Match`, for the directories of the Git generator.
//!
//! `globset` has another language: `**`, `{a,b}` and `[!a]` mean something there, `[\]]` does not, and its `?` and classes are bytes. So the pattern becomes a
//! regular expression here.

use gitops_core::{Error, Result};
use regex::Regex;

/// Longer patterns are refused, in bytes.
pub(super) const MAX_PATTERN: usize = 4096;

/// A pattern of Go 1.25's `path.Match`: `*` and `?` match no slash, `**` is `*`, and a class (`[a-c]`, `[^a]`) may match one. All of the path must match.
#[derive(Debug)]
pub(super) struct PathMatch(Regex);

impl PathMatch {
    /// Reads a pattern; `None` for one that Go calls `ErrBadPattern`.
    pub(super) fn new(pattern: &str) -> Result<Option<Self>> {
        let too_long = || Error::invalid("a pattern for directories is too long");
        if pattern.len() > MAX_PATTERN {
            return Err(too_long());
        }
        let Some(expression) = translate(pattern) else {
            return Ok(None);
        };
        let regex = Regex::new(&expression).map_err(|error| too_long().with_source(error))?;
        Ok(Some(Self(regex)))
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

/// The regular expression of a pattern; `None` for what `path.Match` calls `ErrBadPattern`.
fn translate(pattern: &str) -> Option<String> {
    let mut expression = String::from(r"\A(?s:");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => {
                while chars.next_if_eq(&'*').is_some() {}
                expression.push_str("[^/]*");
            }
            '?' => expression.push_str("[^/]"),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
                        break;
                    }
                    let low = in_class(&mut chars)?;
                    let high = match chars.next_if_eq(&'-') {
                        Some(_) => in_class(&mut chars)?,
                        None => low,
                    };
                    // A class has an end, so something follows.
                    chars.peek()?;
                    ranges.push((low, high));
                }
                push_class(&mut expression, negated, &ranges);
            }
            '\\' => push_literal(&mut expression, chars.next()?),
            c => push_literal(&mut expression, c),
        }
    }
    expression.push_str(r")\z");
    Some(expression)
}

/// A character of a class, perhaps escaped.
fn in_class(chars: &mut impl Iterator<Item = char>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

/// A class; ranges that are upside down match nothing.
pub(super) fn push_class(expression: &mut String, negated: bool, ranges: &[(char, char)]) {
    let ranges: Vec<_> = ranges.iter().filter(|(low, high)| low <= high).collect();
    match (ranges.is_empty(), negated) {
        (true, true) => expression.push('.'),
        // Nothing.
        (true, false) => expression.push_str(r"[^\x{0}-\x{10FFFF}]"),
        (false, _) => {
            expression.push_str(if negated { "[^" } else { "[" });
            for (low, high) in ranges {
                push_code(expression, *low);
                expression.push('-');
                push_code(expression, *high);
            }
            expression.push(']');
        }
    }
}

fn push_code(expression: &mut String, c: char) {
    expression.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
}

fn push_literal(expression: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || matches!(c, '/' | '_') {
        expression.push(c);
    } else {
        push_code(expression, c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_in_go() {
        for (pattern, path, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("", "", true),
            ("", "a", false),
            ("*", "abc", true),
            ("*", "", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("*/*", "a/b/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("apps/*", "apps/web", true),
            ("apps/*", "apps", false),
            ("apps/*", "apps/web/base", false),
            ("apps/*/overlays/?", "apps/web/overlays/a", true),
            // `**` is `*`.
            ("**", "a", true),
            ("**", "a/b", false),
            ("a/**/b", "a/x/b", true),
            ("a/**/b", "a/b", false),
            ("a/**/b", "a/x/y/b", false),
            // Braces are no alternatives.
            ("{a,b}", "a", false),
            ("{a,b}", "{a,b}", true),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^b-d]", "abc", false),
            ("ab[^e-g]", "abc", true),
            // `!` does not negate.
            ("[!a]", "!", true),
            ("[!a]", "a", true),
            ("[!a]", "b", false),
            // A class may match a slash, `?` and `*` may not.
            ("a[^a]b", "a/b", true),
            ("a[/]b", "a/b", true),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            (r"\[a\]", "[a]", true),
            (r"[\]a]", "]", true),
            (r"[\-]", "-", true),
            (r"[x\-]", "-", true),
            (r"[\-x]", "z", false),
            ("a]b", "a]b", true),
            ("[z-a]", "m", false),
            ("[^z-a]", "m", true),
            ("a.b", "axb", false),
            ("a+(b)|$^", "a+(b)|$^", true),
            ("?", "é", true),
            ("[ä-ü]", "ö", true),
            ("??", "日", false),
            ("*", "a\nb", true),
            ("a\nb", "a\nb", true),
        ] {
            let pattern = PathMatch::new(pattern).unwrap().unwrap();
            assert_eq!(pattern.matches(path), expected, "{pattern:?} {path:?}");
        }
    }

    #[test]
    fn bad_patterns() {
        for pattern in [
            "[", "[^", "[]", "[]a]", "[a", "[a-", "[a-]", "[-x]", "[x-]", "[a-b-c]", "a[", r"a\",
            r"[\", r"[a\", "[-]", "[^]a]", "*[",
        ] {
            assert!(PathMatch::new(pattern).unwrap().is_none(), "{pattern:?}");
        }
        assert!(PathMatch::new(&"a".repeat(5000)).is_err());
    }

    #[test]
    fn long_patterns_do_not_take_long() {
        let pattern = PathMatch::new(&"*a".repeat(100)).unwrap().unwrap();
        assert!(!pattern.matches(&"a".repeat(99)));
        assert!(pattern.matches(&"a".repeat(2000)));
    }
}
