use std::time::Duration;

use gitops_flux::types::{GoDuration, Kustomization};
use proptest::prelude::*;
use serde_json::json;

/// What Go 1.26's `time.ParseDuration` makes of these, in nanoseconds.
const KNOWN: &[(&str, Option<u64>)] = &[
    ("0", Some(0)),
    ("+0", Some(0)),
    ("-0", Some(0)),
    ("-0s", Some(0)),
    ("5s", Some(5_000_000_000)),
    ("30s", Some(30_000_000_000)),
    ("1478s", Some(1_478_000_000_000)),
    ("+5s", Some(5_000_000_000)),
    ("5.0s", Some(5_000_000_000)),
    ("5.6s", Some(5_600_000_000)),
    ("5.s", Some(5_000_000_000)),
    (".5s", Some(500_000_000)),
    ("1.004s", Some(1_004_000_000)),
    ("100.00100s", Some(100_001_000_000)),
    ("10ns", Some(10)),
    ("11us", Some(11_000)),
    ("12µs", Some(12_000)),
    ("12μs", Some(12_000)),
    ("13ms", Some(13_000_000)),
    ("15m", Some(900_000_000_000)),
    ("16h", Some(57_600_000_000_000)),
    ("3h30m", Some(12_600_000_000_000)),
    ("10.5s4m", Some(250_500_000_000)),
    ("1h2m3s4ms5us6ns", Some(3_723_004_005_006)),
    ("39h9m14.425s", Some(140_954_425_000_000)),
    ("0.3333333333333333333h", Some(1_200_000_000_000)),
    ("9223372036854775807ns", Some(9_223_372_036_854_775_807)),
    ("9007199254740993ns", Some(9_007_199_254_740_993)),
    ("0.100000000000000000000h", Some(360_000_000_000)),
    ("", None),
    ("3", None),
    ("-", None),
    ("s", None),
    (".", None),
    ("-.", None),
    (".s", None),
    ("+.s", None),
    ("1d", None),
    ("5 m", None),
    (" 5m", None),
    ("5M", None),
    ("1e3s", None),
    ("0x10s", None),
    ("9223372036854775808ns", None),
    ("9223372036854775.808us", None),
    ("9223372036854.775808s9223372036854.775808s", None),
    ("3000000h", None),
    ("99999999999999999999999999999999999999999999999s", None),
    // Go reads it; a Flux interval cannot be below zero.
    ("-5s", None),
];

#[test]
fn texts_are_read_as_go_reads_them() {
    for (text, expected) in KNOWN {
        let read = GoDuration::new(*text).duration().ok();
        let nanos = read.map(|read| u64::try_from(read.as_nanos()).unwrap());
        // A fraction of an hour is not exact in Go either, which uses floats there.
        let close = matches!((nanos, expected), (Some(a), Some(b)) if a.abs_diff(*b) <= 1);
        assert!(close || nanos == *expected, "{text:?}: {nanos:?}");
    }
}

#[test]
fn what_was_read_is_written() {
    let text = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "a"},
        "spec": {"interval": "60m", "timeout": "5 minutes", "retryInterval": "", "prune": false, "sourceRef": {"kind": "GitRepository", "name": "a"}}});
    let read: Kustomization = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), text);
    let error = read.spec.timeout.unwrap().duration().unwrap_err();
    assert!(error.to_string().contains("5 minutes"), "{error}");
}

#[test]
fn durations_are_written_as_go_writes_them_without_zeros() {
    for (millis, text) in [
        (0, "0s"),
        (500, "500ms"),
        (60_000, "1m"),
        (90_000, "1m30s"),
        (3_600_000, "1h"),
        (5_025_250, "1h23m45s250ms"),
    ] {
        let duration = Duration::from_millis(millis);
        assert_eq!(GoDuration::from(duration).to_string(), text);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(millis in 0u64..9_000_000_000_000) {
        let duration = Duration::from_millis(millis);
        let written = GoDuration::from(duration);
        prop_assert_eq!(written.duration().unwrap(), duration);
        // The pattern of Flux's definitions.
        prop_assert!(written.as_str().bytes().all(|b| b.is_ascii_digit() || b"hms".contains(&b)));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,30}|[-+0-9.hmsnuµ]{0,40}") {
        let _ = GoDuration::new(text).duration();
    }
}
