//! The model, the traits, the error and the manifests of the GitOps SDK.
//!
//! This crate knows no cluster and no repository: it is what backends, and programs that use them, agree on.
//!
//! | module | holds |
//! | --- | --- |
//! | [`application`] | what is to be deployed, and what became of it |
//! | [`backend`] | the traits of a backend: [`Syncer`](backend::Syncer) and what goes with it |
//! | [`manifest`] | Kubernetes objects as Git holds them |
//! | [`rule`], [`validate`], [`notify`] | the traits for sync rules, validators and notifiers |
//! | [`audit`] | who did what, in a log that shows tampering |
//! | [`credential`], [`secret`] | credentials, asked for when they are needed |
//! | [`source`] | who reads and renders sources, and the news of them |
//! | [`reconcile`] | the loop that syncs applications when they should be, alone or as one of several replicas |
//! | [`store`] | applications, kept in memory or in a directory |
//! | `cache` | statuses, kept: in memory and, with feature `redis`, shared by several processes (feature `cache`) |
//! | `limit` | how much runs at once, and how often (feature `limit`) |
//! | `retry` | trying again, and a circuit breaker (feature `retry`) |
//! | `webhook` | push events of forges and registries, verified (feature `webhook`) |
//! | `metrics` | what is counted and measured, through the `metrics` facade (feature `metrics`) |
//! | [`error`] | the one error |
//! | [`extra`] | what typed documents of other systems share |
//! | `testing` | mocks and conformance suites (feature `testing`) |

pub mod application;
pub mod audit;
pub mod backend;
#[cfg(feature = "cache")]
pub mod cache;
pub mod credential;
pub mod error;
pub mod extra;
#[cfg(feature = "limit")]
pub mod limit;
pub mod manifest;
pub mod metrics;
pub mod notify;
pub mod reconcile;
#[cfg(feature = "retry")]
pub mod retry;
pub mod rule;
pub mod secret;
pub mod source;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod validate;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use error::{Error, ErrorKind, Result, ResultExt};
pub use secret::SecretString;
