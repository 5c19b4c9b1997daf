//! Watching for new revisions.

// Helpers outside of test functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::Origin;
use futures::StreamExt as _;
use gitops_core::Result;
use gitops_core::source::RevisionEvent;
use gitops_git::{
    FetchRequest, GitCli, GitWatcher, Remote, RemoteRefs, Repository, RepositoryOptions, Revision,
    Transport, WatchOptions,
};
use tokio::sync::Semaphore;

#[derive(Debug, Default)]
struct Counting {
    cli: GitCli,
    lists: Arc<AtomicUsize>,
}

#[async_trait]
impl Transport for Counting {
    async fn list_refs(&self, remote: &Remote) -> Result<RemoteRefs> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        self.cli.list_refs(remote).await
    }

    async fn fetch(&self, git_dir: &Path, remote: &Remote, request: &FetchRequest) -> Result<()> {
        self.cli.fetch(git_dir, remote, request).await
    }

    async fn push(
        &self,
        git_dir: &Path,
        remote: &Remote,
        commit: &str,
        reference: &str,
    ) -> Result<()> {
        self.cli.push(git_dir, remote, commit, reference).await
    }
}

const LONG: Duration = Duration::from_secs(3600);

fn watcher(interval: Duration) -> GitWatcher {
    GitWatcher::new(WatchOptions {
        interval,
        max_backoff: interval,
        ..WatchOptions::default()
    })
}

async fn next<T>(stream: &mut (impl futures::Stream<Item = T> + Unpin)) -> T {
    tokio::time::timeout(Duration::from_secs(20), stream.next())
        .await
        .expect("an item in time")
        .unwrap()
}

#[tokio::test]
async fn many_streams_share_one_look() {
    let origin = Origin::with(&[("a", "1")]);
    let first = origin.commit("main", &[("a", "2")]);
    origin.tag("v1.0.0", &first);
    let lists = Arc::new(AtomicUsize::new(0));
    let options = RepositoryOptions::default().transport(Counting {
        lists: Arc::clone(&lists),
        ..Counting::default()
    });
    let repository = Repository::open(&origin.url(), options).await.unwrap();
    let watcher = watcher(LONG);
    let mut streams: Vec<_> = (0..50)
        .map(|_| watcher.watch(&repository.clone(), Revision::Branch("main".into())))
        .collect();
    let mut tags = watcher.watch(&repository, Revision::semver("^1").unwrap());
    for stream in &mut streams {
        let item = next(stream).await.unwrap();
        assert_eq!(
            (item.commit.as_str(), item.previous),
            (first.as_str(), None)
        );
    }
    assert_eq!(
        next(&mut tags).await.unwrap().reference.as_deref(),
        Some("refs/tags/v1.0.0")
    );
    assert_eq!(
        (lists.load(Ordering::SeqCst), watcher.repositories()),
        (1, 1)
    );

    let second = origin.commit("main", &[("a", "3")]);
    origin.tag("v1.1.0", &second);
    watcher.poke(&repository);
    for stream in &mut streams {
        let item = next(stream).await.unwrap();
        assert_eq!(
            (item.commit.as_str(), item.previous.as_deref()),
            (second.as_str(), Some(first.as_str()))
        );
    }
    assert_eq!(next(&mut tags).await.unwrap().commit, second);
    assert_eq!(lists.load(Ordering::SeqCst), 2);

    drop((streams, tags));
    watcher.poke(&repository);
    for _ in 0..100 {
        if watcher.repositories() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (watcher.repositories(), lists.load(Ordering::SeqCst)),
        (0, 2)
    );
}

#[tokio::test]
async fn errors_are_items_and_the_stream_goes_on() {
    let origin = Origin::with(&[("a", "1")]);
    let repository = origin.open().await;
    let watcher = watcher(Duration::from_millis(50));
    let mut stream = watcher.watch(&repository, Revision::Head);
    let mut missing = watcher.watch(&repository, Revision::Branch("nope".into()));
    assert!(next(&mut stream).await.is_ok());
    assert!(next(&mut missing).await.is_err());
    let away = origin.path().with_extension("away");
    std::fs::rename(origin.path(), &away).unwrap();
    assert!(next(&mut stream).await.is_err());
    std::fs::rename(&away, origin.path()).unwrap();
    let second = origin.commit("main", &[("a", "2")]);
    let item = loop {
        if let Ok(item) = next(&mut stream).await {
            break item;
        }
    };
    assert_eq!(item.commit, second);
}

#[tokio::test]
async fn a_paused_watcher_is_silent() {
    let origin = Origin::with(&[("a", "1")]);
    let repository = origin.open().await;
    let watcher = watcher(Duration::from_millis(50));
    let mut stream = watcher.watch(&repository, Revision::Head);
    next(&mut stream).await.unwrap();
    watcher.pause();
    assert!(watcher.is_paused());
    // One look may be under way.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = origin.commit("main", &[("a", "2")]);
    watcher.poke_all();
    assert!(
        tokio::time::timeout(Duration::from_millis(400), stream.next())
            .await
            .is_err()
    );
    watcher.resume();
    assert_eq!(next(&mut stream).await.unwrap().commit, second);
}

#[tokio::test]
async fn who_joins_during_an_outage_is_told_and_does_not_hammer() {
    let lists = Arc::new(AtomicUsize::new(0));
    let options = RepositoryOptions::default().transport(Counting {
        lists: Arc::clone(&lists),
        ..Counting::default()
    });
    let repository = Repository::open("/no/such/repository", options)
        .await
        .unwrap();
    let watcher = watcher(LONG);
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut stream = watcher.watch(&repository, Revision::Head);
        let mut other = watcher.watch(&repository, Revision::Head);
        assert!(next(&mut stream).await.is_err());
        assert!(next(&mut other).await.is_err());
        kept.push(other);
    }
    assert_eq!(lists.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn dropping_the_last_stream_stops_a_look_under_way() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let options = RepositoryOptions::default().proxy(gitops_git::Proxy::None);
    let repository = Repository::open(&url, options).await.unwrap();
    let watcher = watcher(LONG);
    let mut stream = watcher.watch(&repository, Revision::Head);
    // The server takes the connection and never answers.
    let connection = tokio::select! {
        _ = stream.next() => panic!("an item from a silent server"),
        accepted = listener.accept() => accepted.unwrap().0,
    };
    drop(stream);
    let gone = async {
        let mut bytes = [0; 1024];
        loop {
            connection.readable().await.unwrap();
            match connection.try_read(&mut bytes) {
                Ok(0) => break,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .expect("the client hangs up");
    assert_eq!(watcher.repositories(), 0);
}

/// Lists references when it is let.
#[derive(Debug)]
struct Gated {
    counting: Counting,
    gate: Arc<Semaphore>,
}

#[async_trait]
impl Transport for Gated {
    async fn list_refs(&self, remote: &Remote) -> Result<RemoteRefs> {
        let listed = self.counting.list_refs(remote).await;
        self.gate.acquire().await.unwrap().forget();
        listed
    }

    async fn fetch(&self, git_dir: &Path, remote: &Remote, request: &FetchRequest) -> Result<()> {
        self.counting.fetch(git_dir, remote, request).await
    }

    async fn push(
        &self,
        git_dir: &Path,
        remote: &Remote,
        commit: &str,
        reference: &str,
    ) -> Result<()> {
        self.counting.push(git_dir, remote, commit, reference).await
    }
}

#[tokio::test]
async fn what_is_pushed_during_a_look_is_looked_for_afterwards() {
    let origin = Origin::with(&[("a", "1")]);
    let (lists, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let options = RepositoryOptions::default().transport(Gated {
        counting: Counting {
            lists: Arc::clone(&lists),
            ..Counting::default()
        },
        gate: Arc::clone(&gate),
    });
    let repository = Repository::open(&origin.url(), options).await.unwrap();
    let watcher = watcher(LONG);
    let mut stream = watcher.watch(&repository, Revision::Head);
    let looks = async |count| {
        while lists.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Until the references were read.
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let first = tokio::select! {
        first = next(&mut stream) => first,
        () = async { looks(1).await; gate.add_permits(1); std::future::pending().await } => unreachable!(),
    };
    first.unwrap();
    watcher.poke(&repository);
    looks(2).await;
    let second = origin.commit("main", &[("a", "2")]);
    watcher.poke(&repository);
    // Whoever watches for the end of listening takes the wake-up.
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.add_permits(10);
    assert_eq!(next(&mut stream).await.unwrap().commit, second);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(lists.load(Ordering::SeqCst), 3, "and no more than once");
}

#[tokio::test]
async fn webhooks_about_what_is_not_watched_are_passed_on() {
    let origin = Origin::with(&[("a", "1")]);
    let lists = Arc::new(AtomicUsize::new(0));
    let options = RepositoryOptions::default().transport(Counting {
        lists: Arc::clone(&lists),
        ..Counting::default()
    });
    let repository = Repository::open(&origin.url(), options).await.unwrap();
    let watcher = watcher(LONG);
    let main = watcher.watch(&repository, Revision::parse("main").unwrap());
    let tags = watcher.watch(&repository, Revision::semver("1.2").unwrap());
    let (tell, hooks) = futures::channel::mpsc::unbounded();
    let watched = futures::stream::select(main, tags);
    let mut events = watcher.with_webhooks(watched, hooks);
    let told = next(&mut events).await;
    assert_eq!(told.teller, "watch");
    let event = |url: String, reference: Option<&str>| RevisionEvent {
        urls: vec![url],
        reference: reference.map(Into::into),
        teller: "test".into(),
        ..RevisionEvent::default()
    };
    let second = origin.commit("main", &[("a", "2")]);
    let here = repository.url().to_string();
    for (url, reference) in [
        // These three make it look, and are no news by themselves.
        (here.clone(), Some("refs/heads/main")),
        (here.clone(), Some("refs/tags/v1.2.3")),
        (here.clone(), None),
        // Somebody else may follow these.
        (here, Some("refs/heads/release")),
        ("https://elsewhere.example.com/x".into(), None),
    ] {
        tell.unbounded_send(event(url, reference)).unwrap();
    }
    let mut found = Vec::new();
    for _ in 0..3 {
        let event = next(&mut events).await;
        found.push((event.teller, event.reference, event.revision));
    }
    found.sort();
    let release = Some("refs/heads/release".into());
    let main = Some("refs/heads/main".into());
    assert_eq!(
        found,
        [
            ("test".into(), None, None),
            ("test".into(), release, None),
            ("watch".into(), main, Some(second)),
        ]
    );
}
