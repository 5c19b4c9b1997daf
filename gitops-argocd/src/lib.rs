//! Argo CD as a backend of `gitops`.

mod access;
pub mod backend;
mod manager;
mod operation;
pub mod rest;
pub mod types;

pub use backend::{ArgoCdBackend, ArgoCdOptions};
pub use manager::ArgoCDManager;
pub use rest::ArgoCd;
