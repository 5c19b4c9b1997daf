//! From where and to where applications may deploy, as an Argo CD AppProject says it.

use async_trait::async_trait;
use globset::{GlobBuilder, GlobMatcher};

use super::{Context, Finding, Validator, objects};
use crate::application::{Application, ClusterRef};
use crate::error::{Error, Result, redact_url};

/// The URL of the cluster that Argo CD runs in, and its name.
const IN_CLUSTER: (&str, &str) = ("https://kubernetes.default.svc", "in-cluster");

/// A glob that the whole text must match; a leading `!` denies what matches.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    deny: bool,
    everything: bool,
    glob: GlobMatcher,
}

impl Pattern {
    pub(super) fn new(text: &str, separator: bool) -> Result<Self> {
        let (deny, glob) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let compiled = GlobBuilder::new(glob)
            .literal_separator(separator)
            .backslash_escape(true)
            .build()
            .map_err(|error| {
                Error::invalid(format!("{text:?} is not a glob")).with_source(error)
            })?;
        Ok(Self {
            deny,
            everything: glob == "*",
            glob: compiled.compile_matcher(),
        })
    }

    /// Whether the glob matches, the `!` aside.
    pub(super) fn covers(&self, text: &str) -> bool {
        self.everything || self.glob.is_match(text)
    }

    /// Argo CD's `globMatch` with negation: a pattern with `!` matches what its glob does not.
    fn permits(&self, text: &str) -> bool {
        self.covers(text) != self.deny
    }
}

/// Finds sources of repositories that are not on the list (`sourceRepos` of an AppProject; argo-cd 3.2, `IsSourcePermitted`). Code: `repository-denied`.
///
/// Globs cover the whole URL and their `*` stops at `/` (`**` does not); `*` alone is everything; `!` in front denies and wins. URLs are compared as Argo CD does: in lower case, without
/// `.git`, and `git@host:path` as `ssh://git@host/path`. Beyond that, users and passwords in `https` URLs do not count, and a URL with `.`, `..` or percent signs in its path, a query, a
/// fragment, a backslash or white space is denied unless `*` allows it: it leads elsewhere than it seems to.
#[derive(Clone, Debug)]
pub struct AllowedRepositories {
    patterns: Vec<Pattern>,
}

impl AllowedRepositories {
    /// Only repositories that match one of `globs`; none when there are no globs.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let patterns = globs.into_iter().map(|glob| {
            let normal = match glob.strip_prefix('!') {
                Some(rest) => format!("!{}", normalize(rest)),
                None => normalize(glob),
            };
            Pattern::new(&normal, true)
        });
        Ok(Self {
            patterns: patterns.collect::<Result<_>>()?,
        })
    }

    /// Whether a repository is on the list.
    pub fn permits(&self, url: &str) -> bool {
        let url = normalize(url);
        let path = url.split_once("://").map_or(&*url, |(_, rest)| rest);
        let path = path.split_once('/').map_or("", |(_, path)| path);
        let strange = path.contains('%')
            || path.split('/').any(|part| part == ".." || part == ".")
            // A host ends at each of these, whatever a glob takes for a part of it.
            || url.contains(['?', '#', '\\'])
            || url.contains(|c: char| c.is_whitespace() || c.is_control());
        let mut permitted = false;
        for pattern in &self.patterns {
            if pattern.permits(&url) {
                // What a `!` does not deny is permitted by it, as in Argo CD.
                permitted |= !strange || pattern.everything;
            } else if pattern.deny {
                return false;
            }
        }
        permitted
    }
}

#[async_trait]
impl Validator for AllowedRepositories {
    fn name(&self) -> &str {
        "allowed-repositories"
    }

    async fn validate(&self, app: &Application, _: &Context<'_>) -> Result<Vec<Finding>> {
        let dry = app.hydrate.iter().map(|hydrate| &hydrate.dry_source);
        let dry = dry.map(|source| (source, "/hydrate/drySource/repoUrl".to_owned()));
        let sources = app.sources.iter().enumerate();
        let sources = sources.map(|(at, source)| (source, format!("/sources/{at}/repoUrl")));
        Ok(dry
            .chain(sources)
            .filter(|(source, _)| !self.permits(&source.repo_url))
            .map(|(source, pointer)| {
                let url = redact_url(&source.repo_url);
                let message = format!("{url} is none of the repositories that are allowed");
                Finding::error("repository-denied", message).at(pointer)
            })
            .collect())
    }
}

/// argo-cd 3.2, `util/git`, `NormalizeGitURL`.
fn normalize(url: &str) -> String {
    let mut url = url.trim().to_lowercase();
    if !url.contains("://")
        && let Some((host, path)) = url.split_once(':')
        && host.contains('@')
        && !host.contains('/')
    {
        url = format!("ssh://{host}/{path}");
    }
    let url = url.strip_suffix(".git").unwrap_or(&url);
    let url = url.strip_prefix("ssh://").unwrap_or(url);
    match url.split_once("://") {
        // Who asks is not where the repository is.
        Some((scheme @ ("http" | "https"), rest)) => {
            let (host, path) = match rest.split_once('/') {
                Some((host, path)) => (host, Some(path)),
                None => (rest, None),
            };
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            match path {
                Some(path) => format!("{scheme}://{host}/{path}"),
                None => format!("{scheme}://{host}"),
            }
        }
        _ => url.to_owned(),
    }
}

/// Where applications may go: one entry of `destinations` of an AppProject. Each part is a glob; `!` in front denies.
#[derive(Clone, Debug)]
pub struct DestinationPattern {
    server: Option<Pattern>,
    name: Option<Pattern>,
    namespace: Pattern,
}

impl DestinationPattern {
    /// Clusters by URL, and namespaces.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn server(server: &str, namespace: &str) -> Result<Self> {
        Ok(Self {
            server: Some(Pattern::new(server, false)?),
            name: None,
            namespace: Pattern::new(namespace, false)?,
        })
    }

    /// Clusters by name, and namespaces.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn name(name: &str, namespace: &str) -> Result<Self> {
        Ok(Self {
            server: None,
            name: Some(Pattern::new(name, false)?),
            namespace: Pattern::new(namespace, false)?,
        })
    }

    /// Clusters with this URL or this name, and namespaces.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn server_or_name(server: &str, name: &str, namespace: &str) -> Result<Self> {
        Ok(Self {
            name: Some(Pattern::new(name, false)?),
            ..Self::server(server, namespace)?
        })
    }

    /// Whether the glob parts cover a destination, `!` aside.
    pub(super) fn covers(&self, app: &Application) -> bool {
        let (server, name) = cluster(app);
        let covers = |pattern: &Option<Pattern>, text: Option<&str>| matches!((pattern, text), (Some(pattern), Some(text)) if pattern.covers(text));
        (covers(&self.server, server) || covers(&self.name, name))
            && self.namespace.covers(namespace(app))
    }
}

/// The URL and the name of an application's cluster, as far as they are known.
fn cluster(app: &Application) -> (Option<&str>, Option<&str>) {
    match &app.destination.cluster {
        ClusterRef::InCluster => (Some(IN_CLUSTER.0), Some(IN_CLUSTER.1)),
        ClusterRef::Server(server) => (Some(server), None),
        ClusterRef::Name(name) => (None, Some(name)),
    }
}

fn namespace(app: &Application) -> &str {
    match app.destination.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    }
}

/// Finds destinations that are not on the list (`destinations` of an AppProject; argo-cd 3.2, `isDestinationMatched`): of the application, and of each rendered object that names
/// a namespace. Code: `destination-denied`.
///
/// The globs' `*` matches `/` too; an entry with `!` that covers the destination denies it, whatever other entries say. A cluster that is known by its name only is compared
/// with names only, and one known by its URL with URLs only: an entry that denies by the other one denies it as well, because nobody can tell.
#[derive(Clone, Debug)]
pub struct AllowedDestinations {
    patterns: Vec<DestinationPattern>,
}

impl AllowedDestinations {
    /// Only destinations that match one of `patterns`; none when there are none.
    pub fn new(patterns: impl IntoIterator<Item = DestinationPattern>) -> Self {
        Self {
            patterns: patterns.into_iter().collect(),
        }
    }

    fn permits(&self, app: &Application, namespace: &str) -> bool {
        let (server, name) = cluster(app);
        let matches = |pattern: &Option<Pattern>, text: Option<&str>| matches!((pattern, text), (Some(pattern), Some(text)) if pattern.permits(text));
        let denies = |pattern: &Option<Pattern>| pattern.as_ref().is_some_and(|p| p.deny);
        let mut permitted = false;
        for pattern in &self.patterns {
            let by_name = matches(&pattern.name, name);
            let by_server = matches(&pattern.server, server);
            let by_namespace = pattern.namespace.permits(namespace);
            if (by_server || by_name) && by_namespace {
                permitted = true;
            } else if (!by_name && denies(&pattern.name))
                || (!by_server && denies(&pattern.server) && by_namespace)
                // Argo CD looks at the URL alone here, because it knows it always.
                || (!by_namespace && pattern.namespace.deny && (by_server || by_name))
            {
                return false;
            }
        }
        permitted
    }
}

#[async_trait]
impl Validator for AllowedDestinations {
    fn name(&self) -> &str {
        "allowed-destinations"
    }

    async fn validate(&self, app: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
        let (server, name) = cluster(app);
        let cluster = redact_url(name.or(server).unwrap_or_default());
        let mut findings = Vec::new();
        let own = namespace(app);
        if !self.permits(app, own) {
            let message = format!(
                "namespace {own} of {cluster} is none of the destinations that are allowed"
            );
            findings.push(Finding::error("destination-denied", message).at("/destination"));
        }
        for object in objects(context) {
            let namespace = object.namespace();
            if !namespace.is_empty() && namespace != own && !self.permits(app, namespace) {
                let message = format!(
                    "namespace {namespace} of {cluster} is none of the destinations that are allowed"
                );
                let finding = Finding::error("destination-denied", message);
                findings.push(finding.about(object).at("/metadata/namespace"));
            }
        }
        Ok(findings)
    }
}
