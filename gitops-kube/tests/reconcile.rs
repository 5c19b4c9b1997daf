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
use gitops_core::reconcile::{Reconciler, ReconcilerOptions};
use gitops_core::rule::{Decision, PathsChanged, RevisionChanged, SyncStrategy, all, rule_fn};
use gitops_core::source::{RevisionEvent, Sources};
use gitops_core::store::MemoryStore;
use gitops_core::validate::{AllowedKinds, Validators};
use gitops_git::{CommitOptions, Edits, GitClient, Repository, RepositoryOptions};
use gitops_kube::cluster::{ApiKind, Cluster, DeleteParams, InMemoryCluster, ObjectKey, Scope};
use gitops_kube::direct::{DirectBackend, DirectOptions, GitSources};
use gitops_kube::engine::Engine;

struct Place {
    _dir: tempfile::TempDir,
    url: String,
    repository: Repository,
    cluster: Arc<InMemoryCluster>,
    sources: Arc<GitSources>,
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
        let backend = DirectBackend::new(
            Engine::new(cluster.clone()),
            sources.clone(),
            Arc::new(MemoryStore::new()),
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
            backend,
        }
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
