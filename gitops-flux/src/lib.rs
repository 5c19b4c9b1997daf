//! Everything a program does with [Flux](https://fluxcd.io): its custom resources as Rust types, what the `flux` command does as calls, and a backend for the traits
//! of [`gitops_core::backend`]. Written against Flux 2.7: source-controller and kustomize-controller 1.7, helm-controller 1.4, notification-controller 1.7 and the
//! image controllers 1.0.
//!
//! | for | there is |
//! | --- | --- |
//! | Flux's resources as values, and as resources of `kube` | [`types`] |
//! | what one kind of them is and can do | [`kind`] |
//! | what sources offer: fetched, verified, unpacked | [`artifact`] |
//! | manifests as kustomize-controller builds them, `${VAR}` and all | [`build`] |
//! | making, reading, watching, suspending, exporting, deleting them | [`FluxManager`] |
//! | asking a controller to reconcile, waiting for the result, saying what holds it up | [`FluxManager::reconcile`], [`reconcile`] |
//! | where an object comes from, and what a Kustomization or a HelmRelease brought | [`trace`], [`tree`] |
//! | what would change | [`diff`] |
//! | who waits for whom | [`graph`] |
//! | what the controllers report and log; how the installation is | [`events`], [`logs`], [`stats`], [`check`] |
//! | the Secrets that Flux reads, the hooks that it offers | [`secret`], [`receiver`] |
//! | applications of `gitops-core` as Flux's resources, and back | [`convert`] |
//! | core's traits: sync, store, state, history | [`FluxBackend`] |
//! | Flux, kept by itself in a Git repository | `bootstrap` (feature `git`) |
//!
//! Programs that deploy without Flux do not need this crate: `gitops-kube` has a backend of its own.
//!
//! # Features
//!
//! | feature | gives |
//! | --- | --- |
//! | `git` | writing to Git repositories, for bootstrap |
//! | `ssh` | making SSH keys for Git |

pub mod artifact;
pub mod backend;
mod blocking;
#[cfg(feature = "git")]
pub mod bootstrap;
pub mod build;
pub mod check;
pub mod convert;
mod deadline;
pub mod diff;
pub mod events;
pub mod graph;
pub mod kind;
pub mod logs;
pub mod manager;
pub mod receiver;
pub mod reconcile;
pub mod secret;
pub mod stats;
pub mod trace;
pub mod tree;
pub mod types;
mod view;

pub use self::backend::{BackendOptions, FluxBackend};
pub use self::kind::{FluxKind, FluxResource};
pub use self::manager::{FluxManager, FluxOptions, FluxRef};
