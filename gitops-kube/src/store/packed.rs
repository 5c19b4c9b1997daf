//! Texts made small: gzip (RFC 1952), in base64 as ConfigMaps carry binary data.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use gitops_core::{Error, Result};

/// A text of this size is neither packed nor unpacked: a few kilobytes can be made to unpack to anything.
const MAX_UNPACKED: usize = 64 << 20;

/// Packs a text.
///
/// # Errors
/// `InvalidInput` for one that [`unpack`] would not take.
pub(super) fn pack(text: &str) -> Result<String> {
    if text.len() > MAX_UNPACKED {
        return Err(Error::invalid(format!(
            "a text of {} bytes is too long: at most {MAX_UNPACKED} are packed",
            text.len()
        )));
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let packed = encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish());
    packed
        .map(|packed| STANDARD.encode(packed))
        .map_err(|error| Error::internal("a text cannot be packed").with_source(error))
}

/// What the API server counts.
pub(super) fn decoded_len(packed: &str) -> usize {
    let padding = packed
        .bytes()
        .rev()
        .take_while(|&byte| byte == b'=')
        .count();
    (packed.len() / 4 * 3).saturating_sub(padding)
}

/// Unpacks a text.
///
/// # Errors
/// `Integrity` for what [`pack`] does not make.
pub(super) fn unpack(packed: &str) -> Result<String> {
    let damaged = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::integrity("no text packed with gzip").with_source(error)
    };
    let bytes = STANDARD
        .decode(packed)
        .map_err(|error| damaged(error.into()))?;
    let mut text = String::new();
    let limit = MAX_UNPACKED as u64 + 1;
    GzDecoder::new(&*bytes)
        .take(limit)
        .read_to_string(&mut text)
        .map_err(|error| damaged(error.into()))?;
    if text.len() > MAX_UNPACKED {
        return Err(Error::integrity(format!(
            "a text that unpacks to more than {MAX_UNPACKED} bytes"
        )));
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use gitops_core::ErrorKind;

    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_counted() {
        for text in ["", "a", "ab", "é", &"x".repeat(1 << 20)] {
            let packed = pack(text).unwrap();
            assert_eq!(unpack(&packed).unwrap(), text);
            assert_eq!(
                decoded_len(&packed),
                STANDARD.decode(&packed).unwrap().len()
            );
        }
    }

    #[test]
    fn bombs_and_damage_are_refused() {
        assert_eq!(
            pack(&"x".repeat(MAX_UNPACKED + 1)).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..65 {
            encoder.write_all(&vec![b'x'; 1 << 20]).unwrap();
        }
        let bomb = STANDARD.encode(encoder.finish().unwrap());
        let half = pack("half of it is lost").unwrap();
        for damaged in [&*bomb, "", "no base64!", "YWJj", &half[..24]] {
            assert_eq!(unpack(damaged).unwrap_err().kind(), ErrorKind::Integrity);
        }
    }
}
