//! A file's text and its documents.

use std::str;

use super::{Fault, Limits};

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    Yaml,
    Json,
}

/// The text of one document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) text: &'a str,
    pub(crate) syntax: Syntax,
    /// Where `text` begins in the file's text.
    pub(crate) start: usize,
    /// The line, from 1, where it begins.
    pub(crate) line: usize,
    /// How many columns of that line stand before it.
    pub(crate) column: usize,
}

impl Chunk<'_> {
    /// A fault at a place inside the chunk, given with its line from 1 and its column from 1.
    pub(crate) fn fault(&self, message: impl Into<String>, line: usize, column: usize) -> Fault {
        let (line, column) = self.place(line, column);
        Fault::new(message, line, column)
    }

    /// A place inside the chunk, as a place in the file.
    pub(crate) fn place(&self, line: usize, column: usize) -> (usize, usize) {
        if line <= 1 {
            (self.line, self.column + column)
        } else {
            (self.line + line - 1, column)
        }
    }
}

/// The line and column, from 1, of a byte of `text`.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
    (line, 1 + before[start..].chars().count())
}

/// The text of a file: UTF-8 without its byte order mark, without control characters (go-yaml's readers refuse them as well).
pub(crate) fn text<'a>(bytes: &'a [u8], limits: &Limits) -> Result<&'a str, Fault> {
    if bytes.len() > limits.file_bytes {
        let within = &bytes[..limits.file_bytes];
        let line = 1 + within.iter().filter(|byte| **byte == b'\n').count();
        let message = format!(
            "the file has {} bytes; at most {} are read",
            bytes.len(),
            limits.file_bytes
        );
        return Err(Fault::new(message, line, 1));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let valid = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let (line, column) = position(valid, valid.len());
        Fault::new("not valid UTF-8", line, column)
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(offset) = control(text) {
        let (line, column) = position(text, offset);
        let code = text[offset..].chars().next().map_or(0, u32::from);
        let message = format!("control character U+{code:04X} is not allowed");
        return Err(Fault::new(message, line, column));
    }
    Ok(text)
}

/// The first character that YAML does not allow.
fn control(text: &str) -> Option<usize> {
    let suspect = |byte: &u8| {
        (*byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r'))
            || matches!(byte, 0x7f | 0xc2 | 0xef)
    };
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(suspect) {
        let at = from + at;
        let refused = match bytes[at..] {
            // C1 controls but NEL; U+FFFE and U+FFFF.
            [0xc2, second, ..] => (0x80..0xa0).contains(&second) && second != 0x85,
            [0xef, second, third, ..] => second == 0xbf && third >= 0xbe,
            _ => true,
        };
        if refused {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// The documents of a file's text, the empty ones too.
///
/// As k8s.io/apimachinery's `YAMLOrJSONDecoder`: a text that begins with `{` is a series of JSON values; where the first or second of
/// them is no JSON, what is left is YAML, whose documents are parted by lines that begin with `---`.
pub(crate) fn split(text: &str) -> Documents<'_> {
    Documents {
        text,
        json: text.trim_start().starts_with('{'),
        seen: 0,
        at: 0,
        line: 1,
        counted: 0,
    }
}

/// See [`split`].
pub(crate) struct Documents<'a> {
    text: &'a str,
    json: bool,
    /// How many JSON values there were.
    seen: usize,
    at: usize,
    /// The line of `counted`.
    line: usize,
    counted: usize,
}

impl<'a> Documents<'a> {
    fn line_of(&mut self, offset: usize) -> usize {
        if offset < self.counted {
            (self.line, self.counted) = (1, 0);
        }
        let between = &self.text.as_bytes()[self.counted..offset];
        self.line += between.iter().filter(|byte| **byte == b'\n').count();
        self.counted = offset;
        self.line
    }

    fn chunk(&mut self, start: usize, end: usize, syntax: Syntax) -> Chunk<'a> {
        let line = self.line_of(start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        Chunk {
            text: &self.text[start..end],
            syntax,
            start,
            line,
            column: self.text[line_start..start].chars().count(),
        }
    }

    /// Reads on as YAML from the beginning of `chunk`, which is no JSON; false when too many were.
    pub(crate) fn fall_back(&mut self, chunk: &Chunk<'_>) -> bool {
        // The one that failed counts in `seen`; apimachinery turns to YAML after none or one.
        if self.seen > 2 {
            return false;
        }
        self.json = false;
        self.at = chunk.start;
        true
    }

    fn next_json(&mut self) -> Option<Chunk<'a>> {
        let rest = &self.text[self.at..];
        let start = self.at + (rest.len() - rest.trim_start().len());
        if start == self.text.len() {
            return None;
        }
        let end = super::json::extent(&self.text[start..])
            .map_or(self.text.len(), |length| start + length);
        self.seen += 1;
        self.at = end;
        Some(self.chunk(start, end, Syntax::Json))
    }

    fn next_yaml(&mut self) -> Option<Result<Chunk<'a>, Fault>> {
        if self.at >= self.text.len() {
            return None;
        }
        let start = self.at;
        let rest = &self.text[start..];
        let separator =
            if rest.starts_with("---") && (start == 0 || self.text[..start].ends_with('\n')) {
                Some(0)
            } else {
                rest.find("\n---").map(|at| at + 1)
            };
        let Some(separator) = separator else {
            self.at = self.text.len();
            return Some(Ok(self.chunk(start, self.text.len(), Syntax::Yaml)));
        };
        let end = start + separator;
        let after = &self.text[end + 3..];
        let line_length = after.find('\n').unwrap_or(after.len());
        let behind = after[..line_length].trim();
        if !behind.is_empty() && !behind.starts_with('#') {
            let line = self.line_of(end);
            self.at = self.text.len();
            return Some(Err(Fault::new(
                "only a comment may follow --- on its line",
                line,
                4,
            )));
        }
        self.at = (end + 3 + line_length + 1).min(self.text.len());
        Some(Ok(self.chunk(start, end, Syntax::Yaml)))
    }
}

impl<'a> Iterator for Documents<'a> {
    type Item = Result<Chunk<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.json {
            return self.next_json().map(Ok);
        }
        self.next_yaml()
    }
}
