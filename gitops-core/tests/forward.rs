//! `&T`, `Box<T>` and `Arc<T>` forward every method of every trait, with its arguments, to the method of that name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use gitops_core::application::{AppRef, Application, ApplicationStatus, HistoryEntry};
use gitops_core::backend::{
    ApplicationStore, Backend, DeleteOptions, EventKind, ListOptions, Operation, PutMode,
    PutOutcome, ResourceState, RevisionHistory, Selector, StateReader, StatusEvent, Stored,
    SyncEvent, SyncOptions, SyncOutcome, Syncer,
};
use gitops_core::credential::{Credential, CredentialProvider, CredentialRequest};
use gitops_core::manifest::ManifestSet;
use gitops_core::manifest::render::{Fingerprint, RenderRequest, Renderer};
use gitops_core::notify::Notifier;
use gitops_core::rule::{Decision, SyncContext, SyncRule};
use gitops_core::store::StatusStore;
use gitops_core::validate::{Context, Finding, Validator};
use gitops_core::{Error, Result};

/// Writes down what it is asked; answers are errors that say so too, where an answer would need more.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn note(&self, call: impl Into<String>) {
        self.0.lock().unwrap().push(call.into());
    }
    fn refuse<T>(&self, call: impl Into<String>) -> Result<T> {
        self.note(call);
        Err(Error::failed("recorded"))
    }
}

#[async_trait]
impl Syncer for Recorder {
    async fn sync(&self, app: &AppRef, options: &SyncOptions) -> Result<Operation> {
        self.refuse(format!("sync {app} {}", options.dry_run))
    }
    async fn wait(&self, operation: &Operation) -> Result<SyncOutcome> {
        self.refuse(format!("wait {}", operation.id))
    }
    async fn terminate(&self, operation: &Operation) -> Result<()> {
        self.refuse(format!("terminate {}", operation.id))
    }
    async fn status(&self, app: &AppRef) -> Result<ApplicationStatus> {
        self.refuse(format!("status {app}"))
    }
    fn watch(&self, selector: Selector) -> BoxStream<'static, Result<StatusEvent>> {
        self.note(format!("watch {:?}", selector.namespace));
        futures::stream::empty().boxed()
    }
}

impl Backend for Recorder {
    fn name(&self) -> &str {
        self.note("name");
        "recorder"
    }
    fn store(&self) -> Option<&dyn ApplicationStore> {
        self.note("store");
        Some(self)
    }
    fn state(&self) -> Option<&dyn StateReader> {
        self.note("state");
        Some(self)
    }
    fn history(&self) -> Option<&dyn RevisionHistory> {
        self.note("history");
        Some(self)
    }
}

#[async_trait]
impl ApplicationStore for Recorder {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        self.refuse(format!("put {} {mode:?}", app.name))
    }
    async fn get(&self, app: &AppRef) -> Result<Stored> {
        self.refuse(format!("get {app}"))
    }
    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        self.refuse(format!("list {}", options.with_status))
    }
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        self.refuse(format!("delete {app} {}", options.cascade))
    }
    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.refuse(format!("suspend {app}"))
    }
    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.refuse(format!("resume {app}"))
    }
}

#[async_trait]
impl StatusStore for Recorder {
    async fn status(&self, app: &AppRef) -> Result<Option<ApplicationStatus>> {
        self.refuse(format!("kept status {app}"))
    }
    async fn put_status(&self, app: &AppRef, status: &ApplicationStatus) -> Result<()> {
        self.refuse(format!("put status {app} {}", status.sync))
    }
}

#[async_trait]
impl StateReader for Recorder {
    async fn state(&self, app: &AppRef, revisions: &[String]) -> Result<Vec<ResourceState>> {
        self.refuse(format!("read state {app} {revisions:?}"))
    }
}

#[async_trait]
impl RevisionHistory for Recorder {
    async fn list(&self, app: &AppRef) -> Result<Vec<HistoryEntry>> {
        self.refuse(format!("list history {app}"))
    }
    async fn roll_back(&self, app: &AppRef, id: i64, options: &SyncOptions) -> Result<Operation> {
        self.refuse(format!("roll back {app} {id} {}", options.dry_run))
    }
}

#[async_trait]
impl SyncRule for Recorder {
    fn name(&self) -> &str {
        self.note("rule name");
        "rule"
    }
    async fn evaluate(&self, context: &SyncContext<'_>) -> Result<Decision> {
        self.refuse(format!("evaluate {}", context.app.name))
    }
}

#[async_trait]
impl Validator for Recorder {
    fn name(&self) -> &str {
        self.note("validator name");
        "validator"
    }
    async fn validate(&self, app: &Application, _: &Context<'_>) -> Result<Vec<Finding>> {
        self.refuse(format!("validate {}", app.name))
    }
}

#[async_trait]
impl Notifier for Recorder {
    fn name(&self) -> &str {
        self.note("notifier name");
        "notifier"
    }
    async fn notify(&self, event: &SyncEvent) -> Result<()> {
        self.refuse(format!("notify {}", event.app))
    }
}

#[async_trait]
impl CredentialProvider for Recorder {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        self.refuse(format!("credential {}", request.host))
    }
}

#[async_trait]
impl Renderer for Recorder {
    async fn render(&self, request: &RenderRequest) -> Result<ManifestSet> {
        self.refuse(format!("render {}", request.app_name))
    }
    fn fingerprint(&self, request: &RenderRequest) -> Option<Fingerprint> {
        self.note(format!("fingerprint {}", request.app_name));
        None
    }
}

/// Calls every method of every trait through the wrapper itself.
async fn call_all<T>(wrapper: T)
where
    T: Backend
        + ApplicationStore
        + StatusStore
        + StateReader
        + RevisionHistory
        + SyncRule
        + Validator
        + Notifier
        + CredentialProvider
        + Renderer,
{
    let app = Application::new("a");
    let name = app.app_ref();
    let dry = SyncOptions {
        dry_run: true,
        ..SyncOptions::default()
    };
    let operation = Operation {
        app: name.clone(),
        id: "7".into(),
        started_at: jiff::Timestamp::UNIX_EPOCH,
    };
    let selector = Selector {
        namespace: Some("n".into()),
        ..Selector::default()
    };
    wrapper.sync(&name, &dry).await.unwrap_err();
    wrapper.wait(&operation).await.unwrap_err();
    wrapper.terminate(&operation).await.unwrap_err();
    Syncer::status(&wrapper, &name).await.unwrap_err();
    assert!(wrapper.watch(selector).next().await.is_none());

    assert_eq!(Backend::name(&wrapper), "recorder");
    assert!(Backend::store(&wrapper).is_some());
    assert!(Backend::state(&wrapper).is_some());
    assert!(Backend::history(&wrapper).is_some());

    let update = PutMode::Update("v".into());
    let with_status = ListOptions {
        with_status: true,
        ..ListOptions::default()
    };
    wrapper.put(&app, update).await.unwrap_err();
    wrapper.get(&name).await.unwrap_err();
    ApplicationStore::list(&wrapper, &with_status)
        .await
        .unwrap_err();
    wrapper
        .delete(&name, &DeleteOptions::default())
        .await
        .unwrap_err();
    wrapper.suspend(&name).await.unwrap_err();
    wrapper.resume(&name).await.unwrap_err();

    StatusStore::status(&wrapper, &name).await.unwrap_err();
    wrapper
        .put_status(&name, &ApplicationStatus::default())
        .await
        .unwrap_err();
    StateReader::state(&wrapper, &name, &["r".into()])
        .await
        .unwrap_err();
    RevisionHistory::list(&wrapper, &name).await.unwrap_err();
    wrapper.roll_back(&name, 3, &dry).await.unwrap_err();

    assert_eq!(SyncRule::name(&wrapper), "rule");
    wrapper.evaluate(&SyncContext::new(&app)).await.unwrap_err();
    assert_eq!(Validator::name(&wrapper), "validator");
    wrapper
        .validate(&app, &Context::default())
        .await
        .unwrap_err();
    assert_eq!(Notifier::name(&wrapper), "notifier");
    let event = SyncEvent::now(name, "1", EventKind::SyncStarted);
    wrapper.notify(&event).await.unwrap_err();
    let request = CredentialRequest::new("https://h/x", "https", "h");
    wrapper.credential(&request).await.unwrap_err();
    let request = RenderRequest {
        app_name: "a".into(),
        ..RenderRequest::default()
    };
    wrapper.render(&request).await.unwrap_err();
    assert!(wrapper.fingerprint(&request).is_none());
}

const CALLS: &[&str] = &[
    "sync a true",
    "wait 7",
    "terminate 7",
    "status a",
    "watch Some(\"n\")",
    "name",
    "store",
    "state",
    "history",
    "put a Update(\"v\")",
    "get a",
    "list true",
    "delete a true",
    "suspend a",
    "resume a",
    "kept status a",
    "put status a Unknown",
    "read state a [\"r\"]",
    "list history a",
    "roll back a 3 true",
    "rule name",
    "evaluate a",
    "validator name",
    "validate a",
    "notifier name",
    "notify a",
    "credential h",
    "render a",
    "fingerprint a",
];

#[tokio::test]
async fn a_reference_forwards_every_method() {
    let recorder = Recorder::default();
    call_all(&recorder).await;
    assert_eq!(*recorder.0.lock().unwrap(), CALLS);
}

#[tokio::test]
async fn an_arc_forwards_every_method() {
    let recorder = Arc::new(Recorder::default());
    call_all(recorder.clone()).await;
    assert_eq!(*recorder.0.lock().unwrap(), CALLS);
}

#[tokio::test]
async fn a_box_forwards_every_method() {
    let recorder = Arc::new(Recorder::default());
    // The box forwards to the Arc, the Arc to the recorder.
    call_all(Box::new(recorder.clone())).await;
    assert_eq!(*recorder.0.lock().unwrap(), CALLS);
}
