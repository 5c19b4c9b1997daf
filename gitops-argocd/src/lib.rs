//! Argo CD as a backend of `gitops`.

mod access;
pub mod backend;
#[cfg(feature = "kube")]
pub mod kube;
mod manager;
mod operation;
pub mod rest;
pub mod types;

pub use self::backend::{ArgoCdBackend, ArgoCdOptions};
#[cfg(feature = "kube")]
pub use self::kube::KubeArgoCd;
pub use self::manager::ArgoCDManager;
pub use self::rest::ArgoCd;
