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
            if matches!(schema.shape, Shape::Keys(_)) {
                schema = &mut **schema.items.get_or_insert_default();
            }
            schema = schema.fields.entry(name.to_owned()).or_default();
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
        schema.rules("status", &[("conditions", "type")]);
        let template = match (group, kind) {
            ("", "Pod") => {
                schema.rules("spec", POD);
                None
            }
            ("batch", "CronJob") => {
                schema.rules(
                    "spec.jobTemplate",
                    &[
                        ("metadata.ownerReferences", "uid"),
                        ("spec.selector", "atomic"),
                    ],
                );
                Some("spec.jobTemplate.spec.template")
            }
            ("apps", _) | ("batch", "Job") | ("", "ReplicationController") => Some("spec.template"),
            ("", "PodTemplate") => Some("template"),
            _ => None,
        };
        if let Some(template) = template {
            schema.rules(&format!("{template}.metadata"), METADATA);
            schema.rules(&format!("{template}.spec"), POD);
        }
        let more: &[(&str, &str)] = match (group, kind) {
            ("apps", _)
            | ("batch", "Job")
            | ("policy", "PodDisruptionBudget")
            | ("", "ReplicationController") => &[("spec.selector", "atomic")],
            ("", "Service") => &[
                ("spec.ports", "port,protocol=TCP"),
                ("spec.selector", "atomic"),
            ],
            ("", "ServiceAccount") => &[("secrets", "name")],
            ("", "PersistentVolumeClaim") => &[
                ("spec.selector", "atomic"),
                ("spec.dataSource", "atomic"),
                ("status.allocatedResources", "atomic"),
            ],
            ("", "PersistentVolume") => &[
                ("spec.claimRef", "atomic"),
                ("spec.nodeAffinity.required", "atomic"),
            ],
            ("", "Node") => &[
                ("spec.podCIDRs", "set"),
                ("status.addresses", "type"),
                ("status.conditions", "type"),
            ],
            ("networking.k8s.io", "NetworkPolicy") => &[("spec.podSelector", "atomic")],
            ("networking.k8s.io", "Ingress") => &[("spec.defaultBackend.resource", "atomic")],
            ("rbac.authorization.k8s.io", _) => &[("roleRef", "atomic")],
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration")
            | ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => &[
                ("webhooks", "name"),
                ("webhooks.namespaceSelector", "atomic"),
                ("webhooks.objectSelector", "atomic"),
                ("webhooks.matchConditions", "name"),
            ],
            ("discovery.k8s.io", "EndpointSlice") => &[],
            _ => &[],
        };
        schema.rules("", more);
        schema
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

const METADATA: &[(&str, &str)] = &[("ownerReferences", "uid"), ("finalizers", "set")];

/// `core/v1 PodSpec`.
const POD: &[(&str, &str)] = &[
    ("containers", "name"),
    ("containers.ports", "containerPort,protocol=TCP"),
    ("containers.env", "name"),
    ("containers.env.valueFrom.configMapKeyRef", "atomic"),
    ("containers.env.valueFrom.secretKeyRef", "atomic"),
    ("containers.env.valueFrom.fieldRef", "atomic"),
    ("containers.env.valueFrom.resourceFieldRef", "atomic"),
    ("containers.volumeMounts", "mountPath"),
    ("containers.volumeDevices", "devicePath"),
    ("containers.resources.claims", "name"),
    ("initContainers", "name"),
    ("initContainers.ports", "containerPort,protocol=TCP"),
    ("initContainers.env", "name"),
    ("initContainers.env.valueFrom.configMapKeyRef", "atomic"),
    ("initContainers.env.valueFrom.secretKeyRef", "atomic"),
    ("initContainers.env.valueFrom.fieldRef", "atomic"),
    ("initContainers.env.valueFrom.resourceFieldRef", "atomic"),
    ("initContainers.volumeMounts", "mountPath"),
    ("initContainers.volumeDevices", "devicePath"),
    ("initContainers.resources.claims", "name"),
    ("ephemeralContainers", "name"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("nodeSelector", "atomic"),
    ("topologySpreadConstraints", "topologyKey,whenUnsatisfiable"),
    ("topologySpreadConstraints.labelSelector", "atomic"),
    ("schedulingGates", "name"),
    ("resourceClaims", "name"),
    (
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution",
        "atomic",
    ),
];
