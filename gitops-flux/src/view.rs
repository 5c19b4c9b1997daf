//! What these calls read of Flux's objects, whatever version they are served in: objects as JSON, so that one unreadable object does not hide the others.

use gitops_core::Result;
use gitops_core::manifest::{GroupVersionKind, Object, ObjectId};
use gitops_kube::cluster::{ApiKind, Cluster, ListParams, Scope};
use jiff::Timestamp;
use serde_json::Value;

pub(crate) const SOURCE: &str = "source.toolkit.fluxcd.io";
pub(crate) const KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io";
pub(crate) const HELM: &str = "helm.toolkit.fluxcd.io";
pub(crate) const NOTIFICATION: &str = "notification.toolkit.fluxcd.io";
pub(crate) const IMAGE: &str = "image.toolkit.fluxcd.io";

/// Who writes, as `managedFields` show it.
pub(crate) const MANAGER: &str = "gitops-rs";

/// Objects per page of a list.
const PAGE: u32 = 500;

/// Flux's kinds in the versions of Flux 2.7, in the order of `flux stats`.
pub(crate) const KINDS: [(&str, &str, &str, &str); 14] = [
    (SOURCE, "v1", "GitRepository", "gitrepositories"),
    (SOURCE, "v1", "OCIRepository", "ocirepositories"),
    (SOURCE, "v1", "HelmRepository", "helmrepositories"),
    (SOURCE, "v1", "HelmChart", "helmcharts"),
    (SOURCE, "v1", "Bucket", "buckets"),
    (KUSTOMIZE, "v1", "Kustomization", "kustomizations"),
    (HELM, "v2", "HelmRelease", "helmreleases"),
    (NOTIFICATION, "v1beta3", "Alert", "alerts"),
    (NOTIFICATION, "v1beta3", "Provider", "providers"),
    (NOTIFICATION, "v1", "Receiver", "receivers"),
    (
        IMAGE,
        "v1",
        "ImageUpdateAutomation",
        "imageupdateautomations",
    ),
    (IMAGE, "v1", "ImagePolicy", "imagepolicies"),
    (IMAGE, "v1", "ImageRepository", "imagerepositories"),
    (SOURCE, "v1", "ExternalArtifact", "externalartifacts"),
];

/// One of Flux's kinds by its name, as it is served: no discovery is needed.
pub(crate) fn kind(name: &str) -> Option<ApiKind> {
    KINDS
        .iter()
        .find(|(_, _, kind, _)| *kind == name)
        .map(|(group, version, kind, plural)| ApiKind {
            gvk: GroupVersionKind::new(*group, *version, *kind),
            plural: (*plural).to_owned(),
            scope: Scope::Namespaced,
            verbs: Vec::new(),
        })
}

/// One of Flux's kinds, if group and name are.
pub(crate) fn flux_kind(group: &str, name: &str) -> Option<ApiKind> {
    kind(name).filter(|kind| kind.gvk.group == group)
}

pub(crate) fn kustomization(namespace: &str, name: &str) -> ObjectId {
    ObjectId::new(KUSTOMIZE, "Kustomization", namespace, name)
}

pub(crate) fn helm_release(namespace: &str, name: &str) -> ObjectId {
    ObjectId::new(HELM, "HelmRelease", namespace, name)
}

pub(crate) fn is(id: &ObjectId, group: &str, kind: &str) -> bool {
    id.group == group && id.kind == kind
}

/// The text at a path of keys; nothing where there is none, or an empty one.
pub(crate) fn text<'a>(object: &'a Object, path: &[&str]) -> Option<&'a str> {
    at(object, path)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// The value at a path of keys.
pub(crate) fn at<'a>(object: &'a Object, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(object.value().get(*first)?, |value, key| value.get(key))
}

pub(crate) fn suspended(object: &Object) -> bool {
    at(object, &["spec", "suspend"]).and_then(Value::as_bool) == Some(true)
}

/// Whether it delivers to another cluster than the one it is in.
pub(crate) fn is_remote(object: &Object) -> bool {
    at(object, &["spec", "kubeConfig"]).is_some_and(|value| !value.is_null())
}

/// A condition of `status.conditions`.
pub(crate) struct Condition<'a> {
    /// None when it is Unknown.
    pub(crate) is: Option<bool>,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    pub(crate) since: Option<Timestamp>,
}

pub(crate) fn condition<'a>(object: &'a Object, name: &str) -> Option<Condition<'a>> {
    let field = |condition: &'a Value, key: &str| {
        condition.get(key).and_then(Value::as_str).unwrap_or("")
    };
    at(object, &["status", "conditions"])?
        .as_array()?
        .iter()
        .find(|condition| field(condition, "type") == name)
        .map(|condition| Condition {
            is: match field(condition, "status") {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            reason: field(condition, "reason"),
            message: field(condition, "message"),
            since: field(condition, "lastTransitionTime").parse().ok(),
        })
}

/// What a reference names; `kind` where the reference itself does not say.
pub(crate) fn reference(
    value: &Value,
    group: &str,
    kind: &str,
    namespace: &str,
) -> Option<ObjectId> {
    let field = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    Some(ObjectId::new(
        group,
        field("kind").unwrap_or(kind),
        field("namespace").unwrap_or(namespace),
        field("name")?,
    ))
}

/// The identity that an inventory's entry names: `<namespace>_<name>_<group>_<kind>`, with `:` in RBAC names written `__` (cli-utils, `object.ParseObjMetadata`).
pub(crate) fn inventory_id(entry: &str) -> Option<ObjectId> {
    let (namespace, rest) = entry.split_once('_')?;
    let (rest, kind) = rest.rsplit_once('_')?;
    let (name, group) = rest.rsplit_once('_')?;
    let name = name.replace("__", ":");
    if name.is_empty() || kind.is_empty() || name.contains('_') {
        return None;
    }
    Some(ObjectId::new(group, kind, namespace, name))
}

/// What a Kustomization's inventory names, in its order, and the entries that cannot be read.
pub(crate) fn inventory(object: &Object) -> (Vec<ObjectId>, Vec<String>) {
    let (mut ids, mut unreadable) = (Vec::new(), Vec::new());
    let entries = at(object, &["status", "inventory", "entries"]).and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let id = entry.get("id").and_then(Value::as_str).unwrap_or_default();
        match inventory_id(id) {
            Some(id) => ids.push(id),
            None => unreadable.push(id.to_owned()),
        }
    }
    (ids, unreadable)
}

/// `Kustomization/flux-system/apps`, `Namespace/apps`: how Flux's command writes objects (pkg/ssa, `FmtObjMetadata`).
pub(crate) fn flux_name(id: &ObjectId) -> String {
    if id.namespace.is_empty() {
        format!("{}/{}", id.kind, id.name)
    } else {
        format!("{}/{}/{}", id.kind, id.namespace, id.name)
    }
}

/// All pages of a list; at most `most` objects.
pub(crate) async fn list(
    cluster: &dyn Cluster,
    kind: &ApiKind,
    mut params: ListParams,
    most: usize,
) -> Result<Vec<Object>> {
    params.limit = Some(PAGE);
    let mut objects = Vec::new();
    loop {
        let page = cluster.list(kind, &params).await?;
        objects.extend(page.items);
        match page.continue_token {
            Some(token) if objects.len() < most => params.continue_token = Some(token),
            Some(_) => {
                objects.truncate(most);
                return Ok(objects);
            }
            None => return Ok(objects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_inventories_are_read_as_cli_utils_reads_them() {
        for (entry, id) in [
            (
                "shop_web_apps_Deployment",
                ObjectId::new("apps", "Deployment", "shop", "web"),
            ),
            (
                "_shop__Namespace",
                ObjectId::new("", "Namespace", "", "shop"),
            ),
            (
                "_system__node_rbac.authorization.k8s.io_ClusterRole",
                ObjectId::new("rbac.authorization.k8s.io", "ClusterRole", "", "system:node"),
            ),
            (
                "_crds.example.com_apiextensions.k8s.io_CustomResourceDefinition",
                ObjectId::new(
                    "apiextensions.k8s.io",
                    "CustomResourceDefinition",
                    "",
                    "crds.example.com",
                ),
            ),
        ] {
            assert_eq!(inventory_id(entry), Some(id), "{entry}");
        }
        for entry in ["", "_", "a_b_c", "a__c_D", "a_b_c_", "a_b_c_d_e_f"] {
            assert_eq!(inventory_id(entry), None, "{entry}");
        }
    }
}
