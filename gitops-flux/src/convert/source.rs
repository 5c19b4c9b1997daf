//! A core source and Flux's source object.

use gitops_core::application::{Application, Render, Source, SourceKind};
use gitops_core::{Error, Result};

use super::check::refused;
use super::revision::{GitTarget, OciTarget};
use super::{APPLICATION, ConvertOptions, Parts, SourceObject, text};
use crate::types::{
    GitRepository, GitRepositoryRef, HelmRepository, HelmRepositoryType, LayerOperation,
    LocalObjectReference, OCIRepository, OciLayerSelector, OciRepositoryRef,
};

/// The annotation of a source that is pinned for one sync: what its `spec.ref` is otherwise, as JSON.
pub(crate) const PINNED: &str = "gitops.rs/pinned";

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

/// Makes the source object what the application asks for.
pub(super) fn update(
    app: &Application,
    from: &Source,
    options: &ConvertOptions,
    parts: &mut Parts,
) -> Result<()> {
    let url = url(from);
    let target = from.target_revision.as_deref();
    let field = "sources[0].targetRevision";
    let is_new = parts
        .source
        .as_ref()
        .is_none_or(|source| source.metadata().uid.is_none());
    let is_own = is_new
        || parts
            .source
            .as_ref()
            .is_some_and(|source| source.is_own(&app.name));
    if parts.source.is_none() || (is_own && !is_kind(parts.source.as_ref(), from.kind)) {
        let fresh = Parts::new(app, from);
        parts.source = fresh.source;
    }
    let secret = options.credentials.find(&url);
    let before = parts.source.clone();
    match (parts.source.as_mut(), from.kind) {
        (Some(SourceObject::Git(object)), SourceKind::Git) => {
            git(object, from, url, GitTarget::parse(field, target)?)?;
            object
                .spec
                .interval
                .get_or_insert_with(|| options.source_interval.into());
            with_secret(&mut object.spec.secret_ref, secret);
        }
        (Some(SourceObject::Oci(object)), SourceKind::Oci) => {
            oci(object, from, url, OciTarget::parse(field, target)?);
            object
                .spec
                .interval
                .get_or_insert_with(|| options.source_interval.into());
            with_secret(&mut object.spec.secret_ref, secret);
        }
        (Some(SourceObject::Helm(object)), SourceKind::Helm) => {
            helm(object, from, url);
            object
                .spec
                .interval
                .get_or_insert_with(|| options.source_interval.into());
            with_secret(&mut object.spec.secret_ref, secret);
        }
        _ => return Err(foreign(app, before.as_ref())),
    }
    let Some(source) = &mut parts.source else {
        return Ok(());
    };
    if !is_own {
        return match before.as_ref() == Some(source) {
            true => Ok(()),
            false => Err(foreign(app, before.as_ref())),
        };
    }
    let meta = source.metadata_mut();
    if !app.namespace.is_empty() {
        meta.namespace = Some(app.namespace.clone());
    }
    meta.annotations
        .get_or_insert_default()
        .insert(APPLICATION.to_owned(), app.name.clone());
    Ok(())
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

fn with_secret(reference: &mut Option<LocalObjectReference>, secret: Option<&str>) {
    // What somebody else named stays, where nothing is known here.
    if let Some(secret) = secret
        && reference
            .as_ref()
            .is_none_or(|reference| reference.name != secret)
    {
        *reference = Some(LocalObjectReference::new(secret));
    }
}

fn git(object: &mut GitRepository, from: &Source, url: String, target: GitTarget) -> Result<()> {
    if from.chart.is_some() {
        return Err(refused(
            "sources[0].chart",
            "a chart in Git is named by its path",
        ));
    }
    object.spec.url = url;
    object.spec.ignore = match wanted_ignore(from) {
        // What somebody wrote by hand is not ours to take away.
        None => object.spec.ignore.take().filter(|ignore| !is_ours(ignore)),
        wanted => wanted,
    };
    // Nothing at all means `master`.
    if own_git_target(object).text() != target.text() {
        let annotations = object.metadata.annotations.get_or_insert_default();
        annotations.remove(PINNED);
        object.spec.git_ref = Some(git_ref(target));
    }
    Ok(())
}

/// Whether it is [`no_folders`] of some path.
fn is_ours(ignore: &str) -> bool {
    ignore.starts_with('/') && ignore.ends_with("*/\n") && ignore.matches('\n').count() == 1
}

fn oci(object: &mut OCIRepository, from: &Source, url: String, target: OciTarget) {
    object.spec.url = url;
    if own_oci_target(object).text() != target.text() {
        let annotations = object.metadata.annotations.get_or_insert_default();
        annotations.remove(PINNED);
        object.spec.oci_ref = (target != OciTarget::default()).then(|| oci_ref(target));
    }
    object.spec.ignore = match wanted_ignore(from) {
        None => object.spec.ignore.take().filter(|ignore| !is_ours(ignore)),
        wanted => wanted,
    };
    if is_helm(from) && object.spec.layer_selector.is_none() {
        object.spec.layer_selector = Some(OciLayerSelector {
            media_type: Some(CHART_LAYER.to_owned()),
            operation: Some(LayerOperation::Copy),
            ..OciLayerSelector::default()
        });
    }
}

fn helm(object: &mut HelmRepository, from: &Source, url: String) {
    object.spec.kind = match url.starts_with("oci://") {
        true => Some(HelmRepositoryType::Oci),
        false => object
            .spec
            .kind
            .take()
            .filter(|kind| *kind != HelmRepositoryType::Oci),
    };
    object.spec.url = url;
    if let Render::Helm(settings) = &from.render {
        object.spec.pass_credentials = settings.pass_credentials.then_some(true);
    }
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
    annotations: Option<&std::collections::BTreeMap<String, String>>,
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
