//! Both transports do the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Origin;
use gitops_core::ErrorKind;
use gitops_core::credential::Credential;
use gitops_git::{
    FetchRequest, GitCli, LibGit2, Proxy, Refspec, Remote, RepoUrl, Repository, RepositoryOptions,
    Revision, Tls, Transport,
};

fn transports() -> [(&'static str, Arc<dyn Transport>); 2] {
    [
        ("git", Arc::new(GitCli::new())),
        ("libgit2", Arc::new(LibGit2::new())),
    ]
}

fn remote(url: &str) -> Remote {
    let mut remote = Remote::new(RepoUrl::parse(url).unwrap());
    remote.timeout = Duration::from_secs(5);
    remote.proxy = Proxy::None;
    remote
}

fn request(specs: &[(&str, &str)]) -> FetchRequest {
    let mut request = FetchRequest::default();
    request.refspecs = specs
        .iter()
        .map(|(from, to)| Refspec::new(*from, *to))
        .collect();
    request
}

fn refs(git: &git2::Repository) -> Vec<(String, String)> {
    let mut refs: Vec<_> = git
        .references()
        .unwrap()
        .flatten()
        .filter_map(|reference| {
            Some((
                reference.name().ok()?.to_owned(),
                reference.target()?.to_string(),
            ))
        })
        .collect();
    refs.sort();
    refs
}

#[tokio::test]
async fn references_are_listed_alike() {
    let origin = Origin::with(&[("a", "1")]);
    origin.commit("other", &[("b", "1")]);
    let git = origin.git();
    let head = git.head().unwrap().peel_to_commit().unwrap();
    let signature = git2::Signature::now("a", "b@c").unwrap();
    git.tag("v1", head.as_object(), &signature, "one", false)
        .unwrap();
    git.tag_lightweight("light", head.as_object(), false)
        .unwrap();
    let mut lists = Vec::new();
    for (_, transport) in transports() {
        lists.push(transport.list_refs(&remote(&origin.url())).await.unwrap());
    }
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[1].head.as_deref(), Some("refs/heads/main"));
    assert!(lists[1].peeled.contains_key("refs/tags/v1"));
}

#[tokio::test]
async fn fetches_bring_the_same() {
    let origin = Origin::with(&[("a", "1")]);
    let old = origin.commit("main", &[("a", "2")]);
    origin.commit("main", &[("a", "3")]);
    origin.commit("gone", &[("a", "4")]);
    let mut all = Vec::new();
    for (name, transport) in transports() {
        let dir = tempfile::tempdir().unwrap();
        let git = git2::Repository::init_bare(dir.path()).unwrap();
        let remote = remote(&origin.url());
        let everything = request(&[("refs/heads/*", "refs/remotes/origin/*")]);
        transport
            .fetch(dir.path(), &remote, &everything)
            .await
            .unwrap();
        let one = request(&[("refs/heads/main", "refs/x/main"), ("HEAD", "refs/x/head")]);
        transport.fetch(dir.path(), &remote, &one).await.unwrap();
        let sha = request(&[(&old, "refs/x/sha")]);
        let by_sha = transport.fetch(dir.path(), &remote, &sha).await;
        assert!(by_sha.is_ok() || name == "git", "{name}: {by_sha:?}");
        let missing = request(&[("refs/heads/nothing", "refs/x/nothing")]);
        let error = transport
            .fetch(dir.path(), &remote, &missing)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error}");
        let bad = request(&[("--upload-pack=x", "refs/x/y")]);
        let error = transport
            .fetch(dir.path(), &remote, &bad)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        let mut refs = refs(&git);
        refs.retain(|(name, _)| name != "refs/x/sha");
        all.push(refs);
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0].len(), 4, "{all:?}");
}

#[tokio::test]
async fn a_repository_reads_and_commits_through_libgit2() {
    let origin = Origin::with(&[("apps/a.yaml", "a: 1\n")]);
    let dir = tempfile::tempdir().unwrap();
    let options = RepositoryOptions::default()
        .cache_dir(dir.path())
        .transport(Arc::new(LibGit2::new()));
    let repository = Repository::open(&origin.url(), options).await.unwrap();
    let fetched = repository.fetch_revision(&Revision::Head).await.unwrap();
    let tree = repository.tree(&fetched.commit, "apps").await.unwrap();
    assert_eq!(tree.len(), 1);
    let commit = gitops_git::CommitOptions::new("a", "a@b.c", "change").branch("main");
    let outcome = repository
        .commit(&commit, |_| async {
            Ok(gitops_git::Edits::new().put("apps/b.yaml", "b: 1\n"))
        })
        .await
        .unwrap();
    let head = origin.git().head().unwrap().target().unwrap().to_string();
    assert_eq!(outcome.commit(), Some(head.as_str()));
    let outcome = repository.fetch().await.unwrap();
    assert!(!outcome.rewritten);
    let error = repository
        .fetch_revision(&Revision::parse("nothing-like-that").unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_push_that_is_no_fast_forward_is_a_conflict() {
    let origin = Origin::with(&[("a", "1")]);
    for (name, transport) in transports() {
        let dir = tempfile::tempdir().unwrap();
        let git = git2::Repository::init_bare(dir.path()).unwrap();
        let remote = remote(&origin.url());
        let main = request(&[("refs/heads/main", "refs/x/main")]);
        transport.fetch(dir.path(), &remote, &main).await.unwrap();
        let parent = git
            .find_reference("refs/x/main")
            .unwrap()
            .peel_to_commit()
            .unwrap();
        let signature = git2::Signature::now("a", "b@c").unwrap();
        let tree = parent.tree().unwrap();
        let ours = git
            .commit(None, &signature, &signature, "ours", &tree, &[&parent])
            .unwrap()
            .to_string();
        origin.commit("main", &[("a", name)]);
        let lost = transport
            .push(dir.path(), &remote, &ours, "refs/heads/main")
            .await
            .unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::Conflict, "{name}: {lost}");
        let branch = format!("refs/heads/new-{name}");
        transport
            .push(dir.path(), &remote, &ours, &branch)
            .await
            .unwrap();
        let there = origin
            .git()
            .find_reference(&branch)
            .unwrap()
            .target()
            .unwrap();
        assert_eq!(there.to_string(), ours);
    }
}

/// Answers every request with this status, or not at all.
fn serve(status: Option<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if let Some(status) = status {
                let mut request = [0; 4096];
                let _ = std::io::Read::read(&mut stream, &mut request);
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: 0\r\nWWW-Authenticate: Basic realm=x\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes());
            } else {
                held.push(stream);
            }
        }
    });
    port
}

#[tokio::test]
async fn statuses_have_their_kinds() {
    for (status, kind) in [
        ("401 Unauthorized", ErrorKind::Unauthenticated),
        ("403 Forbidden", ErrorKind::PermissionDenied),
        ("404 Not Found", ErrorKind::NotFound),
        ("429 Too Many Requests", ErrorKind::RateLimited),
        ("503 Service Unavailable", ErrorKind::Unavailable),
    ] {
        let mut remote = remote(&format!("http://127.0.0.1:{}/x.git", serve(Some(status))));
        remote.credential = Some(Credential::Basic {
            username: "ann".into(),
            password: "hunter2".into(),
        });
        let error = LibGit2::new().list_refs(&remote).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[test]
fn a_silent_server_ends_at_the_deadline() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut remote = remote(&format!("http://127.0.0.1:{}/x.git", serve(None)));
        remote.timeout = Duration::from_millis(500);
        let start = Instant::now();
        let error = LibGit2::new().list_refs(&remote).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    });
    // Its thread waits for the server still, as its limits say.
    runtime.shutdown_background();
}

#[tokio::test]
async fn what_it_cannot_do_is_said_so() {
    let refused = |change: fn(&mut Remote)| async move {
        let mut remote = remote("https://127.0.0.1:1/x.git");
        change(&mut remote);
        LibGit2::new().list_refs(&remote).await.unwrap_err()
    };
    let changes: [fn(&mut Remote); 3] = [
        |remote| remote.url = RepoUrl::parse("git@127.0.0.1:x.git").unwrap(),
        |remote| {
            remote.url = RepoUrl::parse("http://127.0.0.1:1/x.git").unwrap();
            remote.credential = Some(Credential::Bearer("token".into()));
        },
        |remote| {
            remote.url = RepoUrl::parse("http://127.0.0.1:1/x.git").unwrap();
            remote.tls = Tls::CaPem(String::new());
        },
    ];
    for change in changes {
        let error = refused(change).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}
