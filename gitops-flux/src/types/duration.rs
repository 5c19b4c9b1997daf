//! Durations as Go writes them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use gitops_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

const NANOS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration as `metav1.Duration` of Kubernetes reads it, such as `1h30m` or `90s`. The text that was read is the text that is written: `60m` stays `60m`.
///
/// What is no duration is kept too, so that one unreadable field does not hide a whole object; [`duration`](Self::duration) says what is wrong with it.
///
/// ```
/// use std::time::Duration;
/// use gitops_flux::types::GoDuration;
///
/// let interval: GoDuration = "1h30m".parse().unwrap();
/// assert_eq!(interval.duration().unwrap(), Duration::from_secs(90 * 60));
/// assert_eq!(GoDuration::from(Duration::from_secs(90)).to_string(), "1m30s");
/// assert!("5 minutes".parse::<GoDuration>().is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoDuration(String);

impl GoDuration {
    /// The text, whether it is a duration or not.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How long it is, by the rules of Go's `time.ParseDuration`.
    ///
    /// # Errors
    /// `InvalidInput` for what is no duration, for one below zero, and for one of more than 2⁶³ nanoseconds (292 years).
    pub fn duration(&self) -> Result<Duration> {
        parse(&self.0).ok_or_else(|| Error::invalid(format!("no duration: {:?}", self.0)))
    }
}

/// `time.ParseDuration` without what is below zero: numbers with units, each number with digits before or after its point.
fn parse(text: &str) -> Option<Duration> {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, unit) = *NANOS.iter().find(|(name, _)| *name == unit)?;
        let whole: u128 = match whole {
            "" => 0,
            whole => whole.parse().ok()?,
        };
        let mut nanos = whole.checked_mul(unit)?;
        // Digits beyond the eighteenth are less than a nanosecond of an hour.
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            nanos += fraction.parse::<u128>().ok()? * unit / scale;
        }
        total = total.checked_add(nanos)?;
        if total > i64::MAX as u128 {
            return None;
        }
        rest = after;
    }
    if negative && total > 0 {
        return None;
    }
    u64::try_from(total).ok().map(Duration::from_nanos)
}

impl FromStr for GoDuration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let duration = Self(text.to_owned());
        duration.duration().map(|_| duration)
    }
}

impl From<Duration> for GoDuration {
    /// As Go's `Duration.String` writes it: `1h30m0s`, without the parts that are zero, `500ms`, `0s`. Flux's definitions take no unit below a millisecond: what is
    /// less than one is cut off.
    fn from(duration: Duration) -> Self {
        let millis = duration.subsec_millis();
        let seconds = duration.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let mut text = String::new();
        for (count, unit) in [
            (hours, "h"),
            (minutes, "m"),
            (seconds, "s"),
            (u64::from(millis), "ms"),
        ] {
            if count > 0 {
                text += &format!("{count}{unit}");
            }
        }
        if text.is_empty() {
            text.push_str("0s");
        }
        Self(text)
    }
}

impl From<&str> for GoDuration {
    /// The text, whether it is a duration or not; [`FromStr`] asks.
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for GoDuration {
    /// The text, whether it is a duration or not; [`FromStr`] asks.
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
