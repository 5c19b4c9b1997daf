//! How much runs at once, and how often: [`SyncLimiter`], [`LimitedBackend`], and [`Throttle`] for APIs that count requests.
//!
//! ```
//! use gitops_core::application::AppRef;
//! use gitops_core::limit::{LimitKey, LimitOptions, SyncLimiter};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let limiter = SyncLimiter::new(LimitOptions { max: 8, per_cluster: Some(2), ..LimitOptions::default() });
//! let answer = limiter.run(async { 6 * 7 }).await?;
//! assert_eq!(answer, 42);
//! let key = LimitKey::app(AppRef::new("shop"));
//! limiter.run_for(&key, async { /* the only one for this application */ }).await?;
//! # Ok::<(), gitops_core::Error>(())
//! # }).unwrap();
//! ```

mod backend;
mod keyed;
mod limiter;
mod throttle;

pub use self::backend::{LimitedBackend, SyncProgress};
pub use self::limiter::{LimitKey, LimitOptions, Permit, SyncLimiter};
pub use self::throttle::{Throttle, ThrottleOptions};
