//! What a newer server sends, and what `Debug` does not print.

use std::fmt;

pub use gitops_core::extra::Extra;
pub(crate) use gitops_core::extra::{Hidden, null_is_default};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// For `Debug`: metadata without the values of annotations, among which is a copy of the whole object when `kubectl apply` made it.
pub(crate) struct DebugMeta<'a>(pub(crate) &'a ObjectMeta);

impl fmt::Debug for DebugMeta<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meta = self.0;
        f.debug_struct("ObjectMeta")
            .field("name", &meta.name)
            .field("namespace", &meta.namespace)
            .field("labels", &meta.labels)
            .field("annotations", &Hidden::keys(&meta.annotations))
            .field("finalizers", &meta.finalizers)
            .field("generation", &meta.generation)
            .field("resource_version", &meta.resource_version)
            .field("uid", &meta.uid)
            .finish_non_exhaustive()
    }
}
