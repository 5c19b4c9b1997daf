//! Edits that leave everything else as it is: comments, order, quotes, indentation, line ends, byte for byte.
//!
//! An edit says what a document shall hold. The nodes that differ are found in the text and only their bytes are replaced; then the new
//! text is read again, and an edit whose result is not exactly what was asked for is an error, never a file.
//!
//! Anchors and aliases: an alias that shall have another value than its anchor gets that value written out in its place; the anchor and
//! its other aliases stay.

mod align;
mod apply;
mod splice;

use std::fmt;

use serde_json::Value;

use self::apply::path;
use self::splice::{Planner, Removed};
use super::object::ObjectId;
use super::yaml::{self, Limits, documents, tree};
use crate::error::{Error, Result};

/// Which document of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// By its number, from 0; documents that hold nothing do not count ([`Origin::document`](super::Origin::document)).
    Document(usize),
    /// By the object that it holds. An object inside a list is found by the list's document number only.
    Object(ObjectId),
}

/// One change of a file. Pointers are JSON pointers (RFC 6901) into the document.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Edit {
    /// Gives a node a value. A key that is not there is added, its parents too; an item of a list must be there.
    Set {
        /// The document.
        target: Target,
        /// The node; empty is the whole document.
        pointer: String,
        /// What it shall hold.
        value: Value,
    },
    /// Adds an item at the end of a list; a list that is not there is made.
    Append {
        /// The document.
        target: Target,
        /// The list.
        pointer: String,
        /// The item.
        value: Value,
    },
    /// Takes a key or an item away.
    Remove {
        /// The document.
        target: Target,
        /// The key or item.
        pointer: String,
    },
    /// Changes what differs in a document, so that it holds a value.
    Update {
        /// The document.
        target: Target,
        /// What it shall hold.
        value: Value,
    },
    /// Adds a document at the end.
    AppendDocument {
        /// What it holds.
        value: Value,
    },
    /// Takes a document away, with the comments in it.
    RemoveDocument {
        /// The document.
        target: Target,
    },
}

impl fmt::Debug for Edit {
    /// Without values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, target, pointer) = match self {
            Self::Set {
                target, pointer, ..
            } => ("Set", Some(target), Some(pointer)),
            Self::Append {
                target, pointer, ..
            } => ("Append", Some(target), Some(pointer)),
            Self::Remove { target, pointer } => ("Remove", Some(target), Some(pointer)),
            Self::Update { target, .. } => ("Update", Some(target), None),
            Self::AppendDocument { .. } => ("AppendDocument", None, None),
            Self::RemoveDocument { target } => ("RemoveDocument", Some(target), None),
        };
        let mut shown = f.debug_struct(name);
        if let Some(target) = target {
            shown.field("target", target);
        }
        if let Some(pointer) = pointer {
            shown.field("pointer", pointer);
        }
        shown.finish_non_exhaustive()
    }
}

/// Makes edits, one after the other, in the text of a file.
///
/// # Errors
/// `InvalidInput` when the text cannot be read ([`yaml::parse_values`]) or a pointer leads nowhere, `NotFound` for a document that is not there,
/// `Unsupported` when the edit cannot be made without touching something else (a merged key, an alias used as a key).
pub fn edit(file: &str, text: &str, edits: &[Edit]) -> Result<String> {
    let mut text = text.to_owned();
    for edit in edits {
        text = match edit {
            Edit::Set {
                target,
                pointer,
                value,
            } => change(file, &text, target, |document| {
                apply::set(document, &path(pointer)?, value.clone())?;
                Ok(None)
            })?,
            Edit::Append {
                target,
                pointer,
                value,
            } => change(file, &text, target, |document| {
                apply::append(document, &path(pointer)?, value.clone())?;
                Ok(None)
            })?,
            Edit::Remove { target, pointer } => change(file, &text, target, |document| {
                let path = path(pointer)?;
                apply::remove(document, &path)?;
                Ok(Some(path))
            })?,
            Edit::Update { target, value } => change(file, &text, target, |document| {
                *document = value.clone();
                Ok(None)
            })?,
            Edit::AppendDocument { value } => append_document(file, &text, value)?,
            Edit::RemoveDocument { target } => remove_document(file, &text, target)?,
        };
    }
    Ok(text)
}

/// Makes a document hold `value` with the fewest changes to its text: [`edit`] with one [`Edit::Update`].
///
/// # Errors
/// Those of [`edit`].
pub fn update_document(file: &str, text: &str, document: usize, value: &Value) -> Result<String> {
    change(file, text, &Target::Document(document), |old| {
        *old = value.clone();
        Ok(None)
    })
}

/// A document that holds something: its text and its value.
struct Found<'a> {
    chunk: documents::Chunk<'a>,
    value: Value,
}

/// The documents of a text that hold something. `text` has no byte order mark.
fn read<'a>(file: &str, text: &'a str) -> Result<Vec<Found<'a>>> {
    let mut found = Vec::new();
    yaml::read(
        file,
        text.as_bytes(),
        &Limits::default(),
        |document, chunk| {
            found.push(Found {
                chunk: *chunk,
                value: document.value,
            });
            Ok(())
        },
    )?;
    Ok(found)
}

fn select(file: &str, found: &[Found<'_>], target: &Target) -> Result<usize> {
    let at = match target {
        Target::Document(index) => Some(*index).filter(|index| *index < found.len()),
        Target::Object(id) => found.iter().position(|found| {
            super::object::Object::new(found.value.clone(), None)
                .is_ok_and(|object| object.id() == *id)
        }),
    };
    at.ok_or_else(|| {
        Error::not_found(match target {
            Target::Document(index) => format!("{file} has no document {index}"),
            Target::Object(id) => format!("{file} does not hold {id}"),
        })
    })
}

/// Changes a document to what `modify` makes of its value; that may name the item or key that it removed.
fn change(
    file: &str,
    whole: &str,
    target: &Target,
    modify: impl FnOnce(&mut Value) -> Result<Option<Vec<String>>>,
) -> Result<String> {
    let (mark, text) = split_mark(whole);
    let found = read(file, text)?;
    let index = select(file, &found, target)?;
    let document = &found[index];
    let mut wanted = document.value.clone();
    let removed = modify(&mut wanted).map_err(|error| error.context(file.to_owned()))?;
    if wanted == document.value {
        return Ok(whole.to_owned());
    }
    let root = tree::tree(&document.chunk, &Limits::default())
        .map_err(|fault| fault.in_file(file))?
        .ok_or_else(|| Error::internal(format!("{file}: the document holds nothing")))?;
    let removed = removed.and_then(|path| Removed::locate(&root, &path));
    let planner = Planner::new(&document.chunk, &root, newline(text), removed);
    let spliced = planner.plan(&document.value, &wanted);
    let mut new = String::with_capacity(whole.len() + 64);
    new.push_str(mark);
    new.push_str(&text[..document.chunk.start]);
    new.push_str(&spliced);
    new.push_str(&text[document.chunk.start + document.chunk.text.len()..]);
    // Nothing but the document may have changed.
    let again = yaml::parse_values(file, new.as_bytes());
    let holds = again.is_ok_and(|again| {
        again.len() == found.len()
            && again.iter().enumerate().all(|(at, document)| {
                if at == index {
                    document.value == wanted
                } else {
                    document.value == found[at].value
                }
            })
    });
    if !holds {
        return Err(Error::new(
            crate::ErrorKind::Unsupported,
            format!(
                "{file}:{}: the change cannot be made in the text without touching something else",
                document.chunk.line
            ),
        ));
    }
    Ok(new)
}

fn append_document(file: &str, whole: &str, value: &Value) -> Result<String> {
    let (mark, text) = split_mark(whole);
    let found = read(file, text)?;
    let newline = newline(text);
    let mut new = whole.to_owned();
    let json = found
        .last()
        .is_some_and(|last| last.chunk.syntax == documents::Syntax::Json);
    if new.len() > mark.len() && !new.ends_with('\n') {
        new.push_str(newline);
    }
    if json {
        let mut rendered = String::new();
        yaml::write::pretty_json(value, "", "  ", &mut rendered);
        rendered.push('\n');
        new.push_str(&rendered.replace('\n', newline));
    } else {
        if !text.trim().is_empty() && !ends_with_separator(text) {
            new.push_str("---");
            new.push_str(newline);
        }
        new.push_str(&yaml::to_yaml(value).replace('\n', newline));
    }
    let again = yaml::parse_values(file, new.as_bytes())?;
    if again.len() != found.len() + 1 || again.last().is_none_or(|last| last.value != *value) {
        return Err(Error::new(
            crate::ErrorKind::Unsupported,
            format!("{file}: a document cannot be added at its end"),
        ));
    }
    Ok(new)
}

/// Whether a text ends with a line `---`, so that a document may follow.
fn ends_with_separator(text: &str) -> bool {
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .is_some_and(|line| line.starts_with("---"))
}

fn remove_document(file: &str, whole: &str, target: &Target) -> Result<String> {
    let (mark, text) = split_mark(whole);
    let found = read(file, text)?;
    let index = select(file, &found, target)?;
    let chunk = &found[index].chunk;
    let (mut start, mut end) = (chunk.start, chunk.start + chunk.text.len());
    if chunk.syntax == documents::Syntax::Json {
        // With the white space up to the next.
        end += text[end..].len() - text[end..].trim_start().len();
    } else if text[end..].starts_with("---") {
        // With the separator that ends it.
        end = text[end..]
            .find('\n')
            .map_or(text.len(), |length| end + length + 1);
    } else if let Some(separator) = text[..start].rfind("---") {
        // The last one: with the separator before it.
        start = text[..separator].rfind('\n').map_or(0, |at| at + 1);
    }
    let new = format!("{mark}{}{}", &text[..start], &text[end..]);
    let again = yaml::parse_values(file, new.as_bytes())?;
    let left = found
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != index)
        .map(|(_, found)| &found.value);
    if !left.eq(again.iter().map(|document| &document.value)) {
        return Err(Error::new(
            crate::ErrorKind::Unsupported,
            format!("{file}: the document cannot be taken out without touching another"),
        ));
    }
    Ok(new)
}

/// A byte order mark, and the text after it.
fn split_mark(text: &str) -> (&str, &str) {
    text.split_at(if text.starts_with('\u{feff}') { 3 } else { 0 })
}

/// The line break that a text uses.
fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}
