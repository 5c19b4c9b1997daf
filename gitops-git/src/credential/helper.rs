//! Git credential helpers, spoken to directly.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use gitops_core::credential::{Credential, CredentialProvider, CredentialRequest};
use gitops_core::{Error, ErrorKind, Result, SecretString};
use tokio::process::Command;

use crate::transport::run;

/// A program that speaks the protocol of `git credential` (gitcredentials(7)): it is started with the operation (`get`, `erase`) as the last argument and
/// reads and writes `key=value` lines.
///
/// It is run as it is, with its arguments as a list: the `!command` form, which Git hands to a shell, does not exist here. It sees the caller's environment, because
/// helpers keep their state in the user's home directory. What was refused is erased, as Git does, before it is asked again.
#[derive(Clone, Debug)]
pub struct CredentialHelper {
    program: PathBuf,
    arguments: Vec<OsString>,
    timeout: Duration,
    with_path: bool,
}

impl CredentialHelper {
    /// This program.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            timeout: Duration::from_secs(30),
            with_path: false,
        }
    }

    /// A helper by its short name (`store`, `cache`, `libsecret`), which `git` finds: `git credential-NAME`.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is not letters, digits and dashes.
    pub fn named(name: &str) -> Result<Self> {
        if name.is_empty()
            || name.starts_with('-')
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(Error::invalid(format!(
                "{name:?} is not a credential helper's name"
            )));
        }
        Ok(Self::new("git").argument(format!("credential-{name}")))
    }

    /// Adds an argument, before the operation.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets the deadline of each call, 30 seconds unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether the helper is told the path too, for credentials of single repositories. Not unless set: as with Git's `credential.useHttpPath`, a helper that knows
    /// the host only would find nothing.
    #[must_use]
    pub fn with_path(mut self, with_path: bool) -> Self {
        self.with_path = with_path;
        self
    }

    async fn call(&self, operation: &str, input: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .arg(operation)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C");
        let finished = run(
            command,
            "the credential helper",
            Some(input.as_bytes()),
            self.timeout,
            64 * 1024,
        )
        .await?;
        if !finished.success {
            // Its own words could hold the secret.
            return Err(Error::new(
                ErrorKind::Failed,
                format!(
                    "the credential helper {:?} failed",
                    self.program.display().to_string()
                ),
            ));
        }
        String::from_utf8(finished.stdout)
            .map_err(|_| Error::invalid("the credential helper's answer is not UTF-8"))
    }
}

#[async_trait]
impl CredentialProvider for CredentialHelper {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        if !matches!(request.scheme.as_str(), "https" | "http") {
            return Ok(None);
        }
        let mut question = format!("protocol={}\nhost={}", request.scheme, request.host);
        if let Some(port) = request.port {
            question.push_str(&format!(":{port}"));
        }
        question.push('\n');
        if self.with_path {
            let path = request
                .url
                .split_once("://")
                .and_then(|(_, rest)| rest.split_once('/'))
                .map_or("", |(_, path)| path);
            question.push_str(&format!("path={path}\n"));
        }
        if let Some(username) = &request.username {
            question.push_str(&format!("username={username}\n"));
        }
        // A newline in a value would start a key of its own (CVE-2020-5260).
        if question.contains(['\0', '\r'])
            || question.lines().count()
                != 2 + usize::from(self.with_path) + usize::from(request.username.is_some())
        {
            return Err(Error::invalid(
                "the URL holds characters that a credential helper cannot be asked with",
            ));
        }
        let ask = || async { Ok(parse(&self.call("get", &format!("{question}\n")).await?)) };
        let answer: Option<(String, SecretString)> = ask().await?;
        let answer = match (answer, request.attempt) {
            (Some((username, password)), attempt) if attempt > 0 => {
                let refused = format!(
                    "{question}username={username}\npassword={}\n\n",
                    password.expose()
                );
                self.call("erase", &refused).await?;
                ask().await?.filter(|(_, fresh)| *fresh != password)
            }
            (answer, _) => answer,
        };
        Ok(answer.map(|(username, password)| Credential::Basic { username, password }))
    }
}

fn parse(text: &str) -> Option<(String, SecretString)> {
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned())
    };
    let password = value("password").filter(|password| !password.is_empty())?;
    Some((value("username").unwrap_or_default(), password.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn git_s_own_store_is_asked_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        std::fs::write(&file, "http://ann:canary@127.0.0.1%3a3000\n").unwrap();
        let helper = CredentialHelper::named("store")
            .unwrap()
            .argument(format!("--file={}", file.display()));
        let mut request = CredentialRequest::new("http://127.0.0.1:3000/a/b", "http", "127.0.0.1");
        request.port = Some(3000);
        match helper.credential(&request).await.unwrap() {
            Some(Credential::Basic { username, password }) => {
                assert_eq!((username.as_str(), password.expose()), ("ann", "canary"));
            }
            other => panic!("{other:?}"),
        }
        let exact = helper.clone().with_path(true);
        assert!(exact.credential(&request).await.unwrap().is_none());
        let mut other = request.clone();
        other.port = Some(3001);
        assert!(helper.credential(&other).await.unwrap().is_none());
        request.attempt = 1;
        assert!(helper.credential(&request).await.unwrap().is_none());
        assert!(!std::fs::read_to_string(&file).unwrap().contains("canary"));
        let mut smuggled = other;
        smuggled.username = Some("x\npassword=y".into());
        assert!(helper.credential(&smuggled).await.is_err());
        assert!(CredentialHelper::named("!sh -c x").is_err());
        assert!(
            CredentialHelper::new("/no/such/helper")
                .credential(&CredentialRequest::new("https://h/", "https", "h"))
                .await
                .is_err()
        );
    }
}
