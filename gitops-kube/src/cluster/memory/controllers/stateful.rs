//! StatefulSets and DaemonSets (kubernetes, `pkg/controller/statefulset`, `pkg/controller/daemon`).

use gitops_core::manifest::{GroupKind, ObjectId};
use serde_json::{Value, json};

use super::owned::{Owned, controlled, count, counts, discard, hash, make_pod, ready};
use super::pods;
use crate::cluster::memory::state::{State, is_terminating, text};
use crate::cluster::memory::write;

const REVISION: &str = "controller-revision-hash";

pub(super) fn stateful_set(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned().filter(|live| !is_terminating(live)) else {
        return;
    };
    let wanted = count(&live, "/spec/replicas", 1);
    let start = count(&live, "/spec/ordinals/start", 0);
    let ordered = text(&live, "/spec/podManagementPolicy") != "Parallel";
    let revision = format!("{}-{}", id.name, hash(&live["spec"]["template"]));
    let name = |ordinal: usize| format!("{}-{ordinal}", id.name);
    let pods = controlled(state, &live, "Pod");
    let find = |ordinal: usize| pods.iter().find(|(pod, _)| pod.name == name(ordinal));

    let mut complete = true;
    for ordinal in start..start + wanted {
        match find(ordinal) {
            Some((_, pod)) if pods::is_ready(pod) => continue,
            Some(_) => complete = false,
            None => {
                complete = false;
                claims(state, &live, ordinal);
                pod(state, &live, &name(ordinal), ordinal, &revision);
            }
        }
        // One after the other: the next one waits for this one.
        if ordered {
            break;
        }
    }
    // Surplus pods go, the last first.
    let mut surplus: Vec<&Owned> = pods
        .iter()
        .filter(|(pod, _)| !(start..start + wanted).any(|ordinal| pod.name == name(ordinal)))
        .collect();
    surplus.sort_by_key(|(pod, _)| std::cmp::Reverse(ordinal(&pod.name)));
    for pod in surplus.iter().take(if ordered { 1 } else { usize::MAX }) {
        discard(state, pod);
    }
    let partition = count(&live, "/spec/updateStrategy/rollingUpdate/partition", 0);
    if complete && surplus.is_empty() && text(&live, "/spec/updateStrategy/type") != "OnDelete" {
        let outdated = (start.max(partition)..start + wanted)
            .rev()
            .filter_map(find)
            .find(|(_, pod)| pod["metadata"]["labels"][REVISION] != revision.as_str());
        if let Some(pod) = outdated {
            discard(state, pod);
        }
    }

    let pods = controlled(state, &live, "Pod");
    let updated = pods
        .iter()
        .filter(|(_, pod)| pod["metadata"]["labels"][REVISION] == revision.as_str())
        .count();
    let mut status = live["status"].clone();
    let ready = ready(&pods);
    let current = match text(&status, "/currentRevision") {
        "" => revision.clone(),
        _ if updated == wanted && ready == wanted => revision.clone(),
        current => current.to_owned(),
    };
    status["observedGeneration"] = live["metadata"]["generation"].clone();
    status["currentRevision"] = current.as_str().into();
    status["updateRevision"] = revision.as_str().into();
    status["collisionCount"] = 0.into();
    let on_current = pods
        .iter()
        .filter(|(_, pod)| pod["metadata"]["labels"][REVISION] == current.as_str())
        .count();
    counts(
        &mut status,
        &[
            ("readyReplicas", ready),
            ("currentReplicas", on_current),
            ("updatedReplicas", updated),
        ],
    );
    status["replicas"] = pods.len().into();
    status["availableReplicas"] = ready.into();
    write::set_status(state, id, status);
}

fn ordinal(name: &str) -> Option<usize> {
    name.rsplit_once('-')?.1.parse().ok()
}

fn pod(state: &mut State, owner: &Value, name: &str, ordinal: usize, revision: &str) {
    let index = ordinal.to_string();
    let labels = [
        (REVISION, revision),
        ("statefulset.kubernetes.io/pod-name", name),
        ("apps.kubernetes.io/pod-index", &index),
    ];
    let set = text(owner, "/metadata/name");
    let claims: Vec<Value> = owner["spec"]["volumeClaimTemplates"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|template| {
            let volume = &template["metadata"]["name"];
            let claim = format!("{}-{set}-{ordinal}", volume.as_str().unwrap_or_default());
            json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}})
        })
        .collect();
    make_pod(state, owner, name, &labels, |pod| {
        pod["spec"]["hostname"] = name.into();
        pod["spec"]["subdomain"] = owner["spec"]["serviceName"].clone();
        let mut volumes = claims;
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            if !volumes.iter().any(|claim| claim["name"] == volume["name"]) {
                volumes.push(volume.clone());
            }
        }
        if !volumes.is_empty() {
            pod["spec"]["volumes"] = volumes.into();
        }
    });
}

fn claims(state: &mut State, owner: &Value, ordinal: usize) {
    let namespace = text(owner, "/metadata/namespace");
    let set = text(owner, "/metadata/name");
    for template in owner["spec"]["volumeClaimTemplates"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let name = format!("{}-{set}-{ordinal}", text(template, "/metadata/name"));
        let id = ObjectId::new("", "PersistentVolumeClaim", namespace, name.as_str());
        if state.get(&id).is_some() {
            continue;
        }
        let mut claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": template["spec"],
        });
        if let Some(labels) = owner["spec"]["selector"].get("matchLabels") {
            claim["metadata"]["labels"] = labels.clone();
        }
        write::internal(state, &id, claim, "");
    }
}

pub(super) fn daemon_set(state: &mut State, id: &ObjectId) {
    let Some(live) = state.get(id).cloned().filter(|live| !is_terminating(live)) else {
        return;
    };
    let nodes: Vec<String> = state
        .of_kind(&GroupKind::new("", "Node"), None)
        .filter(|(_, node)| fits(&live, node))
        .map(|(id, _)| id.name.clone())
        .collect();
    let revision = hash(&live["spec"]["template"]);
    let template = live["metadata"]["annotations"]["deprecated.daemonset.template.generation"]
        .as_str()
        .unwrap_or("1")
        .to_owned();
    let pods = controlled(state, &live, "Pod");
    let on = |node: &str| {
        pods.iter()
            .find(|(_, pod)| pod["spec"]["nodeName"] == node && !pods::is_over(pod))
    };
    for node in &nodes {
        if on(node).is_none() {
            let name = format!("{}-{}", id.name, state.suffix());
            let labels = [
                (REVISION, revision.as_str()),
                ("pod-template-generation", &template),
            ];
            make_pod(state, &live, &name, &labels, |pod| {
                pod["spec"]["nodeName"] = node.as_str().into();
            });
        }
    }
    for pod in &pods {
        if !nodes
            .iter()
            .any(|node| pod.1["spec"]["nodeName"] == node.as_str())
        {
            discard(state, pod);
        }
    }
    let is_updated = |pod: &Owned| pod.1["metadata"]["labels"][REVISION] == revision.as_str();
    if ready(&pods) == nodes.len()
        && text(&live, "/spec/updateStrategy/type") != "OnDelete"
        && let Some(pod) = pods.iter().find(|pod| !is_updated(pod))
    {
        discard(state, pod);
    }
    let pods = controlled(state, &live, "Pod");
    let ready = ready(&pods);
    let mut status = live["status"].clone();
    status["observedGeneration"] = live["metadata"]["generation"].clone();
    for (field, count) in [
        ("desiredNumberScheduled", nodes.len()),
        ("currentNumberScheduled", pods.len()),
        ("numberMisscheduled", 0),
        ("numberReady", ready),
    ] {
        status[field] = count.into();
    }
    counts(
        &mut status,
        &[
            (
                "updatedNumberScheduled",
                pods.iter().filter(|pod| is_updated(pod)).count(),
            ),
            ("numberAvailable", ready),
            ("numberUnavailable", nodes.len().saturating_sub(ready)),
        ],
    );
    write::set_status(state, id, status);
}

/// Whether the node selector of a DaemonSet takes a node.
fn fits(set: &Value, node: &Value) -> bool {
    set["spec"]["template"]["spec"]["nodeSelector"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(label, value)| node["metadata"]["labels"].get(label) == Some(value))
}
