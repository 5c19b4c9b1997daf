//! Many at once: writers of one branch, watchers of one repository.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use gitops_core::{Error, ErrorKind};
use gitops_git::credential::StaticCredential;
use gitops_git::{
    CommitOptions, Edits, GitClient, GitWatcher, NewRevision, Repository, WatchOptions,
};

use super::tap::Tap;
use super::{git, main_branch, options, password, text};

const WRITERS: usize = 8;
const COMMITS: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn git_writers_lose_nothing_and_write_nothing_twice() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let on_server = gitea.repository("writers").await?;
    gitea.commit(&on_server, "start", &[("log", "")]).await?;
    let start = Instant::now();
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        // Each has a copy of its own, as if on a machine of its own.
        let opened = options().credentials(password(gitea)?);
        let repository = Repository::open(&on_server.http_url, opened).await?;
        tasks.push(tokio::spawn(async move {
            let mut attempts = 0;
            for number in 0..COMMITS {
                let name = format!("w{writer}-{number}");
                let mut options =
                    CommitOptions::new("Writer", "w@example.com", format!("Write {name}"))
                        .branch("main");
                options.max_attempts = 1000;
                options.timeout = Duration::from_secs(900);
                let outcome = repository
                    .commit(&options, |now| {
                        let name = name.clone();
                        async move {
                            // All edit one file as well, so that an edit on an old state would lose lines.
                            let log = now.read("log").await?.unwrap_or_default();
                            let log = String::from_utf8_lossy(&log).into_owned() + &name + "\n";
                            Ok(Edits::new()
                                .put("log", log)
                                .put(format!("files/{name}"), name))
                        }
                    })
                    .await?;
                match outcome {
                    gitops_git::CommitOutcome::Pushed {
                        attempts: tries, ..
                    } => attempts += tries,
                    other => return Err(Error::internal(format!("{name}: {other:?}"))),
                }
            }
            Ok::<_, Error>(attempts)
        }));
    }
    let mut attempts = 0;
    for task in tasks {
        attempts += task.await??;
    }
    let took = start.elapsed();

    // Judged by plain `git`.
    let dir = tempfile::tempdir()?;
    let url = gitea.url_with_password(&on_server);
    git(dir.path(), &["clone", "-q", &url, "judge"]).await?;
    let judge = dir.path().join("judge");
    let subjects = git(&judge, &["log", "--format=%s"]).await?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for subject in subjects.lines().filter(|line| *line != "start") {
        *counts.entry(subject).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    let merges = git(&judge, &["rev-list", "--merges", "--count", "HEAD"]).await?;
    let log = std::fs::read_to_string(judge.join("log"))?;
    let lines: BTreeSet<&str> = log.lines().collect();
    let files = std::fs::read_dir(judge.join("files"))?.count();
    println!(
        "{WRITERS} writers, {COMMITS} commits each: {} commits there, {} twice, {} merges, {} lines ({} different), {files} files; {attempts} attempts, {took:.1?}",
        counts.len(),
        twice.len(),
        merges.trim(),
        log.lines().count(),
        lines.len(),
    );
    let wanted = WRITERS * COMMITS;
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(counts.len(), wanted);
    assert_eq!(subjects.lines().count(), wanted + 1);
    assert_eq!(
        (log.lines().count(), lines.len(), files),
        (wanted, wanted, wanted)
    );
    Ok(())
}

type Items = futures::stream::BoxStream<'static, gitops_core::Result<NewRevision>>;

async fn next(stream: &mut Items) -> Result<gitops_core::Result<NewRevision>> {
    tokio::time::timeout(Duration::from_secs(30), stream.next())
        .await
        .context("no item in time")?
        .context("the stream ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn git_watches_of_one_repository_share_one_connection() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let on_server = gitea.repository("watched").await?;
    let first = gitea.commit(&on_server, "first", &[("a", "1")]).await?;
    let port = gitea.url.rsplit(':').next().context("no port")?.parse()?;
    let tap = Tap::relay(port).await?;
    let url = format!(
        "http://127.0.0.1:{}/{}/{}.git",
        tap.port, on_server.owner, on_server.name
    );
    let credential = StaticCredential::basic(&url, &gitea.user, gitea.password.as_str())?;
    let client = GitClient::new(options().credentials(credential))?;
    let interval = Duration::from_millis(1000);
    let watcher = GitWatcher::new(WatchOptions {
        interval,
        jitter: 0.0,
        ..WatchOptions::default()
    });
    let start = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..20 {
        // Each application asks by URL, and does not know of the others.
        streams.push(watcher.watch(&client.repository(&url).await?, main_branch()));
    }
    for item in futures::future::join_all(streams.iter_mut().map(next)).await {
        assert_eq!(item??.commit, first);
    }
    tokio::time::sleep(interval * 5).await;
    let second = gitea.commit(&on_server, "second", &[("a", "2")]).await?;
    for item in futures::future::join_all(streams.iter_mut().map(next)).await {
        let item = item??;
        assert_eq!(item.commit, second);
        assert_eq!(item.previous.as_deref(), Some(first.as_str()));
    }
    let looks = usize::try_from(start.elapsed().as_millis() / interval.as_millis())? + 1;
    let connections = tap.connections();
    println!("20 watches: {connections} connections in {looks} intervals");
    assert!(
        connections <= looks,
        "{connections} connections in {looks} intervals"
    );
    assert!(connections >= 3, "{connections}");

    // Dropping the streams stops it.
    drop(streams);
    tokio::time::sleep(interval / 2).await;
    assert_eq!(watcher.repositories(), 0);
    let connections = tap.connections();
    tokio::time::sleep(interval * 3).await;
    assert_eq!(tap.connections(), connections);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_rewritten_history_is_seen_and_new_repositories_begin() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let on_server = gitea.repository("rewritten").await?;
    let opened = options().credentials(password(gitea)?);
    let repository = Repository::open(&on_server.http_url, opened).await?;

    let error = repository
        .fetch_revision(&gitops_git::Revision::Head)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("empty"), "{error}");
    assert!(repository.list_refs().await?.refs.is_empty());

    let watcher = GitWatcher::new(WatchOptions {
        interval: Duration::from_millis(300),
        ..WatchOptions::default()
    });
    let mut stream = watcher.watch(&repository, main_branch());
    let error = next(&mut stream).await?.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    gitea.commit(&on_server, "first", &[("a", "1")]).await?;
    let second = gitea.commit(&on_server, "second", &[("a", "2")]).await?;
    let mut seen = loop {
        if let Ok(item) = next(&mut stream).await? {
            break item;
        }
    };
    while seen.commit != second {
        seen = next(&mut stream).await??;
    }
    assert_eq!(
        repository.fetch_revision(&main_branch()).await?.commit,
        second
    );

    let dir = tempfile::tempdir()?;
    let url = gitea.url_with_password(&on_server);
    git(dir.path(), &["clone", "-q", &url, "other"]).await?;
    let other = dir.path().join("other");
    git(&other, &["reset", "-q", "--hard", "HEAD^"]).await?;
    std::fs::write(other.join("a"), "3")?;
    git(&other, &["commit", "-q", "-a", "-m", "instead"]).await?;
    git(&other, &["push", "-q", "--force", "origin", "HEAD:main"]).await?;
    let instead = git(&other, &["rev-parse", "HEAD"]).await?;
    let item = next(&mut stream).await??;
    assert_eq!(item.commit, instead.trim());
    assert_eq!(item.previous.as_deref(), Some(second.as_str()));

    let fetched = repository.fetch_revision(&main_branch()).await?;
    assert!(fetched.rewritten);
    assert_eq!(fetched.commit, instead.trim());
    assert_eq!(fetched.previous.as_deref(), Some(second.as_str()));
    assert_eq!(text(&repository, &fetched.commit, "", "a").await?, "3");
    Ok(())
}
