//! The API server's validation, as far as it stops mistakes that a deployment makes: names, sizes, selectors, what cannot be changed.

use std::collections::BTreeMap;

use gitops_core::Result;
use serde_json::Value;

use super::kinds::Kind;
use super::messages;
use super::secrets;
use super::state::text;

/// A ConfigMap's or Secret's content (kubernetes, `MaxSecretSize`).
const MAX_DATA: usize = 1024 * 1024;
/// All annotations together (apimachinery, `TotalAnnotationSizeLimitB`).
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Checks an object that is about to be stored.
///
/// # Errors
/// `InvalidInput` naming every field that is wrong. Of a Secret no content is quoted.
pub(super) fn object(kind: &Kind, new: &Value, live: Option<&Value>) -> Result<()> {
    let mut problems = Vec::new();
    metadata(kind, new, live.is_none(), &mut problems);
    let gvk = &kind.api.gvk;
    match (&*gvk.group, &*gvk.kind) {
        ("", "ConfigMap") => data(new, &["data", "binaryData"], &mut problems),
        ("", "Secret") => {
            data(new, &["data"], &mut problems);
            secrets::validate(new, &mut problems);
        }
        ("", "Service") => service(new, &mut problems),
        ("", "Pod") => pod_spec(&new["spec"], &[], "spec", &mut problems),
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") => {
            workload(new, &mut problems);
        }
        ("batch", "Job") => {
            pod_spec(
                &new["spec"]["template"]["spec"],
                &[],
                "spec.template.spec",
                &mut problems,
            );
            let policy = text(new, "/spec/template/spec/restartPolicy");
            if policy == "Always" {
                problems.push(format!(
                    "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\", not {policy:?}"
                ));
            }
        }
        ("batch", "CronJob") if text(new, "/spec/schedule").is_empty() => {
            problems.push("spec.schedule: Required value".into());
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(new, &mut problems),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding")
            if text(new, "/roleRef/name").is_empty() =>
        {
            problems.push("roleRef.name: Required value".into());
        }
        _ => {}
    }
    if let Some(live) = live {
        immutable(kind, live, new, &mut problems);
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(messages::invalid(
        kind,
        text(new, "/metadata/name"),
        &problems,
    ))
}

fn metadata(kind: &Kind, new: &Value, is_new: bool, problems: &mut Vec<String>) {
    let name = text(new, "/metadata/name");
    let gvk = &kind.api.gvk;
    if is_new {
        let free = gvk.group == "rbac.authorization.k8s.io";
        let label = matches!((&*gvk.group, &*gvk.kind), ("", "Namespace" | "Service"));
        if !free && label && !is_dns_label(name) {
            problems.push(format!(
                "metadata.name: Invalid value: {name:?}: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character"
            ));
        } else if !free && !is_dns_subdomain(name) {
            problems.push(format!(
                "metadata.name: Invalid value: {name:?}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
            ));
        }
    }
    for (key, value) in entries(&new["metadata"]["labels"]) {
        if !is_qualified_name(key) {
            problems.push(format!(
                "metadata.labels: Invalid value: {key:?}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            ));
        }
        let value = value.as_str().unwrap_or_default();
        if !value.is_empty() && !is_label_part(value) {
            problems.push(format!(
                "metadata.labels: Invalid value: {value:?}: a valid label must be an empty string or consist of at most 63 alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            ));
        }
    }
    let mut size = 0;
    for (key, value) in entries(&new["metadata"]["annotations"]) {
        size += key.len() + value.as_str().unwrap_or_default().len();
        if !is_qualified_name(&key.to_lowercase()) {
            problems.push(format!(
                "metadata.annotations: Invalid value: {key:?}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            ));
        }
    }
    if size > MAX_ANNOTATIONS {
        problems.push(format!(
            "metadata.annotations: Too long: may not be more than {MAX_ANNOTATIONS} bytes"
        ));
    }
    for (index, owner) in super::state::owners(new).enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                problems.push(format!(
                    "metadata.ownerReferences[{index}].{field}: Invalid value: \"\": must not be empty"
                ));
            }
        }
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn data(new: &Value, fields: &[&str], problems: &mut Vec<String>) {
    let mut size = 0;
    for field in fields {
        for (key, value) in entries(&new[*field]) {
            if key.is_empty()
                || key.len() > 253
                || !key
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            {
                problems.push(format!(
                    "{field}[{key}]: Invalid value: {key:?}: a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                ));
            }
            let length = value.as_str().unwrap_or_default().len();
            // Secrets and binary data are counted as bytes, and stored as base64.
            let encoded = *field == "binaryData" || new["kind"] == "Secret";
            size += if encoded { length / 4 * 3 } else { length };
        }
    }
    if size > MAX_DATA {
        let field = if new["kind"] == "Secret" {
            "data"
        } else {
            "[]"
        };
        problems.push(format!(
            "{field}: Too long: may not be more than {MAX_DATA} bytes"
        ));
    }
}

fn service(new: &Value, problems: &mut Vec<String>) {
    let ports = new["spec"]["ports"].as_array().map_or(0, Vec::len);
    let headless = new["spec"]["clusterIP"] == "None";
    if ports == 0 && !headless && new["spec"]["type"] != "ExternalName" {
        problems.push("spec.ports: Required value".into());
    }
}

fn workload(new: &Value, problems: &mut Vec<String>) {
    let spec = &new["spec"];
    let template = &spec["template"];
    if spec["selector"].is_null() {
        problems.push("spec.selector: Required value".into());
    } else if entries(&spec["selector"]).next().is_none() {
        problems.push(
            "spec.selector: Invalid value: {}: empty selector is invalid for workloads".into(),
        );
    } else {
        let matches = entries(&spec["selector"]["matchLabels"])
            .all(|(key, value)| template["metadata"]["labels"].get(key) == Some(value));
        if !matches {
            problems.push(format!(
                "spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`",
                template["metadata"]["labels"]
            ));
        }
    }
    if spec["replicas"]
        .as_i64()
        .is_some_and(|replicas| replicas < 0)
    {
        problems.push(format!(
            "spec.replicas: Invalid value: {}: must be greater than or equal to 0",
            spec["replicas"]
        ));
    }
    let claims = spec["volumeClaimTemplates"].as_array();
    pod_spec(
        &template["spec"],
        claims.map(Vec::as_slice).unwrap_or_default(),
        "spec.template.spec",
        problems,
    );
}

fn pod_spec(spec: &Value, claims: &[Value], path: &str, problems: &mut Vec<String>) {
    let containers = spec["containers"].as_array().cloned().unwrap_or_default();
    if containers.is_empty() {
        problems.push(format!("{path}.containers: Required value"));
    }
    let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    for (index, volume) in volumes.iter().enumerate() {
        let sources = entries(volume).filter(|(field, _)| *field != "name");
        for (source, _) in sources.skip(1) {
            problems.push(format!(
                "{path}.volumes[{index}].{source}: Forbidden: may not specify more than 1 volume type"
            ));
        }
        for (source, name) in [
            ("configMap", "name"),
            ("secret", "secretName"),
            ("persistentVolumeClaim", "claimName"),
        ] {
            if volume[source].is_object() && volume[source][name].as_str().is_none_or(str::is_empty)
            {
                problems.push(format!(
                    "{path}.volumes[{index}].{source}.{name}: Required value"
                ));
            }
        }
    }
    let mut names = BTreeMap::new();
    for (index, container) in containers.iter().enumerate() {
        let name = container["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            problems.push(format!("{path}.containers[{index}].name: Required value"));
        } else if !is_dns_label(name) {
            problems.push(format!(
                "{path}.containers[{index}].name: Invalid value: {name:?}: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character"
            ));
        } else if names.insert(name, index).is_some() {
            problems.push(format!(
                "{path}.containers[{index}].name: Duplicate value: {name:?}"
            ));
        }
        if container["image"].as_str().is_none_or(str::is_empty) {
            problems.push(format!("{path}.containers[{index}].image: Required value"));
        }
        for (at, mount) in container["volumeMounts"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let volume = mount["name"].as_str().unwrap_or_default();
            let known = volumes.iter().any(|known| known["name"] == volume);
            // A StatefulSet's claims become volumes as well.
            if !known
                && !claims
                    .iter()
                    .any(|claim| claim["metadata"]["name"] == volume)
            {
                problems.push(format!(
                    "{path}.containers[{index}].volumeMounts[{at}].name: Not found: {volume:?}"
                ));
            }
        }
    }
}

fn definition(new: &Value, problems: &mut Vec<String>) {
    let plural = text(new, "/spec/names/plural");
    let expected = format!("{plural}.{}", text(new, "/spec/group"));
    let name = text(new, "/metadata/name");
    if name != expected {
        problems.push(format!(
            "metadata.name: Invalid value: {name:?}: must be spec.names.plural+\".\"+spec.group"
        ));
    }
    let versions = new["spec"]["versions"].as_array();
    let stored = versions
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == true)
        .count();
    if stored != 1 {
        problems.push(
            "spec.versions: Invalid value: must have exactly one version marked as storage version"
                .into(),
        );
    }
    for (index, version) in versions.into_iter().flatten().enumerate() {
        if version
            .pointer("/schema/openAPIV3Schema")
            .is_none_or(Value::is_null)
        {
            problems.push(format!(
                "spec.versions[{index}].schema.openAPIV3Schema: Required value: schemas are required"
            ));
        }
    }
}

/// Refuses changes of what cannot be changed.
fn immutable(kind: &Kind, live: &Value, new: &Value, problems: &mut Vec<String>) {
    let gvk = &kind.api.gvk;
    let secret = gvk.group.is_empty() && gvk.kind == "Secret";
    let fixed: &[&str] = match (&*gvk.group, &*gvk.kind) {
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => &["spec.selector"],
        ("batch", "Job") => &["spec.selector", "spec.completionMode", "spec.template"],
        ("", "Secret") => &["type"],
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &["roleRef"],
        ("storage.k8s.io", "StorageClass") => &["provisioner", "parameters", "reclaimPolicy"],
        ("scheduling.k8s.io", "PriorityClass") => &["value"],
        ("networking.k8s.io", "IngressClass") => &["spec.controller"],
        ("node.k8s.io", "RuntimeClass") => &["handler"],
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &[
            "spec.scope",
            "spec.group",
            "spec.names.kind",
            "spec.names.plural",
        ],
        _ => &[],
    };
    let at = |value: &Value, path: &str| {
        value
            .pointer(&format!("/{}", path.replace('.', "/")))
            .cloned()
            .unwrap_or_default()
    };
    // A suspended Job that never ran may still be changed.
    let fresh = gvk.kind == "Job"
        && live["spec"]["suspend"] == true
        && live["status"]["startTime"].is_null();
    for path in fixed {
        let value = at(new, path);
        if at(live, path) == value || (fresh && *path == "spec.template") {
            continue;
        }
        problems.push(if *path == "roleRef" {
            format!("roleRef: Invalid value: {value}: cannot change roleRef")
        } else {
            format!("{path}: Invalid value: {value}: field is immutable")
        });
    }
    if (secret || (gvk.group.is_empty() && gvk.kind == "ConfigMap")) && live["immutable"] == true {
        if new["immutable"] != true {
            problems
                .push("immutable: Forbidden: field is immutable when `immutable` is set".into());
        }
        for field in ["data", "binaryData"] {
            if live[field] != new[field] {
                problems.push(format!(
                    "{field}: Forbidden: field is immutable when `immutable` is set"
                ));
            }
        }
    }
    match (&*gvk.group, &*gvk.kind) {
        ("apps", "StatefulSet") => statefulset(live, new, problems),
        ("", "Service") => {
            let (old, now) = (&live["spec"]["clusterIP"], &new["spec"]["clusterIP"]);
            if old != now && new["spec"]["type"] != "ExternalName" && !old.is_null() {
                problems.push(format!(
                    "spec.clusterIPs[0]: Invalid value: [{now}]: may not change once set"
                ));
            }
        }
        ("", "PersistentVolumeClaim") => {
            let rest = |value: &Value| {
                let mut spec = value["spec"].as_object().cloned().unwrap_or_default();
                for field in ["resources", "volumeAttributesClassName", "volumeName"] {
                    spec.remove(field);
                }
                spec
            };
            if rest(live) != rest(new) {
                problems.push("spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims".into());
            }
        }
        ("", "Pod") => {
            let rest = |value: &Value| {
                let mut spec = value["spec"].clone();
                for list in ["containers", "initContainers"] {
                    for container in spec[list].as_array_mut().into_iter().flatten() {
                        container["image"] = Value::Null;
                    }
                    if spec[list].is_null()
                        && let Some(spec) = spec.as_object_mut()
                    {
                        spec.remove(list);
                    }
                }
                if let Some(spec) = spec.as_object_mut() {
                    for field in [
                        "activeDeadlineSeconds",
                        "tolerations",
                        "schedulingGates",
                        "nodeName",
                    ] {
                        spec.remove(field);
                    }
                }
                spec
            };
            if rest(live) != rest(new) {
                problems.push("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)".into());
            }
        }
        _ => {}
    }
}

fn statefulset(live: &Value, new: &Value, problems: &mut Vec<String>) {
    const CHANGEABLE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let rest = |value: &Value| {
        let mut spec = value["spec"].as_object().cloned().unwrap_or_default();
        spec.retain(|field, _| !CHANGEABLE.contains(&field.as_str()));
        spec
    };
    if rest(live) != rest(new) {
        problems.push("spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden".into());
    }
}

fn is_dns_label(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().next_back())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_dns_subdomain(name: &str) -> bool {
    let label = |part: &str| {
        let edge =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(part.chars().next())
            && edge(part.chars().next_back())
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn is_label_part(part: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    part.len() <= 63
        && edge(part.chars().next())
        && edge(part.chars().next_back())
        && part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_qualified_name(name: &str) -> bool {
    match name.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_part(name),
        None => is_label_part(name),
    }
}
