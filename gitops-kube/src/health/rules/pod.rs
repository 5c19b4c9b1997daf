//! Pod.
//!
//! Facts: gitops-engine 0.7.1 (`pkg/health/health_pod.go`); kstatus' `podConditions`, which calls a failed pod Current, and an unschedulable one
//! Failed 15 s after it was created.
//! Strict differs from gitops-engine: init containers are read too, an image name that cannot be parsed is Degraded, a pod without
//! a phase is Progressing, and the message always names the container. As there, a pod that is not restarted (a hook, a
//! Job's) is never Degraded before it failed: whatever it waits for may still come, and it would run after all.

use gitops_core::application::{Health, HealthStatus};
use jiff::{SignedDuration, Timestamp};

use super::super::view::{Checked, Truth, View, find};
use super::super::{degraded, healthy, progressing};
use super::Builtin;

pub(super) static RULE: Builtin = Builtin {
    kinds: &[("", "Pod")],
    strict,
    kstatus: Some(kstatus),
};

/// How long kstatus lets a pod be unschedulable before it calls it failed.
const SCHEDULE_WINDOW: SignedDuration = SignedDuration::from_secs(15);

/// What is wrong with one container.
pub(in super::super) struct Trouble {
    /// `container "web": CrashLoopBackOff: back-off …; restarted 3 times; last exit code 1 (Error)`.
    pub(in super::super) text: String,
    /// The reason alone: `CrashLoopBackOff`, `ErrImagePull`, `OOMKilled` …
    pub(in super::super) reason: String,
    /// How often the kubelet started it again.
    pub(in super::super) restarts: i64,
}

/// Whether a container that waits for this reason waits for something that went wrong.
fn is_bad_wait(reason: &str) -> bool {
    reason.starts_with("Err")
        || reason.ends_with("Error")
        || reason.ends_with("BackOff")
        || reason == "InvalidImageName"
}

/// The containers that are not as they should be, init containers first.
pub(in super::super) fn troubles(pod: &View<'_>) -> Checked<Vec<Trouble>> {
    let mut troubles = Vec::new();
    for (list, what) in [
        ("status.initContainerStatuses", "init container"),
        ("status.containerStatuses", "container"),
    ] {
        for container in pod.items(list)? {
            if let Some(trouble) = trouble(&container, what)? {
                troubles.push(trouble);
            }
        }
    }
    Ok(troubles)
}

fn trouble(container: &View<'_>, what: &str) -> Checked<Option<Trouble>> {
    let name = container.text_or_empty("name")?;
    let restarts = container.count_or_zero("restartCount")?;
    let waiting = container.inner("state.waiting")?;
    let ended = container.inner("state.terminated")?;
    let last = container.inner("lastState.terminated")?;
    let (reason, message) = if let Some(waiting) = &waiting {
        let reason = waiting.text_or_empty("reason")?;
        // PodInitializing and ContainerCreating are the ordinary way to go, unless it ran and died before.
        if !is_bad_wait(reason) && last.is_none() {
            return Ok(None);
        }
        (
            reason.to_owned(),
            waiting.text_or_empty("message")?.to_owned(),
        )
    } else if let Some(ended) = &ended {
        let code = ended.int("exitCode")?.unwrap_or(0);
        if code == 0 {
            return Ok(None);
        }
        let reason = match ended.text_or_empty("reason")? {
            "" => "Error",
            reason => reason,
        };
        let message = match ended.text_or_empty("message")?.trim() {
            "" => format!("exit code {code}"),
            message => format!("exit code {code}: {message}"),
        };
        (reason.to_owned(), message)
    } else if restarts > 0 && !ready(container)? && last.is_some() {
        ("Restarted".to_owned(), "not ready yet".to_owned())
    } else {
        return Ok(None);
    };
    let mut text = format!("{what} {name:?}: {reason}");
    if !message.is_empty() {
        text.push_str(": ");
        text.push_str(&message);
    }
    if restarts > 0 {
        text.push_str(&format!("; restarted {restarts} times"));
    }
    if let Some(last) = &last
        && let Some(code) = last.int("exitCode")?
    {
        text.push_str(&format!("; last exit code {code}"));
        match last.text_or_empty("reason")? {
            "" => {}
            reason => text.push_str(&format!(" ({reason})")),
        }
    }
    Ok(Some(Trouble {
        text,
        reason,
        restarts,
    }))
}

fn ready(container: &View<'_>) -> Checked<bool> {
    container.flag("ready")
}

fn join(troubles: &[Trouble]) -> String {
    let texts: Vec<&str> = troubles.iter().map(|t| t.text.as_str()).collect();
    texts.join(", ")
}

/// Why no node takes it, if none does.
pub(in super::super) fn unschedulable(pod: &View<'_>) -> Checked<Option<String>> {
    let conditions = pod.conditions()?;
    Ok(find(&conditions, "PodScheduled")
        .filter(|c| c.truth == Truth::False)
        .map(|c| format!("not scheduled: {}", c.says())))
}

/// The strict reading, also asked for the pods of a workload.
pub(in super::super) fn strict(view: &View<'_>) -> Checked {
    let troubles = troubles(view)?;
    let restarts = matches!(view.text("spec.restartPolicy")?, None | Some("Always"));
    let waits_badly = view
        .items("status.initContainerStatuses")?
        .iter()
        .chain(&view.items("status.containerStatuses")?)
        .map(|c| c.text("state.waiting.reason"))
        .collect::<Checked<Vec<_>>>()?
        .into_iter()
        .flatten()
        .any(is_bad_wait);
    if restarts && waits_badly {
        return Ok(degraded(join(&troubles)));
    }
    let said = view.text_or_empty("status.message")?;
    let story = || match (said, troubles.is_empty()) {
        (said, true) => said.to_owned(),
        ("", false) => join(&troubles),
        (said, false) => format!("{said}; {}", join(&troubles)),
    };
    Ok(match view.text_or_empty("status.phase")? {
        "" => progressing("no kubelet has seen it yet"),
        "Pending" => progressing(match unschedulable(view)? {
            Some(reason) => reason,
            None => story(),
        }),
        "Succeeded" => healthy(said),
        "Failed" => {
            let reason = view.text_or_empty("status.reason")?;
            degraded(match (reason, story()) {
                ("", story) => story,
                (reason, story) if story.is_empty() => reason.to_owned(),
                (reason, story) => format!("{reason}: {story}"),
            })
        }
        "Running" if !restarts => progressing(story()),
        "Running" => {
            let conditions = view.conditions()?;
            let is_ready = find(&conditions, "Ready").is_some_and(|c| c.truth == Truth::True);
            let died = view
                .items("status.containerStatuses")?
                .iter()
                .map(|c| c.inner("lastState.terminated"))
                .collect::<Checked<Vec<_>>>()?
                .iter()
                .any(Option::is_some);
            if is_ready {
                healthy(said)
            } else if died {
                degraded(story())
            } else {
                progressing(match story() {
                    story if story.is_empty() => "it runs, but is not ready".to_owned(),
                    story => story,
                })
            }
        }
        _ => Health::new(HealthStatus::Unknown, story()),
    })
}

fn kstatus(view: &View<'_>) -> Checked {
    let conditions = view.conditions()?;
    Ok(match view.text_or_empty("status.phase")? {
        "" => progressing("no kubelet has seen it yet"),
        "Succeeded" => healthy("it completed"),
        "Failed" => healthy("it ended, but not well"),
        "Running" if conditions.iter().any(|c| c.is("Ready", Truth::True)) => healthy(""),
        "Running" => {
            let looping: Vec<_> = troubles(view)?
                .into_iter()
                .filter(|t| t.reason == "CrashLoopBackOff")
                .collect();
            if looping.is_empty() {
                progressing("it runs, but is not ready")
            } else {
                degraded(join(&looping))
            }
        }
        "Pending" => {
            let unschedulable = conditions
                .iter()
                .find(|c| c.is("PodScheduled", Truth::False) && c.reason == "Unschedulable");
            match unschedulable {
                None => progressing("it is pending"),
                Some(condition) => {
                    let made = view
                        .text_or_empty("metadata.creationTimestamp")?
                        .parse::<Timestamp>()
                        .ok();
                    let young = made.is_some_and(|made| {
                        Timestamp::now().duration_since(made) < SCHEDULE_WINDOW
                    });
                    if young {
                        progressing(condition.says())
                    } else {
                        degraded(condition.says())
                    }
                }
            }
        }
        _ => Health::new(HealthStatus::Unknown, "its phase is none that is known"),
    })
}
