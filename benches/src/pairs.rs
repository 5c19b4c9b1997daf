//! Live objects and the forms that they should have, as a controller finds them: what was applied, then defaulted by the API
//! server, rewritten (quantities, orders) and added to by others.

use gitops_core::Result;
use gitops_core::manifest::Object;
use gitops_core::manifest::diff::changed_fields;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A live object and its target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// What happened to it, and its number.
    pub name: String,
    /// As the API server has it; `None`: not there yet.
    pub live: Option<Value>,
    /// As Git has it; `None`: no longer there.
    pub target: Option<Value>,
    /// The verdict that both sides must come to.
    pub modified: bool,
}

/// `count` pairs: of thirteen, eight are in sync however different they look.
pub fn pairs(count: usize) -> Vec<Pair> {
    (0..count).map(pair).collect()
}

/// The objects of pairs, live and target.
///
/// # Errors
/// When one is no object.
pub fn objects(pairs: &[Pair]) -> Result<Vec<(Option<Object>, Option<Object>)>> {
    let object = |value: &Option<Value>| {
        value
            .clone()
            .map(|value| Object::new(value, None))
            .transpose()
    };
    pairs
        .iter()
        .map(|pair| Ok((object(&pair.live)?, object(&pair.target)?)))
        .collect()
}

/// Our verdict.
pub fn differs(live: Option<&Object>, target: Option<&Object>) -> bool {
    match (live, target) {
        (Some(live), Some(target)) => !changed_fields(live, target).is_empty(),
        (live, target) => live.is_some() || target.is_some(),
    }
}

fn pair(i: usize) -> Pair {
    let (what, live, target, modified) = match i % 13 {
        0 => {
            let target = deployment(i);
            ("defaults", live_deployment(&target, i), target, false)
        }
        1 => {
            let target = config_map(i);
            ("unchanged", live(&target, i), target, false)
        }
        2 => {
            let target = service(i);
            ("service-defaults", live_service(&target, i), target, false)
        }
        3 => {
            // The API server writes quantities in their canonical form.
            let mut target = deployment(i);
            let resources = json!({
                "requests": {"cpu": "1000m", "memory": "1024Mi"},
                "limits": {"cpu": "2000m", "memory": "2048Mi"},
            });
            target["spec"]["template"]["spec"]["containers"][0]["resources"] = resources;
            let mut live = live_deployment(&target, i);
            live["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({
                "requests": {"cpu": "1", "memory": "1Gi"},
                "limits": {"cpu": "2", "memory": "2Gi"},
            });
            ("quantities", live, target, false)
        }
        4 => {
            // An autoscaler owns the replicas, a restart left its mark, a controller its annotation.
            let mut target = deployment(i);
            remove(&mut target["spec"], "replicas");
            let mut live = live_deployment(&target, i);
            live["spec"]["replicas"] = json!(7);
            live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("3");
            live["metadata"]["labels"]["injected.example.com/by"] = json!("webhook");
            live["spec"]["template"]["metadata"]["annotations"] =
                json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"});
            ("additions", live, target, false)
        }
        5 => {
            let before = deployment(i);
            let mut target = before.clone();
            target["spec"]["template"]["spec"]["containers"][0]["image"] =
                json!("registry.example.com/shop/web:2.0.0");
            ("changed", live_deployment(&before, i), target, true)
        }
        6 => {
            // A key that was applied once is gone from Git.
            let before = config_map(i);
            let mut target = before.clone();
            remove(&mut target["data"], "FEATURE_NEW_BASKET");
            ("removed", live(&before, i), target, true)
        }
        7 => {
            // The keys of maps come in another order; a Role's rules are as they were.
            let target = role(i);
            ("reordered-keys", reversed(&live(&target, i)), target, false)
        }
        8 => {
            // A kind of which nobody knows the schema, defaulted by its own and with a status.
            let target = custom(i);
            let mut live = live(&target, i);
            live["spec"]["interval"] = json!("5m0s");
            live["spec"]["retry"] = json!({"limit": 3, "backoff": {"factor": 2}});
            live["status"] = json!({"observedGeneration": 1, "conditions": [
                {"type": "Ready", "status": "True", "reason": "Done", "message": "",
                 "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]});
            ("custom", live, target, false)
        }
        9 => {
            // Others added items to lists whose items have keys: a sidecar, a variable, a volume.
            let target = deployment(i);
            let mut live = live_deployment(&target, i);
            let pod = &mut live["spec"]["template"]["spec"];
            push(
                &mut pod["containers"][0]["env"],
                json!({"name": "INJECTED", "value": "1"}),
            );
            push(
                &mut pod["containers"],
                json!({"name": "sidecar", "image": "registry.example.com/sidecar:1.0"}),
            );
            push(
                &mut pod["volumes"],
                json!({"name": "injected", "emptyDir": {}}),
            );
            ("added-items", live, target, false)
        }
        10 => {
            // The order of the items is what Git says: of arguments it matters, of variables an apply would restore it.
            let target = deployment(i);
            let mut live = live_deployment(&target, i);
            let list = if i.is_multiple_of(2) { "args" } else { "env" };
            if let Some(items) =
                live["spec"]["template"]["spec"]["containers"][0][list].as_array_mut()
            {
                items.reverse();
            }
            ("reordered-items", live, target, true)
        }
        11 => {
            // Not in the cluster yet.
            return Pair {
                name: format!("missing-{i}"),
                live: None,
                target: Some(service(i)),
                modified: true,
            };
        }
        _ => {
            // By hand, behind Git's back.
            let target = config_map(i);
            let mut live = live(&target, i);
            live["data"]["web.toml"] = json!("listen = \"0.0.0.0:9999\"\n");
            ("drifted", live, target, true)
        }
    };
    Pair {
        name: format!("{what}-{i}"),
        live: Some(live),
        target: Some(target),
        modified,
    }
}

fn metadata(i: usize) -> Value {
    json!({
        "name": format!("web-{i}"),
        "namespace": format!("shop-{}", i % 10),
        "labels": {"app.kubernetes.io/name": format!("web-{i}"), "app.kubernetes.io/component": "frontend"},
        "annotations": {"example.com/owner": format!("team-{}", i % 7)},
    })
}

fn deployment(i: usize) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(i),
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app.kubernetes.io/name": format!("web-{i}")}},
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": format!("web-{i}")}},
                "spec": {
                    "serviceAccountName": format!("web-{i}"),
                    "containers": [
                        {
                            "name": "web",
                            "image": format!("registry.example.com/shop/web:1.0.{i}"),
                            "args": ["--listen=:8080", format!("--shop={i}")],
                            "env": [
                                {"name": "SHOP", "value": i.to_string()},
                                {"name": "CATALOGUE_URL", "value": "http://catalogue:8080/"},
                                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                            ],
                            "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
                            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
                            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
                            "volumeMounts": [{"name": "config", "mountPath": "/etc/web", "readOnly": true}],
                        },
                        {
                            "name": "proxy",
                            "image": "registry.example.com/shop/proxy:2.7.1",
                            "ports": [{"name": "proxy", "containerPort": 15001}],
                            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
                        },
                    ],
                    "volumes": [{"name": "config", "configMap": {"name": format!("web-{i}")}}],
                },
            },
        },
    })
}

/// What the API server makes of a Deployment (Kubernetes 1.34, apps/v1 and core/v1 defaults).
fn live_deployment(target: &Value, i: usize) -> Value {
    let mut live = live(target, i);
    let spec = &mut live["spec"];
    default(spec, "replicas", json!(1));
    default(spec, "progressDeadlineSeconds", json!(600));
    default(spec, "revisionHistoryLimit", json!(10));
    default(
        spec,
        "strategy",
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
    );
    let pod = &mut spec["template"]["spec"];
    if let Some(account) = pod.get("serviceAccountName").cloned() {
        default(pod, "serviceAccount", account);
    }
    default(pod, "dnsPolicy", json!("ClusterFirst"));
    default(pod, "restartPolicy", json!("Always"));
    default(pod, "schedulerName", json!("default-scheduler"));
    default(pod, "securityContext", json!({}));
    default(pod, "terminationGracePeriodSeconds", json!(30));
    for container in items(pod, "containers") {
        default(container, "imagePullPolicy", json!("IfNotPresent"));
        default(
            container,
            "terminationMessagePath",
            json!("/dev/termination-log"),
        );
        default(container, "terminationMessagePolicy", json!("File"));
        for port in items(container, "ports") {
            default(port, "protocol", json!("TCP"));
        }
        for variable in items(container, "env") {
            if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
                default(field, "apiVersion", json!("v1"));
            }
        }
        if let Some(probe) = container.get_mut("readinessProbe") {
            default(probe, "failureThreshold", json!(3));
            default(probe, "successThreshold", json!(1));
            default(probe, "timeoutSeconds", json!(1));
            default(&mut probe["httpGet"], "scheme", json!("HTTP"));
        }
    }
    for volume in items(pod, "volumes") {
        if let Some(source) = volume.get_mut("configMap") {
            default(source, "defaultMode", json!(420));
        }
    }
    live["status"] = json!({
        "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        "conditions": [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
            "message": "Deployment has minimum availability.", "lastTransitionTime": "2026-01-01T00:00:00Z",
            "lastUpdateTime": "2026-01-01T00:00:00Z"}],
    });
    live
}

fn config_map(i: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(i),
        "data": {
            "FEATURE_NEW_BASKET": i.is_multiple_of(3).to_string(),
            "web.toml": format!("# Settings of shop {i}\nlisten = \"0.0.0.0:8080\"\n[cache]\nsize = 1024\n"),
            "greeting.txt": "Grüß Gott\n",
        },
    })
}

fn service(i: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(i),
        "spec": {
            "clusterIP": "None",
            "selector": {"app.kubernetes.io/name": format!("web-{i}")},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "metrics", "port": 9090, "targetPort": 9090}],
        },
    })
}

fn live_service(target: &Value, i: usize) -> Value {
    let mut live = live(target, i);
    let spec = &mut live["spec"];
    default(spec, "clusterIPs", json!(["None"]));
    default(spec, "internalTrafficPolicy", json!("Cluster"));
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", json!("SingleStack"));
    default(spec, "sessionAffinity", json!("None"));
    default(spec, "type", json!("ClusterIP"));
    for port in items(spec, "ports") {
        default(port, "protocol", json!("TCP"));
    }
    live["status"] = json!({"loadBalancer": {}});
    live
}

fn role(i: usize) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata(i),
        "rules": [
            {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"], "resourceNames": [format!("web-{i}")]},
        ],
    })
}

fn custom(i: usize) -> Value {
    json!({
        "apiVersion": "shop.example.com/v1alpha1",
        "kind": "Storefront",
        "metadata": metadata(i),
        "spec": {
            "host": format!("shop-{i}.example.com"),
            "themes": ["light", "dark"],
            "limits": {"requestsPerSecond": 100, "burst": 1.5},
        },
    })
}

/// What the API server and `kubectl apply` add to every object.
fn live(target: &Value, i: usize) -> Value {
    let mut live = target.clone();
    let applied = target.to_string() + "\n";
    let metadata = &mut live["metadata"];
    metadata["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = json!(applied);
    metadata["uid"] = json!(format!("00000000-0000-4000-8000-{i:012}"));
    metadata["resourceVersion"] = json!((1000 + i).to_string());
    metadata["generation"] = json!(1);
    metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    metadata["managedFields"] = json!([{
        "manager": "argocd-controller", "operation": "Update", "apiVersion": target["apiVersion"],
        "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
        "fieldsV1": fields(target),
    }]);
    live
}

/// The fields of an object as managed fields name them (lists as a whole).
fn fields(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (format!("f:{key}"), fields(value)))
            .collect::<Map<_, _>>()
            .into(),
        _ => json!({}),
    }
}

/// The same object with the keys of every map in the opposite order, where the map keeps one.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .rev()
            .map(|(key, value)| (key.clone(), reversed(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(reversed).collect(),
        other => other.clone(),
    }
}

fn default(map: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = map {
        map.entry(key).or_insert(value);
    }
}

fn push(list: &mut Value, item: Value) {
    if let Value::Array(list) = list {
        list.push(item);
    }
}

fn remove(map: &mut Value, key: &str) {
    if let Value::Object(map) = map {
        map.remove(key);
    }
}

fn items<'a>(map: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    map.get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_come_to_the_verdicts_that_both_sides_must_come_to() {
        let pairs = pairs(130);
        for (pair, (live, target)) in pairs.iter().zip(objects(&pairs).unwrap()) {
            let changed = live
                .as_ref()
                .zip(target.as_ref())
                .map(|(live, target)| changed_fields(live, target));
            assert_eq!(
                differs(live.as_ref(), target.as_ref()),
                pair.modified,
                "{}: {changed:?}",
                pair.name
            );
        }
    }
}
