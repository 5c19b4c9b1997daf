//! From a difference of values to replaced bytes.

use std::collections::HashMap;

use granit_parser::ScalarStyle;
use serde_json::{Map, Value};

use super::align::{Step, align};
use crate::manifest::yaml::documents::{Chunk, Syntax};
use crate::manifest::yaml::tree::{Entry, Item, Kind, Node, line_end};
use crate::manifest::yaml::write::{self, Layout, Place};

/// The item of a list that an edit takes away; among equal ones, the values alone do not tell which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removed {
    /// Where the list begins.
    list: usize,
    index: usize,
}

impl Removed {
    /// The item at `path`, when that is one.
    pub(super) fn locate(root: &Node, path: &[String]) -> Option<Self> {
        let (last, parents) = path.split_last()?;
        let list = root.find(parents).1?;
        match &list.kind {
            Kind::Sequence { .. } => Some(Self {
                list: list.start,
                index: last.parse().ok()?,
            }),
            _ => None,
        }
    }
}

/// Bytes to be replaced.
struct Splice {
    start: usize,
    end: usize,
    text: String,
}

/// Where a node stands, which tells how another may take its place.
#[derive(Clone, Copy)]
enum Slot {
    /// It is the document.
    Root,
    /// After a colon; the column of the key.
    Value(usize),
    /// After a dash; its column.
    Item(usize),
    /// Between brackets; where a missing colon must be written.
    Flow(Place, Option<usize>),
}

/// Plans the splices of one document.
pub(super) struct Planner<'a> {
    text: &'a str,
    root: &'a Node,
    newline: &'static str,
    removed: Option<Removed>,
    layout: Layout,
    json: bool,
    /// Indentation of one level of JSON.
    json_step: String,
    anchored: bool,
    /// What the anchors seen so far will hold.
    anchors: HashMap<usize, Value>,
    splices: Vec<Splice>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        chunk: &Chunk<'a>,
        root: &'a Node,
        newline: &'static str,
        removed: Option<Removed>,
    ) -> Self {
        let text = chunk.text;
        let mut style = Style::default();
        style.look(text, root);
        Self {
            text,
            root,
            newline,
            removed,
            layout: Layout {
                step: style.step.unwrap_or(2),
                deeper_lists: style.deeper_lists.unwrap_or(false),
            },
            json: chunk.syntax == Syntax::Json,
            json_step: style.json_step.unwrap_or_else(|| "  ".to_owned()),
            anchored: style.anchored,
            anchors: HashMap::new(),
            splices: Vec::new(),
        }
    }

    /// The document's text with `new` in place of `old`.
    pub(super) fn plan(mut self, old: &Value, new: &Value) -> String {
        let slot = if self.json {
            Slot::Flow(Place::Json, None)
        } else {
            Slot::Root
        };
        self.node(self.root, old, new, slot);
        self.splices.sort_by_key(|splice| splice.start);
        let mut out = String::with_capacity(self.text.len() + 64);
        let mut at = 0;
        for splice in &self.splices {
            if splice.start > at {
                out.push_str(&self.text[at..splice.start]);
            }
            let text = splice.text.replace('\n', self.newline);
            match text.strip_prefix(self.newline) {
                // The line it was to follow has gone, and its break with it.
                Some(lines) if splice.start < at => {
                    out.push_str(lines);
                    out.push_str(self.newline);
                }
                _ => out.push_str(&text),
            }
            at = at.max(splice.end);
        }
        out.push_str(&self.text[at..]);
        out
    }

    fn splice(&mut self, start: usize, end: usize, text: impl Into<String>) {
        self.splices.push(Splice {
            start,
            end,
            text: text.into(),
        });
    }

    fn node(&mut self, node: &Node, old: &Value, new: &Value, slot: Slot) {
        if old == new && !self.anchored {
            return;
        }
        match (&node.kind, old, new) {
            (Kind::Alias(id), _, _) => {
                if self.anchors.get(id) != Some(new) {
                    self.replace(node, new, slot);
                }
            }
            (Kind::Mapping { flow, entries }, Value::Object(old), Value::Object(map))
                if !entries.is_empty() && !map.is_empty() =>
            {
                if !self.mapping(node, *flow, entries, old, map) {
                    self.replace(node, new, slot);
                }
            }
            (Kind::Sequence { flow, items }, Value::Array(old), Value::Array(list))
                if !items.is_empty() && !list.is_empty() && old.len() == items.len() =>
            {
                if !self.sequence(node, *flow, items, old, list) {
                    self.replace(node, new, slot);
                }
            }
            _ => {
                if old != new {
                    self.replace(node, new, slot);
                }
            }
        }
        if node.anchor != 0 {
            self.anchors.insert(node.anchor, new.clone());
        }
    }

    /// Changes the entries of a mapping; false when it must be written anew.
    fn mapping(
        &mut self,
        node: &Node,
        flow: bool,
        entries: &[Entry],
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> bool {
        let braces = self.text[node.content..].starts_with('{');
        let Some(inherited) = self.inherited(entries) else {
            return false;
        };
        if inherited.keys().any(|key| !new.contains_key(key)) {
            return false;
        }
        let kept: Vec<_> = entries
            .iter()
            .map(|entry| entry.key.as_ref().is_none_or(|key| new.contains_key(key)))
            .collect();
        let own = |key: &String| entries.iter().any(|entry| entry.key.as_ref() == Some(key));
        let added: Vec<_> = write::ordered(new)
            .into_iter()
            .filter(|(key, value)| !own(key) && inherited.get(*key) != Some(*value))
            .collect();
        if !kept.contains(&true)
            || (flow && !braces && (kept.contains(&false) || !added.is_empty()))
        {
            return false;
        }
        let place = self.place(entries.first().map(|entry| entry.start));
        let column = self.column(entries[0].start);
        for (entry, _) in entries.iter().zip(&kept).filter(|(_, kept)| **kept) {
            let Some(key) = &entry.key else {
                continue;
            };
            let slot = if flow {
                let colon = entry.colon_end.is_none().then_some(entry.key_end);
                Slot::Flow(place, colon)
            } else {
                Slot::Value(column)
            };
            let null = Value::Null;
            let (old, new) = (old.get(key).unwrap_or(&null), new.get(key).unwrap_or(&null));
            self.node(&entry.value, old, new, slot);
        }
        let extents: Vec<_> = entries
            .iter()
            .map(|entry| (entry.start, entry.value.end))
            .collect();
        self.remove(flow, &extents, &kept);
        let last = kept.iter().rposition(|kept| *kept);
        for (key, value) in added {
            if flow {
                let key = write::text(key, place);
                let own_line = self.own_line(&extents);
                let value = self.flow_value(value, place, own_line.as_deref());
                self.insert_flow(&extents, last, None, &format!("{key}: {value}"));
            } else {
                let mut rendered = String::new();
                self.layout.entry(key, value, column, &mut rendered);
                self.insert_block(&extents, last, None, column, &rendered);
            }
        }
        true
    }

    /// What `<<` brings into a mapping after all edits; none when that cannot be told.
    fn inherited(&self, entries: &[Entry]) -> Option<Map<String, Value>> {
        let mut inherited = Map::new();
        for entry in entries.iter().filter(|entry| entry.key.is_none()) {
            let sources: Vec<_> = match &entry.value.kind {
                Kind::Alias(id) => vec![self.anchors.get(id)?],
                Kind::Sequence { items, .. } => items
                    .iter()
                    .rev()
                    .map(|item| match &item.node.kind {
                        Kind::Alias(id) => self.anchors.get(id),
                        _ => None,
                    })
                    .collect::<Option<_>>()?,
                _ => return None,
            };
            for source in sources {
                inherited.extend(source.as_object()?.clone());
            }
        }
        Some(inherited)
    }

    /// Changes the items of a list; false when it must be written anew.
    fn sequence(
        &mut self,
        node: &Node,
        flow: bool,
        items: &[Item],
        old: &[Value],
        new: &[Value],
    ) -> bool {
        let steps = match self.removed {
            Some(removed) if removed.list == node.start && new.len() + 1 == old.len() => (0..old
                .len())
                .map(|at| match at.cmp(&removed.index) {
                    std::cmp::Ordering::Less => Step::Keep(at, at),
                    std::cmp::Ordering::Equal => Step::Remove(at),
                    std::cmp::Ordering::Greater => Step::Keep(at, at - 1),
                })
                .collect(),
            _ => align(old, new),
        };
        let mut kept = vec![false; items.len()];
        for step in &steps {
            if let Step::Keep(at, _) = step {
                kept[*at] = true;
            }
        }
        let Some(first) = kept.iter().position(|kept| *kept) else {
            return false;
        };
        let place = self.place(None);
        let column = self.column(items[0].start);
        let extents: Vec<_> = items
            .iter()
            .map(|item| {
                (
                    item.start,
                    item.node.end.max(item.start + usize::from(!flow)),
                )
            })
            .collect();
        self.remove(flow, &extents, &kept);
        let mut last = None;
        for step in steps {
            match step {
                Step::Keep(at, to) => {
                    let slot = if flow {
                        Slot::Flow(place, None)
                    } else {
                        Slot::Item(column)
                    };
                    self.node(&items[at].node, &old[at], &new[to], slot);
                    last = Some(at);
                }
                Step::Insert(to) if flow => {
                    let own_line = self.own_line(&extents);
                    let value = self.flow_value(&new[to], place, own_line.as_deref());
                    self.insert_flow(&extents, last, Some(first), &value);
                }
                Step::Insert(to) => {
                    let mut rendered = String::new();
                    self.layout.item(&new[to], column, &mut rendered);
                    self.insert_block(&extents, last, Some(first), column, &rendered);
                }
                Step::Remove(_) => {}
            }
        }
        true
    }

    /// Takes away what is not kept of a collection.
    fn remove(&mut self, flow: bool, extents: &[(usize, usize)], kept: &[bool]) {
        let count = extents.len();
        let mut at = 0;
        while at < count {
            if kept[at] {
                at += 1;
                continue;
            }
            let run = (at..count).find(|next| kept[*next]).unwrap_or(count);
            if flow {
                if run < count {
                    self.splice(extents[at].0, extents[run].0, "");
                } else if at > 0 {
                    self.splice(extents[at - 1].1, extents[count - 1].1, "");
                }
            } else if self.begins_line(extents[at].0) {
                for &(start, end) in &extents[at..run] {
                    self.remove_lines(start, end);
                }
            } else if run < count {
                // What follows moves up to the dash; a comment in between is kept.
                let end = line_end(self.text, extents[run - 1].1);
                let rest = &self.text[end..];
                let next = end + (rest.len() - rest.trim_start().len());
                self.splice(extents[at].0, next.min(extents[run].0), "");
            }
            at = run;
        }
    }

    fn remove_lines(&mut self, start: usize, end: usize) {
        let start = self.line_start(start);
        let end = line_end(self.text, end);
        match self.text[end..].find('\n') {
            Some(newline) => self.splice(start, end + newline + 1, ""),
            // The last line ends without a break: the one before it does then.
            None => {
                let before = self.text[..start].strip_suffix('\n').unwrap_or("");
                let before = before.strip_suffix('\r').unwrap_or(before).len();
                self.splice(before, end, "");
            }
        }
    }

    /// Adds a child after the one with the number `last`, or else before `first`.
    fn insert_block(
        &mut self,
        extents: &[(usize, usize)],
        last: Option<usize>,
        first: Option<usize>,
        column: usize,
        rendered: &str,
    ) {
        let indentation = " ".repeat(column);
        match (last, first) {
            (Some(last), _) => {
                let end = line_end(self.text, extents[last].1);
                self.splice(end, end, format!("\n{indentation}{rendered}"));
            }
            (None, Some(first)) => {
                let start = extents[first].0;
                self.splice(start, start, format!("{rendered}\n{indentation}"));
            }
            (None, None) => {}
        }
    }

    /// [`insert_block`](Self::insert_block) between brackets.
    fn insert_flow(
        &mut self,
        extents: &[(usize, usize)],
        last: Option<usize>,
        first: Option<usize>,
        rendered: &str,
    ) {
        let space = match self.own_line(extents) {
            Some(indentation) => format!("\n{indentation}"),
            None => " ".to_owned(),
        };
        match (last, first) {
            (Some(last), _) => {
                let end = extents[last].1;
                self.splice(end, end, format!(",{space}{rendered}"));
            }
            (None, Some(first)) => {
                let start = extents[first].0;
                self.splice(start, start, format!("{rendered},{space}"));
            }
            (None, None) => {}
        }
    }

    /// The indentation of a bracketed collection's children, when each has its own line.
    fn own_line(&self, extents: &[(usize, usize)]) -> Option<String> {
        let (start, _) = *extents.last()?;
        self.begins_line(start)
            .then(|| self.text[self.line_start(start)..start].to_owned())
    }

    fn flow_value(&self, value: &Value, place: Place, own_line: Option<&str>) -> String {
        match own_line {
            Some(indentation) if place == Place::Json => {
                let mut out = String::new();
                write::pretty_json(value, indentation, &self.json_step, &mut out);
                out
            }
            _ => write::inline(value, place),
        }
    }

    /// Writes a node anew. Its anchor stays, its tag goes.
    fn replace(&mut self, node: &Node, new: &Value, slot: Slot) {
        let mut anchor = String::new();
        let alias = matches!(node.kind, Kind::Alias(_));
        if node.tagged && node.anchor != 0 {
            let properties = &self.text[node.start..node.properties];
            if let Some(at) = properties.find('&') {
                let name = properties[at..].split_whitespace().next();
                anchor = format!("{} ", name.unwrap_or_default());
            }
        }
        // Without its tag, a node begins where its properties did.
        let (start, content) = if node.tagged {
            (node.start, node.start)
        } else {
            (node.properties, node.content)
        };
        let column = match slot {
            Slot::Flow(place, colon) => {
                let line = &self.text[self.line_start(node.content)..node.content];
                let indentation: String = line.chars().take_while(|c| c.is_whitespace()).collect();
                let spread = self.json && self.text.contains('\n');
                let value = self.flow_value(new, place, spread.then_some(indentation.as_str()));
                if matches!(node.kind, Kind::Empty) {
                    let colon_text = if colon.is_some() { ":" } else { "" };
                    let at = colon.unwrap_or(node.end);
                    self.splice(at, at, format!("{colon_text} {anchor}{value}"));
                } else {
                    self.splice(content, node.end, format!("{anchor}{value}"));
                }
                return;
            }
            Slot::Root => {
                let rendered = write::to_yaml(new);
                let rendered = rendered.strip_suffix('\n').unwrap_or(&rendered);
                self.splice(content, node.end, rendered);
                return;
            }
            Slot::Value(column) | Slot::Item(column) => column,
        };
        let mut rendered = String::new();
        let bare = node.anchor == 0 || alias;
        match (new, &node.kind, slot) {
            (Value::String(text), Kind::Scalar(ScalarStyle::DoubleQuoted), _) => {
                rendered.push(' ');
                rendered.push_str(&write::double_quoted(text, Place::Block));
            }
            (Value::String(text), Kind::Scalar(ScalarStyle::SingleQuoted), _)
                if !text.chars().any(write::escaped) =>
            {
                rendered.push(' ');
                rendered.push_str(&write::single_quoted(text));
            }
            (_, _, Slot::Item(_)) if bare => {
                let mut item = String::new();
                self.layout.item(new, column, &mut item);
                rendered.push_str(item.strip_prefix('-').unwrap_or(&item));
            }
            _ => self.layout.value(new, column, &mut rendered),
        }
        let same_line =
            !matches!(node.kind, Kind::Empty) && !self.text[start..content].contains(['\n', '#']);
        let (start, rendered) = match rendered.strip_prefix(' ') {
            Some(rest) if same_line => (content, format!("{anchor}{rest}")),
            _ if anchor.is_empty() => (start, rendered),
            _ => (start, format!("{}{rendered}", anchor.trim_end())),
        };
        // A comment behind the old value stays on the line of the key.
        let line_end = line_end(self.text, node.end);
        match rendered.split_once('\n') {
            Some((head, tail)) if !self.text[node.end..line_end].trim().is_empty() => {
                self.splice(start, node.end, head);
                self.splice(line_end, line_end, format!("\n{tail}"));
            }
            _ => self.splice(start, node.end, rendered),
        }
    }

    fn place(&self, first_key: Option<usize>) -> Place {
        let quoted = first_key.is_some_and(|at| self.text[at..].starts_with('"'));
        if self.json || quoted {
            Place::Json
        } else {
            Place::Flow
        }
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    fn begins_line(&self, at: usize) -> bool {
        self.text[self.line_start(at)..at].trim().is_empty()
    }

    fn column(&self, at: usize) -> usize {
        self.text[self.line_start(at)..at].chars().count()
    }
}

/// How a document is laid out.
#[derive(Default)]
struct Style {
    step: Option<usize>,
    deeper_lists: Option<bool>,
    json_step: Option<String>,
    anchored: bool,
}

impl Style {
    fn look(&mut self, text: &str, node: &Node) {
        self.anchored |= node.anchor != 0;
        let line_start = |at: usize| text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let column = |at: usize| text[line_start(at)..at].chars().count();
        match &node.kind {
            Kind::Mapping { flow, entries } => {
                for entry in entries {
                    let deeper = column(entry.value.content).checked_sub(column(entry.start));
                    let own_line = line_start(entry.value.content) > entry.start;
                    match &entry.value.kind {
                        Kind::Mapping { flow: false, .. } if own_line => {
                            self.step = self.step.or(deeper.filter(|step| *step > 0));
                        }
                        Kind::Sequence { flow: false, .. } if own_line => {
                            self.deeper_lists = self.deeper_lists.or(deeper.map(|by| by > 0));
                        }
                        _ => {}
                    }
                    if *flow && self.json_step.is_none() {
                        let indentation = &text[line_start(entry.start)..entry.start];
                        if indentation.trim().is_empty() && !indentation.is_empty() {
                            self.json_step = Some(indentation.to_owned());
                        }
                    }
                    self.look(text, &entry.value);
                }
            }
            Kind::Sequence { items, .. } => {
                for item in items {
                    self.look(text, &item.node);
                }
            }
            _ => {}
        }
    }
}
