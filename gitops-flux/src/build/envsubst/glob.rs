//! The patterns of `#`, `##`, `%` and `%%`: Go's `path.Match`, except that a star matches `/` too, and that a trailing one matches
//! whatever is left.

/// The pattern is malformed, or there was too much to compare.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    BadPattern,
    TooMuch,
}

/// How many comparisons of a piece of the pattern one expression may take.
pub(super) const BUDGET: usize = 20_000_000;

/// Without the shortest or longest beginning that matches; as it was when nothing does, or when the pattern is malformed.
pub(super) fn without_prefix<'s>(
    text: &'s [u8],
    pattern: &[u8],
    longest: bool,
) -> Result<&'s [u8], Stop> {
    let mut budget = BUDGET;
    let mut found = None;
    for end in (1..=text.len()).rev() {
        match matches(pattern, &text[..end], &mut budget) {
            Ok(true) if longest => return Ok(&text[end..]),
            Ok(true) => found = Some(end),
            Ok(false) => {}
            Err(Stop::BadPattern) => return Ok(text),
            Err(Stop::TooMuch) => return Err(Stop::TooMuch),
        }
    }
    Ok(&text[found.unwrap_or_default()..])
}

/// Whether the pattern matches all of the text.
fn matches(mut pattern: &[u8], mut text: &[u8], budget: &mut usize) -> Result<bool, Stop> {
    'chunks: while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        if star && chunk.is_empty() {
            return Ok(true);
        }
        // Behind a star, the chunk may begin anywhere; the last one must end where the text does.
        let last = if star { text.len() } else { 0 };
        for from in 0..=last {
            if let Some(left) = match_chunk(chunk, &text[from..], budget)?
                && (left.is_empty() || !rest.is_empty())
            {
                (pattern, text) = (rest, left);
                continue 'chunks;
            }
        }
        return Ok(false);
    }
    Ok(text.is_empty())
}

/// The next piece that holds no star, whether a star stands before it, and what follows.
fn next_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
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
    (stars > 0, &pattern[..at], &pattern[at..])
}

/// What is left of the text behind the chunk, when it begins with it.
fn match_chunk<'s>(
    mut chunk: &[u8],
    mut text: &'s [u8],
    budget: &mut usize,
) -> Result<Option<&'s [u8]>, Stop> {
    *budget = budget.checked_sub(1).ok_or(Stop::TooMuch)?;
    while let Some((&first, after)) = chunk.split_first() {
        let Some((&byte, left)) = text.split_first() else {
            return Ok(None);
        };
        match first {
            b'[' => {
                let (character, width) = decode(text);
                text = &text[width..];
                let inside;
                (inside, chunk) = class(after, character)?;
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
pub(super) fn reversed(mut bytes: &[u8]) -> Vec<u8> {
    let mut characters = Vec::new();
    while !bytes.is_empty() {
        let (character, width) = decode(bytes);
        characters.push(character);
        bytes = &bytes[width..];
    }
    characters.iter().rev().collect::<String>().into_bytes()
}
