//! Every document of some kinds that Go modules hold, read into types and written again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gitops_core::manifest::yaml;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One kind.
pub(crate) struct Kind {
    group: &'static str,
    kind: &'static str,
    round_trip: fn(Value) -> Result<Value, serde_json::Error>,
    /// How many documents of it there are at least.
    least: usize,
}

fn round_trip<T: DeserializeOwned + Serialize>(
    document: Value,
) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(document)?)
}

impl Kind {
    pub(crate) const fn new<T: DeserializeOwned + Serialize>(
        group: &'static str,
        kind: &'static str,
        least: usize,
    ) -> Self {
        Self {
            group,
            kind,
            round_trip: round_trip::<T>,
            least,
        }
    }

    /// Whether the document is of this kind, whatever the version.
    pub(crate) fn is_of(&self, document: &Value) -> bool {
        let text = |key: &str| document[key].as_str().unwrap_or_default();
        let group = text("apiVersion").split_once('/').map(|(group, _)| group);
        group == Some(self.group) && text("kind") == self.kind
    }
}

/// What is read, and what is known of it.
pub(crate) struct Suite {
    /// Go modules, each with what its places begin with.
    pub(crate) modules: &'static [(&'static str, &'static str)],
    pub(crate) kinds: &'static [Kind],
    /// What cannot be read: where it is, and why.
    pub(crate) unreadable: &'static [(&'static str, &'static str)],
    /// Required fields: they are written, empty, where a document has left them out, as Go writes them.
    pub(crate) required: &'static [&'static str],
    /// Fills in the templates of a text.
    pub(crate) fill: fn(&str) -> String,
}

/// A document, or why there is none.
pub(crate) struct Document {
    /// The file; for a block of Markdown, with its first line.
    pub(crate) place: String,
    pub(crate) value: Result<Value, String>,
}

impl Suite {
    /// All documents of the kinds, and texts that may have some but cannot be read.
    pub(crate) fn documents(&self) -> Result<Vec<Document>> {
        let mut documents = Vec::new();
        for (prefix, module) in self.modules {
            let root = e2e::module_dir(module)?;
            for Text { place, text } in texts(&root, prefix)? {
                // Cheap, before anything is parsed.
                let raw = String::from_utf8_lossy(&text);
                let has = |kind: &Kind| raw.contains(&format!("{}/", kind.group));
                if !self.kinds.iter().any(has) {
                    continue;
                }
                let values = match yaml::parse_values(&place, (self.fill)(&raw).as_bytes()) {
                    Ok(values) => values,
                    Err(error) => {
                        let value = Err(error.to_string());
                        documents.push(Document { place, value });
                        continue;
                    }
                };
                let mut found = Vec::new();
                for value in values {
                    flatten(value.value, &mut found);
                }
                found.retain(|value| self.kinds.iter().any(|kind| kind.is_of(value)));
                documents.extend(found.into_iter().map(|value| Document {
                    place: place.clone(),
                    value: Ok(value),
                }));
            }
        }
        Ok(documents)
    }

    /// The document, read and written.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn round_trip(&self, document: Value) -> Result<Value, String> {
        let kind = self.kinds.iter().find(|kind| kind.is_of(&document));
        let kind = kind.ok_or_else(|| "no kind".to_owned())?;
        (kind.round_trip)(document).map_err(|error| error.to_string())
    }

    /// Whether it is known that this cannot be read.
    pub(crate) fn excuse(&self, place: &str) -> Option<&'static str> {
        let known = self.unreadable.iter().map(|(known, _)| *known);
        known.into_iter().find(|known| place.starts_with(known))
    }

    /// Reads and writes all documents, and fails on whatever is lost or not known beforehand.
    pub(crate) fn check(&self) -> Result<()> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut wrong, mut excused, mut names) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for Document { place, value } in self.documents()? {
            let read = value.and_then(|value| {
                let kind = self.kinds.iter().find(|kind| kind.is_of(&value));
                let kind = kind.ok_or_else(|| "no kind".to_owned())?;
                let written =
                    (kind.round_trip)(value.clone()).map_err(|error| error.to_string())?;
                Ok((kind, value, written))
            });
            let (kind, value, written) = match read {
                Ok(read) => read,
                Err(error) => {
                    match self.excuse(&place) {
                        Some(known) => _ = excused.insert(known),
                        None => wrong.push(format!("{place}: {error}")),
                    }
                    continue;
                }
            };
            *counts.entry(kind.kind).or_default() += 1;
            let lost = differences(&value, &written, &mut names);
            wrong.extend(
                lost.into_iter()
                    .map(|lost| format!("{place}: {}{lost}", kind.kind)),
            );
        }
        println!("documents: {counts:?}; required fields that some left out: {names:?}");
        for (place, why) in self.unreadable {
            println!("not read: {place}: {why}");
            if !excused.contains(place) {
                wrong.push(format!("{place} is listed as unreadable, and is not"));
            }
        }
        let unexpected = names
            .iter()
            .filter(|name| !self.required.contains(&name.as_str()));
        wrong.extend(unexpected.map(|name| format!("{name} is written where it was not there")));
        assert!(
            wrong.is_empty(),
            "{}\n{} are wrong",
            wrong.join("\n"),
            wrong.len()
        );
        for kind in self.kinds {
            let count = counts.get(kind.kind).copied().unwrap_or_default();
            let (kind, least) = (kind.kind, kind.least);
            assert!(
                count >= least,
                "{count} documents of {kind}, expected {least}"
            );
        }
        Ok(())
    }
}

/// What of `read` is not in `written`, and what is that is not empty; the names of what is there besides, empty.
pub(crate) fn differences(
    read: &Value,
    written: &Value,
    names: &mut BTreeSet<String>,
) -> Vec<String> {
    let (mut lost, mut more) = (Vec::new(), Vec::new());
    compare("", read, written, &mut lost, &mut more);
    for (path, value) in more {
        let name = path.rsplit('.').next().unwrap_or_default();
        if !added(name, &value, names) {
            lost.push(format!("{path}: {value} was not there"));
        }
    }
    lost
}

/// A text with documents, and where it is.
struct Text {
    place: String,
    text: Vec<u8>,
}

/// Files of the module that may hold manifests; blocks of YAML in its Markdown.
fn texts(root: &Path, prefix: &str) -> Result<Vec<Text>> {
    let mut folders = vec![root.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let place = format!("{prefix}{}", file.strip_prefix(root)?.display());
        let read = || fs::read(&file).with_context(|| place.clone());
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml" | "json") => {
                let text = read()?;
                texts.push(Text { place, text });
            }
            Some("md") => texts.extend(blocks(&place, &String::from_utf8(read()?)?)),
            _ => {}
        }
    }
    Ok(texts)
}

/// The fenced blocks of YAML in a text of Markdown.
fn blocks(place: &str, text: &str) -> Vec<Text> {
    let mut blocks: Vec<Text> = Vec::new();
    let mut inside: Option<(usize, bool)> = None;
    for (number, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        match (inside, bare.strip_prefix("```")) {
            (None, Some(language)) => {
                let wanted = matches!(language.trim(), "yaml" | "yml" | "json");
                inside = Some((indent, wanted));
                if wanted {
                    blocks.push(Text {
                        place: format!("{place}:{}", number + 2),
                        text: Vec::new(),
                    });
                }
            }
            (Some(_), Some(_)) => inside = None,
            (Some((indent, true)), None) => {
                if let Some(block) = blocks.last_mut() {
                    let cut = indent.min(line.len() - bare.len());
                    block.text.extend_from_slice(&line.as_bytes()[cut..]);
                    block.text.push(b'\n');
                }
            }
            _ => {}
        }
    }
    blocks
}

/// The documents, and the items of lists.
fn flatten(value: Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(mut map) if map.get("items").is_some_and(Value::is_array) => {
            if let Some(Value::Array(items)) = map.remove("items") {
                items.into_iter().for_each(|item| flatten(item, found));
            }
        }
        value => found.push(value),
    }
}

/// Where `written` does not have what `read` has, and where it has more; `null` is what is not there.
fn compare(
    path: &str,
    read: &Value,
    written: &Value,
    lost: &mut Vec<String>,
    more: &mut Vec<(String, Value)>,
) {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            for (key, read) in read.iter().filter(|(_, read)| !read.is_null()) {
                let path = format!("{path}.{key}");
                match written.get(key) {
                    Some(written) => compare(&path, read, written, lost, more),
                    None => lost.push(format!("{path}: {read} is lost")),
                }
            }
            for (key, written) in written {
                if read.get(key).is_none_or(Value::is_null) {
                    more.push((format!("{path}.{key}"), written.clone()));
                }
            }
        }
        (Value::Array(read), Value::Array(written)) if read.len() == written.len() => {
            for (at, (read, written)) in read.iter().zip(written).enumerate() {
                compare(&format!("{path}[{at}]"), read, written, lost, more);
            }
        }
        _ if read == written => {}
        _ => lost.push(format!("{path}: {read} became {written}")),
    }
}

/// Adds the names of all fields of what was added; whether all of it is empty.
fn added(name: &str, value: &Value, names: &mut BTreeSet<String>) -> bool {
    names.insert(name.to_owned());
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.iter().all(|(key, value)| added(key, value, names)),
        _ => false,
    }
}
