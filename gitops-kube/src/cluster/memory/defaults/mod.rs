//! What the API server fills in (kubernetes, `pkg/apis/*/v1/defaults.go` and the registries' strategies), for the kinds that manifests use
//! most.

mod pods;
mod registry;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use self::pods::pod;
pub(super) use self::registry::{CLAIM_PROTECTION, VOLUME_PROTECTION, allocate, keep};
use super::kinds::Kind;

fn default(map: &mut Map<String, Value>, name: &str, value: Value) {
    let entry = map.entry(name).or_insert(Value::Null);
    if entry.is_null() {
        *entry = value;
    }
}

fn defaults(map: &mut Map<String, Value>, values: Value) {
    if let Value::Object(values) = values {
        for (name, value) in values {
            default(map, &name, value);
        }
    }
}

fn sub<'a>(map: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(name)?.as_object_mut()
}

fn items<'a>(
    map: &'a mut Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(name)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// Sets the defaults of a decoded object.
pub(super) fn set(kind: &Kind, value: &mut Value) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    let gvk = &kind.api.gvk;
    match (&*gvk.group, &*gvk.kind) {
        ("", "Secret") => secret(object),
        ("", "Namespace") => namespace(object),
        ("", "Service") => {
            default(object, "spec", json!({}));
            if let Some(spec) = sub(object, "spec") {
                service(spec);
            }
        }
        ("", "Pod") => {
            if let Some(spec) = sub(object, "spec") {
                pod(spec);
                default(spec, "enableServiceLinks", json!(true));
            }
        }
        ("", "PersistentVolumeClaim") => {
            if let Some(spec) = sub(object, "spec") {
                default(spec, "volumeMode", json!("Filesystem"));
            }
        }
        ("", "PersistentVolume") => {
            if let Some(spec) = sub(object, "spec") {
                defaults(
                    spec,
                    json!({"volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Retain"}),
                );
                if let Some(path) = sub(spec, "hostPath") {
                    default(path, "type", json!(""));
                }
            }
        }
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("", "ReplicationController")
        | ("batch", "Job") => {
            if let Some(spec) = sub(object, "spec") {
                workload(&gvk.kind, spec);
            }
            if matches!(&*gvk.kind, "Job" | "ReplicationController") {
                let labels = object
                    .get("spec")
                    .and_then(|spec| spec.pointer("/template/metadata/labels"))
                    .cloned();
                if let (Some(labels), Some(metadata)) = (labels, sub(object, "metadata"))
                    && metadata
                        .get("labels")
                        .and_then(Value::as_object)
                        .is_none_or(Map::is_empty)
                {
                    metadata.insert("labels".into(), labels);
                }
            }
        }
        ("batch", "CronJob") => {
            if let Some(spec) = sub(object, "spec") {
                defaults(
                    spec,
                    json!({"concurrencyPolicy": "Allow", "suspend": false, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}),
                );
                if let Some(template) = sub(spec, "jobTemplate") {
                    default(template, "metadata", json!({}));
                }
                if let Some(template) = sub(spec, "jobTemplate").and_then(|t| sub(t, "spec"))
                    && let Some(template) = sub(template, "template")
                {
                    default(template, "metadata", json!({}));
                }
                if let Some(template) = sub(spec, "jobTemplate").and_then(|t| sub(t, "spec"))
                    && let Some(pod_spec) = sub(template, "template").and_then(|t| sub(t, "spec"))
                {
                    pod(pod_spec);
                }
            }
        }
        ("networking.k8s.io", "NetworkPolicy") => {
            if let Some(spec) = sub(object, "spec") {
                default(spec, "podSelector", json!({}));
                let mut types = vec!["Ingress"];
                if spec.contains_key("egress") {
                    types.push("Egress");
                }
                default(spec, "policyTypes", json!(types));
                for rule in ["ingress", "egress"] {
                    for rule in items(spec, rule) {
                        for port in items(rule, "ports") {
                            default(port, "protocol", json!("TCP"));
                        }
                    }
                }
            }
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            for subject in items(object, "subjects") {
                let group = match subject.get("kind").and_then(Value::as_str) {
                    Some("User" | "Group") => "rbac.authorization.k8s.io",
                    _ => continue,
                };
                default(subject, "apiGroup", json!(group));
            }
            if let Some(role) = sub(object, "roleRef") {
                default(role, "apiGroup", json!("rbac.authorization.k8s.io"));
            }
        }
        ("storage.k8s.io", "StorageClass") => defaults(
            object,
            json!({"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
        ),
        ("scheduling.k8s.io", "PriorityClass") => {
            default(object, "preemptionPolicy", json!("PreemptLowerPriority"));
        }
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration")
        | ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => {
            let mutating = gvk.kind.starts_with("Mutating");
            for webhook in items(object, "webhooks") {
                defaults(
                    webhook,
                    json!({"failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {},
                        "objectSelector": {}, "timeoutSeconds": 10}),
                );
                if mutating {
                    default(webhook, "reinvocationPolicy", json!("Never"));
                }
                if let Some(service) =
                    sub(webhook, "clientConfig").and_then(|config| sub(config, "service"))
                {
                    default(service, "port", json!(443));
                }
                for rule in items(webhook, "rules") {
                    default(rule, "scope", json!("*"));
                }
            }
        }
        ("", "LimitRange") => {
            if let Some(spec) = sub(object, "spec") {
                for limit in items(spec, "limits") {
                    if limit.get("type") == Some(&json!("Container")) {
                        for (from, to) in [
                            ("max", "default"),
                            ("default", "defaultRequest"),
                            ("min", "defaultRequest"),
                        ] {
                            if let Some(values) = limit.get(from).cloned() {
                                default(limit, to, json!({}));
                                if let Some(to) = sub(limit, to) {
                                    defaults(to, values);
                                }
                            }
                        }
                    }
                }
            }
        }
        ("", "Endpoints") => {
            for subset in items(object, "subsets") {
                for port in items(subset, "ports") {
                    default(port, "protocol", json!("TCP"));
                }
            }
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in items(object, "ports") {
                defaults(port, json!({"name": "", "protocol": "TCP"}));
            }
            for endpoint in items(object, "endpoints") {
                default(endpoint, "conditions", json!({}));
            }
        }
        ("autoscaling", "HorizontalPodAutoscaler") => {
            if let Some(spec) = sub(object, "spec") {
                default(spec, "minReplicas", json!(1));
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        _ => {}
    }
}

fn secret(object: &mut Map<String, Value>) {
    default(object, "type", json!("Opaque"));
    if let Some(Value::Object(texts)) = object.remove("stringData") {
        default(object, "data", json!({}));
        if let Some(data) = sub(object, "data") {
            for (key, value) in texts {
                if let Value::String(text) = value {
                    data.insert(key, STANDARD.encode(text).into());
                }
            }
        }
    }
}

fn namespace(object: &mut Map<String, Value>) {
    let name = object
        .get("metadata")
        .and_then(|metadata| metadata["name"].as_str())
        .unwrap_or_default()
        .to_owned();
    if let Some(metadata) = sub(object, "metadata") {
        default(metadata, "labels", json!({}));
        if let Some(labels) = sub(metadata, "labels") {
            labels.insert("kubernetes.io/metadata.name".into(), name.into());
        }
    }
}

fn service(spec: &mut Map<String, Value>) {
    defaults(
        spec,
        json!({"type": "ClusterIP", "sessionAffinity": "None"}),
    );
    for port in items(spec, "ports") {
        default(port, "protocol", json!("TCP"));
        let number = port.get("port").cloned().unwrap_or_default();
        default(port, "targetPort", number);
    }
    if spec.get("type") != Some(&json!("ExternalName")) {
        default(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if matches!(
        spec.get("type").and_then(Value::as_str),
        Some("LoadBalancer" | "NodePort")
    ) {
        default(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if spec.get("type") == Some(&json!("LoadBalancer")) {
        default(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
}

fn workload(kind: &str, spec: &mut Map<String, Value>) {
    match kind {
        "Deployment" => defaults(
            spec,
            json!({"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate"}}),
        ),
        "ReplicaSet" | "ReplicationController" => default(spec, "replicas", json!(1)),
        "StatefulSet" => defaults(
            spec,
            json!({"replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
                "updateStrategy": {"type": "RollingUpdate"},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}}),
        ),
        "DaemonSet" => defaults(
            spec,
            json!({"revisionHistoryLimit": 10, "updateStrategy": {"type": "RollingUpdate"}}),
        ),
        "Job" => {
            defaults(
                spec,
                json!({"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
                    "parallelism": 1, "podReplacementPolicy": "TerminatingOrFailed", "manualSelector": false}),
            );
            if !spec.contains_key("completions") && spec.get("parallelism") == Some(&json!(1)) {
                default(spec, "completions", json!(1));
            }
        }
        _ => {}
    }
    for (strategy, values) in [
        (
            "strategy",
            json!({"maxSurge": "25%", "maxUnavailable": "25%"}),
        ),
        (
            "updateStrategy",
            if kind == "DaemonSet" {
                json!({"maxSurge": 0, "maxUnavailable": 1})
            } else {
                json!({"partition": 0})
            },
        ),
    ] {
        if let Some(strategy) = sub(spec, strategy) {
            default(strategy, "type", json!("RollingUpdate"));
            if strategy.get("type") == Some(&json!("RollingUpdate")) {
                default(strategy, "rollingUpdate", json!({}));
                if let Some(rolling) = sub(strategy, "rollingUpdate") {
                    defaults(rolling, values);
                }
            }
        }
    }
    for claim in items(spec, "volumeClaimTemplates") {
        defaults(
            claim,
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}),
        );
        if let Some(spec) = sub(claim, "spec") {
            default(spec, "volumeMode", json!("Filesystem"));
        }
    }
    if let Some(template) = sub(spec, "template") {
        default(template, "metadata", json!({}));
        if let Some(spec) = sub(template, "spec") {
            pod(spec);
        }
    }
}

fn definition(object: &mut Map<String, Value>) {
    let Some(spec) = sub(object, "spec") else {
        return;
    };
    if let Some(names) = sub(spec, "names") {
        let kind = names
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        default(names, "listKind", json!(format!("{kind}List")));
        default(names, "singular", json!(kind.to_lowercase()));
    }
    default(spec, "conversion", json!({"strategy": "None"}));
}
