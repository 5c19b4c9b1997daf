//! Sync rules: each by a table, what must always hold by properties.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use gitops_core::application::{
    AppRef, Application, ApplicationStatus, Health, HealthStatus, HistoryEntry, OperationPhase,
    OperationStatus, Source, SyncStatus,
};
use gitops_core::rule::{
    Approval, ApprovalStore, Approvals, AutomatedPolicy, Decision, GENERATE_PATHS, HealthAtLeast,
    ManualApproval, Metadata, MinimumInterval, OutOfSync, PathsChanged, RevisionChanged,
    SyncContext, SyncRule, SyncStrategy, all, any, async_rule_fn, not, rule_fn,
};
use gitops_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use proptest::prelude::*;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn app() -> Application {
    Application::new("shop").source(Source::git("https://example.com/r").path("deploy/prod"))
}

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What a rule that never waits says.
fn ask(rule: &dyn SyncRule, context: &SyncContext<'_>) -> Result<Decision> {
    rule.evaluate(context).now_or_never().unwrap()
}

fn says(answer: Option<bool>) -> Box<dyn SyncRule> {
    Box::new(rule_fn(format!("{answer:?}"), move |_| match answer {
        Some(true) => Ok(Decision::yes("so be it")),
        Some(false) => Ok(Decision::no("not now")),
        None => Err(Error::unavailable("nobody knows")),
    }))
}

#[tokio::test]
async fn the_first_yes_decides_and_later_rules_are_not_asked() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let mut strategy = SyncStrategy::new();
    strategy.add_rule(says(Some(false))).add_rule(OutOfSync);
    let strategy = strategy.rule(rule_fn("late", move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Err(Error::internal("asked"))
    }));
    let app = app();
    let status = ApplicationStatus {
        sync: SyncStatus::OutOfSync,
        ..ApplicationStatus::default()
    };
    let mut context = SyncContext::new(&app);
    context.status = Some(&status);
    let verdict = strategy.should_sync(&context).await.unwrap();
    assert!(verdict.sync);
    assert_eq!(verdict.rule.as_deref(), Some("out-of-sync"));
    assert_eq!(verdict.answers.len(), 2);
    assert_eq!(
        verdict.to_string(),
        "sync (out-of-sync): the live state is not the desired one"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(
        format!("{strategy:?}"),
        r#"["Some(false)", "out-of-sync", "late"]"#
    );
}

#[tokio::test]
async fn an_error_before_a_yes_is_the_answer_and_names_the_rule() {
    let strategy = SyncStrategy::new()
        .rule(says(Some(false)))
        .rule(says(None))
        .rule(says(Some(true)));
    let error = strategy
        .should_sync(&SyncContext::new(&app()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("rule None about shop"),
        "{error}"
    );
    let none = SyncStrategy::new();
    let verdict = none.should_sync(&SyncContext::new(&app())).await.unwrap();
    assert!(!verdict.sync && verdict.rule.is_none());
    // Nested, it keeps the name of the rule that decided.
    let nested = SyncStrategy::new().rule(SyncStrategy::new().rule(says(Some(true))));
    let verdict = nested.should_sync(&SyncContext::new(&app())).await.unwrap();
    assert_eq!(verdict.reason, "Some(true): so be it");
}

fn answers() -> impl Strategy<Value = Vec<Option<bool>>> {
    prop::collection::vec(prop::option::of(any_bool()), 0..6)
}

fn any_bool() -> impl Strategy<Value = bool> {
    prop::bool::ANY
}

/// What asking in order and stopping at `stop` or an error gives.
fn model(answers: &[Option<bool>], stop: bool) -> Option<bool> {
    for answer in answers {
        match answer {
            None => return None,
            Some(answer) if *answer == stop => return Some(stop),
            _ => {}
        }
    }
    // Nothing said by nobody is a no.
    Some(!stop && !answers.is_empty())
}

proptest! {
    #[test]
    fn combinators_are_logic_with_errors_in_order(answers in answers()) {
        let app = app();
        let context = SyncContext::new(&app);
        let rules = || answers.iter().map(|answer| says(*answer));
        let got = |rule: &dyn SyncRule| ask(rule, &context).ok().map(|decision| decision.sync);
        prop_assert_eq!(got(&any(rules())), model(&answers, true));
        prop_assert_eq!(got(&all(rules())), model(&answers, false));
        prop_assert_eq!(got(&not(any(rules()))), model(&answers, true).map(|sync| !sync));
        prop_assert_eq!(got(&not(not(all(rules())))), model(&answers, false));
        let mut strategy = SyncStrategy::new();
        for rule in rules() {
            strategy.add_rule(rule);
        }
        prop_assert_eq!(got(&strategy), model(&answers, true));
    }
}

#[tokio::test]
async fn closures_may_wait() {
    let rule = async_rule_fn("waits", |context| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(Decision::yes(&*context.app.name))
        })
    });
    let app = app();
    let decision = rule.evaluate(&SyncContext::new(&app)).await.unwrap();
    assert_eq!(decision, Decision::yes("shop"));
    assert_eq!(format!("{rule:?}"), "waits");
    assert_eq!(not(OutOfSync).name(), "not(out-of-sync)");
}

fn deployed(revision: &str) -> ApplicationStatus {
    ApplicationStatus {
        history: vec![HistoryEntry {
            revisions: texts(&[revision]),
            ..HistoryEntry::default()
        }],
        ..ApplicationStatus::default()
    }
}

fn operation(phase: OperationPhase, revision: &str) -> ApplicationStatus {
    ApplicationStatus {
        operation: Some(OperationStatus {
            phase,
            revisions: texts(&[revision]),
            ..OperationStatus::default()
        }),
        ..ApplicationStatus::default()
    }
}

#[test]
fn revision_changed() {
    let app = app();
    let with = |status: ApplicationStatus, later: ApplicationStatus| ApplicationStatus {
        operation: later.operation,
        ..status
    };
    use OperationPhase::*;
    let table = [
        ("never synced", ApplicationStatus::default(), true, true),
        ("deployed", deployed(A), false, false),
        ("older deployed", deployed(B), true, true),
        (
            "no history, succeeded",
            operation(Succeeded, A),
            false,
            false,
        ),
        (
            "no history, succeeded with older",
            operation(Succeeded, B),
            true,
            true,
        ),
        (
            "running",
            with(deployed(B), operation(Running, A)),
            false,
            false,
        ),
        (
            "being stopped",
            with(deployed(B), operation(Terminating, A)),
            false,
            false,
        ),
        (
            "older running",
            with(deployed(B), operation(Running, B)),
            true,
            true,
        ),
        (
            "failed",
            with(deployed(B), operation(Failed, A)),
            false,
            true,
        ),
        ("error", with(deployed(B), operation(Error, A)), false, true),
        (
            "older failed",
            with(deployed(B), operation(Failed, B)),
            true,
            true,
        ),
    ];
    let revisions = texts(&[A]);
    for (name, status, expected, when_failed_are_retried) in &table {
        let mut context = SyncContext::new(&app);
        context.status = Some(status);
        context.revisions = &revisions;
        let rule = RevisionChanged::default();
        assert_eq!(ask(&rule, &context).unwrap().sync, *expected, "{name}");
        let rule = RevisionChanged { retry_failed: true };
        let decision = ask(&rule, &context).unwrap();
        assert_eq!(decision.sync, *when_failed_are_retried, "{name}");
        assert!(!decision.reason.contains(A), "{}", decision.reason);
    }
    // One of several sources is enough.
    let two = texts(&[A, B]);
    let status = deployed(A);
    let mut context = SyncContext::new(&app);
    context.status = Some(&status);
    context.revisions = &two;
    assert!(ask(&RevisionChanged::default(), &context).unwrap().sync);
    // Not to know is neither yes nor no.
    context.revisions = &[];
    assert!(ask(&RevisionChanged::default(), &context).is_err());
    context.revisions = &two;
    context.status = None;
    let error = ask(&RevisionChanged::default(), &context).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn paths_changed() {
    // (annotation, changed, yes); the source's path is deploy/prod. The rows with an annotation are those of Argo CD's documentation and of its path package's rules.
    let table: &[(Option<&str>, &[&str], bool)] = &[
        (None, &["deploy/prod/web.yaml"], true),
        (None, &["deploy/prod"], true),
        (None, &["deploy/production/web.yaml"], false),
        (None, &["deploy/base/web.yaml", "README.md"], false),
        (Some("."), &["deploy/prod/a/b.yaml"], true),
        (Some("."), &["deploy/base/b.yaml"], false),
        (Some(".;../base"), &["deploy/base/b.yaml"], true),
        (Some("../base"), &["deploy/prod/b.yaml"], false),
        (Some("/shared"), &["shared/x"], true),
        (Some("/shared"), &["deploy/prod/shared/x"], false),
        (Some("/"), &["anything"], true),
        (Some("../../.."), &["anything"], true),
        (Some(";;"), &["deploy/prod/x"], true),
        (Some(";;"), &["other"], false),
        (
            Some("/shared/*-secret.yaml"),
            &["shared/my-secret.yaml"],
            true,
        ),
        (
            Some("/shared/*-secret.yaml"),
            &["shared/deep/my-secret.yaml"],
            false,
        ),
        (Some("*.yaml"), &["deploy/prod/web.yaml"], true),
        (Some("*.yaml"), &["deploy/prod/web.json"], false),
        (Some("web.yaml"), &["/deploy/prod/web.yaml"], true),
        (Some("web.[yj]*"), &["deploy/prod/web.json"], true),
        (Some("[broken"), &["deploy/prod/web.json"], false),
    ];
    for (annotation, changed, expected) in table {
        let mut app = app();
        if let Some(annotation) = annotation {
            app.annotations
                .insert(GENERATE_PATHS.into(), (*annotation).into());
        }
        let changed = texts(changed);
        let mut context = SyncContext::new(&app);
        context.changed_paths = Some(&changed);
        let decision = ask(&PathsChanged::default(), &context).unwrap();
        assert_eq!(
            decision.sync, *expected,
            "{annotation:?} {changed:?}: {}",
            decision.reason
        );
    }
}

#[test]
fn paths_changed_when_little_is_known() {
    let mut plain = app();
    let mut context = SyncContext::new(&plain);
    assert!(ask(&PathsChanged::default(), &context).unwrap().sync);
    context.changed_paths = Some(&[]);
    assert!(!ask(&PathsChanged::default(), &context).unwrap().sync);
    let other = texts(&["other"]);
    context.changed_paths = Some(&other);
    assert!(!ask(&PathsChanged::default(), &context).unwrap().sync);
    let annotated = PathsChanged::default().only_annotated(true);
    assert!(ask(&annotated, &context).unwrap().sync);
    // Any source will do, and one at the root is made of everything.
    plain
        .sources
        .push(Source::git("https://example.com/s").path("other"));
    let mut context = SyncContext::new(&plain);
    context.changed_paths = Some(&other);
    assert!(ask(&PathsChanged::default(), &context).unwrap().sync);
    let root = Application::new("root").source(Source::git("https://example.com/r"));
    let mut context = SyncContext::new(&root);
    context.changed_paths = Some(&other);
    assert!(ask(&PathsChanged::default(), &context).unwrap().sync);
}

proptest! {
    #[test]
    fn a_file_below_the_source_always_counts(dirs in prop::collection::vec("[a-z]{1,4}", 1..4), file in "[a-z]{1,6}(/[a-z]{1,3})?") {
        let path = dirs.join("/");
        let app = Application::new("a").source(Source::git("https://example.com/r").path(&*path));
        let inside = texts(&[&format!("{path}/{file}")]);
        let outside = texts(&[&format!("{path}x/{file}")]);
        let mut context = SyncContext::new(&app);
        context.changed_paths = Some(&inside);
        prop_assert!(ask(&PathsChanged::default(), &context).unwrap().sync);
        context.changed_paths = Some(&outside);
        prop_assert!(!ask(&PathsChanged::default(), &context).unwrap().sync);
    }

    #[test]
    fn no_annotation_makes_it_panic(annotation in ".{0,40}", file in ".{0,40}") {
        let mut app = app();
        app.annotations.insert(GENERATE_PATHS.into(), annotation);
        let changed = vec![file];
        let mut context = SyncContext::new(&app);
        context.changed_paths = Some(&changed);
        ask(&PathsChanged::default(), &context).unwrap();
    }
}

const HEALTH: [HealthStatus; 6] = [
    HealthStatus::Healthy,
    HealthStatus::Suspended,
    HealthStatus::Progressing,
    HealthStatus::Missing,
    HealthStatus::Degraded,
    HealthStatus::Unknown,
];

#[test]
fn out_of_sync_and_health_at_least() {
    let app = app();
    for (sync, expected) in [
        (SyncStatus::OutOfSync, true),
        (SyncStatus::Synced, false),
        (SyncStatus::Unknown, false),
    ] {
        let status = ApplicationStatus {
            sync,
            ..ApplicationStatus::default()
        };
        let mut context = SyncContext::new(&app);
        context.status = Some(&status);
        assert_eq!(ask(&OutOfSync, &context).unwrap().sync, expected, "{sync}");
    }
    for (rank, health) in HEALTH.into_iter().enumerate() {
        let status = ApplicationStatus {
            health: Health::new(health, ""),
            ..ApplicationStatus::default()
        };
        let mut context = SyncContext::new(&app);
        context.status = Some(&status);
        for (asked, least) in HEALTH.into_iter().enumerate() {
            let decision = ask(&HealthAtLeast(least), &context).unwrap();
            assert_eq!(decision.sync, rank <= asked, "{health} at least {least}");
        }
    }
    let context = SyncContext::new(&app);
    for rule in [
        &OutOfSync as &dyn SyncRule,
        &HealthAtLeast(HealthStatus::Healthy),
    ] {
        assert_eq!(
            ask(rule, &context).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}

#[test]
fn minimum_interval() {
    let app = app();
    let ended = |text: Option<&str>| ApplicationStatus {
        history: vec![HistoryEntry {
            deployed_at: text.map(at),
            ..HistoryEntry::default()
        }],
        ..ApplicationStatus::default()
    };
    let failed = |text: &str| ApplicationStatus {
        operation: Some(OperationStatus {
            phase: OperationPhase::Failed,
            finished_at: Some(at(text)),
            ..OperationStatus::default()
        }),
        ..ended(Some("2026-01-01T09:00:00Z"))
    };
    let table = [
        ("never", ApplicationStatus::default(), true),
        ("no time", ended(None), true),
        ("just short", ended(Some("2026-01-01T11:00:01Z")), false),
        ("exactly", ended(Some("2026-01-01T11:00:00Z")), true),
        ("in the future", ended(Some("2026-01-01T13:00:00Z")), false),
        ("a failed one counts", failed("2026-01-01T11:59:00Z"), false),
        ("running", operation(OperationPhase::Running, A), false),
    ];
    for (name, status, expected) in &table {
        let mut context = SyncContext::new(&app);
        context.status = Some(status);
        context.now = at("2026-01-01T12:00:00Z");
        let rule = MinimumInterval(Duration::from_secs(3600));
        assert_eq!(ask(&rule, &context).unwrap().sync, *expected, "{name}");
    }
}

#[test]
fn labels_and_annotations() {
    let mut app = app();
    app.labels.insert("tier".into(), "prod".into());
    app.annotations.insert("token".into(), "hunter2".into());
    let context = SyncContext::new(&app);
    let table = [
        (Metadata::label("tier"), true),
        (Metadata::label("tier").is("prod"), true),
        (Metadata::label("tier").is("dev"), false),
        (Metadata::label("tier").is_one_of(["dev", "prod"]), true),
        (
            Metadata::label("tier").is_one_of(Vec::<String>::new()),
            false,
        ),
        (Metadata::label("tier").is("dev").is_there(), true),
        (Metadata::label("token"), false),
        (Metadata::annotation("token"), true),
        (Metadata::annotation("token").is("other"), false),
        (Metadata::annotation("tier"), false),
    ];
    for (rule, expected) in table {
        let decision = ask(&rule, &context).unwrap();
        assert_eq!(decision.sync, expected, "{rule:?}");
        assert!(!decision.reason.contains("hunter2"));
    }
}

#[test]
fn approvals_are_for_one_revision_and_expire() {
    let app = app();
    let store = Approvals::new();
    let rule = ManualApproval::new(store.clone());
    let revisions = texts(&[A]);
    let mut context = SyncContext::new(&app);
    context.revisions = &revisions;
    assert!(!ask(&rule, &context).unwrap().sync);

    store.approve(Approval::new("shop", B, "ann")).unwrap();
    store.approve(Approval::new("other", A, "ann")).unwrap();
    assert!(
        !ask(&rule, &context).unwrap().sync,
        "another revision, another application"
    );

    let approval = Approval::new("shop", A, "ann")
        .comment("checked")
        .expires_after(Duration::from_secs(60));
    let end = approval.expires_at.unwrap();
    store.approve(approval.clone()).unwrap();
    context.now = approval.at;
    let decision = ask(&rule, &context).unwrap();
    assert!(decision.sync);
    assert_eq!(decision.reason, "aaaaaaa is approved by ann");
    context.now = end;
    assert!(!ask(&rule, &context).unwrap().sync, "expired");
    context.now = approval.at - jiff::SignedDuration::from_secs(1);
    assert!(!ask(&rule, &context).unwrap().sync, "not given yet");
    context.now = approval.at;
    let kept = serde_json::to_string(&store.all()).unwrap();
    assert!(store.withdraw(&AppRef::new("shop"), A, "ann"));
    assert!(!store.withdraw(&AppRef::new("shop"), A, "ann"));
    assert!(!ask(&rule, &context).unwrap().sync, "withdrawn");

    // What was stored can be put back.
    for approval in serde_json::from_str::<Vec<Approval>>(&kept).unwrap() {
        store.approve(approval).unwrap();
    }
    assert!(ask(&rule, &context).unwrap().sync);
    // Not to know the revision is an error, not a yes.
    context.revisions = &[];
    assert!(ask(&rule, &context).is_err());
}

#[test]
fn enough_people_must_approve_of_every_revision() {
    let app = app();
    let store = Approvals::new();
    let revisions = texts(&[A, B]);
    let mut context = SyncContext::new(&app);
    context.revisions = &revisions;
    let rule = ManualApproval::new(store.clone())
        .needed(2)
        .approvers(["ann", "bob"]);
    let mut said = |revision: &str, by: &str| {
        store.approve(Approval::new("shop", revision, by)).unwrap();
        context.now = Timestamp::now();
        ask(&rule, &context).unwrap().sync
    };
    assert!(!said(A, "ann"));
    assert!(!said(A, "ann"), "twice the same person");
    assert!(!said(A, "eve"), "not an approver");
    assert!(!said(A, "bob"));
    assert!(!said(B, "bob"));
    assert!(said(B, "ann"));
    for bad in [
        Approval::new("shop", A, " "),
        Approval::new("shop", "", "ann"),
    ] {
        assert_eq!(
            store.approve(bad).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}

/// Answers with approvals of something else.
struct Wrong;

#[async_trait]
impl ApprovalStore for Wrong {
    async fn list(&self, _: &AppRef, _: &str) -> Result<Vec<Approval>> {
        Ok(vec![
            Approval::new("shop", B, "ann"),
            Approval::new("other", A, "ann"),
        ])
    }
}

#[test]
fn a_store_that_answers_wrongly_opens_nothing() {
    let app = app();
    let revisions = texts(&[A]);
    let mut context = SyncContext::new(&app);
    context.revisions = &revisions;
    assert!(!ask(&ManualApproval::new(Wrong), &context).unwrap().sync);
}

#[test]
fn the_policy_of_the_application_decides_as_argo_cd_does() {
    use gitops_core::application::Automated;
    let status = |sync, deployed: &str, last: Option<(&str, OperationPhase)>| ApplicationStatus {
        sync,
        revisions: texts(&[deployed]),
        history: vec![HistoryEntry {
            revisions: texts(&[deployed]),
            ..HistoryEntry::default()
        }],
        operation: last.map(|(revision, phase)| OperationStatus {
            revisions: texts(&[revision]),
            phase,
            ..OperationStatus::default()
        }),
        ..ApplicationStatus::default()
    };
    let (off, on) = (None, Some(Automated::default()));
    let disabled = on.map(|mut policy| {
        policy.enabled = Some(false);
        policy
    });
    let heals = on.map(|policy| policy.self_heal(true));
    let (synced, differs) = (SyncStatus::Synced, SyncStatus::OutOfSync);
    let (failed, runs) = (
        Some((B, OperationPhase::Failed)),
        Some((B, OperationPhase::Running)),
    );
    // (policy, status, last operation, retry_failed, the wanted revision, yes?)
    for (policy, sync, last, retry_failed, wanted, expected) in [
        (off, differs, None, false, B, false),
        (disabled, differs, None, false, B, false),
        (on, differs, None, false, B, true),
        (on, synced, None, false, B, true),
        (on, synced, None, false, A, false),
        (on, differs, None, false, A, false),
        (heals, differs, None, false, A, true),
        (heals, synced, None, false, A, false),
        (heals, SyncStatus::Unknown, None, false, A, false),
        (on, differs, runs, false, B, false),
        (on, differs, failed, false, B, false),
        (on, differs, failed, true, B, true),
        (heals, differs, failed, false, B, true),
    ] {
        let mut app = app();
        app.sync_policy.automated = policy;
        let status = status(sync, A, last);
        let wanted = texts(&[wanted]);
        let mut context = SyncContext::new(&app);
        context.status = Some(&status);
        context.revisions = &wanted;
        let rule = AutomatedPolicy { retry_failed };
        let decision = ask(&rule, &context).unwrap();
        let case = format!("{policy:?} {sync} {last:?} {retry_failed} {wanted:?}: {decision:?}");
        assert_eq!(decision.sync, expected, "{case}");
        // People decide for themselves; nothing is synced by itself while it is suspended.
        context.manual = true;
        assert!(ask(&rule, &context).unwrap().sync, "{case}");
        context.manual = false;
        let mut suspended = app.clone();
        suspended.suspended = true;
        context.app = &suspended;
        assert!(!ask(&rule, &context).unwrap().sync, "{case}");
    }
}
