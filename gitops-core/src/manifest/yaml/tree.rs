//! The nodes of a document with their places in the text, for edits and messages.

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};

use super::compose;
use super::documents::Chunk;
use super::scalar::{is_merge, resolve};
use super::{Fault, Limits};

/// A node; offsets count bytes of the chunk's text.
#[derive(Debug)]
pub(crate) struct Node {
    /// Where it begins, its anchor and tag included.
    pub(crate) start: usize,
    /// Where they end; without any, where the node may begin.
    pub(crate) properties: usize,
    /// Where it begins without them.
    pub(crate) content: usize,
    /// Where it ends, without the line break that ends it.
    pub(crate) end: usize,
    /// The number of its anchor; 0 when it has none.
    pub(crate) anchor: usize,
    pub(crate) tagged: bool,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Scalar(ScalarStyle),
    /// A value that is not written at all.
    Empty,
    Alias(usize),
    Sequence {
        flow: bool,
        items: Vec<Item>,
    },
    Mapping {
        flow: bool,
        entries: Vec<Entry>,
    },
}

/// An item of a list.
#[derive(Debug)]
pub(crate) struct Item {
    /// Where its dash stands; between brackets, where it begins.
    pub(crate) start: usize,
    pub(crate) node: Node,
}

/// An entry of a mapping.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where it begins: its key, or the `?` before it.
    pub(crate) start: usize,
    /// Its key; none for `<<`.
    pub(crate) key: Option<String>,
    /// Where the key's text ends.
    pub(crate) key_end: usize,
    /// What follows the colon; none when there is no colon.
    pub(crate) colon_end: Option<usize>,
    pub(crate) value: Node,
}

/// Reads a document's tree; none when it holds nothing.
pub(crate) fn tree(chunk: &Chunk<'_>, limits: &Limits) -> Result<Option<Node>, Fault> {
    let options: Options = {
        let mut options = compose::options(limits);
        options.emit_anchor_events = true;
        options
    };
    let mut builder = Builder {
        chunk,
        events: Vec::new(),
        at: 0,
    };
    for event in Parser::new_from_str_with_options(chunk.text, options) {
        let (event, span) = event.map_err(|error| compose::scan_fault(chunk, &error))?;
        match event {
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::DocumentEnd | Event::StreamEnd => break,
            event => builder.events.push((event, span)),
        }
    }
    if builder.events.is_empty() {
        return Ok(None);
    }
    builder.node(0).map(Some)
}

/// The first byte at or after `from` that is neither white space nor a comment.
pub(crate) fn skip(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'#' => {
                at = text[at..]
                    .find('\n')
                    .map_or(text.len(), |length| at + length);
            }
            // A byte order mark before the document.
            0xef if text[at..].starts_with('\u{feff}') && at == 0 => at += 3,
            _ => break,
        }
    }
    at
}

struct Builder<'a> {
    chunk: &'a Chunk<'a>,
    events: Vec<(Event<'a>, Span)>,
    at: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        let event = self.events.get(self.at).cloned();
        self.at += 1;
        event
    }

    fn lost(&self) -> Fault {
        self.chunk
            .fault("the document's structure cannot be followed", 1, 1)
    }

    fn range(&self, span: Span) -> Result<(usize, usize), Fault> {
        match (span.start.byte_offset(), span.end.byte_offset()) {
            (Some(start), Some(end)) if start <= end && end <= self.chunk.text.len() => {
                Ok((start, end))
            }
            _ => Err(self.lost()),
        }
    }

    /// The next node, which stands somewhere after `from`.
    fn node(&mut self, from: usize) -> Result<Node, Fault> {
        let text = self.chunk.text;
        let (event, span) = self.next().ok_or_else(|| self.lost())?;
        let (span_start, span_end) = self.range(span)?;
        let mut properties = from;
        if let Some(tag) = span.tag_span() {
            properties = self.range(tag)?.1;
        }
        let anchor = if let Some((Event::Anchor(id, _), span)) = self.events.get(self.at) {
            let (id, span) = (*id, *span);
            self.at += 1;
            properties = properties.max(self.range(span)?.1);
            id
        } else {
            0
        };
        let tagged = span.tag_span().is_some();
        let bare = properties == from;
        let start = skip(text, from);
        let content = skip(text, properties);
        let node = |content, end, kind| Node {
            start: if bare { content } else { start },
            properties,
            content,
            end,
            anchor,
            tagged,
            kind,
        };
        Ok(match event {
            Event::Scalar(_, style @ (ScalarStyle::Literal | ScalarStyle::Folded), ..) => {
                // Its span begins with its first line; before stands its header.
                let header = line_end(text, content);
                let keep = text[content..header]
                    .split('#')
                    .next()
                    .is_some_and(|header| header.contains('+'));
                let body = text[..span_end.max(header)].trim_end_matches([' ', '\t']);
                let end = if keep {
                    body.strip_suffix('\n').unwrap_or(body)
                } else {
                    body.trim_end_matches([' ', '\t', '\r', '\n'])
                };
                let end = end.strip_suffix('\r').unwrap_or(end).len();
                node(content, end.max(header), Kind::Scalar(style))
            }
            Event::Scalar(..) if span_start == span_end => {
                node(properties, properties, Kind::Empty)
            }
            Event::Scalar(_, style, ..) => node(span_start, span_end, Kind::Scalar(style)),
            Event::Alias(id) => node(span_start, span_end, Kind::Alias(id)),
            Event::SequenceStart(style, ..) => {
                let flow = style == StructureStyle::Flow;
                let mut items: Vec<Item> = Vec::new();
                let mut cursor = if flow { content + 1 } else { content };
                loop {
                    match self.events.get(self.at) {
                        Some((Event::SequenceEnd, span)) => {
                            let span = *span;
                            self.at += 1;
                            let end = match items.last() {
                                Some(last) if !flow => last.node.end.max(last.start + 1),
                                _ => self.range(span)?.1,
                            };
                            break node(content, end, Kind::Sequence { flow, items });
                        }
                        None => return Err(self.lost()),
                        Some(_) => {}
                    }
                    let mut start = skip(text, cursor);
                    if flow && text[start..].starts_with(',') {
                        start = skip(text, start + 1);
                    }
                    if !flow && !text[start..].starts_with('-') {
                        return Err(self.lost());
                    }
                    let item = self.node(if flow { start } else { start + 1 })?;
                    cursor = item.end.max(start + usize::from(!flow));
                    items.push(Item { start, node: item });
                }
            }
            Event::MappingStart(style, ..) => {
                let flow = style == StructureStyle::Flow;
                let braces = flow && text[content..].starts_with('{');
                let mut entries: Vec<Entry> = Vec::new();
                let mut cursor = if braces { content + 1 } else { content };
                loop {
                    match self.events.get(self.at) {
                        Some((Event::MappingEnd, span)) => {
                            let span = *span;
                            self.at += 1;
                            let end = match entries.last() {
                                Some(last) if !braces => last.value.end,
                                _ => self.range(span)?.1,
                            };
                            break node(content, end, Kind::Mapping { flow, entries });
                        }
                        None => return Err(self.lost()),
                        Some(_) => {}
                    }
                    let mut start = skip(text, cursor);
                    if flow && text[start..].starts_with(',') {
                        start = skip(text, start + 1);
                    }
                    let entry = self.entry(start)?;
                    cursor = entry.value.end;
                    entries.push(entry);
                }
            }
            _ => return Err(self.lost()),
        })
    }

    fn entry(&mut self, start: usize) -> Result<Entry, Fault> {
        let text = self.chunk.text;
        let explicit = text[start..].starts_with("? ") || text[start..].starts_with("?\n");
        let key_at = self.at;
        let key_node = self.node(if explicit { start + 1 } else { start })?;
        let key = match self.events.get(key_at) {
            Some((Event::Scalar(text, style, _, tag), _)) => {
                let tag = tag.as_deref();
                if is_merge(text, *style, tag) {
                    None
                } else {
                    let key = resolve(text, *style, tag).and_then(|scalar| scalar.into_key());
                    Some(key.map_err(|message| self.chunk.fault(message, 1, 1))?)
                }
            }
            // An alias for a key: nothing here can be edited.
            _ => return Err(self.lost()),
        };
        let colon = skip(text, key_node.end);
        let colon_end = text[colon..].starts_with(':').then_some(colon + 1);
        let value = self.node(colon_end.unwrap_or(key_node.end))?;
        Ok(Entry {
            start,
            key,
            key_end: key_node.end,
            colon_end,
            value,
        })
    }
}

/// Where the line of `at` ends, before its line break.
pub(crate) fn line_end(text: &str, at: usize) -> usize {
    let end = text[at..]
        .find('\n')
        .map_or(text.len(), |length| at + length);
    if end > at && text[..end].ends_with('\r') {
        end - 1
    } else {
        end
    }
}

impl Node {
    /// The node at a JSON pointer's parts, and where to point when it is not there: at the last one that is.
    pub(crate) fn find<'n>(&'n self, path: &[String]) -> (usize, Option<&'n Self>) {
        let mut node = self;
        let mut place = self.start;
        for part in path {
            let next = match &node.kind {
                Kind::Mapping { entries, .. } => entries
                    .iter()
                    .rev()
                    .find(|entry| entry.key.as_ref() == Some(part))
                    .map(|entry| (entry.start, &entry.value)),
                Kind::Sequence { items, .. } => part
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|item| (item.node.start, &item.node)),
                _ => None,
            };
            let Some((start, next)) = next else {
                return (place, None);
            };
            (place, node) = (start, next);
        }
        (place, Some(node))
    }
}
