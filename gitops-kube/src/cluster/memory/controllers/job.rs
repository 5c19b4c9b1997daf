//! Jobs (kubernetes, `pkg/controller/job`, `pkg/controller/ttlafterfinished`).

use std::time::Duration;

use gitops_core::backend::Propagation;
use gitops_core::manifest::ObjectId;
use serde_json::{Value, json};

use super::owned::{Owned, controlled, count, counts, discard, make_pod, ready};
use super::pods;
use super::{also_at, condition};
use crate::cluster::memory::state::{State, Task, is_terminating, text};
use crate::cluster::memory::{delete, write};

pub(super) fn job(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned().filter(|live| !is_terminating(live)) else {
        return;
    };
    let uid = text(&live, "/metadata/uid").to_owned();
    if has(&live, "Complete") || has(&live, "Failed") {
        if let Some(ttl) = live["spec"]["ttlSecondsAfterFinished"].as_u64() {
            let due = state.since(&uid, "finished") + Duration::from_secs(ttl);
            if due <= state.now {
                delete::begin(state, id, &live, Some(Propagation::Foreground));
            } else {
                state.schedule(Task::Reconcile(id.clone()), due);
            }
        }
        return;
    }
    let now = state.timestamp();
    let mut status = live["status"].clone();
    let active = |pods: &[Owned]| -> Vec<Owned> {
        pods.iter()
            .filter(|(_, pod)| !pods::is_over(pod))
            .cloned()
            .collect()
    };
    if live["spec"]["suspend"] == true {
        for pod in active(&controlled(state, &live, "Pod")) {
            discard(state, &pod);
        }
        counts(&mut status, &[("active", 0), ("ready", 0)]);
        if let Some(status) = status.as_object_mut() {
            status.remove("startTime");
        }
        condition(
            &mut status,
            &now,
            "Suspended",
            "True",
            "JobSuspended",
            "Job suspended",
        );
        also_at(&mut status, "lastProbeTime");
        write::set_status(state, id, status);
        return;
    }
    if has(&live, "Suspended") {
        condition(
            &mut status,
            &now,
            "Suspended",
            "False",
            "JobResumed",
            "Job resumed",
        );
    }
    if status["startTime"].is_null() {
        status["startTime"] = now.as_str().into();
    }
    let done = |pods: &[Owned]| {
        pods.iter()
            .filter(|(_, pod)| text(pod, "/status/phase") == "Succeeded")
            .count()
    };
    let pods = controlled(state, &live, "Pod");
    let parallelism = count(&live, "/spec/parallelism", 1);
    // Without a number of completions the first success is enough.
    let completions = count(&live, "/spec/completions", 1);
    let left = completions.saturating_sub(done(&pods));
    let running = active(&pods);
    let late = live["spec"]["activeDeadlineSeconds"]
        .as_u64()
        .map(|seconds| state.begun(&uid) + Duration::from_secs(seconds));
    if left == 0 {
        finish(
            &mut status,
            &now,
            "Complete",
            "CompletionsReached",
            "Reached expected number of succeeded pods",
        );
        status["completionTime"] = now.as_str().into();
    } else if late.is_some_and(|late| late <= state.now) {
        for pod in &running {
            discard(state, pod);
        }
        finish(
            &mut status,
            &now,
            "Failed",
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        );
    } else {
        if let Some(late) = late {
            state.schedule(Task::Reconcile(id.clone()), late);
        }
        for _ in running.len()..parallelism.min(left) {
            let name = format!("{}-{}", id.name, state.suffix());
            make_pod(state, &live, &name, &[], |_| {});
        }
    }
    let pods = controlled(state, &live, "Pod");
    let running = active(&pods);
    counts(
        &mut status,
        &[("active", running.len()), ("succeeded", done(&pods))],
    );
    status["ready"] = ready(&running).into();
    status["terminating"] = 0.into();
    status["uncountedTerminatedPods"] = json!({});
    also_at(&mut status, "lastProbeTime");
    write::set_status(state, id, status);
}

fn has(live: &Value, kind: &str) -> bool {
    live["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn finish(status: &mut Value, now: &str, kind: &str, reason: &str, message: &str) {
    // What decides comes before the end itself.
    let before = if kind == "Complete" {
        "SuccessCriteriaMet"
    } else {
        "FailureTarget"
    };
    condition(status, now, before, "True", reason, message);
    condition(status, now, kind, "True", reason, message);
}
