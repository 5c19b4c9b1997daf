//! Git's pathspecs, for the files of the Git generator.

use gitops_core::{Error, ErrorKind, Result};
use regex::bytes::Regex;

use super::path_match::MAX_PATTERN;

/// The pattern of a Git generator's file, matched as `git ls-files -- PATTERN` does it, which Argo CD 3.2's repo-server calls (`util/git/client.go`, `LsFiles`)
/// unless "new Git file globbing" is switched on, as it is not by default:
///
/// - `*` and `?` match slashes too, so that `apps/*.json` finds `apps/a/b.json`, and `**` is `*`;
/// - what names a directory finds all files below it, and an empty pattern finds all files;
/// - `[a-c]`, `[!a]` and `[[:digit:]]` are classes; a backslash takes a special meaning away;
/// - `.`, `..` and double slashes are resolved first.
///
/// ```
/// use gitops_argocd::generate::Pathspec;
///
/// let pathspec = Pathspec::parse("apps/*.json")?;
/// assert!(pathspec.matches("apps/shop/config.json"));
/// assert!(!pathspec.matches("apps/shop/config.yaml"));
/// # Ok::<(), gitops_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pathspec {
    /// The pattern, `.` and `..` resolved.
    literal: String,
    /// Of a pattern with special characters.
    wild: Option<Regex>,
}

impl Pathspec {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `InvalidInput` for one that is absolute, leads out of the repository, holds a NUL, or is longer than 4096 bytes; `Unsupported` for pathspec magic: a
    /// colon at the beginning.
    pub fn parse(pattern: &str) -> Result<Self> {
        if pattern.len() > MAX_PATTERN {
            return Err(Error::invalid(format!(
                "the pattern is longer than {MAX_PATTERN} bytes"
            )));
        }
        if pattern.contains('\0') {
            return Err(Error::invalid(format!(
                "the pattern {pattern:?} holds a NUL"
            )));
        }
        if pattern.starts_with(':') {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the pattern {pattern:?} begins with pathspec magic, which is not read here"
                ),
            ));
        }
        let literal = resolve(pattern)?;
        let wild = match literal.contains(['*', '?', '[', '\\']) {
            true => Some(wild(&literal)?),
            false => None,
        };
        Ok(Self { literal, wild })
    }

    /// Whether a file's path matches. The path is relative to the repository's root, without `.` and `..`.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_literally(path)
            || self
                .wild
                .as_ref()
                .is_some_and(|wild| wild.is_match(path.as_bytes()))
    }

    /// The path itself, and what is below it; patterns with special characters are tried like this too.
    fn matches_literally(&self, path: &str) -> bool {
        let literal = self.literal.as_str();
        literal.is_empty()
            || path.strip_prefix(literal).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || literal.ends_with('/')
            })
    }
}

/// As Git's `normalize_path_copy`: a slash at the end stays.
fn resolve(pattern: &str) -> Result<String> {
    if pattern.starts_with('/') {
        return Err(Error::invalid(format!(
            "the pattern {pattern:?} is absolute; patterns begin at the repository's root"
        )));
    }
    let mut parts: Vec<&str> = Vec::new();
    let mut directory = false;
    for part in pattern.split('/') {
        directory = matches!(part, "" | "." | "..");
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(|| {
                    Error::invalid(format!(
                        "the pattern {pattern:?} leads out of the repository"
                    ))
                })?;
            }
            part => parts.push(part),
        }
    }
    let mut resolved = parts.join("/");
    if directory && !resolved.is_empty() {
        resolved.push('/');
    }
    Ok(resolved)
}

/// The regular expression of a pattern, by Git 2.4x's `wildmatch.c` without `WM_PATHNAME`. Names are bytes there.
fn wild(pattern: &str) -> Result<Regex> {
    let mut expression = String::from(r"\A(?s-u:");
    match translate(pattern.as_bytes(), &mut expression) {
        Some(()) => expression.push_str(r")\z"),
        // A class that does not end, or a backslash at the end, matches nothing.
        None => NOTHING.clone_into(&mut expression),
    }
    Regex::new(&expression).map_err(|error| {
        Error::invalid(format!("{pattern:?} is too long a pattern")).with_source(error)
    })
}

const NOTHING: &str = r"(?-u:[^\x00-\xFF])";

fn translate(pattern: &[u8], expression: &mut String) -> Option<()> {
    let mut bytes = pattern.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' => {
                while bytes.next_if_eq(&b'*').is_some() {}
                expression.push_str(".*");
            }
            b'?' => expression.push('.'),
            b'[' => {
                let rest: Vec<u8> = bytes.clone().collect();
                let length = class(&rest, expression)?;
                for _ in 0..length {
                    bytes.next();
                }
            }
            b'\\' => push(expression, bytes.next()?),
            byte => push(expression, byte),
        }
    }
    Some(())
}

/// Translates a class whose text, after the bracket, is at the beginning of `rest`; how long it is, with its end.
fn class(rest: &[u8], expression: &mut String) -> Option<usize> {
    let mut at = 0;
    let negated = matches!(rest.first(), Some(b'!' | b'^'));
    if negated {
        at += 1;
    }
    let mut members = String::new();
    let mut previous = None;
    let mut first = true;
    loop {
        let byte = *rest.get(at)?;
        if byte == b']' && !first {
            break;
        }
        first = false;
        let next = rest.get(at + 1).copied();
        match (byte, previous, next) {
            (b'\\', ..) => {
                at += 1;
                let escaped = *rest.get(at)?;
                push(&mut members, escaped);
                previous = Some(escaped);
            }
            (b'-', Some(low), Some(mut high)) if high != b']' => {
                at += 1;
                if high == b'\\' {
                    at += 1;
                    high = *rest.get(at)?;
                }
                if low <= high {
                    push(&mut members, low);
                    members.push('-');
                    push(&mut members, high);
                }
                previous = None;
            }
            (b'[', _, Some(b':')) => {
                let end = at + 2 + rest.get(at + 2..)?.iter().position(|byte| *byte == b']')?;
                if end < at + 3 || rest.get(end - 1) != Some(&b':') {
                    // No name after all: a bracket as any other character.
                    push(&mut members, b'[');
                    previous = Some(b'[');
                } else {
                    members.push_str(named(rest.get(at + 2..end - 1)?)?);
                    at = end;
                    previous = None;
                }
            }
            (byte, ..) => {
                push(&mut members, byte);
                previous = Some(byte);
            }
        }
        at += 1;
    }
    match (members.is_empty(), negated) {
        (true, true) => expression.push('.'),
        (true, false) => expression.push_str(r"[^\x00-\xFF]"),
        (false, true) => expression.push_str(&format!("[^{members}]")),
        (false, false) => expression.push_str(&format!("[{members}]")),
    }
    Some(at + 1)
}

/// A named class; an unknown one matches nothing, and with it the whole pattern.
fn named(name: &[u8]) -> Option<&'static str> {
    Some(match name {
        b"alnum" => "[:alnum:]",
        b"alpha" => "[:alpha:]",
        b"blank" => "[:blank:]",
        b"cntrl" => "[:cntrl:]",
        b"digit" => "[:digit:]",
        b"graph" => "[:graph:]",
        b"lower" => "[:lower:]",
        b"print" => "[:print:]",
        b"punct" => "[:punct:]",
        // Git's is without the vertical tab and the form feed.
        b"space" => r"\x09\x0A\x0D\x20",
        b"upper" => "[:upper:]",
        b"xdigit" => "[:xdigit:]",
        _ => return None,
    })
}

fn push(expression: &mut String, byte: u8) {
    if byte.is_ascii_alphanumeric() || byte == b'/' {
        expression.push(char::from(byte));
    } else {
        expression.push_str(&format!("\\x{byte:02X}"));
    }
}
