//! Deployments, ReplicaSets and ReplicationControllers (kubernetes, `pkg/controller/deployment`, `pkg/controller/replicaset`).

use std::time::Duration;

use gitops_core::manifest::ObjectId;
use serde_json::{Value, json};

use super::owned::{Owned, controlled, count, counts, discard, hash, make_pod, ready, reference};
use super::pods;
use super::{also_at, condition};
use crate::cluster::memory::state::{State, Task, is_terminating, text};
use crate::cluster::memory::write;

const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";

pub(super) fn replica_set(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned().filter(|live| !is_terminating(live)) else {
        return;
    };
    let wanted = count(&live, "/spec/replicas", 1);
    let mut pods: Vec<Owned> = controlled(state, &live, "Pod");
    pods.retain(|(_, pod)| !pods::is_over(pod));
    for _ in pods.len()..wanted {
        let name = format!("{}-{}", id.name, state.suffix());
        make_pod(state, &live, &name, &[], |_| {});
    }
    if pods.len() > wanted {
        // The ones that do not run go first.
        pods.sort_by_key(|(_, pod)| pods::is_ready(pod));
        for pod in &pods[..pods.len() - wanted] {
            discard(state, pod);
        }
    }
    let mut pods = controlled(state, &live, "Pod");
    pods.retain(|(_, pod)| !pods::is_over(pod));
    let ready = ready(&pods);
    let mut status = live["status"].clone();
    if let Some(generation) = live["metadata"].get("generation") {
        status["observedGeneration"] = generation.clone();
    }
    counts(
        &mut status,
        &[
            ("fullyLabeledReplicas", pods.len()),
            ("readyReplicas", ready),
            ("availableReplicas", ready),
        ],
    );
    status["replicas"] = pods.len().into();
    write::set_status(state, id, status);
}

pub(super) fn deployment(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned().filter(|live| !is_terminating(live)) else {
        return;
    };
    let wanted = count(&live, "/spec/replicas", 1);
    let paused = live["spec"]["paused"] == true;
    let recreate = text(&live, "/spec/strategy/type") == "Recreate";
    let mut sets = controlled(state, &live, "ReplicaSet");
    let current = sets
        .iter()
        .position(|(_, set)| template_of(set) == live["spec"]["template"]);
    let mut current = current.map(|at| sets.remove(at));
    let old_pods: usize = sets
        .iter()
        .map(|(_, set)| count(set, "/status/replicas", 0))
        .sum();
    let newest = sets
        .iter()
        .map(|(_, set)| revision(set))
        .max()
        .unwrap_or_default();
    if !paused {
        let new_wanted = if recreate && old_pods > 0 { 0 } else { wanted };
        match &current {
            None => current = make_set(state, &live, id, new_wanted, newest + 1),
            Some(set) => {
                // An older set is taken up again by a rollback.
                let number = revision(&set.1).max(newest + 1);
                scale(state, &live, set, new_wanted, Some(number));
            }
        }
    }
    let available = current
        .as_ref()
        .map_or(0, |(_, set)| count(set, "/status/availableReplicas", 0));
    if !paused {
        let mut keep = if recreate {
            0
        } else {
            wanted.saturating_sub(available)
        };
        for set in &sets {
            let now = count(&set.1, "/spec/replicas", 0);
            scale(state, &live, set, now.min(keep), None);
            keep = keep.saturating_sub(now);
        }
        forget_old(state, &live, &sets);
    }
    let Some((set_id, _)) = current else {
        report(state, id, &sets, None);
        return;
    };
    let number = state
        .get(&set_id)
        .map(|set| revision(set))
        .unwrap_or_default()
        .to_string();
    if live["metadata"]["annotations"][REVISION] != number.as_str() {
        let mut new = (*live).clone();
        new["metadata"]["annotations"][REVISION] = number.into();
        write::internal(state, id, new, "");
    }
    report(state, id, &sets, Some(&set_id));
}

fn template_of(set: &Value) -> Value {
    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    template
}

fn revision(set: &Value) -> u64 {
    set["metadata"]["annotations"][REVISION]
        .as_str()
        .and_then(|revision| revision.parse().ok())
        .unwrap_or_default()
}

fn make_set(
    state: &mut State,
    deployment: &Value,
    id: &ObjectId,
    replicas: usize,
    revision: u64,
) -> Option<Owned> {
    let hash = hash(&deployment["spec"]["template"]);
    let name = format!("{}-{hash}", id.name);
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = hash.as_str().into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH] = hash.as_str().into();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name, "namespace": id.namespace,
            "labels": template["metadata"]["labels"],
            "annotations": {REVISION: revision.to_string()},
            "ownerReferences": [reference(deployment)],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    });
    let mut set = set;
    annotate(&mut set, deployment);
    let id = ObjectId::new("apps", "ReplicaSet", id.namespace.as_str(), name);
    if state.get(&id).is_some() {
        // It is still being deleted; its end wakes this controller.
        return None;
    }
    write::internal(state, &id, set, "");
    let value = state.get(&id)?.clone();
    Some((id, value))
}

/// What the controller notes about the Deployment on its ReplicaSets.
fn annotate(set: &mut Value, deployment: &Value) {
    let wanted = count(deployment, "/spec/replicas", 1);
    let surge = match &deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] {
        Value::String(percent) => {
            let percent: usize = percent
                .strip_suffix('%')
                .and_then(|percent| percent.parse().ok())
                .unwrap_or_default();
            (wanted * percent).div_ceil(100)
        }
        number => number
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or_default(),
    };
    let annotations = &mut set["metadata"]["annotations"];
    annotations[DESIRED] = wanted.to_string().into();
    annotations[MAXIMUM] = (wanted + surge).to_string().into();
}

fn scale(
    state: &mut State,
    deployment: &Value,
    set: &Owned,
    replicas: usize,
    revision: Option<u64>,
) {
    let Some(live) = state.get(&set.0).cloned() else {
        return;
    };
    let mut new = (*live).clone();
    new["spec"]["replicas"] = replicas.into();
    if let Some(revision) = revision {
        new["metadata"]["annotations"][REVISION] = revision.to_string().into();
        annotate(&mut new, deployment);
    }
    if new != *live {
        write::internal(state, &set.0, new, "");
    }
}

fn forget_old(state: &mut State, deployment: &Value, sets: &[Owned]) {
    let limit = count(deployment, "/spec/revisionHistoryLimit", 10);
    let mut idle: Vec<&Owned> = sets
        .iter()
        .filter(|(_, set)| {
            count(set, "/spec/replicas", 1) == 0 && count(set, "/status/replicas", 1) == 0
        })
        .collect();
    idle.sort_by_key(|(_, set)| revision(set));
    for set in &idle[..idle.len().saturating_sub(limit)] {
        discard(state, set);
    }
}

/// Writes the status.
fn report(state: &mut State, id: &ObjectId, old: &[Owned], current: Option<&ObjectId>) {
    let Some(live) = state.get(id).cloned() else {
        return;
    };
    let wanted = count(&live, "/spec/replicas", 1);
    let read = |state: &State, id: &ObjectId, field: &str| {
        state
            .get(id)
            .map(|set| count(set, &format!("/status/{field}"), 0))
            .unwrap_or_default()
    };
    let total = |state: &State, field: &str| -> usize {
        old.iter()
            .map(|(id, _)| id)
            .chain(current)
            .map(|id| read(state, id, field))
            .sum()
    };
    let replicas = total(state, "replicas");
    let ready = total(state, "readyReplicas");
    let available = total(state, "availableReplicas");
    let updated = current.map_or(0, |id| read(state, id, "replicas"));
    let mut status = live["status"].clone();
    status["observedGeneration"] = live["metadata"]["generation"].clone();
    counts(
        &mut status,
        &[
            ("replicas", replicas),
            ("updatedReplicas", updated),
            ("readyReplicas", ready),
            ("availableReplicas", available),
            (
                "unavailableReplicas",
                wanted.max(replicas) - available.min(wanted.max(replicas)),
            ),
        ],
    );
    let now = state.timestamp();
    let spare = unavailable(&live, wanted);
    if available + spare >= wanted {
        condition(
            &mut status,
            &now,
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        );
    } else {
        condition(
            &mut status,
            &now,
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        );
    }
    progress(
        state,
        id,
        &live,
        &mut status,
        current,
        [wanted, replicas, updated, available],
    );
    also_at(&mut status, "lastUpdateTime");
    write::set_status(state, id, status);
}

fn progress(
    state: &mut State,
    id: &ObjectId,
    live: &Value,
    status: &mut Value,
    current: Option<&ObjectId>,
    [wanted, replicas, updated, available]: [usize; 4],
) {
    let now = state.timestamp();
    let (is, reason, message);
    let name = current.map(|id| id.name.as_str()).unwrap_or_default();
    if live["spec"]["paused"] == true {
        (is, reason) = ("Unknown", "DeploymentPaused");
        message = "Deployment is paused".to_owned();
    } else if updated == wanted && replicas == wanted && available == wanted {
        (is, reason) = ("True", "NewReplicaSetAvailable");
        message = format!("ReplicaSet {name:?} has successfully progressed.");
    } else {
        // The clock starts again with every step forward.
        let step = format!("{name} {wanted} {replicas} {updated} {available}");
        let since = state.since(text(live, "/metadata/uid"), &step);
        let deadline = live["spec"]["progressDeadlineSeconds"]
            .as_u64()
            .unwrap_or(600);
        let late = since + Duration::from_secs(deadline.min(u64::from(u32::MAX)));
        if late <= state.now {
            (is, reason) = ("False", "ProgressDeadlineExceeded");
            message = format!("ReplicaSet {name:?} has timed out progressing.");
        } else {
            state.schedule(Task::Reconcile(id.clone()), late);
            (is, reason) = ("True", "ReplicaSetUpdated");
            message = format!("ReplicaSet {name:?} is progressing.");
        }
    }
    condition(status, &now, "Progressing", is, reason, &message);
}

/// How many replicas may be missing while the Deployment counts as available.
fn unavailable(live: &Value, wanted: usize) -> usize {
    match &live["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] {
        Value::String(percent) => {
            let percent: usize = percent
                .strip_suffix('%')
                .and_then(|percent| percent.parse().ok())
                .unwrap_or_default();
            wanted * percent / 100
        }
        number => number
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or_default(),
    }
}
