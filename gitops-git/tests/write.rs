//! Committing and pushing, against local repositories.

// Helpers outside of test functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Origin, entry};
use gitops_core::ErrorKind;
use gitops_git::{CommitOptions, CommitOutcome, Edits, Revision};

fn options() -> CommitOptions {
    CommitOptions::new("Ann", "ann@example.com", "Change {path}").branch("main")
}

#[tokio::test]
async fn edits_become_a_commit_on_the_branch() {
    let origin = Origin::with(&[
        ("apps/a.yaml", "a: 1\n"),
        ("apps/old/x", "x"),
        ("keep", "k"),
    ]);
    let repository = origin.open().await;
    let options = options()
        .committer("Bot", "bot@example.com")
        .trailer("Signed-off-by", "Ann <ann@example.com>")
        .trailer("Base", "{base}");
    let outcome = repository
        .commit(&options, |now| async move {
            assert_eq!(
                now.read("apps/a.yaml").await?.as_deref(),
                Some(&b"a: 1\n"[..])
            );
            assert_eq!(now.read("nope").await?, None);
            Ok(Edits::new()
                .put("apps/a.yaml", "a: 2\n")
                .put("new/deep/file", "n")
                .put_executable("run.sh", "#!/bin/sh\n")
                .rename("apps/old", "moved")
                .delete("keep"))
        })
        .await
        .unwrap();
    let CommitOutcome::Pushed {
        commit, attempts, ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(attempts, 1);
    let tip = origin
        .git()
        .find_reference("refs/heads/main")
        .unwrap()
        .peel_to_commit()
        .unwrap()
        .id();
    assert_eq!(tip.to_string(), commit);
    let tree = repository.tree(&commit, "").await.unwrap();
    let paths: Vec<_> = tree.iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["apps/a.yaml", "moved/x", "new/deep/file", "run.sh"]);
    let info = repository.commit_info(&commit).await.unwrap();
    assert_eq!(
        (info.author.name.as_str(), info.committer.name.as_str()),
        ("Ann", "Bot")
    );
    let base = &info.parents[0][..12];
    assert_eq!(
        info.message,
        format!("Change apps/a.yaml\n\nSigned-off-by: Ann <ann@example.com>\nBase: {base}\n")
    );
    let fsck = std::process::Command::new("git")
        .args(["fsck", "--strict"])
        .current_dir(origin.path())
        .output()
        .unwrap();
    assert!(
        fsck.status.success(),
        "{}",
        String::from_utf8_lossy(&fsck.stderr)
    );
}

#[tokio::test]
async fn nothing_changed_makes_no_commit() {
    let origin = Origin::with(&[("a", "1")]);
    let repository = origin.open().await;
    for edits in [
        Edits::new(),
        Edits::new().put("a", "1"),
        Edits::new().put("b", "1").delete("b"),
    ] {
        let outcome = repository
            .commit(&options().branch("main"), |_| {
                let edits = edits.clone();
                async { Ok(edits) }
            })
            .await;
        let CommitOutcome::Unchanged { commit } = outcome.unwrap() else {
            panic!()
        };
        assert!(commit.is_some());
    }
}

#[tokio::test]
async fn new_branches_and_empty_repositories() {
    let origin = Origin::empty();
    let repository = origin.open().await;
    let put = |_| async { Ok(Edits::new().put("a", "1")) };
    let first = repository.commit(&options(), put).await.unwrap();
    let first = first.commit().unwrap().to_owned();
    let error = repository
        .commit(&options().branch("release"), put)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let put = |_| async { Ok(Edits::new().put("b", "1")) };
    let release = options()
        .branch("release")
        .create_from(Revision::Branch("main".into()));
    let outcome = repository.commit(&release, put).await.unwrap();
    let CommitOutcome::Pushed { parent, .. } = &outcome else {
        panic!()
    };
    assert_eq!(parent.as_deref(), Some(first.as_str()));
    // The default branch, found by itself.
    let mut default = options();
    default.branch = None;
    repository.commit(&default, put).await.unwrap();
    assert_eq!(
        repository
            .resolve(&Revision::Branch("main".into()))
            .await
            .unwrap()
            .len(),
        40
    );
}

#[tokio::test]
async fn wrong_edits_are_specific_errors() {
    let origin = Origin::with(&[("a", "1"), ("d/b", "1")]);
    let git = origin.git();
    let parent = git
        .find_reference("refs/heads/main")
        .unwrap()
        .peel_to_commit()
        .unwrap();
    let mut index = git2::Index::new().unwrap();
    index.read_tree(&parent.tree().unwrap()).unwrap();
    index
        .add(&entry("link", git.blob(b"a").unwrap(), 0o120_000))
        .unwrap();
    origin.commit_tree(
        "main",
        index.write_tree_to(&git).unwrap(),
        Some(parent.id()),
    );
    let repository = origin.open().await;
    for (edits, kind) in [
        (Edits::new().put("../x", "x"), ErrorKind::InvalidInput),
        (
            Edits::new().put(".git/config", "x"),
            ErrorKind::InvalidInput,
        ),
        (Edits::new().put("a/b", "x"), ErrorKind::InvalidInput),
        (Edits::new().put("d", "x"), ErrorKind::InvalidInput),
        (Edits::new().put("link", "x"), ErrorKind::InvalidInput),
        (Edits::new().delete("nope"), ErrorKind::NotFound),
        (Edits::new().rename("nope", "x"), ErrorKind::NotFound),
        (Edits::new().rename("a", "d/b"), ErrorKind::AlreadyExists),
    ] {
        let shown = format!("{edits:?}");
        let error = repository
            .commit(&options(), |_| {
                let edits = edits.clone();
                async { Ok(edits) }
            })
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{shown}: {error}");
    }
    for branch in ["-x", "a..b", "--force", "x:y", "+main"] {
        let error = repository
            .commit(&options().branch(branch), |_| async {
                Ok(Edits::new().put("a", "2"))
            })
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound),
            "{branch}: {error}"
        );
    }
    for message in ["", "{unknown}", "{"] {
        let mut options = options();
        options.message = message.into();
        let error = repository
            .commit(&options, |_| async { Ok(Edits::new().put("a", "2")) })
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{message:?}");
    }
}

#[tokio::test]
async fn a_lost_race_runs_the_edit_again_on_the_new_state() {
    let origin = Origin::with(&[("count", "0"), ("other", "0")]);
    let repository = origin.open().await;
    let mut calls = 0;
    let outcome = repository
        .commit(&options(), |now| {
            calls += 1;
            if calls <= 2 {
                // Somebody else is faster.
                origin.commit("main", &[("count", &(calls * 10).to_string())]);
            }
            async move {
                let count: u32 = String::from_utf8(now.read("count").await?.unwrap())
                    .unwrap()
                    .parse()
                    .unwrap();
                Ok(Edits::new().put("count", (count + 1).to_string()))
            }
        })
        .await
        .unwrap();
    let CommitOutcome::Pushed {
        commit, attempts, ..
    } = outcome
    else {
        panic!()
    };
    assert_eq!((calls, attempts), (3, 3));
    let tree = repository.tree(&commit, "count").await.unwrap();
    assert_eq!(tree.get("count").unwrap().bytes().unwrap()[..], *b"21");
    assert_eq!(repository.log(&commit, "", 10).await.unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_writers_lose_nothing() {
    let origin = Origin::with(&[("start", "")]);
    let mut tasks = Vec::new();
    for writer in 0..8 {
        // Each has a copy of its own, as if on a machine of its own.
        let repository = origin.open().await;
        tasks.push(tokio::spawn(async move {
            for number in 0..4 {
                let name = format!("w{writer}-{number}");
                repository
                    .commit(&options(), |now| {
                        let name = name.clone();
                        async move {
                            let log = now.read("log").await?.unwrap_or_default();
                            let log = String::from_utf8(log).unwrap() + &name + "\n";
                            Ok(Edits::new()
                                .put("log", log)
                                .put(format!("files/{name}"), name))
                        }
                    })
                    .await
                    .unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let repository = origin.open().await;
    let tip = repository
        .fetch_revision(&Revision::Head)
        .await
        .unwrap()
        .commit;
    assert_eq!(repository.log(&tip, "", 100).await.unwrap().len(), 33);
    let log = repository.tree(&tip, "log").await.unwrap();
    let log = String::from_utf8(log.get("log").unwrap().bytes().unwrap().to_vec()).unwrap();
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 32);
    assert_eq!(repository.tree(&tip, "files").await.unwrap().len(), 32);
}

#[cfg(unix)]
#[tokio::test]
async fn a_hook_that_declines_is_not_retried_and_shell_text_is_inert() {
    use std::os::unix::fs::PermissionsExt as _;
    let origin = Origin::with(&[("a", "1")]);
    let repository = origin.open().await;
    let marker = origin.dir.path().join("touched");
    let text = format!("$(touch {0}) `touch {0}` ; touch {0} #", marker.display());
    let mut options = options().trailer("X", text.clone());
    options.message = text.clone();
    options.author.0 = text.clone();
    repository
        .commit(&options, |_| async {
            Ok(Edits::new().put("a $(x) ;'\"", "2"))
        })
        .await
        .unwrap();
    assert!(!common::exists(&marker));
    let hook = origin.path().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho no way >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut calls = 0;
    let error = repository
        .commit(&options, |_| {
            calls += 1;
            async { Ok(Edits::new().put("a", "3")) }
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), calls),
        (ErrorKind::PermissionDenied, 1),
        "{error}"
    );
    assert!(error.to_string().contains("no way"), "{error}");
}
