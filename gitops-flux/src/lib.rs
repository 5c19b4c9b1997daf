//! Flux as a backend of `gitops`.
//!
//! What will be here: types of Flux's custom resources (sources, `Kustomization`, `HelmRelease`), reconcile requests and waits done right, and the traits of
//! [`gitops_core::backend`] on top of them. Nothing is here yet; programs that deploy without Flux use `gitops-kube`'s direct backend.
