//! The direct backend: Git straight to a cluster, with no other tool in between.
//!
//! [`DirectBackend`] keeps applications and syncs them; [`ConfigManager`] does single syncs from Git to a cluster, and from a cluster's or a
//! program's objects to Git.

mod backend;
mod config;
mod operation;
mod sources;
mod status;
mod to_git;
mod watch;

pub use self::backend::{DirectBackend, DirectOptions};
pub use self::config::{Config, ConfigManager, GitSync, GitSyncFailed};
pub use self::sources::{GitSources, Rendered, Sources};
pub use self::status::Explanation;
pub use self::to_git::Layout;
