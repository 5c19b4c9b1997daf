//! Reads the fields of an object that nobody has checked: absent, null, and wrong are three things.

use std::fmt;

use gitops_core::application::Health;
use gitops_core::manifest::Object;
use serde_json::{Map, Value};

/// What a rule finds: health, or a field that is not what the API says.
pub(super) type Checked<T = Health> = Result<T, WrongField>;

/// A field that holds something else than the API says. The value itself is not shown: it may be a secret.
#[derive(Debug)]
pub(super) struct WrongField {
    path: String,
    want: &'static str,
    found: &'static str,
}

impl WrongField {
    fn new(path: String, want: &'static str, found: &Value) -> Self {
        Self {
            path,
            want,
            found: match found {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "another number",
                Value::String(_) => "a string",
                Value::Array(_) => "a list",
                Value::Object(_) => "an object",
            },
        }
    }
}

impl fmt::Display for WrongField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} should be {}, but is {}",
            self.path, self.want, self.found
        )
    }
}

/// One map of the object, and where it is.
#[derive(Clone)]
pub(super) struct View<'a> {
    map: &'a Map<String, Value>,
    at: String,
}

impl<'a> View<'a> {
    pub(super) fn new(object: &'a Object) -> Self {
        Self {
            map: object.value(),
            at: String::new(),
        }
    }

    /// The value at a path of field names joined by dots; `None` when it, or anything on the way, is absent or null.
    pub(super) fn get(&self, path: &str) -> Checked<Option<&'a Value>> {
        let mut map = self.map;
        let mut rest = path;
        loop {
            let (field, after) = match rest.split_once('.') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            let value = match map.get(field) {
                None | Some(Value::Null) => return Ok(None),
                Some(value) => value,
            };
            let Some(after) = after else {
                return Ok(Some(value));
            };
            let Value::Object(inner) = value else {
                let walked = path.len() - after.len() - 1;
                return Err(self.wrong(&path[..walked], "an object", value));
            };
            map = inner;
            rest = after;
        }
    }

    /// A text.
    pub(super) fn text(&self, path: &str) -> Checked<Option<&'a str>> {
        match self.get(path)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(path, "a string", other)),
        }
    }

    /// A text; empty when it is absent.
    pub(super) fn text_or_empty(&self, path: &str) -> Checked<&'a str> {
        Ok(self.text(path)?.unwrap_or_default())
    }

    /// A whole number that may be below zero.
    pub(super) fn int(&self, path: &str) -> Checked<Option<i64>> {
        match self.get(path)? {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(path, "a whole number", value)),
            },
        }
    }

    /// A number of things: whole, and not below zero.
    pub(super) fn count(&self, path: &str) -> Checked<Option<i64>> {
        match self.int(path)? {
            Some(number) if number < 0 => Err(WrongField {
                path: self.path(path),
                want: "a count",
                found: "below zero",
            }),
            number => Ok(number),
        }
    }

    /// A count; 0 when it is absent, as the API leaves out zeros.
    pub(super) fn count_or_zero(&self, path: &str) -> Checked<i64> {
        Ok(self.count(path)?.unwrap_or(0))
    }

    /// A switch; off when it is absent.
    pub(super) fn flag(&self, path: &str) -> Checked<bool> {
        match self.get(path)? {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => Err(self.wrong(path, "a boolean", other)),
        }
    }

    /// A list; empty when it is absent.
    pub(super) fn list(&self, path: &str) -> Checked<&'a [Value]> {
        match self.get(path)? {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.wrong(path, "a list", other)),
        }
    }

    /// The value of one field of this very map, whose name may hold dots; `None` when it is absent or null.
    pub(super) fn field(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A list of maps; empty when it is absent.
    pub(super) fn items(&self, path: &str) -> Checked<Vec<View<'a>>> {
        let items = self.list(path)?;
        Self::list_items(&self.path(path), items)
    }

    /// The maps of a list that is found at `at`.
    pub(super) fn list_items(at: &str, items: &'a [Value]) -> Checked<Vec<View<'a>>> {
        items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let at = format!("{at}[{index}]");
                match item {
                    Value::Object(map) => Ok(View { map, at }),
                    other => Err(WrongField::new(at, "an object", other)),
                }
            })
            .collect()
    }

    /// A map within this one.
    pub(super) fn inner(&self, path: &str) -> Checked<Option<View<'a>>> {
        match self.get(path)? {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(View {
                map,
                at: self.path(path),
            })),
            Some(other) => Err(self.wrong(path, "an object", other)),
        }
    }

    /// `status.conditions`.
    pub(super) fn conditions(&self) -> Checked<Vec<Condition<'a>>> {
        self.items("status.conditions")?
            .iter()
            .map(Condition::read)
            .collect()
    }

    /// The error about a field of this view.
    pub(super) fn wrong(&self, path: &str, want: &'static str, found: &Value) -> WrongField {
        WrongField::new(self.path(path), want, found)
    }

    fn path(&self, path: &str) -> String {
        if self.at.is_empty() {
            path.to_owned()
        } else {
            format!("{}.{path}", self.at)
        }
    }
}

/// The `status` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    /// `Unknown`, absent, or a word that the API does not know: nobody can build on it.
    Unknown,
}

/// One entry of `status.conditions`, in the form of `metav1.Condition` and its elders.
#[derive(Clone, Debug)]
pub(super) struct Condition<'a> {
    pub(super) kind: &'a str,
    pub(super) truth: Truth,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    pub(super) observed_generation: Option<i64>,
}

impl<'a> Condition<'a> {
    pub(super) fn read(view: &View<'a>) -> Checked<Self> {
        Ok(Self {
            kind: view.text_or_empty("type")?,
            truth: match view.text_or_empty("status")? {
                "True" => Truth::True,
                "False" => Truth::False,
                _ => Truth::Unknown,
            },
            reason: view.text_or_empty("reason")?,
            message: view.text_or_empty("message")?,
            observed_generation: view.int("observedGeneration")?,
        })
    }

    pub(super) fn is(&self, kind: &str, truth: Truth) -> bool {
        self.kind == kind && self.truth == truth
    }

    /// Reason and message, as far as there are any; else the condition itself (`Ready is False`).
    pub(super) fn says(&self) -> String {
        match (self.reason, self.message) {
            ("", "") => format!("{} is {:?}", self.kind, self.truth),
            ("", message) => message.to_owned(),
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

/// The condition of a type.
pub(super) fn find<'c, 'a>(
    conditions: &'c [Condition<'a>],
    kind: &str,
) -> Option<&'c Condition<'a>> {
    conditions.iter().find(|c| c.kind == kind)
}
