#![doc = include_str!("../README.md")]
//!
//! ## Features
//!
//! | feature | gives |
//! | --- | --- |
//! | `git` (default) | [`git`]: read, watch and write repositories |
//! | `kube` (default) | [`kube`]: the engine, health, the direct backend |
//! | `libgit2-network` | a transport in [`git`] without the `git` program |
//! | `cron` | sync windows in [`core::rule`] |
//! | `images` | validation of images in [`core::validate`] |
//! | `schema` | validation by the API server's schemas in [`kube::validate`] |
//! | `cel` | health by CEL expressions |
//! | `jq` | jq path expressions in `ignoreDifferences` |
//! | `cache`, `limit`, `retry` | [`core`]'s decorators around any backend: cached statuses, bounded concurrency, retries |
//! | `reconcile` | the reconciler in [`core::reconcile`]: the loop that syncs applications when they should be |
//! | `redis` | the cache's store on Redis |
//! | `http` | notifiers over HTTP in [`core::notify`] |
//! | `webhook` | webhooks of forges and registries in [`core::webhook`] |
//! | `metrics` | what is counted and measured, through the `metrics` facade |
//! | `testing` | mocks and conformance suites |
//! | `argocd`, `flux`, `pipeline`, `drift` | the backends and tools of those names |
//! | `ssh` | SSH keys for the Secrets of [`flux`] |
//!
//! No feature excludes another.

pub use gitops_core as core;

#[cfg(feature = "argocd")]
pub use gitops_argocd as argocd;
#[cfg(feature = "drift")]
pub use gitops_drift as drift;
#[cfg(feature = "flux")]
pub use gitops_flux as flux;
#[cfg(feature = "git")]
pub use gitops_git as git;
#[cfg(feature = "kube")]
pub use gitops_kube as kube;
#[cfg(feature = "pipeline")]
pub use gitops_pipeline as pipeline;
