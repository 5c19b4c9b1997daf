//! Fields that must be there, and names that must be well formed.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Context, Finding, Validator, escape, names, objects};
use crate::application::{Application, ClusterRef, Source, SourceKind};
use crate::error::{Result, redact_url};
use crate::manifest::{Object, check_path};

/// Finds fields that are missing or make no sense, and names that the API server would refuse: of the application, and of each rendered object.
///
/// The rules are those of argo-cd 3.2 (`util/argo`, `ValidateRepo` and `ValidatePermissions`, as far as they need no server) and of apimachinery 0.34 (`pkg/util/validation`,
/// `pkg/api/validation`). Codes: `missing-field`, `invalid-field`, `invalid-name`, `invalid-label`, `invalid-annotation`, `credentials-in-url`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WellFormed;

#[async_trait]
impl Validator for WellFormed {
    fn name(&self) -> &str {
        "well-formed"
    }

    async fn validate(&self, app: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        application(app, &mut findings);
        for found in objects(context) {
            object(found, &mut findings);
        }
        Ok(findings)
    }
}

fn application(app: &Application, findings: &mut Vec<Finding>) {
    let mut name = |pointer: &str, checked: Result<(), &'static str>, what: &str, text: &str| {
        if let Err(why) = checked {
            let message = format!("{text:?} is no name of {what}: {why}");
            findings.push(Finding::error("invalid-name", message).at(pointer));
        }
    };
    name(
        "/name",
        names::dns_subdomain(&app.name),
        "an application",
        &app.name,
    );
    if !app.namespace.is_empty() {
        name(
            "/namespace",
            names::dns_label(&app.namespace),
            "a namespace",
            &app.namespace,
        );
    }
    if !app.project.is_empty() {
        name(
            "/project",
            names::dns_subdomain(&app.project),
            "a project",
            &app.project,
        );
    }
    let namespace = &app.destination.namespace;
    if !namespace.is_empty() {
        let checked = names::dns_label(namespace);
        name("/destination/namespace", checked, "a namespace", namespace);
    }
    match &app.destination.cluster {
        ClusterRef::InCluster => {}
        ClusterRef::Server(server) => {
            let rest = server
                .strip_prefix("https://")
                .or_else(|| server.strip_prefix("http://"));
            if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
                let message = format!("{:?} is no URL of an API server", redact_url(server));
                findings.push(
                    Finding::error("invalid-field", message).at("/destination/cluster/server"),
                );
            } else if has_password(server) {
                findings.push(password("/destination/cluster/server"));
            }
        }
        ClusterRef::Name(name) if name.is_empty() => {
            let message = "the destination cluster's name is empty";
            findings.push(Finding::error("missing-field", message).at("/destination/cluster/name"));
        }
        ClusterRef::Name(_) => {}
    }
    for (at, option) in app.sync_policy.options.iter().enumerate() {
        if option.split_once('=').is_none_or(|(key, _)| key.is_empty()) {
            let message = format!("{option:?} is no sync option; options are name=value");
            let pointer = format!("/syncPolicy/syncOptions/{at}");
            findings.push(Finding::error("invalid-field", message).at(pointer));
        }
    }
    metadata(&app.labels, &app.annotations, findings);
    if let Some(hydrate) = &app.hydrate {
        source(&hydrate.dry_source, "/hydrate/drySource", findings);
        if hydrate.sync_branch.is_empty() {
            let message = "hydrated manifests need a branch";
            findings.push(Finding::error("missing-field", message).at("/hydrate/syncBranch"));
        }
    } else if app.sources.is_empty() {
        let message = "the application has no source";
        findings.push(Finding::error("missing-field", message).at("/sources"));
    }
    let mut refs = HashSet::new();
    for (at, item) in app.sources.iter().enumerate() {
        let pointer = format!("/sources/{at}");
        source(item, &pointer, findings);
        if let Some(name) = &item.ref_name
            && !refs.insert(name)
        {
            let message = format!("two sources have the ref {name:?}");
            findings.push(Finding::error("invalid-field", message).at(format!("{pointer}/ref")));
        }
    }
}

fn source(source: &Source, pointer: &str, findings: &mut Vec<Finding>) {
    let mut error = |code: &str, field: &str, message: String| {
        findings.push(Finding::error(code, message).at(format!("{pointer}/{field}")));
    };
    if source.repo_url.trim().is_empty() {
        error(
            "missing-field",
            "repoUrl",
            "the source has no repository".into(),
        );
    } else if source.repo_url.chars().any(char::is_control) || source.repo_url.starts_with('-') {
        let message = format!(
            "{:?} is no URL of a repository",
            redact_url(&source.repo_url)
        );
        error("invalid-field", "repoUrl", message);
    } else if has_password(&source.repo_url) {
        findings.push(password(&format!("{pointer}/repoUrl")));
    }
    let mut error = |code: &str, field: &str, message: String| {
        findings.push(Finding::error(code, message).at(format!("{pointer}/{field}")));
    };
    let empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    match source.kind {
        SourceKind::Helm => {
            if empty(&source.chart) {
                error(
                    "missing-field",
                    "chart",
                    "a Helm source needs a chart".into(),
                );
            }
            if empty(&source.target_revision) {
                let message = "a Helm source needs a version or a range of versions";
                error("missing-field", "targetRevision", message.into());
            }
            if !empty(&source.path) {
                error(
                    "invalid-field",
                    "path",
                    "a Helm source has a chart, not a path".into(),
                );
            }
        }
        SourceKind::Git | SourceKind::Oci => {
            if !empty(&source.chart) {
                error(
                    "invalid-field",
                    "chart",
                    "only a Helm source has a chart".into(),
                );
            }
        }
    }
    if source
        .target_revision
        .as_deref()
        .is_some_and(|revision| revision.starts_with('-') || revision.chars().any(char::is_control))
    {
        error(
            "invalid-field",
            "targetRevision",
            "the target revision is none".into(),
        );
    }
    let path = source.path.as_deref().unwrap_or_default();
    let trimmed = path
        .strip_prefix("./")
        .unwrap_or(path)
        .trim_end_matches('/');
    if !matches!(trimmed, "" | ".") && check_path(trimmed).is_err() {
        let message = format!("{path:?} leads out of the repository, or is no path in one");
        error("invalid-field", "path", message);
    }
    if let Some(name) = &source.ref_name
        && (name.is_empty()
            || !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'))
    {
        let message = format!("{name:?} is no ref; letters, digits, - and _ are");
        error("invalid-field", "ref", message);
    }
}

/// Whether a URL carries a password: Git would, and everybody who sees the application could.
fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(_, password)| !password.is_empty())
}

fn password(pointer: &str) -> Finding {
    let message = "the URL carries a password; credentials belong into a provider";
    Finding::error("credentials-in-url", message).at(pointer)
}

fn metadata(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) {
    let each = labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    check_labels(each, "/labels", |finding| findings.push(finding));
    let each = annotations
        .iter()
        .map(|(key, value)| (key.as_str(), value.len()));
    check_annotations(each, "/annotations", |finding| findings.push(finding));
}

fn object(object: &Object, findings: &mut Vec<Finding>) {
    if let Err(why) = names::object_name(object.group(), object.kind(), object.name()) {
        let message = format!(
            "{:?} is no name of a {}: {why}",
            object.name(),
            object.kind()
        );
        findings.push(
            Finding::error("invalid-name", message)
                .about(object)
                .at("/metadata/name"),
        );
    }
    if !object.namespace().is_empty()
        && let Err(why) = names::dns_label(object.namespace())
    {
        let message = format!("{:?} is no name of a namespace: {why}", object.namespace());
        findings.push(
            Finding::error("invalid-name", message)
                .about(object)
                .at("/metadata/namespace"),
        );
    }
    let map =
        |field: &str| -> Option<&Map<String, Value>> { object.metadata()?.get(field)?.as_object() };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels: Vec<_> = map("labels")
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), text(value)))
        .collect();
    let each = labels.iter().map(|(key, value)| (*key, value.as_str()));
    check_labels(each, "/metadata/labels", |finding| {
        findings.push(finding.about(object));
    });
    let annotations = map("annotations").into_iter().flatten();
    let each = annotations.map(|(key, value)| (key.as_str(), text(value).len()));
    check_annotations(each, "/metadata/annotations", |finding| {
        findings.push(finding.about(object));
    });
}

fn check_labels<'a>(
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    pointer: &str,
    mut found: impl FnMut(Finding),
) {
    for (key, value) in labels {
        let at = format!("{pointer}/{}", escape(key));
        if let Err(why) = names::qualified_name(key) {
            let message = format!("{key:?} is no key of a label: {why}");
            found(Finding::error("invalid-label", message).at(&*at));
        }
        if let Err(why) = names::label_value(value) {
            let message = format!("the value of the label {key:?} is none: {why}");
            found(Finding::error("invalid-label", message).at(at));
        }
    }
}

fn check_annotations<'a>(
    annotations: impl Iterator<Item = (&'a str, usize)>,
    pointer: &str,
    mut found: impl FnMut(Finding),
) {
    let mut size = 0;
    for (key, length) in annotations {
        size += key.len() + length;
        // Keys of annotations are compared in lower case (apimachinery, `ValidateAnnotations`).
        if let Err(why) = names::qualified_name(&key.to_lowercase()) {
            let message = format!("{key:?} is no key of an annotation: {why}");
            let at = format!("{pointer}/{}", escape(key));
            found(Finding::error("invalid-annotation", message).at(at));
        }
    }
    if size > names::ANNOTATIONS_MAX {
        let message = format!(
            "the annotations have {size} bytes, more than the {} that the API server takes",
            names::ANNOTATIONS_MAX
        );
        found(Finding::error("invalid-annotation", message).at(pointer));
    }
}
