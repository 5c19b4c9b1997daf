//! Sync windows.
#![cfg(feature = "cron")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use futures::FutureExt;
use gitops_core::ErrorKind;
use gitops_core::application::{Application, ClusterRef};
use gitops_core::rule::{SyncContext, SyncRule, SyncWindow, SyncWindows};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn decide(windows: &SyncWindows, app: &Application, now: &str, manual: bool) -> (bool, String) {
    let mut context = SyncContext::new(app);
    context.now = at(now);
    context.manual = manual;
    let decision = windows.evaluate(&context).now_or_never().unwrap().unwrap();
    (decision.sync, decision.reason)
}

/// (expression, zone, hours, times at which it is open, times at which it is not)
type Row = (
    &'static str,
    &'static str,
    u32,
    &'static [&'static str],
    &'static [&'static str],
);

#[test]
fn windows_open_and_close() {
    let table: &[Row] = &[
        (
            "0 22 * * *",
            "",
            2,
            &[
                "2026-03-01T22:00:00Z",
                "2026-03-01T22:00:00.5Z",
                "2026-03-01T23:59:59Z",
            ],
            &[
                "2026-03-01T21:59:59.9Z",
                "2026-03-02T00:00:00Z",
                "2026-03-01T12:00:00Z",
            ],
        ),
        // Over midnight and the end of a month.
        (
            "0 23 31 * *",
            "UTC",
            3,
            &["2026-02-01T01:59:00Z", "2026-01-31T23:00:00Z"],
            &["2026-02-01T02:00:00Z", "2026-03-01T01:00:00Z"],
        ),
        (
            "30 8 * * MON-FRI",
            "",
            1,
            &["2026-03-02T08:45:00Z"],
            &["2026-03-01T08:45:00Z", "2026-03-07T08:45:00Z"],
        ),
        // Sunday is 0 and 7.
        (
            "0 0 * * 7",
            "",
            24,
            &["2026-03-01T12:00:00Z"],
            &["2026-03-02T12:00:00Z"],
        ),
        (
            "0 0 * * 0",
            "",
            24,
            &["2026-03-01T12:00:00Z"],
            &["2026-03-02T12:00:00Z"],
        ),
        // One of the two day fields is enough.
        (
            "0 0 1 * 1",
            "",
            24,
            &["2026-04-01T12:00:00Z", "2026-04-06T12:00:00Z"],
            &["2026-04-07T12:00:00Z"],
        ),
        // It opens again before it closes: it stays open.
        (
            "0 * * * *",
            "",
            2,
            &["2026-03-01T12:00:00Z", "2026-03-01T12:59:59Z"],
            &[],
        ),
        (
            "*/15 * * * *",
            "",
            0,
            &["2026-03-01T12:30:30Z"],
            &["2026-03-01T12:35:00Z"],
        ),
        // Two o'clock on the wall: UTC+1 in winter, UTC+2 in summer.
        (
            "0 2 * * *",
            "Europe/Berlin",
            1,
            &["2026-01-10T01:30:00Z", "2026-07-10T00:30:00Z"],
            &["2026-01-10T02:30:00Z", "2026-07-10T01:30:00Z"],
        ),
        // Half an hour off, and the other side of the date line.
        (
            "0 9 * * *",
            "Asia/Kolkata",
            1,
            &["2026-01-10T03:30:00Z"],
            &["2026-01-10T03:29:59Z"],
        ),
        (
            "0 1 1 * *",
            "Pacific/Auckland",
            1,
            &["2026-05-31T13:30:00Z"],
            &["2026-06-01T01:30:00Z"],
        ),
        // The clock goes back at three on 2026-10-25 in Berlin: the start at noon is not moved.
        (
            "0 12 * * *",
            "Europe/Berlin",
            1,
            &["2026-10-24T10:30:00Z", "2026-10-25T11:30:00Z"],
            &["2026-10-25T10:30:00Z"],
        ),
        // A window that began before the clock went back lasts as long as it says.
        (
            "0 1 25 10 *",
            "Europe/Berlin",
            4,
            &["2026-10-24T23:00:00Z", "2026-10-25T02:59:59Z"],
            &["2026-10-25T03:00:00Z"],
        ),
    ];
    for (schedule, zone, hours, open, shut) in table {
        let duration = if *hours == 0 {
            Duration::from_secs(60)
        } else {
            HOUR * *hours
        };
        let window = SyncWindow::allow(schedule, duration)
            .unwrap()
            .time_zone(zone)
            .unwrap();
        for time in *open {
            assert!(window.is_open(at(time)).unwrap(), "{window} at {time}");
        }
        for time in *shut {
            assert!(!window.is_open(at(time)).unwrap(), "{window} at {time}");
        }
    }
}

#[test]
fn a_start_that_the_clock_leaves_out_or_repeats() {
    let berlin = |schedule: &str| {
        SyncWindow::allow(schedule, HOUR / 2)
            .unwrap()
            .time_zone("Europe/Berlin")
            .unwrap()
    };
    // 02:00 to 03:00 does not exist on 2026-03-29: the window opens when the clock has jumped, so that the night is not without one.
    let gap = berlin("30 2 * * *");
    assert_eq!(
        gap.next_opening(at("2026-03-28T12:00:00Z")).unwrap(),
        at("2026-03-29T01:00:00Z")
    );
    assert!(gap.is_open(at("2026-03-29T01:10:00Z")).unwrap());
    // 02:30 comes twice on 2026-10-25: it opens at the first.
    let fold = berlin("30 2 * * *");
    assert!(fold.is_open(at("2026-10-25T00:30:00Z")).unwrap());
    assert!(!fold.is_open(at("2026-10-25T01:30:00Z")).unwrap());
}

#[test]
fn deny_wins_and_a_missing_allow_is_a_no() {
    let app = Application::new("shop");
    let allow = || SyncWindow::allow("0 10 * * *", 4 * HOUR).unwrap();
    let deny = || SyncWindow::deny("0 12 * * *", 4 * HOUR).unwrap();
    // At 11 only allow is open, at 13 both, at 15 only deny, at 20 none.
    type Four = [bool; 4];
    let table: [(&str, Vec<SyncWindow>, Four, Four); 8] = [
        ("none", vec![], [true; 4], [true; 4]),
        (
            "allow",
            vec![allow()],
            [true, true, false, false],
            [true, true, false, false],
        ),
        (
            "deny",
            vec![deny()],
            [true, false, false, true],
            [true, false, false, true],
        ),
        (
            "both",
            vec![allow(), deny()],
            [true, false, false, false],
            [true, false, false, false],
        ),
        (
            "allow, manual passes",
            vec![allow().manual_sync(true)],
            [true, true, false, false],
            [true; 4],
        ),
        (
            "deny, manual passes",
            vec![deny().manual_sync(true)],
            [true, false, false, true],
            [true; 4],
        ),
        (
            "one of two denies lets manual pass",
            vec![deny().manual_sync(true), deny()],
            [true, false, false, true],
            [true, false, false, true],
        ),
        (
            "both, deny lets manual pass",
            vec![allow(), deny().manual_sync(true)],
            [true, false, false, false],
            [true, true, true, false],
        ),
    ];
    for (name, windows, automatic, manual) in table {
        let rule = SyncWindows::new(windows);
        for (position, hour) in ["11", "13", "15", "20"].iter().enumerate() {
            let now = format!("2026-03-02T{hour}:00:00Z");
            let (sync, reason) = decide(&rule, &app, &now, false);
            assert_eq!(sync, automatic[position], "{name} at {hour}: {reason}");
            let (sync, reason) = decide(&rule, &app, &now, true);
            assert_eq!(sync, manual[position], "{name} by hand at {hour}: {reason}");
        }
    }
    let rule = SyncWindows::default().window(allow());
    let (_, reason) = decide(&rule, &app, "2026-03-02T20:00:00Z", false);
    assert_eq!(
        reason,
        "no window is open; the next opens at 2026-03-03T10:00:00Z"
    );
}

#[test]
fn windows_are_about_applications_clusters_and_namespaces() {
    let mut app = Application::new("shop-prod").in_namespace("shop");
    app.destination.cluster = ClusterRef::Name("eu-1".into());
    // A window that denies always: who is it about?
    let always = || SyncWindow::deny("* * * * *", HOUR).unwrap();
    let table = [
        ("everybody", always(), true),
        ("name", always().applications(["*-prod"]).unwrap(), true),
        (
            "other name",
            always().applications(["*-dev"]).unwrap(),
            false,
        ),
        ("anchored", always().applications(["prod"]).unwrap(), false),
        ("cluster", always().clusters(["eu-?"]).unwrap(), true),
        (
            "namespace",
            always().namespaces(["kube-*", "shop"]).unwrap(),
            true,
        ),
        (
            "one is enough",
            always()
                .applications(["x"])
                .unwrap()
                .namespaces(["shop"])
                .unwrap(),
            true,
        ),
        (
            "all, one is not",
            always()
                .applications(["x"])
                .unwrap()
                .namespaces(["shop"])
                .unwrap()
                .all_must_match(true),
            false,
        ),
        (
            "all",
            always()
                .applications(["shop-*"])
                .unwrap()
                .namespaces(["shop"])
                .unwrap()
                .all_must_match(true),
            true,
        ),
    ];
    for (name, window, about) in table {
        let (sync, _) = decide(
            &SyncWindows::new([window]),
            &app,
            "2026-03-02T20:00:30Z",
            false,
        );
        assert_eq!(sync, !about, "{name}");
    }
}

#[test]
fn nonsense_is_refused() {
    for schedule in [
        "",
        "x",
        "0 0 * *",
        "60 * * * *",
        "0 0 * * * *",
        "0 0 30 2 *",
        "* * * * * * 2026",
        "0 24 * * *",
    ] {
        let error = SyncWindow::allow(schedule, HOUR).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{schedule:?}");
    }
    for duration in [Duration::ZERO, HOUR * 24 * 400, Duration::MAX] {
        assert!(SyncWindow::allow("0 0 * * *", duration).is_err());
    }
    let window = SyncWindow::allow("0 0 * * *", HOUR).unwrap();
    assert!(window.clone().time_zone("Mars/Base").is_err());
    assert!(window.clone().applications(["[a"]).is_err());
    // The ends of time are an error, no panic.
    let _ = window.is_open(Timestamp::MIN);
    let _ = window.is_open(Timestamp::MAX);
    let _ = window.next_opening(Timestamp::MAX);
}

proptest! {
    /// A window of a daily or hourly schedule is open exactly when one of its starts lies within its duration before now.
    #[test]
    fn open_means_a_start_within_the_duration(minute in 0_i64..60, hour in prop::option::of(0_i64..24), length in 1_i64..3000, now in 0_i64..40_000) {
        let schedule = match hour {
            Some(hour) => format!("{minute} {hour} * * *"),
            None => format!("{minute} * * * *"),
        };
        let window = SyncWindow::allow(&schedule, Duration::from_secs(60 * length as u64)).unwrap();
        let base = 1_767_225_600; // 2026-01-01, midnight
        let expected = (now - length + 1..=now).any(|start| {
            start.rem_euclid(60) == minute && hour.is_none_or(|hour| start.rem_euclid(1440) / 60 == hour)
        });
        let now = Timestamp::from_second(base + now * 60).unwrap();
        prop_assert_eq!(window.is_open(now).unwrap(), expected);
        // The next opening is a start.
        let next = window.next_opening(now).unwrap();
        prop_assert!(window.is_open(next).unwrap());
        prop_assert!(next > now && next - now <= SignedDuration::from_hours(24));
    }

    #[test]
    fn any_text_is_an_expression_or_an_error(text in "[-0-9*/,LW#?A-Za-z@ ]{0,24}") {
        if let Ok(window) = SyncWindow::allow(&text, HOUR) {
            let _ = window.is_open(at("2026-03-02T20:00:30Z"));
        }
    }
}
