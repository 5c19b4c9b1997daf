//! What the registries' strategies do: fields that a write cannot drop, and what a new object is given.

use serde_json::{Map, Value, json};

use super::{default, sub};
use crate::cluster::memory::kinds::Kind;
use crate::cluster::memory::state::{State, text};

/// Keeps what a write that does not mention it must not lose.
pub(in crate::cluster::memory) fn keep(kind: &Kind, live: &Value, new: &mut Value) {
    let gvk = &kind.api.gvk;
    let fields: &[&str] = match (&*gvk.group, &*gvk.kind) {
        ("", "Service") if new["spec"]["type"] != "ExternalName" => {
            &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]
        }
        ("", "PersistentVolumeClaim") => &["volumeName", "storageClassName"],
        ("", "Pod") => &["nodeName", "serviceAccountName", "serviceAccount"],
        ("", "Namespace") => &["finalizers"],
        ("batch", "Job") => &["selector"],
        ("apps", "DaemonSet") => {
            let changed = live["spec"]["template"] != new["spec"]["template"];
            let number: u64 = live["metadata"]["annotations"][TEMPLATE_GENERATION]
                .as_str()
                .and_then(|number| number.parse().ok())
                .unwrap_or(1);
            let number = number + u64::from(changed);
            new["metadata"]["annotations"][TEMPLATE_GENERATION] = number.to_string().into();
            return;
        }
        _ => return,
    };
    if !live["spec"].is_object() {
        return;
    }
    if new["spec"].is_null() {
        new["spec"] = json!({});
    }
    let Some(spec) = new["spec"].as_object_mut() else {
        return;
    };
    for field in fields {
        if let Some(value) = live["spec"].get(*field) {
            default(spec, field, value.clone());
        }
    }
    if (&*gvk.group, &*gvk.kind) == ("batch", "Job") {
        let labels = &live["spec"]["template"]["metadata"]["labels"];
        if let Some(template) = sub(spec, "template") {
            generated_labels(template, labels);
        }
    }
}

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The labels that a Job's strategy puts on its pods.
const JOB_LABELS: [&str; 4] = [
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
];

fn generated_labels(template: &mut Map<String, Value>, from: &Value) {
    default(template, "metadata", json!({}));
    if let Some(metadata) = sub(template, "metadata") {
        default(metadata, "labels", json!({}));
        if let Some(labels) = sub(metadata, "labels") {
            for name in JOB_LABELS {
                if let Some(value) = from.get(name) {
                    default(labels, name, value.clone());
                }
            }
        }
    }
}

/// Holds a claim while a pod uses it.
pub(in crate::cluster::memory) const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";

/// Holds a volume while a claim is bound to it.
pub(in crate::cluster::memory) const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// Adds a finalizer, as the StorageObjectInUseProtection admission does.
fn protect(new: &mut Value, finalizer: &str) {
    if !new["metadata"]["finalizers"].is_array() {
        new["metadata"]["finalizers"] = json!([]);
    }
    if let Some(finalizers) = new["metadata"]["finalizers"].as_array_mut()
        && !finalizers.iter().any(|held| held == finalizer)
    {
        finalizers.push(finalizer.into());
    }
}

/// What the registries give to a new object: addresses, selectors, the first status.
pub(in crate::cluster::memory) fn allocate(state: &mut State, kind: &Kind, new: &mut Value) {
    let gvk = &kind.api.gvk;
    match (&*gvk.group, &*gvk.kind) {
        ("", "Namespace") => {
            new["spec"] = json!({"finalizers": ["kubernetes"]});
            new["status"] = json!({"phase": "Active"});
        }
        ("", "Pod") => new["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"}),
        ("", "PersistentVolumeClaim") => {
            new["status"] = json!({"phase": "Pending"});
            protect(new, CLAIM_PROTECTION);
        }
        ("apps", "DaemonSet") => {
            new["status"] = json!({});
            new["metadata"]["annotations"][TEMPLATE_GENERATION] = "1".into();
        }
        ("", "PersistentVolume") => {
            new["status"] = json!({"phase": "Available"});
            protect(new, VOLUME_PROTECTION);
        }
        ("", "Service") => {
            new["status"] = json!({"loadBalancer": {}});
            if new["spec"]["type"] != "ExternalName" {
                let number = state.random();
                let spec = &mut new["spec"];
                if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
                    spec["clusterIP"] =
                        format!("10.96.{}.{}", (number >> 8) & 0xff, number & 0xff).into();
                }
                spec["clusterIPs"] = json!([spec["clusterIP"]]);
                spec["ipFamilies"] = json!(["IPv4"]);
                spec["ipFamilyPolicy"] = json!("SingleStack");
            }
        }
        ("batch", "Job") => {
            new["status"] = json!({});
            if new["spec"]["manualSelector"] != true && new["spec"]["template"].is_object() {
                let uid = text(new, "/metadata/uid").to_owned();
                let name = text(new, "/metadata/name").to_owned();
                new["spec"]["selector"] =
                    json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
                let labels = json!({
                    "controller-uid": uid, "batch.kubernetes.io/controller-uid": uid,
                    "job-name": name, "batch.kubernetes.io/job-name": name,
                });
                // Labels that were taken from the template are those that it ends up with.
                let taken = new["metadata"]["labels"].is_null()
                    || new["metadata"]["labels"] == new["spec"]["template"]["metadata"]["labels"];
                if let Some(template) = new["spec"]["template"].as_object_mut() {
                    generated_labels(template, &labels);
                }
                if taken {
                    new["metadata"]["labels"] =
                        new["spec"]["template"]["metadata"]["labels"].clone();
                }
            }
        }
        ("networking.k8s.io", "Ingress") => new["status"] = json!({"loadBalancer": {}}),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let stored: Vec<Value> = new["spec"]["versions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|version| version["storage"] == true)
                .map(|version| version["name"].clone())
                .collect();
            new["status"] = json!({"storedVersions": stored});
        }
        _ if kind.status && kind.openapi.is_none() => new["status"] = json!({}),
        _ => {}
    }
}
