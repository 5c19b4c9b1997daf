//! News of a source.

use serde::{Deserialize, Serialize};

use crate::application::{Application, Source, SourceKind};

/// Somebody says that a source got a new revision: a watcher that saw it, or a webhook.
///
/// It is a hint. Who acts on it asks the repository itself which revision it has: a forged or repeated event costs a look, and deploys nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionEvent {
    /// What kind of repository.
    pub kind: SourceKind,
    /// The URLs under which it is reached, in any form; [`same_repository`] compares them.
    pub urls: Vec<String>,
    /// The reference that moved, in full (`refs/heads/main`, `refs/tags/v1`), or the tag of an OCI artifact; `None` when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Whether that is the repository's default branch, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<bool>,
    /// The commit or digest that it means now; `None` when it was deleted, or that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What it meant before, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The files that changed, from the repository's root, where the list is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_paths: Option<Vec<String>>,
    /// Who says so: `watch`, `gitea`, `github` …
    pub teller: String,
    /// The name that the teller gave its message, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
}

impl RevisionEvent {
    /// Whether it may matter to `source`: the same repository, and a reference that its target revision may mean. What cannot be told is a yes.
    ///
    /// The rule is that of Argo CD's webhook handler (argo-cd 3.2, `util/webhook`), with ranges answered by yes for every tag.
    pub fn concerns_source(&self, source: &Source) -> bool {
        let repository = match (self.kind, source.kind, &source.chart) {
            (event, source, _) if event == source => None,
            // A chart in a registry, whose URL is often written without a scheme.
            (SourceKind::Oci, SourceKind::Helm, Some(chart)) => {
                let registry = source.repo_url.trim_start_matches("oci://");
                Some(format!("oci://{}/{chart}", registry.trim_end_matches('/')))
            }
            _ => return false,
        };
        let repository = repository.as_deref().unwrap_or(&source.repo_url);
        self.urls.iter().any(|url| same_repository(url, repository))
            && self.may_mean(source.target_revision.as_deref().unwrap_or_default())
    }

    /// Whether it may matter to `app`, or to what it is hydrated from.
    pub fn concerns(&self, app: &Application) -> bool {
        let dry = app.hydrate.iter().map(|hydrate| &hydrate.dry_source);
        dry.chain(&app.sources)
            .any(|source| self.concerns_source(source))
    }

    fn may_mean(&self, target: &str) -> bool {
        let Some(reference) = self.reference.as_deref() else {
            return true;
        };
        if let Some(branch) = reference.strip_prefix("refs/heads/") {
            return match target {
                "" | "HEAD" => self.default_branch.unwrap_or(true),
                target => target.strip_prefix("refs/heads/").unwrap_or(target) == branch,
            };
        }
        let tag = reference.strip_prefix("refs/tags/").unwrap_or(reference);
        match target {
            // The newest version of an artifact; of a repository it is a branch.
            "" | "HEAD" => self.kind != SourceKind::Git,
            target if target.starts_with("refs/heads/") => false,
            target if target == reference => true,
            target => {
                target.strip_prefix("refs/tags/").unwrap_or(target) == tag || is_range(target)
            }
        }
    }
}

/// Whether a target revision has the look of a semver range.
fn is_range(target: &str) -> bool {
    target.contains(['*', '^', '~', '<', '>', '=', '|', ' '])
        || target.split('.').any(|part| matches!(part, "x" | "X"))
}

/// Whether two URLs lead to one repository, whatever scheme, user, port of the scheme, case or `.git` they are written with: a webhook names the
/// repository in another form than the application does.
///
/// Meant for hints, not for permissions: `https` and `ssh` on one host are taken for the same, and so are two ports, one of which is that of SSH.
pub fn same_repository(a: &str, b: &str) -> bool {
    match (place(a), place(b)) {
        (Some(a), Some(b)) => {
            a.host == b.host && a.path == b.path && (a.port == b.port || a.ssh != b.ssh)
        }
        _ => false,
    }
}

#[derive(Debug, PartialEq)]
struct Place {
    ssh: bool,
    host: String,
    port: Option<String>,
    path: String,
}

fn place(url: &str) -> Option<Place> {
    let url = url.trim().to_lowercase();
    if url.is_empty() {
        return None;
    }
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme.to_owned(), rest.to_owned()),
        // `git@host:path`, but not a path of this machine.
        None => match url.split_once(':') {
            Some((host, path)) if !host.contains('/') && !host.is_empty() => {
                ("ssh".into(), format!("{host}/{path}"))
            }
            _ => ("file".into(), url.clone()),
        },
    };
    let (authority, path) = match scheme.as_str() {
        "file" => ("", rest.as_str()),
        _ => rest.split_once('/')?,
    };
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
        _ => (host, None),
    };
    let default = match scheme.as_str() {
        "https" | "oci" => "443",
        "http" => "80",
        "ssh" => "22",
        _ => "",
    };
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    Some(Place {
        ssh: scheme == "ssh" || scheme.ends_with("+ssh"),
        host: host.to_owned(),
        port: port.filter(|port| *port != default).map(ToOwned::to_owned),
        path: match scheme.as_str() {
            "file" => path.to_owned(),
            _ => path.trim_start_matches('/').to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_url_are_the_same_repository() {
        for (a, b, same) in [
            ("https://h/o/r", "https://h/o/r.git", true),
            ("https://h/o/r", "HTTPS://H:443/O/R/", true),
            ("https://user:pw@h/o/r", "https://h/o/r", true),
            ("git@h:o/r.git", "https://h/o/r", true),
            ("ssh://git@h:2222/o/r", "http://h:3000/o/r", true),
            ("ssh://git@h/o/r", "git@h:o/r", true),
            ("file:///srv/r.git", "/srv/r", true),
            ("oci://h/o/r", "https://h/o/r", true),
            ("https://h:1/o/r", "https://h:2/o/r", false),
            ("https://h/o/r", "https://h/o/r2", false),
            ("https://h/o/r", "https://g/o/r", false),
            ("https://h", "https://h", false),
            ("", "", false),
        ] {
            assert_eq!(same_repository(a, b), same, "{a} {b}");
            assert_eq!(same_repository(b, a), same, "{b} {a}");
        }
    }

    #[test]
    fn a_chart_in_a_registry_is_an_artifact() {
        let event = RevisionEvent {
            kind: SourceKind::Oci,
            urls: vec!["oci://reg.example.com/charts/shop".into()],
            reference: Some("1.2.0".into()),
            ..RevisionEvent::default()
        };
        for (url, chart, expected) in [
            ("reg.example.com/charts", Some("shop"), true),
            ("oci://reg.example.com/charts/", Some("shop"), true),
            ("reg.example.com/charts", Some("shop2"), false),
            ("reg.example.com/charts/shop", None, false),
            ("https://reg.example.com/charts", Some("shop"), false),
        ] {
            let source = Source {
                kind: SourceKind::Helm,
                chart: chart.map(Into::into),
                target_revision: Some("1.x".into()),
                ..Source::git(url)
            };
            assert_eq!(event.concerns_source(&source), expected, "{url} {chart:?}");
        }
    }

    #[test]
    fn an_event_concerns_whose_target_it_may_mean() {
        let event = |reference: Option<&str>, default_branch| RevisionEvent {
            urls: vec!["https://h/o/r".into()],
            reference: reference.map(Into::into),
            default_branch,
            ..RevisionEvent::default()
        };
        let main = Some("refs/heads/main");
        let tag = Some("refs/tags/v1.2.0");
        for (reference, default_branch, target, expected) in [
            (main, None, "", true),
            (main, Some(true), "HEAD", true),
            (main, Some(false), "HEAD", false),
            (main, None, "main", true),
            (main, None, "refs/heads/main", true),
            (main, None, "refs/tags/main", false),
            (main, None, "dev", false),
            (main, None, "1.*", false),
            (tag, None, "v1.2.0", true),
            (tag, None, "refs/tags/v1.2.0", true),
            (tag, None, "refs/heads/v1.2.0", false),
            (tag, None, "1.x", true),
            (tag, None, ">=1.0.0", true),
            (tag, None, "v1.3.0", false),
            (tag, None, "", false),
            (None, None, "anything", true),
        ] {
            let mut source = Source::git("git@h:o/r.git");
            source.target_revision = Some(target.into()).filter(|t: &String| !t.is_empty());
            let event = event(reference, default_branch);
            assert_eq!(
                event.concerns_source(&source),
                expected,
                "{reference:?} {target}"
            );
            assert_eq!(
                event.concerns(&Application::new("a").source(source)),
                expected
            );
        }
        assert!(!event(None, None).concerns_source(&Source::git("https://h/o/other")));
        assert!(!event(None, None).concerns_source(&Source::oci("https://h/o/r")));
    }
}
