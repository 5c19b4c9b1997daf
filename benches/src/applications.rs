//! Applications of Argo CD as a controller leaves them after months: twenty resources, ten syncs in the history, the last operation with what it
//! changed, a condition; about 8 KB each. The same number gives the same bytes.

use gitops_core::application::{AppRef, ApplicationStatus, HealthStatus, SyncStatus};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The namespace that they are in.
pub const NAMESPACE: &str = "argocd";

/// Resources of each.
pub const RESOURCES: usize = 20;

/// Past syncs of each.
pub const HISTORY: usize = 10;

/// Resources that the last sync of each changed, with `ApplyOutOfSyncOnly`.
const CHANGED: usize = 2;

/// Kinds as an application has them: group, version, kind, and whether Argo CD knows a health of it.
const KINDS: [(&str, &str, &str, bool); 5] = [
    ("", "v1", "ConfigMap", false),
    ("", "v1", "Service", true),
    ("apps", "v1", "Deployment", true),
    ("networking.k8s.io", "v1", "Ingress", true),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", false),
];

/// The list, as `GET /api/v1/applications` answers it.
///
/// # Errors
/// None that is known.
pub fn list(count: usize) -> serde_json::Result<Vec<u8>> {
    let items: Vec<_> = (0..count).map(application).collect();
    serde_json::to_vec(&json!({
        "metadata": {"resourceVersion": "4711"},
        "items": items,
    }))
}

/// One of them as it is written to the Kubernetes API: without what the API server sets.
pub fn new(i: usize) -> Value {
    let mut application = application(i);
    if let Some(metadata) = application["metadata"].as_object_mut() {
        for name in [
            "creationTimestamp",
            "generation",
            "managedFields",
            "resourceVersion",
            "uid",
        ] {
            metadata.remove(name);
        }
    }
    application["apiVersion"] = json!("argoproj.io/v1alpha1");
    application["kind"] = json!("Application");
    application
}

fn name(i: usize) -> String {
    format!("shop-{i:04}")
}

/// One in ten is out of sync.
fn is_synced(i: usize) -> bool {
    !i.is_multiple_of(10)
}

/// One in twenty is degraded.
fn health(i: usize) -> &'static str {
    if i.is_multiple_of(20) {
        "Degraded"
    } else {
        "Healthy"
    }
}

fn revision(i: usize, sync: usize) -> String {
    format!("{:08x}", i * 31 + sync * 7919 + 0x1234_5678).repeat(5)
}

fn source(i: usize) -> Value {
    json!({
        "repoURL": "https://git.example.com/shop.git",
        "path": format!("apps/{}", name(i)),
        "targetRevision": "main",
    })
}

fn destination(i: usize) -> Value {
    json!({"server": "https://kubernetes.default.svc", "namespace": name(i)})
}

fn resource(i: usize, n: usize) -> Map<String, Value> {
    let (group, version, kind, _) = KINDS[n % KINDS.len()];
    let mut resource = Map::new();
    // Go leaves empty texts out.
    if !group.is_empty() {
        resource.insert("group".into(), json!(group));
    }
    resource.insert("version".into(), json!(version));
    resource.insert("kind".into(), json!(kind));
    resource.insert("namespace".into(), json!(name(i)));
    resource.insert("name".into(), json!(format!("web-{i}-{n}")));
    resource
}

fn resource_status(i: usize, n: usize) -> Value {
    let mut resource = resource(i, n);
    let (_, _, _, has_health) = KINDS[n % KINDS.len()];
    let status = if n == 2 && !is_synced(i) {
        "OutOfSync"
    } else {
        "Synced"
    };
    resource.insert("status".into(), json!(status));
    if has_health {
        let worst = if n == 2 { health(i) } else { "Healthy" };
        let mut health = json!({"status": worst});
        if worst != "Healthy" {
            health["message"] = json!(format!(
                "Deployment \"web-{i}-{n}\" exceeded its progress deadline"
            ));
        }
        resource.insert("health".into(), health);
    }
    resource.into()
}

fn resource_result(i: usize, n: usize) -> Value {
    let mut resource = resource(i, n);
    let kind = KINDS[n % KINDS.len()].2.to_lowercase();
    // Here Go writes it, empty or not, and the definition asks for it.
    resource.entry("group").or_insert_with(|| json!(""));
    resource.insert("status".into(), json!("Synced"));
    resource.insert(
        "message".into(),
        json!(format!("{kind}/web-{i}-{n} configured")),
    );
    resource.insert("hookPhase".into(), json!("Running"));
    resource.insert("syncPhase".into(), json!("Sync"));
    resource.into()
}

fn history(i: usize) -> Vec<Value> {
    (0..HISTORY)
        .map(|sync| {
            json!({
                "id": sync + 14,
                "revision": revision(i, sync),
                "deployStartedAt": format!("2026-03-{:02}T09:14:07Z", sync + 1),
                "deployedAt": format!("2026-03-{:02}T09:14:12Z", sync + 1),
                "initiatedBy": {"automated": true},
                "source": source(i),
            })
        })
        .collect()
}

fn status(i: usize) -> Value {
    let last = revision(i, HISTORY - 1);
    json!({
        "conditions": [{
            "type": "OrphanedResourceWarning",
            "message": format!("Application has {} orphaned resources", i % 7 + 1),
            "lastTransitionTime": "2026-03-10T09:14:20Z",
        }],
        "controllerNamespace": NAMESPACE,
        "health": {"status": health(i), "lastTransitionTime": "2026-03-10T09:15:01Z"},
        "history": history(i),
        "operationState": {
            "operation": {
                "initiatedBy": {"automated": true},
                "retry": {"limit": 5},
                "sync": {
                    "prune": true,
                    "revision": last,
                    "syncOptions": ["CreateNamespace=true", "ApplyOutOfSyncOnly=true"],
                },
            },
            "phase": "Succeeded",
            "message": "successfully synced (all tasks run)",
            "startedAt": "2026-03-10T09:14:07Z",
            "finishedAt": "2026-03-10T09:14:12Z",
            "syncResult": {
                "revision": last,
                "resources": (0..CHANGED).map(|n| resource_result(i, n)).collect::<Vec<_>>(),
                "source": source(i),
            },
        },
        "reconciledAt": "2026-03-10T11:02:45Z",
        "resources": (0..RESOURCES).map(|n| resource_status(i, n)).collect::<Vec<_>>(),
        "sourceType": "Kustomize",
        "summary": {
            "externalURLs": [format!("https://{}.example.com/", name(i))],
            "images": [
                format!("registry.example.com/shop/web:1.9.{i}"),
                "registry.example.com/shop/proxy:2.7.1",
            ],
        },
        "sync": {
            "comparedTo": {"destination": destination(i), "source": source(i)},
            "revision": last,
            "status": if is_synced(i) { "Synced" } else { "OutOfSync" },
        },
    })
}

fn application(i: usize) -> Value {
    json!({
        "metadata": {
            "name": name(i),
            "namespace": NAMESPACE,
            "uid": format!("5b1fc3d6-8a0e-4c57-9f6e-{i:012x}"),
            "resourceVersion": format!("{}", 100_000 + i),
            "generation": 1234,
            "creationTimestamp": "2025-06-01T12:00:00Z",
            "labels": {
                "app.kubernetes.io/part-of": "shop",
                "example.com/team": format!("team-{}", i % 7),
            },
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
            "managedFields": [{
                "manager": "argocd-application-controller",
                "operation": "Update",
                "apiVersion": "argoproj.io/v1alpha1",
                "time": "2026-03-10T11:02:45Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:status": {
                    ".": {}, "f:conditions": {}, "f:controllerNamespace": {}, "f:history": {}, "f:reconciledAt": {}, "f:resources": {},
                    "f:health": {".": {}, "f:lastTransitionTime": {}, "f:status": {}},
                    "f:sourceType": {}, "f:summary": {".": {}, "f:externalURLs": {}, "f:images": {}},
                    "f:sync": {".": {}, "f:comparedTo": {}, "f:revision": {}, "f:status": {}},
                }},
            }],
        },
        "spec": {
            "project": "default",
            "source": source(i),
            "destination": destination(i),
            "syncPolicy": {
                "automated": {"prune": true, "selfHeal": true},
                "retry": {"limit": 5},
                "syncOptions": ["CreateNamespace=true", "ApplyOutOfSyncOnly=true"],
            },
        },
        "status": status(i),
    })
}

/// What was read: both sides have to have read the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Applications.
    pub applications: usize,
    /// Those that are in sync.
    pub synced: usize,
    /// Those that are healthy.
    pub healthy: usize,
    /// Their resources.
    pub resources: usize,
    /// Those with a health.
    pub assessed: usize,
    /// Past syncs.
    pub history: usize,
    /// Conditions.
    pub conditions: usize,
    /// Operations that ended at a known time.
    pub ended: usize,
}

/// Counts what was read.
pub fn count(statuses: &[(AppRef, ApplicationStatus)]) -> Counts {
    let mut counts = Counts {
        applications: statuses.len(),
        ..Counts::default()
    };
    for (_, status) in statuses {
        counts.synced += usize::from(status.sync == SyncStatus::Synced);
        counts.healthy += usize::from(status.health.status == HealthStatus::Healthy);
        counts.resources += status.resources.len();
        counts.assessed += status
            .resources
            .iter()
            .filter(|resource| resource.health.is_some())
            .count();
        counts.history += status.history.len();
        counts.conditions += status.conditions.len();
        let ended = status
            .operation
            .as_ref()
            .is_some_and(|operation| operation.finished_at.is_some());
        counts.ended += usize::from(ended);
    }
    counts
}

#[cfg(test)]
mod tests {
    use gitops_argocd::types::lean;

    use super::*;

    #[test]
    fn they_are_about_8_kb_each_and_read_as_they_were_made() {
        let bytes = list(100).unwrap();
        assert_eq!(bytes, list(100).unwrap());
        assert!(
            (800_000..860_000).contains(&bytes.len()),
            "{} bytes",
            bytes.len()
        );
        let counts = count(&lean::statuses(&bytes).unwrap());
        assert_eq!(
            counts,
            Counts {
                applications: 100,
                synced: 90,
                healthy: 95,
                resources: 2000,
                assessed: 1200,
                history: 1000,
                conditions: 100,
                ended: 100,
            }
        );
    }
}
