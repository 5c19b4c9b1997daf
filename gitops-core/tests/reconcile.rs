//! The reconciler against a backend whose operations last and fail as a test says. The clock is tokio's, paused: it jumps to the next timer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;
mod world;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fake::Fake;
use futures::FutureExt;
use gitops_core::application::{Application, SyncStatus};
use gitops_core::audit::{AuditAction, AuditLog, AuditRecord, AuditSink};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, EventKind, PutMode, StatusEvent, SyncOptions, Syncer,
};
use gitops_core::limit::{LimitOptions, SyncLimiter};
use gitops_core::notify::{NotifierOptions, Notifiers};
use gitops_core::reconcile::ReconcilerOptions;
use gitops_core::rule::{Decision, OutOfSync, RevisionChanged, SyncStrategy, all, rule_fn};
use gitops_core::validate::{Context, Finding, Validator, Validators};
use gitops_core::{Error, ErrorKind, Result};
use world::{Broken, Owner, World, after, app, url};

#[tokio::test(start_paused = true)]
async fn new_revisions_are_synced_once_at_an_event_or_at_the_interval() {
    let world = World::new(&["a", "b"]).await;
    let mut running = world.run(world.reconciler());
    after(5).await;
    let mut first = world.synced();
    first.sort();
    assert_eq!(first, ["a@r1", "b@r1"]);
    let mut told = world.told_names();
    told.sort();
    assert_eq!(
        told,
        [
            "a syncFinished",
            "a syncStarted",
            "b syncFinished",
            "b syncStarted"
        ]
    );
    // An event leads to a look at once, at whom it concerns.
    let looks = Fake::count(&world.fake.status_calls);
    world.push("a", "r2");
    after(2).await;
    assert_eq!(world.synced(), ["a@r2"]);
    assert_eq!(Fake::count(&world.fake.status_calls), looks + 1);
    assert_eq!(
        world.told_names(),
        ["a revisionDetected", "a syncStarted", "a syncFinished"]
    );
    // What no event told is found at the interval, and nothing else is synced.
    world.repositories.set(&url("b"), "r2");
    after(100).await;
    assert_eq!(world.synced(), [""; 0]);
    after(150).await;
    assert_eq!(world.synced(), ["b@r2"]);
    after(3600).await;
    assert_eq!(world.synced(), [""; 0]);
    assert!(Fake::count(&world.fake.status_calls) > looks + 30);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn applications_come_and_go_while_it_runs() {
    let world = World::new(&["a"]).await;
    let mut running = world.run(world.reconciler());
    after(5).await;
    assert_eq!(world.synced(), ["a@r1"]);
    // The watch tells of a new one; without it, the list does.
    world.add(app("b")).await;
    world.tell_status("b", SyncStatus::OutOfSync);
    after(2).await;
    assert_eq!(world.synced(), ["b@r1"]);
    world.add(app("c")).await;
    after(200).await;
    assert_eq!(world.synced(), ["c@r1"]);
    assert_eq!(running.control.stats().known, 3);
    // A change of the application is news.
    let mut changed = app("c");
    changed.sources[0].repo_url = url("a");
    world.store.put(&changed, PutMode::Upsert).await.unwrap();
    world.repositories.set(&url("a"), "r1-of-a");
    after(400).await;
    let mut synced = world.synced();
    synced.sort();
    assert_eq!(synced, ["a@r1-of-a", "c@r1-of-a"]);
    for name in ["a", "b"] {
        let options = DeleteOptions {
            cascade: false,
            ..DeleteOptions::default()
        };
        world.store.delete(&name.into(), &options).await.unwrap();
    }
    world
        .fake
        .told
        .get()
        .unwrap()
        .send(StatusEvent::Deleted { app: "a".into() })
        .unwrap();
    after(1).await;
    assert_eq!(running.control.stats().known, 2);
    world.push("a", "r3");
    world.push("b", "r3");
    after(1).await;
    assert_eq!(world.synced(), ["c@r3"], "c reads the repository of a now");
    assert_eq!(running.control.stats().known, 1);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_errs_or_panics_stops_no_other_and_is_told_once() {
    let world = World::new(&["bad", "good", "worse"]).await;
    let broken = Arc::new(AtomicBool::new(true));
    let (rule, asked) = (Arc::clone(&broken), Arc::new(Mutex::new(Vec::new())));
    let times = Arc::clone(&asked);
    let begun = tokio::time::Instant::now();
    let fragile = rule_fn("fragile", move |context| match &*context.app.name {
        "good" => Ok(Decision::yes("it is good")),
        name => {
            times
                .lock()
                .unwrap()
                .push((name.to_owned(), begun.elapsed().as_secs()));
            match (rule.load(Ordering::SeqCst), name) {
                (false, _) => Ok(Decision::yes("it is mended")),
                (true, "bad") => Err(Error::failed("the rule's database is away")),
                (true, _) => panic!("the rule panics"),
            }
        }
    });
    let strategy = SyncStrategy::new().rule(all([
        Box::new(fragile) as Box<dyn gitops_core::rule::SyncRule>,
        Box::new(RevisionChanged::default()),
    ]));
    let mut running = world.run(world.reconciler().strategy(strategy));
    after(60).await;
    assert_eq!(world.synced(), ["good@r1"]);
    // Asked again after 5, 10, 20 … seconds.
    let times = |name: &str| -> Vec<u64> {
        let asked = asked.lock().unwrap();
        asked
            .iter()
            .filter(|(who, _)| who == name)
            .map(|(_, at)| *at)
            .collect()
    };
    assert_eq!(times("bad"), [0, 5, 15, 35]);
    assert_eq!(times("worse"), [0, 5, 15, 35]);
    let mut refusals: Vec<String> = world
        .told()
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::SyncRefused { by, reason, .. } => {
                Some(format!("{} {by} {reason}", event.app))
            }
            _ => None,
        })
        .collect();
    refusals.sort();
    assert_eq!(refusals.len(), 2, "each is told once: {refusals:?}");
    for (refusal, start, reason) in [
        (&refusals[0], "bad strategy", "database is away"),
        (&refusals[1], "worse strategy", "the rule panicked"),
    ] {
        assert!(
            refusal.starts_with(start) && refusal.contains(reason) && refusal.contains("fragile"),
            "{refusal}"
        );
    }
    broken.store(false, Ordering::SeqCst);
    after(60).await;
    let mut synced = world.synced();
    synced.sort();
    assert_eq!(synced, ["bad@r1", "worse@r1"]);
    running.shut_down().await;
}

/// Wants manifests without the word.
struct NoWord(&'static str);

#[async_trait]
impl Validator for NoWord {
    fn name(&self) -> &str {
        "no-word"
    }
    async fn validate(&self, _: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
        let manifests = context
            .manifests
            .ok_or_else(|| Error::internal("nothing rendered"))?;
        assert_eq!(context.revisions.len(), 1);
        let bad = manifests.iter().filter(|object| {
            serde_json::to_string(object.value())
                .unwrap()
                .contains(self.0)
        });
        Ok(bad
            .map(|object| Finding::error("bad-word", "a bad word").about(object))
            .collect())
    }
}

#[tokio::test(start_paused = true)]
async fn what_validators_find_keeps_a_revision_out_until_a_better_one_comes() {
    let world = World::new(&["a"]).await;
    *world.repositories.manifests.lock().unwrap() =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {word: damn}\n".into();
    let validators = Validators::new().validator(NoWord("damn"));
    let mut running = world.run(world.reconciler().validators(validators));
    after(3000).await;
    assert_eq!(world.synced(), [""; 0]);
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    let EventKind::SyncRefused {
        by,
        reason,
        revisions,
    } = &told[0].kind
    else {
        panic!("{told:?}");
    };
    assert_eq!(
        (by.as_str(), revisions.as_slice()),
        ("validators", ["r1".to_owned()].as_slice())
    );
    assert!(
        reason.contains("bad-word") && reason.contains("a.yaml"),
        "{reason}"
    );
    // A person cannot make it pass either.
    running.control.sync_now("a".into(), "jane").await.unwrap();
    after(10).await;
    assert_eq!(world.synced(), [""; 0]);
    *world.repositories.manifests.lock().unwrap() = String::new();
    world.push("a", "r2");
    after(5).await;
    assert_eq!(world.synced(), ["a@r2"]);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_while_it_is_paused_or_an_application_suspended() {
    let world = World::new(&["a"]).await;
    let mut sleeping = app("sleeping");
    sleeping.suspended = true;
    world.add(sleeping).await;
    let mut running = world.run(world.reconciler());
    running.control.pause();
    after(1000).await;
    assert_eq!(world.synced(), [""; 0]);
    assert!(running.control.is_paused());
    running.control.resume();
    after(1).await;
    assert_eq!(world.synced(), ["a@r1"]);
    // A sync that runs goes on.
    world.push("a", "r2");
    after(0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.control.pause();
    after(5).await;
    assert_eq!(world.synced(), ["a@r2"]);
    assert_eq!(Fake::count(&world.fake.running), 0);
    assert!(world.told_names().contains(&"a syncFinished".to_owned()));
    world.push("a", "r3");
    running.control.sync_now("a".into(), "jane").await.unwrap();
    after(600).await;
    assert_eq!(world.synced(), [""; 0]);
    running.control.resume();
    after(5).await;
    assert_eq!(world.synced(), ["a@r3"]);
    world.store.resume(&"sleeping".into()).await.unwrap();
    after(300).await;
    assert_eq!(world.synced(), ["sleeping@r1"]);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn failures_wait_longer_and_longer_and_a_new_revision_does_not() {
    let world = World::new(&["a"]).await;
    world.fake.failing.lock().unwrap().push("a".into());
    let mut running = world.run(world.reconciler());
    // Each try lasts a second; 5, 10, 20, 40 … seconds in between.
    after(45).await;
    assert_eq!(world.synced(), ["a@r1"; 4]);
    // What a failed sync changes is no reason for the next one.
    world.tell_status("a", SyncStatus::Synced);
    world.tell_status("a", SyncStatus::OutOfSync);
    after(5).await;
    assert_eq!(world.synced(), [""; 0]);
    world.push("a", "r2");
    after(1).await;
    assert_eq!(world.synced(), ["a@r2"]);
    world.fake.failing.lock().unwrap().clear();
    after(200).await;
    assert_eq!(world.synced(), ["a@r2"]);
    after(2000).await;
    assert_eq!(world.synced(), [""; 0]);
    // It could not be started at all: the reason is told once.
    for _ in 0..2 {
        let error = Error::permission_denied("not for you");
        world
            .fake
            .sync_faults
            .lock()
            .unwrap()
            .push_back(fake::Fault::Refused(error));
    }
    world.told();
    world.push("a", "r3");
    after(30).await;
    assert_eq!(world.synced(), ["a@r3"]);
    assert_eq!(
        world.told_names(),
        [
            "a revisionDetected",
            "a syncRefused",
            "a syncStarted",
            "a syncFinished"
        ]
    );
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn drift_that_comes_back_is_not_healed_in_a_hot_loop() {
    let world = World::new(&["a"]).await;
    // A backend that is never in sync.
    let strategy = SyncStrategy::new().rule(rule_fn("always", |_| Ok(Decision::yes("always"))));
    let mut running = world.run(world.reconciler().strategy(strategy));
    after(60).await;
    let states = [SyncStatus::Synced, SyncStatus::OutOfSync];
    for second in 0..600 {
        world.tell_status("a", states[second % 2]);
        after(1).await;
    }
    let count = world.synced().len();
    assert!((3..=14).contains(&count), "{count} syncs in eleven minutes");
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn drift_is_looked_at_when_the_watch_tells_it() {
    let world = World::new(&["a", "b"]).await;
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let drifted = Arc::clone(&seen);
    let rule = rule_fn("drifted", move |context| {
        Ok(match drifted.lock().unwrap().remove(&context.app.name) {
            true => Decision::yes("it drifted"),
            false => Decision::no("it did not"),
        })
    });
    let strategy = SyncStrategy::new().rule(OutOfSync).rule(rule);
    let mut running = world.run(world.reconciler().strategy(strategy));
    after(1).await;
    for name in ["a", "b"] {
        world.tell_status(name, SyncStatus::Synced);
    }
    after(1).await;
    seen.lock().unwrap().insert("b".to_owned());
    world.tell_status("b", SyncStatus::OutOfSync);
    after(1).await;
    assert_eq!(world.synced(), ["b@r1"]);
    let told = world.told_names();
    assert!(told.contains(&"b statusChanged".to_owned()), "{told:?}");
    running.shut_down().await;
}

/// A watch that reads states may miss those in between: what it tells then is the same as what it told last, and yet another state.
#[tokio::test(start_paused = true)]
async fn drift_after_a_sync_is_seen_when_the_watch_missed_the_sync() {
    let world = World::new(&["a"]).await;
    let wanted = Arc::new(Mutex::new(true));
    let once = Arc::clone(&wanted);
    let rule = rule_fn("drifted", move |_| {
        Ok(match std::mem::take(&mut *once.lock().unwrap()) {
            true => Decision::yes("it drifted"),
            false => Decision::no("it did not"),
        })
    });
    let strategy = SyncStrategy::new().rule(rule);
    let mut running = world.run(world.reconciler().strategy(strategy));
    after(1).await;
    world.tell_status("a", SyncStatus::OutOfSync);
    after(60).await;
    assert_eq!(world.synced(), ["a@r1"]);
    world.told();
    *wanted.lock().unwrap() = true;
    world.tell_status("a", SyncStatus::OutOfSync);
    after(3).await;
    assert_eq!(world.synced(), ["a@r1"]);
    let told = world.told_names();
    assert_eq!(
        told.first().map(String::as_str),
        Some("a statusChanged"),
        "{told:?}"
    );
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn notifiers_that_hang_or_panic_keep_no_sync_and_no_other_notifier_waiting() {
    let world = World::new(&["a"]).await;
    let mut notifiers = Notifiers::new(NotifierOptions {
        time_limit: Duration::from_secs(3),
        retries: 0,
        ..NotifierOptions::default()
    });
    notifiers
        .add_notifier(Broken(false))
        .add_notifier(world.events.clone())
        .add_notifier(Broken(true));
    let mut running = world.run(world.reconciler().notifiers(notifiers));
    after(2).await;
    for revision in ["r2", "r3"] {
        world.push("a", revision);
        after(2).await;
    }
    // Three syncs of a second each within six seconds; telling takes three seconds an event.
    assert_eq!(world.synced(), ["a@r1", "a@r2", "a@r3"]);
    after(30).await;
    assert_eq!(
        world.told_names(),
        [
            "a syncStarted",
            "a syncFinished",
            "a revisionDetected",
            "a syncStarted",
            "a syncFinished",
            "a revisionDetected",
            "a syncStarted",
            "a syncFinished"
        ],
        "in order"
    );
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn shutting_down_waits_for_syncs_then_terminates_them_and_tells_the_end() {
    for (lasts, terminated, ends_within) in [(20, 0, 20), (1000, 1, 33)] {
        let world = World::new(&["a", "b"]).await;
        *world.fake.lasts.lock().unwrap() = Duration::from_secs(lasts);
        *world.fake.terminating_lasts.lock().unwrap() = Duration::from_secs(2);
        let limiter = SyncLimiter::new(LimitOptions {
            max: 1,
            ..LimitOptions::default()
        });
        let owner = Arc::new(Owner::default());
        owner.give(&["a", "b"]);
        let reconciler = world
            .reconciler()
            .limiter(limiter.clone())
            .ownership(owner.clone());
        let mut running = world.run(reconciler);
        after(1).await;
        assert_eq!((limiter.running(), limiter.queued()), (1, 1));
        let begun = tokio::time::Instant::now();
        running.shut_down().await;
        let took = begun.elapsed().as_secs();
        assert!(took <= ends_within, "{took} seconds");
        assert_eq!(Fake::count(&world.fake.running), 0);
        assert_eq!(Fake::count(&world.fake.terminated), terminated);
        // The one that waited was not started; the one that ran was told to the end.
        assert_eq!(world.synced().len(), 1);
        let told = world.told();
        let EventKind::SyncFinished { outcome } = &told.last().unwrap().kind else {
            panic!("{told:?}");
        };
        assert_eq!(outcome.is_success(), terminated == 0);
        assert!(owner.resigned.load(Ordering::SeqCst));
        assert_eq!((limiter.running(), limiter.queued()), (0, 0));
        let refused = running.control.look_now("a".into()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_owner_acts_and_a_lost_right_ends_the_sync() {
    let world = World::new(&["mine", "theirs"]).await;
    *world.fake.lasts.lock().unwrap() = Duration::from_secs(60);
    let owner = Arc::new(Owner::default());
    owner.give(&["mine"]);
    let mut running = world.run(world.reconciler().ownership(owner.clone()));
    after(10).await;
    assert_eq!(world.synced(), ["mine@r1"]);
    assert_eq!(running.control.stats().owned, 1);
    // Lost in the middle of a sync: it is terminated at once, and nothing comes after.
    owner.take("mine");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(Fake::count(&world.fake.terminated), 1);
    assert_eq!(Fake::count(&world.fake.running), 0);
    for name in ["mine", "theirs"] {
        world.push(name, "r2");
        let refused = running.control.look_now(name.into()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        world.tell_status(name, SyncStatus::OutOfSync);
    }
    after(1000).await;
    assert_eq!(world.synced(), [""; 0]);
    // Gained: looked at at once.
    *world.fake.lasts.lock().unwrap() = Duration::from_secs(1);
    owner.give(&["theirs", "mine"]);
    after(2).await;
    let mut synced = world.synced();
    synced.sort();
    assert_eq!(synced, ["mine@r2", "theirs@r2"]);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn people_and_other_operations_are_respected() {
    let world = World::new(&["a"]).await;
    *world.fake.lasts.lock().unwrap() = Duration::from_secs(20);
    let manual = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&manual);
    let rule = rule_fn("people-only", move |context| {
        Ok(if context.manual {
            count.fetch_add(1, Ordering::SeqCst);
            Decision::yes("a person asked")
        } else {
            Decision::no("no person asked")
        })
    });
    let mut running = world.run(world.reconciler().strategy(SyncStrategy::new().rule(rule)));
    after(300).await;
    assert_eq!(world.synced(), [""; 0]);
    // Somebody else's operation runs: ours comes after it, and is still wanted.
    let others = SyncOptions::default();
    world.fake.sync(&"a".into(), &others).await.unwrap();
    running.control.sync_now("a".into(), "jane").await.unwrap();
    after(10).await;
    assert_eq!(world.synced(), ["a@"]);
    after(40).await;
    let asked = std::mem::take(&mut *world.fake.asked.lock().unwrap());
    assert_eq!(asked.len(), 1);
    let initiator = &asked[0].1.initiator;
    assert_eq!(
        (initiator.name.as_str(), initiator.automated),
        ("jane", false)
    );
    assert_eq!(manual.load(Ordering::SeqCst), 1);
    running.shut_down().await;
}

#[derive(Default)]
struct Records(Mutex<Vec<AuditRecord>>);

#[async_trait]
impl AuditSink for Records {
    fn name(&self) -> &str {
        "records"
    }
    async fn append(&self, record: &AuditRecord) -> Result<()> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn every_sync_is_in_the_audit_log() {
    let world = World::new(&["a"]).await;
    let records = Arc::new(Records::default());
    let log = AuditLog::new().with_sink(records.clone());
    let mut running = world.run(world.reconciler().audit(Arc::new(log)));
    after(5).await;
    running.shut_down().await;
    let records = records.0.lock().unwrap();
    assert_eq!(records.len(), 2, "{records:?}");
    for record in &*records {
        assert_eq!(record.action, AuditAction::Sync);
        assert_eq!(record.actor.name, "gitops-reconciler");
        assert!(record.actor.automated);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_applications_half_of_which_go_while_they_wait() {
    let world = World::new(&[]).await;
    let names: Vec<String> = (0..10_000).map(|n| format!("app-{n}")).collect();
    for name in &names {
        world.add(app(name)).await;
    }
    let limiter = SyncLimiter::new(LimitOptions {
        max: 8,
        ..LimitOptions::default()
    });
    let reconciler = world.reconciler().limiter(limiter.clone());
    let options = ReconcilerOptions {
        interval: Duration::from_secs(24 * 3600),
        ..ReconcilerOptions::default()
    };
    let owner = Arc::new(Owner::default());
    owner.give(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut running = world.run(reconciler.options(options).ownership(owner.clone()));
    after(10).await;
    assert_eq!(limiter.running(), 8);
    assert!(limiter.queued() > 9_000, "{}", limiter.queued());
    // Half of them are lost while they wait.
    for name in names.iter().skip(5_000) {
        owner.take(name);
    }
    after(1_000).await;
    assert_eq!((limiter.running(), limiter.queued()), (0, 0));
    let synced = world.synced();
    let distinct: HashSet<&String> = synced.iter().collect();
    assert_eq!(distinct.len(), synced.len(), "one was synced twice");
    assert!((5_000..5_200).contains(&synced.len()), "{}", synced.len());
    assert_eq!(Fake::count(&world.fake.most), 8);
    running.shut_down().now_or_never();
}
