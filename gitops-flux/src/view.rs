//! What these calls read of Flux's objects, whatever version they are served in: objects as JSON, so that one unreadable object does not hide the others.

use gitops_core::manifest::{GroupVersionKind, Object, ObjectId};
use gitops_core::{Error, ErrorKind, Result};
use gitops_kube::cluster::{ApiKind, Cluster, ListParams, Scope};
use jiff::Timestamp;
use serde_json::Value;

use crate::kind::FluxKind;
use crate::types::InventoryEntry;

/// Who writes, as `managedFields` show it.
pub(crate) const MANAGER: &str = "gitops-rs";

/// Where Flux is when nobody says.
pub(crate) const NAMESPACE: &str = "flux-system";

/// Objects per page of a list.
const PAGE: u32 = 500;

/// How often a list begins again whose pages grew too old.
const RESTARTS: u32 = 3;

/// One of Flux's kinds, as it is served: no discovery is needed.
pub(crate) fn served(kind: FluxKind) -> ApiKind {
    ApiKind {
        gvk: GroupVersionKind::new(kind.group(), kind.version(), kind.kind()),
        plural: kind.plural().to_owned(),
        scope: Scope::Namespaced,
        verbs: Vec::new(),
    }
}

/// A kind of Kubernetes itself, as every API server serves it in `v1`.
pub(crate) fn native(group: &str, kind: &str, plural: &str, scope: Scope) -> ApiKind {
    ApiKind {
        gvk: GroupVersionKind::new(group, "v1", kind),
        plural: plural.to_owned(),
        scope,
        verbs: Vec::new(),
    }
}

pub(crate) fn deployments() -> ApiKind {
    native("apps", "Deployment", "deployments", Scope::Namespaced)
}

pub(crate) fn pods() -> ApiKind {
    native("", "Pod", "pods", Scope::Namespaced)
}

pub(crate) fn definitions() -> ApiKind {
    native(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        Scope::Cluster,
    )
}

/// The kind of an object, if it is Flux's.
pub(crate) fn flux_kind(id: &ObjectId) -> Option<FluxKind> {
    FluxKind::of(&id.group, &id.kind)
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
    let field =
        |condition: &'a Value, key: &str| condition.get(key).and_then(Value::as_str).unwrap_or("");
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

/// What a Kustomization's inventory names, in its order, and the entries that cannot be read.
pub(crate) fn inventory(object: &Object) -> (Vec<ObjectId>, Vec<String>) {
    let (mut ids, mut unreadable) = (Vec::new(), Vec::new());
    let entries = at(object, &["status", "inventory", "entries"]).and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let entry = InventoryEntry {
            id: entry
                .get("id")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            version: String::new(),
        };
        match entry.object_id() {
            Ok(id) => ids.push(id),
            Err(_) => unreadable.push(entry.id),
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

/// A list page by page, into what `take` makes of them; it begins anew when its pages grew too old.
pub(crate) async fn fold<T: Default>(
    cluster: &dyn Cluster,
    kind: &ApiKind,
    mut params: ListParams,
    mut take: impl FnMut(&mut T, Vec<Object>) -> Result<()>,
) -> Result<T> {
    params.limit = Some(PAGE);
    params.continue_token = None;
    let mut all = T::default();
    let mut restarts = 0;
    loop {
        let page = match cluster.list(kind, &params).await {
            Err(error)
                if error.kind() == ErrorKind::Conflict
                    && params.continue_token.is_some()
                    && restarts < RESTARTS =>
            {
                restarts += 1;
                params.continue_token = None;
                all = T::default();
                continue;
            }
            page => page?,
        };
        take(&mut all, page.items)?;
        match page.continue_token {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}

/// All pages of a list; more than `most` objects are an error, since a part would be taken for all.
pub(crate) async fn list(
    cluster: &dyn Cluster,
    kind: &ApiKind,
    params: ListParams,
    most: usize,
) -> Result<Vec<Object>> {
    fold(cluster, kind, params, |all: &mut Vec<Object>, page| {
        all.extend(page);
        if all.len() > most {
            return Err(Error::unsupported(
                &format!("a list of more than {most} {}", kind.plural),
                "this call",
            ));
        }
        Ok(())
    })
    .await
}

/// A message of somebody else on one line: line ends become spaces, other control characters are escaped, and it ends after a bounded length.
pub(crate) fn line(text: &str) -> String {
    const LONGEST: usize = 2_000;
    let text = text.trim();
    let mut line = String::with_capacity(text.len().min(LONGEST));
    for c in text.chars() {
        if line.len() >= LONGEST {
            line.push('…');
            break;
        }
        match c {
            '\n' | '\t' => line.push(' '),
            '\r' => {}
            c if c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                line.extend(c.escape_unicode());
            }
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_one_line() {
        assert_eq!(
            line(" a\nb\r\n\u{1b}[31mred\u{202e}x "),
            "a b \\u{1b}[31mred\\u{202e}x"
        );
        assert!(line(&"x".repeat(10_000)).len() < 2_010);
    }
}
