//! The kustomization that is built: the source's own or a made one, with the settings of the spec (`pkg/kustomize` 1.24,
//! `kustomize_generator.go`).

use std::collections::BTreeMap;

use gitops_core::manifest::render::KUSTOMIZATIONS;
use gitops_core::manifest::{Tree, TreeEntry, yaml};
use gitops_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::paths::{self, join};
use crate::types::{Image, KustomizationSpec, Patch};

/// The fields of a kustomization (kustomize 5.7, `api/types`). Flux reads it into that type and writes it anew: what it does not know is
/// lost, and names are read in any case.
const FIELDS: [&str; 34] = [
    "apiVersion",
    "kind",
    "metadata",
    "openapi",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "commonLabels",
    "labels",
    "commonAnnotations",
    "patchesStrategicMerge",
    "patchesJson6902",
    "patches",
    "images",
    "imageTags",
    "replacements",
    "replicas",
    "vars",
    "sortOptions",
    "resources",
    "components",
    "crds",
    "bases",
    "configMapGenerator",
    "secretGenerator",
    "helmGlobals",
    "helmCharts",
    "helmChartInflationGenerator",
    "generatorOptions",
    "configurations",
    "generators",
    "transformers",
    "validators",
    "buildMetadata",
];

/// What is built.
#[derive(Debug)]
pub(super) struct Generated {
    /// The source's files with the kustomization in its place.
    pub(super) tree: Tree,
    /// The directory of the kustomization.
    pub(super) dir: String,
    /// What a person may want to know.
    pub(super) warnings: Vec<String>,
}

/// Makes or completes the kustomization.
pub(super) fn generate(tree: &Tree, spec: &KustomizationSpec) -> Result<Generated> {
    let path = paths::of_spec(spec.path.as_deref())?;
    let Some(dir) = tree.directory(&path)? else {
        return Err(Error::not_found(format!(
            "the source has no directory {path:?}"
        )));
    };
    let mut warnings = Vec::new();
    let (file, mut kustomization) = match own(tree, &dir, &mut warnings)? {
        Some(own) => own,
        None => (join(&dir, KUSTOMIZATIONS[0]), made(tree, &dir)?),
    };
    complete(&mut kustomization, tree, &dir, spec, &mut warnings)?;
    let text = serde_json::to_vec_pretty(&kustomization)
        .map_err(|error| Error::internal("cannot write a kustomization").with_source(error))?;
    let mut tree = tree.clone();
    // JSON is YAML.
    tree.insert(file, TreeEntry::File(text.into()))?;
    Ok(Generated {
        tree,
        dir,
        warnings,
    })
}

/// The kustomization file of a directory.
pub(super) fn kustomization_file(tree: &Tree, dir: &str) -> Result<Option<String>> {
    for name in KUSTOMIZATIONS {
        let path = join(dir, name);
        if tree.file(&path)?.is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The source's own kustomization.
fn own(
    tree: &Tree,
    dir: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<(String, Map<String, Value>)>> {
    let Some(file) = kustomization_file(tree, dir)? else {
        return Ok(None);
    };
    let bytes = tree.file(&file)?.unwrap_or_default();
    let read = match yaml::parse_value(&file, bytes)? {
        Value::Null => Map::new(),
        Value::Object(map) => map,
        _ => return Err(Error::invalid(format!("{file}: expected an object"))),
    };
    let mut kustomization = base();
    for (key, value) in read {
        let Some(field) = FIELDS.iter().find(|field| field.eq_ignore_ascii_case(&key)) else {
            warnings.push(format!("{file}: field {key:?} is not known and left out"));
            continue;
        };
        if !value.is_null() {
            kustomization.insert((*field).to_owned(), value);
        }
    }
    let empty = kustomization
        .get("resources")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty);
    if empty {
        // Else kustomize takes it for empty.
        kustomization.insert("buildMetadata".into(), json!(["originAnnotations"]));
    }
    Ok(Some((file, kustomization)))
}

fn base() -> Map<String, Value> {
    Map::from_iter([
        (
            "apiVersion".to_owned(),
            Value::from("kustomize.config.k8s.io/v1beta1"),
        ),
        ("kind".to_owned(), Value::from("Kustomization")),
    ])
}

/// A kustomization of all manifests in and below a directory.
fn made(tree: &Tree, dir: &str) -> Result<Map<String, Value>> {
    let mut resources = Vec::new();
    scan(tree, dir, ".", &mut resources)?;
    let mut kustomization = base();
    if resources.is_empty() {
        // Else kustomize takes it for empty.
        kustomization.insert("namespace".into(), "_placeholder".into());
    } else {
        kustomization.insert("resources".into(), resources.into());
    }
    Ok(kustomization)
}

/// Files that end in `.yaml` or `.yml`, and directories with a kustomization of their own, which are not looked into; by name, as Go walks.
fn scan(tree: &Tree, dir: &str, shown: &str, resources: &mut Vec<String>) -> Result<()> {
    let skip = if dir.is_empty() { 0 } else { dir.len() + 1 };
    // Whether a name of this directory is a file.
    let mut names: BTreeMap<&str, bool> = BTreeMap::new();
    for (path, entry) in tree.below(dir) {
        match path[skip..].split_once('/') {
            Some((name, _)) => names.insert(name, false),
            None if matches!(entry, TreeEntry::Submodule(_)) => continue,
            None => names.insert(&path[skip..], true),
        };
    }
    for (name, is_file) in names {
        let shown = format!("{shown}/{name}");
        if is_file {
            if name.ends_with(".yaml") || name.ends_with(".yml") {
                resources.push(shown);
            }
            continue;
        }
        let below = join(dir, name);
        if kustomization_file(tree, &below)?.is_some() {
            resources.push(shown);
        } else {
            scan(tree, &below, &shown, resources)?;
        }
    }
    Ok(())
}

fn complete(
    kustomization: &mut Map<String, Value>,
    tree: &Tree,
    dir: &str,
    spec: &KustomizationSpec,
    warnings: &mut Vec<String>,
) -> Result<()> {
    for (field, value) in [
        ("namespace", &spec.target_namespace),
        ("namePrefix", &spec.name_prefix),
        ("nameSuffix", &spec.name_suffix),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            kustomization.insert(field.into(), value.into());
        }
    }
    for patch in spec.patches.iter().flatten() {
        list(kustomization, "patches")?.push(patch_value(patch));
    }
    for component in spec.components.iter().flatten() {
        if !paths::is_local(component) {
            return Err(Error::invalid(format!(
                "component {component:?} must be a relative path of the source"
            )));
        }
        let Some(path) = paths::inside(dir, component) else {
            return Err(Error::invalid(format!(
                "component {component:?} leads out of the source"
            )));
        };
        let missing = tree.directory(&path)?.is_none() && tree.file(&path)?.is_none();
        if missing && spec.ignore_missing_components == Some(true) {
            warnings.push(format!("component {component:?} is missing and left out"));
            continue;
        }
        list(kustomization, "components")?.push(component.as_str().into());
    }
    for image in spec.images.iter().flatten() {
        let images = list(kustomization, "images")?;
        let value = image_value(image);
        match images
            .iter_mut()
            .find(|other| other.get("name") == value.get("name"))
        {
            Some(other) => *other = value,
            None => images.push(value),
        }
    }
    Ok(())
}

fn list<'k>(kustomization: &'k mut Map<String, Value>, field: &str) -> Result<&'k mut Vec<Value>> {
    let entry = kustomization
        .entry(field)
        .or_insert_with(|| Value::Array(Vec::new()));
    match entry {
        Value::Array(list) => Ok(list),
        _ => Err(Error::invalid(format!(
            "{field} of the kustomization must be a list"
        ))),
    }
}

/// The texts that are there and not empty, as an object.
fn texts(fields: &[(&str, Option<&str>)]) -> Value {
    fields
        .iter()
        .filter_map(|(name, text)| {
            let text = text.filter(|text| !text.is_empty())?;
            Some(((*name).to_owned(), Value::from(text)))
        })
        .collect::<Map<_, _>>()
        .into()
}

fn patch_value(patch: &Patch) -> Value {
    let mut value = json!({"patch": patch.patch});
    if let Some(target) = &patch.target {
        value["target"] = texts(&[
            ("group", target.group.as_deref()),
            ("version", target.version.as_deref()),
            ("kind", target.kind.as_deref()),
            ("name", target.name.as_deref()),
            ("namespace", target.namespace.as_deref()),
            ("labelSelector", target.label_selector.as_deref()),
            ("annotationSelector", target.annotation_selector.as_deref()),
        ]);
    }
    value
}

fn image_value(image: &Image) -> Value {
    texts(&[
        ("name", Some(&image.name)),
        ("newName", image.new_name.as_deref()),
        ("newTag", image.new_tag.as_deref()),
        ("digest", image.digest.as_deref()),
    ])
}

#[cfg(test)]
mod tests;
