//! Refusals and faults of a real server: a specific error each, within the deadline.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::GiteaOptions;
use gitops_core::ErrorKind;
use gitops_git::credential::StaticCredential;
use gitops_git::{Edits, GitCli, Repository, Revision};
use serde_json::json;

use super::tap::Tap;
use super::{commit_options, main_branch, make_key, options, password, refusal, round_trip, shown};

#[tokio::test(flavor = "multi_thread")]
async fn git_wrong_credentials_are_told_apart() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("refused").await?;
    gitea.commit(&repository, "first", &[("a", "1")]).await?;
    let url = &repository.http_url;

    let error = refusal(url, options()).await?;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    for credential in [
        StaticCredential::basic(&gitea.url, &gitea.user, "canary-password")?,
        StaticCredential::bearer(&gitea.url, "canary-token")?,
    ] {
        let error = refusal(url, options().credentials(credential)).await?;
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(!shown(&error).contains("canary"), "{error:?}");
    }
    // The right password, for another host.
    let elsewhere = StaticCredential::basic(
        "http://elsewhere.example.com",
        &gitea.user,
        gitea.password.as_str(),
    )?;
    let error = refusal(url, options().credentials(elsewhere)).await?;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");

    // A repository that is not there.
    let missing = format!("{}/{}/no-such.git", gitea.url, gitea.user);
    let error = refusal(&missing, options().credentials(password(gitea)?)).await?;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

    // A token that may only read, a key that may only read, and a branch that nobody may push to.
    let reader = gitea.token(&["read:repository"]).await?;
    let reading = StaticCredential::basic(&gitea.url, &gitea.user, reader.as_str())?;
    let dir = tempfile::tempdir()?;
    let (_, private, public) = make_key(dir.path(), "").await?;
    gitea.add_deploy_key(&repository, &public, true).await?;
    let known = std::fs::read_to_string(&gitea.known_hosts)?;
    let key = StaticCredential::ssh_key(&repository.ssh_url, private, Some(known))?;
    let protected = gitea.repository("protected").await?;
    gitea.commit(&protected, "first", &[("a", "1")]).await?;
    gitea
        .protect_branch(&protected, "main", &json!({"enable_push": false}))
        .await?;
    for (name, url, credential) in [
        ("token", url, reading),
        ("key", &repository.ssh_url, key),
        ("branch", &protected.http_url, password(gitea)?),
    ] {
        let opened = Repository::open(url, options().credentials(credential)).await?;
        opened.fetch_revision(&main_branch()).await?;
        let error = opened
            .commit(&commit_options(), |_| async {
                Ok(Edits::new().put("b", "1"))
            })
            .await
            .unwrap_err();
        println!("{name}: {error}");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{name}: {error}");
        assert!(!shown(&error).contains(&reader));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_host_keys_are_checked() -> Result<()> {
    let mut server = e2e::private_gitea(&GiteaOptions::default()).await?;
    let gitea = server.gitea().clone();
    let repository = gitea.repository("impostor").await?;
    let dir = tempfile::tempdir()?;
    let (_, private, public) = make_key(dir.path(), "").await?;
    gitea.add_ssh_key(&public).await?;
    let known = std::fs::read_to_string(&gitea.known_hosts)?;
    let with = |known: &str| -> Result<_> {
        Ok(options().credentials(StaticCredential::ssh_key(
            &repository.ssh_url,
            private.as_str(),
            Some(known.to_owned()),
        )?))
    };
    round_trip(&gitea, &repository, &repository.ssh_url, with(&known)?).await?;

    let other = known.replace("127.0.0.1", "git.example.com");
    for unknown in ["", other.as_str()] {
        let error = refusal(&repository.ssh_url, with(unknown)?).await?;
        println!("unknown: {error}");
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
        assert!(error.to_string().contains("not in known_hosts"), "{error}");
        assert!(!error.is_retryable());
    }
    server.change_host_key().await?;
    let error = refusal(&repository.ssh_url, with(&known)?).await?;
    println!("changed: {error}");
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    assert!(error.to_string().contains("another key"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_deadlines_hold_when_the_server_hangs() -> Result<()> {
    let mut server = e2e::private_gitea(&GiteaOptions::default()).await?;
    let gitea = server.gitea().clone();
    let repository = gitea.repository("hangs").await?;
    gitea.commit(&repository, "first", &[("a", "1")]).await?;
    let dir = tempfile::tempdir()?;
    let (_, private, public) = make_key(dir.path(), "").await?;
    gitea.add_ssh_key(&public).await?;
    let known = std::fs::read_to_string(&gitea.known_hosts)?;
    let key = StaticCredential::ssh_key(&repository.ssh_url, private, Some(known))?;
    let short = || options().timeout(Duration::from_secs(3));
    let http =
        Repository::open(&repository.http_url, short().credentials(password(&gitea)?)).await?;
    let ssh = Repository::open(&repository.ssh_url, short().credentials(key)).await?;

    server.suspend();
    for opened in [&http, &ssh] {
        let start = Instant::now();
        let error = opened.fetch_revision(&main_branch()).await.unwrap_err();
        let took = start.elapsed();
        println!("{}: {error} after {took:.1?}", opened.url());
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.is_retryable());
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
    server.resume();
    for opened in [&http, &ssh] {
        // What it missed may keep it busy for a moment.
        let mut tries = 0;
        while let Err(error) = opened.fetch_revision(&main_branch()).await {
            tries += 1;
            anyhow::ensure!(tries < 10, "{error}");
        }
    }
    server.kill();
    for opened in [&http, &ssh] {
        let error = opened.fetch_revision(&main_branch()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_redirects_get_no_credential() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("moved").await?;
    gitea.commit(&repository, "first", &[("a", "1")]).await?;
    let port: u16 = gitea.url.rsplit(':').next().context("no port")?.parse()?;
    for host in ["127.0.0.1", "localhost"] {
        let target = Tap::relay(port).await?;
        let tap = Tap::redirect(&format!("http://{host}:{}", target.port)).await?;
        let url = format!(
            "http://127.0.0.1:{}/{}/{}.git",
            tap.port, repository.owner, repository.name
        );
        let credential = StaticCredential::basic(&url, &gitea.user, gitea.password.as_str())?;
        let error = refusal(&url, options().credentials(credential)).await?;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("redirect"), "{error}");
        assert!(tap.heads()[0].contains("Authorization: Basic"));
        assert_eq!(target.connections(), 0, "the target was spoken to");
    }

    // Gitea's own: it answers for the old name of a repository with a redirect.
    let path = format!("/repos/{}/{}", repository.owner, repository.name);
    let body = json!({"name": format!("{}-now", repository.name)});
    gitea
        .api(reqwest::Method::PATCH, &path, Some(&body))
        .await?;
    let error = refusal(
        &repository.http_url,
        options().credentials(password(gitea)?),
    )
    .await?;
    println!("renamed: {error}");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("redirect"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_takes_no_leading_dash_anywhere() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("dash").await?;
    let commit = gitea.commit(&repository, "first", &[("a", "1")]).await?;
    let dir = tempfile::tempdir()?;
    let marker = dir.path().join("ran");
    let upload = format!("--upload-pack=touch {}", marker.display());
    let proxy = format!("-oProxyCommand=touch {}", marker.display());
    for url in [
        upload.clone(),
        proxy.clone(),
        format!("ssh://{proxy}/x"),
        format!("ssh://{proxy}@127.0.0.1/x"),
        format!("ssh://git@{proxy}:22/x"),
        format!("git@127.0.0.1:{upload}"),
        "ssh://git@127.0.0.1/-x".to_owned(),
        format!("ext::sh -c touch% {}", marker.display()),
    ] {
        // What is let in as a URL must be harmless when it is used.
        let error = match Repository::open(&url, options()).await {
            Err(error) => error,
            Ok(opened) => opened.list_refs().await.unwrap_err(),
        };
        println!("{url}: {error}");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}: {error}");
    }
    for text in [upload.as_str(), "-x", "--"] {
        let error = Revision::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
    }
    let opened = Repository::open(
        &repository.http_url,
        options().credentials(password(gitea)?),
    )
    .await?;
    opened.fetch_revision(&main_branch()).await?;
    for branch in [upload.as_str(), "-x"] {
        // Made by hand, not parsed.
        let revision = Revision::Branch(branch.to_owned());
        let error = opened.fetch_revision(&revision).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound),
            "{branch}: {error}"
        );
        let error = opened
            .commit(&commit_options().branch(branch), |_| async {
                Ok(Edits::new().put("b", "1"))
            })
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{branch}: {error}");
    }
    let error = opened.tree(&commit, "-x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(!marker.exists(), "a command ran");

    // A missing program has a name.
    let cli = GitCli::new().git_program("/no/such/git");
    let error = refusal(&repository.http_url, options().transport(cli)).await?;
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    Ok(())
}
