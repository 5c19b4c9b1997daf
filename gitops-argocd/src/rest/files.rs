//! Settings of the `argocd` command: its environment and its configuration file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitops_core::manifest::yaml;
use gitops_core::{Error, ErrorKind, Result, SecretString};
use serde::Deserialize;

use super::config::{ClientCertificate, Config};

/// The `argocd` command's configuration file (argo-cd 3.2, `util/localconfig`): servers, users, and contexts that join them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct LocalConfig {
    /// The context that is used when none is named.
    pub current_context: String,
    contexts: Option<Vec<ContextRef>>,
    servers: Option<Vec<Server>>,
    users: Option<Vec<User>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContextRef {
    name: String,
    server: String,
    user: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Server {
    server: String,
    insecure: bool,
    grpc_web_root_path: String,
    client_certificate_data: String,
    client_certificate_key_data: SecretString,
    certificate_authority_data: String,
    plain_text: bool,
    core: bool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("server", &gitops_core::error::redact_url(&self.server))
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    name: String,
    auth_token: SecretString,
}

impl LocalConfig {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// `InvalidInput` for what is no such file.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::invalid("no configuration of the argocd command");
        // Errors would quote what they stumbled over, a token perhaps.
        let value = yaml::parse_value("config", text.as_bytes()).map_err(|_| bad())?;
        serde_json::from_value(value).map_err(|_| bad())
    }

    /// Reads the configuration file where the command keeps it: `$ARGOCD_CONFIG_DIR/config`, `~/.config/argocd/config` (`$XDG_CONFIG_HOME` counts), or
    /// `~/.argocd/config` where that is there.
    ///
    /// # Errors
    /// `NotFound` when there is none (`argocd login` makes it), `InvalidInput` when it is none.
    pub fn load() -> Result<Self> {
        let path = default_path(|name| std::env::var(name).ok(), Path::is_dir)?;
        Self::load_from(&path)
    }

    /// Reads the configuration file at `path`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_from(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let shown = path.display();
            match error.kind() {
                std::io::ErrorKind::NotFound => Error::not_found(format!(
                    "there is no {shown}: `argocd login SERVER` makes it"
                )),
                _ => Error::unavailable(format!("{shown} cannot be read")),
            }
            .with_source(error)
        })?;
        Self::parse(&text).map_err(|error| error.context(path.display().to_string()))
    }

    /// The names of the contexts.
    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        self.contexts
            .iter()
            .flatten()
            .map(|context| context.name.as_str())
    }

    /// How to reach `server`, where a context knows it: the named one, else the current one, else the first.
    fn config_of(&self, server: &str, context: Option<&str>) -> Result<Option<Config>> {
        let contexts = || self.contexts.iter().flatten();
        let is_it = |known: &ContextRef| host(&known.server) == host(server);
        if let Some(name) = context {
            return match contexts().find(|known| known.name == name) {
                Some(known) if !is_it(known) => Err(Error::invalid(format!(
                    "context {name:?} is of another server than the one that the environment names"
                ))),
                _ => self.config(context).map(Some),
            };
        }
        let current = |known: &&ContextRef| known.name == self.current_context;
        let known = contexts()
            .find(|known| current(known) && is_it(known))
            .or_else(|| contexts().find(|known| is_it(known)));
        known
            .map(|known| self.config(Some(&known.name)))
            .transpose()
    }

    /// How to reach the server of a context; the current one without a name.
    ///
    /// # Errors
    /// `NotFound` for a context, server or user that is not there; `Unsupported` for a context of `argocd login --core`, for which there is
    /// [`KubeArgoCd`](crate::KubeArgoCd).
    pub fn config(&self, context: Option<&str>) -> Result<Config> {
        let name = context.unwrap_or(&self.current_context);
        let missing = |what: &str, name: &str| Error::not_found(format!("no {what} {name:?}"));
        let context = self
            .contexts
            .iter()
            .flatten()
            .find(|context| context.name == name)
            .ok_or_else(|| missing("context", name))?;
        let server = self
            .servers
            .iter()
            .flatten()
            .find(|server| server.server == context.server)
            .ok_or_else(|| missing("server", &context.server))?;
        let user = self
            .users
            .iter()
            .flatten()
            .find(|user| user.name == context.user)
            .ok_or_else(|| missing("user", &context.user))?;
        server.config(user)
    }
}

/// A server without its scheme.
fn host(server: &str) -> &str {
    server
        .split_once("://")
        .map_or(server, |(_, host)| host)
        .trim_end_matches('/')
}

/// What Go's `strconv.ParseBool` takes for true.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

impl Server {
    fn config(&self, user: &User) -> Result<Config> {
        if self.core {
            return Err(Error::unsupported(
                "a context without an API server (use KubeArgoCd)",
                "Argo CD's REST client",
            ));
        }
        let scheme = if self.plain_text { "http" } else { "https" };
        let mut config = Config::new(format!("{scheme}://{}", self.server));
        config.root_path.clone_from(&self.grpc_web_root_path);
        config.danger_accept_invalid_certs = self.insecure;
        if !self.certificate_authority_data.is_empty() {
            config.ca_pem = Some(decoded(
                "certificate-authority-data",
                &self.certificate_authority_data,
            )?);
        }
        if !self.client_certificate_data.is_empty() {
            config.client_certificate = Some(ClientCertificate {
                certificate_pem: decoded("client-certificate-data", &self.client_certificate_data)?,
                key_pem: decoded(
                    "client-certificate-key-data",
                    self.client_certificate_key_data.expose(),
                )?
                .into(),
            });
        }
        if user.auth_token.is_empty() {
            return Ok(config);
        }
        Ok(config.token(user.auth_token.clone()))
    }
}

fn decoded(field: &str, text: &str) -> Result<String> {
    STANDARD
        .decode(text.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Error::invalid(format!("{field} is no PEM in Base64")))
}

/// As `DefaultConfigDir` of argo-cd 3.2 `util/localconfig`.
fn default_path(
    var: impl Fn(&str) -> Option<String>,
    is_dir: impl Fn(&Path) -> bool,
) -> Result<PathBuf> {
    let var = |name: &str| var(name).filter(|value| !value.is_empty());
    if let Some(dir) = var("ARGOCD_CONFIG_DIR") {
        return Ok(Path::new(&dir).join("config"));
    }
    let home = var("HOME").or_else(|| var("USERPROFILE"));
    if let Some(home) = &home {
        let old = Path::new(home).join(".argocd");
        if is_dir(&old) {
            return Ok(old.join("config"));
        }
    }
    let base = var("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| home.map(|home| Path::new(&home).join(".config")))
        .ok_or_else(|| Error::not_found("neither HOME nor ARGOCD_CONFIG_DIR is set"))?;
    Ok(base.join("argocd").join("config"))
}

impl Config {
    /// From the `argocd` command's environment: `ARGOCD_SERVER`, `ARGOCD_AUTH_TOKEN`, and of `ARGOCD_OPTS` the options `--server`, `--auth-token`, `--plaintext`,
    /// `--insecure`, `--server-crt`, `--client-crt`, `--client-crt-key`, `--grpc-web-root-path`, `--header`, `--config` and `--argocd-context`; the others mean nothing
    /// to a program. What the environment leaves open is taken from the command's configuration file, where there is one: from the named or current context, or, where the
    /// environment names another server, from the first context of that server. Unlike the command this sends a server's token to no other one.
    ///
    /// # Errors
    /// `InvalidInput` for options that cannot be read, and for a context of another server than the one that is named; `Unsupported` for `--core`, for which there is
    /// [`KubeArgoCd`](crate::KubeArgoCd), and `--port-forward`, for which there is [`ArgoCd::port_forward`](super::ArgoCd); `NotFound` when nothing names a server; what
    /// reading files meets.
    pub fn from_env() -> Result<Self> {
        from_vars(|name| std::env::var(name).ok(), load)
    }
}

fn load(path: Option<&str>) -> Result<LocalConfig> {
    match path {
        Some(path) => LocalConfig::load_from(Path::new(path)),
        None => LocalConfig::load(),
    }
}

fn from_vars(
    var: impl Fn(&str) -> Option<String>,
    load: impl Fn(Option<&str>) -> Result<LocalConfig>,
) -> Result<Config> {
    let var = |name: &str| var(name).filter(|value| !value.is_empty());
    let (options, headers) = options(&var("ARGOCD_OPTS").unwrap_or_default())?;
    let option = |name: &str| {
        options
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    };
    let switch = |name: &str| option(name).is_some_and(is_true);
    for (name, instead) in [
        ("core", "KubeArgoCd"),
        ("port-forward", "ArgoCd::port_forward"),
        ("port-forward-namespace", "ArgoCd::port_forward_with"),
    ] {
        if option(name).is_some_and(|value| name.ends_with("namespace") || is_true(value)) {
            return Err(Error::unsupported(
                &format!("--{name} in ARGOCD_OPTS (use {instead})"),
                "Argo CD's REST client",
            ));
        }
    }

    let server = option("server")
        .map(str::to_owned)
        .or_else(|| var("ARGOCD_SERVER"));
    let context = option("argocd-context");
    let mut config = match server {
        Some(server) => {
            let file = match load(option("config")) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound && context.is_none() => {
                    LocalConfig::default()
                }
                Err(error) => return Err(error),
            };
            let known = file.config_of(&server, context)?;
            let mut config = known.unwrap_or_default();
            if server.contains("://") {
                config.server = server;
            } else if config.server.is_empty() {
                config.server = format!("https://{server}");
            }
            config
        }
        None => load(option("config"))?.config(context)?,
    };
    if switch("plaintext") {
        config.server = format!("http://{}", host(&config.server));
    }
    if let Some(token) = option("auth-token")
        .map(str::to_owned)
        .or_else(|| var("ARGOCD_AUTH_TOKEN"))
    {
        config = config.token(token);
    }
    if switch("insecure") {
        config.danger_accept_invalid_certs = true;
    }
    if let Some(path) = option("grpc-web-root-path") {
        path.clone_into(&mut config.root_path);
    }
    if let Some(file) = option("server-crt") {
        config.ca_pem = Some(read(file)?);
    }
    match (option("client-crt"), option("client-crt-key")) {
        (Some(certificate), Some(key)) => {
            config.client_certificate = Some(ClientCertificate {
                certificate_pem: read(certificate)?,
                key_pem: read(key)?.into(),
            });
        }
        (None, None) => {}
        _ => {
            return Err(Error::invalid(
                "ARGOCD_OPTS: --client-crt and --client-crt-key come together",
            ));
        }
    }
    for header in headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| Error::invalid("ARGOCD_OPTS: a --header is no `name: value`"))?;
        config = config.header(name.trim(), value.trim());
    }
    Ok(config)
}

fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(file)
        .map_err(|error| Error::invalid(format!("{file} cannot be read")).with_source(error))
}

/// `--name value`, `--name=value` and `--name` alone for `true`, quoted as a shell would (argo-cd 3.2, `util/config/env.go`); headers may come more than once.
fn options(text: &str) -> Result<(BTreeMap<String, String>, Vec<String>)> {
    let bad = |why: &str| Error::invalid(format!("ARGOCD_OPTS: {why}"));
    let words = shlex::split(text).ok_or_else(|| bad("a quote is not closed"))?;
    let mut options = BTreeMap::new();
    let mut headers = Vec::new();
    let mut set = |name: String, value: String| match name.as_str() {
        "header" | "H" => headers.push(value),
        _ => {
            options.insert(name, value);
        }
    };
    let mut waiting: Option<String> = None;
    for word in words {
        let option = word
            .strip_prefix("--")
            .or_else(|| word.strip_prefix('-').filter(|rest| *rest == "H"));
        match (option, waiting.take()) {
            (Some(option), before) => {
                if let Some(before) = before {
                    set(before, "true".to_owned());
                }
                match option.split_once('=') {
                    Some((name, value)) => set(name.to_owned(), value.to_owned()),
                    None => waiting = Some(option.to_owned()),
                }
            }
            (None, Some(name)) => set(name, word),
            // The word may be a secret that lost its option.
            (None, None) => return Err(bad("a value without an option")),
        }
    }
    if let Some(name) = waiting {
        set(name, "true".to_owned());
    }
    Ok((options, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r"
contexts:
- name: prod
  server: argocd.example.com
  user: prod
- name: core
  server: kubernetes
  user: kubernetes
- name: broken
  server: nowhere
  user: prod
current-context: prod
prompts-enabled: false
servers:
- grpc-web-root-path: '/argo'
  server: argocd.example.com
  insecure: true
- core: true
  server: kubernetes
  grpc-web-root-path: ''
users:
- name: prod
  auth-token: canary
  refresh-token: canary
- name: kubernetes
";

    fn file() -> LocalConfig {
        LocalConfig::parse(FILE).unwrap()
    }

    fn env(vars: &[(&str, &str)]) -> Result<Config> {
        from_vars(
            |name| {
                vars.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            },
            |_| Ok(file()),
        )
    }

    #[test]
    fn contexts_are_resolved() {
        let file = file();
        assert_eq!(
            file.contexts().collect::<Vec<_>>(),
            ["prod", "core", "broken"]
        );
        let config = file.config(None).unwrap();
        assert_eq!(config.server, "https://argocd.example.com");
        assert_eq!(config.root_path, "/argo");
        assert!(config.danger_accept_invalid_certs);
        assert!(config.credentials.is_some());
        assert_eq!(
            file.config(Some("core")).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        assert_eq!(
            file.config(Some("broken")).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(
            file.config(Some("none")).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert!(!format!("{file:?} {config:?}").contains("canary"));
    }

    #[test]
    fn what_is_no_configuration_is_not_quoted() {
        for text in [
            "users: canary",
            "[canary",
            "users: [{auth-token: [canary]}]",
        ] {
            let error = LocalConfig::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            if !text.starts_with('[') {
                assert!(
                    !format!("{error:#} {error:?}").contains("canary"),
                    "{error:?}"
                );
            }
        }
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let config = env(&[]).unwrap();
        assert_eq!(config.server, "https://argocd.example.com");
        let config = env(&[
            ("ARGOCD_SERVER", "other:8080"),
            ("ARGOCD_OPTS", "--plaintext"),
        ])
        .unwrap();
        assert_eq!(config.server, "http://other:8080");
        assert!(config.credentials.is_none());
        let config = env(&[
            ("ARGOCD_SERVER", "other"),
            ("ARGOCD_AUTH_TOKEN", "t"),
            (
                "ARGOCD_OPTS",
                "--grpc-web --insecure --header 'X-A: b c' --header=X-D:e --grpc-web-root-path /x",
            ),
        ])
        .unwrap();
        assert!(config.danger_accept_invalid_certs);
        assert_eq!(config.root_path, "/x");
        let names: Vec<_> = config
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["X-A", "X-D"]);
        assert_eq!(config.headers[0].1.expose(), "b c");
        assert!(config.credentials.is_some());
        let config = env(&[("ARGOCD_OPTS", "--argocd-context core")]);
        assert_eq!(config.unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_server_that_the_environment_names_is_looked_up_in_the_file() {
        for server in ["argocd.example.com", "https://argocd.example.com/"] {
            for opts in ["", "--argocd-context prod"] {
                let config = env(&[("ARGOCD_SERVER", server), ("ARGOCD_OPTS", opts)]).unwrap();
                assert_eq!(host(&config.server), "argocd.example.com");
                assert_eq!(config.root_path, "/argo");
                assert!(config.danger_accept_invalid_certs && config.credentials.is_some());
            }
        }
        // Not the current context's token, which is another server's; and nothing where the two contradict each other.
        let config = env(&[("ARGOCD_SERVER", "other")]).unwrap();
        assert!(config.credentials.is_none() && !config.danger_accept_invalid_certs);
        for (context, kind) in [
            ("prod", ErrorKind::InvalidInput),
            ("none", ErrorKind::NotFound),
        ] {
            let opts = format!("--argocd-context {context}");
            let error = env(&[("ARGOCD_SERVER", "other"), ("ARGOCD_OPTS", &opts)]).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
        }
        // No file at all is none; one that cannot be read is not.
        let vars = |name: &str| (name == "ARGOCD_SERVER").then(|| "other".to_owned());
        let missing = from_vars(vars, |_| Err(Error::not_found("no file")));
        assert_eq!(missing.unwrap().server, "https://other");
        let broken = from_vars(vars, |_| Err(Error::invalid("no such file")));
        assert_eq!(broken.unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn what_is_not_supported_says_so() {
        for opts in [
            "--core",
            "--core=1",
            "--port-forward",
            "--port-forward-namespace argocd",
        ] {
            let error = env(&[("ARGOCD_OPTS", opts), ("ARGOCD_SERVER", "a")]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{opts}");
            assert!(error.to_string().contains("ArgoCd"), "{error}");
        }
        assert!(env(&[("ARGOCD_OPTS", "--core=false --port-forward=0")]).is_ok());
        let error = env(&[("ARGOCD_OPTS", "--client-crt file")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn options_that_cannot_be_read_are_not_quoted() {
        for text in ["canary", "--server 'canary", "--insecure true canary"] {
            let error = env(&[("ARGOCD_OPTS", text)]).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn the_file_is_where_the_command_keeps_it() {
        let path = |vars: &[(&str, &str)], old: bool| {
            default_path(
                |name| {
                    vars.iter()
                        .find(|(key, _)| *key == name)
                        .map(|(_, value)| (*value).to_owned())
                },
                |_| old,
            )
            .map(|path| path.display().to_string())
            .unwrap_or_default()
        };
        assert_eq!(path(&[("HOME", "/h")], false), "/h/.config/argocd/config");
        assert_eq!(path(&[("HOME", "/h")], true), "/h/.argocd/config");
        assert_eq!(
            path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")], false),
            "/x/argocd/config"
        );
        assert_eq!(path(&[("ARGOCD_CONFIG_DIR", "/c")], true), "/c/config");
        assert_eq!(path(&[], false), "");
    }
}
