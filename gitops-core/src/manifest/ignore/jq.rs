//! jq path expressions, through jaq.
//!
//! Argo CD gives an expression one second. Here expressions are kept to what always ends: paths, conditions and the functions below, no
//! definitions and no generators.

use std::fmt;
use std::sync::Arc;

use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::load::{Arena, File, Loader, lex::StrPart};
use jaq_core::path::{Part, Path as JqPath};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::Val;
use serde_json::Value;

use super::path::{Path, Step};
use crate::error::{Error, Result};

/// No object has more places that are worth ignoring.
const MAX_PATHS: usize = 10_000;

const FUNCTIONS: &[&str] = &[
    "all",
    "any",
    "arrays",
    "ascii_downcase",
    "ascii_upcase",
    "booleans",
    "contains",
    "empty",
    "endswith",
    "false",
    "first",
    "getpath",
    "has",
    "in",
    "index",
    "inside",
    "isvalid",
    "keys",
    "keys_unsorted",
    "last",
    "length",
    "ltrimstr",
    "match",
    "not",
    "null",
    "nulls",
    "numbers",
    "objects",
    "recurse",
    "rtrimstr",
    "scalars",
    "select",
    "split",
    "startswith",
    "strings",
    "test",
    "tonumber",
    "tostring",
    "true",
    "type",
    "values",
];

type Filter = jaq_core::Filter<data::JustLut<Val>>;

/// An expression that names places.
#[derive(Clone)]
pub(super) struct Expression {
    text: String,
    filter: Arc<Filter>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl Expression {
    pub(super) fn new(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!(
                "ignoreDifferences: the jq path expression {text:?} {why}"
            ))
        };
        let term = jaq_core::load::parse(text, |parser| parser.term())
            .ok_or_else(|| bad("cannot be read"))?;
        if let Some(name) = forbidden(&term) {
            return Err(bad(&format!(
                "uses {name}, which is not among the functions of a path"
            )));
        }
        // On lines of its own: the expression may end in a comment.
        let code = format!("path(\n{text}\n)");
        let arena = Arena::default();
        let definitions = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs());
        let functions = jaq_core::funs()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs());
        let modules = Loader::new(definitions)
            .load(
                &arena,
                File {
                    code: code.as_str(),
                    path: (),
                },
            )
            .map_err(|_| bad("cannot be read"))?;
        let filter = Compiler::default()
            .with_funs(functions)
            .compile(modules)
            .map_err(|_| bad("cannot be read"))?;
        Ok(Self {
            text: text.to_owned(),
            filter: Arc::new(filter),
        })
    }

    /// The places in `value`. Where the expression does not fit the object it names none, as in Argo CD.
    pub(super) fn paths(&self, value: &Value) -> Vec<Path> {
        let Ok(input) = serde_json::from_value::<Val>(value.clone()) else {
            return Vec::new();
        };
        let context = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new([]));
        self.filter
            .id
            .run((context, input))
            .map(unwrap_valr)
            .take(MAX_PATHS)
            .map_while(std::result::Result::ok)
            .filter_map(|path| steps(&path))
            .collect()
    }
}

fn steps(path: &Val) -> Option<Path> {
    let Val::Arr(steps) = path else {
        return None;
    };
    let steps: Vec<Step> = steps
        .iter()
        .map(|step| match step {
            Val::TStr(name) => Some(Step::Field(String::from_utf8(name.to_vec()).ok()?)),
            Val::Num(number) => Some(Step::Index(number.to_string().parse().ok()?)),
            _ => None,
        })
        .collect::<Option<_>>()?;
    (!steps.is_empty()).then_some(Path(steps))
}

/// What the expression uses and may not.
fn forbidden(term: &Term<&str>) -> Option<String> {
    let all = |terms: &[&Term<&str>]| terms.iter().find_map(|term| forbidden(term));
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => None,
        Term::Str(_, parts) => parts.iter().find_map(|part| match part {
            StrPart::Term(term) => forbidden(term),
            _ => None,
        }),
        Term::Arr(inner) => inner.as_deref().and_then(forbidden),
        Term::Obj(entries) => entries
            .iter()
            .find_map(|(key, value)| forbidden(key).or_else(|| value.as_ref().and_then(forbidden))),
        Term::Neg(inner) | Term::Label(_, inner) => forbidden(inner),
        Term::BinOp(left, operator, right) => match operator {
            BinaryOp::Pipe(pattern) => pattern
                .as_ref()
                .and_then(in_pattern)
                .or_else(|| all(&[left, right])),
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                Some("an assignment".into())
            }
            _ => all(&[left, right]),
        },
        Term::Fold(..) => Some("reduce or foreach".into()),
        Term::TryCatch(body, catch) => {
            forbidden(body).or_else(|| catch.as_deref().and_then(forbidden))
        }
        Term::IfThenElse(branches, otherwise) => branches
            .iter()
            .find_map(|(condition, then)| all(&[condition, then]))
            .or_else(|| otherwise.as_deref().and_then(forbidden)),
        Term::Def(..) => Some("a definition".into()),
        Term::Call(name, arguments) => {
            let known = FUNCTIONS.contains(name) && (*name != "recurse" || arguments.is_empty());
            if known {
                arguments.iter().find_map(forbidden)
            } else {
                Some((*name).to_owned())
            }
        }
        Term::Path(start, JqPath(parts)) => forbidden(start).or_else(|| {
            parts.iter().find_map(|(part, _)| match part {
                Part::Index(index) => forbidden(index),
                Part::Range(None, None) => None,
                // A slice is no single place.
                Part::Range(..) => Some("a slice".into()),
            })
        }),
    }
}

fn in_pattern(pattern: &Pattern<&str>) -> Option<String> {
    match pattern {
        Pattern::Var(_) => None,
        Pattern::Arr(inner) => inner.iter().find_map(in_pattern),
        Pattern::Obj(entries) => entries
            .iter()
            .find_map(|(key, value)| forbidden(key).or_else(|| in_pattern(value))),
    }
}
