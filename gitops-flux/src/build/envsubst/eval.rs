//! What expressions give.

use std::borrow::Cow;
use std::slice;

use gitops_core::{Error, Result};
use memchr::memmem;

use super::super::variables::Variables;
use super::Why;
use super::budget::{Budget, Limit};
use super::glob::{self, decode, reversed};
use super::parse::{Expression, Node, Operator};

/// Evaluates a template. Values are bytes in between: positions and lengths may cut characters.
pub(super) fn evaluate(nodes: &[Node], variables: &Variables, strict: bool) -> Result<String> {
    let mut evaluation = Evaluation {
        variables,
        strict,
        budget: Budget::default(),
    };
    String::from_utf8(evaluation.text(nodes)?)
        .map_err(|_| Error::invalid("an expression cuts a character in the middle"))
}

struct Evaluation<'a> {
    variables: &'a Variables,
    strict: bool,
    budget: Budget,
}

impl<'a> Evaluation<'a> {
    /// What nodes give, one behind the other.
    fn text(&mut self, nodes: &[Node]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for node in nodes {
            match node {
                Node::Text(text) => self.budget.append(&mut out, text.as_bytes())?,
                Node::Expression(expression) => {
                    let value = self.value(expression)?;
                    self.budget.append(&mut out, &value)?;
                }
            }
        }
        Ok(out)
    }

    fn value(&mut self, expression: &Expression) -> Result<Cow<'a, [u8]>> {
        // Before the variable is looked at: a missing one in a default that is not needed is an error, in strict mode.
        let arguments = match expression.operator {
            // The words of a default are one text.
            Operator::Default => vec![self.text(&expression.arguments)?],
            _ => expression
                .arguments
                .iter()
                .map(|node| self.text(slice::from_ref(node)))
                .collect::<Result<_>>()?,
        };
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
            arguments,
            &mut self.budget,
        )
        .map_err(|error| error.context(format!("the expression of {name:?}")))
    }
}

/// What an operator makes of a value. Only what is made anew is counted as written, not the value itself.
fn apply<'v>(
    operator: Operator,
    value: &'v [u8],
    arguments: Vec<Vec<u8>>,
    budget: &mut Budget,
) -> Result<Cow<'v, [u8]>> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next().unwrap_or_default();
    let second = arguments.next();
    let made = match operator {
        Operator::Value => return Ok(value.into()),
        Operator::Default if value.is_empty() => return Ok(first.into()),
        Operator::Default => return Ok(value.into()),
        Operator::Substring => return Ok(substring(value, &first, second.as_deref())?.into()),
        Operator::TrimPrefix | Operator::TrimPrefixLongest => {
            let longest = operator == Operator::TrimPrefixLongest;
            return Ok(glob::without_prefix(value, &first, longest, budget)?.into());
        }
        // Value and pattern are reversed, brackets and all.
        Operator::TrimSuffix | Operator::TrimSuffixLongest => {
            let longest = operator == Operator::TrimSuffixLongest;
            let (value, pattern) = (reversed(value, budget)?, reversed(&first, budget)?);
            let rest = glob::without_prefix(&value, &pattern, longest, budget)?;
            return Ok(reversed(rest, budget)?.into());
        }
        Operator::ReplaceFirst | Operator::ReplaceAll => {
            let times = match operator {
                Operator::ReplaceFirst => 1,
                _ => usize::MAX,
            };
            let new = second.unwrap_or_default();
            return Ok(replaced(value, &first, &new, times, budget)?.into());
        }
        Operator::Length => value.len().to_string().into_bytes(),
        Operator::Upper => mapped(value, upper),
        Operator::Lower => mapped(value, lower),
        Operator::UpperFirst => first_mapped(value, upper),
        Operator::LowerFirst => first_mapped(value, lower),
        // Without a replacement, these two do nothing.
        Operator::ReplacePrefix => match (second, value.strip_prefix(first.as_slice())) {
            (Some(second), Some(rest)) => [&second, rest].concat(),
            _ => return Ok(value.into()),
        },
        Operator::ReplaceSuffix => match (second, value.strip_suffix(first.as_slice())) {
            (Some(second), Some(rest)) => [rest, &second].concat(),
            _ => return Ok(value.into()),
        },
    };
    budget.write(made.len())?;
    Ok(made.into())
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
fn replaced(
    value: &[u8],
    old: &[u8],
    new: &[u8],
    times: usize,
    budget: &mut Budget,
) -> Result<Vec<u8>, Limit> {
    budget.compare(value.len())?;
    if old.is_empty() {
        return replaced_between(value, new, times, budget);
    }
    let mut out = Vec::new();
    let mut from = 0;
    for at in memmem::find_iter(value, old).take(times) {
        budget.append(&mut out, &value[from..at])?;
        budget.append(&mut out, new)?;
        from = at + old.len();
    }
    budget.append(&mut out, &value[from..])?;
    Ok(out)
}

/// `new` put before up to `times` characters, the end being one.
fn replaced_between(
    value: &[u8],
    new: &[u8],
    times: usize,
    budget: &mut Budget,
) -> Result<Vec<u8>, Limit> {
    let mut out = Vec::new();
    let mut at = 0;
    for _ in 0..times {
        budget.append(&mut out, new)?;
        if at == value.len() {
            break;
        }
        let width = decode(&value[at..]).1;
        budget.append(&mut out, &value[at..at + width])?;
        at += width;
    }
    budget.append(&mut out, &value[at..])?;
    Ok(out)
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
