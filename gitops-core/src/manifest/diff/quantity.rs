//! What a quantity is worth (apimachinery, `pkg/api/resource/quantity.go`): `1000m` is `1`, `1024Mi` is `1Gi`.

/// In billionths, rounded up as the API server does. `None` for what is no quantity, or too large to tell.
pub(super) fn value(text: &str) -> Option<i128> {
    const UNIT: i128 = 1_000_000_000;
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() + fraction.len() > 20 {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}")
        .parse()
        .ok()
        .filter(|mantissa| *mantissa >= 0)?;
    let (factor, mut exponent): (i128, i32) = match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        scientific => (1, scientific.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scaled = mantissa.checked_mul(factor)?.checked_mul(UNIT)?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let value = if exponent < 0 {
        // Up, so that a request is never taken for less than it is.
        scaled / power + i128::from(scaled % power != 0)
    } else {
        scaled.checked_mul(power)?
    };
    Some(sign * value)
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn equal_quantities_have_equal_values() {
        for (a, b) in [
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("100n", "0.0000001"),
            ("-1", "-1000m"),
            ("+1", "1.0"),
            (".5", "500m"),
        ] {
            assert_eq!(value(a), value(b), "{a} {b}");
            assert!(value(a).is_some());
        }
        for (a, b) in [("1", "2"), ("1G", "1Gi"), ("1m", "1M")] {
            assert_ne!(value(a), value(b), "{a} {b}");
        }
        for bad in [
            "",
            "a",
            "1x",
            "1 ",
            "--1",
            "1e",
            "1e99999",
            "99999999999999999999999",
            ".",
            "1.2.3",
            "é",
        ] {
            assert_eq!(value(bad), None, "{bad}");
        }
    }
}
