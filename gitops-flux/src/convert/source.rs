//! A core source and Flux's source object.

use std::collections::BTreeMap;

use gitops_core::application::{Application, Render, Source, SourceKind};
use gitops_core::{Error, Result};

use super::check::refused;
use super::revision::{GitTarget, OciTarget};
use super::{APPLICATION, ConvertOptions, Parts, SourceObject, running, same, text};
use crate::types::annotation::SHARD;
use crate::types::{
    GitRepository, GitRepositoryRef, HelmRepository, HelmRepositoryType, LayerOperation,
    LocalObjectReference, OCIRepository, OciLayerSelector, OciRepositoryRef,
};

/// The annotation of a source that is pinned for one sync: what its `spec.ref` is otherwise, as JSON.
pub(crate) const PINNED: &str = "gitops.rs/pinned";

/// The field of a source's revision.
const TARGET: &str = "sources[0].targetRevision";
/// The layer of an OCI artifact that is a chart.
const CHART_LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// Whether helm is to apply it.
pub(super) fn is_helm(source: &Source) -> bool {
    source.kind == SourceKind::Helm || matches!(source.render, Render::Helm(_))
}

/// The URL as Flux takes it: it knows no `user@host:path`.
pub(super) fn url(source: &Source) -> String {
    let url = &source.repo_url;
    match url.split_once(':') {
        Some((host, path))
            if source.kind == SourceKind::Git
                && !url.contains("://")
                && host.contains('@')
                && !host.contains('/') =>
        {
            format!("ssh://{host}/{}", path.trim_start_matches('/'))
        }
        _ => url.clone(),
    }
}

/// What excludes the folders below the path, for plain directories that are not read recursively.
fn no_folders(path: Option<&str>) -> String {
    match path.map(|path| path.trim_start_matches("./").trim_matches('/')) {
        None | Some("" | ".") => "/*/\n".to_owned(),
        Some(path) => format!("/{path}/*/\n"),
    }
}

fn wanted_ignore(source: &Source) -> Option<String> {
    match &source.render {
        Render::Directory(directory) if !directory.recurse => {
            Some(no_folders(source.path.as_deref()))
        }
        _ => None,
    }
}

/// Makes the source object what the application asks for. One that was not made for the application stays as it is.
pub(super) fn update(
    app: &Application,
    was: Option<&Application>,
    from: &Source,
    options: &ConvertOptions,
    parts: &mut Parts,
) -> Result<()> {
    let before = was.and_then(|was| was.sources.first());
    let is_own = parts
        .source
        .as_ref()
        .is_none_or(|source| source.metadata().uid.is_none() || source.is_own(&app.name));
    if !is_own {
        return match before.is_some_and(|before| asks_the_same(before, from)) {
            true => Ok(()),
            false => Err(foreign(app, parts.source.as_ref())),
        };
    }
    let is_new = !is_kind(parts.source.as_ref(), from.kind)
        || parts
            .source
            .as_ref()
            .is_none_or(|source| source.metadata().uid.is_none());
    if !is_kind(parts.source.as_ref(), from.kind) {
        parts.source = Parts::new(app, from).source;
    }
    let shard = parts.workload.label(SHARD).map(str::to_owned);
    let runs = running(parts.workload.metadata()).is_some();
    let url = url(from);
    let host = Host {
        is_another: before.is_none_or(|before| origin(&self::url(before)) != origin(&url)),
        secret: options.credentials.find(&url),
        is_insecure: options.is_insecure(&url),
    };
    let interval = || options.source_interval.into();
    match (parts.source.as_mut(), from.kind) {
        (Some(SourceObject::Git(object)), SourceKind::Git) => {
            git(object, from, before, url, runs)?;
            object.spec.interval.get_or_insert_with(interval);
            host.credentials(&mut object.spec.secret_ref);
        }
        (Some(SourceObject::Oci(object)), SourceKind::Oci) => {
            oci(object, from, before, url, runs)?;
            object.spec.interval.get_or_insert_with(interval);
            host.credentials(&mut object.spec.secret_ref);
            host.transport(&mut object.spec.insecure);
        }
        (Some(SourceObject::Helm(object)), SourceKind::Helm) => {
            helm(object, from, before, url);
            object.spec.interval.get_or_insert_with(interval);
            host.credentials(&mut object.spec.secret_ref);
            if object.is_oci() {
                host.transport(&mut object.spec.insecure);
            }
        }
        _ => return Err(foreign(app, parts.source.as_ref())),
    }
    let Some(source) = &mut parts.source else {
        return Ok(());
    };
    let meta = source.metadata_mut();
    if !app.namespace.is_empty() {
        meta.namespace = Some(app.namespace.clone());
    }
    meta.annotations
        .get_or_insert_default()
        .insert(APPLICATION.to_owned(), app.name.clone());
    let is_moved = !same(was, app, |app| app.labels.get(SHARD));
    let mut labels = meta.labels.take().unwrap_or_default();
    if is_new {
        for (key, value) in &options.labels {
            labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    if let Some(key) = shard.filter(|_| is_new || is_moved) {
        labels.insert(SHARD.to_owned(), key);
    }
    meta.labels = (!labels.is_empty()).then_some(labels);
    Ok(())
}

/// Whether two sources ask for the same object.
fn asks_the_same(one: &Source, other: &Source) -> bool {
    let target = |source: &Source| {
        source
            .target_revision
            .clone()
            .filter(|_| source.kind != SourceKind::Helm)
    };
    one.kind == other.kind
        && url(one) == url(other)
        && target(one) == target(other)
        && wanted_ignore(one) == wanted_ignore(other)
        && passes_credentials(one) == passes_credentials(other)
}

/// What depends on where a source is.
struct Host<'a> {
    /// It was somewhere else before.
    is_another: bool,
    secret: Option<&'a str>,
    is_insecure: bool,
}

impl Host<'_> {
    fn credentials(&self, reference: &mut Option<LocalObjectReference>) {
        match self.secret {
            Some(secret) if reference.as_ref().is_none_or(|named| named.name != secret) => {
                *reference = Some(LocalObjectReference::new(secret));
            }
            Some(_) => {}
            // What is meant for one host is not for another to read.
            None if self.is_another => *reference = None,
            // What somebody else named stays, where nothing is known here.
            _ => {}
        }
    }

    fn transport(&self, insecure: &mut Option<bool>) {
        if self.is_another {
            *insecure = self.is_insecure.then_some(true);
        } else if self.is_insecure {
            insecure.get_or_insert(true);
        }
    }
}

/// How and where a URL leads: scheme, host and port.
pub(super) fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}").to_ascii_lowercase()
}

fn foreign(app: &Application, source: Option<&SourceObject>) -> Error {
    let name = source.map_or_else(String::new, |source| {
        format!(
            "{} {}",
            source.kind(),
            source.metadata().name.as_deref().unwrap_or_default()
        )
    });
    Error::conflict(format!(
        "application {} uses the source {name}, which was not made for it and may have other users: change it there",
        app.app_ref()
    ))
}

fn is_kind(source: Option<&SourceObject>, kind: SourceKind) -> bool {
    matches!(
        (source, kind),
        (Some(SourceObject::Git(_)), SourceKind::Git)
            | (Some(SourceObject::Oci(_)), SourceKind::Oci)
            | (Some(SourceObject::Helm(_)), SourceKind::Helm)
    )
}

fn git(
    object: &mut GitRepository,
    from: &Source,
    before: Option<&Source>,
    url: String,
    runs: bool,
) -> Result<()> {
    if from.chart.is_some() {
        return Err(refused(
            "sources[0].chart",
            "a chart in Git is named by its path",
        ));
    }
    let target = GitTarget::parse(TARGET, from.target_revision.as_deref())?;
    object.spec.url = url;
    ignore(&mut object.spec.ignore, from, before);
    // Nothing at all means `master`.
    let changes = own_git_target(object).text() != target.text();
    follow(
        &mut object.metadata.annotations,
        &mut object.spec.git_ref,
        changes.then(|| Some(git_ref(target))),
        runs,
    )
}

fn ignore(ignore: &mut Option<String>, from: &Source, before: Option<&Source>) {
    let wanted = wanted_ignore(from);
    if before.is_some_and(|before| wanted_ignore(before) == wanted) {
        return;
    }
    *ignore = match wanted {
        // What somebody wrote by hand is not ours to take away.
        None => ignore.take().filter(|ignore| !is_ours(ignore)),
        wanted => wanted,
    };
}

/// Makes a source follow `wanted`; none is what it follows already. One that is pinned for an operation that runs stays so, and follows it afterwards.
fn follow<T: serde::Serialize + serde::de::DeserializeOwned>(
    annotations: &mut Option<BTreeMap<String, String>>,
    reference: &mut Option<T>,
    wanted: Option<Option<T>>,
    runs: bool,
) -> Result<()> {
    let noted: Option<Option<T>> = pinned(annotations.as_ref());
    let Some(annotations) = annotations
        .as_mut()
        .filter(|annotations| annotations.contains_key(PINNED))
    else {
        if let Some(wanted) = wanted {
            *reference = wanted;
        }
        return Ok(());
    };
    if !runs {
        // Nobody lets it go any more.
        annotations.remove(PINNED);
        if let Some(own) = wanted.or(noted) {
            *reference = own;
        }
    } else if let Some(wanted) = wanted {
        let text = serde_json::to_string(&wanted)
            .map_err(|error| Error::internal("a reference is no JSON").with_source(error))?;
        annotations.insert(PINNED.to_owned(), text);
    }
    Ok(())
}

/// Whether it is [`no_folders`] of some path.
fn is_ours(ignore: &str) -> bool {
    ignore.starts_with('/') && ignore.ends_with("*/\n") && ignore.matches('\n').count() == 1
}

fn oci(
    object: &mut OCIRepository,
    from: &Source,
    before: Option<&Source>,
    url: String,
    runs: bool,
) -> Result<()> {
    let target = OciTarget::parse(TARGET, from.target_revision.as_deref())?;
    object.spec.url = url;
    let changes = own_oci_target(object).text() != target.text();
    follow(
        &mut object.metadata.annotations,
        &mut object.spec.oci_ref,
        changes.then(|| (target != OciTarget::default()).then(|| oci_ref(target))),
        runs,
    )?;
    ignore(&mut object.spec.ignore, from, before);
    if is_helm(from) && object.spec.layer_selector.is_none() {
        object.spec.layer_selector = Some(OciLayerSelector {
            media_type: Some(CHART_LAYER.to_owned()),
            operation: Some(LayerOperation::Copy),
            ..OciLayerSelector::default()
        });
    }
    Ok(())
}

fn helm(object: &mut HelmRepository, from: &Source, before: Option<&Source>, url: String) {
    object.spec.kind = match url.starts_with("oci://") {
        true => Some(HelmRepositoryType::Oci),
        false => object
            .spec
            .kind
            .take()
            .filter(|kind| *kind != HelmRepositoryType::Oci),
    };
    object.spec.url = url;
    let passes = passes_credentials(from);
    if before.is_none_or(|before| passes_credentials(before) != passes) {
        object.spec.pass_credentials = passes.then_some(true);
    }
}

fn passes_credentials(source: &Source) -> bool {
    matches!(&source.render, Render::Helm(settings) if settings.pass_credentials)
}

pub(crate) fn git_ref(target: GitTarget) -> GitRepositoryRef {
    GitRepositoryRef {
        branch: target.branch,
        tag: target.tag,
        semver: target.semver,
        name: target.name,
        commit: target.commit,
        ..GitRepositoryRef::default()
    }
}

fn git_target(reference: &GitRepositoryRef) -> GitTarget {
    let known = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    GitTarget {
        branch: known(&reference.branch),
        tag: known(&reference.tag),
        semver: known(&reference.semver),
        name: known(&reference.name),
        commit: known(&reference.commit),
    }
}

fn oci_ref(target: OciTarget) -> OciRepositoryRef {
    OciRepositoryRef {
        digest: target.digest,
        semver: target.semver,
        tag: target.tag,
        ..OciRepositoryRef::default()
    }
}

/// What a pinned source follows otherwise.
fn pinned<T: serde::de::DeserializeOwned>(
    annotations: Option<&BTreeMap<String, String>>,
) -> Option<T> {
    serde_json::from_str(annotations?.get(PINNED)?).ok()
}

/// What the application's source follows, whatever it is pinned to for the moment.
pub(crate) fn own_git_target(object: &GitRepository) -> GitTarget {
    let own: Option<Option<GitRepositoryRef>> = pinned(object.metadata.annotations.as_ref());
    let reference = own.unwrap_or_else(|| object.spec.git_ref.clone());
    reference.as_ref().map(git_target).unwrap_or_default()
}

fn own_oci_target(object: &OCIRepository) -> OciTarget {
    let own: Option<Option<OciRepositoryRef>> = pinned(object.metadata.annotations.as_ref());
    let reference = own
        .unwrap_or_else(|| object.spec.oci_ref.clone())
        .unwrap_or_default();
    OciTarget {
        tag: reference.tag,
        semver: reference.semver,
        digest: reference.digest,
    }
}

/// The target revision that a source follows when it is not pinned.
pub(crate) fn own_target(source: &SourceObject) -> Option<String> {
    match source {
        SourceObject::Git(object) => Some(own_git_target(object).text()),
        SourceObject::Oci(object) => own_oci_target(object).text(),
        _ => None,
    }
}

/// What the source object says by itself.
pub(super) fn read(parts: &Parts) -> Source {
    let Some(source) = &parts.source else {
        let reference = parts.workload.source_ref().unwrap_or_default();
        return Source::git(format!(
            "missing://{}/{}/{}",
            reference.kind,
            reference.namespace.unwrap_or_default(),
            reference.name
        ));
    };
    let meta = source.metadata();
    let mut made = match source {
        SourceObject::Git(object) => Source::git(&*object.spec.url),
        SourceObject::Oci(object) => Source::oci(&*object.spec.url),
        SourceObject::Helm(object) => Source {
            repo_url: object.spec.url.clone(),
            kind: SourceKind::Helm,
            ..Source::default()
        },
        // Core has no such kinds: they are shown, and cannot be put.
        SourceObject::Bucket(object) => Source::oci(format!(
            "bucket://{}/{}",
            object.spec.endpoint, object.spec.bucket_name
        )),
        SourceObject::External(_) => Source::oci(format!(
            "external://{}/{}",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default()
        )),
    };
    made.target_revision = own_target(source).and_then(|target| text(&target));
    made
}
