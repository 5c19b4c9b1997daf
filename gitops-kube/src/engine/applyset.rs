//! The ApplySet of an application: who its objects belong to, as KEP-3659 writes it down.
//!
//! Labels, annotations and the identity follow KEP-3659 and kubectl 1.34 (`k8s.io/kubectl/pkg/cmd/apply/applyset.go`), so that
//! kubectl and we recognise, and refuse, each other's sets.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gitops_core::application::{AppRef, Application};
use gitops_core::manifest::{GroupKind, Object};
use gitops_core::{Error, Result};
use sha2::{Digest as _, Sha256};

/// On each member: the set that it belongs to.
pub const PART_OF_LABEL: &str = "applyset.kubernetes.io/part-of";
/// On the parent: the set's identity.
pub const ID_LABEL: &str = "applyset.kubernetes.io/id";
/// On the parent: which tool manages the set, as `name/version`.
pub const TOOLING_ANNOTATION: &str = "applyset.kubernetes.io/tooling";
/// On the parent: the members' kinds, comma-separated and sorted.
pub const GROUP_KINDS_ANNOTATION: &str = "applyset.kubernetes.io/contains-group-kinds";
/// On the parent: the members' namespaces other than its own, comma-separated and sorted.
pub const NAMESPACES_ANNOTATION: &str = "applyset.kubernetes.io/additional-namespaces";
/// On the parent: the application that the set belongs to, as `namespace/name` of its record.
pub const APPLICATION_ANNOTATION: &str = "gitops-rs.dev/application";
/// The tool that we name ourselves.
pub const TOOLING: &str = concat!("gitops-rs/v", env!("CARGO_PKG_VERSION"));

/// Kubernetes allows a field manager this many bytes.
const MAX_MANAGER: usize = 128;
/// Kubernetes allows a name this many bytes; the inventory's shards add to it.
const MAX_NAME: usize = 253 - 32;

/// Names the ApplySet of one application: its parent (a ConfigMap) and its field manager.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApplySet {
    name: String,
    namespace: String,
    manager: String,
    id: String,
    application: AppRef,
}

impl ApplySet {
    /// The set of the application `namespace/name`, whose parent lives in `namespace`.
    ///
    /// # Errors
    /// `InvalidInput` when either is empty, or no name that Kubernetes takes.
    pub fn new(name: &str, namespace: &str) -> Result<Self> {
        for (what, text) in [("name", name), ("namespace", namespace)] {
            let ok = !text.is_empty()
                && text.len() <= MAX_NAME
                && text.bytes().all(|b| {
                    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.'
                })
                && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.ends_with(|c: char| c.is_ascii_alphanumeric());
            if !ok {
                return Err(Error::invalid(format!(
                    "the {what} {text:?} of an application must be a lower-case DNS name"
                )));
            }
        }
        let parent = format!("gitops-{name}");
        let id = format!(
            "applyset-{}-v1",
            URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{parent}.{namespace}.ConfigMap.")))
        );
        let mut manager = format!("gitops:{namespace}/{name}");
        if manager.len() > MAX_MANAGER {
            // Two applications must never share a manager: the rest of a long name is told by the set's hash.
            let hash = &id["applyset-".len().."applyset-".len() + 22];
            manager.truncate(MAX_MANAGER - 23);
            manager = format!("{manager}-{hash}");
        }
        Ok(Self {
            name: parent,
            namespace: namespace.to_owned(),
            manager,
            id,
            application: AppRef::namespaced(namespace, name),
        })
    }

    /// The set of `app`. Its parent lives in the namespace of the application's record, else in the destination's, else in `default`: an
    /// application whose record has no namespace must be empty before its destination's namespace changes (the direct backend refuses it
    /// otherwise).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(app: &Application) -> Result<Self> {
        let namespace = [app.namespace.as_str(), app.destination.namespace.as_str()]
            .into_iter()
            .find(|namespace| !namespace.is_empty())
            .unwrap_or("default");
        Ok(Self {
            application: app.app_ref(),
            ..Self::new(&app.name, namespace)?
        })
    }

    /// The application that the set belongs to.
    pub fn application(&self) -> &AppRef {
        &self.application
    }

    /// The identity, and the value of [`PART_OF_LABEL`] on members.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The parent's name.
    pub fn parent_name(&self) -> &str {
        &self.name
    }

    /// The parent's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The field manager of this application, and of no other.
    pub fn manager(&self) -> &str {
        &self.manager
    }

    /// The label selector of the members.
    pub fn selector(&self) -> String {
        format!("{PART_OF_LABEL}={}", self.id)
    }
}

/// What an ApplySet's parent says of its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) kinds: BTreeSet<GroupKind>,
    pub(super) namespaces: BTreeSet<String>,
}

impl Membership {
    /// What `parent` says.
    pub(super) fn read(parent: &Object) -> Self {
        let list = |key: &str| {
            parent
                .annotation(key)
                .unwrap_or_default()
                .split(',')
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        Self {
            kinds: list(GROUP_KINDS_ANNOTATION)
                .into_iter()
                .map(|text| match text.split_once('.') {
                    Some((kind, group)) => GroupKind::new(group, kind),
                    None => GroupKind::new("", text),
                })
                .collect(),
            namespaces: list(NAMESPACES_ANNOTATION).into_iter().collect(),
        }
    }

    /// Writes itself onto `parent`, whose namespace is left out.
    pub(super) fn write(&self, set: &ApplySet, parent: &mut Object) {
        let kinds: Vec<String> = self.kinds.iter().map(GroupKind::to_string).collect();
        let namespaces: Vec<&str> = self
            .namespaces
            .iter()
            .map(String::as_str)
            .filter(|namespace| *namespace != set.namespace())
            .collect();
        let mut kinds = kinds;
        kinds.sort();
        parent.set_annotation(GROUP_KINDS_ANNOTATION, kinds.join(","));
        parent.set_annotation(NAMESPACES_ANNOTATION, namespaces.join(","));
    }
}

/// Refuses a parent that is not ours: another tool's set, another application's, or a ConfigMap that is no set at all. A parent that names
/// no application (written before it was recorded) is ours.
pub(super) fn check_parent(set: &ApplySet, parent: &Object) -> Result<()> {
    let place = format!("ConfigMap {}/{}", set.namespace(), set.parent_name());
    match parent.label(ID_LABEL) {
        Some(id) if id == set.id() => {}
        Some(_) => {
            return Err(Error::conflict(format!(
                "{place} is the parent of another ApplySet"
            )));
        }
        None => {
            return Err(Error::conflict(format!(
                "{place} is there already and is no ApplySet's parent"
            )));
        }
    }
    let tooling = parent.annotation(TOOLING_ANNOTATION).unwrap_or_default();
    let name = tooling.split('/').next().unwrap_or_default();
    if name != TOOLING.split('/').next().unwrap_or_default() {
        return Err(Error::conflict(format!(
            "{place}: the ApplySet already exists and is managed by tooling {tooling:?}; take it over explicitly"
        )));
    }
    match parent.annotation(APPLICATION_ANNOTATION) {
        Some(other) if other != set.application().to_string() => Err(Error::conflict(format!(
            "{place}: the ApplySet belongs to application {other} already, not to {}; give one of them another name, or take it over explicitly",
            set.application()
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_the_one_of_the_kep() {
        let set = ApplySet::new("shop", "prod").unwrap();
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest("gitops-shop.prod.ConfigMap."));
        assert_eq!(set.id(), format!("applyset-{hash}-v1"));
        assert_eq!(set.manager(), "gitops:prod/shop");
        assert!(set.id().len() <= 63);
    }

    #[test]
    fn long_names_keep_managers_apart() {
        let long = "a".repeat(150);
        let one = ApplySet::new(&format!("{long}1"), "x").unwrap();
        let two = ApplySet::new(&format!("{long}2"), "x").unwrap();
        assert!(one.manager().len() <= MAX_MANAGER);
        assert_ne!(one.manager(), two.manager());
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", "A", "a/b", "-a", "a_b", "../x"] {
            assert!(ApplySet::new(bad, "x").is_err(), "{bad:?}");
            assert!(ApplySet::new("x", bad).is_err(), "{bad:?}");
        }
    }
}
