//! Git over a real forge: every way in, every refusal, content that does not belong, and many writers at once.

mod content;
mod faults;
mod tap;
mod ways;
mod writers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::Gitea;
use gitops_core::Error;
use gitops_git::credential::StaticCredential;
use gitops_git::{
    CommitOptions, CommitOutcome, Edits, Proxy, Repository, RepositoryOptions, Revision,
};
use tokio::process::Command;

/// Options of a short deadline, without the proxy of whoever runs the tests.
pub(crate) fn options() -> RepositoryOptions {
    RepositoryOptions::default()
        .timeout(Duration::from_secs(60))
        .proxy(Proxy::None)
}

/// The administrator's password, for this Gitea only.
pub(crate) fn password(gitea: &Gitea) -> Result<StaticCredential> {
    Ok(StaticCredential::basic(
        &gitea.url,
        &gitea.user,
        gitea.password.as_str(),
    )?)
}

fn main_branch() -> Revision {
    Revision::Branch("main".into())
}

fn commit_options() -> CommitOptions {
    CommitOptions::new("Writer", "writer@example.com", "Write {path}").branch("main")
}

/// Reads what is there, pushes a file, and reads what somebody else pushed then.
async fn round_trip(
    gitea: &Gitea,
    on_server: &e2e::Repository,
    url: &str,
    options: RepositoryOptions,
) -> Result<()> {
    let first = gitea
        .commit(on_server, "first", &[("apps/a.yaml", "a: 1\n")])
        .await?;
    let repository = Repository::open(url, options).await?;
    let fetched = repository.fetch_revision(&main_branch()).await?;
    assert_eq!(fetched.commit, first);
    assert_eq!(text(&repository, &first, "apps", "a.yaml").await?, "a: 1\n");

    let outcome = repository
        .commit(&commit_options(), |_| async {
            Ok(Edits::new().put("apps/b.yaml", "b: 1\n"))
        })
        .await?;
    let CommitOutcome::Pushed { commit, parent, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(parent.as_deref(), Some(first.as_str()));
    let path = format!(
        "/repos/{}/{}/branches/main",
        on_server.owner, on_server.name
    );
    let branch = gitea.api(reqwest::Method::GET, &path, None).await?;
    assert_eq!(branch["commit"]["id"], commit.as_str());

    let third = gitea
        .commit(on_server, "third", &[("apps/b.yaml", "b: 2\n")])
        .await?;
    let fetched = repository.fetch_revision(&main_branch()).await?;
    assert_eq!(fetched.commit, third);
    // The last commit that was fetched, not the one pushed.
    assert_eq!(fetched.previous.as_deref(), Some(first.as_str()));
    assert!(!fetched.rewritten);
    assert_eq!(text(&repository, &third, "apps", "b.yaml").await?, "b: 2\n");
    Ok(())
}

async fn text(repository: &Repository, commit: &str, path: &str, name: &str) -> Result<String> {
    let tree = repository.tree(commit, path).await?;
    let bytes = tree
        .get(name)
        .and_then(gitops_core::manifest::TreeEntry::bytes)
        .with_context(|| format!("no {name}"))?;
    Ok(String::from_utf8(bytes.to_vec())?)
}

/// The error of listing references.
async fn refusal(url: &str, options: RepositoryOptions) -> Result<Error> {
    match Repository::open(url, options).await?.list_refs().await {
        Ok(refs) => anyhow::bail!("{url} was let in: {refs:?}"),
        Err(error) => Ok(error),
    }
}

/// All that an error shows, its sources too.
fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    text
}

/// A new key; its file, the private text and the public line.
async fn make_key(dir: &Path, passphrase: &str) -> Result<(PathBuf, String, String)> {
    let key = dir.join(format!("key-{}", passphrase.len()));
    let mut keygen = Command::new(e2e::system_program("ssh-keygen")?);
    keygen
        .args(["-q", "-t", "ed25519", "-N", passphrase, "-f"])
        .arg(&key);
    e2e::run(&mut keygen).await?;
    let private = tokio::fs::read_to_string(&key).await?;
    let public = tokio::fs::read_to_string(key.with_extension("pub")).await?;
    Ok((key, private, public))
}

/// Plain `git`, as somebody else would use it.
async fn git(dir: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new(e2e::system_program("git")?);
    command
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("http_proxy")
        .env_remove("all_proxy")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
        .args(args);
    e2e::run(&mut command).await
}
