//! Argo CD as a backend of `gitops`.

pub mod types;
