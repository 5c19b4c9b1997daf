//! Argo CD as a backend of `gitops`.
//!
//! What will be here: a typed client of Argo CD's REST API and of its custom resources (`Application`, `AppProject`, `ApplicationSet`), and the traits
//! of [`gitops_core::backend`] on top of it. Nothing is here yet; programs that deploy without Argo CD use `gitops-kube`'s direct backend.
