//! Everything a program does with [Argo CD](https://argo-cd.readthedocs.io): a typed client of its REST API, the same through the Kubernetes API, its custom resources as Rust
//! types, and a backend for the traits of [`gitops_core::backend`]. Written against argo-cd 3.2.
//!
//! | for | there is |
//! | --- | --- |
//! | deploying through Argo CD like through any other backend | [`ArgoCdBackend`], on one of the two below; [`ArgoCDManager`] for the three usual calls |
//! | Argo CD's REST API | [`ArgoCd`]: applications, sets, projects, repositories, clusters, accounts, logs, streams |
//! | Argo CD without its API server | `KubeArgoCd` (feature `kube`): `Application`, `AppProject`, `ApplicationSet` and the labelled Secrets |
//! | `Application`, `AppProject`, `ApplicationSet` as values | [`types`]; resources of `kube` with feature `kube` |
//! | seeing what an application set would make | [`generate`]: evaluated here, for any backend; repositories with feature `git` |
//! | finding and reaching an installation | `kube::installation`, `ArgoCd::port_forward` (feature `kube`) |
//!
//! Programs that deploy straight to a cluster do not need this crate: `gitops-kube` has a backend of its own.
//!
//! # Features
//!
//! | feature | gives |
//! | --- | --- |
//! | `kube` | Argo CD through the Kubernetes API; finding an installation and forwarding ports to it |
//! | `git` | repositories for application sets that are evaluated here |

mod access;
pub mod backend;
pub mod generate;
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
