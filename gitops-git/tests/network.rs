//! Faults that a real server cannot be made to have, from servers of a few lines.

// Helpers outside of test functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::Origin;
use gitops_core::credential::{Credential, CredentialProvider, CredentialRequest};
use gitops_core::{ErrorKind, Result};
use gitops_git::credential::StaticCredential;
use gitops_git::{GitCli, Proxy, Repository, RepositoryOptions, Revision, Tls};

/// The requests that came: the request line and the headers, each lower-case.
type Seen = Arc<Mutex<Vec<Vec<String>>>>;

/// Serves HTTP/1.1, one request a connection; `answer` gives the whole response.
fn serve(answer: impl Fn(&[String]) -> Vec<u8> + Send + 'static) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = one(&stream, &record, &answer);
        }
    });
    (port, seen)
}

fn one(
    stream: &TcpStream,
    seen: &Seen,
    answer: &impl Fn(&[String]) -> Vec<u8>,
) -> std::io::Result<()> {
    let mut lines = Vec::new();
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let response = answer(&lines);
    seen.lock()
        .unwrap()
        .push(lines.iter().map(|line| line.to_lowercase()).collect());
    (&*stream).write_all(&response)
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn authorized(seen: &Seen) -> Vec<bool> {
    seen.lock()
        .unwrap()
        .iter()
        .map(|lines| lines.iter().any(|line| line.starts_with("authorization:")))
        .collect()
}

fn options() -> RepositoryOptions {
    RepositoryOptions::default()
        .timeout(Duration::from_secs(10))
        .proxy(Proxy::None)
}

async fn list(url: &str, options: RepositoryOptions) -> gitops_core::Error {
    Repository::open(url, options)
        .await
        .unwrap()
        .list_refs()
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_server_that_hangs_ends_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = "known_hosts does not matter: no key is ever shown";
    for url in [
        format!("http://127.0.0.1:{port}/x"),
        format!("ssh://git@127.0.0.1:{port}/x"),
    ] {
        let options = options().timeout(Duration::from_secs(2)).known_hosts(key);
        let repository = Repository::open(&url, options).await.unwrap();
        let start = Instant::now();
        for error in [
            repository.list_refs().await.unwrap_err(),
            repository
                .fetch_revision(&Revision::Head)
                .await
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!(error.is_retryable());
        }
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    // Dropping the future closes the connection: nothing goes on behind the caller's back.
    let repository = Repository::open(&format!("http://127.0.0.1:{port}/x"), options())
        .await
        .unwrap();
    let call = tokio::time::timeout(Duration::from_secs(2), repository.list_refs()).await;
    assert!(call.is_err());
    // Who was ended before it had connected is not among them.
    listener.set_nonblocking(true).unwrap();
    let mut connections = 0;
    while let Ok((stream, _)) = listener.accept() {
        connections += 1;
        stream.set_nonblocking(false).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut rest = Vec::new();
        let end = std::io::Read::read_to_end(&mut &stream, &mut rest);
        assert!(
            end.is_ok()
                || end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset),
            "a client still holds its connection"
        );
    }
    assert!(connections > 0, "nobody came");
}

#[tokio::test]
async fn statuses_have_their_kinds_and_secrets_stay_out() {
    for (status, kind) in [
        ("401 Unauthorized", ErrorKind::Unauthenticated),
        ("403 Forbidden", ErrorKind::PermissionDenied),
        ("404 Not Found", ErrorKind::NotFound),
        ("429 Too Many Requests", ErrorKind::RateLimited),
        ("503 Service Unavailable", ErrorKind::Unavailable),
    ] {
        let (port, seen) = serve(move |lines| {
            // A server that mirrors what it was sent.
            let auth: String = lines
                .iter()
                .filter(|line| line.starts_with("Authorization"))
                .cloned()
                .collect();
            response(
                status,
                "WWW-Authenticate: Basic realm=\"x\"\r\nContent-Type: text/plain\r\n",
                auth.as_bytes(),
            )
        });
        let url = format!("http://127.0.0.1:{port}/x");
        let token = StaticCredential::basic(&url, "ann", "canary-secret").unwrap();
        let error = list(&url, options().credentials(token)).await;
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(authorized(&seen)[0]);
        let shown = format!("{error} {error:?} {error:#}");
        assert!(
            !shown.contains("canary") && !shown.contains("YW5uOmNhbmFyeS1zZWNyZXQ"),
            "{shown}"
        );
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = list(&format!("http://127.0.0.1:{port}/x"), options()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = list(&format!("ssh://git@127.0.0.1:{port}/x"), options()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_redirect_carries_no_credential() {
    let (other, seen) = serve(|_| response("404 Not Found", "", b""));
    for target in [
        format!("http://127.0.0.1:{other}"),
        format!("http://localhost:{other}"),
    ] {
        let (port, _) = serve(move |_| {
            response(
                "302 Found",
                &format!("Location: {target}/x/info/refs?service=git-upload-pack\r\n"),
                b"",
            )
        });
        let url = format!("http://127.0.0.1:{port}/x");
        let token = StaticCredential::bearer(&url, "canary").unwrap();
        let error = list(&url, options().credentials(token)).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("redirect"), "{error}");
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[derive(Debug)]
struct Rotating;

#[async_trait]
impl CredentialProvider for Rotating {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        Ok(Some(Credential::Bearer(
            format!("token-{}", request.attempt).into(),
        )))
    }
}

fn packet(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

fn advertise(refs: &[&str]) -> Vec<u8> {
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let mut body = packet("# service=git-upload-pack\n") + "0000";
    for (index, name) in refs.iter().enumerate() {
        let end = if index == 0 { "\0agent=x\n" } else { "\n" };
        body += &packet(&format!("{sha} {name}{end}"));
    }
    body += "0000";
    response(
        "200 OK",
        "Content-Type: application/x-git-upload-pack-advertisement\r\n",
        body.as_bytes(),
    )
}

#[tokio::test]
async fn a_refused_token_is_asked_for_once_more() {
    let (port, seen) = serve(|lines| {
        if lines
            .iter()
            .any(|line| line == "Authorization: Bearer token-1")
        {
            advertise(&["HEAD", "refs/heads/main"])
        } else {
            response("401 Unauthorized", "WWW-Authenticate: Basic\r\n", b"")
        }
    });
    let url = format!("http://127.0.0.1:{port}/x");
    let repository = Repository::open(&url, options().credentials(Rotating))
        .await
        .unwrap();
    assert_eq!(repository.list_refs().await.unwrap().refs.len(), 2);
    assert!(seen.lock().unwrap().len() <= 4);
}

#[tokio::test]
async fn a_climbing_reference_is_refused() {
    let (port, _) = serve(|_| advertise(&["refs/heads/main", "refs/heads/../../x"]));
    let repository = Repository::open(&format!("http://127.0.0.1:{port}/x"), options())
        .await
        .unwrap();
    let error = repository.list_refs().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    assert!(repository.fetch().await.is_err());
    assert!(
        !common::exists(repository.dir().join("refs/x"))
            && !common::exists(repository.dir().join("x"))
    );
}

#[tokio::test]
async fn endless_output_is_cut() {
    let (port, _) = serve(|_| {
        let names: Vec<String> = (0..20_000)
            .map(|n| format!("refs/heads/branch-{n}"))
            .collect();
        advertise(&names.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let cli = GitCli::new().max_output(10_000);
    let error = list(
        &format!("http://127.0.0.1:{port}/x"),
        options().transport(cli),
    )
    .await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[tokio::test]
async fn wrong_kinds_of_credential_are_said_so() {
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n";
    let url = "http://127.0.0.1:9/x";
    let error = list(
        url,
        options().credentials(StaticCredential::ssh_key(url, key, None).unwrap()),
    )
    .await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let url = "ssh://git@127.0.0.1:9/x";
    let error = list(
        url,
        options().credentials(StaticCredential::bearer(url, "canary").unwrap()),
    )
    .await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = list(
        "https://127.0.0.1:9/x",
        options().tls(Tls::CaFile("/no/such/ca".into())),
    )
    .await;
    assert!(!error.to_string().is_empty());
}

/// What `git` is really given: a program that writes it down.
#[cfg(unix)]
#[tokio::test]
async fn no_secret_is_on_a_command_line_and_operands_are_fenced() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (script, out) = (dir.path().join("git"), dir.path().join("out"));
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nfor a in \"$@\"; do printf '%s\\n' \"$a\"; done >> {out}.args\nenv >> {out}.env\nif [ -n \"$GIT_SSH_COMMAND\" ]; then f=${{GIT_SSH_COMMAND#*-F }}; cat \"$f\" >> {out}.ssh; ls -l \"$(dirname $f)\" >> {out}.files; fi\nexit 1\n",
            out = out.display()
        ),
    )
    .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let cli = || options().transport(GitCli::new().git_program(&script));

    let url = "https://git.example.com/x";
    let http = Repository::open(
        url,
        cli().credentials(StaticCredential::bearer(url, "canary").unwrap()),
    )
    .await
    .unwrap();
    assert!(http.list_refs().await.is_err());
    assert!(
        http.fetch_revision(&Revision::Branch("main".into()))
            .await
            .is_err()
    );
    assert!(!read("out.args").contains("canary"));
    assert_eq!(
        read("out.args")
            .lines()
            .filter(|line| *line == "--")
            .count(),
        2
    );
    let env = read("out.env");
    for line in [
        "GIT_CONFIG_NOSYSTEM=1",
        "GIT_CONFIG_GLOBAL=/dev/null",
        "GIT_TERMINAL_PROMPT=0",
        "GIT_ALLOW_PROTOCOL=https",
        "LC_ALL=C",
    ] {
        assert!(env.lines().any(|other| other == line), "{line}");
    }
    assert!(env.contains("=http.https://git.example.com/.extraHeader"));
    assert!(
        !env.lines().any(|line| line.starts_with("CARGO")),
        "the environment is private"
    );

    let url = "ssh://git@git.example.com/x";
    let key = StaticCredential::ssh_key(
        url,
        "canary-key",
        Some("git.example.com ssh-ed25519 AAAA".into()),
    )
    .unwrap();
    let ssh = Repository::open(url, cli().credentials(key)).await.unwrap();
    assert!(ssh.list_refs().await.is_err());
    assert!(!read("out.args").contains("canary") && !read("out.env").contains("canary-key"));
    assert!(read("out.ssh").contains("StrictHostKeyChecking yes"));
    let files = read("out.files");
    assert!(
        files
            .lines()
            .any(|line| line.starts_with("-rw-------") && line.ends_with("key")),
        "{files}"
    );
    // And the files are gone.
    let left = read("out.ssh")
        .lines()
        .find_map(|line| {
            line.strip_prefix("IdentityFile ")
                .map(|path| path.trim_matches('"').to_owned())
        })
        .unwrap();
    assert!(!common::exists(left));
}

#[tokio::test]
async fn a_fetch_that_grows_too_much_is_stopped() {
    let origin = Origin::empty();
    let mut noise = 1_u64;
    let big: Vec<u8> = (0..40_000_000)
        .map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        })
        .collect();
    let blob = origin.blob(&big);
    let tree = origin.raw_tree(&[("100644", b"big", blob)]);
    origin.commit_tree("main", tree, None);
    let mut limited = options().timeout(Duration::from_secs(60));
    limited.max_fetch_bytes = Some(1_000_000);
    let repository = Repository::open(&format!("file://{}", origin.url()), limited)
        .await
        .unwrap();
    match repository.fetch_revision(&Revision::Head).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
        Ok(_) => panic!("it was not stopped"),
    }
}
