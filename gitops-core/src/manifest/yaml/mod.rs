//! YAML and JSON, read as kubectl reads them.
//!
//! What a text means is what sigs.k8s.io/yaml 1.6.0 (on go.yaml.in/yaml/v2 2.4.3) makes of it, and a file's documents are those of
//! k8s.io/apimachinery 0.34's `YAMLOrJSONDecoder`: `0644` is 420, `yes` is true, `1_000` is 1000, `<<` merges, keys become texts,
//! dates stay texts. Where that library loses something silently, this one gives an error instead:
//!
//! - a key twice in one mapping (the library lets the later one win, and so do merged keys here, which are no duplicates);
//! - content after the end of a document (`...`);
//! - what does not fit the [`Limits`].
//!
//! Every error names file, line and column.

mod compose;
pub(crate) mod documents;
mod json;
mod scalar;
pub(crate) mod tree;
pub(crate) mod write;

use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use self::documents::{Chunk, Syntax};
pub use self::write::{to_yaml, to_yaml_documents};
use super::object::{self, Object, Origin, type_name};
use crate::error::{Error, Result};

/// How much one file may demand. The defaults bear the largest files seen in practice (Argo CD's `install.yaml` has 1.6 MB).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size of a file in bytes; 32 MiB.
    pub file_bytes: usize,
    /// How deep collections nest, aliases followed; 128. The Kubernetes clients' JSON reader goes no deeper.
    pub depth: usize,
    /// The memory that all values of a file take, estimated; 1 GiB.
    pub memory: usize,
    /// The memory that aliases and anchors multiply, estimated; 16 MiB.
    pub aliased: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 32 << 20,
            depth: 128,
            memory: 1 << 30,
            aliased: 16 << 20,
        }
    }
}

/// One document of a file.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// What it says, as JSON.
    pub value: Value,
    /// Where it begins: its first key, or the bracket that opens it.
    pub origin: Origin,
}

impl fmt::Debug for Document {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Reads the objects of a file. Documents that hold nothing are passed over, lists (every object with `items` that is an array, as
/// kubectl sees it) give their items.
///
/// # Errors
/// `InvalidInput`, naming `file`, line and column: what is no YAML or JSON, a key twice, an unknown anchor, a limit passed, a
/// document that is not an object, and what [`Object::new`] refuses.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Vec<Object>> {
    parse_with(file, bytes, &Limits::default())
}

/// [`parse`] with other limits.
///
/// # Errors
/// Those of [`parse`].
pub fn parse_with(file: &str, bytes: &[u8], limits: &Limits) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    read(file, bytes, limits, |document, chunk| {
        let places = Places {
            chunk,
            limits,
            tree: OnceCell::new(),
        };
        collect(
            document.value,
            document.origin,
            &places,
            &mut Vec::new(),
            &mut objects,
        )
    })?;
    Ok(objects)
}

/// Reads the documents of a file, whatever they hold: kustomization files, values files, patches. Documents that hold nothing, and
/// null, are passed over.
///
/// # Errors
/// `InvalidInput`, naming `file`, line and column, when it is no YAML or JSON or passes a limit.
pub fn parse_values(file: &str, bytes: &[u8]) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    read(file, bytes, &Limits::default(), |document, _| {
        documents.push(document);
        Ok(())
    })?;
    Ok(documents)
}

/// Reads a file that holds one document, such as a values file; an empty one is null.
///
/// # Errors
/// Those of [`parse_values`], and `InvalidInput` for a second document.
pub fn parse_value(file: &str, bytes: &[u8]) -> Result<Value> {
    let mut documents = parse_values(file, bytes)?.into_iter();
    let first = documents.next();
    if let Some(second) = documents.next() {
        return Err(at(&second.origin, "expected one document, found another"));
    }
    Ok(first.map_or(Value::Null, |document| document.value))
}

/// What is wrong, and where in the file.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Fault {
    fn new(message: impl Into<String>, line: usize, column: usize) -> Self {
        Self {
            message: message.into(),
            line,
            column,
        }
    }

    pub(crate) fn in_file(self, file: &str) -> Error {
        Error::invalid(format!(
            "{file}:{}:{}: {}",
            self.line, self.column, self.message
        ))
    }
}

fn at(origin: &Origin, message: &str) -> Error {
    Error::invalid(format!("{origin}: {message}"))
}

/// Gives each document that holds something to `each`, with its text.
pub(crate) fn read<'a>(
    file: &str,
    bytes: &'a [u8],
    limits: &Limits,
    mut each: impl FnMut(Document, &Chunk<'a>) -> Result<()>,
) -> Result<()> {
    let text = documents::text(bytes, limits).map_err(|fault| fault.in_file(file))?;
    let file_name: Arc<str> = file.into();
    let mut memory = limits.memory;
    let mut index = 0;
    let mut chunks = documents::split(text);
    // Why what looked like JSON is none.
    let mut no_json = None;
    while let Some(chunk) = chunks.next() {
        let chunk = chunk.map_err(|fault| fault.in_file(file))?;
        let composed = match chunk.syntax {
            Syntax::Yaml => compose::document(&chunk, limits, &mut memory),
            Syntax::Json => match json::document(&chunk, &mut memory) {
                Err(json::Refusal::Syntax(fault)) if chunks.fall_back(&chunk) => {
                    no_json = Some(fault);
                    continue;
                }
                other => other.map_err(json::Refusal::into_fault),
            },
        };
        // A text that is neither gets the error of what it looks like.
        let composed = composed.map_err(|fault| match no_json.take() {
            Some(no_json) if json::is_likely(chunk.text) => no_json,
            _ => fault,
        });
        let Some(composed) = composed.map_err(|fault| fault.in_file(file))? else {
            continue;
        };
        if composed.value.is_null() {
            continue;
        }
        let origin = Origin {
            file: Arc::clone(&file_name),
            document: index,
            line: composed.line,
            column: composed.column,
        };
        index += 1;
        each(
            Document {
                value: composed.value,
                origin,
            },
            &chunk,
        )?;
    }
    Ok(())
}

/// Where the nodes of a document stand; looked up only for lists and errors.
struct Places<'a> {
    chunk: &'a Chunk<'a>,
    limits: &'a Limits,
    tree: OnceCell<Option<tree::Node>>,
}

impl Places<'_> {
    /// `origin` moved to the node at `path`, as far as it is there.
    fn origin(&self, origin: &Origin, path: &[String]) -> Origin {
        let root = self
            .tree
            .get_or_init(|| tree::tree(self.chunk, self.limits).ok().flatten());
        let Some(root) = root else {
            return origin.clone();
        };
        let (line, column) = documents::position(self.chunk.text, root.find(path).0);
        let (line, column) = self.chunk.place(line, column);
        Origin {
            line,
            column,
            ..origin.clone()
        }
    }
}

/// Adds an object, or a list's items, to `objects`. `path` leads to it in its document.
fn collect(
    mut value: Value,
    origin: Origin,
    places: &Places<'_>,
    path: &mut Vec<String>,
    objects: &mut Vec<Object>,
) -> Result<()> {
    let list = value
        .as_object()
        .is_some_and(|map| map.get("items").is_some_and(Value::is_array));
    if !list {
        if let Err((field, message)) = object::check(&value) {
            path.extend(field);
            return Err(at(&places.origin(&origin, path), &message));
        }
        objects.push(Object::new(value, Some(origin))?);
        return Ok(());
    }
    let field = |name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (api_version, kind) = (field("apiVersion"), field("kind"));
    if kind.is_empty() {
        return Err(at(&origin, "kind is missing"));
    }
    let item_kind = kind.strip_suffix("List").unwrap_or(&kind).to_owned();
    let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) else {
        return Ok(());
    };
    path.push("items".to_owned());
    for (index, mut item) in items.into_iter().enumerate() {
        path.push(index.to_string());
        let origin = places.origin(&origin, path);
        if let Value::Object(map) = &mut item {
            // A typed list's items may leave out what the list says (unstructured.UnstructuredJSONScheme).
            let unnamed = |name| {
                map.get(name)
                    .and_then(Value::as_str)
                    .is_none_or(str::is_empty)
            };
            if unnamed("apiVersion") && unnamed("kind") && !item_kind.is_empty() {
                map.insert("apiVersion".into(), api_version.clone().into());
                map.insert("kind".into(), item_kind.clone().into());
            }
        } else {
            let message = format!("{kind}: an item is {}, not an object", type_name(&item));
            return Err(at(&origin, &message));
        }
        let depth = path.len();
        collect(item, origin, places, path, objects)?;
        path.truncate(depth - 1);
    }
    path.pop();
    Ok(())
}

/// A document's value and where it begins.
struct Composed {
    value: Value,
    line: usize,
    column: usize,
}

/// What a text costs in memory besides its value.
fn text_cost(text: &str) -> usize {
    text.len() + 24
}

/// What a value costs in a list or mapping, without its text.
const VALUE_COST: usize = 32;
/// What a mapping costs: a B-tree's smallest node has room for eleven entries.
const MAPPING_COST: usize = 640;
