//! The direct backend: Git straight to a cluster, with no other tool in between.
//!
//! [`DirectBackend`] keeps applications and syncs them; [`ConfigManager`] does single syncs from Git to a cluster, and from a cluster's or a
//! program's objects to Git.
//!
//! # Sync options
//!
//! Argo CD's sync options (3.2, `docs/user-guide/sync-options.md`) of an application or of one sync. One that is not in this table is refused: what it should protect
//! would be lost without a word.
//!
//! | option | here |
//! | --- | --- |
//! | `CreateNamespace=true` | makes the destination's namespace first, with the policy's labels and annotations |
//! | `Prune=false`, `Prune=confirm` | nothing is pruned; only when a person's sync asks for it |
//! | `Delete=false`, `Delete=confirm` | deleting the application with what it deployed is refused |
//! | `PrunePropagationPolicy=…` | how dependents of what is pruned go |
//! | `Replace=true` | objects are PUT instead of applied |
//! | `Force=true` | what cannot be changed in place is deleted and made again |
//! | `Validate=false`, `Validate=server` | no dry-run of a stage before it is applied; one |
//! | `RespectIgnoreDifferences=true` | what is ignored stays as it is live |
//! | `ApplyOutOfSyncOnly=true` | an object that differs in nothing but what is ignored is not applied; what is in sync never is |
//! | `FailOnSharedResource=true` | objects of other applications are refused even where the engine's options adopt them; without adoption they always are |
//! | `PruneLast`, `ServerSideApply`, `ClientSideApplyMigration`, `SkipDryRunOnMissingResource` | always as with `true`: pruning comes last, everything is applied server-side, and no object is dry-run before its kind is served |
//!
//! Of a single object (annotation `argocd.argoproj.io/sync-options`): `Prune=false`, `Prune=confirm`, `Delete=false`, `Delete=confirm` (it stays when the application is deleted),
//! `Replace=true`, `Force=true`, `Validate=false`, `SkipDryRunOnMissingResource=true`; others are left to the tools that know them.

mod backend;
mod config;
mod operation;
mod sources;
mod status;
mod sync_options;
mod to_git;
mod watch;

pub use self::backend::{DirectBackend, DirectOptions};
pub use self::config::{Config, ConfigManager, GitSync, GitSyncFailed};
pub use self::sources::GitSources;
pub use self::status::Explanation;
pub use self::to_git::Layout;
pub use gitops_core::source::{Rendered, Sources};
