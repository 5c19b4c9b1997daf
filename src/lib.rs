//! The GitOps SDK for Rust.

pub use gitops_core as core;
#[cfg(feature = "git")]
pub use gitops_git as git;
#[cfg(feature = "kube")]
pub use gitops_kube as kube;
