//! What a scalar means: the resolution of go.yaml.in/yaml/v2 2.4.3 (`resolve.go`), which sigs.k8s.io/yaml 1.6.0 and so kubectl,
//! Argo CD, Flux and Helm use. It is YAML 1.1's with differences of its own; each rule here is that library's.

use base64::Engine as _;
use granit_parser::{ScalarStyle, Tag};
use serde_json::{Number, Value};

const CORE: &str = "tag:yaml.org,2002:";

/// A scalar's value before it becomes JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Unsigned(u64),
    Float(f64),
    /// A text that is the source's own.
    Text(&'a str),
    /// A text that had to be decoded (`!!binary`).
    Decoded(String),
}

/// The value of a scalar.
pub(crate) fn resolve<'a>(
    text: &'a str,
    style: ScalarStyle,
    tag: Option<&Tag>,
) -> Result<Scalar<'a>, String> {
    let Some(tag) = tag else {
        return Ok(if style == ScalarStyle::Plain {
            plain(text)
        } else {
            Scalar::Text(text)
        });
    };
    let name = tag.to_string();
    let Some(name) = name.strip_prefix(CORE) else {
        // `!` and application tags: the text as it stands.
        return Ok(Scalar::Text(text));
    };
    let mismatch = || Err(format!("cannot read `{}` as !!{name}", excerpt(text)));
    match name {
        "str" => Ok(Scalar::Text(text)),
        "binary" => {
            // Go's decoder passes over line breaks.
            let packed: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            match base64::engine::general_purpose::STANDARD.decode(packed) {
                Ok(bytes) => Ok(Scalar::Decoded(
                    String::from_utf8_lossy(&bytes).into_owned(),
                )),
                Err(_) => Err("!!binary value is not base64".to_owned()),
            }
        }
        "null" => match plain(text) {
            Scalar::Null => Ok(Scalar::Null),
            _ => mismatch(),
        },
        "bool" => match plain(text) {
            value @ Scalar::Bool(_) => Ok(value),
            _ => mismatch(),
        },
        "int" => match plain(text) {
            value @ (Scalar::Int(_) | Scalar::Unsigned(_)) => Ok(value),
            _ => mismatch(),
        },
        "float" => match plain(text) {
            Scalar::Int(value) => Ok(Scalar::Float(value as f64)),
            value @ Scalar::Float(_) => Ok(value),
            _ => mismatch(),
        },
        "timestamp" if is_timestamp(text) => Ok(Scalar::Text(text)),
        "timestamp" => mismatch(),
        _ => Ok(Scalar::Text(text)),
    }
}

/// Whether this is the merge key `<<`.
pub(crate) fn is_merge(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
    text == "<<"
        && match tag.map(Tag::to_string).as_deref() {
            None => style == ScalarStyle::Plain,
            Some("!" | "tag:yaml.org,2002:merge") => true,
            Some(_) => false,
        }
}

/// A plain scalar without a tag.
pub(crate) fn plain(text: &str) -> Scalar<'_> {
    let Some(first) = text.bytes().next() else {
        return Scalar::Null;
    };
    match first {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => {
            word(text).unwrap_or(Scalar::Text(text))
        }
        b'.' => word(text)
            .or_else(|| dotted(text))
            .unwrap_or(Scalar::Text(text)),
        b'+' | b'-' | b'0'..=b'9' => word(text)
            .or_else(|| number(text))
            .unwrap_or(Scalar::Text(text)),
        _ => Scalar::Text(text),
    }
}

fn word(text: &str) -> Option<Scalar<'_>> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

/// A float that begins with its point: underscores only between digits (Go's `strconv.ParseFloat`).
fn dotted(text: &str) -> Option<Scalar<'_>> {
    let bytes = text.as_bytes();
    let between_digits = bytes.iter().enumerate().all(|(at, byte)| {
        *byte != b'_'
            || (at > 0
                && bytes[at - 1].is_ascii_digit()
                && bytes.get(at + 1).is_some_and(u8::is_ascii_digit))
    });
    if !between_digits {
        return None;
    }
    if text.contains('_') {
        float(&text.replace('_', ""))
    } else {
        float(text)
    }
    .map(Scalar::Float)
}

/// Numbers that begin with a sign or a digit. Underscores count for nothing, wherever they stand.
fn number(text: &str) -> Option<Scalar<'static>> {
    let stripped;
    let plain = if text.contains('_') {
        stripped = text.replace('_', "");
        &stripped
    } else {
        text
    };
    let (negative, digits) = match plain.as_bytes().first() {
        Some(b'-') => (true, &plain[1..]),
        Some(b'+') => (false, &plain[1..]),
        _ => (false, plain),
    };
    let (radix, rest) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        // YAML 1.1's octals: 0644.
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if let Some(magnitude) = unsigned(rest, radix) {
        if !negative && let Ok(value) = i64::try_from(magnitude) {
            return Some(Scalar::Int(value));
        }
        if negative && magnitude <= i64::MIN.unsigned_abs() {
            return Some(Scalar::Int((magnitude as i64).wrapping_neg()));
        }
        // An unsigned integer has no sign, not even a plus.
        if std::ptr::eq(digits, plain) {
            return Some(Scalar::Unsigned(magnitude));
        }
    }
    if let Some(value) = float(plain) {
        return Some(Scalar::Float(value));
    }
    // The library tries binary once more, with a sign after the prefix.
    if let Some(rest) = plain.strip_prefix("0b") {
        let (sign, bits) = match rest.as_bytes().first() {
            Some(b'-') => (-1, &rest[1..]),
            Some(b'+') => (1, &rest[1..]),
            _ => (1, rest),
        };
        if let Some(magnitude) = unsigned(bits, 2).and_then(|bits| i64::try_from(bits).ok()) {
            return Some(Scalar::Int(sign * magnitude));
        }
    }
    None
}

fn unsigned(digits: &str, radix: u32) -> Option<u64> {
    // Rust takes a sign here, Go does not.
    if !digits.as_bytes().first()?.is_ascii_alphanumeric() {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// A decimal float in YAML's style; one out of range is a text, as in Go.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let written = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    if !written || !exponent {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// `!!timestamp` accepts what Go's time.Parse does with the library's four formats.
pub(crate) fn is_timestamp(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((&text[at..=at], &text[at + 1..]))),
        None => (text, None),
    };
    let mut date = date.split('-');
    let (Some(year), Some(month), Some(day), None) =
        (date.next(), date.next(), date.next(), date.next())
    else {
        return false;
    };
    if year.len() != 4 {
        return false;
    }
    let (Some(year), Some(month), Some(day)) = (
        ranged(year, 4, 9999),
        ranged(month, 2, 12),
        ranged(day, 2, 31),
    ) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if month == 0 || day == 0 || day > last {
        return false;
    }
    let Some((separator, time)) = time else {
        return true;
    };
    let (clock, zoned) = match (separator, time.find(['Z', '+', '-'])) {
        (" ", None) => (time, true),
        (" ", Some(_)) | (_, None) => return false,
        (_, Some(at)) => (&time[..at], is_zone(&time[at..])),
    };
    zoned && is_clock(clock)
}

fn is_clock(text: &str) -> bool {
    let mut parts = text.split(':');
    let (Some(hour), Some(minute), Some(second), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (second, fraction) = match second.split_once('.') {
        Some((second, fraction)) => (second, Some(fraction)),
        None => (second, None),
    };
    ranged(hour, 2, 23).is_some()
        && ranged(minute, 2, 59).is_some()
        && ranged(second, 2, 59).is_some()
        && fraction.is_none_or(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()))
}

fn is_zone(text: &str) -> bool {
    text == "Z"
        || text[1..].split_once(':').is_some_and(|(hour, minute)| {
            hour.len() == 2
                && minute.len() == 2
                && ranged(hour, 2, 24).is_some()
                && ranged(minute, 2, 60).is_some()
        })
}

fn ranged(text: &str, longest: usize, most: u32) -> Option<u32> {
    if text.is_empty() || text.len() > longest || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|value| *value <= most)
}

impl Scalar<'_> {
    /// As JSON. Infinity and NaN are no JSON.
    pub(crate) fn into_value(self) -> Result<Value, String> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Number(value.into()),
            Self::Unsigned(value) => Value::Number(value.into()),
            Self::Float(value) => Value::Number(number_of(value)?),
            Self::Text(value) => Value::String(value.to_owned()),
            Self::Decoded(value) => Value::String(value),
        })
    }

    /// As a key: numbers and booleans become their texts, as sigs.k8s.io/yaml makes them.
    pub(crate) fn into_key(self) -> Result<String, String> {
        Ok(match self {
            Self::Null => return Err("a key must not be null".to_owned()),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Unsigned(value) => {
                return Err(format!("{value} is too large a number for a key"));
            }
            Self::Float(value) => float_key(value),
            Self::Text(value) => value.to_owned(),
            Self::Decoded(value) => value,
        })
    }
}

/// A float as the JSON number that Go writes: integral ones below 1e21 have no point, so that readers take them for integers.
pub(crate) fn number_of(value: f64) -> Result<Number, String> {
    if value.fract() == 0.0 {
        if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) {
            return Ok((value as i64).into());
        }
        if (0.0..18_446_744_073_709_551_616.0).contains(&value) {
            return Ok((value as u64).into());
        }
    }
    Number::from_f64(value).ok_or_else(|| "infinity and NaN are not JSON".to_owned())
}

/// Go's `strconv.FormatFloat(value, 'g', -1, 32)`, which the library uses for keys: single precision.
fn float_key(value: f64) -> String {
    let value = value as f32;
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Go writes the shortest form with an exponent from the sixth digit on.
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    } else {
        format!("{value}")
    }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(20) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
