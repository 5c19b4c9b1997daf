//! The reconciler around the direct backend: a repository on disk, and the in-memory cluster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use gitops_core::application::{Application, Automated, Source, SyncStatus};
use gitops_core::backend::{ApplicationStore, EventKind, PutMode, Syncer, SyncerExt};
use gitops_core::manifest::GroupVersionKind;
use gitops_core::manifest::render::Renderers;
use gitops_core::notify::{BroadcastNotifier, Notifiers};
use gitops_core::reconcile::{Ownership, Reconciler, ReconcilerOptions};
use gitops_core::rule::{Decision, PathsChanged, RevisionChanged, SyncStrategy, all, rule_fn};
use gitops_core::source::{RevisionEvent, Sources};
use gitops_core::store::MemoryStore;
use gitops_core::validate::{AllowedKinds, Validators};
use gitops_git::{CommitOptions, Edits, GitClient, Repository, RepositoryOptions};
use gitops_kube::cluster::{ApiKind, Cluster, DeleteParams, InMemoryCluster, ObjectKey, Scope};
use gitops_kube::direct::{DirectBackend, DirectOptions, GitSources};
use gitops_kube::engine::Engine;
use gitops_kube::lease::{LeaseOptions, LeaseOwnership};

struct Place {
    _dir: tempfile::TempDir,
    url: String,
    repository: Repository,
    cluster: Arc<InMemoryCluster>,
    sources: Arc<GitSources>,
    store: Arc<MemoryStore>,
    backend: DirectBackend,
}

fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: \"{value}\"}}\n"
    )
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.git");
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        git2::Repository::init_opts(&path, &options).unwrap();
        let url = format!("file://{}", path.display());
        let git = GitClient::new(RepositoryOptions::default()).unwrap();
        let repository = git.repository(&url).await.unwrap();
        let cluster = Arc::new(InMemoryCluster::new());
        let sources = Arc::new(GitSources::new(git, Renderers::default()));
        let store = Arc::new(MemoryStore::new());
        let backend = DirectBackend::new(
            Engine::new(cluster.clone()),
            sources.clone(),
            store.clone(),
            DirectOptions {
                refresh: Duration::from_millis(200),
                ..DirectOptions::default()
            },
        );
        Self {
            _dir: dir,
            url,
            repository,
            cluster,
            sources,
            store,
            backend,
        }
    }

    /// Another process on the same cluster, which looks at nothing by itself, and its place among the others.
    fn replica(&self, identity: &str) -> (Reconciler, Arc<LeaseOwnership>) {
        let options = DirectOptions {
            refresh: Duration::ZERO,
            ..DirectOptions::default()
        };
        let engine = Engine::new(self.cluster.clone());
        let backend = DirectBackend::new(engine, self.sources.clone(), self.store.clone(), options);
        let leases = LeaseOptions {
            identity: identity.into(),
            // Nobody is to lose anything here, on a busy machine either.
            lease_duration: Duration::from_secs(30),
            renew_deadline: Duration::from_secs(20),
            retry_period: Duration::from_millis(500),
            ..LeaseOptions::default()
        };
        let owner = Arc::new(LeaseOwnership::start(self.cluster.clone(), leases).unwrap());
        let reconciler = Reconciler::new(backend)
            .sources(self.sources.clone())
            .ownership(owner.clone())
            .options(ReconcilerOptions {
                interval: Duration::from_secs(3600),
                terminate_grace: Duration::from_secs(1),
                ..ReconcilerOptions::default()
            });
        (reconciler, owner)
    }

    async fn commit(&self, path: &str, text: String) -> String {
        let options = CommitOptions::new("Ann", "ann@example.com", "Change {path}").branch("main");
        let edits = Edits::new().put(path, text);
        let committed = self
            .repository
            .commit(&options, |_| async { Ok(edits.clone()) });
        committed.await.unwrap().commit().unwrap().to_owned()
    }

    async fn put(&self, name: &str, automated: Automated) {
        let source = Source::git(&self.url)
            .path(format!("apps/{name}"))
            .revision("main");
        let app = Application::new(name)
            .source(source)
            .in_namespace("default")
            .automated(automated);
        self.backend.put(&app, PutMode::Create).await.unwrap();
    }

    async fn until_synced(&self, name: &str, commit: &str) {
        let app = name.into();
        let waits = self
            .backend
            .wait_for(&app, Duration::from_secs(20), |status| {
                status.sync == SyncStatus::Synced
                    && status
                        .history
                        .last()
                        .is_some_and(|last| last.revisions == [commit])
            });
        waits.await.unwrap();
    }

    fn event(&self) -> RevisionEvent {
        RevisionEvent {
            urls: vec![self.url.clone()],
            reference: Some("refs/heads/main".into()),
            ..RevisionEvent::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_deployed_where_they_belong_and_drift_is_healed() {
    let place = Place::new().await;
    place
        .commit("apps/one/a.yaml", config_map("one", "1"))
        .await;
    let first = place
        .commit("apps/two/a.yaml", config_map("two", "1"))
        .await;
    place.put("one", Automated::default().self_heal(true)).await;
    place.put("two", Automated::default()).await;
    let strategy = SyncStrategy::new().rule(all([
        Box::new(RevisionChanged::default()) as _,
        Box::new(PathsChanged::default()) as _,
    ]));
    let strategy = strategy.rule(all([
        Box::new(rule_fn("self-heal", |context| {
            let policy = &context.app.sync_policy.automated;
            Ok(match policy.is_some_and(|policy| policy.self_heal) {
                true => Decision::yes("it heals itself"),
                false => Decision::no("it does not heal itself"),
            })
        })) as _,
        Box::new(gitops_core::rule::OutOfSync) as _,
    ]));
    let denied = AllowedKinds::new().deny("", "Secret").unwrap();
    let (pushes, pushed) = mpsc::unbounded();
    let events = BroadcastNotifier::new(10_000);
    let mut heard = events.subscribe();
    let mut notifiers = Notifiers::default();
    notifiers.add_notifier(events);
    let reconciler = Reconciler::new(place.backend.clone())
        .sources(place.sources.clone())
        .strategy(strategy)
        .validators(Validators::new().validator(denied))
        .notifiers(notifiers)
        .events(place.backend.events())
        .revisions(pushed)
        .options(ReconcilerOptions {
            interval: Duration::from_secs(3600),
            ..ReconcilerOptions::default()
        });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(reconciler.run(async {
        let _ = stopped.await;
    }));
    place.until_synced("one", &first).await;
    place.until_synced("two", &first).await;

    // A commit for one application only.
    let second = place
        .commit("apps/one/a.yaml", config_map("one", "2"))
        .await;
    pushes.unbounded_send(place.event()).unwrap();
    place.until_synced("one", &second).await;
    let two = place.backend.status(&"two".into()).await.unwrap();
    assert_eq!(two.history.len(), 1, "{:?}", two.history);

    // Somebody deletes what was deployed: healed where that is wanted.
    let kind = ApiKind {
        gvk: GroupVersionKind::new("", "v1", "ConfigMap"),
        plural: "configmaps".into(),
        scope: Scope::Namespaced,
        verbs: Vec::new(),
    };
    for name in ["one", "two"] {
        let key = ObjectKey {
            kind: &kind,
            namespace: "default",
            name,
        };
        place
            .cluster
            .delete(key, &DeleteParams::default())
            .await
            .unwrap();
    }
    let one = ObjectKey {
        kind: &kind,
        namespace: "default",
        name: "one",
    };
    let healed = async {
        while place.cluster.get(one).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), healed)
        .await
        .unwrap();
    place.until_synced("one", &second).await;
    let two = place.backend.status(&"two".into()).await.unwrap();
    assert_eq!(two.sync, SyncStatus::OutOfSync);

    // Drift is told: the backend itself tells of operations only.
    let drift = async {
        loop {
            let event = heard.recv().await.unwrap();
            if let EventKind::StatusChanged { sync, .. } = event.kind
                && (event.app.name.as_str(), sync) == ("two", SyncStatus::OutOfSync)
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), drift)
        .await
        .unwrap();

    // What validators forbid is not deployed.
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
    let third = place.commit("apps/one/secret.yaml", secret.into()).await;
    pushes.unbounded_send(place.event()).unwrap();
    let refused = async {
        loop {
            let event = heard.recv().await.unwrap();
            if let EventKind::SyncRefused {
                by,
                reason,
                revisions,
            } = event.kind
            {
                return (event.app.name, by, reason, revisions);
            }
        }
    };
    let (app, by, reason, revisions) = tokio::time::timeout(Duration::from_secs(20), refused)
        .await
        .unwrap();
    assert_eq!((app.as_str(), by.as_str()), ("one", "validators"));
    assert!(reason.contains("apps/one/secret.yaml"), "{reason}");
    assert_eq!(revisions, [third]);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_reaches_one_replica_is_handed_on_to_the_owner() {
    let place = Place::new().await;
    let first = place
        .commit("apps/one/a.yaml", config_map("one", "1"))
        .await;
    place.put("one", Automated::default()).await;
    let (pushes, pushed) = mpsc::unbounded();
    let app = "one".into();
    let mut replicas = Vec::new();
    let mut owners = Vec::new();
    for identity in ["a", "b"] {
        let (reconciler, owner) = place.replica(identity);
        replicas.push(reconciler);
        owners.push(owner);
    }
    let settled = async {
        while owners.iter().any(|owner| owner.shards().len() != 8) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .unwrap();
    // The message goes to the replica that does not own the application.
    let stranger = usize::from(owners[0].tenure(&app).is_some());
    let (mut stops, mut running, mut controls) = (Vec::new(), Vec::new(), Vec::new());
    let mut pushed = Some(pushed);
    for (number, mut reconciler) in replicas.into_iter().enumerate() {
        if number == stranger {
            reconciler = reconciler.revisions(pushed.take().unwrap());
        }
        let (stop, stopped) = oneshot::channel::<()>();
        stops.push(stop);
        controls.push(reconciler.control());
        running.push(tokio::spawn(reconciler.run(async {
            let _ = stopped.await;
        })));
    }
    place.until_synced("one", &first).await;
    let owner = ["a", "b"][1 - stranger];
    // Who the owner is, the other learns at its next look at the Leases.
    let named = async {
        loop {
            let refused = controls[stranger].sync_now(app.clone(), "jane").await;
            let refused = refused.unwrap_err();
            assert_eq!(refused.kind(), gitops_core::ErrorKind::Conflict);
            if refused.to_string().ends_with(owner) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), named)
        .await
        .unwrap();
    let second = place
        .commit("apps/one/a.yaml", config_map("one", "2"))
        .await;
    let begun = std::time::Instant::now();
    pushes.unbounded_send(place.event()).unwrap();
    place.until_synced("one", &second).await;
    // Two looks at the Leases, each of 0.6 s, and the sync.
    assert!(begun.elapsed() < Duration::from_secs(10));
    let mine = controls[1 - stranger].sync_now(app, "jane").await;
    mine.unwrap();
    for stop in stops {
        stop.send(()).unwrap();
    }
    for one in running {
        one.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn sources_tell_revisions_and_changed_files() {
    let place = Place::new().await;
    let first = place
        .commit("apps/one/a.yaml", config_map("one", "1"))
        .await;
    let app = Application::new("one").source(Source::git(&place.url).path("apps/one"));
    assert_eq!(place.sources.resolve(&app).await.unwrap(), [&*first]);
    place.commit("docs/readme.md", "x".into()).await;
    let last = place.commit("apps/one/b.yaml", config_map("b", "1")).await;
    assert_eq!(place.sources.resolve(&app).await.unwrap(), [&*last]);
    let changed = |from: &str, to: &str| {
        let (sources, app) = (place.sources.clone(), app.clone());
        let (from, to) = (vec![from.to_owned()], vec![to.to_owned()]);
        async move { sources.changed_paths(&app, &from, &to).await.unwrap() }
    };
    let paths = changed(&first, &last).await.unwrap();
    assert_eq!(paths, ["apps/one/b.yaml", "docs/readme.md"]);
    assert_eq!(changed(&last, &last).await, Some(vec![]));
    let gone = "0123456789012345678901234567890123456789";
    assert_eq!(changed(gone, &last).await, None);
    let none = place
        .sources
        .changed_paths(&app, &[], &[last])
        .await
        .unwrap();
    assert_eq!(none, None);
}
