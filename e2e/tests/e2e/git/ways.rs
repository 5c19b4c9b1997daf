//! Every way in: protocols, credentials, authorities, proxies.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::GiteaOptions;
use gitops_core::ErrorKind;
use gitops_git::credential::{
    CredentialChain, CredentialHelper, Netrc, StaticCredential, TokenFile,
};
use gitops_git::{GitCli, Proxy, Repository, Tls};
use tokio::process::Command;

use super::tap::Tap;
use super::{make_key, options, password, refusal, round_trip, shown};

#[tokio::test(flavor = "multi_thread")]
async fn git_over_http_with_every_credential() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let token = gitea.token(&["write:repository", "write:user"]).await?;
    let dir = tempfile::tempdir()?;
    let authority = gitea.url.trim_start_matches("http://");
    let (netrc, store, file) = (
        dir.path().join("netrc"),
        dir.path().join("store"),
        dir.path().join("token"),
    );
    std::fs::write(
        &netrc,
        format!(
            "machine 127.0.0.1 login {} password {}\n",
            gitea.user, gitea.password
        ),
    )?;
    let escaped = authority.replace(':', "%3a");
    std::fs::write(&store, format!("http://{}:{token}@{escaped}\n", gitea.user))?;
    std::fs::write(&file, format!("{token}\n"))?;
    let helper = CredentialHelper::named("store")?.argument(format!("--file={}", store.display()));
    let chain = CredentialChain::new()
        .with(StaticCredential::bearer(
            "https://elsewhere.example.com",
            "not-for-here",
        )?)
        .with(password(gitea)?);
    for (name, options) in [
        ("password", options().credentials(password(gitea)?)),
        (
            "token as password",
            options().credentials(StaticCredential::basic(
                &gitea.url,
                &gitea.user,
                token.as_str(),
            )?),
        ),
        (
            "bearer",
            options().credentials(StaticCredential::bearer(&gitea.url, token.as_str())?),
        ),
        (
            "token file",
            options().credentials(TokenFile::new(&gitea.url, Some(gitea.user.clone()), &file)?),
        ),
        ("netrc", options().credentials(Netrc::new(&netrc))),
        ("helper", options().credentials(helper)),
        ("chain", options().credentials(chain)),
    ] {
        let repository = gitea.repository("way").await?;
        round_trip(gitea, &repository, &repository.http_url, options)
            .await
            .with_context(|| name.to_owned())?;
        println!("{name}: read, pushed, read again");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_over_ssh_with_key_locked_key_and_agent() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let known = std::fs::read_to_string(&gitea.known_hosts)?;
    let dir = tempfile::tempdir()?;

    let (file, private, public) = make_key(dir.path(), "").await?;
    gitea.add_ssh_key(&public).await?;
    let repository = gitea.repository("ssh-key").await?;
    let key = StaticCredential::ssh_key(&repository.ssh_url, private, Some(known.clone()))?;
    let opened = options().credentials(key);
    round_trip(gitea, &repository, &repository.ssh_url, opened).await?;

    let (_, private, public) = make_key(dir.path(), "open 'sesame\"$x").await?;
    gitea.add_ssh_key(&public).await?;
    let repository = gitea.repository("ssh-locked").await?;
    let locked = |passphrase: &str| {
        StaticCredential::locked_ssh_key(
            &repository.ssh_url,
            private.as_str(),
            passphrase,
            Some(known.clone()),
        )
    };
    let opened = options().credentials(locked("open 'sesame\"$x")?);
    round_trip(gitea, &repository, &repository.ssh_url, opened).await?;
    let wrong = options().credentials(locked("canary-passphrase")?);
    let error = refusal(&repository.ssh_url, wrong).await?;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(!shown(&error).contains("canary"), "{error:?}");

    let socket = dir.path().join("agent");
    let mut agent = Command::new(e2e::system_program("ssh-agent")?)
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    for _ in 0..600 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut add = Command::new(e2e::system_program("ssh-add")?);
    e2e::run(add.env("SSH_AUTH_SOCK", &socket).arg("-q").arg(&file)).await?;
    let repository = gitea.repository("ssh-agent").await?;
    let with_agent = || -> Result<_> {
        Ok(options()
            .transport(GitCli::new().agent_socket(&socket))
            .credentials(StaticCredential::ssh_agent(
                &repository.ssh_url,
                Some(known.clone()),
            )?))
    };
    round_trip(gitea, &repository, &repository.ssh_url, with_agent()?).await?;
    agent.kill().await?;
    let error = refusal(&repository.ssh_url, with_agent()?).await?;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_over_https_with_an_authority_of_its_own_and_a_proxy() -> Result<()> {
    let server = e2e::private_gitea(&GiteaOptions { https: true }).await?;
    let gitea = server.gitea();
    let ca = gitea.ca.clone().context("no certificate")?;
    let repository = gitea.repository("tls").await?;

    let distrusting = options().credentials(password(gitea)?);
    let error = refusal(&repository.http_url, distrusting).await?;
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    assert!(
        error.to_string().contains("certificate is not trusted"),
        "{error}"
    );
    println!("untrusted: {error}");

    let proxy = Tap::proxy().await?;
    let through = Proxy::Url(format!("http://127.0.0.1:{}", proxy.port));
    for (tls, proxy) in [
        (Tls::CaFile(ca.clone()), Proxy::None),
        (Tls::CaPem(std::fs::read_to_string(&ca)?), Proxy::None),
        (Tls::CaFile(ca.clone()), through),
    ] {
        let repository = gitea.repository("tls").await?;
        let trusting = options()
            .tls(tls)
            .proxy(proxy)
            .credentials(password(gitea)?);
        round_trip(gitea, &repository, &repository.http_url, trusting).await?;
    }
    let heads = proxy.heads();
    println!("{} connections through the proxy", heads.len());
    assert!(!heads.is_empty());
    for head in heads {
        assert!(head.starts_with("CONNECT 127.0.0.1:"), "{head}");
        assert!(!head.to_lowercase().contains("authorization"), "{head}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_over_an_http_proxy() -> Result<()> {
    let gitea = e2e::gitea().await?;
    let repository = gitea.repository("proxy").await?;
    let proxy = Tap::proxy().await?;
    let through = |proxy: &str| -> Result<_> {
        Ok(options()
            .proxy(Proxy::Url(proxy.to_owned()))
            .credentials(password(gitea)?))
    };
    let url = format!("http://127.0.0.1:{}", proxy.port);
    round_trip(gitea, &repository, &repository.http_url, through(&url)?).await?;
    let heads = proxy.heads();
    assert!(!heads.is_empty());
    assert!(heads.iter().all(|head| head.contains(&repository.http_url)));

    // The proxy's own password is shown to nobody either.
    drop(proxy);
    let dead = url.replace("http://", "http://ann:canary-proxy@");
    let error = refusal(&repository.http_url, through(&dead)?).await?;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!shown(&error).contains("canary"), "{error:?}");
    let opened = Repository::open(&repository.http_url, through(&dead)?).await?;
    assert!(!format!("{:?}", opened.options()).contains("canary"));
    Ok(())
}
