//! The `.netrc` file, as curl and ftp read it.

use std::path::PathBuf;

use async_trait::async_trait;
use gitops_core::credential::{Credential, CredentialProvider, CredentialRequest};
use gitops_core::{Error, Result, SecretString};

/// User names and passwords from a `netrc` file, read at each request: `machine NAME login USER password SECRET`, and `default`. Ports do not exist in that format, so
/// an entry is for every port of its host; `default` is used only when [`allow_default`](Self::allow_default) says so, because it is for every host.
#[derive(Clone, Debug)]
pub struct Netrc {
    path: PathBuf,
    allow_default: bool,
}

impl Netrc {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            allow_default: false,
        }
    }

    /// Whether the `default` entry counts.
    #[must_use]
    pub fn allow_default(mut self, allow: bool) -> Self {
        self.allow_default = allow;
        self
    }
}

#[async_trait]
impl CredentialProvider for Netrc {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        if !matches!(request.scheme.as_str(), "https" | "http") || request.attempt > 0 {
            return Ok(None);
        }
        let path = self.path.clone();
        let text = crate::repository::blocking(move || match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => {
                Err(Error::invalid(format!("cannot read {}", path.display())).with_source(error))
            }
        })
        .await?;
        Ok(parse(&text).into_iter().find_map(|entry| {
            let ours = match &entry.machine {
                Some(machine) => machine.eq_ignore_ascii_case(&request.host),
                None => self.allow_default,
            };
            let user = match (&request.username, entry.login) {
                (Some(wanted), Some(login)) if *wanted != login => return None,
                (_, Some(login)) => login,
                (Some(wanted), None) => wanted.clone(),
                (None, None) => return None,
            };
            entry
                .password
                .filter(|_| ours)
                .map(|password| Credential::Basic {
                    username: user,
                    password,
                })
        }))
    }
}

#[derive(Default)]
struct Entry {
    machine: Option<String>,
    login: Option<String>,
    password: Option<SecretString>,
}

fn parse(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut words = words(line).into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "machine" => entries.push(Entry {
                    machine: Some(words.next().unwrap_or_default()),
                    ..Entry::default()
                }),
                "default" => entries.push(Entry::default()),
                "login" => {
                    if let Some(entry) = entries.last_mut() {
                        entry.login = words.next();
                    }
                }
                "password" => {
                    if let Some(entry) = entries.last_mut() {
                        entry.password = words.next().map(SecretString::from);
                    }
                }
                "account" => {
                    words.next();
                }
                // A macro goes on to the next empty line.
                "macdef" => {
                    for line in lines.by_ref() {
                        if line.trim().is_empty() {
                            break;
                        }
                    }
                    break;
                }
                _ => {}
            }
        }
    }
    entries
}

/// The words of a line; curl's double quotes with backslash escapes are understood, a word that starts with `#` is a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = String::new();
        if c == '"' {
            chars.next();
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => word.extend(chars.next()),
                    c => word.push(c),
                }
            }
        } else {
            if c == '#' && !matches!(words.last().map(String::as_str), Some("password" | "login")) {
                break;
            }
            while let Some(&c) = chars.peek() {
                if c.is_whitespace() {
                    break;
                }
                word.push(c);
                chars.next();
            }
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_are_found_by_host() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "# comment\nmachine a.example login ann password one\nmachine b.example\n  login bob\n  password \"t w\\\"o\"\nmacdef init\nmachine evil login x password y\n\nmachine a.example login eve password #three\ndefault login any password four\n",
        )
        .unwrap();
        let netrc = Netrc::new(file.path());
        let ask = async |netrc: &Netrc, host: &str, user: Option<&str>| {
            let mut request = CredentialRequest::new("x", "https", host);
            request.username = user.map(ToOwned::to_owned);
            match netrc.credential(&request).await.unwrap() {
                Some(Credential::Basic { username, password }) => {
                    Some(format!("{username}:{}", password.expose()))
                }
                _ => None,
            }
        };
        assert_eq!(
            ask(&netrc, "a.example", None).await.as_deref(),
            Some("ann:one")
        );
        assert_eq!(
            ask(&netrc, "a.example", Some("eve")).await.as_deref(),
            Some("eve:#three")
        );
        assert_eq!(
            ask(&netrc, "B.example", None).await.as_deref(),
            Some("bob:t w\"o")
        );
        assert_eq!(ask(&netrc, "evil", None).await, None);
        assert_eq!(ask(&netrc, "c.example", None).await, None);
        let open = netrc.allow_default(true);
        assert_eq!(
            ask(&open, "c.example", None).await.as_deref(),
            Some("any:four")
        );
        assert_eq!(
            ask(&Netrc::new("/no/such/file"), "a.example", None).await,
            None
        );
    }
}
