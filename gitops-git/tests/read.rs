//! Fetching, resolving and reading, against local repositories.

// Helpers outside of test functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Origin, entry};
use gitops_core::ErrorKind;
use gitops_core::manifest::TreeEntry;
use gitops_git::{
    ChangeKind, GitClient, LfsPolicy, LinkPolicy, RepositoryOptions, Revision, TreeOptions,
};

fn rev(text: &str) -> Revision {
    Revision::parse(text).unwrap()
}

#[tokio::test]
async fn a_path_of_every_kind_of_revision() {
    let origin = Origin::with(&[("apps/a.yaml", "a: 1\n"), ("other/b.yaml", "b: 1\n")]);
    let first = origin.commit("main", &[("apps/c.yaml", "c: 1\n")]);
    origin.annotated_tag("v1.0.0", &first);
    let second = origin.commit("main", &[("apps/a.yaml", "a: 2\n")]);
    origin.tag("v1.1.0", &second);
    origin.tag("v2.0.0-rc.1", &second);
    let side = origin.commit("feature/x", &[("apps/a.yaml", "a: 3\n")]);
    for (url, name) in [
        (origin.url(), "path"),
        (format!("file://{}", origin.url()), "file"),
    ] {
        let repository = gitops_git::Repository::open(&url, RepositoryOptions::default())
            .await
            .unwrap();
        for (revision, commit) in [
            ("", &second),
            ("HEAD", &second),
            ("main", &second),
            ("refs/heads/main", &second),
            ("v1.0.0", &first),
            ("refs/tags/v1.0.0", &first),
            ("feature/x", &side),
            (first.as_str(), &first),
            (&first[..10], &first),
            ("1.0.x", &first),
            (">=1.0 <2.0", &second),
            ("^1", &second),
        ] {
            assert_eq!(
                &repository
                    .fetch_revision(&rev(revision))
                    .await
                    .unwrap()
                    .commit,
                commit,
                "{name} {revision}"
            );
            assert_eq!(
                &repository.resolve(&rev(revision)).await.unwrap(),
                commit,
                "{name} {revision}"
            );
            // A short SHA of a commit that no reference leads to cannot be completed from the list.
            let remote = repository.resolve_remote(&rev(revision)).await;
            if revision == &first[..10] {
                assert_eq!(&remote.unwrap(), commit, "the tag leads to it");
            } else {
                assert_eq!(&remote.unwrap(), commit, "{name} {revision}");
            }
        }
        let tree = repository.tree(&second, "apps/").await.unwrap();
        let files: Vec<_> = tree
            .iter()
            .map(|(path, entry)| (path, entry.bytes().unwrap().to_vec()))
            .collect();
        assert_eq!(
            files,
            [
                ("a.yaml", b"a: 2\n".to_vec()),
                ("c.yaml", b"c: 1\n".to_vec())
            ]
        );
        assert_eq!(tree.revision, second);
        assert_eq!(tree.hash.len(), 40);
        assert_eq!(repository.tree(&second, ".").await.unwrap().len(), 3);
        assert_eq!(
            repository
                .tree(&second, "./apps/a.yaml")
                .await
                .unwrap()
                .len(),
            1
        );
    }
}

#[tokio::test]
async fn wrong_revisions_and_paths_are_specific_errors() {
    let origin = Origin::with(&[("apps/a.yaml", "a: 1\n")]);
    let repository = origin.open().await;
    let commit = repository
        .fetch_revision(&Revision::Head)
        .await
        .unwrap()
        .commit;
    for revision in [
        "nope",
        "refs/heads/nope",
        "v9.9.9",
        ">=9",
        "deadbeef",
        &"0123456789".repeat(4),
    ] {
        let error = repository.fetch_revision(&rev(revision)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{revision}: {error}");
    }
    for (path, kind) in [
        ("nope", ErrorKind::NotFound),
        ("apps/a.yaml/b", ErrorKind::NotFound),
        ("../x", ErrorKind::InvalidInput),
        ("apps/../..", ErrorKind::InvalidInput),
        ("/etc", ErrorKind::InvalidInput),
        ("apps\\x", ErrorKind::InvalidInput),
        (".git", ErrorKind::InvalidInput),
        ("apps/.GIT/x", ErrorKind::InvalidInput),
    ] {
        let error = repository.tree(&commit, path).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{path}: {error}");
    }
    let error = gitops_git::Repository::open("/no/such/repository", RepositoryOptions::default())
        .await
        .unwrap()
        .fetch_revision(&Revision::Head)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn an_empty_repository_says_so() {
    let origin = Origin::empty();
    let repository = origin.open().await;
    for error in [
        repository
            .fetch_revision(&Revision::Head)
            .await
            .unwrap_err(),
        repository
            .resolve_remote(&Revision::Head)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("empty"), "{error}");
    }
    assert!(repository.fetch().await.unwrap().changes.is_empty());
}

#[tokio::test]
async fn an_ambiguous_short_sha_is_an_error() {
    let origin = Origin::with(&[("a", "1")]);
    // Enough commits that two share four digits.
    let mut seen = std::collections::BTreeMap::new();
    let mut shared = None;
    for number in 0..2000 {
        let commit = origin.commit("main", &[("a", &number.to_string())]);
        if let Some(other) = seen.insert(commit[..4].to_owned(), commit.clone()) {
            shared = Some((commit, other));
            break;
        }
    }
    let (commit, other) = shared.unwrap();
    let repository = origin.open().await;
    let error = repository
        .fetch_revision(&Revision::Commit(commit[..4].into()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("ambiguous"), "{error}");
    let mut length = 5;
    while commit[..length] == other[..length] {
        length += 1;
    }
    let fetched = repository
        .fetch_revision(&rev(&commit[..length]))
        .await
        .unwrap();
    assert_eq!(fetched.commit, commit);
}

#[tokio::test]
async fn a_rewritten_branch_and_a_moved_tag_are_reported() {
    let origin = Origin::with(&[("a", "1")]);
    let first = origin.commit("main", &[("a", "2")]);
    origin.tag("t", &first);
    let repository = origin.open().await;
    let fetched = repository.fetch_revision(&rev("main")).await.unwrap();
    assert!(!fetched.rewritten && fetched.changed() && fetched.previous.is_none());
    repository.fetch_revision(&rev("t")).await.unwrap();
    let second = origin.commit("main", &[("a", "3")]);
    let fetched = repository.fetch_revision(&rev("main")).await.unwrap();
    assert_eq!(
        (fetched.previous.as_deref(), fetched.rewritten),
        (Some(first.as_str()), false)
    );
    // The branch starts anew.
    let git = origin.git();
    let tree = git
        .find_commit(git2::Oid::from_str(&first).unwrap())
        .unwrap()
        .tree_id();
    let third = origin.commit_tree("main", tree, None);
    origin.tag("t", &second);
    let fetched = repository.fetch_revision(&rev("main")).await.unwrap();
    assert_eq!(
        (fetched.commit.as_str(), fetched.rewritten),
        (third.as_str(), true)
    );
    assert!(
        repository
            .fetch_revision(&rev("t"))
            .await
            .unwrap()
            .rewritten
    );
    assert!(
        !repository
            .fetch_revision(&rev("main"))
            .await
            .unwrap()
            .changed()
    );

    let all = origin.open().await;
    let outcome = all.fetch().await.unwrap();
    assert_eq!(outcome.changes.len(), 2);
    assert!(!outcome.rewritten);
    let tip = origin.commit_tree("main", tree, Some(git2::Oid::from_str(&second).unwrap()));
    git.find_reference("refs/tags/t").unwrap().delete().unwrap();
    let outcome = all.fetch().await.unwrap();
    assert!(outcome.rewritten);
    assert_eq!(outcome.changes[0].new.as_deref(), Some(tip.as_str()));
    assert_eq!(
        (
            outcome.changes[1].reference.as_str(),
            &outcome.changes[1].new
        ),
        ("refs/tags/t", &None)
    );
    assert_eq!(all.resolve(&Revision::Head).await.unwrap(), tip);
}

#[tokio::test]
async fn a_branch_that_becomes_a_directory_of_branches() {
    let origin = Origin::with(&[("a", "1")]);
    origin.commit("x", &[("a", "2")]);
    let repository = origin.open().await;
    repository.fetch_revision(&rev("x")).await.unwrap();
    origin
        .git()
        .find_reference("refs/heads/x")
        .unwrap()
        .delete()
        .unwrap();
    let commit = origin.commit("x/y", &[("a", "3")]);
    assert_eq!(
        repository.fetch_revision(&rev("x/y")).await.unwrap().commit,
        commit
    );
}

#[tokio::test]
async fn links_submodules_and_lfs_pointers() {
    let origin = Origin::empty();
    let git = origin.git();
    let commit = |files: &[(&str, u32, &str)]| {
        let mut index = git2::Index::new().unwrap();
        for (path, mode, text) in files {
            let id = if *mode == 0o160_000 {
                git2::Oid::from_str(text).unwrap()
            } else {
                git.blob(text.as_bytes()).unwrap()
            };
            index.add(&entry(path, id, *mode)).unwrap();
        }
        origin.commit_tree("main", index.write_tree_to(&git).unwrap(), None)
    };
    let sub = "0123456789abcdef0123456789abcdef01234567";
    let inside = commit(&[
        ("app/real.yaml", 0o100_644, "a: 1"),
        ("app/run.sh", 0o100_755, "x"),
        ("app/link.yaml", 0o120_000, "../base/b.yaml"),
        ("app/dir", 0o120_000, "../base"),
        ("app/sub", 0o160_000, sub),
        ("base/b.yaml", 0o100_644, "b: 1"),
    ]);
    let repository = origin.open().await;
    repository.fetch_revision(&Revision::Head).await.unwrap();
    let tree = repository.tree(&inside, "app").await.unwrap();
    assert_eq!(
        tree.get("link.yaml"),
        Some(&TreeEntry::Link("base/b.yaml".into()))
    );
    assert_eq!(tree.get("sub"), Some(&TreeEntry::Submodule(sub.into())));
    assert!(matches!(tree.get("run.sh"), Some(TreeEntry::Executable(_))));
    let follow = TreeOptions {
        links: LinkPolicy::Follow,
        ..TreeOptions::default()
    };
    let tree = repository.tree_with(&inside, "app", &follow).await.unwrap();
    assert_eq!(
        tree.get("link.yaml").unwrap().bytes().unwrap()[..],
        *b"b: 1"
    );
    assert_eq!(
        tree.get("dir/b.yaml").unwrap().bytes().unwrap()[..],
        *b"b: 1"
    );
    let refuse = TreeOptions {
        links: LinkPolicy::Refuse,
        ..TreeOptions::default()
    };
    assert!(repository.tree_with(&inside, "app", &refuse).await.is_err());
    let error = repository.tree(&inside, "app/sub/x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("submodule"), "{error}");
    let error = repository
        .tree(&inside, "app/dir/b.yaml")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");

    for (target, policy) in [
        ("/etc/passwd", LinkPolicy::Keep),
        ("../../etc/passwd", LinkPolicy::Keep),
        ("../../x", LinkPolicy::Follow),
        ("../.git/config", LinkPolicy::Follow),
    ] {
        let outside = commit(&[("app/values.yaml", 0o120_000, target)]);
        repository.fetch_revision(&Revision::Head).await.unwrap();
        let options = TreeOptions {
            links: policy,
            ..TreeOptions::default()
        };
        let error = repository
            .tree_with(&outside, "app", &options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{target}");
        assert!(error.to_string().contains("app/values.yaml"), "{error}");
    }
    for circle in [
        commit(&[("app/a", 0o120_000, "b"), ("app/b", 0o120_000, "a")]),
        commit(&[("app/a", 0o120_000, "../app")]),
    ] {
        let fresh = origin.open().await;
        fresh.fetch_revision(&rev(&circle)).await.unwrap();
        let error = fresh.tree_with(&circle, "app", &follow).await.unwrap_err();
        assert!(error.to_string().contains("circle"), "{error}");
    }

    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let lfs = commit(&[("app/big.bin", 0o100_644, pointer)]);
    repository.fetch_revision(&Revision::Head).await.unwrap();
    let error = repository.tree(&lfs, "app").await.unwrap_err();
    assert!(error.to_string().contains("LFS pointer"), "{error}");
    let keep = TreeOptions {
        lfs: LfsPolicy::Keep,
        ..TreeOptions::default()
    };
    assert_eq!(
        repository
            .tree_with(&lfs, "app", &keep)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn hostile_names_are_refused() {
    let origin = Origin::empty();
    let blob = origin.blob(b"x");
    let inner = origin.raw_tree(&[("100644", b"config", blob)]);
    for (mode, name) in [
        ("40000", &b".."[..]),
        ("40000", b".git"),
        ("40000", b".GIT"),
        ("100644", b"a\\b"),
        ("100644", b"."),
        ("100644", b"a/b"),
        ("100644", b"\xff"),
    ] {
        let oid = if mode == "40000" { inner } else { blob };
        let root = origin.raw_tree(&[(mode, name, oid)]);
        let commit = origin.commit_tree("main", root, None);
        let repository = origin.open().await;
        match repository.fetch_revision(&Revision::Head).await {
            Ok(_) => {
                let error = repository.tree(&commit, "").await.unwrap_err();
                assert!(
                    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Integrity),
                    "{name:?}: {error}"
                );
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Integrity, "{name:?}: {error}"),
        }
    }
}

#[tokio::test]
async fn limits_hold() {
    let origin = Origin::with(&[("a", "12345"), ("b", "12345")]);
    let repository = origin.open().await;
    let commit = repository
        .fetch_revision(&Revision::Head)
        .await
        .unwrap()
        .commit;
    for options in [
        TreeOptions {
            max_files: 1,
            ..TreeOptions::default()
        },
        TreeOptions {
            max_bytes: 9,
            ..TreeOptions::default()
        },
        TreeOptions {
            max_file_bytes: 4,
            ..TreeOptions::default()
        },
    ] {
        let error = repository
            .tree_with(&commit, "", &options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("more than"), "{error}");
    }
}

#[tokio::test]
async fn log_and_changes_of_a_path() {
    let origin = Origin::with(&[("apps/a", "1"), ("b", "1")]);
    let first = origin
        .open()
        .await
        .fetch_revision(&Revision::Head)
        .await
        .unwrap()
        .commit;
    let second = origin.commit("main", &[("b", "2")]);
    let third = origin.commit("main", &[("apps/a", "2"), ("apps/new", "x")]);
    let repository = origin.open().await;
    repository.fetch_revision(&Revision::Head).await.unwrap();
    let shas =
        |log: Vec<gitops_git::CommitInfo>| log.into_iter().map(|c| c.sha).collect::<Vec<_>>();
    assert_eq!(
        shas(repository.log(&third, "apps", 10).await.unwrap()),
        [third.clone(), first.clone()]
    );
    assert_eq!(
        shas(repository.log(&third, "b", 10).await.unwrap()),
        [second.clone(), first.clone()]
    );
    assert_eq!(
        shas(repository.log(&third, "", 2).await.unwrap()),
        [third.clone(), second.clone()]
    );
    let changes = repository
        .changed_paths(Some(&first), &third, "apps")
        .await
        .unwrap();
    let changes: Vec<_> = changes.iter().map(|c| (c.path.as_str(), c.kind)).collect();
    assert_eq!(
        changes,
        [
            ("apps/a", ChangeKind::Modified),
            ("apps/new", ChangeKind::Added)
        ]
    );
    assert_eq!(
        repository
            .changed_paths(None, &first, "")
            .await
            .unwrap()
            .len(),
        2
    );
    let info = repository.commit_info(&third).await.unwrap();
    assert_eq!(
        (
            info.author.name.as_str(),
            info.parents.len(),
            info.summary().as_str()
        ),
        ("T", 1, "a commit")
    );
}

#[tokio::test]
async fn one_client_shares_copies_and_a_damaged_one_is_made_anew() {
    let origin = Origin::with(&[("a", "1")]);
    let cache = tempfile::tempdir().unwrap();
    let options = RepositoryOptions::default().cache_dir(cache.path());
    let client = GitClient::new(options.clone()).unwrap();
    let one = client.repository(&origin.url()).await.unwrap();
    let two = client.repository(&origin.url()).await.unwrap();
    assert_eq!(one.dir(), two.dir());
    one.fetch_revision(&Revision::Head).await.unwrap();
    assert!(two.resolve(&Revision::Head).await.is_ok());
    std::fs::remove_file(one.dir().join("HEAD")).unwrap();
    let again = GitClient::new(options).unwrap();
    let three = again.repository(&origin.url()).await.unwrap();
    assert!(three.resolve(&Revision::Head).await.is_err());
    three.fetch_revision(&Revision::Head).await.unwrap();
    // A client without a directory: its repository outlives it.
    let short = GitClient::new(RepositoryOptions::default()).unwrap();
    let kept = short.repository(&origin.url()).await.unwrap();
    drop(short);
    kept.fetch_revision(&Revision::Head).await.unwrap();
}

#[tokio::test]
async fn a_reference_cut_short_by_a_power_cut_is_fetched_again() {
    let origin = Origin::with(&[("a", "1")]);
    let cache = tempfile::tempdir().unwrap();
    let options = RepositoryOptions::default().cache_dir(cache.path());
    let main = Revision::Branch("main".into());
    let open = async || {
        gitops_git::Repository::open(&origin.url(), options.clone())
            .await
            .unwrap()
    };
    let repository = open().await;
    let commit = repository.fetch_revision(&main).await.unwrap().commit;
    let file = repository.dir().join("refs/remotes/origin/main");
    assert!(file.is_file());
    std::fs::write(file, "").unwrap();
    let again = open().await;
    assert_eq!(again.fetch_revision(&main).await.unwrap().commit, commit);
    assert_eq!(again.resolve(&main).await.unwrap(), commit);
}

#[tokio::test]
async fn a_shallow_copy_reads_and_does_not_commit() {
    let origin = Origin::with(&[("a", "1")]);
    let tip = origin.commit("main", &[("a", "2")]);
    let url = format!("file://{}", origin.url());
    let repository = gitops_git::Repository::open(&url, RepositoryOptions::default().depth(1))
        .await
        .unwrap();
    assert_eq!(
        repository
            .fetch_revision(&Revision::Head)
            .await
            .unwrap()
            .commit,
        tip
    );
    assert_eq!(repository.tree(&tip, "").await.unwrap().len(), 1);
    let options = gitops_git::CommitOptions::new("T", "t@example.com", "x");
    let error = repository
        .commit(&options, |_| async { Ok(gitops_git::Edits::new()) })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
