//! JSON documents, with the same refusals as YAML's.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::documents::{Chunk, position};
use super::scalar::number_of;
use super::{Composed, Fault, MAPPING_COST, VALUE_COST, text_cost};

/// How long the JSON value is at the beginning of `text`, as its brackets tell; none when they do not close, or there are none.
pub(crate) fn extent(text: &str) -> Option<usize> {
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether a text that begins with a brace is meant as JSON: its first key is quoted.
pub(crate) fn is_likely(text: &str) -> bool {
    text.trim_start()
        .strip_prefix('{')
        .is_some_and(|rest| rest.trim_start().starts_with(['"', '}']))
}

/// Why a document was refused.
pub(crate) enum Refusal {
    /// It is not JSON.
    Syntax(Fault),
    /// It is, but not as it must be.
    Content(Fault),
}

impl Refusal {
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Syntax(fault) | Self::Content(fault) => fault,
        }
    }
}

/// Reads one document.
pub(crate) fn document(chunk: &Chunk<'_>, memory: &mut usize) -> Result<Option<Composed>, Refusal> {
    let left = Cell::new(*memory);
    let mut deserializer = serde_json::Deserializer::from_str(chunk.text);
    let read = Node(&left)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    *memory = left.get();
    match read {
        Ok(value) => {
            let (line, column) = chunk.place(1, 1);
            Ok(Some(Composed {
                value,
                line,
                column,
            }))
        }
        Err(error) => {
            let mut message = error.to_string();
            if let Some(at) = message.rfind(" at line ") {
                message.truncate(at);
            }
            // Its columns count bytes.
            let line_start = chunk
                .text
                .split_inclusive('\n')
                .take(error.line().saturating_sub(1))
                .map(str::len)
                .sum::<usize>();
            let offset = chunk
                .text
                .floor_char_boundary(line_start + error.column().saturating_sub(1));
            let (line, column) = position(chunk.text, offset);
            let fault = chunk.fault(message, line, column);
            let syntax = error.is_syntax() && !fault.message.starts_with("recursion limit");
            Err(if syntax || error.is_eof() {
                Refusal::Syntax(fault)
            } else {
                Refusal::Content(fault)
            })
        }
    }
}

/// A value, paid from what memory is left.
#[derive(Clone, Copy)]
struct Node<'m>(&'m Cell<usize>);

impl Node<'_> {
    fn pay<E: serde::de::Error>(self, cost: usize) -> Result<(), E> {
        match self.0.get().checked_sub(cost) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(E::custom("the file takes too much memory")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        number_of(value).map(Value::Number).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.pay(text_cost(value))?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.pay(text_cost(&value))?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            self.pay(VALUE_COST)?;
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key {key:?}")));
            }
            let node = if map.is_empty() {
                MAPPING_COST
            } else {
                VALUE_COST
            };
            self.pay(node + text_cost(&key))?;
            let value = access.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
