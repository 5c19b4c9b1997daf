//! Maintenance windows.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use globset::{Glob, GlobMatcher};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime, civil};

use super::{Decision, SyncContext, SyncRule};
use crate::application::{Application, ClusterRef};
use crate::error::{Error, Result};

/// Whether syncs are allowed or denied while a window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// They are allowed, and not allowed while no such window is open.
    Allow,
    /// They are denied, whatever other windows say.
    Deny,
}

/// A time that comes again: it opens at each time that a cron expression names, and stays open for a while.
///
/// The expression is that of Argo CD (five fields: minute, hour, day of month, month, day of week; a day matches when one of the two day fields does, unless one of them is
/// `*`; croner reads it). It is read in the window's time zone, on the wall clock: a window of `0 2 * * *` opens at two o'clock in summer and in winter. A fixed start
/// that a change to summer time leaves out happens when the clock has jumped; one that the way back repeats happens once, at the first. (Argo CD 3.2 reckons with the zone's
/// offset of this moment, which differs within a day of such a change.)
#[derive(Clone, Debug)]
pub struct SyncWindow {
    kind: WindowKind,
    schedule: Cron,
    text: String,
    duration: SignedDuration,
    zone: TimeZone,
    manual_sync: bool,
    applications: Vec<GlobMatcher>,
    clusters: Vec<GlobMatcher>,
    namespaces: Vec<GlobMatcher>,
    all_must_match: bool,
}

impl SyncWindow {
    /// A window for all applications, in UTC.
    ///
    /// # Errors
    /// `InvalidInput` for an expression that is not one, that never comes, or for a duration of zero or more than a year.
    pub fn new(kind: WindowKind, schedule: &str, duration: Duration) -> Result<Self> {
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(schedule)
            .map_err(|error| {
                Error::invalid(format!("{schedule:?} is not a cron expression")).with_source(error)
            })?;
        let duration = SignedDuration::try_from(duration)
            .ok()
            .filter(|duration| duration.is_positive() && duration.as_hours() <= 366 * 24)
            .ok_or_else(|| {
                Error::invalid("a window must last longer than nothing and at most a year")
            })?;
        let now = Local(Timestamp::now().to_zoned_datetime(TimeZone::UTC));
        if let Err(error) = cron.find_next_occurrence(&now, true) {
            let message = format!("{schedule:?} names a time that never comes");
            return Err(Error::invalid(message).with_source(error));
        }
        Ok(Self {
            kind,
            schedule: cron,
            text: schedule.to_owned(),
            duration,
            zone: TimeZone::UTC,
            manual_sync: false,
            applications: Vec::new(),
            clusters: Vec::new(),
            namespaces: Vec::new(),
            all_must_match: false,
        })
    }

    /// A window in which syncs are allowed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn allow(schedule: &str, duration: Duration) -> Result<Self> {
        Self::new(WindowKind::Allow, schedule, duration)
    }

    /// A window in which syncs are denied.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn deny(schedule: &str, duration: Duration) -> Result<Self> {
        Self::new(WindowKind::Deny, schedule, duration)
    }

    /// Reads the schedule in a time zone of the IANA database (`Europe/Berlin`).
    ///
    /// # Errors
    /// `InvalidInput` for a zone that is not known. (Argo CD takes UTC then; a window hours off helps nobody.)
    pub fn time_zone(mut self, name: &str) -> Result<Self> {
        self.zone = match name {
            "" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|error| {
                Error::invalid(format!("{name:?} is not a time zone")).with_source(error)
            })?,
        };
        Ok(self)
    }

    /// Syncs that people ask for pass, even where the window would stop them.
    #[must_use]
    pub fn manual_sync(mut self, allowed: bool) -> Self {
        self.manual_sync = allowed;
        self
    }

    /// Only for applications whose names match one of these globs.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn applications<'a>(mut self, globs: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.applications = compile(globs)?;
        Ok(self)
    }

    /// Only for destination clusters whose names or URLs match one of these globs.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn clusters<'a>(mut self, globs: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.clusters = compile(globs)?;
        Ok(self)
    }

    /// Only for destination namespaces that match one of these globs.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn namespaces<'a>(mut self, globs: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.namespaces = compile(globs)?;
        Ok(self)
    }

    /// Applications, clusters and namespaces must all match, as far as they are set (Argo CD's `andOperator`); else one is enough.
    #[must_use]
    pub fn all_must_match(mut self, all: bool) -> Self {
        self.all_must_match = all;
        self
    }

    /// Whether it is open at `now`: from the start on, until before its end.
    ///
    /// # Errors
    /// `InvalidInput` at the ends of time.
    pub fn is_open(&self, now: Timestamp) -> Result<bool> {
        Ok(self.opened_at(now)?.is_some())
    }

    /// When it opens next, after `now`.
    ///
    /// # Errors
    /// `InvalidInput` when that is further away than can be reckoned.
    pub fn next_opening(&self, now: Timestamp) -> Result<Timestamp> {
        let start = Local(now.to_zoned_datetime(self.zone.clone()));
        let next = self.schedule.find_next_occurrence(&start, false);
        Ok(next.map_err(|error| self.cannot(error))?.0.timestamp())
    }

    /// Since when it is open.
    fn opened_at(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let local = |at: Timestamp| Local(at.to_zoned_datetime(self.zone.clone()));
        let whole = |error: jiff::Error| {
            Error::invalid("the window lies outside of the times that can be reckoned")
                .with_source(error)
        };
        // The last start at or before now tells, whatever the duration; the search ends there, because what started before ends before.
        let earliest = now.checked_sub(self.duration).map_err(whole)?;
        let first = match self.schedule.find_next_occurrence(&local(earliest), false) {
            Ok(first) => first.0.timestamp(),
            Err(CronError::TimeSearchLimitExceeded) => return Ok(None),
            Err(error) => return Err(self.cannot(error)),
        };
        Ok((first <= now).then_some(first))
    }

    fn cannot(&self, error: CronError) -> Error {
        Error::invalid(format!("the window {} cannot be reckoned", self.text)).with_source(error)
    }

    /// Whether it is about `app` (argo-cd 3.2, `SyncWindows.Matches`; there a window that names nothing is about nothing, here about everything).
    fn is_about(&self, app: &Application) -> bool {
        let any = |globs: &[GlobMatcher], texts: &[&str]| {
            globs
                .iter()
                .any(|glob| texts.iter().any(|text| glob.is_match(text)))
        };
        let clusters: Vec<&str> = match &app.destination.cluster {
            ClusterRef::InCluster => vec!["in-cluster", "https://kubernetes.default.svc"],
            ClusterRef::Server(server) => vec![server],
            ClusterRef::Name(name) => vec![name],
        };
        let namespace = match app.destination.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        let mut set = [
            (&self.applications, vec![app.name.as_str()]),
            (&self.clusters, clusters),
            (&self.namespaces, vec![namespace]),
        ]
        .into_iter()
        .filter(|(globs, _)| !globs.is_empty())
        .map(|(globs, texts)| any(globs, &texts))
        .peekable();
        match (set.peek(), self.all_must_match) {
            (None, _) => true,
            (_, true) => set.all(|matched| matched),
            (_, false) => set.any(|matched| matched),
        }
    }
}

impl fmt::Display for SyncWindow {
    /// `deny 0 22 * * * for 8h (Europe/Berlin)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            WindowKind::Allow => "allow",
            WindowKind::Deny => "deny",
        };
        write!(f, "{kind} {} for {:#}", self.text, self.duration)?;
        match self.zone.iana_name() {
            Some(zone) => write!(f, " ({zone})"),
            None => Ok(()),
        }
    }
}

fn compile<'a>(globs: impl IntoIterator<Item = &'a str>) -> Result<Vec<GlobMatcher>> {
    globs
        .into_iter()
        .map(|glob| match Glob::new(glob) {
            Ok(compiled) => Ok(compiled.compile_matcher()),
            Err(error) => Err(Error::invalid(format!("{glob:?} is not a glob")).with_source(error)),
        })
        .collect()
}

/// Says yes while maintenance windows let syncs through, by the rules of Argo CD 3.2 (`SyncWindows.CanSync`).
///
/// Of the windows that are about the application: an open window that denies wins; else an open one that allows says yes; else, where there are windows that allow, it is a no; else
/// (only windows that deny, none open, or none at all) a yes. A sync that a person asks for ([`SyncContext::manual`]) passes when every window that stops it lets such syncs
/// pass.
///
/// ```
/// use std::time::Duration;
/// use gitops_core::rule::{OutOfSync, SyncWindow, SyncWindows, all};
///
/// let hour = Duration::from_secs(3600);
/// let windows = SyncWindows::new([
///     SyncWindow::allow("0 22 * * *", 6 * hour)?.time_zone("Europe/Berlin")?,
///     SyncWindow::deny("0 0 24 12 *", 72 * hour)?.manual_sync(true),
/// ]);
/// let rule = all([Box::new(windows) as _, Box::new(OutOfSync) as _]);
/// # Ok::<(), gitops_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct SyncWindows {
    windows: Vec<SyncWindow>,
}

impl SyncWindows {
    /// The rule of these windows.
    pub fn new(windows: impl IntoIterator<Item = SyncWindow>) -> Self {
        Self {
            windows: windows.into_iter().collect(),
        }
    }

    /// Adds a window.
    #[must_use]
    pub fn window(mut self, window: SyncWindow) -> Self {
        self.windows.push(window);
        self
    }
}

#[async_trait]
impl SyncRule for SyncWindows {
    fn name(&self) -> &str {
        "sync-windows"
    }

    /// # Errors
    /// `InvalidInput` at the ends of time.
    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        let (mut open, mut shut) = (Vec::new(), Vec::new());
        for window in self.windows.iter().filter(|w| w.is_about(context.app)) {
            match window.is_open(context.now)? {
                true => open.push(window),
                false => shut.push(window),
            }
        }
        let of = |windows: &[&SyncWindow], kind: WindowKind| -> Vec<SyncWindow> {
            let windows = windows.iter().filter(|window| window.kind == kind);
            windows.map(|window| (*window).clone()).collect()
        };
        let passes = |windows: &[SyncWindow]| {
            context.manual && windows.iter().all(|window| window.manual_sync)
        };
        let denying = of(&open, WindowKind::Deny);
        if let Some(window) = denying.first() {
            return Ok(match passes(&denying) {
                true => Decision::yes(format!("{window} is open, and lets manual syncs pass")),
                false => Decision::no(format!("{window} is open")),
            });
        }
        if let Some(window) = of(&open, WindowKind::Allow).first() {
            return Ok(Decision::yes(format!("{window} is open")));
        }
        let allowing = of(&shut, WindowKind::Allow);
        if allowing.is_empty() {
            return Ok(Decision::yes("no window is in the way"));
        }
        if passes(&allowing) {
            return Ok(Decision::yes("no window is open, but manual syncs pass"));
        }
        let next = allowing
            .iter()
            .filter_map(|window| window.next_opening(context.now).ok())
            .min();
        Ok(Decision::no(match next {
            Some(next) => format!("no window is open; the next opens at {next}"),
            None => "no window is open".to_owned(),
        }))
    }
}

/// A time in a zone, for croner to search over (its own binding is to another version of jiff).
#[derive(Clone)]
struct Local(ZonedDateTime);

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        let time = self.0.datetime();
        let of = |n: i8| u32::from(n.unsigned_abs());
        // jiff holds no other times than those of the calendar.
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(time.year().into(), of(time.month()), of(time.day())),
            CivilTime::from_parts_unchecked(of(time.hour()), of(time.minute()), of(time.second())),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        let days = self.0.weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(days.unsigned_abs().into())
    }

    fn resolve_civil(&self, at: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let invalid = |_| CronError::InvalidTime;
        let narrow = |n: u32| i8::try_from(n).map_err(|_| CronError::InvalidTime);
        let time = civil::DateTime::new(
            i16::try_from(at.year()).map_err(|_| CronError::InvalidTime)?,
            narrow(at.month())?,
            narrow(at.day())?,
            narrow(at.hour())?,
            narrow(at.minute())?,
            narrow(at.second())?,
            0,
        )
        .map_err(invalid)?;
        let zoned = self.0.time_zone().to_ambiguous_zoned_datetime(time);
        Ok(match zoned.offset() {
            AmbiguousOffset::Unambiguous { .. } => {
                Resolution::Single(Self(zoned.unambiguous().map_err(invalid)?))
            }
            AmbiguousOffset::Fold { .. } => Resolution::Ambiguous(
                Self(zoned.clone().earlier().map_err(invalid)?),
                Self(zoned.later().map_err(invalid)?),
            ),
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0
            .checked_add(SignedDuration::from_secs(seconds))
            .ok()
            .map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}
