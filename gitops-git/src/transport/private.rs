//! The private surroundings of one `git` call: its environment, configuration, and files that live as long as the call.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitops_core::credential::Credential;
use gitops_core::{Error, Result};
use tempfile::TempDir;
use tokio::process::Command;

use super::{Proxy, Remote, Tls};
use crate::url::Scheme;

/// Variables of the caller that a `git` may see.
const KEPT: &[&str] = &[
    "PATH",
    "TMPDIR",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
const PROXIES: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// How SSH is spoken.
pub(super) struct Ssh<'a> {
    /// The program.
    pub(super) program: &'a Path,
    /// The agent's socket; `None`: the one that `SSH_AUTH_SOCK` names.
    pub(super) agent: Option<&'a Path>,
}

/// The surroundings; dropping removes the files.
#[derive(Debug)]
pub(super) struct Surroundings {
    _files: TempDir,
    /// Texts that must not be in any message.
    secrets: Vec<String>,
}

impl Surroundings {
    /// Prepares `command` for speaking to `remote`.
    pub(super) fn prepare(command: &mut Command, remote: &Remote, ssh: &Ssh<'_>) -> Result<Self> {
        let io = |error| Error::internal("cannot write a private file").with_source(error);
        // `tempfile` makes it 0700.
        let files = tempfile::Builder::new()
            .prefix("gitops-git-")
            .tempdir()
            .map_err(io)?;
        let mut secrets = Vec::new();
        let mut config: Vec<(String, String)> = [
            ("credential.helper", ""),
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("protocol.version", "2"),
            ("http.followRedirects", "false"),
            ("submodule.recurse", "false"),
            ("fetch.recurseSubmodules", "no"),
            ("fetch.writeCommitGraph", "false"),
            ("fetch.fsckObjects", "false"),
            ("push.gpgSign", "false"),
            ("push.followTags", "false"),
            ("push.recurseSubmodules", "no"),
            ("core.askPass", ""),
            // References of a copy need not outlive a power cut: opening it drops what such a cut left empty. Packs still are synced.
            ("core.fsync", "-reference"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();

        command.env_clear();
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("HOME", files.path())
            .env("XDG_CONFIG_HOME", files.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_ALLOW_PROTOCOL", remote.url.scheme().as_str());

        match remote.url.scheme() {
            Scheme::Http | Scheme::Https => {
                http(command, remote, files.path(), &mut config, &mut secrets)?;
            }
            Scheme::Ssh => ssh_files(command, remote, ssh, files.path(), &mut secrets)?,
            Scheme::File => {}
        }
        command.env("GIT_CONFIG_COUNT", config.len().to_string());
        for (index, (key, value)) in config.into_iter().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{index}"), key)
                .env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        Ok(Self {
            _files: files,
            secrets,
        })
    }

    /// `text` without any secret.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().filter(|secret| secret.len() > 3) {
            text = text.replace(secret.as_str(), "***");
        }
        text
    }
}

fn http(
    command: &mut Command,
    remote: &Remote,
    files: &Path,
    config: &mut Vec<(String, String)>,
    secrets: &mut Vec<String>,
) -> Result<()> {
    let header = match &remote.credential {
        None => None,
        Some(Credential::Basic { username, password }) => {
            let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
            secrets.push(password.expose().to_owned());
            secrets.push(pair.clone());
            Some(format!("Authorization: Basic {pair}"))
        }
        Some(Credential::Bearer(token)) => {
            secrets.push(token.expose().to_owned());
            Some(format!("Authorization: Bearer {}", token.expose()))
        }
        Some(_) => {
            return Err(Error::invalid(format!(
                "{}: an SSH credential was given for an HTTP URL",
                remote.url
            )));
        }
    };
    if let (Some(header), Some(origin)) = (header, remote.url.http_origin()) {
        if header.chars().any(char::is_control) {
            return Err(Error::invalid("a credential holds a control character"));
        }
        config.push((format!("http.{origin}/.extraHeader"), header));
    }
    match &remote.tls {
        Tls::System => {}
        Tls::CaFile(path) => config.push((
            "http.sslCAInfo".to_owned(),
            path.to_str()
                .ok_or_else(|| Error::invalid("the CA file's path is not UTF-8"))?
                .to_owned(),
        )),
        Tls::CaPem(pem) => {
            let path = write(files, "ca.pem", pem)?;
            config.push(("http.sslCAInfo".to_owned(), path));
        }
        Tls::InsecureSkipVerify => {
            config.push(("http.sslVerify".to_owned(), "false".to_owned()));
        }
    }
    match &remote.proxy {
        Proxy::Environment => {
            for name in PROXIES {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
        }
        Proxy::None => config.push(("http.proxy".to_owned(), String::new())),
        Proxy::Url(proxy) => {
            if let Some((user, _)) = proxy
                .rsplit_once('@')
                .and_then(|(user, _)| user.rsplit_once("://").map(|(_, user)| (user, ())))
            {
                secrets.push(user.to_owned());
            }
            config.push(("http.proxy".to_owned(), proxy.clone()));
        }
    }
    Ok(())
}

/// Writes ssh's configuration, key and known hosts, and makes `git` use them.
///
/// `GIT_SSH` takes no arguments and ssh finds its own configuration through the password database, so `-F` has to come through
/// `GIT_SSH_COMMAND`, which `git` may hand to `sh`. Its text holds nothing but two paths checked to need no quoting; host, user and path of the URL
/// are appended by `git` as arguments, never as text.
fn ssh_files(
    command: &mut Command,
    remote: &Remote,
    ssh: &Ssh<'_>,
    files: &Path,
    secrets: &mut Vec<String>,
) -> Result<()> {
    let mut lines = String::from(
        "Host *\nStrictHostKeyChecking yes\nUpdateHostKeys no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         ForwardAgent no\nForwardX11 no\nClearAllForwardings yes\nPermitLocalCommand no\nControlMaster no\nControlPath none\nLogLevel ERROR\nServerAliveInterval 15\n",
    );
    let seconds = remote.timeout.as_secs().clamp(1, 60);
    let _ = writeln!(lines, "ConnectTimeout {seconds}");
    let mut known_hosts = remote.known_hosts.as_deref();
    let mut user = None;
    let mut batch = true;
    match &remote.credential {
        None => lines.push_str("IdentityAgent none\nIdentityFile none\n"),
        Some(Credential::SshKey {
            username,
            private_key,
            passphrase,
            known_hosts: own,
        }) => {
            user = username.as_deref();
            known_hosts = own.as_deref().or(known_hosts);
            secrets.push(private_key.expose().to_owned());
            if let Some(passphrase) = passphrase.as_ref().filter(|text| !text.is_empty()) {
                secrets.push(passphrase.expose().to_owned());
                askpass(command, files, passphrase.expose())?;
                batch = false;
            }
            // OpenSSH wants a newline at the end, and no carriage returns.
            let mut key = private_key.expose().replace("\r\n", "\n");
            if !key.ends_with('\n') {
                key.push('\n');
            }
            let path = write(files, "key", &key)?;
            let _ = writeln!(
                lines,
                "IdentityAgent none\nIdentitiesOnly yes\nIdentityFile {}",
                quote(&path)?
            );
        }
        Some(Credential::SshAgent {
            username,
            known_hosts: own,
        }) => {
            user = username.as_deref();
            known_hosts = own.as_deref().or(known_hosts);
            let agent = match ssh.agent {
                Some(path) => Some(path.as_os_str().to_owned()),
                None => std::env::var_os("SSH_AUTH_SOCK"),
            };
            match agent {
                Some(socket) => {
                    command.env("SSH_AUTH_SOCK", socket);
                }
                None => {
                    return Err(Error::new(
                        gitops_core::ErrorKind::Unauthenticated,
                        "no SSH agent is running (SSH_AUTH_SOCK is not set)",
                    ));
                }
            }
        }
        Some(_) => {
            return Err(Error::invalid(format!(
                "{}: a password or token was given for an SSH URL",
                remote.url
            )));
        }
    }
    // In batch mode ssh would not even ask the program that knows the passphrase.
    lines.push_str(if batch {
        "BatchMode yes\n"
    } else {
        "BatchMode no\nNumberOfPasswordPrompts 1\n"
    });
    if let Some(user) = user.filter(|_| remote.url.username().is_none()) {
        if user.is_empty()
            || user.starts_with('-')
            || !user
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._+@".contains(c))
        {
            return Err(Error::invalid(
                "the SSH user name holds characters that are not allowed",
            ));
        }
        let _ = writeln!(lines, "User {user}");
    }
    if let Some(text) = known_hosts {
        let path = write(files, "known_hosts", &format!("{}\n", text.trim_end()))?;
        let _ = writeln!(
            lines,
            "UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null",
            quote(&path)?
        );
    }
    let config = write(files, "ssh_config", &lines)?;
    let ssh = ssh
        .program
        .to_str()
        .ok_or_else(|| Error::invalid("the path of ssh is not UTF-8"))?;
    for text in [ssh, &config] {
        if !text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c))
        {
            return Err(Error::invalid(format!(
                "path {text:?} holds characters that ssh cannot be given safely; set TMPDIR to a plain path"
            )));
        }
    }
    command
        .env("GIT_SSH_COMMAND", format!("{ssh} -F {config}"))
        .env("GIT_SSH_VARIANT", "ssh");
    Ok(())
}

/// Makes ssh learn a key's passphrase from a file that only this user may read, through the program that `SSH_ASKPASS` names (ssh(1), OpenSSH 8.4 or newer).
fn askpass(command: &mut Command, files: &Path, passphrase: &str) -> Result<()> {
    if passphrase.contains(['\n', '\r', '\0']) {
        return Err(Error::invalid(
            "the key's passphrase holds a control character",
        ));
    }
    write(files, "passphrase", &format!("{passphrase}\n"))?;
    let program = write_mode(
        files,
        "askpass",
        "#!/bin/sh\nexec cat \"${0%/*}/passphrase\"\n",
        0o700,
    )?;
    command
        .env("SSH_ASKPASS", program)
        .env("SSH_ASKPASS_REQUIRE", "force");
    Ok(())
}

/// A path as a value of ssh's configuration, where `%` starts a token.
fn quote(path: &str) -> Result<String> {
    if path.contains(['"', '\n', '\\']) {
        return Err(Error::invalid(format!(
            "path {path:?} cannot be given to ssh"
        )));
    }
    Ok(format!("\"{}\"", path.replace('%', "%%")))
}

/// Writes a file that only this user may read.
fn write(dir: &Path, name: &str, text: &str) -> Result<String> {
    write_mode(dir, name, text, 0o600)
}

fn write_mode(dir: &Path, name: &str, text: &str, mode: u32) -> Result<String> {
    use std::io::Write as _;
    let path = dir.join(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Error::internal("cannot write a private file").with_source(error))?;
    path.into_os_string()
        .into_string()
        .map_err(|_| Error::invalid("the temporary directory's path is not UTF-8"))
}
