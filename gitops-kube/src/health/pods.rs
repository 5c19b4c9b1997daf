//! Which pod keeps a workload from being healthy, and why.
//!
//! A workload's own status says how many replicas are missing, never why. [`selector`] says which pods to list, [`explain`] reads them. Both are
//! pure: the caller asks the cluster.

use std::cmp::Reverse;

use gitops_core::application::{Health, HealthStatus};
use gitops_core::manifest::Object;
use serde_json::Value;

use super::HealthRules;
use super::rules::pod;
use super::view::{Checked, Truth, View};

/// After so many restarts a crash is no longer taken for a container that came up before what it needs.
const PATIENCE: i64 = 3;

/// The label selector, in Kubernetes' syntax, of the pods that belong to a workload: a Deployment, StatefulSet, DaemonSet,
/// ReplicaSet, ReplicationController or Job.
///
/// `None` for other kinds, and where the selector is missing, empty (it would select every pod) or malformed.
pub fn selector(workload: &Object) -> Option<String> {
    let spec = workload.value().get("spec")?.get("selector")?;
    let mut terms = Vec::new();
    match (workload.group(), workload.kind()) {
        ("", "ReplicationController") => labels(spec, &mut terms)?,
        ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job") => {
            match spec.get("matchLabels") {
                None | Some(Value::Null) => {}
                Some(found) => labels(found, &mut terms)?,
            }
            match spec.get("matchExpressions") {
                None | Some(Value::Null) => {}
                Some(found) => {
                    for expression in found.as_array()? {
                        terms.push(term(expression)?);
                    }
                }
            }
        }
        _ => return None,
    }
    (!terms.is_empty()).then(|| terms.join(","))
}

fn labels(map: &Value, terms: &mut Vec<String>) -> Option<()> {
    for (key, value) in map.as_object()? {
        let value = value.as_str()?;
        terms.push(format!("{}={}", word(key)?, word(value)?));
    }
    Some(())
}

fn term(expression: &Value) -> Option<String> {
    let key = word(expression.get("key")?.as_str()?)?;
    let values = || -> Option<String> {
        let values = expression
            .get("values")?
            .as_array()?
            .iter()
            .map(|value| word(value.as_str()?))
            .collect::<Option<Vec<_>>>()?;
        (!values.is_empty()).then(|| values.join(","))
    };
    Some(match expression.get("operator")?.as_str()? {
        "In" => format!("{key} in ({})", values()?),
        "NotIn" => format!("{key} notin ({})", values()?),
        "Exists" => key.to_owned(),
        "DoesNotExist" => format!("!{key}"),
        _ => return None,
    })
}

/// A label's key or value; anything that would mean something else within a selector is refused.
fn word(text: &str) -> Option<&str> {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        .then_some(text)
}

/// The health of a workload with what its pods say: which pod, which container, the reason, the message, restarts and exit code.
///
/// `pods` are those that [`selector`] finds; the ones that another controller owns are left out, as are those that are being deleted, and of a
/// Deployment those of older revisions. `None` where the workload is healthy or suspended, or where its pods say nothing.
///
/// The workload becomes Degraded where a pod waits for what will not come by itself: the kubelet backs off from pulling an image, an
/// image's name is malformed, a ConfigMap is missing, a container crashed for the third time. With fewer crashes, or a pod that no
/// node takes yet, the status stays and only the message is better.
pub fn explain(workload: &Object, pods: &[Object]) -> Option<Health> {
    let own = HealthRules::strict().assess(workload);
    if matches!(own.status, HealthStatus::Healthy | HealthStatus::Suspended)
        || workload.is_terminating()
    {
        return None;
    }
    let mut mine: Vec<&Object> = pods
        .iter()
        .filter(|pod| !pod.is_terminating() && belongs(workload, pod))
        .collect();
    if workload.kind() == "Deployment" {
        keep_newest(&mut mine);
    }
    let mut reports: Vec<Report> = mine
        .into_iter()
        .filter_map(|pod| report(workload, pod))
        .collect();
    reports.sort_by(|a, b| (Reverse(a.severity), &a.text).cmp(&(Reverse(b.severity), &b.text)));
    let worst = reports.first()?;
    let mut message = own.message;
    if !message.is_empty() {
        message.push_str("; ");
    }
    message.push_str(&worst.text);
    let others = reports
        .iter()
        .filter(|report| report.severity == worst.severity)
        .count()
        - 1;
    match others {
        0 => {}
        1 => message.push_str("; and one more pod"),
        more => message.push_str(&format!("; and {more} more pods")),
    }
    let status = match worst.severity {
        Severity::Hopeless => own.status.max(HealthStatus::Degraded),
        _ => own.status,
    };
    Some(Health::new(status, message))
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// It is not ready, for no reason that it tells.
    Slow,
    /// Something is wrong that may pass.
    Troubled,
    /// It will not get better by itself.
    Hopeless,
}

struct Report {
    severity: Severity,
    text: String,
}

/// Whether the pod's controller is the workload, as far as the pod tells.
fn belongs(workload: &Object, pod: &Object) -> bool {
    if pod.kind() != "Pod" || pod.namespace() != workload.namespace() {
        return false;
    }
    let owners = pod
        .metadata()
        .and_then(|metadata| metadata.get("ownerReferences"))
        .and_then(Value::as_array);
    let Some(owner) = owners
        .into_iter()
        .flatten()
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
    else {
        return true;
    };
    let field = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
    if workload.kind() == "Deployment" {
        // Its ReplicaSets stand in between, and are named after it.
        return field("kind") == "ReplicaSet"
            && field("name")
                .strip_prefix(workload.name())
                .is_some_and(|rest| rest.starts_with('-'));
    }
    if workload.uid().is_empty() {
        field("kind") == workload.kind() && field("name") == workload.name()
    } else {
        field("uid") == workload.uid()
    }
}

/// Of a Deployment's pods those of the newest revision: old ones go away anyway.
fn keep_newest(pods: &mut Vec<&Object>) {
    const REVISION: &str = "pod-template-hash";
    let created = |pod: &Object| -> String {
        let metadata = pod.metadata();
        metadata
            .and_then(|m| m.get("creationTimestamp"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let newest = pods
        .iter()
        .max_by_key(|pod| created(pod))
        .and_then(|pod| pod.label(REVISION));
    if let Some(newest) = newest.map(str::to_owned) {
        pods.retain(|pod| pod.label(REVISION).is_none_or(|hash| hash == newest));
    }
}

fn report(workload: &Object, pod: &Object) -> Option<Report> {
    let view = View::new(pod);
    let (severity, text) = match read(workload, &view) {
        Ok(found) => found?,
        Err(wrong) => (Severity::Troubled, wrong.to_string()),
    };
    Some(Report {
        severity,
        text: format!("pod {:?}: {text}", pod.name()),
    })
}

fn read(workload: &Object, view: &View<'_>) -> Checked<Option<(Severity, String)>> {
    let phase = view.text_or_empty("status.phase")?;
    if phase == "Succeeded" {
        return Ok(None);
    }
    if let Some(reason) = pod::unschedulable(view)? {
        return Ok(Some((Severity::Troubled, reason)));
    }
    let troubles = pod::troubles(view)?;
    if phase == "Failed" {
        // An evicted pod stays behind while its successor runs; only a Job's pods have no successor to look at.
        let severity = match workload.kind() {
            "Job" => Severity::Troubled,
            _ => Severity::Slow,
        };
        return Ok(Some((severity, pod::strict(view)?.message)));
    }
    if !troubles.is_empty() {
        let hopeless = troubles.iter().any(hopeless);
        let texts: Vec<String> = troubles.into_iter().map(|trouble| trouble.text).collect();
        let severity = if hopeless {
            Severity::Hopeless
        } else {
            Severity::Troubled
        };
        return Ok(Some((severity, texts.join(", "))));
    }
    let ready = view
        .conditions()?
        .iter()
        .any(|condition| condition.is("Ready", Truth::True));
    if phase == "Running" && !ready && workload.kind() != "Job" {
        let mut waiting = Vec::new();
        for container in view.items("status.containerStatuses")? {
            if !container.flag("ready")? {
                waiting.push(format!("{:?}", container.text_or_empty("name")?));
            }
        }
        return Ok(Some((
            Severity::Slow,
            match waiting.is_empty() {
                true => "it runs, but is not ready".to_owned(),
                false => format!("container {} runs, but is not ready", waiting.join(", ")),
            },
        )));
    }
    Ok(None)
}

fn hopeless(trouble: &pod::Trouble) -> bool {
    match trouble.reason.as_str() {
        "CrashLoopBackOff" => trouble.restarts >= PATIENCE,
        // Tried before, and the kubelet backs off from trying again.
        "ImagePullBackOff" => true,
        "InvalidImageName" | "ErrImageNeverPull" | "CreateContainerConfigError" => true,
        _ => false,
    }
}
