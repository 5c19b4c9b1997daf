//! Names of objects of Flux.

use std::fmt;

use gitops_core::manifest::ObjectId;

use crate::{FluxKind, FluxResource};

/// Names one object of Flux. `Display` gives `Kustomization flux-system/app`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FluxRef {
    /// The kind.
    pub kind: FluxKind,
    /// The namespace; empty means the manager's own.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl FluxRef {
    /// The object of a kind known at run time; an empty namespace means the manager's own.
    pub fn new(kind: FluxKind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The object of a typed kind; an empty namespace means the manager's own.
    pub fn to<K: FluxResource>(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(K::KIND, namespace, name)
    }

    /// The name of a typed object.
    pub fn of<K: FluxResource>(object: &K) -> Self {
        let metadata = object.meta();
        Self::new(
            K::KIND,
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        )
    }

    /// Its identity in a cluster.
    pub fn id(&self) -> ObjectId {
        self.kind.object_id(&self.namespace, &self.name)
    }
}

impl fmt::Display for FluxRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}
