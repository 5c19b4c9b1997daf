//! The trait.

use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::SyncEvent;
use crate::error::Result;

/// Tells somebody about an event.
///
/// # Contract
/// - One call is one delivery; it returns when the other side has taken it.
/// - The same event may be told twice; a receiver tells by operation, kind and time.
/// - Nothing secret is told: events hold none.
/// - Dropping the future cancels the delivery.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// A short name for logs and metrics.
    fn name(&self) -> &str;

    /// Tells of `event`.
    ///
    /// # Errors
    /// When it was not delivered; retryable errors may be tried again.
    async fn notify(&self, event: &SyncEvent) -> Result<()>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Notifier + ?Sized> Notifier for $wrapper {
            fn name(&self) -> &str {
                (**self).name()
            }
            async fn notify(&self, event: &SyncEvent) -> Result<()> {
                (**self).notify(event).await
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);
