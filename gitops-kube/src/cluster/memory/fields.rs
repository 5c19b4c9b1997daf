//! Which fields an object may have, and of what type: built-in kinds by k8s-openapi's types (of the Kubernetes version that the application
//! chose), custom ones by their definition's schema.

use gitops_core::manifest::ObjectId;
use gitops_core::{Error, Result};
use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, autoscaling, batch::v1 as batch,
    certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, flowcontrol::v1 as flowcontrol,
    networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
    scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kinds::Kind;
use super::openapi::{self, Check};
use crate::cluster::FieldValidation;

/// Checks the types, and drops or refuses what the kind does not know.
///
/// # Errors
/// `InvalidInput` for a field of the wrong type, and with strict validation for an unknown one.
pub(super) fn conform(kind: &Kind, value: &mut Value, validation: FieldValidation) -> Result<()> {
    let unknown = unknown(kind, Check::All, value)?;
    if unknown.is_empty() {
        return Ok(());
    }
    if validation == FieldValidation::Strict {
        let fields: Vec<String> = unknown
            .iter()
            .map(|path| format!("unknown field {:?}", display(path)))
            .collect();
        return Err(Error::invalid(format!(
            "{0} in version {1:?} cannot be handled as a {0}: strict decoding error: {2}",
            kind.api.gvk.kind,
            kind.api.gvk.version,
            fields.join(", ")
        )));
    }
    for path in &unknown {
        remove(value, path);
    }
    Ok(())
}

/// Checks an applied configuration: unknown fields are always refused.
///
/// # Errors
/// `InvalidInput`.
pub(super) fn conform_applied(kind: &Kind, id: &ObjectId, value: &mut Value) -> Result<()> {
    let unknown = unknown(kind, Check::Types, value)?;
    if unknown.is_empty() {
        return Ok(());
    }
    let place = if id.namespace.is_empty() {
        format!("/{}", id.name)
    } else {
        format!("{}/{}", id.namespace, id.name)
    };
    let fields: Vec<String> = unknown
        .iter()
        .map(|path| format!(".{}: field not declared in schema", display(path)))
        .collect();
    Err(Error::invalid(format!(
        "failed to create typed patch object ({place}; {}/{}, Kind={}): {}",
        kind.api.gvk.group,
        kind.api.gvk.version,
        kind.api.gvk.kind,
        fields.join(", ")
    )))
}

/// Sets a custom resource's defaults and checks it as a whole, once an applied configuration is merged into it.
///
/// # Errors
/// `InvalidInput`.
pub(super) fn complete(kind: &Kind, value: &mut Value) -> Result<()> {
    match &kind.openapi {
        Some(schema) => openapi::conform(kind, schema, Check::All, value, &mut Vec::new()),
        None => Ok(()),
    }
}

/// Drops the empty lists and maps that a typed object loses on its way through the store.
pub(super) fn drop_empty(kind: &Kind, value: &mut Value) {
    // Definitions and custom resources are stored as JSON.
    if kind.openapi.is_none() && kind.api.gvk.group != "apiextensions.k8s.io" {
        hollow(value);
        // A map here, not a selector's struct.
        if matches!(&*kind.api.gvk.kind, "Service" | "ReplicationController")
            && let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut)
            && spec
                .get("selector")
                .and_then(Value::as_object)
                .is_some_and(serde_json::Map::is_empty)
        {
            spec.remove("selector");
        }
    }
}

fn hollow(value: &mut Value) {
    const MAPS: [&str; 9] = [
        "labels",
        "annotations",
        "data",
        "binaryData",
        "stringData",
        "matchLabels",
        "nodeSelector",
        "limits",
        "requests",
    ];
    match value {
        Value::Object(map) => {
            map.retain(|name, value| match value {
                Value::Array(items) => !items.is_empty(),
                Value::Object(entries) => !entries.is_empty() || !MAPS.contains(&name.as_str()),
                _ => true,
            });
            for (_, value) in map.iter_mut().filter(|(name, _)| *name != "managedFields") {
                hollow(value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hollow),
        _ => {}
    }
}

/// One step of a path to a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Field(String),
    Index(usize),
}

/// The path to a field.
pub(super) type Path = Vec<Part>;

pub(super) fn display(path: &[Part]) -> String {
    let mut text = String::new();
    for part in path {
        match part {
            Part::Field(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Part::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

fn remove(value: &mut Value, path: &[Part]) {
    match path {
        [Part::Field(name)] => {
            if let Some(map) = value.as_object_mut() {
                map.remove(name);
            }
        }
        [Part::Field(name), rest @ ..] => {
            if let Some(value) = value.get_mut(name) {
                remove(value, rest);
            }
        }
        [Part::Index(index), rest @ ..] => {
            if let Some(value) = value.get_mut(*index) {
                remove(value, rest);
            }
        }
        [] => {}
    }
}

fn unknown(kind: &Kind, check: Check, value: &mut Value) -> Result<Vec<Path>> {
    let mut unknown = Vec::new();
    if let Some(schema) = &kind.openapi {
        let metadata = value.get("metadata").cloned().unwrap_or_default();
        let known = round_trip::<ObjectMeta>(&metadata).map_err(|error| wrong(kind, &error))?;
        let mut path = vec![Part::Field("metadata".into())];
        compare(&metadata, &known, &mut path, &mut unknown);
        openapi::conform(kind, schema, check, value, &mut unknown)?;
        return Ok(unknown);
    }
    texts_for_quantities(value);
    // Go reads a null in a map of texts as an empty text.
    for field in ["data", "stringData", "binaryData"] {
        for text in value
            .get_mut(field)
            .and_then(Value::as_object_mut)
            .into_iter()
            .flat_map(|map| map.values_mut())
            .filter(|text| text.is_null())
        {
            *text = "".into();
        }
    }
    let gvk = &kind.api.gvk;
    let Some(known) = typed(&gvk.group, &gvk.version, &gvk.kind, value) else {
        return Ok(unknown);
    };
    let known = known.map_err(|error| wrong(kind, &error))?;
    compare(value, &known, &mut Vec::new(), &mut unknown);
    Ok(unknown)
}

fn wrong(kind: &Kind, error: &serde_json::Error) -> Error {
    let name = &kind.api.gvk.kind;
    // The decoder quotes values.
    let reason = if name == "Secret" {
        "a field has the wrong type".to_owned()
    } else {
        error.to_string()
    };
    Error::invalid(format!(
        "{name} in version {:?} cannot be handled as a {name}: {reason}",
        kind.api.gvk.version
    ))
}

/// What `given` has and `known` lost.
fn compare(given: &Value, known: &Value, path: &mut Path, unknown: &mut Vec<Path>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given {
                path.push(Part::Field(name.clone()));
                match known.get(name) {
                    Some(known) => compare(value, known, path, unknown),
                    None if value.is_null() => {}
                    None => unknown.push(path.clone()),
                }
                path.pop();
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                path.push(Part::Index(index));
                compare(given, known, path, unknown);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The server takes numbers where a quantity belongs, and stores texts (apimachinery, `pkg/api/resource`).
fn texts_for_quantities(value: &mut Value) {
    const MAPS: [&str; 9] = [
        "limits",
        "requests",
        "hard",
        "capacity",
        "allocatable",
        "max",
        "min",
        "default",
        "defaultRequest",
    ];
    const SCALARS: [&str; 3] = ["sizeLimit", "averageValue", "divisor"];
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if SCALARS.contains(&name.as_str()) && value.is_number() {
                    *value = value.to_string().into();
                } else if MAPS.contains(&name.as_str())
                    && let Value::Object(quantities) = value
                {
                    for quantity in quantities.values_mut().filter(|value| value.is_number()) {
                        *quantity = quantity.to_string().into();
                    }
                } else if name != "openAPIV3Schema" && name != "data" {
                    texts_for_quantities(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(texts_for_quantities),
        _ => {}
    }
}

fn round_trip<T: DeserializeOwned + Serialize>(value: &Value) -> serde_json::Result<Value> {
    serde_json::to_value(T::deserialize(value)?)
}

macro_rules! table {
    ($group:expr, $version:expr, $kind:expr, $value:expr; $(($($pattern:pat_param),+) => $type:ty,)+) => {
        match ($group, $version, $kind) {
            $(($($pattern),+) => Some(round_trip::<$type>($value)),)+
            _ => None,
        }
    };
}

fn typed(
    group: &str,
    version: &str,
    kind: &str,
    value: &Value,
) -> Option<serde_json::Result<Value>> {
    table! { group, version, kind, value;
        ("", _, "ConfigMap") => core::ConfigMap,
        ("", _, "Endpoints") => core::Endpoints,
        ("", _, "Event") => core::Event,
        ("", _, "LimitRange") => core::LimitRange,
        ("", _, "Namespace") => core::Namespace,
        ("", _, "Node") => core::Node,
        ("", _, "PersistentVolume") => core::PersistentVolume,
        ("", _, "PersistentVolumeClaim") => core::PersistentVolumeClaim,
        ("", _, "Pod") => core::Pod,
        ("", _, "PodTemplate") => core::PodTemplate,
        ("", _, "ReplicationController") => core::ReplicationController,
        ("", _, "ResourceQuota") => core::ResourceQuota,
        ("", _, "Secret") => core::Secret,
        ("", _, "Service") => core::Service,
        ("", _, "ServiceAccount") => core::ServiceAccount,
        ("apps", _, "ControllerRevision") => apps::ControllerRevision,
        ("apps", _, "DaemonSet") => apps::DaemonSet,
        ("apps", _, "Deployment") => apps::Deployment,
        ("apps", _, "ReplicaSet") => apps::ReplicaSet,
        ("apps", _, "StatefulSet") => apps::StatefulSet,
        ("batch", _, "CronJob") => batch::CronJob,
        ("batch", _, "Job") => batch::Job,
        ("autoscaling", "v2", "HorizontalPodAutoscaler") => autoscaling::v2::HorizontalPodAutoscaler,
        ("autoscaling", "v1", "HorizontalPodAutoscaler") => autoscaling::v1::HorizontalPodAutoscaler,
        ("networking.k8s.io", _, "Ingress") => networking::Ingress,
        ("networking.k8s.io", _, "IngressClass") => networking::IngressClass,
        ("networking.k8s.io", _, "NetworkPolicy") => networking::NetworkPolicy,
        ("rbac.authorization.k8s.io", _, "ClusterRole") => rbac::ClusterRole,
        ("rbac.authorization.k8s.io", _, "ClusterRoleBinding") => rbac::ClusterRoleBinding,
        ("rbac.authorization.k8s.io", _, "Role") => rbac::Role,
        ("rbac.authorization.k8s.io", _, "RoleBinding") => rbac::RoleBinding,
        ("policy", _, "PodDisruptionBudget") => policy::PodDisruptionBudget,
        ("storage.k8s.io", _, "CSIDriver") => storage::CSIDriver,
        ("storage.k8s.io", _, "CSINode") => storage::CSINode,
        ("storage.k8s.io", _, "StorageClass") => storage::StorageClass,
        ("storage.k8s.io", _, "VolumeAttachment") => storage::VolumeAttachment,
        ("apiextensions.k8s.io", _, "CustomResourceDefinition") => apiextensions::CustomResourceDefinition,
        ("apiregistration.k8s.io", _, "APIService") => apiregistration::APIService,
        ("admissionregistration.k8s.io", _, "MutatingWebhookConfiguration") => admission::MutatingWebhookConfiguration,
        ("admissionregistration.k8s.io", _, "ValidatingWebhookConfiguration") => admission::ValidatingWebhookConfiguration,
        ("admissionregistration.k8s.io", _, "ValidatingAdmissionPolicy") => admission::ValidatingAdmissionPolicy,
        ("admissionregistration.k8s.io", _, "ValidatingAdmissionPolicyBinding") => admission::ValidatingAdmissionPolicyBinding,
        ("scheduling.k8s.io", _, "PriorityClass") => scheduling::PriorityClass,
        ("coordination.k8s.io", _, "Lease") => coordination::Lease,
        ("discovery.k8s.io", _, "EndpointSlice") => discovery::EndpointSlice,
        ("events.k8s.io", _, "Event") => events::Event,
        ("node.k8s.io", _, "RuntimeClass") => node::RuntimeClass,
        ("flowcontrol.apiserver.k8s.io", _, "FlowSchema") => flowcontrol::FlowSchema,
        ("flowcontrol.apiserver.k8s.io", _, "PriorityLevelConfiguration") => flowcontrol::PriorityLevelConfiguration,
        ("certificates.k8s.io", _, "CertificateSigningRequest") => certificates::CertificateSigningRequest,
    }
}
