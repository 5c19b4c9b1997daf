//! `${VAR}` expressions, as `github.com/fluxcd/pkg/envsubst` 1.5.0 reads and evaluates them: kustomize-controller 1.7 and the command
//! `flux envsubst` use it.
//!
//! | expression | gives |
//! | --- | --- |
//! | `${v}` | the value; nothing when there is none, an error in strict mode |
//! | `${v:-word}`, `${v:=word}`, `${v=word}` | the value, or `word` when it is empty or missing; `word` may hold expressions |
//! | `${v:?word}`, `${v:+word}` | the same: this dialect knows no errors and no alternatives |
//! | `${#v}` | the length, in bytes |
//! | `${v^}`, `${v^^}`, `${v,}`, `${v,,}` | the first letter, or all, in upper or lower case |
//! | `${v:2}`, `${v:2:3}`, `${v:${n}}` | from byte 2 on, three bytes from there; a negative position counts from the end |
//! | `${v/a/b}`, `${v//a/b}`, `${v/#a/b}`, `${v/%a/b}` | the first, every, a leading, a trailing `a` replaced, by text and not by pattern; `\/`, `\\` and `$$` escape |
//! | `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}` | without what matches the pattern `p` at the beginning or end, the shortest or longest |
//! | `$${v}` | `${v}` |
//!
//! Everything else is text: `$v`, `$(v)`, a lone `$`. Oddities of the dialect are kept, for a value must come out here as it does there:
//! a text from `${` to the next `}` is an expression even across lines, several `/` before a replacement count as one, `${v-word}` is an
//! error. What makes the Go library panic (a negative length) is an error here, and so is what would not end: expressions nested more
//! than [`MAX_DEPTH`] deep, a NUL, results above [`MAX_OUTPUT`], and expressions that together write more than [`MAX_WRITTEN`] or compare
//! more than [`MAX_COMPARED`].

mod budget;
mod eval;
mod glob;
mod parse;

use std::fmt;

use gitops_core::{Error, Result};

use super::variables::Variables;

/// How deep expressions may nest.
pub const MAX_DEPTH: usize = 64;
/// How long a result may be, in bytes.
pub const MAX_OUTPUT: usize = 32 << 20;
/// How much one call may write, in bytes: the result, and all that its expressions make on the way to it, such as defaults that are not
/// needed.
pub const MAX_WRITTEN: usize = 4 * MAX_OUTPUT;
/// How much one call may compare, in bytes: those of values with those of patterns and of texts that are replaced.
pub const MAX_COMPARED: usize = 64 << 20;

/// Evaluates all expressions of `text`. With `strict`, a plain `${VAR}` of a variable that is not there is an error, else it is empty.
///
/// # Errors
/// `InvalidInput`, with the line and the variable's name but never a value: an expression that cannot be read, a missing variable in
/// strict mode, a limit passed, a result that is not UTF-8 (a character cut in the middle).
pub fn substitute(text: &str, variables: &Variables, strict: bool) -> Result<String> {
    let nodes = parse::template(text).map_err(|fault| fault.into_error(text))?;
    eval::evaluate(&nodes, variables, strict)
}

/// What is wrong with an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NoName,
    NotClosed,
    NoArgument,
    Malformed,
    TooDeep,
    Nul,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoName => "`${` is not followed by a variable's name",
            Self::NotClosed => "`}` is missing, or an operator is not known",
            Self::NoArgument => "an argument is missing, or `}`",
            Self::Malformed => "bad substitution",
            Self::TooDeep => "expressions nest too deep",
            Self::Nul => "the text holds a NUL",
        })
    }
}

/// What is wrong, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fault {
    why: Why,
    at: usize,
}

impl Fault {
    fn into_error(self, text: &str) -> Error {
        let before = text.as_bytes().get(..self.at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::invalid(format!("line {line}: {}", self.why))
    }
}

#[cfg(test)]
mod tests;
