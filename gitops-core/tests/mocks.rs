//! The mocks do what they are told, and wrappers forward every call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use gitops_core::application::{AppRef, Application, ApplicationStatus};
use gitops_core::backend::{Backend, EventKind, Operation, Selector, SyncEvent, SyncOptions};
use gitops_core::manifest::ManifestSet;
use gitops_core::manifest::render::{Fingerprint, RenderRequest, Renderer};
use gitops_core::notify::Notifier;
use gitops_core::rule::{Decision, SyncContext, SyncRule};
use gitops_core::testing::mocks::{
    MockApplicationStore, MockBackend, MockNotifier, MockRenderer, MockRevisionHistory,
    MockStateReader, MockSyncRule, MockSyncer, MockValidator,
};
use gitops_core::validate::{Context, Finding, Validator};
use gitops_core::{Error, ErrorKind};

fn operation() -> Operation {
    Operation {
        app: AppRef::new("a"),
        id: "1".into(),
        started_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn backend() -> MockBackend {
    let mut syncer = MockSyncer::new();
    syncer
        .expect_sync()
        .times(1)
        .returning(|_, _| Ok(operation()));
    syncer
        .expect_wait()
        .times(1)
        .returning(|_| Err(Error::timeout("the mock waits no longer")));
    syncer.expect_terminate().times(1).returning(|_| Ok(()));
    syncer
        .expect_status()
        .times(1)
        .returning(|_| Ok(ApplicationStatus::default()));
    syncer
        .expect_watch()
        .times(1)
        .returning(|_| Box::pin(futures::stream::empty()));
    let mut state = MockStateReader::new();
    state
        .expect_state()
        .times(1)
        .returning(|_, _| Ok(Vec::new()));
    let mut history = MockRevisionHistory::new();
    history.expect_list().times(1).returning(|_| Ok(Vec::new()));
    history
        .expect_roll_back()
        .times(1)
        .returning(|_, _, _| Ok(operation()));
    let mut store = MockApplicationStore::new();
    store.expect_suspend().times(1).returning(|_| Ok(()));
    store.expect_resume().times(1).returning(|_| Ok(()));
    store.expect_list().times(1).returning(|_| Ok(Vec::new()));
    MockBackend {
        syncer,
        store: Some(store),
        state: Some(state),
        history: Some(history),
    }
}

/// Calls everything once; what the wrapper does not forward, the mock misses.
async fn use_all<B: Backend>(backend: B) {
    let app = AppRef::new("a");
    assert_eq!(backend.name(), "mock");
    assert_eq!(
        backend.sync(&app, &SyncOptions::default()).await.unwrap(),
        operation()
    );
    assert_eq!(
        backend.wait(&operation()).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    backend.terminate(&operation()).await.unwrap();
    backend.status(&app).await.unwrap();
    drop(backend.watch(Selector::all()));
    backend.state().unwrap().state(&app, &[]).await.unwrap();
    let history = backend.history().unwrap();
    history.list(&app).await.unwrap();
    history
        .roll_back(&app, 0, &SyncOptions::default())
        .await
        .unwrap();
    let store = backend.store().unwrap();
    store.suspend(&app).await.unwrap();
    store.resume(&app).await.unwrap();
    store.list(&Default::default()).await.unwrap();
}

#[tokio::test]
async fn backends_are_forwarded_whole() {
    use_all(backend()).await;
    use_all(Box::new(backend())).await;
    use_all(Arc::new(backend())).await;
    use_all(&backend()).await;
    let dynamic: Arc<dyn Backend> = Arc::new(backend());
    use_all(dynamic).await;
}

#[tokio::test]
async fn rules_validators_and_notifiers_are_forwarded() {
    let app = Application::new("a");
    let mut rule = MockSyncRule::new();
    rule.expect_answer()
        .times(2)
        .returning(|context| Ok(Decision::yes(context.app.name.clone())));
    let rule: Arc<dyn SyncRule> = Arc::new(rule);
    assert_eq!(rule.name(), "mock");
    assert_eq!(
        rule.evaluate(&SyncContext::new(&app)).await.unwrap().reason,
        "a"
    );
    assert!(rule.evaluate(&SyncContext::new(&app)).await.unwrap().sync);

    let mut validator = MockValidator::new();
    validator.expect_answer().times(1).returning(|_, _| {
        Ok(vec![Finding::new(
            "code",
            gitops_core::backend::Severity::Error,
            "found",
        )])
    });
    let validator: Box<dyn Validator> = Box::new(validator);
    assert_eq!(
        validator
            .validate(&app, &Context::default())
            .await
            .unwrap()
            .len(),
        1
    );

    let mut notifier = MockNotifier::new();
    notifier.expect_notify().times(1).returning(|_| Ok(()));
    let notifier: Arc<dyn Notifier> = Arc::new(notifier);
    let event = SyncEvent::now(app.app_ref(), "1", EventKind::SyncStarted);
    notifier.notify(&event).await.unwrap();
}

#[tokio::test]
async fn a_renderer_is_told_its_fingerprint_too() {
    let mut renderer = MockRenderer::new();
    renderer
        .expect_render()
        .times(1)
        .returning(|_| Ok(ManifestSet::new()));
    renderer
        .expect_fingerprint()
        .times(1)
        .returning(|request| Fingerprint::new("mock", request));
    let renderer: Arc<dyn Renderer> = Arc::new(renderer);
    let request = RenderRequest::default();
    assert!(renderer.render(&request).await.unwrap().is_empty());
    assert!(renderer.fingerprint(&request).is_some());
}

/// The methods that are declared between `begin` and the next `end`.
fn methods(text: &str, begin: &str, end: &str) -> Option<BTreeSet<String>> {
    let body = &text[text.find(begin)? + begin.len()..];
    let body = &body[..body.find(end)?];
    let declared = body.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("async ");
        let name = line.strip_prefix("fn ")?.split(['(', '<']).next()?;
        Some(name.to_owned())
    });
    Some(declared.collect())
}

// Clippy does not look into what the macro makes, and a method with a default may be missing there without an error.
#[test]
fn every_mock_has_every_method_of_its_trait() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |file: &str| std::fs::read_to_string(sources.join(file)).unwrap();
    let mocks = read("testing/mocks.rs");
    for (name, file) in [
        ("Syncer", "backend/syncer.rs"),
        ("ApplicationStore", "backend/store.rs"),
        ("StateReader", "backend/state.rs"),
        ("RevisionHistory", "backend/state.rs"),
        ("StatusStore", "store/mod.rs"),
        ("Notifier", "notify/notifier.rs"),
        ("CredentialProvider", "credential.rs"),
        ("Renderer", "manifest/render/mod.rs"),
    ] {
        let declared = methods(&read(file), &format!("pub trait {name}:"), "\n}\n").unwrap();
        let mocked = methods(&mocks, &format!("impl {name} for {name} {{"), "\n    }\n").unwrap();
        assert!(!declared.is_empty(), "{name}");
        assert_eq!(mocked, declared, "{name}");
    }
}
