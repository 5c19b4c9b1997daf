//! Drift detection, repair, rollback and history for `gitops`.
//!
//! What will be here: reports of how live state differs from Git, repair, and rollback with history, on any backend that implements
//! [`gitops_core::backend`]. Nothing is here yet; `gitops-kube`'s direct backend explains drift and repairs it on the next sync.
