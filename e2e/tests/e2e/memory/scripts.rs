//! The scripts.

use serde_json::{Value, json};

use super::Ask::{
    self, Apply, Create, CreateStrict, Delete, DryRun, Edit, Force, Get, Json, List, Merge,
};

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

fn workload(kind: &str, name: &str, spec: Value) -> Value {
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [
                    {"name": "c", "image": "x:1", "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
                     "env": [{"name": "A", "value": "1"}, {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                     "resources": {"requests": {"cpu": "100m"}}, "readinessProbe": {"httpGet": {"port": 80}},
                     "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
                ], "volumes": [{"name": "v", "configMap": {"name": "m"}}]},
            },
        },
    });
    for (field, more) in spec.as_object().into_iter().flatten() {
        value["spec"][field] = more.clone();
    }
    value
}

/// A custom kind with a field of every sort.
pub(super) fn definition(group: &str) -> Value {
    let spec = json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1},
        "colour": {"type": "string", "enum": ["red", "green"], "default": "red"},
        "either": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "items": {"type": "integer"}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "atom": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "integer"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
            "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}}},
    }});
    let status = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({
        "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [version],
        },
    })
}

/// Their names (of namespaces, too) and requests.
pub(super) fn all() -> Vec<(&'static str, Vec<Ask>)> {
    let deployment = |replicas: u32| workload("Deployment", "web", json!({"replicas": replicas}));
    let with_label = |mut value: Value, label: &str| {
        value["metadata"]["labels"] = json!({"l": label});
        value
    };
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "name": "http"}, {"port": 53, "protocol": "UDP", "name": "dns"}]}});
    let secret = |data: Value| {
        let mut value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}});
        for (field, data) in data.as_object().into_iter().flatten() {
            value[field] = data.clone();
        }
        value
    };
    let mut without_replicas = deployment(0);
    without_replicas["spec"]
        .as_object_mut()
        .unwrap()
        .remove("replicas");
    let mut env = deployment(0);
    env["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]);
    let mut side = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "Z", "value": "9"}]}, {"name": "side", "image": "s:1"}]}}}});
    side["metadata"]["annotations"] = json!({"a/b": "c"});
    let mut unknown = deployment(0);
    unknown["spec"]["replica"] = 1.into();
    unknown["metadata"]["name"] = "unknown".into();
    let mut selector = deployment(0);
    selector["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
    selector["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"},
        "spec": {"rules": [{"host": "a.example.org", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
        "spec": {"suspend": true, "manualSelector": true, "selector": {"matchLabels": {"j": "j"}},
            "template": {"metadata": {"labels": {"j": "j"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x:1"}]}}}});
    let mut job_changed = job.clone();
    job_changed["spec"]["suspend"] = false.into();
    let mut job_image = job_changed.clone();
    job_image["spec"]["template"]["spec"]["containers"][0]["image"] = "x:2".into();
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cj"},
        "spec": {"suspend": true, "schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x:1"}]}}}}}});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    let binding = |name: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}, "subjects": [{"kind": "User", "name": "u"}]})
    };
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "n"},
        "spec": {"podSelector": {"matchLabels": {"a": "b"}}, "ingress": [{"ports": [{"port": 80}], "from": [{"podSelector": {}}]}]}});
    let hpa = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    let pdb = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "p"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    let pvc = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {"storageClassName": "none", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let mut pvc_changed = pvc.clone();
    pvc_changed["spec"]["accessModes"] = json!(["ReadWriteMany"]);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa"}});
    let held = |finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": finalizers}});
    let mut stateful = workload(
        "StatefulSet",
        "db",
        json!({"replicas": 0, "serviceName": "db", "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}),
    );
    let stateful_first = stateful.clone();
    stateful["spec"]["serviceName"] = "other".into();
    let daemon = workload(
        "DaemonSet",
        "ds",
        json!({"template": {"metadata": {"labels": {"app": "ds"}}, "spec": {"nodeSelector": {"none": "such"}, "containers": [{"name": "c", "image": "x"}]}}}),
    );
    let named = |name: &str, mut value: Value| {
        value["metadata"]["name"] = name.into();
        value
    };
    let widget = |spec: Value| json!({"apiVersion": "memory.example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
    vec![
        (
            "custom",
            vec![
                Apply("one", definition("memory.example.org")),
                Apply("one", widget(json!({"size": 2}))),
                Apply("one", widget(json!({"size": 2}))),
                Apply("one", widget(json!({"size": "2"}))),
                Apply("one", widget(json!({"size": 0}))),
                Apply("one", widget(json!({"size": 1.5}))),
                Apply("one", widget(json!({}))),
                Apply("one", widget(json!({"size": 1, "colour": "blue"}))),
                Apply("one", widget(json!({"size": 1, "shape": "round"}))),
                Apply("one", widget(json!({"size": 1, "colour": null}))),
                Apply(
                    "one",
                    widget(
                        json!({"size": 1, "parts": [{"id": "a", "n": 1}, {"id": "b", "n": 1}], "tags": ["x", "y"], "list": [1, 2], "atom": {"a": 1, "b": 1}, "free": {"any": {"thing": 1}}, "map": {"k": "v"}}),
                    ),
                ),
                Apply(
                    "two",
                    widget(
                        json!({"parts": [{"id": "c", "n": 1}], "tags": ["z", "x"], "free": {"any": {"other": 1}}, "map": {"l": "v"}, "either": 5}),
                    ),
                ),
                Apply("two", widget(json!({"list": [3]}))),
                Apply("two", widget(json!({"atom": {"a": 2}}))),
                Apply(
                    "two",
                    widget(json!({"parts": [{"id": "c", "n": 1}, {"id": "a", "n": 2}]})),
                ),
                Apply(
                    "one",
                    widget(json!({"size": 1, "parts": [{"id": "b", "n": 2}], "either": "50%"})),
                ),
                Force(
                    "one",
                    widget(json!({"size": 1, "parts": [{"id": "b", "n": 2}], "either": "50%"})),
                ),
                Apply(
                    "one",
                    widget(json!({"size": 1, "parts": [{"id": "b"}, {"id": "b"}]})),
                ),
                Apply("one", widget(json!({"size": 1, "parts": [{"n": 1}]}))),
                Merge(
                    "patcher",
                    widget(json!({})),
                    json!({"spec": {"size": 3, "unknown": 1}}),
                ),
                Merge(
                    "patcher",
                    widget(json!({})),
                    json!({"status": {"phase": "x"}}),
                ),
                Edit("editor", widget(json!({})), |value| {
                    value["spec"].as_object_mut().unwrap().remove("free");
                }),
                Delete(widget(json!({}))),
                Create(
                    "maker",
                    widget(
                        json!({"size": 1, "parts": [{"id": "a"}], "map": {"k": "v"}, "shape": "round"}),
                    ),
                ),
                CreateStrict({
                    let mut value = widget(json!({"size": 1, "shape": "round"}));
                    value["metadata"]["name"] = "v".into();
                    value
                }),
                Create("maker", {
                    let mut value = widget(json!({"size": 1}));
                    value["metadata"] = json!({"name": "v", "unknown": 1});
                    value
                }),
                List(widget(json!({})), ""),
                Apply("one", definition("memory.example.org")),
                Apply("one", {
                    let mut value = widget(json!({"size": 1}));
                    value["metadata"] = json!({"name": "held", "finalizers": ["example.org/hold"]});
                    value
                }),
                // Its end has begun already: what the end of the definition brings comes at a time of its own.
                Delete(named("held", widget(json!({})))),
                Delete(definition("memory.example.org")),
                Create("maker", named("late", widget(json!({"size": 1})))),
                Apply("maker", named("later", widget(json!({"size": 1})))),
                Merge(
                    "releaser",
                    {
                        let mut value = widget(json!({}));
                        value["metadata"]["name"] = "held".into();
                        value
                    },
                    json!({"metadata": {"finalizers": null}}),
                ),
            ],
        ),
        (
            "cluster",
            vec![
                Apply(
                    "one",
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "memory-extra", "labels": {"a": "b"}}}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "memory-extra"}}),
                ),
                Create(
                    "two",
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "memory-extra"}}),
                ),
                Edit(
                    "two",
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "memory-extra"}}),
                    |value| {
                        value.as_object_mut().unwrap().remove("spec");
                        value["metadata"]["labels"] = json!({"c": "d"});
                    },
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "Bad"}}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "memory:x"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "memory:x"}, "rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]}),
                ),
                Delete(
                    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "memory:x"}}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "memory-x"}, "value": 7}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "memory-x"}, "value": 8}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "memory-x"}, "provisioner": "x.example.org"}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "memory-x"}, "provisioner": "y.example.org"}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "memory-x"}, "spec": {"controller": "example.org/x"}}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "memory-x"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "memory-x"},
                "webhooks": [{"name": "a.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/x"}, "failurePolicy": "Ignore",
                    "rules": [{"apiGroups": ["none.example.org"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["none"]}]}]}),
                ),
                Delete(
                    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "memory-x"}}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"configmaps": 100}}}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "q"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": 2}}]}}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "q"}, "spec": {"holderIdentity": "x", "leaseDurationSeconds": 5}}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "q"}, "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]}),
                ),
                Apply(
                    "one",
                    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "q"}, "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 80}]}),
                ),
            ],
        ),
        (
            "ownership",
            vec![
                Apply("one", map(json!({"a": "1", "b": "1"}))),
                Apply("one", map(json!({"a": "1", "b": "1"}))),
                Apply("two", map(json!({"a": "2", "c": "1"}))),
                DryRun("one", map(json!({"d": "2"}))),
                Force("two", map(json!({"a": "2", "c": "1"}))),
                Apply("one", map(json!({"b": "1"}))),
                Apply("three", map(json!({"b": "1"}))),
                Apply("one", map(json!({"z": "1"}))),
                Apply("two", map(json!({}))),
                Get(map(json!({}))),
                Merge(
                    "patcher",
                    map(json!({})),
                    json!({"data": {"z": "3", "p": "1"}}),
                ),
                Apply("one", map(json!({"z": "1"}))),
                Apply("one", map(json!({"q": "1"}))),
                Merge("patcher", map(json!({})), json!({"data": null})),
                Json(
                    "patcher",
                    map(json!({})),
                    json!([{"op": "add", "path": "/data", "value": {"j": "1"}}]),
                ),
                Json(
                    "patcher",
                    map(json!({})),
                    json!([{"op": "test", "path": "/data/j", "value": "2"}]),
                ),
                Json(
                    "patcher",
                    map(json!({})),
                    json!([{"op": "remove", "path": "/data/none"}]),
                ),
                Edit("editor", map(json!({})), |value| {
                    value["data"]["e"] = "1".into()
                }),
                Edit("editor", map(json!({})), |value| {
                    value["metadata"]["resourceVersion"] = "1".into();
                }),
                Edit("editor", map(json!({})), |value| {
                    value["metadata"]["uid"] = "another".into();
                }),
                Edit("editor", map(json!({})), |_| {}),
                Edit("editor", map(json!({})), |value| {
                    value["metadata"]
                        .as_object_mut()
                        .unwrap()
                        .remove("managedFields");
                }),
                Merge(
                    "reset",
                    map(json!({})),
                    json!({"metadata": {"managedFields": [{}]}}),
                ),
                Apply("one", with_label(map(json!({"q": "1"})), "x")),
                List(map(json!({})), "l=x"),
                List(map(json!({})), "l in (x,y),!none"),
                List(map(json!({})), "l=="),
                List(map(json!({})), "l in x"),
                Delete(map(json!({}))),
                Delete(map(json!({}))),
                Get(map(json!({}))),
                Merge("patcher", map(json!({})), json!({"data": {"z": "3"}})),
            ],
        ),
        (
            "create",
            vec![
                Create("maker", map(json!({"a": "1"}))),
                Create("maker", map(json!({"a": "1"}))),
                Apply("maker", map(json!({"a": "2"}))),
                Force("maker", map(json!({"b": "2"}))),
                Delete(map(json!({}))),
                Create(
                    "maker",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "Bad_Name"}}),
                ),
                Create(
                    "maker",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": {"a b": "c"}}}),
                ),
                Create(
                    "maker",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": {"a": "c d"}}}),
                ),
                Create("maker", map(json!({"a b": "1"}))),
                Create(
                    "maker",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": 1}}),
                ),
                Apply(
                    "maker",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": 1}}),
                ),
                Apply(
                    "maker",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "dat": {"a": "1"}}),
                ),
                Apply(
                    "maker",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "resourceVersion": "1"}}),
                ),
                Create(
                    "maker",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "resourceVersion": "1"}}),
                ),
                Apply(
                    "maker",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": null}),
                ),
                Apply(
                    "maker",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": null}}),
                ),
                Apply(
                    "maker",
                    json!({"apiVersion": "none.example.org/v1", "kind": "None", "metadata": {"name": "m"}}),
                ),
            ],
        ),
        (
            "deployment",
            vec![
                Apply("one", deployment(0)),
                Apply("one", deployment(0)),
                Apply("one", without_replicas.clone()),
                Apply("one", deployment(0)),
                Merge("scaler", deployment(0), json!({"spec": {"replicas": 0}})),
                Apply("one", env),
                Apply("two", side),
                Apply("one", deployment(0)),
                CreateStrict(unknown.clone()),
                Create("maker", unknown.clone()),
                Apply("maker", unknown),
                Apply("one", selector),
                Edit("editor", deployment(0), |value| {
                    value["spec"]
                        .as_object_mut()
                        .unwrap()
                        .remove("revisionHistoryLimit");
                }),
                Edit("editor", deployment(0), |value| {
                    value["spec"]["template"]["spec"]["containers"][0]["image"] = "x:9".into();
                }),
                Apply("one", deployment(0)),
                Merge("patcher", deployment(0), json!({"status": {"replicas": 9}})),
                Merge(
                    "patcher",
                    deployment(0),
                    json!({"metadata": {"name": "other"}}),
                ),
                Merge("patcher", deployment(0), json!({"spec": {"replicas": "x"}})),
                Delete(deployment(0)),
            ],
        ),
        (
            "defaults",
            vec![
                Apply("one", service.clone()),
                Apply("one", service.clone()),
                Edit("editor", service.clone(), |value| {
                    value["spec"].as_object_mut().unwrap().remove("clusterIP");
                    value["spec"].as_object_mut().unwrap().remove("clusterIPs");
                }),
                Merge(
                    "patcher",
                    service.clone(),
                    json!({"spec": {"clusterIP": "10.96.200.200"}}),
                ),
                Merge(
                    "patcher",
                    service.clone(),
                    json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false}}),
                ),
                Apply("one", secret(json!({"stringData": {"k": "v"}}))),
                Apply("one", secret(json!({"stringData": {"k": "v"}}))),
                Apply("one", secret(json!({"data": {"k": "djI="}}))),
                Apply("one", secret(json!({"data": {"k": "not base64!"}}))),
                Apply(
                    "one",
                    secret(
                        json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "", "tls.key": ""}}),
                    ),
                ),
                Apply("one", ingress),
                Apply("one", job.clone()),
                Apply("one", job),
                Apply("one", job_changed),
                Apply("one", job_image),
                Apply("one", cron),
                Apply("one", role),
                Apply("one", binding("r")),
                Apply("one", binding("q")),
                Apply("one", policy),
                Apply("one", hpa),
                Apply("one", pdb),
                Apply("one", pvc),
                Apply("one", pvc_changed),
                Apply("one", account),
                Apply("one", stateful_first),
                Apply("one", stateful),
                Apply("one", daemon),
            ],
        ),
        (
            "deletion",
            vec![
                Apply("one", held(json!(["example.org/a", "example.org/b"]))),
                Delete(held(json!([]))),
                Get(held(json!([]))),
                Apply(
                    "one",
                    held(json!(["example.org/a", "example.org/b", "example.org/c"])),
                ),
                Apply("one", held(json!(["example.org/a"]))),
                Merge("two", held(json!([])), json!({"data": {"still": "here"}})),
                Merge(
                    "two",
                    held(json!([])),
                    json!({"metadata": {"finalizers": null}}),
                ),
                Get(held(json!([]))),
            ],
        ),
    ]
}
