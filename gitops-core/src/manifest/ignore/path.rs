//! A place in an object.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// To an entry of a list.
    Index(usize),
    /// To a field; of a list, to the entry with that number.
    Field(String),
}

/// A place in an object. Paths are ordered so that an entry of a list comes before those behind it, and whatever holds something before that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// Reads a JSON pointer (RFC 6901).
    pub(super) fn parse(pointer: &str) -> Result<Self> {
        if !pointer.starts_with('/') {
            return Err(Error::invalid(format!(
                "ignoreDifferences: {pointer:?} is no JSON pointer below the root: it must begin with /"
            )));
        }
        Ok(Self::of_pointer(pointer))
    }

    /// The place of a pointer that is known to be one.
    pub(super) fn of_pointer(pointer: &str) -> Self {
        Self(
            pointer
                .split('/')
                .skip(1)
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .map(|part| match part.parse() {
                    Ok(index) if part == "0" || !part.starts_with(['0', '+']) => Step::Index(index),
                    _ => Step::Field(part),
                })
                .collect(),
        )
    }

    pub(super) fn get<'v>(&self, object: &'v Map<String, Value>) -> Option<&'v Value> {
        let (first, rest) = self.0.split_first()?;
        let mut value = object.get(&*first.name())?;
        for step in rest {
            value = match value {
                Value::Object(map) => map.get(&*step.name())?,
                Value::Array(list) => list.get(step.index()?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// Takes away what is there, if anything is.
    pub(super) fn remove(&self, object: &mut Map<String, Value>) {
        let Some((last, parents)) = self.0.split_last() else {
            return;
        };
        match holder(object, parents) {
            Some(Holder::Map(map)) => {
                map.remove(&*last.name());
            }
            Some(Holder::List(list)) => {
                if let Some(index) = last.index().filter(|index| *index < list.len()) {
                    list.remove(index);
                }
            }
            None => {}
        }
    }

    /// Puts `value` there, where there is something to hold it.
    pub(super) fn set(&self, object: &mut Map<String, Value>, value: Value) {
        let Some((last, parents)) = self.0.split_last() else {
            return;
        };
        match holder(object, parents) {
            Some(Holder::Map(map)) => {
                map.insert(last.name().into_owned(), value);
            }
            Some(Holder::List(list)) => {
                if let Some(entry) = last.index().and_then(|index| list.get_mut(index)) {
                    *entry = value;
                }
            }
            None => {}
        }
    }
}

impl Step {
    fn name(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Field(name) => name.as_str().into(),
            Self::Index(index) => index.to_string().into(),
        }
    }

    fn index(&self) -> Option<usize> {
        match self {
            Self::Index(index) => Some(*index),
            Self::Field(_) => None,
        }
    }
}

enum Holder<'v> {
    Map(&'v mut Map<String, Value>),
    List(&'v mut Vec<Value>),
}

fn holder<'v>(object: &'v mut Map<String, Value>, steps: &[Step]) -> Option<Holder<'v>> {
    let mut at = Holder::Map(object);
    for step in steps {
        let value = match at {
            Holder::Map(map) => map.get_mut(&*step.name())?,
            Holder::List(list) => list.get_mut(step.index()?)?,
        };
        at = match value {
            Value::Object(map) => Holder::Map(map),
            Value::Array(list) => Holder::List(list),
            _ => return None,
        };
    }
    Some(at)
}
