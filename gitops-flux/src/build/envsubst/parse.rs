//! Reading expressions.

use std::sync::LazyLock;

use regex::Regex;

use super::{Fault, MAX_DEPTH, Why};

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    Expression(Expression),
}

/// `${variable…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) variable: String,
    pub(super) operator: Operator,
    pub(super) arguments: Vec<Node>,
    /// The byte where it begins.
    pub(super) at: usize,
}

/// What an expression does with its variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `${v}`.
    Value,
    /// `=`, `:=`, `:-`, `:?`, `:+`, and two different signs for cases, which the dialect takes for a default without a word.
    Default,
    /// `#v`.
    Length,
    UpperFirst,
    Upper,
    LowerFirst,
    Lower,
    Substring,
    ReplaceFirst,
    ReplaceAll,
    ReplacePrefix,
    ReplaceSuffix,
    TrimPrefix,
    TrimPrefixLongest,
    TrimSuffix,
    TrimSuffixLongest,
}

/// What a variable's name is made of: Go's `unicode.IsLetter` and `IsDigit`, which are not Rust's `is_alphabetic` and `is_numeric`.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{L}\p{Nd}_]+").ok());

/// Reads a whole text.
pub(super) fn template(text: &str) -> Result<Vec<Node>, Fault> {
    if let Some(at) = text.find('\0') {
        return Err(Fault { why: Why::Nul, at });
    }
    let mut parser = Parser {
        rest: text,
        whole: text.len(),
        depth: 0,
    };
    let mut nodes = Vec::new();
    while !parser.rest.is_empty() {
        if parser.take("${") {
            nodes.push(Node::Expression(parser.expression()?));
        } else {
            nodes.push(Node::Text(parser.text(|_| false, &["$$"])));
        }
    }
    Ok(nodes)
}

struct Parser<'t> {
    rest: &'t str,
    whole: usize,
    depth: usize,
}

impl Parser<'_> {
    fn at(&self) -> usize {
        self.whole - self.rest.len()
    }

    fn fault<T>(&self, why: Why) -> Result<T, Fault> {
        Err(Fault { why, at: self.at() })
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self, what: &str) -> bool {
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Text up to an expression, the end, or a character that ends it. Of an escape, the second character is taken as it is.
    fn text(&mut self, ends: impl Fn(char) -> bool, escapes: &[&str]) -> String {
        let mut text = String::new();
        while let Some(next) = self.peek() {
            if self.rest.starts_with("${") {
                break;
            }
            if let Some(escape) = escapes
                .iter()
                .find(|escape| self.rest.starts_with(**escape))
            {
                text.push_str(&escape[1..]);
                self.rest = &self.rest[escape.len()..];
                continue;
            }
            if ends(next) {
                break;
            }
            text.push(next);
            self.rest = &self.rest[next.len_utf8()..];
        }
        text
    }

    fn name(&mut self, otherwise: Why) -> Result<String, Fault> {
        let found = NAME.as_ref().and_then(|name| name.find(self.rest));
        match found {
            Some(found) => {
                let name = found.as_str().to_owned();
                self.rest = &self.rest[name.len()..];
                Ok(name)
            }
            None => self.fault(otherwise),
        }
    }

    fn close(&mut self, otherwise: Why) -> Result<(), Fault> {
        if self.take("}") {
            return Ok(());
        }
        self.fault(otherwise)
    }

    /// What follows `${`, to its `}`.
    fn expression(&mut self) -> Result<Expression, Fault> {
        if self.depth == MAX_DEPTH {
            return self.fault(Why::TooDeep);
        }
        self.depth += 1;
        let expression = self.expression_here()?;
        self.depth -= 1;
        Ok(expression)
    }

    fn expression_here(&mut self) -> Result<Expression, Fault> {
        let at = self.at().saturating_sub(2);
        if self.take("#") {
            let variable = self.name(Why::Malformed)?;
            self.close(Why::Malformed)?;
            return Ok(Expression {
                variable,
                operator: Operator::Length,
                arguments: Vec::new(),
                at,
            });
        }
        let variable = self.name(Why::NoName)?;
        let second = self.rest.chars().nth(1);
        let (operator, arguments) = match self.peek() {
            Some(':') if matches!(second, Some('=' | '-' | '?' | '+')) => {
                self.rest = &self.rest[2..];
                (Operator::Default, self.words()?)
            }
            // The library loses its place here.
            Some(':') if second.is_some_and(|second| !second.is_ascii()) => {
                return self.fault(Why::Malformed);
            }
            Some(':') => (Operator::Substring, self.substring()?),
            Some('=') => {
                self.take("=");
                (Operator::Default, self.words()?)
            }
            Some(',' | '^') => {
                let operator = self.case();
                self.close(Why::Malformed)?;
                (operator, Vec::new())
            }
            Some('/') => self.replace()?,
            Some('#') => (
                self.one_or_two("#", Operator::TrimPrefix, Operator::TrimPrefixLongest),
                self.pattern()?,
            ),
            Some('%') => (
                self.one_or_two("%", Operator::TrimSuffix, Operator::TrimSuffixLongest),
                self.pattern()?,
            ),
            _ => {
                self.close(Why::NotClosed)?;
                (Operator::Value, Vec::new())
            }
        };
        Ok(Expression {
            variable,
            operator,
            arguments,
            at,
        })
    }

    fn one_or_two(&mut self, sign: &str, one: Operator, two: Operator) -> Operator {
        self.take(sign);
        if self.take(sign) { two } else { one }
    }

    fn case(&mut self) -> Operator {
        for (signs, operator) in [
            ("^^", Operator::Upper),
            (",,", Operator::Lower),
            ("^,", Operator::Default),
            (",^", Operator::Default),
            ("^", Operator::UpperFirst),
        ] {
            if self.take(signs) {
                return operator;
            }
        }
        self.take(",");
        Operator::LowerFirst
    }

    /// One argument: an expression, or a text that is not empty.
    fn argument(&mut self, ends: impl Fn(char) -> bool, escapes: &[&str]) -> Result<Node, Fault> {
        if self.take("${") {
            return Ok(Node::Expression(self.expression()?));
        }
        let before = self.rest.len();
        let text = self.text(ends, escapes);
        if self.rest.len() == before {
            return self.fault(Why::NoArgument);
        }
        Ok(Node::Text(text))
    }

    /// A default: texts and expressions, to the `}`.
    fn words(&mut self) -> Result<Vec<Node>, Fault> {
        let mut words = Vec::new();
        while !self.take("}") {
            words.push(self.argument(|c| c == '}', &[])?);
        }
        Ok(words)
    }

    fn pattern(&mut self) -> Result<Vec<Node>, Fault> {
        let pattern = self.argument(|c| c == '}', &[])?;
        self.close(Why::Malformed)?;
        Ok(vec![pattern])
    }

    fn substring(&mut self) -> Result<Vec<Node>, Fault> {
        self.take(":");
        let position = self.argument(|c| c == ':' || c == '}', &[])?;
        if self.take("}") {
            return Ok(vec![position]);
        }
        let length = self.rest.trim_start_matches(':');
        if length.len() == self.rest.len() {
            return self.fault(Why::Malformed);
        }
        self.rest = length;
        let length = self.argument(|c| c == '}', &[])?;
        self.close(Why::Malformed)?;
        Ok(vec![position, length])
    }

    fn replace(&mut self) -> Result<(Operator, Vec<Node>), Fault> {
        const ESCAPES: [&str; 3] = ["$$", "\\/", "\\\\"];
        self.take("/");
        let operator = if self.take("/") {
            Operator::ReplaceAll
        } else if self.take("#") {
            Operator::ReplacePrefix
        } else if self.take("%") {
            Operator::ReplaceSuffix
        } else {
            Operator::ReplaceFirst
        };
        // A `}` does not end it.
        let old = self.argument(|c| c == '/', &ESCAPES)?;
        let new = self.rest.trim_start_matches('/');
        if new.len() == self.rest.len() {
            return self.fault(Why::Malformed);
        }
        self.rest = new;
        if self.take("}") {
            return Ok((operator, vec![old]));
        }
        let new = self.argument(|c| c == '}', &ESCAPES)?;
        self.close(Why::Malformed)?;
        Ok((operator, vec![old, new]))
    }
}
