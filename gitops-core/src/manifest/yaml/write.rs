//! Writing YAML that every reader takes for what it was: what sigs.k8s.io/yaml, YAML 1.1 or YAML 1.2 could read as something else is
//! quoted.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::scalar::{self, Scalar};

/// A value as YAML: block style, two columns per level, lists on their key's level as kubectl writes them. `apiVersion`, `kind`,
/// `metadata`, `name` and `namespace` come first in every mapping, the rest is ordered by name: equal values give equal texts.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    let layout = Layout::default();
    match value {
        Value::Object(map) if !map.is_empty() => layout.mapping(map, 0, &mut out),
        Value::Array(items) if !items.is_empty() => layout.sequence(items, 0, &mut out),
        other => out.push_str(&inline(other, Place::Block)),
    }
    out.push('\n');
    out
}

/// Several values as the documents of one YAML file, parted by `---`.
pub fn to_yaml_documents<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    let texts: Vec<_> = values.into_iter().map(to_yaml).collect();
    texts.join("---\n")
}

/// Where a scalar stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a block collection.
    Block,
    /// Between brackets.
    Flow,
    /// In JSON, where only double quotes are.
    Json,
}

/// How block collections are laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Columns per level.
    pub(crate) step: usize,
    /// Whether a list stands deeper than its key.
    pub(crate) deeper_lists: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            step: 2,
            deeper_lists: false,
        }
    }
}

/// Longer keys are written with `?`: readers give up looking for the colon after 1024 characters.
const LONGEST_KEY: usize = 1000;

impl Layout {
    /// The entries of a mapping at a column; the first one begins where `out` ends, and no line break follows the last.
    pub(crate) fn mapping(&self, map: &Map<String, Value>, column: usize, out: &mut String) {
        for (at, (key, value)) in ordered(map).into_iter().enumerate() {
            if at > 0 {
                line(column, out);
            }
            self.entry(key, value, column, out);
        }
    }

    /// One entry of a mapping at a column.
    pub(crate) fn entry(&self, key: &str, value: &Value, column: usize, out: &mut String) {
        let key = text(key, Place::Block);
        if key.len() > LONGEST_KEY {
            out.push_str("? ");
            out.push_str(&key);
            line(column, out);
        } else {
            out.push_str(&key);
        }
        out.push(':');
        self.value(value, column, out);
    }

    /// The items of a list at a column; the first one begins where `out` ends.
    pub(crate) fn sequence(&self, items: &[Value], column: usize, out: &mut String) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                line(column, out);
            }
            self.item(item, column, out);
        }
    }

    /// One item of a list at a column, its dash included.
    pub(crate) fn item(&self, item: &Value, column: usize, out: &mut String) {
        out.push('-');
        match item {
            Value::Object(map) if !map.is_empty() => {
                out.push(' ');
                self.mapping(map, column + 2, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push(' ');
                self.sequence(items, column + 2, out);
            }
            other => self.value(other, column, out),
        }
    }

    /// What follows a colon whose key is at a column: a space and a scalar, or the lines of a collection.
    pub(crate) fn value(&self, value: &Value, column: usize, out: &mut String) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                line(column + self.step, out);
                self.mapping(map, column + self.step, out);
            }
            Value::Array(items) if !items.is_empty() => {
                let column = if self.deeper_lists {
                    column + self.step
                } else {
                    column
                };
                line(column, out);
                self.sequence(items, column, out);
            }
            Value::String(text) if is_literal(text) => {
                out.push(' ');
                self.literal(text, column, out);
            }
            other => {
                out.push(' ');
                out.push_str(&inline(other, Place::Block));
            }
        }
    }

    /// A text as a literal block whose key is at a column.
    pub(crate) fn literal(&self, text: &str, column: usize, out: &mut String) {
        let body = text.strip_suffix('\n');
        out.push_str(if body.is_some() { "|" } else { "|-" });
        for content in body.unwrap_or(text).split('\n') {
            if content.is_empty() {
                out.push('\n');
            } else {
                line(column + self.step, out);
                out.push_str(content);
            }
        }
    }
}

fn line(column: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', column));
}

/// The entries of a mapping in the order of writing.
pub(crate) fn ordered(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    const FIRST: [&str; 5] = ["apiVersion", "kind", "metadata", "name", "namespace"];
    let rank = |key: &str| {
        FIRST
            .iter()
            .position(|first| *first == key)
            .unwrap_or(FIRST.len())
    };
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    entries
}

/// A value on one line.
pub(crate) fn inline(value: &Value, place: Place) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => text(value, place),
        Value::Array(items) => {
            let inner = if place == Place::Json {
                Place::Json
            } else {
                Place::Flow
            };
            let items: Vec<_> = items.iter().map(|item| inline(item, inner)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let inner = if place == Place::Json {
                Place::Json
            } else {
                Place::Flow
            };
            let entries: Vec<_> = ordered(map)
                .into_iter()
                .map(|(key, value)| format!("{}: {}", text(key, inner), inline(value, inner)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A value as JSON over several lines, whose first begins at a column of indentation.
pub(crate) fn pretty_json(value: &Value, indentation: &str, step: &str, out: &mut String) {
    let deeper = format!("{indentation}{step}");
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('{');
            for (at, (key, value)) in ordered(map).into_iter().enumerate() {
                out.push_str(if at > 0 { ",\n" } else { "\n" });
                out.push_str(&deeper);
                out.push_str(&text(key, Place::Json));
                out.push_str(": ");
                pretty_json(value, &deeper, step, out);
            }
            out.push('\n');
            out.push_str(indentation);
            out.push('}');
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ",\n" } else { "\n" });
                out.push_str(&deeper);
                pretty_json(item, &deeper, step, out);
            }
            out.push('\n');
            out.push_str(indentation);
            out.push(']');
        }
        other => out.push_str(&inline(other, Place::Json)),
    }
}

/// A text as a scalar on one line: plain where nothing could mistake it.
pub(crate) fn text(value: &str, place: Place) -> String {
    if place != Place::Json && is_plain(value, place) {
        value.to_owned()
    } else if place != Place::Json && value.contains(['"', '\\']) && !value.chars().any(escaped) {
        single_quoted(value)
    } else {
        double_quoted(value, place)
    }
}

pub(crate) fn single_quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

pub(crate) fn double_quoted(value: &str, place: Place) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            other if !escaped(other) => out.push(other),
            other if place != Place::Json && u32::from(other) < 0x100 => {
                let _ = write!(out, "\\x{:02x}", u32::from(other));
            }
            other => {
                let _ = write!(out, "\\u{:04x}", u32::from(other));
            }
        }
    }
    out.push('"');
    out
}

/// What must not stand in a text as it is: control characters, what YAML 1.1 takes for line breaks, and byte order marks.
pub(crate) fn escaped(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Whether a text can stand as it is and is read as the same text.
pub(crate) fn is_plain(value: &str, place: Place) -> bool {
    let bytes = value.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    let begins = match first {
        b'-' => bytes.len() > 1 && !matches!(bytes[1], b' ' | b'-') || is_option(value),
        b' ' | b'?' | b':' | b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!'
        | b'|' | b'>' | b'\'' | b'"' | b'%' | b'@' | b'`' => false,
        // `...` ends a document.
        b'.' => !value.starts_with("..."),
        _ => true,
    };
    begins
        && !matches!(last, b' ' | b':')
        && !value.contains(": ")
        && !value.contains(" #")
        && !value.chars().any(escaped)
        && (place != Place::Flow || !value.contains([',', '[', ']', '{', '}', ':', '#', '\'', '"']))
        && scalar::plain(value) == Scalar::Text(value)
        && !is_ambiguous(value)
}

/// `--flag`, which cannot be taken for the end of a document.
fn is_option(value: &str) -> bool {
    value
        .strip_prefix("--")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// What other readers take for a date, a number to the base of 60, a merge or a default.
fn is_ambiguous(value: &str) -> bool {
    if matches!(value, "<<" | "=") {
        return true;
    }
    let numeric = |byte: u8| byte.is_ascii_digit() || b"_:.,+-eETtZz ".contains(&byte);
    let begins = value.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    begins
        && value.bytes().all(numeric)
        && (value.contains([':', '_', ',']) || scalar::is_timestamp(value))
}

/// Whether a text is best written as a literal block.
pub(crate) fn is_literal(value: &str) -> bool {
    let body = value.strip_suffix('\n').unwrap_or(value);
    let inner = value.contains('\n');
    inner
        && !body.is_empty()
        && !body.ends_with(['\n', ' ', '\t'])
        && !body.starts_with([' ', '\n', '\t'])
        && body.split('\n').all(|line| {
            // A line of blanks alone may be taken for the end.
            (line.is_empty() || !line.trim().is_empty())
                && !line.chars().any(|c| c != '\t' && escaped(c))
        })
}
