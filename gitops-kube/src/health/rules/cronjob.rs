//! CronJob.
//!
//! Facts: Argo CD 3.2 (`resource_customizations/batch/CronJob`); kstatus calls every CronJob Current. Strict follows Argo CD: Degraded when
//! the last run did not succeed and none is on its way. Argo CD reports a suspended one as Healthy for now, to get around a bug of
//! its own (argo-cd#24428); here it is Suspended.

use jiff::Timestamp;

use super::super::view::{Checked, View};
use super::super::{degraded, healthy, suspended};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("batch", "CronJob")],
    strict,
    kstatus: Some(kstatus),
};

fn strict(view: &View<'_>) -> Checked {
    if view.flag("spec.suspend")? {
        return Ok(suspended("the CronJob is suspended"));
    }
    if !view.list("status.active")?.is_empty() {
        return Ok(healthy("a run is on its way"));
    }
    let Some(scheduled) = time(view, "status.lastScheduleTime")? else {
        return Ok(healthy("not scheduled yet"));
    };
    let Some(succeeded) = time(view, "status.lastSuccessfulTime")? else {
        // The first run may not have begun: nobody can tell.
        return Ok(healthy("no run has succeeded yet"));
    };
    Ok(if succeeded < scheduled {
        degraded("the last run did not succeed")
    } else {
        healthy("the last run succeeded")
    })
}

fn kstatus(_: &View<'_>) -> Checked {
    Ok(healthy(""))
}

fn time(view: &View<'_>, path: &str) -> Checked<Option<Timestamp>> {
    let Some(value) = view.get(path)? else {
        return Ok(None);
    };
    match value.as_str().map(str::parse::<Timestamp>) {
        Some(Ok(time)) => Ok(Some(time)),
        _ => Err(view.wrong(path, "a time", value)),
    }
}
