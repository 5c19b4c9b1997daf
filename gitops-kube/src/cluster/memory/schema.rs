//! How values merge: which lists have keys, which are sets, which lists and maps are one leaf.
//!
//! For built-in kinds this is a table read off the API types' `+listType`, `+listMapKey` and `+mapType` markers (Kubernetes 1.34); what is
//! not in it merges as the type system's default: maps field by field, lists as one leaf. For custom resources it is the
//! CRD's own schema.

use std::collections::BTreeMap;

use serde_json::{Value, json};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Shape {
    /// A map merges field by field, a list is one leaf.
    #[default]
    Plain,
    /// One leaf.
    Atomic,
    /// A list of distinct scalars.
    Set,
    /// A list whose items these fields tell apart; some have defaults.
    Keys(Vec<(String, Option<Value>)>),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Schema {
    pub(super) shape: Shape,
    fields: BTreeMap<String, Schema>,
    /// Of a list's items, or of the values of a map's free keys.
    items: Option<Box<Schema>>,
    /// What is not in `fields` is an entry of a map, which counts as a field of its own when it is applied.
    entries: bool,
}

static PLAIN: Schema = Schema {
    shape: Shape::Plain,
    fields: BTreeMap::new(),
    items: None,
    entries: false,
};

/// What a custom resource's schema does not describe.
static FREE: Schema = Schema {
    shape: Shape::Plain,
    fields: BTreeMap::new(),
    items: None,
    entries: true,
};

impl Schema {
    pub(super) fn field(&self, name: &str) -> &Schema {
        self.fields.get(name).unwrap_or_else(|| self.item())
    }

    /// Whether a child is an entry of a map.
    pub(super) fn is_entry(&self, name: &str) -> bool {
        self.entries && !self.fields.contains_key(name)
    }

    pub(super) fn item(&self) -> &Schema {
        let other = if self.entries { &FREE } else { &PLAIN };
        self.items.as_deref().unwrap_or(other)
    }

    fn at(&mut self, path: &str) -> &mut Schema {
        let mut schema = self;
        for name in path.split('.').filter(|name| !name.is_empty()) {
            schema = match name {
                "[]" => &mut **schema.items.get_or_insert_default(),
                name => schema.fields.entry(name.to_owned()).or_default(),
            };
        }
        schema
    }

    fn rules(&mut self, prefix: &str, rules: &[(&str, &str)]) {
        for (path, rule) in rules {
            self.at(&format!("{prefix}.{path}")).shape = match *rule {
                "atomic" => Shape::Atomic,
                "set" => Shape::Set,
                keys => Shape::Keys(
                    keys.split(',')
                        .map(|key| match key.split_once('=') {
                            Some((key, default)) => (key.to_owned(), Some(json!(default))),
                            None => (key.to_owned(), None),
                        })
                        .collect(),
                ),
            };
        }
    }

    /// The schema of a built-in kind.
    pub(super) fn of_builtin(group: &str, kind: &str) -> Self {
        let mut schema = Self::default();
        schema.rules("metadata", METADATA);
        let template = match (group, kind) {
            ("batch", "CronJob") => {
                schema.rules("spec.jobTemplate.metadata", METADATA);
                Some("spec.jobTemplate.spec.template")
            }
            ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
            | ("batch", "Job")
            | ("", "ReplicationController") => Some("spec.template"),
            ("", "PodTemplate") => Some("template"),
            _ => None,
        };
        if let Some(template) = template {
            schema.rules(&format!("{template}.metadata"), METADATA);
            schema.pod(&format!("{template}.spec"));
        }
        match (group, kind) {
            ("", "Pod") => schema.pod("spec"),
            ("", "PersistentVolume") => schema.rules("spec", VOLUME),
            ("storage.k8s.io", "VolumeAttachment") => {
                schema.rules("spec.source.inlineVolumeSpec", VOLUME);
            }
            ("resource.k8s.io", "ResourceClaimTemplate") => {
                schema.rules("spec.metadata", METADATA);
            }
            _ => {}
        }
        for (groups, kinds, rules) in KINDS {
            if *groups == group && kinds.contains(&kind) {
                schema.rules("", rules);
            }
        }
        schema
    }

    fn pod(&mut self, path: &str) {
        self.rules(path, POD);
        for containers in ["containers", "initContainers", "ephemeralContainers"] {
            self.rules(&format!("{path}.{containers}.[]"), CONTAINER);
        }
        let claim = "volumes.[].ephemeral.volumeClaimTemplate.metadata";
        self.rules(&format!("{path}.{claim}"), METADATA);
    }

    /// The schema of a custom resource from its `openAPIV3Schema` (`x-kubernetes-list-type`, `x-kubernetes-list-map-keys`,
    /// `x-kubernetes-map-type`).
    pub(super) fn of_custom(openapi: &Value) -> Self {
        let mut schema = Self::from_openapi(openapi);
        schema.fields.insert("metadata".into(), Self::default());
        for field in ["apiVersion", "kind"] {
            schema.fields.insert(field.into(), Self::default());
        }
        schema.rules("metadata", METADATA);
        schema
    }

    fn from_openapi(openapi: &Value) -> Self {
        let text = |key: &str| openapi.get(key).and_then(Value::as_str).unwrap_or_default();
        let shape = match (
            text("x-kubernetes-list-type"),
            text("x-kubernetes-map-type"),
        ) {
            ("set", _) => Shape::Set,
            ("map", _) => Shape::Keys(
                openapi["x-kubernetes-list-map-keys"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(|key| {
                        let default = openapi.pointer(&format!("/items/properties/{key}/default"));
                        (key.to_owned(), default.cloned())
                    })
                    .collect(),
            ),
            ("atomic", _) | (_, "atomic") => Shape::Atomic,
            _ => Shape::Plain,
        };
        Self {
            shape,
            fields: openapi
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(name, property)| (name.clone(), Self::from_openapi(property)))
                .collect(),
            items: openapi
                .get("items")
                .or_else(|| openapi.get("additionalProperties"))
                .filter(|items| items.is_object())
                .map(|items| Box::new(Self::from_openapi(items))),
            entries: true,
        }
    }
}

// The tables hold what `/openapi/v2` of API server 1.34.4 says; `[]` are the items of a list.

const METADATA: &[(&str, &str)] = &[
    ("ownerReferences", "uid"),
    ("ownerReferences.[]", "atomic"),
    ("finalizers", "set"),
];

/// `core/v1 PodSpec`, without its containers.
const POD: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("volumes", "name"),
    ("volumes.[].cephfs.secretRef", "atomic"),
    ("volumes.[].cinder.secretRef", "atomic"),
    ("volumes.[].csi.nodePublishSecretRef", "atomic"),
    (
        "volumes.[].ephemeral.volumeClaimTemplate.spec.dataSource",
        "atomic",
    ),
    (
        "volumes.[].ephemeral.volumeClaimTemplate.spec.selector",
        "atomic",
    ),
    ("volumes.[].flexVolume.secretRef", "atomic"),
    ("volumes.[].iscsi.secretRef", "atomic"),
    ("volumes.[].rbd.secretRef", "atomic"),
    ("volumes.[].scaleIO.secretRef", "atomic"),
    ("volumes.[].storageos.secretRef", "atomic"),
    ("imagePullSecrets", "name"),
    ("imagePullSecrets.[]", "atomic"),
    ("hostAliases", "ip"),
    ("nodeSelector", "atomic"),
    ("topologySpreadConstraints", "topologyKey,whenUnsatisfiable"),
    ("topologySpreadConstraints.[].labelSelector", "atomic"),
    ("schedulingGates", "name"),
    ("resourceClaims", "name"),
    ("resources.claims", "name"),
    (
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution",
        "atomic",
    ),
];

const CONTAINER: &[(&str, &str)] = &[
    ("ports", "containerPort,protocol=TCP"),
    ("env", "name"),
    ("env.[].valueFrom.configMapKeyRef", "atomic"),
    ("env.[].valueFrom.secretKeyRef", "atomic"),
    ("env.[].valueFrom.fieldRef", "atomic"),
    ("env.[].valueFrom.fileKeyRef", "atomic"),
    ("env.[].valueFrom.resourceFieldRef", "atomic"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("resources.claims", "name"),
];

/// `core/v1 PersistentVolumeSpec`.
const VOLUME: &[(&str, &str)] = &[
    ("cephfs.secretRef", "atomic"),
    ("cinder.secretRef", "atomic"),
    ("csi.controllerExpandSecretRef", "atomic"),
    ("csi.controllerPublishSecretRef", "atomic"),
    ("csi.nodeExpandSecretRef", "atomic"),
    ("csi.nodePublishSecretRef", "atomic"),
    ("csi.nodeStageSecretRef", "atomic"),
    ("flexVolume.secretRef", "atomic"),
    ("iscsi.secretRef", "atomic"),
    ("nodeAffinity.required", "atomic"),
    ("rbd.secretRef", "atomic"),
    ("scaleIO.secretRef", "atomic"),
    ("storageos.secretRef", "atomic"),
];

type Rules = &'static [(&'static str, &'static str)];

const CONDITIONS: Rules = &[("status.conditions", "type")];

/// What is special to kinds: group, kinds, rules.
const KINDS: &[(&str, &[&str], Rules)] = &[
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ],
        &[
            ("webhooks", "name"),
            ("webhooks.[].matchConditions", "name"),
            ("webhooks.[].namespaceSelector", "atomic"),
            ("webhooks.[].objectSelector", "atomic"),
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &["ValidatingAdmissionPolicy"],
        &[
            ("spec.matchConditions", "name"),
            ("spec.matchConstraints", "atomic"),
            ("spec.paramKind", "atomic"),
            ("spec.variables", "name"),
            ("spec.variables.[]", "atomic"),
            ("status.conditions", "type"),
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &["ValidatingAdmissionPolicyBinding"],
        &[
            ("spec.matchResources", "atomic"),
            ("spec.paramRef", "atomic"),
            ("spec.validationActions", "set"),
        ],
    ),
    (
        "apiextensions.k8s.io",
        &["CustomResourceDefinition"],
        CONDITIONS,
    ),
    ("apiregistration.k8s.io", &["APIService"], CONDITIONS),
    (
        "apps",
        &["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"],
        &[("spec.selector", "atomic"), ("status.conditions", "type")],
    ),
    ("autoscaling", &["HorizontalPodAutoscaler"], CONDITIONS),
    (
        "batch",
        &["CronJob"],
        &[("spec.jobTemplate.spec.selector", "atomic")],
    ),
    (
        "batch",
        &["Job"],
        &[
            ("spec.selector", "atomic"),
            ("status.uncountedTerminatedPods.failed", "set"),
            ("status.uncountedTerminatedPods.succeeded", "set"),
        ],
    ),
    (
        "certificates.k8s.io",
        &["CertificateSigningRequest"],
        CONDITIONS,
    ),
    (
        "events.k8s.io",
        &["Event"],
        &[("regarding", "atomic"), ("related", "atomic")],
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        &["FlowSchema", "PriorityLevelConfiguration"],
        CONDITIONS,
    ),
    (
        "networking.k8s.io",
        &["Ingress"],
        &[
            ("spec.defaultBackend.resource", "atomic"),
            ("spec.defaultBackend.service.port", "atomic"),
        ],
    ),
    (
        "networking.k8s.io",
        &["NetworkPolicy"],
        &[("spec.podSelector", "atomic")],
    ),
    ("networking.k8s.io", &["ServiceCIDR"], CONDITIONS),
    (
        "node.k8s.io",
        &["RuntimeClass"],
        &[("scheduling.nodeSelector", "atomic")],
    ),
    (
        "policy",
        &["PodDisruptionBudget"],
        &[("spec.selector", "atomic"), ("status.conditions", "type")],
    ),
    (
        "rbac.authorization.k8s.io",
        &["ClusterRoleBinding", "RoleBinding"],
        &[("roleRef", "atomic")],
    ),
    (
        "resource.k8s.io",
        &["ResourceClaim"],
        &[
            ("status.allocation.nodeSelector", "atomic"),
            ("status.devices", "driver,device,pool,shareID"),
            ("status.devices.[].conditions", "type"),
            ("status.reservedFor", "uid"),
        ],
    ),
    (
        "resource.k8s.io",
        &["ResourceSlice"],
        &[("spec.nodeSelector", "atomic")],
    ),
    (
        "storage.k8s.io",
        &["CSIDriver"],
        &[("spec.volumeLifecycleModes", "set")],
    ),
    ("storage.k8s.io", &["CSINode"], &[("spec.drivers", "name")]),
    (
        "storage.k8s.io",
        &["CSIStorageCapacity"],
        &[("nodeTopology", "atomic")],
    ),
    (
        "",
        &["Event"],
        &[("involvedObject", "atomic"), ("related", "atomic")],
    ),
    ("", &["Namespace"], CONDITIONS),
    (
        "",
        &["Node"],
        &[
            ("spec.podCIDRs", "set"),
            ("status.addresses", "type"),
            ("status.conditions", "type"),
        ],
    ),
    (
        "",
        &["PersistentVolumeClaim"],
        &[
            ("spec.dataSource", "atomic"),
            ("spec.selector", "atomic"),
            ("status.conditions", "type"),
        ],
    ),
    (
        "",
        &["Pod"],
        &[
            ("status.conditions", "type"),
            ("status.podIPs", "ip"),
            ("status.resourceClaimStatuses", "name"),
        ],
    ),
    (
        "",
        &["ReplicationController"],
        &[("spec.selector", "atomic"), ("status.conditions", "type")],
    ),
    ("", &["ResourceQuota"], &[("spec.scopeSelector", "atomic")]),
    (
        "",
        &["Service"],
        &[
            ("spec.ports", "port,protocol=TCP"),
            ("spec.selector", "atomic"),
            ("status.conditions", "type"),
        ],
    ),
    (
        "",
        &["ServiceAccount"],
        &[("secrets", "name"), ("secrets.[]", "atomic")],
    ),
];
