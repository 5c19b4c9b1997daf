//! Content that does not belong, pushed to a real forge with plain `git`.

use anyhow::Result;
use gitops_core::ErrorKind;
use gitops_core::manifest::TreeEntry;
use gitops_git::{LfsPolicy, LinkPolicy, Repository, Revision, TreeOptions};

use super::{git, main_branch, options, password, text};

#[tokio::test(flavor = "multi_thread")]
async fn git_content_that_does_not_belong_is_a_specific_error() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let on_server = gitea.repository("content").await?;
    gitea
        .commit(&on_server, "first", &[("good/a.yaml", "a: 1\n")])
        .await?;
    let dir = tempfile::tempdir()?;
    let url = gitea.url_with_password(&on_server);
    git(dir.path(), &["clone", "-q", &url, "work"]).await?;
    let work = dir.path().join("work");
    let link = |target: &str, path: &str| -> Result<()> {
        let path = work.join(path);
        std::fs::create_dir_all(path.parent().unwrap())?;
        Ok(std::os::unix::fs::symlink(target, path)?)
    };
    link("/etc/passwd", "absolute/values.yaml")?;
    link("../../outside", "climbing/values.yaml")?;
    link("../../../etc", "deep/er/dir")?;
    link("../good/a.yaml", "inside/values.yaml")?;
    link("b", "circle/a")?;
    link("a", "circle/b")?;
    std::fs::create_dir(work.join("lfs"))?;
    std::fs::write(
        work.join("lfs/big.bin"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n",
    )?;
    git(&work, &["add", "-A"]).await?;
    let module = format!("160000,{},modules/other", "1".repeat(40));
    git(&work, &["update-index", "--add", "--cacheinfo", &module]).await?;
    git(&work, &["commit", "-q", "-m", "oddities"]).await?;
    git(&work, &["push", "-q", "origin", "HEAD:main"]).await?;

    let opened = options().credentials(password(gitea)?);
    let repository = Repository::open(&on_server.http_url, opened).await?;
    let commit = repository.fetch_revision(&main_branch()).await?.commit;
    for (path, kind, words) in [
        ("nothing", ErrorKind::NotFound, "does not exist"),
        ("good/a.yaml/b", ErrorKind::NotFound, "is a file"),
        ("..", ErrorKind::InvalidInput, ".."),
        ("good/../../x", ErrorKind::InvalidInput, ".."),
        ("/etc", ErrorKind::InvalidInput, "/etc"),
        (
            "absolute",
            ErrorKind::InvalidInput,
            "leads out of the repository",
        ),
        (
            "climbing",
            ErrorKind::InvalidInput,
            "leads out of the repository",
        ),
        (
            "deep",
            ErrorKind::InvalidInput,
            "leads out of the repository",
        ),
        ("lfs", ErrorKind::InvalidInput, "LFS pointer"),
        ("modules/other", ErrorKind::Unsupported, "submodule"),
        ("modules/other/x", ErrorKind::Unsupported, "submodule"),
    ] {
        let error = repository.tree(&commit, path).await.unwrap_err();
        println!("{path}: {error}");
        assert_eq!(error.kind(), kind, "{path}: {error}");
        assert!(error.to_string().contains(words), "{path}: {error}");
    }
    assert_eq!(
        text(&repository, &commit, "good", "a.yaml").await?,
        "a: 1\n"
    );
    let modules = repository.tree(&commit, "modules").await?;
    assert!(
        matches!(modules.get("other"), Some(TreeEntry::Submodule(sha)) if *sha == "1".repeat(40))
    );
    let follow = TreeOptions {
        links: LinkPolicy::Follow,
        lfs: LfsPolicy::Keep,
        ..TreeOptions::default()
    };
    let inside = repository.tree_with(&commit, "inside", &follow).await?;
    let bytes = inside
        .get("values.yaml")
        .and_then(TreeEntry::bytes)
        .unwrap();
    assert_eq!(bytes[..], *b"a: 1\n");
    let error = repository
        .tree_with(&commit, "circle", &follow)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
    assert_eq!(
        repository.tree_with(&commit, "lfs", &follow).await?.len(),
        1
    );

    for revision in [
        "no-such-branch",
        "refs/heads/no-such",
        "v9.9.9",
        ">=9.0.0",
        "deadbeef",
        &"0123456789".repeat(4),
    ] {
        let error = repository
            .fetch_revision(&Revision::parse(revision)?)
            .await
            .unwrap_err();
        println!("{revision}: {error}");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{revision}: {error}");
        assert!(!error.is_retryable());
    }
    // A short SHA is completed by a fetch.
    let short = Revision::parse(&commit[..10])?;
    assert_eq!(repository.fetch_revision(&short).await?.commit, commit);
    Ok(())
}
