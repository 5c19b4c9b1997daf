//! The kinds that are served: built-in ones from a table, custom ones from their definitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use gitops_core::manifest::{GroupKind, GroupVersionKind};
use serde_json::Value;

use super::schema::Schema;
use crate::cluster::{ApiKind, Scope};

/// A served kind.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) api: ApiKind,
    pub(super) schema: Arc<Schema>,
    /// `metadata.generation` counts the changes outside `metadata` and `status`.
    pub(super) generation: bool,
    /// `status` can only be written through its subresource.
    pub(super) status: bool,
    /// A custom resource's `openAPIV3Schema`.
    pub(super) openapi: Option<Arc<Value>>,
}

/// All that are served. The first version of a kind is the preferred one.
#[derive(Clone, Debug)]
pub(super) struct Kinds(BTreeMap<GroupKind, Vec<Kind>>);

const VERBS: [&str; 7] = [
    "create", "delete", "get", "list", "patch", "update", "watch",
];

impl Kinds {
    pub(super) fn builtin() -> Self {
        let mut kinds = BTreeMap::new();
        for (group, versions, rows) in TABLE {
            for (kind, plural, namespaced, flags) in *rows {
                let schema = Arc::new(Schema::of_builtin(group, kind));
                let versions = versions
                    .iter()
                    .map(|version| Kind {
                        api: api(group, version, kind, plural, *namespaced),
                        schema: schema.clone(),
                        generation: flags.contains('g'),
                        status: flags.contains('s'),
                        openapi: None,
                    })
                    .collect();
                kinds.insert(GroupKind::new(*group, *kind), versions);
            }
        }
        Self(kinds)
    }

    pub(super) fn get(&self, gvk: &GroupVersionKind) -> Option<&Kind> {
        self.0
            .get(&gvk.group_kind())?
            .iter()
            .find(|kind| kind.api.gvk == *gvk)
    }

    pub(super) fn preferred(&self, kind: &GroupKind) -> Option<&Kind> {
        self.0.get(kind)?.first()
    }

    /// All group-kinds that live in namespaces.
    pub(super) fn namespaced(&self) -> Vec<GroupKind> {
        self.0
            .iter()
            .filter(|(_, versions)| {
                versions
                    .first()
                    .is_some_and(|kind| kind.api.is_namespaced())
            })
            .map(|(kind, _)| kind.clone())
            .collect()
    }

    /// Serves what an established definition defines.
    pub(super) fn define(&mut self, definition: &Value) {
        let text = |pointer: &str| {
            definition
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (group, kind) = (text("/spec/group"), text("/spec/names/kind"));
        let mut versions: Vec<Kind> = Vec::new();
        for version in definition["spec"]["versions"]
            .as_array()
            .into_iter()
            .flatten()
        {
            if version["served"] != true {
                continue;
            }
            let Some(name) = version["name"].as_str() else {
                continue;
            };
            let openapi = version
                .pointer("/schema/openAPIV3Schema")
                .cloned()
                .unwrap_or_default();
            versions.push(Kind {
                api: api(
                    group,
                    name,
                    kind,
                    text("/spec/names/plural"),
                    text("/spec/scope") == "Namespaced",
                ),
                schema: Arc::new(Schema::of_custom(&openapi)),
                generation: true,
                status: version.pointer("/subresources/status").is_some(),
                openapi: Some(Arc::new(openapi)),
            });
        }
        versions.sort_by_key(|kind| std::cmp::Reverse(version_rank(&kind.api.gvk.version)));
        self.0.insert(GroupKind::new(group, kind), versions);
    }

    /// Stops serving a kind.
    pub(super) fn undefine(&mut self, kind: &GroupKind) {
        self.0.remove(kind);
    }
}

fn api(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) -> ApiKind {
    ApiKind {
        gvk: GroupVersionKind::new(group, version, kind),
        plural: plural.to_owned(),
        scope: if namespaced {
            Scope::Namespaced
        } else {
            Scope::Cluster
        },
        verbs: VERBS.map(str::to_owned).to_vec(),
    }
}

/// Orders versions as the API server does (`v2` > `v1` > `v1beta2` > `v1alpha1` > anything else).
fn version_rank(version: &str) -> (u8, u32, u32) {
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (major, rest) = rest.split_at(end);
    let Ok(major) = major.parse() else {
        return (0, 0, 0);
    };
    if rest.is_empty() {
        return (3, major, 0);
    }
    for (rank, stage) in [(2, "beta"), (1, "alpha")] {
        if let Some(minor) = rest.strip_prefix(stage).and_then(|m| m.parse().ok()) {
            return (rank, major, minor);
        }
    }
    (0, 0, 0)
}

/// Kind, plural, namespaced, flags: `g`eneration, `s`tatus subresource.
type Row = (&'static str, &'static str, bool, &'static str);

/// Groups and kinds as API server 1.34 serves them by default, as far as manifests use them. Kinds that only answer (reviews, `Binding`)
/// are left out.
const TABLE: &[(&str, &[&str], &[Row])] = &[
    (
        "",
        &["v1"],
        &[
            ("ConfigMap", "configmaps", true, ""),
            ("Endpoints", "endpoints", true, ""),
            ("Event", "events", true, ""),
            ("LimitRange", "limitranges", true, ""),
            ("Namespace", "namespaces", false, "s"),
            ("Node", "nodes", false, "s"),
            ("PersistentVolume", "persistentvolumes", false, "s"),
            ("PersistentVolumeClaim", "persistentvolumeclaims", true, "s"),
            ("Pod", "pods", true, "gs"),
            ("PodTemplate", "podtemplates", true, "g"),
            (
                "ReplicationController",
                "replicationcontrollers",
                true,
                "gs",
            ),
            ("ResourceQuota", "resourcequotas", true, "s"),
            ("Secret", "secrets", true, ""),
            ("Service", "services", true, "s"),
            ("ServiceAccount", "serviceaccounts", true, ""),
        ],
    ),
    (
        "apps",
        &["v1"],
        &[
            ("ControllerRevision", "controllerrevisions", true, ""),
            ("DaemonSet", "daemonsets", true, "gs"),
            ("Deployment", "deployments", true, "gs"),
            ("ReplicaSet", "replicasets", true, "gs"),
            ("StatefulSet", "statefulsets", true, "gs"),
        ],
    ),
    (
        "batch",
        &["v1"],
        &[
            ("CronJob", "cronjobs", true, "gs"),
            ("Job", "jobs", true, "gs"),
        ],
    ),
    (
        "autoscaling",
        &["v2", "v1"],
        &[(
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            true,
            "s",
        )],
    ),
    (
        "networking.k8s.io",
        &["v1"],
        &[
            ("Ingress", "ingresses", true, "gs"),
            ("IngressClass", "ingressclasses", false, "g"),
            ("IPAddress", "ipaddresses", false, ""),
            ("NetworkPolicy", "networkpolicies", true, "g"),
            ("ServiceCIDR", "servicecidrs", false, "s"),
        ],
    ),
    (
        "rbac.authorization.k8s.io",
        &["v1"],
        &[
            ("ClusterRole", "clusterroles", false, ""),
            ("ClusterRoleBinding", "clusterrolebindings", false, ""),
            ("Role", "roles", true, ""),
            ("RoleBinding", "rolebindings", true, ""),
        ],
    ),
    (
        "policy",
        &["v1"],
        &[("PodDisruptionBudget", "poddisruptionbudgets", true, "gs")],
    ),
    (
        "storage.k8s.io",
        &["v1"],
        &[
            ("CSIDriver", "csidrivers", false, ""),
            ("CSINode", "csinodes", false, ""),
            ("CSIStorageCapacity", "csistoragecapacities", true, ""),
            ("StorageClass", "storageclasses", false, ""),
            ("VolumeAttachment", "volumeattachments", false, "s"),
            (
                "VolumeAttributesClass",
                "volumeattributesclasses",
                false,
                "",
            ),
        ],
    ),
    (
        "apiextensions.k8s.io",
        &["v1"],
        &[(
            "CustomResourceDefinition",
            "customresourcedefinitions",
            false,
            "gs",
        )],
    ),
    (
        "apiregistration.k8s.io",
        &["v1"],
        &[("APIService", "apiservices", false, "s")],
    ),
    (
        "admissionregistration.k8s.io",
        &["v1"],
        &[
            (
                "MutatingWebhookConfiguration",
                "mutatingwebhookconfigurations",
                false,
                "g",
            ),
            (
                "ValidatingAdmissionPolicy",
                "validatingadmissionpolicies",
                false,
                "gs",
            ),
            (
                "ValidatingAdmissionPolicyBinding",
                "validatingadmissionpolicybindings",
                false,
                "g",
            ),
            (
                "ValidatingWebhookConfiguration",
                "validatingwebhookconfigurations",
                false,
                "g",
            ),
        ],
    ),
    (
        "scheduling.k8s.io",
        &["v1"],
        &[("PriorityClass", "priorityclasses", false, "g")],
    ),
    (
        "coordination.k8s.io",
        &["v1"],
        &[("Lease", "leases", true, "")],
    ),
    (
        "discovery.k8s.io",
        &["v1"],
        &[("EndpointSlice", "endpointslices", true, "g")],
    ),
    ("events.k8s.io", &["v1"], &[("Event", "events", true, "")]),
    (
        "node.k8s.io",
        &["v1"],
        &[("RuntimeClass", "runtimeclasses", false, "")],
    ),
    (
        "resource.k8s.io",
        &["v1"],
        &[
            ("DeviceClass", "deviceclasses", false, "g"),
            ("ResourceClaim", "resourceclaims", true, "s"),
            ("ResourceClaimTemplate", "resourceclaimtemplates", true, ""),
            ("ResourceSlice", "resourceslices", false, "g"),
        ],
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        &["v1"],
        &[
            ("FlowSchema", "flowschemas", false, "gs"),
            (
                "PriorityLevelConfiguration",
                "prioritylevelconfigurations",
                false,
                "gs",
            ),
        ],
    ),
    (
        "certificates.k8s.io",
        &["v1"],
        &[(
            "CertificateSigningRequest",
            "certificatesigningrequests",
            false,
            "s",
        )],
    ),
];
