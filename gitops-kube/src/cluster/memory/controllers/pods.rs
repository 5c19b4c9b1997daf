//! Pods: the scheduler and the kubelet (kubernetes, `pkg/scheduler`, `pkg/kubelet/status`).

use gitops_core::manifest::{GroupKind, ObjectId};
use serde_json::{Value, json};

use super::condition;
use crate::cluster::memory::state::{State, Task, text};
use crate::cluster::memory::write;

pub(super) fn reconcile(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    if matches!(text(&live, "/status/phase"), "Succeeded" | "Failed") {
        return;
    }
    let mut live = live;
    if text(&live, "/spec/nodeName").is_empty() {
        let nodes = GroupKind::new("", "Node");
        let Some(node) = state
            .of_kind(&nodes, None)
            .next()
            .map(|(id, _)| id.name.clone())
        else {
            let mut status = live["status"].clone();
            let now = state.timestamp();
            condition(
                &mut status,
                &now,
                "PodScheduled",
                "False",
                "Unschedulable",
                "0/0 nodes are available",
            );
            write::set_status(state, id, status);
            return;
        };
        // The scheduler binds through a subresource: no field owner, no new generation.
        let mut bound = (*live).clone();
        bound["spec"]["nodeName"] = node.into();
        live = state.put(id, bound);
    }
    let uid = text(&live, "/metadata/uid").to_owned();
    let ready_at = state.begun(&uid) + state.options.ready_after;
    let ready = ready_at <= state.now;
    if !ready {
        state.schedule(Task::Reconcile(id.clone()), ready_at);
    }
    let now = state.timestamp();
    let status = status(state, &live, ready, &now);
    write::set_status(state, id, status);
}

fn status(state: &State, live: &Value, ready: bool, now: &str) -> Value {
    let mut status = live["status"].clone();
    let spec = &live["spec"];
    // Nobody knows what a container would do: one that is not to be restarted does its work and ends.
    let ends = matches!(text(live, "/spec/restartPolicy"), "Never" | "OnFailure");
    let mut waiting = Vec::new();
    let mut containers = Vec::new();
    for container in spec["containers"].as_array().into_iter().flatten() {
        let image = container["image"].as_str().unwrap_or_default();
        let broken = state.options.unpullable.iter().any(|bad| bad == image);
        let runs = ready && !broken;
        let running = json!({"startedAt": now});
        let told = match (broken, ready, ends) {
            (true, _, _) => json!({"waiting": {
                "reason": "ImagePullBackOff",
                "message": format!("Back-off pulling image {image:?}"),
            }}),
            (false, false, _) => json!({"waiting": {"reason": "ContainerCreating"}}),
            (false, true, true) => json!({"terminated": {
                "exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now,
            }}),
            (false, true, false) => json!({"running": running}),
        };
        if !runs || ends {
            waiting.push(container["name"].as_str().unwrap_or_default().to_owned());
        }
        containers.push(json!({
            "name": container["name"], "image": image, "imageID": if runs { image } else { "" },
            "resources": container["resources"],
            "ready": runs && !ends, "started": runs && !ends, "restartCount": 0,
            "state": told, "lastState": {},
        }));
    }
    // What started stays started at the same time.
    if let Some(before) = status["containerStatuses"].as_array().cloned() {
        for (container, before) in containers.iter_mut().zip(before) {
            let started = before["state"]["running"]["startedAt"].clone();
            if !started.is_null() && container["state"]["running"].is_object() {
                container["state"]["running"]["startedAt"] = started;
            }
        }
    }
    let all = waiting.is_empty();
    let done = ready
        && ends
        && containers
            .iter()
            .all(|c| c["state"]["terminated"].is_object());
    for container in containers.iter_mut().filter(|_| ready) {
        if container["state"]["waiting"].is_null() {
            let id = format!(
                "memory://{}/{}",
                text(live, "/metadata/uid"),
                text(container, "/name")
            );
            if container["state"]["terminated"].is_object() {
                container["state"]["terminated"]["containerID"] = id.as_str().into();
            }
            container["containerID"] = id.into();
        }
    }
    status["containerStatuses"] = containers.into();
    status["hostIP"] = "192.0.2.1".into();
    status["hostIPs"] = json!([{"ip": "192.0.2.1"}]);
    if status["startTime"].is_null() {
        status["startTime"] = now.into();
    }
    status["phase"] = match (done, all) {
        (true, _) => "Succeeded",
        (false, true) => "Running",
        (false, false) => "Pending",
    }
    .into();
    if all || done {
        status["podIP"] = "10.244.0.10".into();
        status["podIPs"] = json!([{"ip": "10.244.0.10"}]);
    }
    condition(&mut status, now, "PodScheduled", "True", "", "");
    condition(
        &mut status,
        now,
        "Initialized",
        "True",
        if done { "PodCompleted" } else { "" },
        "",
    );
    let sandbox = if ready && !done { "True" } else { "False" };
    condition(
        &mut status,
        now,
        "PodReadyToStartContainers",
        sandbox,
        "",
        "",
    );
    for kind in ["ContainersReady", "Ready"] {
        if all {
            condition(&mut status, now, kind, "True", "", "");
        } else if done {
            condition(&mut status, now, kind, "False", "PodCompleted", "");
        } else {
            let message = format!("containers with unready status: [{}]", waiting.join(" "));
            condition(
                &mut status,
                now,
                kind,
                "False",
                "ContainersNotReady",
                &message,
            );
        }
    }
    let generation = &live["metadata"]["generation"];
    status["observedGeneration"] = generation.clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["observedGeneration"] = generation.clone();
    }
    status
}

/// Whether a pod is ready.
pub(super) fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether a pod came to its end.
pub(super) fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}
