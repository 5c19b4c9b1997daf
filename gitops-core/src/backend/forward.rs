//! `&T`, `Box<T>` and `Arc<T>` forward every method, so that a wrapper never inherits a default.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{
    ApplicationStore, Backend, DeleteOptions, ListOptions, Operation, PutMode, PutOutcome,
    ResourceState, RevisionHistory, Selector, StateReader, StatusEvent, Stored, SyncOptions,
    SyncOutcome, Syncer,
};
use crate::application::{AppRef, Application, ApplicationStatus, HistoryEntry};
use crate::error::Result;

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Syncer + ?Sized> Syncer for $wrapper {
            async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
                (**self).sync(app, options).await
            }
            async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
                (**self).wait(operation).await
            }
            async fn terminate(&self, operation: &Operation) -> Result<()> {
                (**self).terminate(operation).await
            }
            async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
                (**self).status(app).await
            }
            fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
                (**self).watch(selector)
            }
        }

        #[deny(clippy::missing_trait_methods)]
        impl<T: Backend + ?Sized> Backend for $wrapper {
            fn name(&self) -> &str {
                (**self).name()
            }
            fn store(&self) -> Option<&dyn ApplicationStore> {
                (**self).store()
            }
            fn state(&self) -> Option<&dyn StateReader> {
                (**self).state()
            }
            fn history(&self) -> Option<&dyn RevisionHistory> {
                (**self).history()
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: ApplicationStore + ?Sized> ApplicationStore for $wrapper {
            async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
                (**self).put(app, mode).await
            }
            async fn get(&self, app: &AppRef) -> Result<Stored> {
                (**self).get(app).await
            }
            async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
                (**self).list(options).await
            }
            async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
                (**self).delete(app, options).await
            }
            async fn suspend(&self, app: &AppRef) -> Result<()> {
                (**self).suspend(app).await
            }
            async fn resume(&self, app: &AppRef) -> Result<()> {
                (**self).resume(app).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: StateReader + ?Sized> StateReader for $wrapper {
            async fn state(&self, app: &AppRef, revisions: &[String]) -> Result<Vec<ResourceState>> {
                (**self).state(app, revisions).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: RevisionHistory + ?Sized> RevisionHistory for $wrapper {
            async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
                (**self).list(app).await
            }
            async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
                (**self).roll_back(app, id, options).await
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);
