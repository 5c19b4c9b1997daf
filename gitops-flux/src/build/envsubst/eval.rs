//! What expressions give.

use gitops_core::{Error, Result};

use super::super::variables::Variables;
use super::glob::{self, Stop, decode, reversed};
use super::parse::{Expression, Node, Operator};
use super::{MAX_OUTPUT, Why};

/// Evaluates a template. Values are bytes in between: positions and lengths may cut characters.
pub(super) fn evaluate(nodes: &[Node], variables: &Variables, strict: bool) -> Result<String> {
    let context = Context { variables, strict };
    let mut out = Vec::new();
    for node in nodes {
        context.write(node, &mut out)?;
    }
    String::from_utf8(out)
        .map_err(|_| Error::invalid("an expression cuts a character in the middle"))
}

struct Context<'a> {
    variables: &'a Variables,
    strict: bool,
}

fn too_long() -> Error {
    Error::invalid(format!(
        "substitution gives more than {} MiB",
        MAX_OUTPUT >> 20
    ))
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    if out.len() + bytes.len() > MAX_OUTPUT {
        return Err(too_long());
    }
    out.extend_from_slice(bytes);
    Ok(())
}

impl Context<'_> {
    fn write(&self, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        match node {
            Node::Text(text) => append(out, text.as_bytes()),
            Node::Expression(expression) => append(out, &self.value(expression)?),
        }
    }

    fn value(&self, expression: &Expression) -> Result<Vec<u8>> {
        // Before the variable is looked at: a missing one in a default that is not needed is an error, in strict mode.
        let mut arguments = Vec::with_capacity(expression.arguments.len());
        for node in &expression.arguments {
            let mut argument = Vec::new();
            self.write(node, &mut argument)?;
            arguments.push(argument);
        }
        let name = &expression.variable;
        let found = self.variables.get(name)?;
        if found.is_none() && self.strict && expression.operator == Operator::Value {
            return Err(Error::invalid(format!(
                "variable {name:?} is not set (strict mode)"
            )));
        }
        apply(
            expression.operator,
            found.unwrap_or_default().as_bytes(),
            &arguments,
        )
        .map_err(|error| error.context(format!("the expression of {name:?}")))
    }
}

fn apply(operator: Operator, value: &[u8], arguments: &[Vec<u8>]) -> Result<Vec<u8>> {
    let first = arguments.first().map(Vec::as_slice).unwrap_or_default();
    let second = arguments.get(1).map(Vec::as_slice);
    Ok(match operator {
        Operator::Value => value.to_vec(),
        Operator::Default if value.is_empty() => arguments.concat(),
        Operator::Default => value.to_vec(),
        Operator::Length => value.len().to_string().into_bytes(),
        Operator::Upper => mapped(value, upper),
        Operator::Lower => mapped(value, lower),
        Operator::UpperFirst => first_mapped(value, upper),
        Operator::LowerFirst => first_mapped(value, lower),
        Operator::Substring => substring(value, first, second)?.to_vec(),
        Operator::ReplaceFirst => replaced(value, first, second.unwrap_or_default(), 1)?,
        Operator::ReplaceAll => replaced(value, first, second.unwrap_or_default(), usize::MAX)?,
        // Without a replacement, these two do nothing.
        Operator::ReplacePrefix => match second {
            Some(second) if value.starts_with(first) => [second, &value[first.len()..]].concat(),
            _ => value.to_vec(),
        },
        Operator::ReplaceSuffix => match second {
            Some(second) if value.ends_with(first) => {
                [&value[..value.len() - first.len()], second].concat()
            }
            _ => value.to_vec(),
        },
        Operator::TrimPrefix | Operator::TrimPrefixLongest => {
            let longest = operator == Operator::TrimPrefixLongest;
            glob::without_prefix(value, first, longest)
                .map_err(stopped)?
                .to_vec()
        }
        // Value and pattern are reversed, brackets and all.
        Operator::TrimSuffix | Operator::TrimSuffixLongest => {
            let longest = operator == Operator::TrimSuffixLongest;
            let value = reversed(value);
            reversed(glob::without_prefix(&value, &reversed(first), longest).map_err(stopped)?)
        }
    })
}

fn stopped(_: Stop) -> Error {
    Error::invalid("the value is too long for its pattern")
}

fn substring<'v>(value: &'v [u8], position: &[u8], length: Option<&[u8]>) -> Result<&'v [u8]> {
    let number = |text: &[u8]| {
        std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
    };
    // What is no number leaves the value as it is.
    let Some(position) = number(position) else {
        return Ok(value);
    };
    let from = match usize::try_from(position) {
        Ok(from) => from,
        Err(_) => {
            let back = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
            if position > 0 {
                usize::MAX
            } else {
                value.len().saturating_sub(back)
            }
        }
    };
    let rest = value.get(from..).unwrap_or_default();
    let Some(length) = length else {
        return Ok(rest);
    };
    let Some(length) = number(length) else {
        return Ok(value);
    };
    // A negative length is where the Go library panics, unless the position is beyond the end by more.
    let end = i64::try_from(from)
        .ok()
        .and_then(|from| from.checked_add(length));
    let length_of_value = i64::try_from(value.len()).unwrap_or(i64::MAX);
    match end {
        Some(end) if end >= length_of_value => Ok(rest),
        Some(_) => match usize::try_from(length) {
            Ok(length) => Ok(rest.get(..length).unwrap_or(rest)),
            Err(_) => Err(Error::invalid("a length must not be negative")),
        },
        None => Err(Error::invalid(Why::Malformed.to_string())),
    }
}

/// Up to `times` occurrences of `old` replaced. An empty one, which stands before, between and behind all characters, can only come out
/// of another expression.
fn replaced(value: &[u8], old: &[u8], new: &[u8], times: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let (mut at, mut done, mut from) = (0, 0, 0);
    while done < times {
        if old.is_empty() {
            append(&mut out, &value[from..at])?;
            append(&mut out, new)?;
            from = at;
            done += 1;
            if at == value.len() {
                break;
            }
            at += decode(&value[at..]).1;
            continue;
        }
        let Some(found) = find(&value[at..], old) else {
            break;
        };
        append(&mut out, &value[from..at + found])?;
        append(&mut out, new)?;
        at += found + old.len();
        from = at;
        done += 1;
    }
    append(&mut out, &value[from..])?;
    Ok(out)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    // Values are texts, and so is nearly every argument.
    if let (Ok(bytes), Ok(what)) = (std::str::from_utf8(bytes), std::str::from_utf8(what)) {
        return bytes.find(what);
    }
    bytes.windows(what.len()).position(|window| window == what)
}

fn mapped(value: &[u8], map: fn(char) -> char) -> Vec<u8> {
    String::from_utf8_lossy(value)
        .chars()
        .map(map)
        .collect::<String>()
        .into_bytes()
}

fn first_mapped(value: &[u8], map: fn(char) -> char) -> Vec<u8> {
    if value.is_empty() {
        return Vec::new();
    }
    let (first, width) = decode(value);
    let mut out = map(first).to_string().into_bytes();
    out.extend_from_slice(&value[width..]);
    out
}

/// The upper case of a character that is one character, as Go's `unicode.ToUpper` has it: `ß` stays.
fn upper(character: char) -> char {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        // Greek letters with an iota below have capitals of their own.
        _ => match u32::from(character) {
            code @ (0x1F80..=0x1F87 | 0x1F90..=0x1F97 | 0x1FA0..=0x1FA7) => {
                char::from_u32(code + 8).unwrap_or(character)
            }
            code @ (0x1FB3 | 0x1FC3 | 0x1FF3) => char::from_u32(code + 9).unwrap_or(character),
            _ => character,
        },
    }
}

/// The lower case of a character that is one character, as Go's `unicode.ToLower` has it.
fn lower(character: char) -> char {
    if character == '\u{130}' {
        return 'i';
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => character,
    }
}
