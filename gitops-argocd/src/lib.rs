//! Argo CD as a backend of `gitops`.

pub mod generate;
pub mod types;
