//! Kustomize settings and a `Kustomization`.

use gitops_core::application::{Application, Directory, Kustomize, Render, Source};
use gitops_core::{Error, Result};

use super::check::{path, refused, variables};
use super::{
    ConvertOptions, automated, destination, flag, is_manual, kube_config, list, same, text,
};
use crate::types::{CommonMetadata, Image, Kustomization, ObjectReference, Patch};

/// The path as Flux has it, from the source's root.
pub(super) fn path_from(path: Option<&str>) -> Option<String> {
    let path = path.map(clean)?;
    (!path.is_empty()).then(|| format!("./{path}"))
}

/// Without what means nothing.
fn clean(path: &str) -> &str {
    let path = path.trim_start_matches("./").trim_end_matches('/');
    match path {
        "." => "",
        path => path,
    }
}

pub(super) fn path_to(path: Option<&str>) -> Option<String> {
    text(clean(path.unwrap_or_default().trim_start_matches('/')))
}

/// Writes what the application changes of what the objects said of it before.
pub(super) fn update(
    app: &Application,
    was: Option<&Application>,
    from: &Source,
    source: ObjectReference,
    options: &ConvertOptions,
    runs: bool,
    object: &mut Kustomization,
) -> Result<()> {
    if from.chart.is_some() {
        return Err(refused(
            "sources[0].chart",
            "only a Helm repository has charts by name",
        ));
    }
    let settings = &settings(from)?;
    let before = was.and_then(|was| was.sources.first());
    let known = before.and_then(|before| self::settings(before).ok());
    let known = known.as_ref();
    check(settings)?;
    let spec = &mut object.spec;
    if spec.source_ref.kind != source.kind || spec.source_ref.name != source.name {
        spec.source_ref = source;
    }
    if path_to(spec.path.as_deref()) != path_to(from.path.as_deref()) {
        spec.path = path_from(from.path.as_deref());
    }
    spec.interval.get_or_insert_with(|| options.interval.into());
    if let Some(retry) = &app.sync_policy.retry
        && !same(was, app, |app| &app.sync_policy.retry)
    {
        // Flux waits equally long each time.
        let wait = retry
            .backoff
            .duration
            .max(std::time::Duration::from_millis(100));
        spec.retry_interval = Some(wait.into());
    }
    if was.is_none() {
        spec.timeout = Some(options.timeout.into());
        spec.wait = Some(true);
    }
    let prune = !is_manual(app)
        && app
            .sync_policy
            .automated
            .is_some_and(|automated| automated.prune);
    // While an operation runs it is the operation's, whose record says what it is otherwise.
    if was.is_none() || (!runs && spec.prune.unwrap_or_default() != prune) {
        spec.prune = Some(prune);
    }
    spec.kube_config = kube_config(&app.destination.cluster, spec.kube_config.take());
    if !same(known, settings, |settings| &settings.namespace)
        || !same(was, app, |app| &app.destination.namespace)
    {
        spec.target_namespace = match text(&settings.namespace) {
            None => text(&app.destination.namespace),
            namespace => namespace,
        };
    }
    if !same(known, settings, |settings| &settings.name_prefix) {
        spec.name_prefix = text(&settings.name_prefix);
    }
    if !same(known, settings, |settings| &settings.name_suffix) {
        spec.name_suffix = text(&settings.name_suffix);
    }
    if !same(known, settings, |settings| &settings.components) {
        spec.components = list(&settings.components);
    }
    if !same(known, settings, |known| known.ignore_missing_components) {
        spec.ignore_missing_components = flag(settings.ignore_missing_components);
    }
    if !same(known, settings, |settings| &settings.images) {
        let images = settings.images.iter().enumerate().map(|(n, image)| {
            image_from(&format!("sources[0].render.kustomize.images[{n}]"), image)
        });
        spec.images = list(&images.collect::<Result<Vec<_>>>()?);
    }
    if !same(known, settings, |settings| &settings.patches) {
        let patches = settings.patches.iter().enumerate().map(|(n, patch)| {
            patch_from(&format!("sources[0].render.kustomize.patches[{n}]"), patch)
        });
        spec.patches = list(&patches.collect::<Result<Vec<_>>>()?);
    }
    if !same(known, settings, |settings| &settings.common_labels) {
        let labels = (!settings.common_labels.is_empty()).then(|| settings.common_labels.clone());
        let mut common = spec.common_metadata.take().unwrap_or_default();
        common.labels = labels;
        spec.common_metadata = (common != CommonMetadata::default()).then_some(common);
    }
    Ok(())
}

/// How a source is rendered, where that is by kustomize.
fn settings(from: &Source) -> Result<Kustomize> {
    match &from.render {
        Render::Auto => Ok(Kustomize::default()),
        Render::Directory(settings) => {
            directory(settings)?;
            Ok(Kustomize::default())
        }
        Render::Kustomize(settings) => Ok((**settings).clone()),
        Render::Plugin(_) => Err(refused("sources[0].render.plugin", "Flux has no plugins")),
        Render::Helm(_) => Err(Error::internal("a chart is no Kustomization")),
        _ => Err(refused("sources[0].render", "Flux does not know it")),
    }
}

fn directory(settings: &Directory) -> Result<()> {
    let field = |name: &str| format!("sources[0].render.directory.{name}");
    if settings.include.is_some() {
        return Err(refused(
            &field("include"),
            "Flux takes all manifests of a path",
        ));
    }
    if settings.exclude.is_some() {
        return Err(refused(
            &field("exclude"),
            "write a .sourceignore file instead",
        ));
    }
    if settings.jsonnet.is_some() {
        return Err(refused(&field("jsonnet"), "Flux evaluates no Jsonnet"));
    }
    Ok(())
}

fn check(settings: &Kustomize) -> Result<()> {
    let field = |name: &str| format!("sources[0].render.kustomize.{name}");
    if !settings.common_labels.is_empty()
        && (!settings.label_without_selector || settings.label_include_templates)
    {
        return Err(refused(
            &field("commonLabels"),
            "Flux sets labels of the objects only, not in selectors and templates: ask for labelWithoutSelector",
        ));
    }
    if !settings.common_annotations.is_empty() {
        return Err(refused(
            &field("commonAnnotations"),
            "kustomize puts them into templates too, and Flux does not",
        ));
    }
    if settings.common_annotations_envsubst {
        return Err(refused(
            &field("commonAnnotationsEnvsubst"),
            "Flux replaces no variables of Argo CD",
        ));
    }
    if !settings.replicas.is_empty() {
        return Err(refused(
            &field("replicas"),
            "a Kustomization has none: patch /spec/replicas",
        ));
    }
    for (name, is_set) in [
        ("version", !settings.version.is_empty()),
        ("kubeVersion", !settings.kube_version.is_empty()),
        ("apiVersions", !settings.api_versions.is_empty()),
    ] {
        if is_set {
            return Err(refused(
                &field(name),
                "Flux builds with what its controller has",
            ));
        }
    }
    for (n, component) in settings.components.iter().enumerate() {
        let field = field(&format!("components[{n}]"));
        // Beside the path is where components usually are; outside of the source they cannot be.
        if component.contains("://") || component.starts_with('/') {
            return Err(refused(&field, "Flux takes components of the source only"));
        }
        variables(&field, component)?;
    }
    for (name, text) in [
        ("namePrefix", &settings.name_prefix),
        ("nameSuffix", &settings.name_suffix),
        ("namespace", &settings.namespace),
    ] {
        variables(&field(name), text)?;
    }
    for text in settings.common_labels.values() {
        variables(&field("commonLabels"), text)?;
    }
    path("sources[0].path", "")
}

/// `name=new:tag@digest`, `name=new`, `name:tag`, `name@digest`, as `kustomize edit set image` reads them.
fn image_from(field: &str, text: &str) -> Result<Image> {
    variables(field, text)?;
    let (name, new) = match text.split_once('=') {
        Some((name, new)) => (Some(name), new),
        None => (None, text),
    };
    let (new, digest) = match new.split_once('@') {
        Some((new, digest)) => (new, Some(digest)),
        None => (new, None),
    };
    let slash = new.rfind('/').map_or(0, |at| at + 1);
    let (new, tag) = match new[slash..].split_once(':') {
        Some((last, tag)) => (&new[..slash + last.len()], Some(tag)),
        None => (new, None),
    };
    if new.is_empty() && name.is_none()
        || name == Some("")
        || (name.is_none() && tag.is_none() && digest.is_none())
    {
        return Err(refused(
            field,
            &format!("{text:?} names no image, or nothing to change"),
        ));
    }
    if [Some(new), tag, digest].contains(&Some("*")) {
        return Err(refused(
            field,
            "* keeps what the repository says, which Flux cannot",
        ));
    }
    let known = |text: Option<&str>| text.map(str::to_owned).filter(|text| !text.is_empty());
    Ok(Image {
        name: name.unwrap_or(new).to_owned(),
        new_name: name.and_then(|_| known(Some(new))),
        new_tag: known(tag),
        digest: known(digest),
        ..Image::default()
    })
}

fn image_to(image: &Image) -> String {
    let mut text = match &image.new_name {
        Some(new) => format!("{}={new}", image.name),
        None => image.name.clone(),
    };
    if let Some(tag) = &image.new_tag {
        text.push(':');
        text.push_str(tag);
    }
    if let Some(digest) = &image.digest {
        text.push('@');
        text.push_str(digest);
    }
    text
}

fn patch_from(field: &str, patch: &serde_json::Value) -> Result<Patch> {
    for (name, why) in [
        ("path", "Flux takes patches as text only"),
        ("options", "Flux has no options of patches"),
    ] {
        if patch
            .get(name)
            .is_some_and(|value| !value.is_null() && value != "")
        {
            return Err(refused(&format!("{field}.{name}"), why));
        }
    }
    let made: Patch = serde_json::from_value(patch.clone())
        .map_err(|error| refused(field, "no patch with a text and a target").with_source(error))?;
    if !made.extra.is_empty() {
        return Err(refused(
            field,
            "it has fields that kustomize's patches have not",
        ));
    }
    Ok(made)
}

/// What the object says; `prune` is what an operation that runs has noted of it.
pub(super) fn read(
    object: &Kustomization,
    prune: Option<bool>,
    from: &mut Source,
    app: &mut Application,
) {
    let spec = &object.spec;
    from.path = path_to(spec.path.as_deref());
    let common = spec.common_metadata.clone().unwrap_or_default();
    let labels = common.labels.unwrap_or_default();
    let settings = Kustomize {
        name_prefix: spec.name_prefix.clone().unwrap_or_default(),
        name_suffix: spec.name_suffix.clone().unwrap_or_default(),
        images: spec.images.iter().flatten().map(image_to).collect(),
        label_without_selector: !labels.is_empty(),
        common_labels: labels,
        patches: spec
            .patches
            .iter()
            .flatten()
            .filter_map(|patch| serde_json::to_value(patch).ok())
            .collect(),
        components: spec.components.clone().unwrap_or_default(),
        ignore_missing_components: spec.ignore_missing_components.unwrap_or_default(),
        ..Kustomize::default()
    };
    if settings != Kustomize::default() {
        from.render = Render::Kustomize(Box::new(settings));
    }
    app.destination = destination(spec.kube_config.as_ref(), spec.target_namespace.as_ref());
    app.sync_policy.automated = automated(prune.or(spec.prune).unwrap_or_default());
}
