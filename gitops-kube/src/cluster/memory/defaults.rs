//! What the API server fills in (kubernetes, `pkg/apis/*/v1/defaults.go` and the registries' strategies), for the kinds that manifests use
//! most.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::state::{State, text};

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

/// `PodSpec`.
fn pod(spec: &mut Map<String, Value>) {
    defaults(
        spec,
        json!({"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30}),
    );
    for containers in ["containers", "initContainers"] {
        for container in items(spec, containers) {
            let image = container
                .get("image")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let file = image.rsplit('/').next().unwrap_or_default();
            let moving = !image.contains('@') && (!file.contains(':') || file.ends_with(":latest"));
            let policy = if moving { "Always" } else { "IfNotPresent" };
            defaults(
                container,
                json!({"imagePullPolicy": policy, "resources": {}, "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File"}),
            );
            for port in items(container, "ports") {
                default(port, "protocol", json!("TCP"));
            }
            for variable in items(container, "env") {
                if let Some(field) =
                    sub(variable, "valueFrom").and_then(|from| sub(from, "fieldRef"))
                {
                    default(field, "apiVersion", json!("v1"));
                }
            }
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                if let Some(probe) = sub(container, probe) {
                    defaults(
                        probe,
                        json!({"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}),
                    );
                    if let Some(get) = sub(probe, "httpGet") {
                        defaults(get, json!({"path": "/", "scheme": "HTTP"}));
                    }
                }
            }
        }
    }
    for volume in items(spec, "volumes") {
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if let Some(source) = sub(volume, source) {
                default(source, "defaultMode", json!(420));
            }
        }
    }
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        default(spec, "serviceAccount", account);
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

/// Keeps what a write that does not mention it must not lose.
pub(super) fn keep(kind: &Kind, live: &Value, new: &mut Value) {
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
pub(super) const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";

/// Holds a volume while a claim is bound to it.
pub(super) const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

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
pub(super) fn allocate(state: &mut State, kind: &Kind, new: &mut Value) {
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
