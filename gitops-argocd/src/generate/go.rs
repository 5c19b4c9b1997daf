//! What Go and its libraries make of values.

use serde_json::{Map, Number, Value};

use super::Params;
use super::budget::Budget;
use gitops_core::Result;

/// A value as `fmt.Sprintf("%v")` prints it when `encoding/json` has read it: numbers are float64, nothing is `<nil>`, mappings are `map[a:1 b:2]`.
pub(super) fn print(value: &Value) -> String {
    let mut text = String::new();
    print_to(&mut text, value);
    text
}

fn print_to(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("<nil>"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&print_number(number)),
        Value::String(value) => text.push_str(value),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                print_to(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push_str("map[");
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                text.push_str(key);
                text.push(':');
                print_to(text, value);
            }
            text.push(']');
        }
    }
}

/// `strconv.FormatFloat(f, 'g', -1, 64)` of Go 1.25: the shortest digits; an exponent from a million up and below 0.0001.
fn print_number(number: &Number) -> String {
    let Some(float) = number.as_f64() else {
        return number.to_string();
    };
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if float != 0.0 && !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => float.to_string(),
    }
}

/// A number that went through Go's float64 and back to JSON: whole numbers lose their fraction, large ones their last digits.
pub(super) fn through_float(number: &Number) -> Number {
    /// Up to here every whole number is a float64, and Go writes no exponent.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Some(float) = number.as_f64() else {
        return number.clone();
    };
    if float.fract() == 0.0 && float.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53")]
        let whole = float as i64;
        return Number::from(whole);
    }
    if float.fract() == 0.0
        && float.abs() < 1e21
        && let Ok(whole) = format!("{float:.0}").parse::<Number>()
    {
        return whole;
    }
    Number::from_f64(float).unwrap_or_else(|| number.clone())
}

/// [`through_float`] for all numbers of a value.
pub(super) fn numbers_through_float(value: &mut Value) {
    match value {
        Value::Number(number) => *number = through_float(number),
        Value::Array(items) => items.iter_mut().for_each(numbers_through_float),
        Value::Object(map) => map.values_mut().for_each(numbers_through_float),
        _ => {}
    }
}

/// Flattens a document as `github.com/jeremywohl/flatten` with `DotStyle` and prints its values: `a.b`, `a.0`. Empty lists and mappings are nothing.
pub(super) fn flatten(
    object: &Map<String, Value>,
    params: &mut Params,
    budget: &mut Budget,
) -> Result<()> {
    for (key, value) in object {
        flatten_value(key, value, params, budget)?;
    }
    Ok(())
}

fn flatten_value(key: &str, value: &Value, params: &mut Params, budget: &mut Budget) -> Result<()> {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                budget.spend(key.len() + name.len())?;
                flatten_value(&format!("{key}.{name}"), value, params, budget)?;
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                budget.spend(key.len())?;
                flatten_value(&format!("{key}.{index}"), value, params, budget)?;
            }
        }
        scalar => {
            let text = print(scalar);
            budget.spend(key.len() + text.len())?;
            params.insert(key.to_owned(), Value::String(text));
        }
    }
    Ok(())
}

/// The value of `key` among the flattened parameters, without flattening them all.
pub(super) fn flattened(params: &Params, key: &str) -> Option<String> {
    params
        .iter()
        .find_map(|(name, value)| find(name, value, key))
}

fn find(name: &str, value: &Value, key: &str) -> Option<String> {
    let below = || key.strip_prefix(name)?.strip_prefix('.');
    match value {
        Value::Object(map) => {
            let key = below()?;
            map.iter().find_map(|(name, value)| find(name, value, key))
        }
        Value::Array(items) => {
            let key = below()?;
            let (index, _) = key.split_once('.').unwrap_or((key, ""));
            let item = items.get(index.parse::<usize>().ok()?)?;
            // `01` is no index.
            let name = index.parse::<usize>().ok()?.to_string();
            find(&name, item, key)
        }
        scalar => (name == key).then(|| print(scalar)),
    }
}

/// A name fit for DNS, as `SanitizeName` of Argo CD 3.2 makes it: lower case; `-` for what is not allowed; cut to 253 characters; no `-` and `.` around it.
pub(super) fn sanitize(name: &str) -> String {
    let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
    // Go's lower case of a character is one character.
    let clean = |c: char| c.to_lowercase().next().filter(allowed).unwrap_or('-');
    let name: String = name.chars().map(clean).take(253).collect();
    name.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_print_as_in_go() {
        for (value, text) in [
            (json!(null), "<nil>"),
            (json!(true), "true"),
            (json!("a b"), "a b"),
            (json!(0), "0"),
            (json!(-3), "-3"),
            (json!(1.10), "1.1"),
            (json!(2.0), "2"),
            (json!(8080), "8080"),
            (json!(100_000), "100000"),
            (json!(123_456), "123456"),
            (json!(1_000_000), "1e+06"),
            (json!(1_234_567), "1.234567e+06"),
            (json!(123_456_789), "1.23456789e+08"),
            (json!(-20_000_000), "-2e+07"),
            (json!(0.0001), "0.0001"),
            (json!(0.00001), "1e-05"),
            (json!(1e21), "1e+21"),
            (json!(1e100), "1e+100"),
            (json!(9_007_199_254_740_993_u64), "9.007199254740992e+15"),
            (json!(123_456.75), "123456.75"),
            (json!([1, "a", null]), "[1 a <nil>]"),
            (json!([]), "[]"),
            (
                json!({"b": 1, "a": {"c": [true]}}),
                "map[a:map[c:[true]] b:1]",
            ),
        ] {
            assert_eq!(print(&value), text, "{value}");
        }
    }

    #[test]
    fn numbers_go_through_float64() {
        for (number, after) in [
            ("1", "1"),
            ("1.0", "1"),
            ("-7", "-7"),
            ("0.5", "0.5"),
            ("9007199254740993", "9007199254740992"),
            ("12345678901234567890", "12345678901234567000"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e21"),
        ] {
            let number: Number = serde_json::from_str(number).unwrap();
            let after: f64 = after.parse().unwrap();
            assert_eq!(through_float(&number).as_f64(), Some(after), "{number}");
        }
        let number: Number = serde_json::from_str("1.0").unwrap();
        assert_eq!(through_float(&number).to_string(), "1");
    }

    #[test]
    fn flattening() {
        let Value::Object(object) = json!({
            "a": {"b": 1, "c": {"d": "x"}, "e": {}, "f": []},
            "g": [1, {"h": null}, [2]],
            "i.j": true,
            "k": 1_000_000,
        }) else {
            unreachable!()
        };
        let mut flat = Params::new();
        flatten(&object, &mut flat, &mut Budget::default()).unwrap();
        let flat: Vec<_> = flat
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
            .collect();
        assert_eq!(
            flat,
            [
                ("a.b", "1"),
                ("a.c.d", "x"),
                ("g.0", "1"),
                ("g.1.h", "<nil>"),
                ("g.2.0", "2"),
                ("i.j", "true"),
                ("k", "1e+06"),
            ]
        );
        let params: Params = object.into_iter().collect();
        for (key, value) in flat {
            assert_eq!(flattened(&params, key).as_deref(), Some(value), "{key}");
        }
        for key in [
            "a", "a.", "a.c", "g", "g.3", "g.01", "g.1", "", ".", "i", "z",
        ] {
            assert_eq!(flattened(&params, key), None, "{key}");
        }
    }

    #[test]
    fn names_become_fit_for_dns() {
        for (name, clean) in [
            ("argo-workflows", "argo-workflows"),
            ("My_App", "my-app"),
            (".", ""),
            ("--a.b--", "a.b"),
            ("é", ""),
            ("aéb", "a-b"),
            ("a/b c", "a-b-c"),
            // The Kelvin sign, and the dotted capital I.
            ("\u{212a}", "k"),
            ("\u{130}x", "ix"),
        ] {
            assert_eq!(sanitize(name), clean, "{name:?}");
        }
        assert_eq!(sanitize(&"a".repeat(300)).len(), 253);
        assert_eq!(sanitize(&format!("{}-bb", "a".repeat(252))).len(), 252);
    }
}
