//! Mocks of the traits, made by [`mockall`]: each method has an `expect_…` to say what it answers.
//!
//! ```
//! use gitops_core::application::Application;
//! use gitops_core::testing::mocks::MockSyncRule;
//! use gitops_core::rule::{Decision, SyncContext, SyncRule};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut rule = MockSyncRule::new();
//! rule.expect_answer().returning(|_| Ok(Decision::no("it is Friday")));
//! let app = Application::new("shop");
//! let decision = rule.evaluate(&SyncContext::new(&app)).await?;
//! assert!(!decision.sync);
//! # Ok::<(), gitops_core::Error>(())
//! # }).unwrap();
//! ```

// A mock that lacks a method with a default would answer with the default, whatever was expected; what the macro makes is held by `tests/mocks.rs`.
#![deny(clippy::missing_trait_methods)]
// What the macro makes has no documentation of its own; the expectations are mockall's.
#![allow(missing_docs)]

use async_trait::async_trait;
use futures::stream::BoxStream;
use mockall::mock;

use crate::application::{AppRef, Application, ApplicationStatus, HistoryEntry};
use crate::backend::{
    ApplicationStore, Backend, DeleteOptions, ListOptions, Operation, PutMode, PutOutcome,
    ResourceState, RevisionHistory, Selector, StateReader, StatusEvent, Stored, SyncEvent,
    SyncOptions, SyncOutcome, Syncer,
};
use crate::credential::{Credential, CredentialProvider, CredentialRequest};
use crate::error::Result;
use crate::manifest::ManifestSet;
use crate::manifest::render::{Fingerprint, RenderRequest, Renderer};
use crate::notify::Notifier;
use crate::rule::{Decision, SyncContext, SyncRule};
use crate::store::StatusStore;
use crate::validate::{Context, Finding, Validator};

mock! {
    #[derive(Debug)]
    pub Syncer {}
    #[async_trait]
    impl Syncer for Syncer {
        async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation>;
        async fn wait(&self, operation: &Operation) -> Result<SyncOutcome>;
        async fn terminate(&self, operation: &Operation) -> Result<()>;
        async fn status(&self, app: &AppRef) -> Result<ApplicationStatus>;
        fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>>;
    }
}

mock! {
    #[derive(Debug)]
    pub ApplicationStore {}
    #[async_trait]
    impl ApplicationStore for ApplicationStore {
        async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome>;
        async fn get(&self, app: &AppRef) -> Result<Stored>;
        async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>>;
        async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()>;
        async fn suspend(&self, app: &AppRef) -> Result<()>;
        async fn resume(&self, app: &AppRef) -> Result<()>;
    }
}

mock! {
    #[derive(Debug)]
    pub StatusStore {}
    #[async_trait]
    impl StatusStore for StatusStore {
        async fn status(&self, app: &AppRef) -> Result<Option<ApplicationStatus>>;
        async fn put_status(&self, app: &AppRef, status: &ApplicationStatus) -> Result<()>;
    }
}

mock! {
    #[derive(Debug)]
    pub StateReader {}
    #[async_trait]
    impl StateReader for StateReader {
        async fn state(&self, app: &AppRef, revisions: &[String]) -> Result<Vec<ResourceState>>;
    }
}

mock! {
    #[derive(Debug)]
    pub RevisionHistory {}
    #[async_trait]
    impl RevisionHistory for RevisionHistory {
        async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>>;
        async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation>;
    }
}

mock! {
    /// A rule named `mock`; `expect_answer` says what `evaluate` answers.
    #[derive(Debug)]
    pub SyncRule {
        pub fn answer<'a>(&self, context: &SyncContext<'a>) -> Result<Decision>;
    }
}

// The macro cannot name the lifetimes of a context in an async method.
#[async_trait]
impl SyncRule for MockSyncRule {
    fn name(&self) -> &str {
        "mock"
    }
    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        self.answer(context)
    }
}

mock! {
    /// A validator named `mock`; `expect_answer` says what `validate` answers.
    #[derive(Debug)]
    pub Validator {
        pub fn answer<'a>(&self, app: &Application, context: &Context<'a>) -> Result<Vec<Finding>>;
    }
}

#[async_trait]
impl Validator for MockValidator {
    fn name(&self) -> &str {
        "mock"
    }
    async fn validate(&self, app: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
        self.answer(app, context)
    }
}

mock! {
    #[derive(Debug)]
    pub Notifier {}
    #[async_trait]
    impl Notifier for Notifier {
        fn name(&self) -> &str;
        async fn notify(&self, event: &SyncEvent) -> Result<()>;
    }
}

mock! {
    #[derive(Debug)]
    pub CredentialProvider {}
    #[async_trait]
    impl CredentialProvider for CredentialProvider {
        async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>>;
    }
}

mock! {
    #[derive(Debug)]
    pub Renderer {}
    #[async_trait]
    impl Renderer for Renderer {
        async fn render(&self, request: &RenderRequest) -> Result<ManifestSet>;
        fn fingerprint(&self, request: &RenderRequest) -> Option<Fingerprint>;
    }
}

/// A backend made of mocks.
#[derive(Debug, Default)]
pub struct MockBackend {
    /// What it does as a [`Syncer`].
    pub syncer: MockSyncer,
    /// Its store, when it has one.
    pub store: Option<MockApplicationStore>,
    /// Its state reader, when it has one.
    pub state: Option<MockStateReader>,
    /// Its history, when it has one.
    pub history: Option<MockRevisionHistory>,
}

#[async_trait]
impl Syncer for MockBackend {
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        self.syncer.sync(app, options).await
    }
    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        self.syncer.wait(operation).await
    }
    async fn terminate(&self, operation: &Operation) -> Result<()> {
        self.syncer.terminate(operation).await
    }
    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        self.syncer.status(app).await
    }
    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        self.syncer.watch(selector)
    }
}

impl Backend for MockBackend {
    fn name(&self) -> &str {
        "mock"
    }
    fn store(&self) -> Option<&dyn ApplicationStore> {
        self.store.as_ref().map(|store| store as _)
    }
    fn state(&self) -> Option<&dyn StateReader> {
        self.state.as_ref().map(|state| state as _)
    }
    fn history(&self) -> Option<&dyn RevisionHistory> {
        self.history.as_ref().map(|history| history as _)
    }
}
