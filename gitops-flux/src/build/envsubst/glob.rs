//! The patterns of `#`, `##`, `%` and `%%`: Go's `path.Match`, except that a star matches `/` too, and that a trailing one matches
//! whatever is left.

use super::budget::{Budget, Limit};

/// Why a comparison ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    BadPattern,
    Limit(Limit),
}

impl From<Limit> for Stop {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

/// Without the shortest or longest beginning that matches; as it was when nothing does, or when the pattern is malformed.
pub(super) fn without_prefix<'s>(
    text: &'s [u8],
    pattern: &[u8],
    longest: bool,
    budget: &mut Budget,
) -> Result<&'s [u8], Limit> {
    budget.compare(pattern.len())?;
    let chunks = chunks(pattern, budget)?;
    let mut found = None;
    for end in (1..=text.len()).rev() {
        match matches(&chunks, &text[..end], budget) {
            Ok(true) if longest => return Ok(&text[end..]),
            Ok(true) => found = Some(end),
            Ok(false) => {}
            Err(Stop::BadPattern) => return Ok(text),
            Err(Stop::Limit(limit)) => return Err(limit),
        }
    }
    Ok(&text[found.unwrap_or_default()..])
}

/// A piece of a pattern that holds no star, and whether one stands before it.
struct Chunk<'p> {
    star: bool,
    text: &'p [u8],
}

fn chunks<'p>(mut pattern: &'p [u8], budget: &mut Budget) -> Result<Vec<Chunk<'p>>, Limit> {
    let mut chunks = Vec::new();
    while !pattern.is_empty() {
        budget.write(size_of::<Chunk<'_>>())?;
        let (chunk, rest) = next_chunk(pattern);
        chunks.push(chunk);
        pattern = rest;
    }
    Ok(chunks)
}

/// Whether the pattern matches all of the text.
fn matches(mut chunks: &[Chunk<'_>], mut text: &[u8], budget: &mut Budget) -> Result<bool, Stop> {
    budget.compare(1)?;
    'chunks: while let Some((chunk, rest)) = chunks.split_first() {
        if chunk.star && chunk.text.is_empty() {
            return Ok(true);
        }
        // Behind a star, the chunk may begin anywhere; the last one must end where the text does.
        let last = if chunk.star { text.len() } else { 0 };
        for from in 0..=last {
            if let Some(left) = match_chunk(chunk.text, &text[from..], budget)?
                && (left.is_empty() || !rest.is_empty())
            {
                (chunks, text) = (rest, left);
                continue 'chunks;
            }
        }
        return Ok(false);
    }
    Ok(text.is_empty())
}

/// The next piece, and what follows.
fn next_chunk(pattern: &[u8]) -> (Chunk<'_>, &[u8]) {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let pattern = &pattern[stars..];
    let mut in_class = false;
    let mut at = 0;
    while let Some(byte) = pattern.get(at) {
        match byte {
            b'\\' if at + 1 < pattern.len() => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    let chunk = Chunk {
        star: stars > 0,
        text: &pattern[..at],
    };
    (chunk, &pattern[at..])
}

/// What is left of the text behind the chunk, when it begins with it.
fn match_chunk<'s>(
    mut chunk: &[u8],
    mut text: &'s [u8],
    budget: &mut Budget,
) -> Result<Option<&'s [u8]>, Stop> {
    while let Some((&first, after)) = chunk.split_first() {
        budget.compare(1)?;
        let Some((&byte, left)) = text.split_first() else {
            return Ok(None);
        };
        match first {
            b'[' => {
                let (character, width) = decode(text);
                text = &text[width..];
                let inside;
                (inside, chunk) = class(after, character)?;
                // As long as it is, all of it is compared.
                budget.compare(after.len() - chunk.len())?;
                if !inside {
                    return Ok(None);
                }
                continue;
            }
            b'?' => {
                text = &text[decode(text).1..];
                chunk = after;
                continue;
            }
            b'\\' => {
                let (&escaped, rest) = after.split_first().ok_or(Stop::BadPattern)?;
                if escaped != byte {
                    return Ok(None);
                }
                chunk = rest;
            }
            literal => {
                if literal != byte {
                    return Ok(None);
                }
                chunk = after;
            }
        }
        text = left;
    }
    Ok(Some(text))
}

/// Whether a character is one of a class (behind its bracket), and what follows the class.
fn class(mut class: &[u8], character: char) -> Result<(bool, &[u8]), Stop> {
    let negated = class.first() == Some(&b'^');
    if negated {
        class = &class[1..];
    }
    let (mut found, mut ranges) = (false, 0);
    loop {
        if ranges > 0 && class.first() == Some(&b']') {
            return Ok((found != negated, &class[1..]));
        }
        let low;
        (low, class) = member(class)?;
        let mut high = low;
        if class.first() == Some(&b'-') {
            (high, class) = member(&class[1..])?;
        }
        found |= (low..=high).contains(&character);
        ranges += 1;
    }
}

/// A character of a class, and what follows, which cannot be nothing.
fn member(class: &[u8]) -> Result<(char, &[u8]), Stop> {
    let class = match class.split_first() {
        None | Some((b'-' | b']', _)) => return Err(Stop::BadPattern),
        Some((b'\\', rest)) => rest,
        Some(_) => class,
    };
    let (character, width) = decode(class);
    let rest = &class[width..];
    if rest.is_empty() || (character == char::REPLACEMENT_CHARACTER && width <= 1) {
        return Err(Stop::BadPattern);
    }
    Ok((character, rest))
}

/// The first character and its width, as Go decodes it: what is no UTF-8 is one byte wide.
pub(super) fn decode(bytes: &[u8]) -> (char, usize) {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(character) => (character, character.len_utf8()),
        None => (char::REPLACEMENT_CHARACTER, head.len().min(1)),
    }
}

/// Character by character from the end, as Go reverses runes: what is no UTF-8 becomes U+FFFD.
pub(super) fn reversed(mut bytes: &[u8], budget: &mut Budget) -> Result<Vec<u8>, Limit> {
    budget.write(bytes.len() * size_of::<char>())?;
    let mut characters = Vec::new();
    while !bytes.is_empty() {
        let (character, width) = decode(bytes);
        characters.push(character);
        bytes = &bytes[width..];
    }
    Ok(characters.iter().rev().collect::<String>().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_compared_counts() {
        let text = "a".repeat(1000);
        for pattern in [
            // Every start fails at the end of the piece.
            format!("*{}b", "a".repeat(500)),
            // All of a class is looked at for each character.
            format!("[^{}]", "b".repeat(20_000)),
            "*[b]".to_owned(),
            "*\\b".to_owned(),
            "*?b".to_owned(),
            "b".repeat(20_000),
            "*b".to_owned(),
        ] {
            let mut budget = Budget::new(usize::MAX, 10_000);
            let given = without_prefix(text.as_bytes(), pattern.as_bytes(), true, &mut budget);
            assert_eq!(given, Err(Limit::Compared), "{}", &pattern[..2]);
        }
        let stars = "*a".repeat(1000);
        let mut budget = Budget::new(10_000, usize::MAX);
        let given = without_prefix(text.as_bytes(), stars.as_bytes(), true, &mut budget);
        assert_eq!(given, Err(Limit::Written));
    }
}
