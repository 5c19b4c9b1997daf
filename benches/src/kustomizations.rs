//! Kustomizations of Flux as kustomize-controller leaves them after months: twenty objects in the inventory, five reconciliations in the history, conditions; about 8 KB each,
//! with the fields' owners. The same number gives the same bytes.

use gitops_flux::FluxResource;
use gitops_flux::types::{Condition, Kustomization, condition, lean};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Entries of each inventory.
pub const ENTRIES: usize = 20;

/// Reconciliations in each history; kustomize-controller keeps no more.
pub const HISTORY: usize = 5;

/// Namespaces that they are in.
pub const NAMESPACES: usize = 20;

/// Who writes the objects, as a parent Kustomization applies them.
pub const APPLIER: &str = "kustomize-controller";

/// Who writes finalizers and status.
pub const CONTROLLER: &str = "gotk-kustomize-controller";

/// Kinds as an inventory has them: group, version, kind.
const KINDS: [(&str, &str, &str); 5] = [
    ("", "v1", "ConfigMap"),
    ("", "v1", "Service"),
    ("apps", "v1", "Deployment"),
    ("networking.k8s.io", "v1", "Ingress"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
];

/// The list, as the API server answers it.
///
/// # Errors
/// None that is known.
pub fn list(count: usize) -> serde_json::Result<Vec<u8>> {
    let items: Vec<_> = (0..count).map(kustomization).collect();
    serde_json::to_vec(&json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "KustomizationList",
        "metadata": {"resourceVersion": "4711"},
        "items": items,
    }))
}

/// The namespace of one.
pub fn namespace(i: usize) -> String {
    format!("team-{:02}", i % NAMESPACES)
}

/// The name of one.
pub fn name(i: usize) -> String {
    format!("shop-{i:04}")
}

/// One of them as a parent Kustomization applies it.
pub fn applied(i: usize) -> Value {
    json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {
            "name": name(i),
            "namespace": namespace(i),
            "labels": {
                "app.kubernetes.io/part-of": "shop",
                "example.com/team": namespace(i),
                "kustomize.toolkit.fluxcd.io/name": "tenants",
                "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
            },
        },
        "spec": spec(i),
    })
}

/// What the controller then patches.
pub fn finalized() -> Value {
    json!({"metadata": {"finalizers": ["finalizers.fluxcd.io"]}})
}

/// What the controller says of one in the end.
pub fn status(i: usize) -> Value {
    let last = revision(i, HISTORY - 1);
    let applied = match is_ready(i) {
        true => last.clone(),
        false => revision(i, HISTORY - 2),
    };
    json!({
        "conditions": conditions(i, &last),
        "history": history(i),
        "inventory": {"entries": (0..ENTRIES).map(|n| entry(i, n)).collect::<Vec<_>>()},
        "lastAppliedRevision": applied,
        "lastAttemptedRevision": last,
        "lastHandledReconcileAt": format!("2026-03-10T11:02:{:02}.125347816Z", i % 60),
        "observedGeneration": 1,
    })
}

/// One in twenty fails.
fn is_ready(i: usize) -> bool {
    !i.is_multiple_of(20)
}

/// One in fifty is suspended.
fn is_suspended(i: usize) -> bool {
    i % 50 == 7
}

fn revision(i: usize, run: usize) -> String {
    let commit = format!("{:08x}", i * 31 + run * 7919 + 0x1234_5678).repeat(5);
    format!("main@sha1:{commit}")
}

fn spec(i: usize) -> Value {
    let mut spec = json!({
        "dependsOn": [{"name": "infrastructure", "namespace": "flux-system"}],
        "force": false,
        "interval": "10m0s",
        "path": format!("./tenants/{}/{}", namespace(i), name(i)),
        "postBuild": {
            "substitute": {"cluster": "production-eu", "replicas": "3"},
            "substituteFrom": [{"kind": "ConfigMap", "name": "cluster-settings", "optional": false}],
        },
        "prune": true,
        "retryInterval": "2m0s",
        "serviceAccountName": "reconciler",
        "sourceRef": {"kind": "GitRepository", "name": "shop", "namespace": "flux-system"},
        "targetNamespace": namespace(i),
        "timeout": "5m0s",
        "wait": true,
    });
    if is_suspended(i) {
        spec["suspend"] = json!(true);
    }
    spec
}

fn conditions(i: usize, revision: &str) -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": "2026-03-10T11:02:45Z",
            "observedGeneration": 1,
        })
    };
    match is_ready(i) {
        true => json!([
            condition(
                "Ready",
                "True",
                "ReconciliationSucceeded",
                &format!("Applied revision: {revision}"),
            ),
            condition(
                "Healthy",
                "True",
                "Succeeded",
                "Health check passed in 1.038514721s"
            ),
        ]),
        false => {
            let failure = format!(
                "health check failed after 5m0.012s: timeout waiting for: [Deployment/{}/web-{i}-2 status: 'InProgress']",
                namespace(i)
            );
            json!([
                condition("Reconciling", "True", "ProgressingWithRetry", &failure),
                condition("Ready", "False", "HealthCheckFailed", &failure),
                condition("Healthy", "False", "HealthCheckFailed", &failure),
            ])
        }
    }
}

fn history(i: usize) -> Vec<Value> {
    (0..HISTORY)
        .rev()
        .map(|run| {
            let failed = run == HISTORY - 1 && !is_ready(i);
            json!({
                "digest": format!("sha256:{}", format!("{:016x}", i * 104_729 + run).repeat(4)),
                "firstReconciled": format!("2026-03-{:02}T09:14:07Z", run + 1),
                "lastReconciled": format!("2026-03-{:02}T11:02:45Z", run + 6),
                "lastReconciledDuration": "1.524987613s",
                "lastReconciledStatus": if failed { "HealthCheckFailed" } else { "ReconciliationSucceeded" },
                "metadata": {"revision": revision(i, run)},
                "totalReconciliations": 144,
            })
        })
        .collect()
}

fn entry(i: usize, n: usize) -> Value {
    let (group, version, kind) = KINDS[n % KINDS.len()];
    json!({"id": format!("{}_web-{i}-{n}_{group}_{kind}", namespace(i)), "v": version})
}

/// One as the API server answers it: with what it sets itself.
fn kustomization(i: usize) -> Value {
    let owned = |manager: &str, operation: &str, fields: Value| {
        json!({
            "manager": manager,
            "operation": operation,
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "time": "2026-03-10T11:02:45Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        })
    };
    let mut written = owned(
        CONTROLLER,
        "Update",
        json!({"f:status": {
            "f:conditions": {}, "f:history": {}, "f:inventory": {".": {}, "f:entries": {}}, "f:lastAppliedRevision": {},
            "f:lastAttemptedRevision": {}, "f:lastHandledReconcileAt": {}, "f:observedGeneration": {},
        }}),
    );
    written["subresource"] = json!("status");
    let mut kustomization = applied(i);
    let metadata = &mut kustomization["metadata"];
    metadata["creationTimestamp"] = json!("2025-06-01T12:00:00Z");
    metadata["finalizers"] = finalized()["metadata"]["finalizers"].take();
    metadata["generation"] = json!(1);
    metadata["resourceVersion"] = json!(format!("{}", 100_000 + i));
    metadata["uid"] = json!(format!("5b1fc3d6-8a0e-4c57-9f6e-{i:012x}"));
    metadata["managedFields"] = json!([
        owned(
            APPLIER,
            "Apply",
            json!({
                "f:metadata": {"f:labels": {
                    "f:app.kubernetes.io/part-of": {}, "f:example.com/team": {}, "f:kustomize.toolkit.fluxcd.io/name": {},
                    "f:kustomize.toolkit.fluxcd.io/namespace": {},
                }},
                "f:spec": {
                    "f:dependsOn": {}, "f:force": {}, "f:interval": {}, "f:path": {},
                    "f:postBuild": {"f:substitute": {"f:cluster": {}, "f:replicas": {}}, "f:substituteFrom": {}},
                    "f:prune": {}, "f:retryInterval": {}, "f:serviceAccountName": {}, "f:sourceRef": {}, "f:targetNamespace": {}, "f:timeout": {}, "f:wait": {},
                },
            }),
        ),
        owned(
            CONTROLLER,
            "Update",
            json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"finalizers.fluxcd.io\"": {}}}}),
        ),
        written,
    ]);
    kustomization["status"] = status(i);
    kustomization
}

/// What was read: both sides have to have read the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Kustomizations.
    pub kustomizations: usize,
    /// Those that are ready.
    pub ready: usize,
    /// Those that are not.
    pub failed: usize,
    /// Those that are suspended.
    pub suspended: usize,
    /// Their conditions.
    pub conditions: usize,
    /// The entries of their inventories; none where they were not read.
    pub entries: usize,
    /// The SHA-256 of a line for each, in the order of the lines: see [`Row`].
    pub checksum: String,
}

/// What one of them says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The generation of the specification.
    pub generation: i64,
    /// The one that was reconciled.
    pub observed_generation: i64,
    /// The revision that was applied.
    pub revision: &'a str,
    /// The status of the condition `Ready`.
    pub ready: &'a str,
    /// Its message.
    pub message: &'a str,
    /// Whether it is suspended.
    pub suspended: bool,
    /// How many conditions.
    pub conditions: usize,
    /// How many entries of the inventory; none where it was not read.
    pub entries: usize,
}

impl<'a> From<&'a lean::Object> for Row<'a> {
    fn from(object: &'a lean::Object) -> Self {
        let ready = object.ready();
        Self {
            namespace: &object.metadata.namespace,
            name: &object.metadata.name,
            generation: object.metadata.generation,
            observed_generation: object.status.observed_generation.unwrap_or_default(),
            revision: object.revision().unwrap_or_default(),
            ready: ready.map_or("", |ready| &ready.status),
            message: ready.map_or("", |ready| &ready.message),
            suspended: object.spec.suspend,
            conditions: object.status.conditions.len(),
            entries: 0,
        }
    }
}

impl<'a> From<&'a Kustomization> for Row<'a> {
    fn from(object: &'a Kustomization) -> Self {
        let conditions = object.conditions();
        let ready = conditions.iter().find(|one| one.kind == condition::READY);
        let observed = object
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        Self {
            namespace: object.metadata.namespace.as_deref().unwrap_or_default(),
            name: object.metadata.name.as_deref().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            observed_generation: observed.unwrap_or_default(),
            revision: object.last_applied_revision().unwrap_or_default(),
            ready: ready.map_or("", |ready| &ready.status),
            message: ready.map_or("", Condition::message),
            suspended: object.spec.suspend == Some(true),
            conditions: conditions.len(),
            entries: object
                .inventory()
                .map_or(0, |inventory| inventory.entries.len()),
        }
    }
}

/// Counts what was read.
pub fn count<'a>(rows: impl Iterator<Item = Row<'a>>) -> Counts {
    let mut counts = Counts::default();
    let mut lines = Vec::new();
    for row in rows {
        counts.kustomizations += 1;
        counts.ready += usize::from(row.ready == "True");
        counts.failed += usize::from(row.ready == "False");
        counts.suspended += usize::from(row.suspended);
        counts.conditions += row.conditions;
        counts.entries += row.entries;
        lines.push(format!(
            "{}/{} {} {} {} {} {}\n",
            row.namespace,
            row.name,
            row.generation,
            row.observed_generation,
            row.revision,
            row.ready,
            row.message
        ));
    }
    lines.sort_unstable();
    let mut sum = Sha256::new();
    for line in &lines {
        sum.update(line);
    }
    counts.checksum = sum
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    counts
}

#[cfg(test)]
mod tests {
    use gitops_flux::types::read_list;

    use super::*;

    #[test]
    fn they_are_about_6_kb_each_and_read_as_they_were_made() {
        let bytes = list(100).unwrap();
        assert_eq!(bytes, list(100).unwrap());
        assert!(
            (550_000..650_000).contains(&bytes.len()),
            "{} bytes",
            bytes.len()
        );
        let whole = read_list::<Kustomization>(&bytes).unwrap();
        let lean = read_list::<lean::Object>(&bytes).unwrap();
        assert_eq!(whole.unreadable, []);
        assert_eq!(lean.unreadable, []);
        let entries = whole
            .items
            .iter()
            .filter_map(|item| item.inventory())
            .map(|i| i.ids().filter(Result::is_ok).count());
        assert_eq!(entries.sum::<usize>(), 100 * ENTRIES);
        let history = whole
            .items
            .iter()
            .filter_map(|item| item.status.as_ref()?.history.as_ref())
            .map(Vec::len);
        assert_eq!(history.sum::<usize>(), 100 * HISTORY);
        let counts = count(lean.items.iter().map(Row::from));
        assert_eq!(
            (counts.kustomizations, counts.ready, counts.failed),
            (100, 95, 5)
        );
        assert_eq!(
            (counts.suspended, counts.conditions, counts.entries),
            (2, 205, 0)
        );
        let full = count(whole.items.iter().map(Row::from));
        assert_eq!(full.entries, 2000);
        assert_eq!(Counts { entries: 0, ..full }, counts);
    }
}
