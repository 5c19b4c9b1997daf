//! Where a repository is.

use std::fmt;
use std::path::{Path, PathBuf};

use gitops_core::error::redact_url;
use gitops_core::{Error, Result};
use sha2::{Digest, Sha256};

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `https://`
    Https,
    /// `http://`
    Http,
    /// `ssh://` and `user@host:path`
    Ssh,
    /// `file://` and paths of this machine.
    File,
}

impl Scheme {
    /// The name Git gives it (`GIT_ALLOW_PROTOCOL`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }
}

/// The checked URL of a repository: `https://`, `http://`, `ssh://`, `user@host:path`, `file://`, or a local path.
///
/// `Debug` and `Display` leave out user names with passwords and query values. A password in the URL is refused: credentials come from a
/// [`CredentialProvider`](gitops_core::credential::CredentialProvider).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RepoUrl {
    scheme: Scheme,
    /// What `git` is given.
    text: String,
    username: Option<String>,
    host: String,
    port: Option<u16>,
    path: String,
}

impl RepoUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// `InvalidInput` for an empty or relative address, an unknown scheme (`ext::` and the other remote helpers among them), a host, user or path that
    /// starts with `-` (it would be read as an option), control characters, and a password inside the URL.
    pub fn parse(url: &str) -> Result<Self> {
        let bad = |why: &str| {
            Err(Error::invalid(format!(
                "repository URL {:?}: {why}",
                redact_url(url)
            )))
        };
        if url.is_empty() {
            return bad("is empty");
        }
        if url.chars().any(char::is_control) {
            return bad("holds a control character");
        }
        if url.starts_with('-') {
            return bad("starts with '-'");
        }
        if url.contains("://") {
            return Self::with_scheme(url);
        }
        if let Some((before, _)) = url.split_once("::")
            && before
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        {
            return bad("remote helpers are not allowed");
        }
        // As Git decides: a colon before the first slash is an scp-like address.
        match (url.find(':'), url.find('/')) {
            (Some(colon), slash) if slash.is_none_or(|slash| colon < slash) => {
                Self::scp_like(url, colon)
            }
            _ if Path::new(url).is_absolute() => Self::local(url),
            _ => bad("is neither a URL nor an absolute path"),
        }
    }

    fn with_scheme(url: &str) -> Result<Self> {
        let invalid =
            |why: String| Error::invalid(format!("repository URL {:?}: {why}", redact_url(url)));
        let parsed = url::Url::parse(url).map_err(|error| invalid(error.to_string()))?;
        let scheme = match parsed.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            "ssh" => Scheme::Ssh,
            "file" => {
                return parsed
                    .to_file_path()
                    .ok()
                    .and_then(|path| path.to_str().map(ToOwned::to_owned))
                    .ok_or_else(|| invalid("is not a path of this machine".to_owned()))
                    .and_then(|path| Self::local(&path));
            }
            other => return Err(invalid(format!("scheme {other:?} is not allowed"))),
        };
        if parsed.password().is_some() {
            return Err(invalid(
                "holds a password; give it through a credential provider".to_owned(),
            ));
        }
        if parsed.fragment().is_some() {
            return Err(invalid("holds a fragment".to_owned()));
        }
        let host = parsed
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| invalid("names no host".to_owned()))?
            .to_owned();
        check_word("host", &host).map_err(invalid)?;
        let username = Some(parsed.username().to_owned()).filter(|name| !name.is_empty());
        if let Some(name) = &username {
            check_user(name).map_err(invalid)?;
        }
        if parsed.path().trim_start_matches('/').starts_with('-') {
            return Err(invalid("the path starts with '-'".to_owned()));
        }
        let mut shown = parsed.clone();
        if scheme != Scheme::Ssh {
            // The user goes into the credential request, not to the server by itself.
            let _ = shown.set_username("");
        }
        Ok(Self {
            scheme,
            text: shown.to_string(),
            username,
            host: host.to_ascii_lowercase(),
            port: parsed.port(),
            path: parsed.path().to_owned(),
        })
    }

    fn scp_like(url: &str, colon: usize) -> Result<Self> {
        let invalid =
            |why: String| Error::invalid(format!("repository URL {:?}: {why}", redact_url(url)));
        let (authority, path) = (&url[..colon], &url[colon + 1..]);
        let (username, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority),
        };
        check_word("host", host).map_err(invalid)?;
        if let Some(name) = &username {
            check_user(name).map_err(invalid)?;
        }
        if path.is_empty() || path.starts_with('-') {
            return Err(invalid("the path is empty or starts with '-'".to_owned()));
        }
        Ok(Self {
            scheme: Scheme::Ssh,
            text: url.to_owned(),
            username,
            host: host.to_ascii_lowercase(),
            port: None,
            path: path.to_owned(),
        })
    }

    fn local(path: &str) -> Result<Self> {
        Ok(Self {
            scheme: Scheme::File,
            text: path.to_owned(),
            username: None,
            host: String::new(),
            port: None,
            path: path.to_owned(),
        })
    }

    /// How it is reached.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case; empty for a local path.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, when the URL names one that is not the scheme's own.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The user that the URL names.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The path part.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path on this machine, for [`Scheme::File`].
    pub fn local_path(&self) -> Option<PathBuf> {
        (self.scheme == Scheme::File).then(|| PathBuf::from(&self.path))
    }

    /// `scheme://host[:port]` of an HTTP URL.
    pub fn http_origin(&self) -> Option<String> {
        matches!(self.scheme, Scheme::Http | Scheme::Https).then(|| match self.port {
            Some(port) => format!("{}://{}:{port}", self.scheme.as_str(), self.host),
            None => format!("{}://{}", self.scheme.as_str(), self.host),
        })
    }

    /// What `git` is given.
    pub(crate) fn as_git(&self) -> &str {
        &self.text
    }

    /// A directory name: readable, and distinct for distinct repositories.
    pub(crate) fn cache_name(&self) -> String {
        use std::fmt::Write as _;
        let identity = format!(
            "{}\0{}\0{}\0{}\0{}",
            self.scheme.as_str(),
            // Over SSH the user may decide what the path means; over HTTP it does not.
            match self.scheme {
                Scheme::Ssh => self.username.as_deref().unwrap_or(""),
                _ => "",
            },
            self.host,
            self.port.map_or_else(String::new, |port| port.to_string()),
            self.path.trim_end_matches('/'),
        );
        let mut name: String = self
            .path
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or("")
            .trim_end_matches(".git")
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_')
            .take(40)
            .collect();
        name.push('-');
        for byte in &Sha256::digest(identity.as_bytes())[..12] {
            let _ = write!(name, "{byte:02x}");
        }
        name
    }
}

fn check_word(what: &str, word: &str) -> std::result::Result<(), String> {
    if word.is_empty()
        || word.starts_with('-')
        || !word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
    {
        return Err(format!("{word:?} is not a {what}"));
    }
    Ok(())
}

fn check_user(word: &str) -> std::result::Result<(), String> {
    // Nothing that ssh's `-o` smuggling, a shell or a percent escape could use. The value is not shown: it may be a token.
    if word.is_empty()
        || word.starts_with('-')
        || !word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._+@~".contains(c))
    {
        return Err("the user name holds characters that are not allowed".to_owned());
    }
    Ok(())
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(&self.text))
    }
}

impl fmt::Debug for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepoUrl({self})")
    }
}

impl std::str::FromStr for RepoUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        Self::parse(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (url, scheme, host, port, path) in [
            (
                "https://Example.com/a/b.git",
                Scheme::Https,
                "example.com",
                None,
                "/a/b.git",
            ),
            (
                "https://example.com:8443/a",
                Scheme::Https,
                "example.com",
                Some(8443),
                "/a",
            ),
            (
                "http://127.0.0.1:3000/a/b",
                Scheme::Http,
                "127.0.0.1",
                Some(3000),
                "/a/b",
            ),
            (
                "ssh://git@h:2222/a/b.git",
                Scheme::Ssh,
                "h",
                Some(2222),
                "/a/b.git",
            ),
            (
                "git@github.com:a/b.git",
                Scheme::Ssh,
                "github.com",
                None,
                "a/b.git",
            ),
            ("file:///srv/x%20y", Scheme::File, "", None, "/srv/x y"),
            ("/srv/x", Scheme::File, "", None, "/srv/x"),
        ] {
            let parsed = RepoUrl::parse(url).unwrap();
            assert_eq!(
                (parsed.scheme(), parsed.host(), parsed.port(), parsed.path()),
                (scheme, host, port, path),
                "{url}"
            );
        }
    }

    #[test]
    fn argument_injection_and_option_smuggling_are_refused() {
        for url in [
            "",
            "-x",
            "--upload-pack=touch /tmp/x",
            "ext::sh -c touch% /tmp/x",
            "fd::3",
            "ssh://-oProxyCommand=x/a",
            "ssh://-oProxyCommand=x@h/a",
            "ssh://h/-x",
            "-oProxyCommand=x:a",
            "git@-oProxyCommand=x:a",
            "-git@h:a",
            "git@h:-a",
            "git@h$(touch x):a",
            "git'@h:a",
            "https://u:canary@h/a",
            "https://h/a#b",
            "ftp://h/a",
            "relative/path",
            "https://h/a\nb",
            "h\0:a",
        ] {
            let error = RepoUrl::parse(url).expect_err(url);
            assert_eq!(error.kind(), gitops_core::ErrorKind::InvalidInput, "{url}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn distinct_repositories_have_distinct_directories() {
        let name = |url| RepoUrl::parse(url).unwrap().cache_name();
        assert_eq!(name("https://h/a/b"), name("https://H:443/a/b/"));
        assert_ne!(name("https://h/a/b"), name("http://h/a/b"));
        assert_ne!(name("https://h/a/b"), name("https://h:8443/a/b"));
        assert_ne!(name("https://h/a/b"), name("https://h/c/b"));
        assert!(name("https://h/a/b.git").starts_with("b-"));
    }
}
