//! Statuses, kept for a while: [`StatusCache`], and [`CachedBackend`] that puts it before any backend.
//!
//! ```
//! use std::time::Duration;
//! use gitops_core::application::{AppRef, ApplicationStatus};
//! use gitops_core::cache::{CacheOptions, StatusCache};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let cache = StatusCache::new(CacheOptions { time_to_live: Duration::from_secs(5), ..CacheOptions::default() });
//! let app = AppRef::new("shop");
//! assert!(cache.get(&app).await.is_none());
//! let status = cache.get_or_load(&app, || async { Ok(ApplicationStatus::default()) }).await?;
//! assert_eq!(cache.get(&app).await.as_deref(), Some(&*status));
//! cache.invalidate(&app).await;
//! assert!(cache.get(&app).await.is_none());
//! # Ok::<(), gitops_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # How old a status may be
//! At most [`time_to_live`](CacheOptions::time_to_live), then at most [`stale_for`](CacheOptions::stale_for) more while a new one is being
//! read. What this process changes is seen at once: a status whose reading began before an [`invalidate`](StatusCache::invalidate) is never
//! given to who asks after it. With a [shared store](SharedStatuses), what *another* process changes is seen after at most
//! [`near`](CacheOptions::near) and the stale time.

mod backend;
mod flights;
mod options;
#[cfg(feature = "redis")]
mod redis;
mod shared;
mod stats;
mod status;
mod weight;

pub use self::backend::{CachedBackend, Filling};
pub use self::options::CacheOptions;
#[cfg(feature = "redis")]
pub use self::redis::{RedisOptions, RedisStatuses};
pub use self::shared::{SharedRead, SharedStatuses, WriteToken};
pub use self::stats::CacheStats;
pub use self::status::{CachedStatus, StatusCache};
pub use self::weight::weight;
