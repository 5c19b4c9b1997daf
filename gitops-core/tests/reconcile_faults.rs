//! What goes wrong around the reconciler: rights that are lost, ends that come too late, parts that hang, news that come at the wrong moment.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fake::{Fake, Fault};
use futures::stream;
use gitops_core::application::{AppRef, Application, HealthStatus, SyncStatus};
use gitops_core::backend::{
    ApplicationStore, DeleteOptions, EventKind, ListOptions, PutMode, PutOutcome, StatusEvent,
    Stored, SyncEvent,
};
use gitops_core::notify::Notifiers;
use gitops_core::reconcile::ReconcilerOptions;
use gitops_core::rule::{Decision, SyncStrategy, async_rule_fn, rule_fn};
use gitops_core::store::MemoryStore;
use gitops_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::time::Instant;
use world::{Broken, Owner, World, after, app};

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The reasons of the refusals among `told`, with who said no.
fn refusals(told: &[SyncEvent]) -> Vec<String> {
    let refusal = |event: &SyncEvent| match &event.kind {
        EventKind::SyncRefused { by, reason, .. } => Some(format!("{by}: {reason}")),
        _ => None,
    };
    told.iter().filter_map(refusal).collect()
}

#[tokio::test(start_paused = true)]
async fn starting_and_ending_what_is_not_wanted_share_one_deadline() {
    let world = World::new(&["a"]).await;
    *world.fake.lasts.lock().unwrap() = Duration::from_secs(1000);
    // It is lost while it starts; the start takes 2 s more, and the end 2 s: only 3 s are there.
    *world.fake.start_lasts.lock().unwrap() = millis(2500);
    *world.fake.terminating_lasts.lock().unwrap() = Duration::from_secs(2);
    let owner = Arc::new(Owner::default());
    owner.give(&["a"]);
    let mut running = world.run(world.reconciler().ownership(owner.clone()));
    tokio::time::sleep(millis(500)).await;
    owner.take("a");
    tokio::time::sleep(millis(2900)).await;
    assert_eq!(running.control.stats().looking, 1);
    tokio::time::sleep(millis(200)).await;
    assert_eq!(
        running.control.stats().looking,
        0,
        "it is longer than the margin"
    );
    assert_eq!(Fake::count(&world.fake.terminated), 1);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_does_not_stop_in_time_is_dropped_when_its_right_is_lost() {
    let world = World::new(&["a"]).await;
    *world.fake.lasts.lock().unwrap() = Duration::from_secs(1000);
    *world.fake.terminating_lasts.lock().unwrap() = Duration::from_secs(60);
    let owner = Arc::new(Owner::default());
    owner.give(&["a"]);
    let mut running = world.run(world.reconciler().ownership(owner.clone()));
    after(1).await;
    owner.take("a");
    let lost = Instant::now();
    while running.control.stats().looking > 0 {
        tokio::time::sleep(millis(10)).await;
    }
    assert!(lost.elapsed() < millis(3100), "{:?}", lost.elapsed());
    // Its end is not known: what was given back meanwhile is not resigned from.
    running.shut_down().await;
    assert_eq!(*owner.unfinished.lock().unwrap(), [AppRef::new("a")]);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_ended_at_the_end_is_not_given_to_others() {
    for (terminating, starting) in [(60, 0), (0, 1000)] {
        let world = World::new(&["a", "b"]).await;
        *world.fake.lasts.lock().unwrap() = Duration::from_secs(1000);
        *world.fake.terminating_lasts.lock().unwrap() = Duration::from_secs(terminating);
        let owner = Arc::new(Owner::default());
        owner.give(&["a", "b"]);
        // The one is over, the other never is.
        let mut running = world.run(world.reconciler().ownership(owner.clone()));
        after(1).await;
        if starting > 0 {
            for (_, terminate) in world.fake.terminations.lock().unwrap().iter() {
                terminate.notify_one();
            }
            after(1).await;
            *world.fake.start_lasts.lock().unwrap() = Duration::from_secs(starting);
            world.push("a", "r2");
            after(20).await;
        }
        let begun = Instant::now();
        running.shut_down().await;
        assert!(
            begun.elapsed() <= Duration::from_secs(34),
            "{:?}",
            begun.elapsed()
        );
        assert!(owner.resigned.load(Ordering::SeqCst));
        let mut unfinished = owner.unfinished.lock().unwrap().clone();
        unfinished.sort();
        assert_eq!(
            unfinished,
            [AppRef::new("a"), AppRef::new("b")],
            "{terminating} {starting}"
        );
    }
}

#[tokio::test]
async fn stopping_must_fit_between_two_owners() {
    let world = World::new(&[]).await;
    let owner = Arc::new(Owner::default());
    *owner.margin.lock().unwrap() = Some(Duration::from_secs(3));
    let refused = world
        .reconciler()
        .ownership(owner)
        .run(async {})
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

/// The backend's own events, as a test tells them.
fn backend_events() -> (
    mpsc::UnboundedSender<SyncEvent>,
    impl futures::Stream<Item = SyncEvent>,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let events = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (event, receiver))
    });
    (sender, events)
}

#[tokio::test(start_paused = true)]
async fn what_the_backend_tells_while_it_is_shut_down_is_told() {
    let world = World::new(&["a"]).await;
    *world.fake.lasts.lock().unwrap() = Duration::from_secs(10);
    let (tell, events) = backend_events();
    let mut running = world.run(world.reconciler().events(events));
    after(1).await;
    let fake = world.fake.clone();
    tokio::spawn(async move {
        fake::until(|| Fake::count(&fake.running) == 0).await;
        // A moment after the end, as a backend does it.
        tokio::time::sleep(millis(5)).await;
        tell.send(SyncEvent::now(
            "a".into(),
            "operation-0",
            EventKind::SyncStarted,
        ))
        .unwrap();
        std::future::pending::<()>().await;
    });
    running.shut_down().await;
    assert_eq!(world.told_names(), ["a syncStarted"]);
}

#[tokio::test(start_paused = true)]
async fn drift_is_told_unless_the_backend_told_it() {
    let world = World::new(&["a"]).await;
    let never = SyncStrategy::new().rule(rule_fn("never", |_| Ok(Decision::no("never"))));
    let (tell, events) = backend_events();
    let mut running = world.run(world.reconciler().strategy(never).events(events));
    after(1).await;
    world.tell_status("a", SyncStatus::Synced);
    after(1).await;
    world.told();
    let changed = |sync| EventKind::StatusChanged {
        sync,
        health: HealthStatus::Healthy,
    };
    for backend_too in [false, true] {
        if backend_too {
            tell.send(SyncEvent::now("a".into(), "", changed(SyncStatus::Synced)))
                .unwrap();
            after(1).await;
            world.tell_status("a", SyncStatus::Synced);
        } else {
            world.tell_status("a", SyncStatus::OutOfSync);
        }
        // The look that follows reads what the fake says, which is another state.
        tokio::time::sleep(millis(1)).await;
        let told = world.told();
        let of = if backend_too {
            SyncStatus::Synced
        } else {
            SyncStatus::OutOfSync
        };
        let same = told.iter().filter(|event| event.kind == changed(of));
        assert_eq!(same.count(), 1, "{told:?}");
    }
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_notifier_that_hangs_lets_no_other_miss_anything() {
    let world = World::new(&["a"]).await;
    let mut notifiers = Notifiers::default();
    notifiers
        .add_notifier(Broken(false))
        .add_notifier(world.events.clone());
    let never = SyncStrategy::new().rule(rule_fn("never", |_| Ok(Decision::no("never"))));
    let (tell, events) = backend_events();
    let reconciler = world
        .reconciler()
        .strategy(never)
        .notifiers(notifiers)
        .events(events);
    let mut running = world.run(reconciler);
    after(1).await;
    for _ in 0..1000 {
        tell.send(SyncEvent::now("a".into(), "", EventKind::SyncStarted))
            .unwrap();
    }
    after(1).await;
    assert_eq!(world.told().len(), 1000);
    running.shut_down().await;
}

/// A store whose lists take a while: what comes meanwhile is not on them.
struct Slow(MemoryStore);

#[async_trait]
impl ApplicationStore for Slow {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        self.0.put(app, mode).await
    }
    async fn get(&self, app: &AppRef) -> Result<Stored> {
        self.0.get(app).await
    }
    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        let all = self.0.list(options).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        all
    }
    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        self.0.delete(app, options).await
    }
    async fn suspend(&self, app: &AppRef) -> Result<()> {
        self.0.suspend(app).await
    }
    async fn resume(&self, app: &AppRef) -> Result<()> {
        self.0.resume(app).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_that_comes_while_the_list_is_read_is_not_missed() {
    let mut world = World::new(&[]).await;
    let store = Arc::new(Slow(MemoryStore::default()));
    world.fake = Fake::lasting(Duration::from_secs(1));
    let _ = world.fake.kept_store.set(store.clone());
    let mut running = world.run(world.reconciler());
    after(1).await;
    world.repositories.set(&world::url("new"), "r1");
    store.put(&app("new"), PutMode::Create).await.unwrap();
    world.tell_status("new", SyncStatus::OutOfSync);
    after(5).await;
    assert_eq!(world.synced(), ["new@r1"]);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_person_asked_for_outlives_a_failed_look() {
    let world = World::new(&["a"]).await;
    let people = rule_fn("people", |context| {
        Ok(match context.manual {
            true => Decision::yes("asked for"),
            false => Decision::no("not asked for"),
        })
    });
    let mut running = world.run(
        world
            .reconciler()
            .strategy(SyncStrategy::new().rule(people)),
    );
    after(5).await;
    let away = Error::unavailable("for a moment");
    world.fake.status_faults.lock().unwrap().push_back(away);
    running.control.sync_now("a".into(), "jane").await.unwrap();
    after(10).await;
    let asked = world.fake.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].1.initiator.name, "jane");
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_person_asks_a_replica_that_is_not_the_owner_is_refused_or_told() {
    let world = World::new(&["a", "b"]).await;
    *world.fake.lasts.lock().unwrap() = Duration::from_secs(100);
    let owner = Arc::new(Owner::default());
    owner.give(&["a"]);
    let mut running = world.run(world.reconciler().ownership(owner.clone()));
    after(1).await;
    let refused = running
        .control
        .sync_now("b".into(), "jane")
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("somebody-else"), "{refused}");
    // It is taken up, and then the application goes to another.
    running.control.sync_now("a".into(), "jane").await.unwrap();
    owner.take("a");
    after(5).await;
    let told = refusals(&world.told());
    assert!(told.len() == 1 && told[0].contains("jane"), "{told:?}");
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn an_application_made_anew_while_it_is_looked_at_is_not_looked_at_twice_at_once() {
    let world = World::new(&["a"]).await;
    *world.fake.start_lasts.lock().unwrap() = Duration::from_secs(10);
    let mut running = world.run(world.reconciler());
    after(1).await;
    let deleted = StatusEvent::Deleted { app: "a".into() };
    world.fake.told.get().unwrap().send(deleted).unwrap();
    after(1).await;
    world.tell_status("a", SyncStatus::OutOfSync);
    after(2).await;
    assert_eq!(running.control.stats().looking, 1);
    assert_eq!(Fake::count(&world.fake.sync_calls), 1);
    // The second look comes after the first, and finds nothing to do or one operation that runs.
    after(20).await;
    assert_eq!(running.control.stats().looking, 0);
    assert_eq!(running.control.stats().known, 1);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_hangs_is_given_up_told_once_and_stops_no_other() {
    let world = World::new(&["a", "hangs"]).await;
    let hanging = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&hanging);
    let rule = async_rule_fn("hangs", move |context| {
        let hangs = still.load(Ordering::SeqCst) && context.app.name == "hangs";
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok(Decision::yes("it does not hang"))
        })
    });
    let options = ReconcilerOptions {
        looks: 1,
        look_timeout: Duration::from_secs(10),
        ..ReconcilerOptions::default()
    };
    let reconciler = world.reconciler().strategy(SyncStrategy::new().rule(rule));
    let mut running = world.run(reconciler.options(options));
    after(14).await;
    assert_eq!(world.synced(), ["a@r1"]);
    after(60).await;
    let told = refusals(&world.told());
    assert!(
        told.len() == 1 && told[0].contains("within 10s"),
        "{told:?}"
    );
    hanging.store(false, Ordering::SeqCst);
    after(60).await;
    assert!(world.synced().contains(&"hangs@r1".to_owned()));
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn news_of_applications_of_others_are_handed_on_and_what_is_known_is_no_news() {
    let world = World::new(&["mine", "theirs"]).await;
    let owner = Arc::new(Owner::default());
    owner.give(&["mine"]);
    let mut running = world.run(world.reconciler().ownership(owner.clone()));
    after(5).await;
    world.push("mine", "r2");
    world.push("theirs", "r2");
    after(5).await;
    let handed: Vec<_> = std::mem::take(&mut *owner.handed_on.lock().unwrap());
    assert_eq!(handed.len(), 1);
    assert_eq!(handed[0].urls, [world::url("theirs")]);
    // The other way round.
    let looks = Fake::count(&world.fake.status_calls);
    let mut event = world.repositories.push(&world::url("mine"), "r3");
    event.revision = Some("r3".into());
    world.synced();
    for _ in 0..2 {
        owner.others.send_replace(Some(event.clone()));
        after(5).await;
    }
    assert_eq!(world.synced(), ["mine@r3"]);
    assert_eq!(Fake::count(&world.fake.status_calls), looks + 1);
    assert!(
        owner.handed_on.lock().unwrap().is_empty(),
        "it is not handed on again"
    );
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_hanging_record_of_the_end_does_not_keep_the_backend_from_hearing_of_it() {
    let world = World::new(&["a"]).await;
    *world.fake.lasts.lock().unwrap() = Duration::from_secs(1000);
    world
        .fake
        .sync_faults
        .lock()
        .unwrap()
        .push_back(Fault::Refused(Error::unavailable("once")));
    let owner = Arc::new(Owner::default());
    owner.give(&["a"]);
    let reconciler = world.reconciler().audit(Arc::new(
        gitops_core::audit::AuditLog::new().with_sink(Arc::new(Hangs)),
    ));
    let mut running = world.run(reconciler.ownership(owner.clone()));
    after(60).await;
    assert_eq!(Fake::count(&world.fake.running), 1);
    owner.take("a");
    after(30).await;
    assert_eq!(
        Fake::count(&world.fake.running),
        0,
        "it was never terminated"
    );
    running.shut_down().await;
}

struct Hangs;

#[async_trait]
impl gitops_core::audit::AuditSink for Hangs {
    fn name(&self) -> &str {
        "hangs"
    }
    async fn append(&self, _: &gitops_core::audit::AuditRecord) -> Result<()> {
        std::future::pending().await
    }
}
