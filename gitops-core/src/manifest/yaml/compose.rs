//! From parser events to values.

use std::collections::BTreeSet;

use granit_parser::{ErrorKind, Event, Options, Parser, ScanError, Span};
use serde_json::{Map, Value};

use super::documents::Chunk;
use super::scalar::{is_merge, resolve};
use super::{Composed, Fault, Limits, MAPPING_COST, VALUE_COST, text_cost};

/// How the parser is set: no comments, and nesting up to the limit.
pub(crate) fn options(limits: &Limits) -> Options {
    let mut options = granit_parser::options! {
        disallow_directives: true,
        // libyaml, and so kubectl, takes one for content.
        bom_inside_document_as_content: true,
        flow_nesting_limit: limits.depth,
        block_nesting_limit: limits.depth,
    };
    options.set_emit_comments(false);
    options
}

/// The parser's error as ours.
pub(crate) fn scan_fault(chunk: &Chunk<'_>, error: &ScanError) -> Fault {
    let mark = error.marker();
    let message = match error.kind() {
        ErrorKind::DirectiveDisallowed => {
            "directives (%YAML, %TAG) are not allowed; kubectl does not read them either".to_owned()
        }
        kind => kind.to_string(),
    };
    chunk.fault(message, mark.line(), mark.col() + 1)
}

/// Composes one document; none when it holds nothing.
pub(crate) fn document(
    chunk: &Chunk<'_>,
    limits: &Limits,
    memory: &mut usize,
) -> Result<Option<Composed>, Fault> {
    let mut composer = Composer {
        chunk,
        limits,
        memory,
        aliased: limits.aliased,
        stack: Vec::new(),
        anchors: Vec::new(),
        root: None,
    };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(chunk.text, options(limits)) {
        let (event, span) = event.map_err(|error| scan_fault(chunk, &error))?;
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                return Err(composer.fault("content after the end of the document", span));
            }
        }
        composer.event(event, span)?;
    }
    Ok(composer.root)
}

/// A collection that is not yet complete.
struct Frame {
    collection: Collection,
    anchor: usize,
    span: Span,
    /// The levels of the deepest child.
    height: usize,
    /// What the collection takes, children included.
    cost: usize,
}

enum Collection {
    Sequence(Vec<Value>),
    Mapping {
        map: Map<String, Value>,
        key: Key,
        /// The keys that the mapping itself holds, kept from its first merge on.
        own: Option<BTreeSet<String>>,
    },
    /// The value of a merge key that is a sequence: its mappings, in order.
    Merge(Vec<Map<String, Value>>),
}

enum Key {
    /// The next node is a key.
    Awaited,
    /// The next node is the value of this key, which stands here.
    Named(String, Span),
    /// The next node is what `<<` merges.
    Merge,
}

/// A complete node.
struct Node {
    value: Value,
    span: Span,
    height: usize,
    cost: usize,
    origin: NodeOrigin,
}

#[derive(Clone, Copy, PartialEq)]
enum NodeOrigin {
    Here,
    Alias,
    /// Came from a [`Collection::Merge`].
    MergeList,
}

/// An anchored node, complete.
struct Anchored {
    value: Value,
    height: usize,
    cost: usize,
}

struct Composer<'a, 'm> {
    chunk: &'a Chunk<'a>,
    limits: &'a Limits,
    memory: &'m mut usize,
    aliased: usize,
    stack: Vec<Frame>,
    anchors: Vec<Option<Anchored>>,
    root: Option<Composed>,
}

impl Composer<'_, '_> {
    fn fault(&self, message: impl Into<String>, span: Span) -> Fault {
        self.chunk
            .fault(message, span.start.line(), span.start.col() + 1)
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.awaits_key() && is_merge(&text, style, tag.as_deref()) {
                    if let Some(Frame {
                        collection: Collection::Mapping { key, map, own },
                        ..
                    }) = self.stack.last_mut()
                    {
                        *key = Key::Merge;
                        own.get_or_insert_with(|| map.keys().cloned().collect());
                    }
                    return Ok(());
                }
                let scalar = resolve(&text, style, tag.as_deref())
                    .map_err(|message| self.fault(message, span))?;
                if self.awaits_key() && anchor == 0 {
                    let key = scalar
                        .into_key()
                        .map_err(|message| self.fault(message, span))?;
                    return self.key(key, span);
                }
                let keyed = self.awaits_key().then(|| scalar.clone().into_key());
                let value = match scalar.into_value() {
                    Ok(value) => value,
                    // A key may be what no value is.
                    Err(_) if keyed.is_some() => Value::Null,
                    Err(message) => return Err(self.fault(message, span)),
                };
                let cost = VALUE_COST + value.as_str().map_or(0, text_cost);
                self.remember(anchor, &value, 0, cost, span)?;
                match keyed {
                    Some(key) => {
                        let key = key.map_err(|message| self.fault(message, span))?;
                        self.key(key, span)
                    }
                    None => self.node(Node {
                        value,
                        span,
                        height: 0,
                        cost,
                        origin: NodeOrigin::Here,
                    }),
                }
            }
            Event::SequenceStart(_, anchor, _) => {
                let merge = matches!(
                    self.stack.last(),
                    Some(Frame {
                        collection: Collection::Mapping {
                            key: Key::Merge,
                            ..
                        },
                        ..
                    })
                );
                let collection = if merge {
                    Collection::Merge(Vec::new())
                } else {
                    Collection::Sequence(Vec::new())
                };
                self.open(collection, anchor, span)
            }
            Event::MappingStart(_, anchor, _) => {
                let collection = Collection::Mapping {
                    map: Map::new(),
                    key: Key::Awaited,
                    own: None,
                };
                self.open(collection, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Ok(()),
        }
    }

    fn awaits_key(&self) -> bool {
        matches!(
            self.stack.last(),
            Some(Frame {
                collection: Collection::Mapping {
                    key: Key::Awaited,
                    ..
                },
                ..
            })
        )
    }

    fn open(&mut self, collection: Collection, anchor: usize, span: Span) -> Result<(), Fault> {
        if self.awaits_key() {
            return Err(self.fault("a key must be a scalar", span));
        }
        self.check_depth(self.stack.len() + 1, span)?;
        if self.stack.is_empty() && self.is_behind_a_tab(span) {
            return Err(self.fault("a tab stands before it; YAML is indented with spaces", span));
        }
        self.stack.push(Frame {
            collection,
            anchor,
            span,
            height: 0,
            cost: VALUE_COST,
        });
        Ok(())
    }

    /// Whether a tab indents the line where the document begins: deeper in, the parser refuses it by itself.
    fn is_behind_a_tab(&self, span: Span) -> bool {
        let line = self
            .chunk
            .text
            .lines()
            .nth(span.start.line().saturating_sub(1));
        line.is_some_and(|line| line.chars().take(span.start.col()).any(|c| c == '\t'))
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let (value, origin) = match frame.collection {
            Collection::Sequence(values) => (Value::Array(values), NodeOrigin::Here),
            Collection::Mapping { map, .. } => (Value::Object(map), NodeOrigin::Here),
            Collection::Merge(maps) => (
                Value::Array(maps.into_iter().map(Value::Object).collect()),
                NodeOrigin::MergeList,
            ),
        };
        let height = frame.height + 1;
        self.remember(frame.anchor, &value, height, frame.cost, frame.span)?;
        self.node(Node {
            value,
            span: frame.span,
            height,
            cost: frame.cost,
            origin,
        })
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Fault> {
        let Some(anchored) = self.anchors.get(anchor).and_then(Option::as_ref) else {
            return Err(self.fault("an anchor's value contains itself", span));
        };
        let (height, cost) = (anchored.height, anchored.cost);
        let value = match self.aliased.checked_sub(cost) {
            Some(left) => {
                self.aliased = left;
                anchored.value.clone()
            }
            None => return Err(self.fault("aliases expand to too much", span)),
        };
        self.check_depth(self.stack.len() + height, span)?;
        if self.awaits_key() {
            let key = match value {
                Value::String(text) => text,
                Value::Bool(value) => value.to_string(),
                Value::Number(number) if !number.is_f64() => number.to_string(),
                _ => {
                    return Err(self.fault("a key must be a text, an integer or a boolean", span));
                }
            };
            return self.key(key, span);
        }
        self.node(Node {
            value,
            span,
            height,
            cost,
            origin: NodeOrigin::Alias,
        })
    }

    fn key(&mut self, name: String, span: Span) -> Result<(), Fault> {
        if let Some(Frame {
            collection: Collection::Mapping { key, .. },
            ..
        }) = self.stack.last_mut()
        {
            *key = Key::Named(name, span);
        }
        Ok(())
    }

    /// Keeps the value of an anchor.
    fn remember(
        &mut self,
        anchor: usize,
        value: &Value,
        height: usize,
        cost: usize,
        span: Span,
    ) -> Result<(), Fault> {
        if anchor == 0 {
            return Ok(());
        }
        match self.aliased.checked_sub(cost) {
            Some(left) => self.aliased = left,
            None => return Err(self.fault("anchors hold too much", span)),
        }
        if self.anchors.len() <= anchor {
            self.anchors.resize_with(anchor + 1, || None);
        }
        self.anchors[anchor] = Some(Anchored {
            value: value.clone(),
            height,
            cost,
        });
        Ok(())
    }

    fn check_depth(&self, depth: usize, span: Span) -> Result<(), Fault> {
        if depth > self.limits.depth {
            let message = format!("nested more than {} levels deep", self.limits.depth);
            return Err(self.fault(message, span));
        }
        Ok(())
    }

    /// A node is complete: it goes where the innermost open collection awaits one.
    fn node(&mut self, node: Node) -> Result<(), Fault> {
        let Some(frame) = self.stack.last_mut() else {
            let (line, column) = self
                .chunk
                .place(node.span.start.line(), node.span.start.col() + 1);
            self.root = Some(Composed {
                value: node.value,
                line,
                column,
            });
            return Ok(());
        };
        frame.height = frame.height.max(node.height);
        let (chunk, span) = (self.chunk, node.span);
        let fault = |message: &str, span: Span| {
            Err(chunk.fault(message, span.start.line(), span.start.col() + 1))
        };
        const NO_MAPPING: &str = "<< merges a mapping or a list of mappings";
        let cost = match &mut frame.collection {
            Collection::Sequence(values) => {
                values.push(node.value);
                node.cost
            }
            Collection::Merge(maps) => {
                let Value::Object(map) = node.value else {
                    return fault(NO_MAPPING, span);
                };
                maps.push(map);
                node.cost
            }
            Collection::Mapping { map, key, own } => {
                let first = if map.is_empty() { MAPPING_COST } else { 0 };
                match std::mem::replace(key, Key::Awaited) {
                    Key::Awaited => return fault("a key must be a scalar", span),
                    Key::Named(name, key_span) => {
                        let cost = first + text_cost(&name) + node.cost;
                        let twice = match own {
                            Some(own) => !own.insert(name.clone()),
                            None => false,
                        };
                        // Without merges, what was there was this mapping's own.
                        let held = own.is_none() && map.contains_key(&name);
                        if twice || held {
                            return fault(&format!("duplicate key {name:?}"), key_span);
                        }
                        map.insert(name, node.value);
                        cost
                    }
                    // As the library does it: merged where it stands, so that what comes later wins, and of several mappings the
                    // first.
                    Key::Merge => {
                        match node.value {
                            Value::Object(merged) => map.extend(merged),
                            Value::Array(maps) if node.origin == NodeOrigin::MergeList => {
                                for merged in maps.into_iter().rev() {
                                    if let Value::Object(merged) = merged {
                                        map.extend(merged);
                                    }
                                }
                            }
                            _ => return fault(NO_MAPPING, span),
                        }
                        first + node.cost
                    }
                }
            }
        };
        frame.cost += cost;
        // Children were paid for when they were made; what is new here is what holds them.
        let own = cost - node.cost
            + if node.height == 0 {
                node.cost
            } else {
                VALUE_COST
            };
        match self.memory.checked_sub(own) {
            Some(left) => *self.memory = left,
            None => return fault("the file takes too much memory", span),
        }
        Ok(())
    }
}
