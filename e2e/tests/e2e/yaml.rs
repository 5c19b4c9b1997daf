//! YAML as `sigs.k8s.io/yaml` reads it, and what we write read back by it.

use anyhow::{Result, ensure};
use gitops_core::manifest::yaml;
use serde_json::{Map, Value, json};

/// Scalars, each read as the value of a key.
const SCALARS: &[&str] = &[
    // Nothing.
    "",
    "~",
    "null",
    "Null",
    "NULL",
    "nULL",
    "\"\"",
    "''",
    // Booleans of YAML 1.1, and what is none.
    "true",
    "True",
    "TRUE",
    "tRUE",
    "false",
    "False",
    "FALSE",
    "yes",
    "Yes",
    "YES",
    "yEs",
    "no",
    "No",
    "NO",
    "on",
    "On",
    "ON",
    "off",
    "Off",
    "OFF",
    "y",
    "Y",
    "n",
    "N",
    "\"yes\"",
    "'no'",
    "!!bool yes",
    "!!str yes",
    // Whole numbers.
    "0",
    "-0",
    "+0",
    "1",
    "-1",
    "+1",
    "00",
    "01",
    "0644",
    "-0644",
    "0o644",
    "0O644",
    "089",
    "0x1F",
    "0X1f",
    "-0x1f",
    "0b101",
    "-0b101",
    "1_000",
    "1__0",
    "_1",
    "1_",
    "0x_1",
    "0_7",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "-9223372036854775809",
    "1:30",
    "190:20:30",
    "12:30:45",
    "+12345",
    "!!int \"42\"",
    "!!str 42",
    "\"42\"",
    "'0644'",
    // Fractions.
    "1.0",
    "1.5",
    "-1.5",
    "+1.5",
    ".5",
    "-.5",
    "5.",
    "1e3",
    "1E3",
    "1e+3",
    "1e-3",
    "1.5e3",
    "1e400",
    "-1e400",
    "1e-400",
    "1_000.5",
    "0.1",
    "100000000000000000000",
    "1e21",
    "123456789.123",
    "1.",
    "e3",
    "1e",
    ".",
    "..",
    "-.",
    "1.2.3",
    "v1.30",
    "!!float 1",
    "1.30",
    "\"1.30\"",
    "190:20:30.15",
    // Plain text.
    "a",
    "a b",
    "a: b",
    "-",
    "- a",
    "-a",
    "?",
    "? a",
    "?a",
    ":",
    ":a",
    "a:",
    "a:b",
    "a#b",
    "a #b",
    "#a",
    "@a",
    "`a",
    "%a",
    "&a",
    "*a",
    "!a",
    "|a",
    ">a",
    "=",
    "<<",
    "{a",
    "}a",
    "[a",
    "]a",
    ",a",
    "a,b",
    "a}b",
    "a]b",
    // Dates are text in JSON.
    "2001-12-14",
    "2001-12-14t21:59:43.10-05:00",
    "2001-12-14 21:59:43.10 -5",
    "2001-1-1",
    "20:00",
    // Quotes and escapes.
    "'it''s'",
    "\"a\\nb\"",
    "\"\\u00e9\\U0001F600\\x41\"",
    "\"\\e\\0\\a\\b\\t\\v\\f\\r\\N\\_\\L\\P\"",
    "\"a\\\n  b\"",
    "\"a\n\n  b\"",
    "'a\n\n  b'",
    "\"\\q\"",
    "\"unclosed",
    "'unclosed",
    "é",
    "日本",
    "😀",
    "\"\\ud83d\\ude00\"",
    // Tags.
    "!!binary aGVsbG8=",
    "!!binary \"not base64!\"",
    "!!timestamp 2001-12-14",
    "!!null x",
    "!custom a",
    "!<tag:yaml.org,2002:str> 1",
    "!!int a",
    "!!float a",
    "!!bool a",
];

/// Whole texts.
const STRUCTURES: &[&str] = &[
    "a: 1\nb: 2\n",
    "a: 1\na: 2\n",
    "{a: 1, a: 2}",
    "? a\n: b\n",
    "? [a]\n: b\n",
    "? {a: 1}\n: b\n",
    "1: a\n",
    "1.5: a\n",
    "true: a\nyes: b\n",
    "null: a\n",
    "~: a\n",
    "0644: a\n",
    "2001-12-14: a\n",
    "on: push\n",
    "1: a\n\"1\": b\n",
    "a:\n- 1\n- 2\n",
    "a:\n  - 1\n  - 2\n",
    "- a\n- - b\n  - c\n",
    "- a: 1\n  b: 2\n-\n  c: 3\n",
    "-\n- a\n",
    "- \n",
    "[]",
    "{}",
    "[a, b,]",
    "{a: 1,}",
    "{a, b: 2}",
    "[a: 1]",
    "[a b, c]",
    "{a: [1, {b: 2}]}",
    "{\"a\":1}",
    "[{a: 1}, b]",
    "a: |\n  x\n  y\n",
    "a: |-\n  x\n",
    "a: |+\n  x\n\n",
    "a: >\n  x\n  y\n\n  z\n",
    "a: >-\n  x\n   more\n  y\n",
    "a: |2\n    x\n",
    "a: |\n\n  x\n",
    "a: |\n  x\n y\n",
    "a: |  # comment\n  x\n",
    "a: >+\n\n\nb: 1\n",
    "a: |\n",
    "a: &x {b: 1}\nc: *x\n",
    "a: *x\n",
    "a: &x 1\nb: &x 2\nc: *x\n",
    "&a a: &b b\nc: *a\nd: *b\n",
    "a: &x\n  b: *x\n",
    "base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  y: 3\n",
    "a: {<<: {x: 1}}\n",
    "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}\n",
    "a: {<<: 1}\n",
    "a: {<<: [1]}\n",
    "a: {\"<<\": {x: 1}}\n",
    "x: &x {a: 1}\ny:\n  a: 2\n  <<: *x\n",
    "a:\n\tb: 1\n",
    "\ta: 1\n",
    "a:\t1\n",
    "a: 1\t\n",
    "a: b\tc\n",
    "- \ta\n",
    "a: 1\n b: 2\n",
    " a: 1\nb: 2\n",
    "a:\n  b: 1\n c: 2\n",
    "a: b: c\n",
    "a\nb: 1\n",
    "a: [1\n",
    "a: {b: 1\n",
    "a: 1]\n",
    "a: 'x' y\n",
    "a: \"x\" y\n",
    "key with spaces: 1\n",
    "? a\n",
    "a:\n",
    "a: b\n  c\n",
    "a: b\n\n  c\n",
    "a: 'b\n  c'\n",
    "# only a comment\n",
    "",
    "\n\n",
    "a: 1 # c\n# d\n",
    "a: 'x#y' # z\n",
    "---\na: 1\n",
    "a: 1\n...\n",
    "a: 1\r\nb:\r\n- 2\r\n",
    "a: |\r\n  x\r\n  y\r\n",
    "\u{feff}a: 1\n",
    "a: \u{feff}b\n",
    "a: \u{85}b\n",
    "a: b\u{2028}c\n",
    "a: \"\u{7f}\"\n",
    "a: \"\u{1}\"\n",
    "a: \u{1}\n",
    "a: \u{a0}b\n",
    "a: !!map {b: 1}\n",
    "a: !!seq [1]\n",
    "a: !!set {b, c}\n",
    "a: !!omap [b: 1]\n",
    "a: !!str {b: 1}\n",
    "!!map {a: 1}\n",
    "- !!str 1\n- !!int 0x1\n",
    "plain scalar\n",
    "42\n",
    "\"text\"\n",
    "a: \"multi\n  line\n\n  text\"\n",
    "a: - b\n",
    "a:\n- b\n c: 1\n",
    "- a\nb: 1\n",
    "a: 1\n- b\n",
    "{a: 1}\n{b: 2}\n",
    "[1]\n[2]\n",
    "a: {}\nb: []\n",
    "a: ,\n",
    "[,]\n",
    "{,}\n",
    "[a,,b]\n",
    "{a: b: c}\n",
    "[? a : b]\n",
    "a: &anchor\nb: 1\n",
    "a: & b\n",
    "a: * b\n",
    "a: !\n",
    "a: !!\n",
    "a: ! b\n",
    "- &a a\n- &a b\n- *a\n",
    "*a : b\n",
    "a: [*b]\n",
];

/// Where we differ on purpose: the text and why.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "k: \"\\ud83d\\ude00\"\n",
        "surrogate pairs are how JSON writes such characters; the Go library refuses them in YAML",
    ),
    (
        "1: a\n\"1\": b\n",
        "two keys become one: the Go library drops the first, silently",
    ),
    (
        "base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  y: 3\n",
        "a merged key that the map has itself: strict takes that for a key twice, kubectl does not",
    ),
    (
        "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}\n",
        "as above, from two merged maps",
    ),
    (
        "x: &x {a: 1}\ny:\n  a: 2\n  <<: *x\n",
        "as above, with the merge last",
    ),
    (
        "- \ta\n",
        "a tab after a dash separates and does not indent",
    ),
    (
        " a: 1\nb: 2\n",
        "the Go library drops what follows, silently",
    ),
    (
        "a: \u{85}b\n",
        "a line break in YAML 1.1, a character in YAML 1.2",
    ),
    (
        "a: b\u{2028}c\n",
        "a line break in YAML 1.1, a character in YAML 1.2",
    ),
    (
        "{a: 1}\n{b: 2}\n",
        "the Go library drops what follows, silently",
    ),
    ("[1]\n[2]\n", "the Go library drops what follows, silently"),
];

#[derive(Debug, PartialEq)]
enum Read {
    Value(Value),
    Refused,
}

fn ours(text: &[u8]) -> Read {
    match yaml::parse_value("t.yaml", text) {
        Ok(value) => Read::Value(value),
        Err(_) => Read::Refused,
    }
}

fn difference(text: &str) -> Option<&'static str> {
    DIFFERENCES
        .iter()
        .find(|(known, _)| *known == text)
        .map(|(_, why)| *why)
}

/// `1e3` is a float to one side and a whole number to the other; JSON does not tell them apart.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64()))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}

#[test]
fn we_read_what_the_go_library_reads() -> Result<()> {
    let mut texts: Vec<String> = SCALARS
        .iter()
        .map(|scalar| format!("k: {scalar}\n"))
        .collect();
    texts.extend(STRUCTURES.iter().map(|text| (*text).to_owned()));
    let verdicts = e2e::peers::yaml_read(&texts)?;
    ensure!(verdicts.len() == texts.len());
    let (mut values, mut refused, mut wrong) = (0, 0, Vec::new());
    for (text, verdict) in texts.iter().zip(&verdicts) {
        // Strict is how kubectl validates: a key twice is an error.
        let theirs = match &verdict.strict_error {
            None => Read::Value(verdict.json.clone().unwrap_or_default()),
            Some(_) => Read::Refused,
        };
        let ours = ours(text.as_bytes());
        let agree = match (&ours, &theirs) {
            (Read::Value(ours), Read::Value(theirs)) => same(ours, theirs),
            (ours, theirs) => ours == theirs,
        };
        match (agree, difference(text)) {
            (true, None) if ours == Read::Refused => refused += 1,
            (true, None) => values += 1,
            (false, Some(_)) => {}
            (true, Some(why)) => wrong.push(format!(
                "{text:?}: listed as a difference ({why}), and there is none"
            )),
            (false, None) => wrong.push(format!(
                "{text:?}: ours {ours:?}, theirs {theirs:?} ({})",
                verdict
                    .strict_error
                    .as_deref()
                    .or(verdict.error.as_deref())
                    .unwrap_or_default()
            )),
        }
    }
    println!(
        "{} texts: {values} read alike, {refused} refused alike, {} differ on purpose",
        texts.len(),
        DIFFERENCES.len()
    );
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

/// Files of several documents.
const FILES: &[&str] = &[
    "--- |\n  x\n",
    "--- {a: 1}\n",
    "--- a\n",
    "%FOO bar\n---\na: 1\n",
    "%TAG ! tag:x,2000:\n---\na: !b 1\n",
    "%YAML 1.2\n---\na: yes\n",
    "%YAML 1.1\n---\na: 1\n",
    "a: 1\n---\nb: 2\n",
    "---\na: 1\n---\n---\nb: 2\n",
    "a: 1\n---\n# nothing\n---\nnull\n",
    "# c\n---\na: 1\n",
    "a: 1\n--- # c\nb: 2\n",
    "a: |\n  ---\n  x\n",
    "a: 1\n...\n---\nb: 2\n",
    "a: 1\r\n---\r\nb: 2\r\n",
    "{\"a\": 1}\n{\"b\": 2}\n",
    "{\"a\": 1}",
    "{\"a\": 1}\n---\n{\"b\": 2}\n",
    "---\n",
    "",
    "a: 1\n---",
    "a: [1\n---\nb: 2\n",
    "\n\n---\n\na: 1\n",
    "a: 1\n---  \nb: 2\n",
    "a: 1\n----\n",
    "- a\n",
];

#[test]
fn we_read_files_as_kubectl_does() -> Result<()> {
    let verdicts = e2e::peers::yaml_multi(FILES)?;
    let mut wrong = Vec::new();
    for (text, verdict) in FILES.iter().zip(&verdicts) {
        let ours = yaml::parse_values("t.yaml", text.as_bytes());
        let agree = match (&ours, &verdict.error) {
            (Ok(ours), None) => {
                ours.len() == verdict.documents.len()
                    && ours
                        .iter()
                        .zip(&verdict.documents)
                        .all(|(ours, theirs)| same(&ours.value, theirs))
            }
            (Err(_), Some(_)) => true,
            // kubectl's objects are maps; a list is refused there when it is decoded, here by `parse`.
            (Ok(_), Some(_)) => yaml::parse("t.yaml", text.as_bytes()).is_err(),
            (Err(_), None) => false,
        };
        if !agree {
            wrong.push(format!("{text:?}: ours {ours:?}, theirs {verdict:?}"));
        }
    }
    println!("{} files read alike", FILES.len() - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Values that are easily written wrongly.
fn awkward() -> Vec<Value> {
    let mut values: Vec<Value> = SCALARS.iter().map(|scalar| json!(scalar)).collect();
    values.extend(STRUCTURES.iter().map(|text| json!(text)));
    values.extend(
        [
            " leading",
            "trailing ",
            "\ttab",
            "tab\t",
            "a\n",
            "\na",
            "a\n\n",
            "\n",
            "a\n b\n",
            " a\nb",
            "a\r\nb",
            "a\rb",
            "a\n\n\nb",
            "a \nb",
            "---",
            "...",
            "--- a",
            "a: ",
            ": a",
            "a #",
            "# a",
            "\u{0}",
            "\u{1b}[31m",
            "\u{7f}",
            "\u{85}",
            "\u{a0}",
            "\u{2028}",
            "\u{feff}",
            "\u{e000}",
            "\u{10ffff}",
            "'",
            "\"",
            "\\",
            "''",
            "'a'",
            "\"a\"",
            "{{ .Values.x }}",
            "$(x)",
            "%",
            "@",
            "`",
            "0x",
            "0b",
            "0o7",
            "1e",
            ".inf",
            "-.inf",
            ".nan",
            ".NaN",
            "+.inf",
            "<<",
            "=",
            "~x",
            "null ",
            " null",
            "-- ",
            "- ",
            "-",
            "? ",
            "!",
            "&",
            "*",
        ]
        .map(|text| json!(text)),
    );
    for long in [80, 81, 200, 5000] {
        values.push(json!("x".repeat(long)));
        values.push(json!("word ".repeat(long / 5)));
        values.push(json!(format!(
            "{}\n{}",
            "word ".repeat(long / 5),
            "y".repeat(long)
        )));
    }
    values.extend([
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!(-0.0),
        json!(1e300),
        json!(1e-7),
        json!(0.1),
        json!(123_456_789.125),
        json!(1e21),
        json!(100.0),
        json!(true),
        json!(false),
        json!(null),
        json!([]),
        json!({}),
        json!([[]]),
        json!([{}]),
        json!([null]),
        json!({"a": null}),
        json!({"a": {}, "b": []}),
        json!([[1, [2, {"a": [3]}]]]),
    ]);
    let keys: Map<String, Value> = SCALARS
        .iter()
        .map(|scalar| ((*scalar).to_owned(), json!(1)))
        .collect();
    values.push(Value::Object(keys));
    let nested = values.clone();
    values.push(json!({"list": nested, "in": {"map": {"list": [{"name": "a", "text": "x\ny\n"}, {"name": "b"}]}}}));
    values
}

#[test]
fn the_go_library_reads_back_what_we_write() -> Result<()> {
    let values = awkward();
    let texts: Vec<String> = values.iter().map(yaml::to_yaml).collect();
    let verdicts = e2e::peers::yaml_read(&texts)?;
    let mut wrong = Vec::new();
    for ((value, text), verdict) in values.iter().zip(&texts).zip(&verdicts) {
        if !same(&verdict.json.clone().unwrap_or_default(), value) || verdict.strict_error.is_some()
        {
            wrong.push(format!(
                "{value} as {text:?}: theirs {:?} {:?}",
                verdict.json, verdict.strict_error
            ));
        }
        let back = ours(text.as_bytes());
        if !matches!(&back, Read::Value(back) if same(back, value)) {
            wrong.push(format!("{value} as {text:?}: ours {back:?}"));
        }
    }
    println!("{} values written and read back by both", values.len());
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}
