//! `PodSpec`.

use serde_json::{Map, Value, json};

use super::{default, defaults, items, sub};

/// The defaults of a pod, alone or in a template.
pub(super) fn pod(spec: &mut Map<String, Value>) {
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
        if volume.keys().all(|field| field == "name") {
            default(volume, "emptyDir", json!({}));
        }
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
